"""Running the event loop until nothing is left in it to run, so that a test knows that nothing more will come."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

from ..exceptions import ConfigurationError
from ..options import check_timeout

_MAX_TURNS: Final = 10_000
"""Turns after which an event loop that is still busy counts as never coming to rest."""

_waiting: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, int]] = WeakKeyDictionary()
"""Number of calls of :func:`settle` that wait for a loop now."""


def own_loop() -> asyncio.BaseEventLoop:
    """Return the running event loop. Raises ``ConfigurationError`` if it is not one of asyncio's own."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, asyncio.BaseEventLoop):
        kind = f"{type(loop).__module__}.{type(loop).__name__}"
        raise ConfigurationError(
            f"the test client has to see what waits in the event loop, and {kind} does not show it: "
            "run these tests on asyncio's own loop"
        )
    return loop


async def settle() -> bool:
    """Run the event loop until every task waits. Return ``False`` if that does not happen.

    Ready network I/O is handled; timers, threads and other processes are not waited for.
    """
    loop = own_loop()
    ready: deque[Any] = cast("Any", loop)._ready
    _waiting[loop] = _waiting.get(loop, 0) + 1
    try:
        for _ in range(_MAX_TURNS):
            await asyncio.sleep(0)
            # Everything that ran earlier in this turn has put its next steps into the queue. Each concurrent call of
            # settle() has exactly one entry there.
            if len(ready) < _waiting[loop] and not is_due(loop):
                return True
    finally:
        _waiting[loop] -= 1
    return False


def is_due(loop: asyncio.BaseEventLoop) -> bool:
    """Tell whether a timer is due now."""
    when = next_timer(loop)
    return when is not None and when <= loop.time()


def next_timer(loop: asyncio.BaseEventLoop) -> float | None:
    """Return the time at which the next timer is due, in the loop's time; ``None`` if there is none."""
    scheduled: list[asyncio.TimerHandle] = cast("Any", loop)._scheduled
    if scheduled and not scheduled[0].cancelled():  # a heap
        return scheduled[0].when()
    return min((timer.when() for timer in scheduled if not timer.cancelled()), default=None)


async def wait(future: asyncio.Future[Any], within: float) -> bool:
    """Wait for a future while the loop is busy, then up to ``within`` seconds. Return true if the future is done.

    The seconds are real ones even with a simulated clock: they are for threads and other processes.
    """
    check_timeout("within", within)
    if not future.done():
        await settle()
    if future.done() or within <= 0:
        return future.done()
    loop = asyncio.get_running_loop()
    over = loop.create_future()

    def end() -> None:
        if not over.done():
            over.set_result(None)

    def ring() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(end)

    timer = threading.Timer(within, ring)  # a timer of the loop would follow a simulated clock
    timer.daemon = True
    timer.start()
    try:
        await asyncio.wait({future, over}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        timer.cancel()
    return future.done()
