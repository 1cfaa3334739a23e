"""Emitters that wait for slow clients."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from .connection import Connection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Sequence

    from ..protocols import Outlet
    from .outbox import Outbox

ASK_AGAIN: Final = 0.02
"""Seconds between two looks at a client that somebody waits for."""


def room_for(outlets: Sequence[Outlet], congested: set[Outbox], timeout: float) -> Awaitable[None] | None:
    """Return something to wait for until each of these clients has room again; ``None`` when they have.

    Those that have none after ``timeout`` seconds are cut off. Outlets that are no connections of Engine.IO are not
    waited for.
    """
    slow = [each.outbox for each in outlets if isinstance(each, Connection) and each.outbox in congested]
    return until_room(slow, congested, timeout) if slow else None


async def until_room(outboxes: Iterable[Outbox], congested: set[Outbox], timeout: float) -> None:
    """Wait until each outbox has room again or is given up, and take it out of the congested ones.

    Neither the transport nor a polling client says when something has left, so they are asked: only slow clients cost
    this.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    for outbox in outboxes:
        while outbox.full:
            if loop.time() >= deadline:
                outbox.give_up()
            else:
                await asyncio.sleep(ASK_AGAIN)
        congested.discard(outbox)
