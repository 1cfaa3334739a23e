"""What a server counts whether or not anybody asks: what is rare. What happens per message is not among it."""

from __future__ import annotations

from typing import Final

from .types import DisconnectReason

OTHER: Final = "(other)"
"""What is counted under this name has a name beyond those that are told apart."""
UNKNOWN: Final = "(unknown)"
"""What events are called that nobody listens to: a client makes up as many names as it likes."""
MOST: Final = 200
"""Kinds that are told apart in one table: programs make up codes of errors, and metrics keep a series for each."""

CLOSED: Final = tuple(each.value for each in DisconnectReason if each != DisconnectReason.CLIENT_NAMESPACE_DISCONNECT)
DROPPED: Final = ("volatile", "slow_consumer", "drop_oldest", "not_admitted", "closed")
REQUESTS_REFUSED: Final = (
    "transport_unknown",
    "session_id_unknown",
    "bad_handshake_method",
    "bad_request",
    "forbidden",
    "unsupported_protocol_version",
)
CONNECTED: Final = "connected"
AUTHENTICATION: Final = "authentication"
MIDDLEWARE: Final = "middleware"
CONNECTION_HANDLER: Final = "connection_handler"
INTERNAL_ERROR: Final = "internal_error"
INVALID_NAMESPACE: Final = "invalid_namespace"
GONE: Final = "gone"
CONNECTS: Final = (CONNECTED, AUTHENTICATION, MIDDLEWARE, CONNECTION_HANDLER, INTERNAL_ERROR, INVALID_NAMESPACE, GONE)
"""What becomes of a client that asks for a namespace; see :class:`rtframework.Stats`."""
EVENTS_REFUSED: Final = ("invalid_payload", "unknown_event", "internal_error")
RECOVERED: Final = "recovered"
NOT_FOUND: Final = "not_found"
ANOTHER_USER: Final = "another_user"
UNCERTAIN: Final = "uncertain"
TOO_MUCH: Final = "too_much"
RECOVERIES: Final = (RECOVERED, NOT_FOUND, ANOTHER_USER, UNCERTAIN, TOO_MUCH)


class Counters:
    """The counters of one server, from zero when it is made; see :class:`rtframework.Stats` for what each means.

    The names that are known beforehand are there with 0, so that a graph of them begins at zero.
    """

    __slots__ = (
        "closed",
        "connects",
        "dropped",
        "events_refused",
        "opened",
        "recoveries",
        "requests_refused",
        "upgrades",
    )

    def __init__(self) -> None:
        self.opened = 0
        self.upgrades = 0
        self.closed = dict.fromkeys(CLOSED, 0)
        self.requests_refused = dict.fromkeys(REQUESTS_REFUSED, 0)
        self.connects = dict.fromkeys(CONNECTS, 0)
        self.recoveries = dict.fromkeys(RECOVERIES, 0)
        self.events_refused = dict.fromkeys(EVENTS_REFUSED, 0)
        self.dropped = dict.fromkeys(DROPPED, 0)


def add(table: dict[str, int], key: str, count: int = 1) -> None:
    """Count something, under its own name while there are not too many."""
    if key not in table and len(table) >= MOST:
        key = OTHER
    table[key] = table.get(key, 0) + count
