"""The lag of the event loop."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .histogram import Histogram


class EventLoopLag:
    """Measures by a timer how late the event loop runs callbacks: code that computes for long delays all clients.

    ``interval``: seconds between two measurements.
    """

    def __init__(self, histogram: Histogram, interval: float) -> None:
        self._histogram = histogram
        self._interval = interval
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Start to measure the running loop."""
        self.stop()
        self._wait()

    def stop(self) -> None:
        """Stop measuring."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        # Not with the loop's clock, which stands still during a callback on uvloop.
        self._due = time.perf_counter() + self._interval
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._look)

    def _look(self) -> None:
        self._histogram.observe(max(0.0, time.perf_counter() - self._due))
        self._wait()
