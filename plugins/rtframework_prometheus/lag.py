"""How late the event loop is."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .histogram import Histogram


class EventLoopLag:
    """Measures, by one timer, how much later than asked for the event loop calls back: who computes holds up all.

    ``interval``: seconds between two looks.
    """

    def __init__(self, histogram: Histogram, interval: float) -> None:
        self._histogram = histogram
        self._interval = interval
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Measure from now on, in the running loop."""
        self.stop()
        self._wait()

    def stop(self) -> None:
        """Measure no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        # Not by the loop's clock: uvloop's stands still while a callback runs.
        self._due = time.perf_counter() + self._interval
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._look)

    def _look(self) -> None:
        self._histogram.observe(max(0.0, time.perf_counter() - self._due))
        self._wait()
