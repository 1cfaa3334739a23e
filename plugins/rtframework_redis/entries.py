"""The commands that add entries to a stream, made of parts that are packed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rtframework.cluster.messages import MessageType
from rtframework.cluster.streams_wire import EVENT_HEAD, EVENT_MIDDLE

from .commands import begin, bulk, pack
from .history_scripts import APPEND, RoomKey

_DATA: Final = b"%b$%d\r\n%b\r\n$4\r\ntype\r\n$%d\r\n%d\r\n$4\r\ndata\r\n$%d\r\n%b\r\n$1\r\nm\r\n$%d\r\n%b\r\n"
_ROOM: Final = b"%b$1\r\nr\r\n$%d\r\n%b\r\n"
_KEPT: Final = b"$1\r\nh\r\n$1\r\n1\r\n"


class EntryPacker:
    """Packs the XADD of each message of one server, with the fields of ``streams_wire.fields_of`` in their order.

    Packing such a command from its parts costs six times as much.
    """

    __slots__ = ("_kept", "_max_len", "_own", "_start", "_stream", "_with_data", "_with_room")

    def __init__(self, stream: str, max_len: int, uid: bytes) -> None:
        self._stream = stream
        self._max_len = bulk(b"%d" % max_len)
        self._own = bulk(b"uid") + bulk(uid) + bulk(b"nsp")
        self._kept: dict[tuple[int, bool], bytes] = {}
        """The beginnings of commands for events that are kept, by the number of rooms and the lack of a field ``r``."""
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
        """Return the command for an event that is kept in the history of rooms, too; see ``append_command``."""
        count = len(rooms)
        start = self._kept.get((count, room is None))
        if start is None:
            length = 4 + count + 1 + 2 * count + (12 if room is None else 14)
            start = self._kept[count, room is None] = begin(length, "EVAL", APPEND, 1 + count, self._stream)
        keys = b"".join([bulk(each.key) for each in rooms])
        bounds = b"".join([bulk(b"%d" % number) for each in rooms for number in (each.size, each.ttl)])
        own = b"%b%b%b%b%b" % (start, keys, self._max_len, bounds, self._own)
        command = _DATA % (own, len(nsp), nsp, 1, MessageType.BROADCAST, len(data), data, len(m), m)
        return (command if room is None else _ROOM % (command, len(room), room)) + _KEPT

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
