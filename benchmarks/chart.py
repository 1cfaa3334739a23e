"""The pictures, as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final
from xml.sax.saxutils import escape

from .peers import OURS, PEERS
from .report import Json, figures, peers_of, short
from .rows import CURVES, ROWS

COLOURS: Final = {OURS: "#1f6feb", "python-socketio": "#c9a227", "node": "#6a9955", "bun": "#b07aa1"}
_NAMES: Final = {OURS: "rtframework", "python-socketio": "python-socketio", "node": "Node", "bun": "Bun"}
_PAPER: Final = "#ffffff"
_INK: Final = "#1c2128"
_FAINT: Final = "#656d76"
_LINE: Final = "#d8dee4"
_CLASSES: Final = {_PAPER: "paper", _INK: "ink", _FAINT: "faint", _LINE: "line"}
_DARK: Final = (
    "<style>@media (prefers-color-scheme: dark) { .paper { fill: #1c2128 } .ink { fill: #e6edf3 } "
    ".faint { fill: #9aa4af } .line { stroke: #3d444d } }</style>"
)
"""Where pages are dark, the pictures are, too; a viewer without style sheets shows the light one."""

_WIDTH: Final = 920
_GAP: Final = 24
_CUT: Final = 2.5
"""A bar more than so many times as long as the next one is cut, so that the others can be told apart."""


def bars(results: Json) -> str:
    """One panel of bars for each row of the table."""
    names = peers_of(results)
    panel_width = (_WIDTH - 3 * _GAP) / 2
    panel_height = 46 + 24 * len(names)
    parts: list[str] = []
    rows = figures(results)
    cut = False
    for at, (key, by_peer) in enumerate(rows.items()):
        x, y = _GAP + (at % 2) * (panel_width + _GAP), 74 + (at // 2) * panel_height
        row = ROWS[key]
        parts.append(_text(x, y + 14, f"{row.title}, {row.unit}", size=14, weight=600))
        ordered = sorted((figure.median for figure in by_peer.values()), reverse=True)
        longest = ordered[0]
        if len(ordered) > 1 and longest > _CUT * ordered[1]:
            longest = _CUT * ordered[1]
        room = panel_width - 112 - 70
        for line, name in enumerate(name for name in names if name in by_peer):
            value = by_peer[name].median
            top = y + 26 + line * 24
            length = max(1.0, min(value, longest) / longest * room)
            parts.append(_text(x + 104, top + 13, _NAMES[name], anchor="end", colour=_INK if name == OURS else _FAINT))
            parts.append(_box(x + 112, top, length, 17, COLOURS[name]))
            if value > longest:
                cut = True
                middle = x + 112 + length * 0.93
                parts.append(f'<path d="M{middle:.1f} {top - 2}l6 21h5l-6 -21z" class="paper" fill="{_PAPER}"/>')
            parts.append(_text(x + 112 + length + 6, top + 13, short(value), weight=600 if name == OURS else 400))
    height = 74 + math.ceil(len(rows) / 2) * panel_height + 8
    subtitle = (
        f"Medians of {results['count']} rounds; {results['machine']['cpu']}, one core for the server; {results['date']}"
    )
    if cut:
        subtitle += "; bars that are cut are longer"
    return _document(height, "What an operation costs the server: less is better", subtitle, parts)


def curves(results: Json) -> str:
    """One panel of lines for each curve, both axes logarithmic."""
    names = peers_of(results)
    measured = results["curves"]
    panel_width, panel_height = (_WIDTH - 3 * _GAP) / 2, 270
    parts = [
        _box(_GAP + at * 160, 66, 14, 10, COLOURS[name]) + _text(_GAP + at * 160 + 20, 76, _NAMES[name])
        for at, name in enumerate(names)
    ]
    for at, (key, by_peer) in enumerate(measured.items()):
        x, y = _GAP + (at % 2) * (panel_width + _GAP), 100 + (at // 2) * panel_height
        curve = CURVES[key]
        parts.append(_text(x, y + 14, f"{curve.title}, {curve.unit}", size=14, weight=600))
        parts += _lines(by_peer, x + 52, y + 28, panel_width - 72, panel_height - 84)
        parts.append(_text(x + 52 + (panel_width - 72) / 2, y + panel_height - 24, curve.axis, anchor="middle"))
    height = 100 + math.ceil(len(measured) / 2) * panel_height
    subtitle = f"CPU time of the server, both axes logarithmic; {results['machine']['cpu']}; {results['date']}"
    return _document(height, "How the cost grows", subtitle, parts)


def _lines(
    by_peer: Mapping[str, Mapping[str, float]], left: float, top: float, width: float, height: float
) -> list[str]:
    steps = sorted({int(step) for values in by_peer.values() for step in values})
    costs = [value for values in by_peer.values() for value in values.values()]
    low, high = _decades(min(costs), max(costs))
    first, last = math.log10(steps[0]), math.log10(max(steps[-1], steps[0] + 1))

    def place(step: int, cost: float) -> tuple[float, float]:
        across = (math.log10(step) - first) / (last - first)
        up = (math.log10(cost) - low) / (high - low)
        return left + across * width, top + (1 - up) * height

    parts = []
    for exponent in range(low, high + 1):
        _, y = place(steps[0], 10.0**exponent)
        parts.append(f'<path d="M{left:.1f} {y:.1f}h{width:.1f}" class="line" stroke="{_LINE}"/>')
        label = f"{10**exponent:,}" if exponent >= 0 else f"{10.0**exponent:g}"
        parts.append(_text(left - 8, y + 4, label, anchor="end", colour=_FAINT))
    for step in steps:
        x, _ = place(step, 10.0**low)
        parts.append(_text(x, top + height + 18, f"{step:,}", anchor="middle", colour=_FAINT))
    for name, values in by_peer.items():
        points = [place(int(step), cost) for step, cost in values.items()]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        parts.append(
            f'<path d="M{path}" fill="none" stroke="{COLOURS[name]}" stroke-width="{3 if name == OURS else 2}"/>'
        )
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" fill="{COLOURS[name]}"/>' for x, y in points]
    return parts


def _decades(low: float, high: float) -> tuple[int, int]:
    return math.floor(math.log10(low)), max(math.ceil(math.log10(high)), math.floor(math.log10(low)) + 1)


def _box(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" rx="2" fill="{colour}"/>'


def _text(
    x: float, y: float, text: str, *, size: int = 12, weight: int = 400, anchor: str = "start", colour: str = _INK
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" '
        f'class="{_CLASSES[colour]}" fill="{colour}">{escape(text)}</text>'
    )


def _document(height: float, title: str, subtitle: str, parts: Sequence[str]) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" width="{_WIDTH}" '
            f'height="{height:.0f}" font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" '
            f'role="img" aria-label="{escape(title)}">',
            _DARK,
            f'<rect width="{_WIDTH}" height="{height:.0f}" rx="8" class="paper" fill="{_PAPER}"/>',
            _text(_GAP, 32, title, size=19, weight=700),
            _text(_GAP, 52, subtitle, colour=_FAINT),
            *parts,
            "</svg>",
            "",
        ]
    )


assert set(COLOURS) == set(PEERS) == set(_NAMES)
