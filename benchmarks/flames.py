"""Two flame graphs of a browser's way to its websocket: as aiohttp's tasks serve it, and as it is served.

The program's middleware has all requests served by aiohttp's tasks, so that both can be had from one source. Stacks are
sampled with py-spy, which this installs into ``benchmarks/.venv``: frames of Python only, time in C is its caller's.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from . import install, machine, publish
from .peers import OURS, PEERS, PYTHON, versions_in_words
from .runner import Cores, raise_file_limit, running

PICTURE: Final = publish.ROOT / "docs/images/performance-flames.svg"
CLIENTS: Final = 3_000
_RATE: Final = 997
"""Samples a second: no multiple of anything that the server does."""
_SAMPLER: Final = "py-spy>=0.4,<1"
_WIDTH: Final = 920
_MARGIN: Final = 24
_ROW: Final = 15
_LEAST: Final = 1.2
"""Pixels of a box that is drawn."""
_LETTER: Final = 6.2
"""Pixels of a letter, at most."""
_COLOURS: Final = {"rtframework": "#9ec5fe", "aiohttp": "#ffc9a3", "engineio": "#e2d9f3"}
_OTHER: Final = "#d8dee4"
_LOOP: Final = "run_app "
"""The function that runs the event loop: what is below it all stacks have in common."""
_STYLE: Final = (
    "<style>text { fill: #1c2128 } .paper { fill: #ffffff } @media (prefers-color-scheme: dark) "
    "{ .paper { fill: #1c2128 } .title { fill: #e6edf3 } }</style>"
)

Stacks = Counter[tuple[str, ...]]
"""How often each stack was seen, its outermost function first."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Stacks, and the CPU time that each client has cost, in µs."""

    stacks: Stacks
    cost: float


@dataclass
class Box:
    """A function called by the one below it; ``count``: the samples in which it was."""

    count: int = 0
    calls: dict[str, Box] = field(default_factory=dict)


def read(text: str) -> Stacks:
    """Read stacks as py-spy writes them: functions with semicolons between them, then a number.

    Only what runs in the event loop is kept, from the function that it calls; the rest of it is uvloop's own.
    """
    stacks: Stacks = Counter()
    for line in text.splitlines():
        frames, _, count = line.rpartition(" ")
        stack = frames.split(";")
        loop = next((at for at, name in enumerate(stack) if name.startswith(_LOOP)), None)
        if loop is not None:
            stacks[tuple(stack[loop + 1 :]) or ("the event loop itself (uvloop)",)] += int(count)
    return stacks


def tree(stacks: Stacks) -> Box:
    """Put stacks on top of one another."""
    root = Box()
    for stack, count in stacks.items():
        root.count += count
        box = root
        for name in stack:
            box = box.calls.setdefault(name, Box())
            box.count += count
    return root


def draw(panels: dict[str, Profile], subtitle: str) -> str:
    """Draw panels, one below the other, to one scale: that of the CPU time of a client."""
    most = max(each.cost for each in panels.values())
    parts: list[str] = []
    top = 74
    for title, profile in panels.items():
        parts.append(_text(_MARGIN, top, f"{title}: {profile.cost:.0f} µs", size=14))
        root = tree(profile.stacks)
        scale = (_WIDTH - 2 * _MARGIN) * profile.cost / most / root.count
        depth = _depth(root, _LEAST / scale)
        _draw(parts, root, _MARGIN, top + 10 + (depth - 1) * _ROW, scale)
        top += 10 + depth * _ROW + 34
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" width="{_WIDTH}" height="{top}" '
            'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" role="img" '
            'aria-label="Flame graphs">',
            _STYLE,
            f'<rect width="{_WIDTH}" height="{top}" rx="8" class="paper"/>',
            _text(_MARGIN, 30, "A browser's way to its websocket", size=19),
            _text(_MARGIN, 50, subtitle),
            *parts,
            "</svg>",
            "",
        ]
    )


def _draw(parts: list[str], box: Box, left: float, top: float, scale: float) -> None:
    for name, call in sorted(box.calls.items()):
        width = call.count * scale
        if width < _LEAST:
            continue
        function, _, file = name.rstrip(")").partition(" (")
        colour = next((colour for package, colour in _COLOURS.items() if package in file), _OTHER)
        shown = function[: int((width - 4) / _LETTER)]
        text = (
            f'<text x="{left + 2:.1f}" y="{top + 11:.1f}" font-size="10">{escape(shown)}</text>' if width > 24 else ""
        )
        parts.append(
            f'<g><title>{escape(name)}: {call.count}</title><rect x="{left:.1f}" y="{top:.1f}" '
            f'width="{width - 0.4:.1f}" height="{_ROW - 1}" fill="{colour}"/>{text}</g>'
        )
        _draw(parts, call, left, top - _ROW, scale)
        left += width


def _depth(box: Box, least: float) -> int:
    return max((1 + _depth(each, least) for each in box.calls.values() if each.count >= least), default=0)


def _text(x: float, y: float, text: str, *, size: int = 12) -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" class="title">{escape(text)}</text>'


def shares(stacks: Stacks) -> list[tuple[str, float]]:
    """List the packages and the share of the samples in which one of their functions was the innermost."""
    own: Counter[str] = Counter()
    for stack, count in stacks.items():
        own[next((package for package in _COLOURS if package in stack[-1]), "others")] += count
    return [(package, count / stacks.total()) for package, count in own.most_common()]


def sample(load: Path, cores: Cores, clients: int, *, by_aiohttp: bool) -> Profile:
    """Sample a server while so many browsers come."""
    peer = PEERS[OURS]
    if by_aiohttp:
        peer = replace(peer, command=(*peer.command, "--middleware"))
    with tempfile.TemporaryDirectory() as folder, running(peer, load, cores) as server:
        output = Path(folder) / "stacks"
        server.drive("browser", {"clients": max(1, clients // 5)})  # the warm-up
        sampler = subprocess.Popen(
            [
                *(
                    PYTHON.with_name("py-spy"),
                    "record",
                    "--pid",
                    str(server.pid),
                    "--format",
                    "raw",
                    "--function",
                    "--nonblocking",
                ),
                *("--rate", str(_RATE), "--duration", "600", "--output", str(output)),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert sampler.stdout is not None
        said = sampler.stdout.readline()  # when it has attached
        cost = server.drive("browser", {"clients": clients})["cpu_us"]
        sampler.send_signal(signal.SIGINT)
        said += sampler.communicate(timeout=60)[0]
        if not output.exists():
            raise install.Missing(f"py-spy cannot look into the server: {said.strip()}")
        return Profile(read(output.read_text(encoding="utf-8")), cost)


def main() -> int:
    """Sample both ways, and draw them for the docs."""
    raise_file_limit()
    install.install_python()
    subprocess.run([PYTHON, "-m", "pip", "install", "-qq", "--disable-pip-version-check", _SAMPLER], check=True)
    load, cores = install.build_load(), Cores.choose()
    panels = {
        "by aiohttp's parser, router and tasks": sample(load, cores, CLIENTS, by_aiohttp=True),
        "as it is served": sample(load, cores, CLIENTS, by_aiohttp=False),
    }
    for title, profile in panels.items():
        parts = ", ".join(f"{name} {share:.0%}" for name, share in shares(profile.stacks))
        print(f"{title}: {profile.cost:.0f} µs, {profile.stacks.total()} samples: {parts}")
    told = machine.describe()
    subtitle = (
        f"{CLIENTS:,} clients, sampled by py-spy; {versions_in_words(PEERS[OURS].versions())}; {told['cpu']}; "
        f"{date.today().isoformat()}"
    )
    PICTURE.write_text(draw(panels, subtitle), encoding="utf-8")
    print(PICTURE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
