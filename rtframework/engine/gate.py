"""The gate for new connections: bans, rates and caps that a handshake has to pass."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

from .. import counters
from ..limits.addresses import network_of
from .descriptors import highest_number, number_of

if TYPE_CHECKING:
    from aiohttp import web

    from ..options import Limits
    from .connection_table import ConnectionTable

RETRY_AFTER: Final = 5
"""Seconds after which a client that found no room may ask again."""


class Closed(NamedTuple):
    """The reason why a handshake does not pass."""

    name: str
    """As listeners for ``"connection_error"`` get it, and, in lower case, ``Stats.requests_refused``."""
    status: int
    message: str
    retry_after: int = 0
    """Seconds; 0: unknown."""
    hang_up: bool = False
    """True if the TCP connection should end, so that its descriptor is free."""

    def headers(self, headers: dict[str, str]) -> dict[str, str]:
        """Add ``Retry-After`` to the headers of a response."""
        return {**headers, "Retry-After": str(self.retry_after)} if self.retry_after else headers


CLOSING: Final = Closed("SERVER_CLOSING", 503, "Forbidden")
_DRAINING: Final = Closed("SERVER_DRAINING", 503, "Forbidden", 1, True)
_FULL: Final = Closed("TOO_MANY_CONNECTIONS", 503, "Too many connections", RETRY_AFTER, True)
_FULL_FOR_ADDRESS: Final = Closed("TOO_MANY_CONNECTIONS_OF_ADDRESS", 429, "Too many connections", RETRY_AFTER)


class Gate:
    """Decides by counts alone if a request may open a connection."""

    __slots__ = ("_highest", "_limits", "_table")

    def __init__(self, limits: Limits, table: ConnectionTable) -> None:
        self._limits = limits
        self._table = table
        self._highest = highest_number()

    def closed_for(self, request: web.Request, *, again: bool = False) -> Closed | None:
        """Return why a request may open no connection; ``None`` if it may. ``again``: it has been asked before."""
        if self._table.is_closing:
            return CLOSING
        if self._table.is_draining:
            return _DRAINING
        guard, address = self._table.guard, request.remote
        if guard.bans.until:
            left = guard.bans.left(address)
            if left:
                guard.hit(counters.BANNED, address=address)
                return Closed("BANNED", 403, "Forbidden", math.ceil(left))
        if guard.handshakes is not None and not again:
            wait = guard.handshakes.take(None, address)
            if wait:
                guard.hit(counters.HANDSHAKES, address=address)
                return Closed("TOO_MANY_HANDSHAKES", 429, "Too many handshakes", math.ceil(wait))
        return self._without_room(request, address)

    def _without_room(self, request: web.Request, address: str | None) -> Closed | None:
        most, guard = self._limits.max_connections, self._table.guard
        if most is not None:
            is_full = len(self._table.by_sid) >= most
        else:
            is_full = self._highest is not None and number_of(request) >= self._highest
        if is_full:
            guard.hit(counters.MAX_CONNECTIONS, address=address)
            return _FULL
        if self._table.by_address is not None and address:
            most = self._limits.max_connections_per_address
            if most is not None and self._table.by_address.count(network_of(address)) >= most:
                guard.hit(counters.MAX_CONNECTIONS_PER_ADDRESS, address=address)
                return _FULL_FOR_ADDRESS
        return None
