"""The small, frozen values that every layer shares. Imports nothing of the project."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from aiohttp import web


class PacketType(enum.IntEnum):
    """Packet types of the Socket.IO protocol v5 (section "Packet encoding").

    ``BINARY_EVENT`` and ``BINARY_ACK`` exist on the wire only: a serializer hands out ``EVENT`` and ``ACK``.
    """

    CONNECT = 0
    DISCONNECT = 1
    EVENT = 2
    ACK = 3
    CONNECT_ERROR = 4
    BINARY_EVENT = 5
    BINARY_ACK = 6


class Packet(msgspec.Struct):
    """One Socket.IO packet, before it is encoded or after it was decoded.

    ``data`` is a list (event name first) for ``EVENT``, a list for ``ACK``, a mapping for ``CONNECT`` and
    ``CONNECT_ERROR``, and ``None`` where the packet carries nothing.
    """

    type: int
    nsp: str = "/"
    data: Any = None
    id: int | None = None


RESERVED_EVENTS: Final = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)
"""Event names that no client may send and no server may emit (socket.io-parser's list)."""


class DisconnectReason(enum.StrEnum):
    """Why a socket went away: Node's strings, word for word, and those that only this server has."""

    CLIENT_NAMESPACE_DISCONNECT = "client namespace disconnect"
    SERVER_NAMESPACE_DISCONNECT = "server namespace disconnect"
    SERVER_SHUTTING_DOWN = "server shutting down"
    PING_TIMEOUT = "ping timeout"
    TRANSPORT_CLOSE = "transport close"
    TRANSPORT_ERROR = "transport error"
    PARSE_ERROR = "parse error"
    FORCED_CLOSE = "forced close"
    FORCED_SERVER_CLOSE = "forced server close"
    SLOW_CONSUMER = "slow consumer"


_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Handshake:
    """What is known of a client when it asks for a namespace.

    ``auth`` is what the client gave as ``auth`` (an object, empty when it gave none); the rest describes the HTTP
    request that opened the connection. Header names are matched without regard to case. Whatever may hold a token is
    left out of ``repr``, so that logging a handshake gives nothing away.
    """

    auth: Mapping[str, Any] = field(default_factory=lambda: _EMPTY, repr=False)
    headers: Mapping[str, str] = field(default_factory=lambda: _EMPTY, repr=False)
    query: Mapping[str, str] = field(default_factory=lambda: _EMPTY, repr=False)
    cookies: Mapping[str, str] = field(default_factory=lambda: _EMPTY, repr=False)
    address: str | None = None
    """The client's IP address: the peer's, or what the server's ``trusted_proxies`` say."""
    secure: bool = False
    """Whether the request came over TLS; with ``trusted_proxies``, whether it reached them over TLS."""
    xdomain: bool = False
    """Whether the request carried an ``Origin`` of another host."""
    time: float = 0.0
    """When the connection was opened, in seconds since the epoch."""
    url: str = field(default="", repr=False)
    """Path and query of the request."""
    nsp: str = "/"
    """The namespace asked for."""


@dataclass(frozen=True, slots=True)
class ConnectionFailure:
    """A request that the engine has refused: what handlers of ``io.engine.on("connection_error")`` get.

    ``code`` and ``message`` are Engine.IO's: 0 "Transport unknown", 1 "Session ID unknown", 2 "Bad handshake method",
    3 "Bad request", 4 "Forbidden", 5 "Unsupported protocol version". ``context`` says more, e.g. ``{"transport": "x"}``
    or ``{"name": "TRANSPORT_MISMATCH", …}``; it may hold what the client sent, and is not for it.
    """

    request: web.Request = field(repr=False)
    code: int
    message: str
    context: Mapping[str, Any] = field(default_factory=lambda: _EMPTY)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a client is. An authenticator may return any object; this one serves when nothing else is at hand.

    Example::

        Identity("42", name="Ada", roles=frozenset({"admin"}))
    """

    id: str
    name: str = ""
    roles: frozenset[str] = frozenset()
    claims: Mapping[str, Any] = field(default_factory=lambda: _EMPTY)


@dataclass(frozen=True, slots=True)
class Target:
    """Which sockets of a namespace a broadcast goes to, and how.

    ``rooms`` is ``None`` for every socket of the namespace; an empty set reaches nobody. A socket in several of the
    rooms is reached once; one in any room of ``except_`` is not reached. A socket is in the room of its own id.
    """

    rooms: frozenset[str] | None = None
    except_: frozenset[str] = frozenset()
    volatile: bool = False
    """Drop the packet for clients whose transport is not ready to take it."""
    local: bool = False
    """Only sockets of this server, in a cluster."""
    compress: bool = True
    """Compress the packet for clients whose transport does that."""


EVERYBODY: Final = Target()


@dataclass(frozen=True, slots=True)
class SocketDetails:
    """What one server of a cluster tells another about a socket."""

    id: str
    handshake: Handshake
    rooms: frozenset[str]
    data: dict[str, Any]
    """Of a socket of this server, the socket's own; of another server's, a copy."""


@dataclass(frozen=True, slots=True)
class AckResponses(Mapping[str, Any]):
    """The answers of several sockets, by socket id; ``missing`` are those that left before they answered.

    The answers of several servers, by what their adapter calls them, when servers were asked.

    Example::

        votes = await io.to("room").timeout(5).emit_with_ack("vote?")
        yes = [sid for sid, vote in votes.items() if vote == "yes"]
    """

    responses: Mapping[str, Any]
    missing: tuple[str, ...] = ()

    def __getitem__(self, sid: str) -> Any:
        return self.responses[sid]

    def __iter__(self) -> Iterator[str]:
        return iter(self.responses)

    def __len__(self) -> int:
        return len(self.responses)
