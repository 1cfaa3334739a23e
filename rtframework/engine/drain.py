"""Clients sent away a few at a time, so that they do not all come back at once, before a server ends."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from typing import TYPE_CHECKING, Final

from ..types import DisconnectReason
from .collector import tables

if TYPE_CHECKING:
    from .connection import Connection
    from .connection_table import ConnectionTable

log: Final = logging.getLogger("rtframework.engine")

_PAUSE: Final = 0.1
"""Seconds between two batches, on average."""
_LEAST_RATE: Final = 100
"""Clients that leave in a second, at least: few clients need not take all of the time."""
_FAREWELL: Final = 2.5
"""Seconds that clients have to take what waits for them, after the last batch."""


async def drain(table: ConnectionTable, seconds: float) -> None:
    """Open no more connections, and close those that there are, in batches over so many seconds at most.

    Return when they have ended, or 2.5 seconds after the last batch. Clients come back by themselves, and are recovered
    where that is possible.
    """
    table.is_draining = True
    if table.by_sid:
        log.info("draining: %d clients leave", len(table.by_sid), extra={"count": len(table.by_sid)})
    loop = asyncio.get_running_loop()
    end = loop.time() + min(seconds, len(table.by_sid) / _LEAST_RATE)
    closed: list[Connection] = []
    while True:
        connections = [each for each in table.by_sid.values() if each.is_open]
        left = end - loop.time()
        pause = min(left, _PAUSE * random.uniform(0.5, 1.5))
        for each in random.sample(connections, batch_of(len(connections), pause, left)):
            each.close(DisconnectReason.SERVER_SHUTTING_DOWN)
            closed.append(each)
        if pause <= 0 or not connections:
            break
        await asyncio.sleep(pause)
    try:
        async with asyncio.timeout(_FAREWELL):
            for each in closed:
                await each.wait_closed()
    except TimeoutError:
        pass


async def drain_all(seconds: float) -> None:
    """Drain all servers of this process that serve."""
    await asyncio.gather(*(drain(table, seconds) for table in tables))


def batch_of(connections: int, pause: float, left: float) -> int:
    """Return how many of so many connections are to be closed at once: the share of the pause in the time left."""
    return connections if left <= pause or left <= 0 else math.ceil(connections * pause / left)
