"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any, Final

from ..exceptions import ConfigurationError
from .idle import next_timer, own_loop, settle, wait

_PAUSE: Final = 0.01
"""Real seconds to wait for threads before each jump, while :meth:`Clock.run` moves the clock."""


class Clock:
    """A simulated clock of the running event loop: it stands still until ``advance`` moves it.

    It controls everything that uses the event loop's time: heartbeats and timeouts of the server, ``asyncio.sleep``,
    ``asyncio.timeout``, ``loop.call_later``, in handlers, background tasks and the test itself. It does not control the
    time of day (``time.time``, ``datetime.now``), ``time.monotonic`` and threads.

    The clock is in use while a :class:`TestServer` that was given it runs; several servers may share one. Afterwards
    the loop's time runs on from the clock's last time.

    Example::

        async with TestServer(io, clock=Clock()) as server:
            alice = await server.connect()
            await alice.lose_connection(silently=True)
            await server.clock.advance(45)
            assert not io.sockets
    """

    def __init__(self) -> None:
        self._loop: asyncio.BaseEventLoop | None = None
        self._time: _LoopTime | None = None
        self._began = 0.0
        self._users = 0

    def __repr__(self) -> str:
        return f"<Clock at {self.now:g} s>"

    @property
    def now(self) -> float:
        """Seconds that the clock has been moved."""
        return 0.0 if self._time is None else self._time() - self._began

    async def advance(self, seconds: float) -> None:
        """Move the clock by this many seconds, running each timer at its time and everything that follows from it.

        Raises ``RuntimeError`` if the clock is not in use, or if a task keeps running without ever waiting.
        """
        if seconds < 0:
            raise ValueError("time goes forward")
        if self._loop is None or self._time is None or not self._users:
            raise RuntimeError("the clock is not in use: give it to a TestServer, and move it while that runs")
        target = self._time() + seconds
        await self._settle()
        while (due := next_timer(self._loop)) is not None and due <= target:
            # To the next larger float: the loop adds its clock resolution, which is lost when large times are rounded.
            self._time.set(max(self._time(), math.nextafter(due, math.inf)))
            await self._settle()
        self._time.set(max(self._time(), target))
        await self._settle()

    async def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine to its end, moving to the next timer whenever only timers are left to wait for."""
        task = asyncio.get_running_loop().create_task(work)
        while not await wait(task, _PAUSE):
            assert self._loop is not None
            assert self._time is not None
            due = next_timer(self._loop)
            if due is not None:
                self._time.set(max(self._time(), math.nextafter(due, math.inf)))
        await task

    # --- called by the server ---------------------------------------------------------------------------------------

    def hold(self) -> None:
        """Stop the running loop's time, until :meth:`release` is called as often."""
        loop = own_loop()
        if self._users and loop is not self._loop:
            raise ConfigurationError("a clock is in use in another event loop")
        if not self._users:
            self._time = _LoopTime.of(loop)
            self._time.stop()
            self._loop = loop
            self._began = self._time()
        self._users += 1

    def release(self) -> None:
        """Undo one :meth:`hold`; after the last one the loop's time runs again."""
        self._users -= 1
        if not self._users and self._time is not None:
            self._time.go_on()

    async def _settle(self) -> None:
        if not await settle():
            raise RuntimeError("the clock cannot be moved: something runs on without ever waiting")


class _LoopTime:
    """Replaces the ``time`` method of an event loop; one per loop, for as long as the loop exists."""

    def __init__(self, real: Callable[[], float]) -> None:
        self._real = real
        self._offset = 0.0
        self._stopped: float | None = None

    @classmethod
    def of(cls, loop: asyncio.BaseEventLoop) -> _LoopTime:
        found = vars(loop).get("time")
        if not isinstance(found, cls):
            found = cls(loop.time)
            vars(loop)["time"] = found
        return found

    def __call__(self) -> float:
        return self._real() + self._offset if self._stopped is None else self._stopped

    def set(self, now: float) -> None:
        self._stopped = now

    def stop(self) -> None:
        if self._stopped is not None:
            raise ConfigurationError("this event loop has a clock already: give the same one to both servers")
        self._stopped = self()

    def go_on(self) -> None:
        """Let the time run from where it stands. It never goes back: timers that are set would be late."""
        assert self._stopped is not None
        self._offset = self._stopped - self._real()
        self._stopped = None
