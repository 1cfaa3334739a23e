"""The commands that add entries to a stream, made of parts that are packed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rtframework.cluster.messages import MessageType
from rtframework.cluster.streams_wire import EVENT_HEAD, EVENT_MIDDLE, fields_of

from .commands import begin, bulk, pack
from .history_scripts import RoomKey, append_command

_DATA: Final = b"%b$%d\r\n%b\r\n$4\r\ntype\r\n$%d\r\n%d\r\n$4\r\ndata\r\n$%d\r\n%b\r\n$1\r\nm\r\n$%d\r\n%b\r\n"
_ROOM: Final = b"%b$1\r\nr\r\n$%d\r\n%b\r\n"


class EntryPacker:
    """Packs the XADD of each message of one server, with the fields of ``streams_wire.fields_of`` in their order.

    Packing such a command from its parts costs six times as much.
    """

    __slots__ = ("_max_len", "_start", "_stream", "_uid", "_with_data", "_with_room")

    def __init__(self, stream: str, max_len: int, uid: bytes) -> None:
        self._stream, self._max_len, self._uid = stream, max_len, uid
        start = self._start = ("XADD", stream, "MAXLEN", "~", max_len, "*")
        own = (*start, "uid", uid, "nsp")
        self._with_data = begin(len(start) + 10, *own)
        self._with_room = begin(len(start) + 12, *own)

    def pack(self, nsp: bytes, kind: int, data: bytes, m: bytes, room: bytes | None = None) -> bytes:
        """Return the command for a message that has data."""
        start = self._with_data if room is None else self._with_room
        command = _DATA % (start, len(nsp), nsp, 1 if kind < 10 else 2, kind, len(data), data, len(m), m)
        return command if room is None else _ROOM % (command, len(room), room)

    def of_namespace(self, nsp: bytes) -> EventPacker:
        """Return the packer of a namespace's events."""
        return EventPacker(nsp, self._with_data, self._with_room)

    def pack_kept(self, nsp: bytes, data: bytes, m: bytes, room: bytes | None, rooms: Sequence[RoomKey]) -> bytes:
        """Return the command for an event that is kept in the history of rooms, too."""
        fields = fields_of(self._uid, nsp, MessageType.BROADCAST, data, m, room)
        return pack(tuple(append_command(self._stream, self._max_len, rooms, [*fields, b"h", b"1"])))

    def pack_fields(self, fields: list[bytes]) -> bytes:
        """Return the command for any fields."""
        return pack((*self._start, *fields))


class EventPacker:
    """Packs the XADD of each event of one namespace, as ``EntryPacker`` does with the data of ``encode_text``."""

    __slots__ = ("_with_data", "_with_room")

    def __init__(self, nsp: bytes, with_data: bytes, with_room: bytes) -> None:
        fields = b"".join(map(bulk, (nsp, b"type", b"%d" % MessageType.BROADCAST, b"data")))
        self._with_data = with_data + fields
        self._with_room = with_room + fields

    def pack(self, args: bytes, opts: bytes, m: bytes, room: bytes | None) -> bytes:
        """Return the command for an event. ``args``: its arguments as JSON; ``opts``: its options, likewise."""
        size = AROUND + len(args) + len(opts)
        if room is None:
            return _EVENT % (self._with_data, size, args, opts, len(m), m)
        return _ROOM_EVENT % (self._with_room, size, args, opts, len(m), m, len(room), room)


AROUND: Final = len(EVENT_HEAD + EVENT_MIDDLE) + 1
"""Bytes of an event's data without its arguments and options."""
_EVENT: Final = b"%%b$%%d\r\n%b%%b%b%%b}\r\n$1\r\nm\r\n$%%d\r\n%%b\r\n" % (EVENT_HEAD, EVENT_MIDDLE)
_ROOM_EVENT: Final = _EVENT + b"$1\r\nr\r\n$%d\r\n%b\r\n"


def marked_again(command: bytes) -> bytes:
    """Return the command with the mark of a message that is sent again at its end."""
    count, _, parts = command.partition(b"\r\n")
    return b"*%d\r\n%b%b%b" % (int(count[1:]) + 2, parts, bulk(b"a"), bulk(b"1"))
