"""Sockets that join or leave rooms: all of them, then the first error."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

from ..exceptions import EventError


def all_moved(waiting: Sequence[Awaitable[None]], refused: EventError | None = None) -> Awaitable[None]:
    """Wait for what adapters have returned, then raise the first error. ``refused``: a socket's, which comes last."""
    return waiting[0] if len(waiting) == 1 and refused is None else _all(waiting, refused)


async def _all(waiting: Sequence[Awaitable[None]], refused: EventError | None) -> None:
    for each in await asyncio.gather(*waiting, return_exceptions=True):
        if isinstance(each, BaseException):
            raise each
    if refused is not None:
        raise refused
