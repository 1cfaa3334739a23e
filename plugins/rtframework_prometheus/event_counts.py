"""What became of events, by namespace and name, and how long they took: bounded, whatever clients send."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rtframework.counters import OTHER, add

from .histogram import Histogram

MOST: Final = 500
"""Events that are told apart, of all namespaces together."""


class Series:
    """One event of one namespace."""

    __slots__ = ("acks", "outcomes", "seconds")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.outcomes: dict[str, int] = {}
        self.acks = 0
        """How many asked for an answer."""
        self.seconds = Histogram(bounds)


class EventCounts:
    """A series for each event; those beyond the first ``MOST`` share one."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._series: dict[tuple[str, str], Series] = {}

    def __iter__(self) -> Iterator[tuple[tuple[str, str], Series]]:
        """Each with its namespace and its name."""
        return iter(self._series.items())

    def add(self, namespace: str, event: str, outcome: str, seconds: float, *, ack: bool) -> None:
        """An event was served."""
        series = self._series.get((namespace, event)) or self._new(namespace, event)
        outcomes = series.outcomes
        if outcome in outcomes:
            outcomes[outcome] += 1
        else:
            add(outcomes, outcome)
        if ack:
            series.acks += 1
        series.seconds.observe(seconds)

    def _new(self, namespace: str, event: str) -> Series:
        key = (namespace, event) if len(self._series) < MOST else (OTHER, OTHER)
        return self._series.setdefault(key, Series(self._bounds))
