"""The results: as JSON, as a table to read on a terminal, as Markdown for the docs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from .machine import QUIET
from .peers import OURS, PEERS, versions_in_words
from .rows import CURVES, ROWS

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Figure:
    """The median of the rounds, and how far they lie apart."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure:
        """The figure of some rounds, at least one."""
        return cls(median(values), min(values), max(values))

    def __str__(self) -> str:
        return short(self.median)

    @property
    def spread(self) -> str:
        """E.g. ``3.1-3.4``."""
        return f"{short(self.low)}-{short(self.high)}"


def short(value: float) -> str:
    """Three digits that mean something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ratio(value: float) -> str:
    """A ratio to a peer."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}" if value < 0.01 else f"{value:.3f}"


def figures(results: Json) -> dict[str, dict[str, Figure]]:
    """Row, peer, figure: what was measured, in the order of the table."""
    measured: Mapping[str, Mapping[str, Sequence[float]]] = results["rounds"]
    return {
        key: {peer: Figure.of(measured[key][peer]) for peer in PEERS if measured[key].get(peer)}
        for key in ROWS
        if key in measured
    }


def peers_of(results: Json) -> list[str]:
    """Who was measured."""
    return [key for key in PEERS if key in results["versions"]]


def table(results: Json) -> list[list[str]]:
    """Heading and rows: the figures of each peer, then ours as a share of each other's."""
    names = peers_of(results)
    others = [name for name in names if name != OURS] if OURS in names else []
    lines = [["", *names, *(f"of {name}" for name in others)]]
    for key, by_peer in figures(results).items():
        row = ROWS[key]
        line = [f"{row.title} ({row.unit})", *(str(by_peer[name]) if name in by_peer else "-" for name in names)]
        for name in others:
            if name in by_peer and OURS in by_peer:
                line.append(ratio(by_peer[OURS].median / by_peer[name].median))
            else:
                line.append("-")
        lines.append(line)
    return lines


def _against_targets(results: Json) -> Iterator[tuple[bool, str]]:
    for key, by_peer in figures(results).items():
        for name, target in ROWS[key].targets.items():
            if name in by_peer and OURS in by_peer:
                value = by_peer[OURS].median / by_peer[name].median
                yield value <= target, f"{ROWS[key].title}: {ratio(value)} of {name}, wanted {target}"


def targets(results: Json) -> list[str]:
    """A line for each target: reached or missed."""
    return [f"{'reached' if reached else 'MISSED':8}{line}" for reached, line in _against_targets(results)]


def missed(results: Json) -> list[str]:
    """The targets that were missed."""
    return [line for reached, line in _against_targets(results) if not reached]


def spreads(results: Json) -> list[list[str]]:
    """Heading and rows: the lowest and the highest round of each figure."""
    names = peers_of(results)
    return [
        ["lowest-highest", *names],
        *(
            [ROWS[key].title, *(by_peer[name].spread if name in by_peer else "-" for name in names)]
            for key, by_peer in figures(results).items()
        ),
    ]


def curve_tables(results: Json) -> dict[str, list[list[str]]]:
    """For each curve: heading, and a row for each step."""
    names = peers_of(results)
    tables = {}
    for key, by_peer in results.get("curves", {}).items():
        curve = CURVES[key]
        tables[key] = [[f"{curve.axis} ({curve.unit})", *names]]
        for step in curve.steps:
            values = [by_peer.get(name, {}).get(str(step)) for name in names]
            if any(value is not None for value in values):
                cells = ("-" if value is None else short(value) for value in values)
                tables[key].append([f"{step:,}", *cells])
    return tables


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A table for the docs."""
    head, *body = lines
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *body))


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """A table for a terminal."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def conditions(results: Json) -> list[str]:
    """Where, with what and how it was measured: everything a figure needs beside it."""
    machine = results["machine"]
    lines = [f"{results['date']}, {machine['cpu']}, {machine['cores']} cores, {machine['system']}."]
    if not machine["pinned"]:
        lines.append("Server and load generator were not on cores of their own: there is only one.")
    others = machine["others"]
    quiet = "The machine was quiet" if others < QUIET else "Measured under load"
    lines.append(f"{quiet}: others used {others:.0%} of a core.")
    for name, count in results.get("errors", {}).items():
        lines.append(f"{PEERS[name].title} has logged {count:,} errors meanwhile.")
    lines += [f"{PEERS[name].title}: {versions_in_words(results['versions'][name])}." for name in peers_of(results)]
    return lines


DOOR_COLUMNS: Mapping[str, str] = {
    "p50": "latency, median (ms)",
    "p99": "latency, p99 (ms)",
    "requests": "requests per message",
    "bytes": "bytes per message",
    "cpu_us": "server CPU (µs)",
    "connections": "connections",
}


def door_tables(results: Json) -> dict[str, list[list[str]]]:
    """For each rate, in messages a second: heading, and a row for each kind of clients."""
    return {
        rate: [
            ["", *DOOR_COLUMNS.values()],
            *([kind, *(_of_door(found[name]) for name in DOOR_COLUMNS)] for kind, found in kinds.items()),
        ]
        for rate, kinds in results["rates"].items()
    }


def _of_door(values: Sequence[float]) -> str:
    value = median(values)
    return f"{value:.0f}" if value in (0, 1) else short(value)


def door_conditions(results: Json) -> list[str]:
    """Where and how the kinds of clients were measured."""
    rounds = "One run" if results["count"] == 1 else f"Medians of {results['count']} runs"
    return [
        f"{rounds} with {results['clients']} clients of each kind.",
        *conditions(results),
        f"Python {results['machine']['python']} with uvloop.",
    ]
