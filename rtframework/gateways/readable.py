"""The rooms that clients may ask for: none unless the program says so."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any, Final, TypeAlias

from ..concurrency import maybe_await
from ..exceptions import ConfigurationError, ConnectionRefused
from ..logs import ThrottledLog

log: Final = logging.getLogger("rtframework.gateways")

Rooms: TypeAlias = Collection[str] | Callable[[Any, list[str]], Any]
"""The rooms that clients may ask for, or a function of the socket and of those that it asks for."""

_not_allowed: Final = ThrottledLog(
    log, logging.WARNING, "refused a client that asks for rooms: write attach_sse(..., rooms=...) to allow some"
)


async def allowed_rooms(rooms: Rooms | None, socket: Any, asked: list[str]) -> list[str]:
    """Return the rooms that a socket may read of those that it asks for. Raises ``ConnectionRefused``."""
    if rooms is None:
        if asked:
            _not_allowed(extra={"nsp": socket.nsp})
            raise _forbidden()
        return []
    if not callable(rooms):
        if any(room not in rooms for room in asked):
            raise _forbidden()
        return asked
    answer = await maybe_await(rooms(socket, list(asked)))
    if isinstance(answer, bool) or answer is None:
        if asked and not answer:
            raise _forbidden()
        return asked
    if isinstance(answer, str) or not isinstance(answer, Collection):
        raise ConfigurationError(f"attach_sse(rooms=...) returns the rooms that a socket may read, not {answer!r}")
    allowed = list(dict.fromkeys(answer))
    if asked and not allowed:
        raise _forbidden()
    return allowed


def _forbidden() -> ConnectionRefused:
    return ConnectionRefused("These rooms may not be read", {"code": "rooms_not_allowed"})
