"""Outcomes and durations of events, by namespace and name; the number of series is bounded, whatever clients send."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rtframework.counters import OTHER, add

from .histogram import Histogram

MOST: Final = 500
"""Events with a series of their own, in all namespaces together."""


class Series:
    """The counts of one event in one namespace."""

    __slots__ = ("acks", "outcomes", "seconds")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.outcomes: dict[str, int] = {}
        self.acks = 0
        """Number of events that requested an acknowledgement."""
        self.seconds = Histogram(bounds)


class EventCounts:
    """A series for each event; events beyond the first ``MOST`` share one."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._series: dict[tuple[str, str], Series] = {}

    def __iter__(self) -> Iterator[tuple[tuple[str, str], Series]]:
        """Iterate over ``((namespace, event), series)``."""
        return iter(self._series.items())

    def add(self, namespace: str, event: str, outcome: str, seconds: float, *, ack: bool) -> None:
        """Count an event that was handled; ``ack``: it requested an acknowledgement."""
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
