"""How late the event loop is: one timer, in the loop that runs."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from rtframework_prometheus.histogram import Histogram
from rtframework_prometheus.lag import EventLoopLag
from tests.support.until import until

BOUNDS = (0.01, 0.05, 1.0)


class Timers:
    """A loop whose timers the test runs, and a time that it sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.set: list[tuple[float, Any]] = []
        self.cancelled = 0
        monkeypatch.setattr("rtframework_prometheus.lag.time", self)
        monkeypatch.setattr("rtframework_prometheus.lag.asyncio", self)

    def perf_counter(self) -> float:
        return self.now

    def get_running_loop(self) -> Timers:
        return self

    def call_later(self, delay: float, callback: Any) -> Timers:
        self.set.append((delay, callback))
        return self

    def cancel(self) -> None:
        self.cancelled += 1

    def run(self, *, late: float) -> None:
        """The timer runs, so many seconds too late."""
        delay, callback = self.set.pop()
        self.now += delay + late
        callback()


def test_what_is_counted_is_how_late_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lag would be said to be the interval, or grow with each look."""
    timers = Timers(monkeypatch)
    histogram = Histogram(BOUNDS)
    lag = EventLoopLag(histogram, 0.25)
    lag.start()
    for late in (0.0, 0.02, 0.5, 0.0, -0.001):  # clocks differ: never less than nothing
        timers.run(late=late)
    assert histogram.count == 5
    assert histogram.sum == pytest.approx(0.52)
    assert histogram.buckets == [("0.01", 3.0), ("0.05", 4.0), ("1.0", 5.0), ("+Inf", 5.0)]


def test_one_timer_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is served again would measure twice, and never end."""
    timers = Timers(monkeypatch)
    lag = EventLoopLag(Histogram(BOUNDS), 0.25)
    lag.stop()
    lag.start()
    lag.start()
    assert timers.cancelled == 1
    lag.stop()
    lag.stop()
    assert timers.cancelled == 2


async def test_a_loop_that_is_held_up_is_seen() -> None:
    """Who computes in a handler holds up all clients, and nothing would show it."""
    histogram = Histogram(BOUNDS)
    lag = EventLoopLag(histogram, 0.005)
    lag.start()
    await asyncio.sleep(0)
    time.sleep(0.06)  # noqa: ASYNC251 - it is what this is about
    await until(lambda: histogram.count)
    lag.stop()
    assert histogram.sum >= 0.05
    seen = histogram.count
    await asyncio.sleep(0.02)
    assert histogram.count == seen
