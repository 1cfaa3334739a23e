"""One sweep over all connections instead of timers for each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from ..logs import ThrottledLog, tell_left_out

log: Final = logging.getLogger("rtframework.engine")

_failed: Final = ThrottledLog(log, logging.ERROR, "unhandled error in the heartbeat of a connection")


class Ticking(Protocol):
    """Something that wants to be looked at when its time has come."""

    deadline: float
    """The time at which ``tick`` is due, of the event loop's clock."""

    def tick(self, now: float) -> None:
        """Do what is due and set the next deadline."""

    def postpone(self, seconds: float) -> None:
        """Give a client that owes an answer so many more seconds."""

    def look(self) -> None:
        """Notice what nobody tells; called at every sweep."""


class Heartbeat:
    """Looks at every connection a few times per heartbeat and ticks those whose deadline has passed.

    When the event loop was blocked, by a handler that computes for seconds, the sweep comes late, and the answers of
    clients wait unread by then. Clients that owe an answer get so much more time, so that none is disconnected for it.
    """

    def __init__(self, period: float, ticking: Callable[[], Iterable[Ticking]]) -> None:
        self._period = period
        self._ticking = ticking
        self._handle: asyncio.TimerHandle | None = None
        self._due = 0.0

    def start(self) -> None:
        """Begin to sweep, in the running loop."""
        if self._handle is None:
            loop = asyncio.get_running_loop()
            self._due = loop.time() + self._period
            self._handle = loop.call_at(self._due, self._sweep, loop)

    def stop(self) -> None:
        """Stop sweeping."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def check(self, one: Ticking) -> None:
        """Tick a connection now if it is due, so that its deadline is exact for the caller."""
        loop = asyncio.get_running_loop()
        if self._handle is not None and loop.time() > self._due + self._period:
            self._handle.cancel()
            self._sweep(loop)  # the loop was blocked: deadlines have to be moved first
        now = loop.time()
        if one.deadline <= now:
            one.tick(now)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        late = now - self._due
        ticking = list(self._ticking())
        for each in ticking:
            try:
                if late > self._period:
                    each.postpone(late)
                each.look()
                if each.deadline <= now:
                    each.tick(now)
            except Exception as error:  # noqa: BLE001 - logged
                _failed(error=error)
        tell_left_out()
        self._due = loop.time() + self._period
        self._handle = loop.call_at(self._due, self._sweep, loop)
