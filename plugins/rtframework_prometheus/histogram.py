"""A histogram of durations."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

from prometheus_client.utils import floatToGoString


class Histogram:
    """Counts durations in buckets, without a lock: only the event loop writes and reads it.

    ``bounds``: the upper bounds of the buckets, in seconds, rising. Longer durations go into one more bucket.
    """

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count a duration."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    @property
    def count(self) -> int:
        """Number of durations."""
        return sum(self._counts)

    @property
    def sum(self) -> float:
        """Sum of all durations, in seconds."""
        return self._sum

    @property
    def buckets(self) -> list[tuple[str, float]]:
        """The buckets as Prometheus writes them: each bound, with the number of durations up to it."""
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        return list(zip(names, map(float, accumulate(self._counts)), strict=True))
