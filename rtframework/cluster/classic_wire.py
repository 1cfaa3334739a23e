"""Pub/sub of the classic adapter: @socket.io/redis-adapter 8.3 and @socket.io/redis-emitter 5.1.

A broadcast is the MessagePack array ``[uid, packet, opts]``. Requests are JSON, but MessagePack for a broadcast with
acknowledgements; answers are JSON, but MessagePack for an acknowledgement. With bytes inside, ours are MessagePack,
which Node reads anywhere. ``x`` is what only servers of this framework add and read.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import UNSET, Raw, UnsetType

from ..exceptions import DecodeError
from .messages import EventPacket, Options, SocketRecord, check_packet, room_name
from .payloads import JSONReader, MsgpackReader, as_javascript, holds_bytes, may_hold_dates, to_json, to_msgpack


class RequestType(IntEnum):
    """Types of requests and answers. Requests of the types 0, 1, 5 and 7 reach their sender too."""

    SOCKETS = 0
    ALL_ROOMS = 1
    REMOTE_JOIN = 2
    REMOTE_LEAVE = 3
    REMOTE_DISCONNECT = 4
    REMOTE_FETCH = 5
    SERVER_SIDE_EMIT = 6
    BROADCAST = 7
    BROADCAST_CLIENT_COUNT = 8
    BROADCAST_ACK = 9


class ClassicBroadcast(msgspec.Struct, array_like=True):
    """An event: the sender, the packet with its namespace, and the sockets it is for."""

    uid: str
    packet: EventPacket
    opts: Options


class Selection(msgspec.Struct):
    """The sockets of a request: rooms and exceptions, without flags."""

    rooms: list[str] = []
    except_: list[str] = msgspec.field(default_factory=list, name="except")
    flags: dict[str, Any] | UnsetType = UNSET


class Request(msgspec.Struct):
    """A request to all servers. Which fields it has depends on its type; emitters send no ``uid`` for types 2 to 4."""

    type: int
    uid: str | UnsetType = UNSET
    requestId: str | UnsetType = UNSET
    opts: Selection | UnsetType = UNSET
    rooms: list[str] | UnsetType = UNSET
    close: bool | UnsetType = UNSET
    data: list[Any] | UnsetType = UNSET
    packet: EventPacket | UnsetType = UNSET
    sid: str | UnsetType = UNSET
    room: str | UnsetType = UNSET
    x: dict[str, Any] | UnsetType = UNSET


class Response(msgspec.Struct):
    """An answer. Its kind follows from ``type``, or, where Node sends none, from the request of that id."""

    requestId: str
    type: int | UnsetType = UNSET
    sockets: list[SocketRecord | str] | UnsetType = UNSET
    rooms: list[str] | UnsetType = UNSET
    data: Any = UNSET
    clientCount: int | UnsetType = UNSET
    packet: Any = UNSET
    x: dict[str, Any] | UnsetType = UNSET


class ClassicSplice(msgspec.Struct, array_like=True, gc=False):
    """An event, decoded as far as its sockets are to be found: ``packet`` is MessagePack."""

    uid: str
    packet: Raw
    opts: Options


Found: TypeAlias = ClassicBroadcast | Request | Response

_BROADCAST: Final = MsgpackReader(ClassicBroadcast)
_SPLICE: Final = msgspec.msgpack.Decoder(ClassicSplice).decode
_PACKET: Final = MsgpackReader(EventPacket)
_REQUEST: Final = (JSONReader(Request), MsgpackReader(Request))
_RESPONSE: Final = (JSONReader(Response), MsgpackReader(Response))
_ANY: Final = (JSONReader(), MsgpackReader())

_NEEDED: Final[dict[int, tuple[str, ...]]] = {
    0: ("requestId",),
    1: ("requestId",),
    5: ("requestId", "opts"),
    6: ("uid", "data"),
    7: ("uid", "requestId", "packet", "opts"),
}
"""Fields without which a request of a type is not understood; those of types 2, 3 and 4 have two forms."""


def request_channel(nsp: str, prefix: str = "socket.io") -> str:
    """Return the channel of requests. Who subscribes to it is counted: once for each server."""
    return f"{prefix}-request#{nsp}#"


def response_channel(nsp: str, prefix: str = "socket.io", uid: str | None = None) -> str:
    """Return the channel of answers; with ``uid`` that of one server, for ``publishOnSpecificResponseChannel``."""
    return f"{prefix}-response#{nsp}#" if uid is None else f"{prefix}-response#{nsp}#{uid}#"


def broadcast_channel(nsp: str, opts: Options, prefix: str = "socket.io") -> str:
    """Return the channel of a broadcast: that of its room if it is exactly one."""
    return f"{prefix}#{nsp}#{opts.rooms[0]}#" if len(opts.rooms) == 1 else f"{prefix}#{nsp}#"


def encode_broadcast(uid: str, nsp: str, args: list[Any], opts: Options) -> bytes:
    """Encode an event, of plain values. Raises ``EncodeError``."""
    return to_msgpack(ClassicBroadcast(uid, EventPacket(2, args, nsp), opts))


def encode_request(request: Request) -> bytes:
    """Encode a request, its fields in Node's order. Raises ``EncodeError``."""
    order = _ORDER.get(request.type)
    found = msgspec.structs.asdict(request)
    names = [name for name in order or found if found[name] is not UNSET]
    values = {name: found[name] for name in names}
    packed = request.type == RequestType.BROADCAST or holds_bytes(request.data)
    return to_msgpack(values) if packed else to_json(values)


_ORDER: Final[dict[int, tuple[str, ...]]] = {
    0: ("uid", "requestId", "type", "rooms"),
    1: ("uid", "requestId", "type"),
    2: ("uid", "type", "opts", "rooms"),
    3: ("uid", "type", "opts", "rooms"),
    4: ("uid", "type", "opts", "close", "x"),
    5: ("uid", "requestId", "type", "opts"),
    6: ("uid", "requestId", "type", "data"),
    7: ("uid", "requestId", "type", "packet", "opts"),
}


def encode_response(response: Response) -> bytes:
    """Encode an answer, its fields in Node's order. Raises ``EncodeError``."""
    found = {name: each for name, each in msgspec.structs.asdict(response).items() if each is not UNSET}
    if response.type is not UNSET:
        found = {"type": found.pop("type"), **found}
    packed = response.type == RequestType.BROADCAST_ACK or holds_bytes(found)
    return to_msgpack(found) if packed else to_json(found)


def decode_broadcast(payload: bytes) -> ClassicBroadcast:
    """Decode an event. Raises ``DecodeError``."""
    try:
        found: ClassicBroadcast = _BROADCAST(payload)
    except DecodeError as error:
        found = _convert(_ANY[1](payload), ClassicBroadcast, error)
    _settle(found.packet, payload)
    return found


def read_splice(payload: bytes) -> ClassicSplice | None:
    """Decode of an event only what is needed to find its sockets; ``None`` if ``decode_broadcast`` has to be asked."""
    try:
        return _SPLICE(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def read_packet(splice: ClassicSplice) -> EventPacket:
    """Decode the packet of an event whose sockets are found. Raises ``DecodeError``."""
    found: EventPacket = _PACKET(splice.packet)
    _settle(found, bytes(splice.packet))
    return found


def _settle(packet: EventPacket, packed: bytes) -> None:
    """Check a packet, and turn a ``Date`` into its text, as clients of Node's servers get it."""
    check_packet(packet)
    if may_hold_dates(packed):
        packet.data = as_javascript(packet.data)


def own_start(uid: str) -> bytes:
    """Return the first bytes of all events of a server, by which it knows its own."""
    return b"\x93" + to_msgpack(uid)


def decode_request(payload: bytes) -> Request:
    """Decode a request. Unknown types are returned as they are. Raises ``DecodeError``."""
    found: Request = _decode(payload, _REQUEST, Request)
    missing = [name for name in _NEEDED.get(found.type, ()) if getattr(found, name) is UNSET]
    if missing or (found.type == RequestType.SERVER_SIDE_EMIT and not found.data):
        raise DecodeError(f"invalid request of another server: type {found.type} without {missing or 'a name'}")
    if found.type == RequestType.BROADCAST and found.packet is not UNSET:
        check_packet(found.packet)
    return found


def decode_response(payload: bytes) -> Response:
    """Decode an answer. Raises ``DecodeError``."""
    found: Response = _decode(payload, _RESPONSE, Response)
    return found


def _decode(payload: bytes, readers: tuple[Any, Any], kind: type[Any]) -> Any:
    form = 0 if payload[:1] == b"{" else 1
    try:
        return readers[form](payload)
    except DecodeError as error:
        return _convert(_ANY[form](payload), kind, error)


def _convert(value: Any, kind: type[Any], error: DecodeError) -> Any:
    """Read a message whose rooms are numbers, or which has ``nil`` where a key could be absent."""
    pool = [value, *(value if isinstance(value, list) else value.values() if isinstance(value, dict) else ())]
    for holder in pool:
        if isinstance(holder, dict):
            for key in [key for key, each in holder.items() if each is None and key not in ("data", "packet")]:
                del holder[key]
            for key in ("rooms", "except"):
                if isinstance(holder.get(key), list):
                    holder[key] = [room_name(each) for each in holder[key]]
    try:
        return msgspec.convert(value, kind)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        raise error from None
