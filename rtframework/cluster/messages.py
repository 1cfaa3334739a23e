"""The messages between servers, as Node's ``ClusterAdapter`` (socket.io-adapter 2.5) speaks them.

A key that is absent stays absent: Node tests for ``undefined``, so that ``null`` and ``false`` would count as present.
The fields stand in the order in which Node writes them. ``x`` is what only servers of this framework add and read.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from itertools import count
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType, field

from ..exceptions import DecodeError
from ..packets import check_event
from ..types import Handshake, Packet, SocketDetails, Target
from .payloads import JSONReader, MsgpackReader

EMITTER: Final = "emitter"
"""The uid of programs that only emit; they serve no clients and answer nothing."""


class MessageType(IntEnum):
    """Types of messages. 1, 2 and 13 belong to adapters with a heartbeat; the others are never answered by them."""

    INITIAL_HEARTBEAT = 1
    HEARTBEAT = 2
    BROADCAST = 3
    SOCKETS_JOIN = 4
    SOCKETS_LEAVE = 5
    DISCONNECT_SOCKETS = 6
    FETCH_SOCKETS = 7
    FETCH_SOCKETS_RESPONSE = 8
    SERVER_SIDE_EMIT = 9
    SERVER_SIDE_EMIT_RESPONSE = 10
    BROADCAST_CLIENT_COUNT = 11
    BROADCAST_ACK = 12
    ADAPTER_CLOSE = 13


class Options(msgspec.Struct, gc=False):
    """The sockets that a message is for. Empty ``rooms``: all sockets of the namespace. ``flags`` is always sent."""

    rooms: list[str] = field(default_factory=list)
    except_: list[str] = field(default_factory=list, name="except")
    flags: dict[str, Any] = field(default_factory=dict)


class EventPacket(msgspec.Struct):
    """The packet of a broadcast: type 2 (EVENT) also with bytes; emitters add the namespace, Node rarely an id."""

    type: int
    data: list[Any]
    nsp: str | UnsetType = UNSET
    id: int | UnsetType = UNSET


class SocketRecord(msgspec.Struct):
    """A socket as ``fetchSockets`` describes it to other servers."""

    id: str
    handshake: dict[str, Any] = field(default_factory=dict)
    rooms: list[str] = field(default_factory=list)
    data: Any = field(default_factory=dict)


class Broadcast(msgspec.Struct):
    """Type 3: deliver an event. With a ``requestId``, the clients' answers are wanted."""

    packet: EventPacket
    requestId: str | UnsetType = UNSET
    opts: Options = field(default_factory=Options)


class SocketsRooms(msgspec.Struct):
    """Types 4 and 5: make sockets join or leave rooms."""

    opts: Options
    rooms: list[str]


class DisconnectSockets(msgspec.Struct):
    """Type 6: disconnect sockets. ``x.reason``: the reason for servers of this framework."""

    opts: Options
    close: bool = False
    x: dict[str, Any] | UnsetType = UNSET


class FetchSockets(msgspec.Struct):
    """Type 7: describe your sockets."""

    opts: Options
    requestId: str


class FetchedSockets(msgspec.Struct):
    """Type 8: the sockets of one server."""

    requestId: str
    sockets: list[SocketRecord]


class ServerSideEmit(msgspec.Struct):
    """Type 9: an event for the servers themselves. With a ``requestId``, an answer is wanted."""

    requestId: str | UnsetType = UNSET
    packet: list[Any] = field(default_factory=list)


class Answer(msgspec.Struct):
    """Types 10 and 12: the first argument of one answer. ``x.sid``: the client's id; ``x.args``: all arguments."""

    requestId: str
    packet: Any = None
    x: dict[str, Any] | UnsetType = UNSET


class ClientCount(msgspec.Struct):
    """Type 11: the number of clients that one server has asked."""

    requestId: str
    clientCount: int


Data: TypeAlias = (
    Broadcast | SocketsRooms | DisconnectSockets | FetchSockets | FetchedSockets | ServerSideEmit | Answer | ClientCount
)


class Message(msgspec.Struct):
    """A message with its sender (``uid``) and its namespace. ``data`` is ``None`` for types that carry none."""

    type: int
    data: Data | None
    uid: str
    nsp: str


_KINDS: Final[dict[int, type[Any]]] = {
    3: Broadcast,
    4: SocketsRooms,
    5: SocketsRooms,
    6: DisconnectSockets,
    7: FetchSockets,
    8: FetchedSockets,
    9: ServerSideEmit,
    10: Answer,
    11: ClientCount,
    12: Answer,
}
_JSON: Final = {kind: JSONReader(data) for kind, data in _KINDS.items()}
_MSGPACK: Final = {kind: MsgpackReader(data) for kind, data in _KINDS.items()}
_ANY_JSON: Final = JSONReader(dict[str, Any])
_ANY_MSGPACK: Final = MsgpackReader(dict[str, Any])

MAY_HOLD_BYTES: Final = frozenset({3, 8, 9, 10, 12})
"""Types whose data may hold bytes, and are then MessagePack."""


def new_id() -> str:
    """Make an id for a server or a request: 16 hex digits."""
    return secrets.token_hex(8)


def message_ids() -> Iterator[bytes]:
    """Make the ids of one writer's messages, 16 hex digits each: numbers that follow a random one.

    Two writers have an id in common as rarely as if each id was random, which would cost six times as much.
    """
    return map(b"%016x".__mod__, count(secrets.randbits(63)))


def read_json(kind: int, text: bytes | str) -> Data | None:
    """Decode the data of a message from JSON; ``None`` for an unknown type. Raises ``DecodeError``."""
    reader = _JSON.get(kind)
    return None if reader is None else _read(reader, _ANY_JSON, text)


def read_msgpack(kind: int, data: bytes | memoryview) -> Data | None:
    """Decode the data of a message from MessagePack; ``None`` for an unknown type. Raises ``DecodeError``."""
    reader = _MSGPACK.get(kind)
    return None if reader is None else _read(reader, _ANY_MSGPACK, data)


def _read(reader: Any, loose: Any, data: Any) -> Data:
    try:
        found = reader(data)
    except DecodeError as error:
        found = _read_loosely(reader.type, loose(data), error)
    if type(found) is Broadcast:
        check_packet(found.packet)
    elif type(found) is ServerSideEmit and not found.packet:
        raise DecodeError("invalid message of another server: an event without a name")
    return found  # type: ignore[no-any-return]


def _read_loosely(kind: type[Any], value: dict[str, Any], error: DecodeError) -> Any:
    """Read a message whose rooms are numbers, which JavaScript takes as it takes strings."""
    opts = value.get("opts")
    for holder in (value, opts if isinstance(opts, dict) else {}):
        for key in ("rooms", "except"):
            if isinstance(holder.get(key), list):
                holder[key] = [room_name(each) for each in holder[key]]
    try:
        return msgspec.convert(value, kind)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        raise error from None


def room_name(room: object) -> object:
    """Return the name of a room that is a number, as JavaScript writes it; anything else unchanged."""
    if isinstance(room, float) and room.is_integer() and abs(room) < 1e21:
        return str(int(room))
    return str(room) if isinstance(room, int | float) and not isinstance(room, bool) else room


def check_packet(packet: EventPacket) -> None:
    """Check that the packet of a broadcast is an event, with a name that clients accept. Raises ``DecodeError``."""
    if packet.type != 2:
        raise DecodeError("invalid message of another server: no event")
    check_event(packet.data)


# --- from and to the framework's own values ---------------------------------------------------------------------------


def options_of(target: Target, timeout: float | None = None) -> Options:
    """Turn a target into options. ``timeout``: seconds for answers, sent in milliseconds.

    Raises ``ValueError`` for a target that selects nobody: on the wire, no rooms are all sockets.
    """
    rooms = target.rooms
    if rooms is None:
        rooms = _NO_ROOMS
    elif not rooms:
        raise ValueError("a target without rooms selects nobody, and is not sent")
    flags: dict[str, Any] = {}
    if target.volatile:
        flags["volatile"] = True
    if not target.compress:
        flags["compress"] = False
    if timeout is not None:
        flags["timeout"] = round(timeout * 1000)
    return Options(list(rooms), list(target.except_), flags)


_NO_ROOMS: Final[frozenset[str]] = frozenset()


def target_of(opts: Options) -> Target:
    """Turn options into a target for the sockets of this server."""
    flags = opts.flags
    return Target(
        frozenset(opts.rooms) if opts.rooms else None,
        frozenset(opts.except_),
        volatile=bool(flags.get("volatile")),
        compress=flags.get("compress") is not False,
    )


def timeout_of(opts: Options) -> float | None:
    """Return the seconds that the sender waits for answers, ``None`` if it does not say."""
    timeout = opts.flags.get("timeout")
    return timeout / 1000 if isinstance(timeout, int | float) and not isinstance(timeout, bool) else None


def packet_of(message: Broadcast, nsp: str) -> Packet:
    """Turn a broadcast into a packet of a namespace. The ids of other servers mean nothing here."""
    return Packet(2, nsp, message.packet.data)


def record_of(socket: SocketDetails, plain: Callable[[Any], Any]) -> SocketRecord:
    """Describe a socket to other servers. ``plain`` turns its data into what can be sent, see ``to_plain``."""
    shake = socket.handshake
    handshake = {
        "headers": {name.lower(): value for name, value in shake.headers.items()},
        "time": _javascript_time(shake.time),
        "address": shake.address,
        "xdomain": shake.xdomain,
        "secure": shake.secure,
        "issued": round(shake.time * 1000),
        "url": shake.url,
        "query": dict(shake.query),
        "auth": plain(dict(shake.auth)),
    }
    return SocketRecord(socket.id, handshake, list(socket.rooms), plain(socket.data))


def details_of(record: SocketRecord, nsp: str) -> SocketDetails:
    """Read a description of another server. What is missing or of another kind in the handshake is left out."""
    raw = record.handshake
    issued = raw.get("issued")
    address = raw.get("address")
    url = raw.get("url")
    handshake = Handshake(
        auth=_mapping(raw.get("auth")),
        headers=_texts(raw.get("headers")),
        query=_texts(raw.get("query")),
        address=address if isinstance(address, str) else None,
        secure=raw.get("secure") is True,
        xdomain=raw.get("xdomain") is True,
        time=issued / 1000 if isinstance(issued, int | float) and not isinstance(issued, bool) else 0.0,
        url=url if isinstance(url, str) else "",
        nsp=nsp,
    )
    return SocketDetails(record.id, handshake, frozenset(record.rooms), dict(_mapping(record.data)))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _texts(value: object) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for name, each in _mapping(value).items():
        if isinstance(each, list):
            each = ", ".join(map(str, each))
        if isinstance(each, str):
            found[name] = each
    return found


_DAYS: Final = "Mon Tue Wed Thu Fri Sat Sun"
_MONTHS: Final = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"


def _javascript_time(seconds: float) -> str:
    """Write a time as Node's ``new Date() + ""`` does, in UTC."""
    at = time.gmtime(seconds)
    day, month = _DAYS[4 * at.tm_wday :][:3], _MONTHS[4 * (at.tm_mon - 1) :][:3]
    clock = f"{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02}"
    return f"{day} {month} {at.tm_mday:02} {at.tm_year:04} {clock} GMT+0000 (Coordinated Universal Time)"
