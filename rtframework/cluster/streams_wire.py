"""Entries of the stream, as @socket.io/redis-streams-adapter 0.3.1 and its emitter write them.

An entry has the fields ``uid``, ``nsp``, ``type`` and ``data``: JSON, or base64 of MessagePack if there are bytes. Ours
have two more, which Node ignores: ``m``, the id of the message, and ``r``, its room if it is exactly one; ``h`` marks
an entry that is kept in the history of rooms, ``a`` one that is sent again, ``gap`` tells of entries that were lost;
see ``cursor``.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Container, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import UNSET, Raw, UnsetType, field

from ..exceptions import DecodeError
from ..types import EVERYBODY, RESERVED_EVENTS, Target
from .messages import MAY_HOLD_BYTES, Data, Message, Options, options_of, read_json, read_msgpack
from .payloads import holds_bytes, to_json, to_msgpack

Fields: TypeAlias = Sequence[bytes]
"""The fields of an entry as Redis sends them, a list: name, value, name, value …"""


class Entry(msgspec.Struct, gc=False):
    """An entry of the stream, its data not decoded."""

    uid: str
    nsp: str
    type: int
    data: bytes
    m: bytes | None
    room: bytes | None
    again: bool
    gap: str | None
    kept: bool = False


# --- the stream of a namespace ----------------------------------------------------------------------------------------


def hash_of(name: str) -> int:
    """Return Node's hash of a namespace: 32 bits, signed, over UTF-16 code units."""
    units = name.encode("utf-16-le", "surrogatepass")
    value = 0
    for at in range(0, len(units), 2):
        value = (value * 31 + units[at] + (units[at + 1] << 8)) & 0xFFFFFFFF
    return value - (1 << 32) if value & 0x80000000 else value


def stream_of(nsp: str, name: str = "socket.io", count: int = 1) -> str:
    """Return the key to which Node writes a namespace. JavaScript's remainder keeps the sign: ``socket.io--3``."""
    if count == 1:
        return name
    value = hash_of(nsp)
    return f"{name}-{abs(value) % count * (-1 if value < 0 else 1)}"


def streams_to_read(name: str = "socket.io", count: int = 1) -> list[str]:
    """Return all keys to which Node may write; Node itself reads only those of its positive remainders."""
    if count == 1:
        return [name]
    return [f"{name}-{number}" for number in range(count)] + [f"{name}--{number}" for number in range(1, count)]


# --- writing ----------------------------------------------------------------------------------------------------------


_TO_EVERYBODY: Final = to_json(options_of(EVERYBODY))


EVENT_HEAD: Final = b'{"packet":{"type":2,"data":'
"""The data of a broadcast up to its arguments."""
EVENT_MIDDLE: Final = b'},"opts":'
"""What is between the arguments and the options."""


def encode_text(args: str, target: Target) -> bytes:
    """Make the data of a broadcast from the JSON text of its arguments, the serializer's, name first."""
    return b"%b%b%b%b}" % (EVENT_HEAD, args.encode(), EVENT_MIDDLE, encode_options(target)[0])


def encode_options(target: Target) -> tuple[bytes, bytes | None]:
    """Make the options of a broadcast, and the field ``r``, see ``room_of``."""
    if target is EVERYBODY:
        return _TO_EVERYBODY, None
    rooms = target.rooms
    if rooms is not None and len(rooms) == 1 and not target.except_ and not target.volatile and target.compress:
        (room,) = rooms  # by far the most
        return _TO_ROOM % to_json(room), room.encode()
    return to_json(options_of(target)), room_of(target)


_TO_ROOM: Final = b'{"rooms":[%b],"except":[],"flags":{}}'


def encode_data(kind: int, data: Data, only_plaintext: bool = False) -> bytes:
    """Make the field ``data``, of plain values (see ``to_plain``). Raises ``EncodeError``."""
    if kind in MAY_HOLD_BYTES and not only_plaintext and holds_bytes(data):
        return b64encode(to_msgpack(data))
    return to_json(data)


def fields_of(
    uid: bytes, nsp: bytes, kind: int, data: bytes | None, m: bytes, room: bytes | None = None, again: bool = False
) -> list[bytes]:
    """Return the fields of an entry in the order in which ``is_for`` expects them."""
    fields = [b"uid", uid, b"nsp", nsp, b"type", b"%d" % kind]
    if data is not None:
        fields += b"data", data
    fields += b"m", m
    if room is not None:
        fields += b"r", room
    if again:
        fields += b"a", b"1"
    return fields


def room_of(target: Target) -> bytes | None:
    """Return the field ``r``: the room of a target if it is exactly one."""
    rooms = target.rooms
    if rooms is not None and len(rooms) == 1:
        (room,) = rooms
        return room.encode()
    return None


# --- reading ----------------------------------------------------------------------------------------------------------


def is_for(fields: Fields, uids: Container[bytes], rooms: Mapping[bytes, Container[str]]) -> bool:
    """Tell whether an entry may concern this server, by its fields alone.

    ``uids``: this server's, whose entries always concern it. ``rooms``: the rooms of each namespace that is served.
    Gaps concern all servers.
    """
    length = len(fields)
    if length >= 6 and fields[2] == b"nsp" and fields[1] not in uids:
        here = rooms.get(fields[3])
        if here is None:
            return length > 8 and fields[8] == b"gap"
        if length >= 12 and fields[10] == b"r" and fields[5] == b"3":
            return fields[11].decode(errors="replace") in here
    return True


_OURS: Final = [b"uid", b"nsp", b"type", b"data", b"m"]
"""The first fields of an entry of this framework, see ``fields_of``."""
_TYPES: Final = {b"%d" % kind: kind for kind in range(1, 14)}


def message_id(fields: Fields) -> bytes | None:
    """Return the field ``m``."""
    if len(fields) >= 10 and fields[8] == b"m":  # by far the most
        return fields[9]
    return dict(zip(fields[::2], fields[1::2], strict=False)).get(b"m")


def read_fields(fields: Fields) -> Entry:
    """Read the fields of an entry, in any order; unknown ones are ignored. Raises ``DecodeError``."""
    length = len(fields)
    try:
        if length in (10, 12) and fields[:9:2] == _OURS and (length == 10 or fields[10] == b"r"):  # by far the most
            _, uid, _, nsp, _, kind, _, data, _, m, *room = fields
            number = _TYPES.get(kind) or int(kind)
            return Entry(uid.decode(), nsp.decode(), number, data, m, room[1] if room else None, False, None)
        found = dict(zip(fields[::2], fields[1::2], strict=False))
        return Entry(
            found[b"uid"].decode(),
            found[b"nsp"].decode(),
            int(found[b"type"]),
            found.get(b"data", b""),
            found.get(b"m"),
            found.get(b"r"),
            b"a" in found,
            found[b"gap"].decode() if b"gap" in found else None,
            b"h" in found,
        )
    except (KeyError, ValueError) as error:
        raise DecodeError(f"invalid entry of the stream: {error!r}") from None


def read_message(entry: Entry) -> Message:
    """Decode an entry. The data of unknown types are ``None``. Raises ``DecodeError``."""
    data = None
    if entry.data[:1] == b"{":
        data = read_json(entry.type, entry.data)
    elif entry.data:
        try:
            packed = b64decode(entry.data)
        except (binascii.Error, ValueError) as error:
            raise DecodeError(f"invalid entry of the stream: {error}") from None
        data = read_msgpack(entry.type, packed)
    if data is None and entry.type in range(3, 13):
        raise DecodeError("invalid entry of the stream: no data")
    return Message(entry.type, data, entry.uid, entry.nsp)


# --- splicing ---------------------------------------------------------------------------------------------------------


class _RawPacket(msgspec.Struct, gc=False):
    type: int
    data: Raw
    id: int | UnsetType = UNSET


class _Options(msgspec.Struct, gc=False):
    rooms: list[str]
    except_: list[str] = field(name="except")
    flags: dict[str, Any] = {}


class Splice(msgspec.Struct, gc=False):
    """The data of a broadcast with its arguments as they came: JSON, from which the client's frame is made."""

    packet: _RawPacket
    opts: _Options
    requestId: str | UnsetType = UNSET

    @property
    def offset_wanted(self) -> bool:
        """True if clients may recover with this event: it is neither volatile nor acknowledged."""
        return self.packet.id is UNSET and "volatile" not in self.opts.flags

    def args(self) -> str | None:
        """Return the JSON text of the arguments; ``None`` if they are no event, or not valid UTF-8."""
        packet = self.packet
        try:
            text = str(packet.data, "utf-8")
        except UnicodeDecodeError:
            return None
        if packet.type != 2:
            return None
        if text[:2] == '["':  # by far the most
            return None if text[2 : text.find('"', 2)] in RESERVED_EVENTS else text
        first = _FIRST.match(text)
        return None if first is None or first[1] in RESERVED_EVENTS else text


_FIRST: Final = re.compile(r'\[[ \t\r\n]*(?:"([^"]*)"|[-0-9])')
"""The start of an event: an array that begins with a name, which is a string or a number."""

_decode_splice: Final = msgspec.json.Decoder(Splice).decode


def read_splice(data: bytes) -> Splice | None:
    """Decode of a broadcast only what is needed to find its sockets; ``None`` if it has to be decoded in full.

    That is the case with bytes, with rooms that are numbers, and with anything that is no valid broadcast:
    ``read_message`` then has the last word.
    """
    if data[:1] != b"{":
        return None
    try:
        return _decode_splice(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def read_event(fields: Fields) -> Splice | None:
    """Decode an entry as ``read_splice`` does; ``None`` also if it is anything but an event in the usual order."""
    length = len(fields)
    if (
        length in (8, 10, 12)
        and fields[2] == b"nsp"
        and fields[5] == b"3"
        and fields[6] == b"data"
        and (length < 12 or fields[10] == b"r")
        and (found := read_splice(fields[7])) is not None
        and found.requestId is UNSET
    ):
        return found
    return None


_TO_EACH: Final = EVENT_MIDDLE + _TO_EVERYBODY + b"}"
_ROOM_HEAD: Final = EVENT_MIDDLE + b'{"rooms":["'
_ROOM_TAIL: Final = b'"],"except":[],"flags":{}}}'
_ARGS_AT: Final = len(EVENT_HEAD)
_OF_ROOM: Final = [b"uid", b"nsp", b"type", b"data", b"m", b"r"]
_RESERVED: Final = tuple(f'["{name}"' for name in RESERVED_EVENTS)
_check_json: Final = msgspec.json.Decoder(Raw).decode


def is_of_room(fields: Fields) -> bool:
    """Tell whether an entry is an event for exactly one room, which is then the last field: the most usual one."""
    return fields[::2] == _OF_ROOM and fields[5] == b"3"


def read_text(data: bytes, room: bytes | None) -> str | None:
    """Return the JSON text of an event's arguments, if its data are as ``encode_text`` makes them.

    ``room``: the one that it is for; ``None`` for everybody. Nothing is decoded, only checked. ``None`` for anything
    else: then ask ``read_event``.
    """
    end = _TO_EACH if room is None else _ROOM_HEAD + room + _ROOM_TAIL  # names that JSON escapes do not stand there
    if not data.startswith(EVENT_HEAD) or not data.endswith(end):
        return None
    args = data[_ARGS_AT : -len(end)]
    try:
        _check_json(args)
        text = args.decode()
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return None if text[:2] != '["' or text.startswith(_RESERVED) else text


def text_with_offset(args: str, offset: str) -> str:
    """Append an offset to the JSON text of an event's arguments."""
    return f'{args[:-1]},"{offset}"]'


def frame_of(args: str, nsp: str, offset: str | None = None) -> str:
    """Make the text frame of a client from the JSON text of an event's arguments."""
    head = "2" if nsp == "/" else f"2{nsp},"
    return f"{head}{args}" if offset is None else f'{head}{args[:-1]},"{offset}"]'


def selects_any(opts: _Options | Options, rooms: Container[str]) -> bool:
    """Tell whether a socket of this server may be meant: there is no room named, or one of them is here."""
    named = opts.rooms
    if not named:
        return True
    if len(named) == 1:
        return named[0] in rooms
    return any(room in rooms for room in named)
