"""Knowing that nothing more will come: letting the event loop run until there is nothing left for it to do."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

from ..exceptions import ConfigurationError

_MAX_TURNS: Final = 10_000
"""Turns of the event loop after which it is said not to come to rest."""

_waiting: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, int]] = WeakKeyDictionary()
"""How many wait for a loop to come to rest, at this moment."""


def own_loop() -> asyncio.BaseEventLoop:
    """The running event loop. Raises ``ConfigurationError`` when it is none of asyncio's own."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, asyncio.BaseEventLoop):
        kind = f"{type(loop).__module__}.{type(loop).__name__}"
        raise ConfigurationError(
            f"the test client has to see what waits in the event loop, and {kind} does not show it: "
            "run these tests on asyncio's own loop"
        )
    return loop


async def settle() -> bool:
    """Let everything run that can run, until all of it waits; ``False`` when that does not come to an end.

    What waits for the network is looked at, what waits for a time to come, for a thread or for another process is not.
    """
    loop = own_loop()
    ready: deque[Any] = cast("Any", loop)._ready
    _waiting[loop] = _waiting.get(loop, 0) + 1
    try:
        for _ in range(_MAX_TURNS):
            await asyncio.sleep(0)
            # Whatever ran in this turn before us has left what follows from it here; of the others who wait as we do,
            # each has exactly one entry.
            if len(ready) < _waiting[loop] and not is_due(loop):
                return True
    finally:
        _waiting[loop] -= 1
    return False


def is_due(loop: asyncio.BaseEventLoop) -> bool:
    """Return whether a timer is to run now."""
    when = next_timer(loop)
    return when is not None and when <= loop.time()


def next_timer(loop: asyncio.BaseEventLoop) -> float | None:
    """When the next timer is to run, in the loop's time; ``None`` when there is none."""
    scheduled: list[asyncio.TimerHandle] = cast("Any", loop)._scheduled
    if scheduled and not scheduled[0].cancelled():  # a heap
        return scheduled[0].when()
    return min((timer.when() for timer in scheduled if not timer.cancelled()), default=None)


async def wait(future: asyncio.Future[Any], within: float) -> bool:
    """Wait until a future is done, however it ends: while the loop has something to do, then ``within`` seconds more.

    They are real seconds, whatever the loop's clock says: time for threads and other processes.
    """
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

    timer = threading.Timer(within, ring)  # the loop's own would obey a simulated clock
    timer.daemon = True
    timer.start()
    try:
        await asyncio.wait({future, over}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        timer.cancel()
    return future.done()
