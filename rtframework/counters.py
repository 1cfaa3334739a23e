"""Counters of rare events, which a server always counts; messages are not counted here."""

from __future__ import annotations

from typing import Final

from .types import DisconnectReason

OTHER: Final = "(other)"
"""The key for names beyond the first ``MOST`` of a table."""
UNKNOWN: Final = "(unknown)"
"""The key for events without a handler: a client can send any number of different names."""
MOST: Final = 200
"""Maximum number of keys in a table: error codes are chosen by the program, and metrics keep a series for each."""

CLOSED: Final = tuple(each.value for each in DisconnectReason if each != DisconnectReason.CLIENT_NAMESPACE_DISCONNECT)
DROPPED: Final = ("volatile", "slow_consumer", "drop_oldest", "not_admitted", "not_encoded", "closed")
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
LIMITED_CONNECT: Final = "limited"
GONE: Final = "gone"
CONNECTS: Final = (
    CONNECTED,
    AUTHENTICATION,
    MIDDLEWARE,
    CONNECTION_HANDLER,
    INTERNAL_ERROR,
    INVALID_NAMESPACE,
    LIMITED_CONNECT,
    GONE,
)
"""The outcomes of a client's CONNECT to a namespace; see :class:`rtframework.Stats`."""
EVENTS_REFUSED: Final = ("invalid_payload", "unknown_event", "internal_error", "rate_limited")
EVENTS: Final = "events"
BYTES: Final = "bytes"
HANDLER: Final = "handler"
CONNECT_RATE: Final = "connects"
REFUSALS: Final = "refusals"
HANDSHAKES: Final = "handshakes"
MAX_CONNECTIONS: Final = "max_connections"
MAX_CONNECTIONS_PER_ADDRESS: Final = "max_connections_per_address"
MAX_CONNECTIONS_PER_USER: Final = "max_connections_per_user"
MAX_UNCONNECTED: Final = "max_unconnected"
BANNED: Final = "banned"
LIMITED: Final = (
    EVENTS,
    BYTES,
    HANDLER,
    CONNECT_RATE,
    REFUSALS,
    HANDSHAKES,
    MAX_CONNECTIONS,
    MAX_CONNECTIONS_PER_ADDRESS,
    MAX_CONNECTIONS_PER_USER,
    MAX_UNCONNECTED,
    BANNED,
)
"""The limits that clients may be beyond; see :class:`rtframework.Stats`."""
RECOVERED: Final = "recovered"
NOT_FOUND: Final = "not_found"
ANOTHER_USER: Final = "another_user"
UNCERTAIN: Final = "uncertain"
TOO_MUCH: Final = "too_much"
RECOVERIES: Final = (RECOVERED, NOT_FOUND, ANOTHER_USER, UNCERTAIN, TOO_MUCH)

ANSWERED: Final = "answered"
WAITED: Final = "waited"
UNAVAILABLE: Final = "unavailable"
NOT_SAVED: Final = "not_saved"
NOT_KEPT: Final = "not_kept"
FORGOTTEN: Final = "forgotten"
DISCARDED: Final = "discarded"
REPEATS: Final = (ANSWERED, WAITED, UNAVAILABLE, NOT_SAVED, NOT_KEPT, FORGOTTEN, DISCARDED)
"""What became of events that are served once; see :class:`rtframework.Stats`."""


class Counters:
    """The counters of one server, starting at zero; :class:`rtframework.Stats` describes each.

    All keys that the framework knows are there from the start with 0, so that a graph of them begins at zero.
    """

    __slots__ = (
        "closed",
        "connects",
        "dropped",
        "events_refused",
        "limited",
        "opened",
        "recoveries",
        "repeats",
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
        self.repeats = dict.fromkeys(REPEATS, 0)
        self.events_refused = dict.fromkeys(EVENTS_REFUSED, 0)
        self.limited = dict.fromkeys(LIMITED, 0)
        self.dropped = dict.fromkeys(DROPPED, 0)


def add(table: dict[str, int], key: str, count: int = 1) -> None:
    """Add to a key of a table; a new key beyond the first ``MOST`` is counted under ``OTHER``."""
    if key not in table and len(table) >= MOST:
        key = OTHER
    table[key] = table.get(key, 0) + count
