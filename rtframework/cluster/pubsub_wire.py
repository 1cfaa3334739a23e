"""Pub/sub between servers that speak Node's ``ClusterAdapter``: the streams adapter 0.3.1, the sharded adapter 8.3.

The streams adapter sends requests and answers by pub/sub, always as MessagePack. The sharded adapter sends everything
by pub/sub, as JSON unless there are bytes.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec
from msgspec import UNSET, Raw

from ..exceptions import DecodeError
from ..types import Target
from .messages import MAY_HOLD_BYTES, Broadcast, Message, MessageType, options_of, read_json, read_msgpack
from .payloads import JSONReader, MsgpackReader, holds_bytes, to_json, to_msgpack
from .streams_wire import Splice

SubscriptionMode = Literal["static", "dynamic", "dynamic-private"]
"""Rooms that have a channel of their own in the sharded adapter: none, all but those of single sockets, all."""


class _Envelope(msgspec.Struct):
    type: int
    uid: str
    nsp: str
    data: Raw = Raw(b"")


class ShardedSplice(msgspec.Struct, gc=False):
    """A broadcast of the sharded adapter, its arguments as they came: see :class:`Splice`."""

    data: Splice
    uid: str
    nsp: str


_decode_splice: Final = msgspec.json.Decoder(ShardedSplice).decode

_JSON_ENVELOPE: Final = JSONReader(_Envelope)
_MSGPACK_ENVELOPE: Final = MsgpackReader(_Envelope)


def public_channel(nsp: str, prefix: str = "socket.io") -> str:
    """Return the channel of all servers of a namespace. Who subscribes to it is counted: once for each server."""
    return f"{prefix}#{nsp}#"


def private_channel(nsp: str, uid: str, prefix: str = "socket.io") -> str:
    """Return the channel for answers to one server."""
    return f"{prefix}#{nsp}#{uid}#"


def room_channel(nsp: str, room: str, prefix: str = "socket.io") -> str:
    """Return the channel of one room."""
    return f"{prefix}#{nsp}#{room}#"


def escape_pattern(channel: str) -> str:
    """Escape what PSUBSCRIBE would take for a pattern."""
    return "".join(f"\\{each}" if each in "*?[]\\" else each for each in channel)


def is_ephemeral(message: Message) -> bool:
    """Tell whether the streams adapter sends a message by pub/sub: a request, or an event for servers."""
    if message.type == MessageType.BROADCAST:
        return isinstance(message.data, Broadcast) and message.data.requestId is not UNSET
    return message.type in (MessageType.SERVER_SIDE_EMIT, MessageType.FETCH_SOCKETS)


def room_has_channel(room: str, mode: SubscriptionMode) -> bool:
    """Tell whether a room has its own channel. A name of 20 characters is taken for a socket's id, as in Node."""
    return mode == "dynamic-private" or (mode == "dynamic" and len(room.encode("utf-16-le", "surrogatepass")) != 40)


def sharded_channel(message: Message, mode: SubscriptionMode = "dynamic", prefix: str = "socket.io") -> str:
    """Return the channel to which the sharded adapter publishes a message that is no answer."""
    data = message.data
    if isinstance(data, Broadcast) and data.requestId is UNSET and len(data.opts.rooms) == 1:
        (room,) = data.opts.rooms
        if room_has_channel(room, mode):
            return room_channel(message.nsp, room, prefix)
    return public_channel(message.nsp, prefix)


def encode_ephemeral(message: Message) -> bytes:
    """Encode a message of the streams adapter: MessagePack. Raises ``EncodeError``."""
    return to_msgpack(message)


def encode_sharded(message: Message) -> bytes:
    """Encode a message of the sharded adapter: JSON, or MessagePack if there are bytes. Raises ``EncodeError``."""
    if message.type in MAY_HOLD_BYTES and holds_bytes(message.data):
        return to_msgpack(message)
    return to_json(message)


def encode_text(uid: str, nsp: str, args: str, target: Target) -> bytes:
    """Make a broadcast of the sharded adapter from the JSON text of its arguments, the serializer's, name first."""
    opts = to_json(options_of(target))
    return b'{"type":3,"data":{"packet":{"type":2,"data":%b},"opts":%b}%b' % (args.encode(), opts, own_end(uid, nsp))


def own_end(uid: str, nsp: str) -> bytes:
    """Return the last bytes of all JSON messages of a server in a namespace, by which it knows its own."""
    return b',"uid":%b,"nsp":%b}' % (to_json(uid), to_json(nsp))


def read_splice(payload: bytes) -> ShardedSplice | None:
    """Decode of a broadcast only what is needed to find its sockets; ``None`` for anything else: ``decode`` it."""
    if not payload.startswith(_BROADCAST):
        return None
    try:
        return _decode_splice(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


_BROADCAST: Final = b'{"type":3,'


def decode(payload: bytes) -> Message:
    """Decode a message of either adapter. The data of unknown types are ``None``. Raises ``DecodeError``."""
    is_json = payload[:1] == b"{"
    envelope: _Envelope = _JSON_ENVELOPE(payload) if is_json else _MSGPACK_ENVELOPE(payload)
    kind, raw = envelope.type, bytes(envelope.data)
    data = None
    if raw:
        data = read_json(kind, raw) if is_json else read_msgpack(kind, raw)
    if data is None and kind in range(3, 13):
        raise DecodeError("invalid message of another server: no data")
    return Message(kind, data, envelope.uid, envelope.nsp)
