"""Small, frozen values that every layer uses. Imports nothing of the project."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from aiohttp import web


class PacketType(enum.IntEnum):
    """Packet types of the Socket.IO protocol v5 (section "Packet encoding").

    ``BINARY_EVENT`` and ``BINARY_ACK`` exist on the wire only: a serializer decodes them into ``EVENT`` and ``ACK``.
    """

    CONNECT = 0
    DISCONNECT = 1
    EVENT = 2
    ACK = 3
    CONNECT_ERROR = 4
    BINARY_EVENT = 5
    BINARY_ACK = 6


class Packet(msgspec.Struct):
    """One Socket.IO packet, before encoding or after decoding.

    ``data`` is a list (event name first) for ``EVENT``, a list for ``ACK``, a mapping for ``CONNECT`` and
    ``CONNECT_ERROR``, and ``None`` where the packet carries nothing.
    """

    type: int
    nsp: str = "/"
    data: Any = None
    id: int | None = None


class KeptPacket(Packet):
    """The packet of an event that is kept in the history of a room; the last of ``data`` is the id of its entry.

    ``at``: the time at which it was emitted, in milliseconds since the epoch.
    """

    at: int = 0


RESERVED_EVENTS: Final = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)
"""Event names that clients may not send and servers may not emit (socket.io-parser's list)."""


class DisconnectReason(enum.StrEnum):
    """Reasons of a disconnect: Node's strings, word for word, and those that only this server has."""

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
    RATE_LIMITED = "rate limited"
    MISSED_PACKETS = "missed packets"
    KICKED = "kicked"
    TOKEN_EXPIRED = "token_expired"
    TOKEN_REVOKED = "token_revoked"


_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Handshake:
    """The data of a client that connects to a namespace.

    ``auth`` is the client's ``auth`` object, empty if it sent none; the rest describes the HTTP request that opened the
    connection. Header names are matched case-insensitively. Fields that may hold a token are left out of ``repr``, so
    that a logged handshake reveals none.
    """

    auth: Mapping[str, Any] = field(default_factory=lambda: _EMPTY, repr=False)
    headers: Mapping[str, str] = field(default_factory=lambda: _EMPTY, repr=False)
    query: Mapping[str, str] = field(default_factory=lambda: _EMPTY, repr=False)
    cookies: Mapping[str, str] = field(default_factory=lambda: _EMPTY, repr=False)
    address: str | None = None
    """The client's IP address: the peer's, or the one reported by the server's ``trusted_proxies``."""
    secure: bool = False
    """True if the request came over TLS; with ``trusted_proxies``, if it reached them over TLS."""
    xdomain: bool = False
    """True if the request had an ``Origin`` of another host."""
    time: float = 0.0
    """Time at which the connection was opened, in seconds since the epoch."""
    url: str = field(default="", repr=False)
    """Path and query of the request."""
    nsp: str = "/"
    """The namespace that the client connects to."""


@dataclass(frozen=True, slots=True)
class ConnectionFailure:
    """A request that the engine has refused, as passed to handlers of ``io.engine.on("connection_error")``.

    ``code`` and ``message`` are Engine.IO's: 0 "Transport unknown", 1 "Session ID unknown", 2 "Bad handshake method",
    3 "Bad request", 4 "Forbidden", 5 "Unsupported protocol version". ``context`` has details, e.g.
    ``{"transport": "x"}`` or ``{"name": "TRANSPORT_MISMATCH", …}``; it may contain data of the client, and is not sent
    to it.
    """

    request: web.Request = field(repr=False)
    code: int
    message: str
    context: Mapping[str, Any] = field(default_factory=lambda: _EMPTY)


@dataclass(frozen=True, slots=True)
class Identity:
    """A user, for authenticators without a user class of their own; they may also return any other object.

    Example::

        Identity("42", name="Ada", roles=frozenset({"admin"}))
    """

    id: str
    name: str = ""
    roles: frozenset[str] = frozenset()
    claims: Mapping[str, Any] = field(default_factory=lambda: _EMPTY)


@dataclass(frozen=True, slots=True)
class Device:
    """The device of a client, as ``auth.device`` names it: ``socket.device``.

    A client that knows its id can claim to be the device: it is no proof of anything. Let nobody in because of it.
    """

    id: str
    is_new: bool
    """True if the server has not seen it before with this user, or has forgotten it. Without ``Server(devices=...)``,
    or while the store cannot be reached, true if the client does not say when it was there."""
    seen: datetime | None = None
    """Time at which the client says that it was there last, not later than now."""
    last_seen: datetime | None = None
    """Time at which the server has seen it last, before this connection; ``None`` if it does not know."""


def identity_of(user: Any) -> Any:
    """Return the key that identifies a user: its ``id`` if it has one, else the user itself."""
    return getattr(user, "id", user)


@dataclass(frozen=True, slots=True)
class Target:
    """The sockets of a namespace that a broadcast goes to, and its flags.

    ``rooms``: ``None`` for all sockets of the namespace; an empty set selects no socket. A socket in several of the
    rooms is selected once; a socket in any room of ``except_`` is not selected. Each socket is in the room of its id.
    """

    rooms: frozenset[str] | None = None
    except_: frozenset[str] = frozenset()
    volatile: bool = False
    """Drop the packet for clients whose transport is not ready to take it."""
    local: bool = False
    """Select only sockets of this server, in a cluster."""
    compress: bool = True
    """Compress the packet for clients whose transport supports it."""


EVERYBODY: Final = Target()


@dataclass(frozen=True, slots=True)
class SocketDetails:
    """The data of a socket that the servers of a cluster exchange."""

    id: str
    handshake: Handshake
    rooms: frozenset[str]
    data: dict[str, Any]
    """For a socket of this server, its own ``data``; for one of another server, a copy."""


@dataclass(frozen=True, slots=True)
class Health:
    """The state of a server's connection to the others of its cluster."""

    up: bool
    """True if what is emitted reaches the other servers."""
    reason: str = ""
    """The reason why it is not up, in words."""


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """One server of a cluster, as :meth:`rtframework.Cluster.nodes` describes it.

    A server of Node is only counted: its ``name`` is ``"?"``, its ``runtime`` ``"unknown"``, the rest ``None``.
    """

    name: str
    """The name in the cluster; no other server has it."""
    host: str | None = None
    """The name of its machine."""
    pid: int | None = None
    version: str | None = None
    """The version of the framework."""
    started: float | None = None
    """Time at which it began to serve, in seconds since the epoch, by its own clock."""
    sockets: int | None = None
    """Sockets of all namespaces; of another server as it was up to 5 seconds ago."""
    is_self: bool = False
    runtime: str = "rtframework"


@dataclass(frozen=True, slots=True)
class ClusterUp:
    """The other servers can be reached again, see :meth:`rtframework.Cluster.on`."""

    away: float
    """Seconds for which they could not be reached."""


@dataclass(frozen=True, slots=True)
class ClusterDown:
    """The other servers cannot be reached."""

    reason: str
    """The reason in words; empty if nobody knows."""


@dataclass(frozen=True, slots=True)
class ClusterGap:
    """Packets of other servers may have been missed. Clients that can recover are closed, and start anew."""

    namespaces: tuple[str, ...]
    """The namespaces in which packets may be missing."""
    since: float
    """Time of the last packet that is surely there, in seconds since the epoch; 0.0 if another server has told of the
    gap, and nothing is left from before."""


@dataclass(frozen=True, slots=True)
class ClusterLoss:
    """An emit that the other servers did not get, and will not get; if its error is ``uncertain``, they perhaps do."""

    namespace: str
    event: str | int
    args: tuple[Any, ...] = field(repr=False)
    target: Target
    """The sockets that the event was for."""
    local: bool
    """True if this server's clients have got it (``delivery="local-first"``), false if nobody has."""
    error: Exception
    """The :class:`~rtframework.ClusterUnavailable` that the emit has raised, or would have raised."""


@dataclass(frozen=True, slots=True)
class ClusterTraffic:
    """Counts of a server's connection to the others, from its construction on but for ``pending_bytes``."""

    published: int = 0
    """Messages that were sent to the other servers."""
    received: int = 0
    """Messages of other servers that arrived."""
    pending_bytes: int = 0
    """Bytes that wait at this moment until the other servers have them."""
    reconnects: int = 0
    """Connections that were opened again after one had ended."""


@dataclass(frozen=True, slots=True)
class Member:
    """One user in a room with :class:`~rtframework.Presence`, see ``io.presence``."""

    user: str
    """The id of the user as text; the socket's id for a socket without a user."""
    meta: Any = None
    """What others are shown of the user."""
    tabs: int = 1
    """The user's sockets in the room, on all servers; 0 while the last one is lost and may come back."""
    since: float = 0.0
    """Time at which the user came, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class AckResponses(Mapping[str, Any]):
    """The answers of several sockets, by socket id. ``missing``: the ids of those that left before they answered,
    and the names of servers that left the cluster before their sockets had answered.

    If servers were asked, the answers are those of the servers, by the names that their adapter gives them.

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


class HistoryEntry:
    """One event in the history of a room.

    ``id``: grows from entry to entry of a room; opaque to clients. ``at``: the time at which it was emitted, in
    milliseconds since the epoch. ``except_``: the rooms whose sockets have not got it. ``text``: event and arguments as
    a JSON array; ``None`` if there are bytes among them, or if the serializer does not write JSON.
    """

    __slots__ = ("_data", "at", "except_", "id", "text")

    def __init__(
        self,
        id: str,
        at: int,
        *,
        text: str | None = None,
        data: Sequence[Any] | None = None,
        except_: frozenset[str] = frozenset(),
    ) -> None:
        self.id = id
        self.at = at
        self.except_ = except_
        self.text = text
        self._data = data

    @property
    def data(self) -> Sequence[Any]:
        """The event's name and its arguments."""
        if self._data is None:
            self._data = msgspec.json.decode(self.text or "[]")
        return self._data

    @property
    def event(self) -> str | int:
        """The name of the event."""
        name: str | int = self.data[0]
        return name

    @property
    def args(self) -> tuple[Any, ...]:
        """The arguments, without the entry's id."""
        return tuple(self.data[1:])

    def dump(self) -> bytes:
        """Return event and arguments as bytes, for a store: JSON, or MessagePack if there is no JSON of them."""
        return msgspec.msgpack.encode(self._data) if self.text is None else self.text.encode()

    @classmethod
    def load(cls, id: str, at: int, body: bytes, except_: frozenset[str] = frozenset()) -> HistoryEntry:
        """Make an entry of what :meth:`dump` has returned. Raises ``ValueError`` if it is damaged."""
        if body[:1] == b"[":
            return cls(id, at, text=body.decode(), except_=except_)
        return cls(id, at, data=msgspec.msgpack.decode(body), except_=except_)

    def with_id(self, id: str) -> HistoryEntry:
        """Return the same entry with an id."""
        return HistoryEntry(id, self.at, text=self.text, data=self._data, except_=self.except_)

    @property
    def size(self) -> int:
        """Bytes of event and arguments, about."""
        return len(self.text) if self.text is not None else weigh(self._data)

    def __repr__(self) -> str:
        return f"<HistoryEntry {self.id} {self.event!r}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, HistoryEntry):
            return NotImplemented
        mine, theirs = (self.id, self.at, self.except_), (other.id, other.at, other.except_)
        return mine == theirs and list(self.data) == list(other.data)

    __hash__ = None  # type: ignore[assignment]  # its arguments may be changed


_NUMBERED: Final = re.compile(r"(.*?)(?<!\d)(\d{1,20})(?:-(\d{1,20}))?", re.ASCII)


def place_of(entry: str) -> tuple[str, int, int] | None:
    """Return the epoch of the id of an entry, and its numbers, by which ids of one epoch are ordered; or ``None``."""
    found = _NUMBERED.fullmatch(entry)
    return None if found is None else (found[1], int(found[2]), int(found[3] or 0))


def weigh(value: Any) -> int:
    """Return the bytes that a value of JSON's own types and bytes takes, about."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, dict):
        return sum(weigh(key) + weigh(each) for key, each in value.items())
    return sum(map(weigh, value)) if isinstance(value, list | tuple) else 8


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Entries of a room's history, the oldest first.

    ``gap``: entries after the one that was asked for are gone: too old, too many, or the store has begun anew.
    ``more``: there are further ones, before the first or, if the oldest were asked for, after the last.
    """

    entries: tuple[HistoryEntry, ...] = ()
    gap: bool = False
    more: bool = False


@dataclass(frozen=True, slots=True)
class KeptRoom:
    """A room whose history is kept, and how much of it: ``size`` entries, for ``ttl`` seconds if there is a limit."""

    name: str
    size: int
    ttl: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryQuery:
    """The entries of a room that are asked for: those after one id, before another, at most ``limit`` of them.

    ``oldest``: the first of them, not the last. ``max_bytes``: no more entries once they have so many, but one at
    least. ``upto``: none after the one with this id; only stores of the framework's own are asked for that.
    """

    after: str | None = None
    before: str | None = None
    upto: str | None = None
    limit: int = 50
    max_bytes: int = 262_144
    oldest: bool = False
