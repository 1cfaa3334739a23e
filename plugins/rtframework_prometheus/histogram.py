"""How long things take, in buckets."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

from prometheus_client.utils import floatToGoString


class Histogram:
    """Counts seconds in buckets, without a lock: the event loop alone writes and reads it.

    ``bounds``: the upper ends of the buckets, in seconds, rising. What is more falls into one more.
    """

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count something that took so many seconds."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    @property
    def count(self) -> int:
        """How often."""
        return sum(self._counts)

    @property
    def sum(self) -> float:
        """Seconds in all."""
        return self._sum

    @property
    def buckets(self) -> list[tuple[str, float]]:
        """As Prometheus writes them: each bound with how many were at most that."""
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        return list(zip(names, map(float, accumulate(self._counts)), strict=True))
