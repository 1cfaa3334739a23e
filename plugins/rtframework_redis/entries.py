"""The commands that add entries to a stream, made of parts that are packed once."""

from __future__ import annotations

from typing import Final

from .commands import begin, bulk, pack

_DATA: Final = b"%b$%d\r\n%b\r\n$4\r\ntype\r\n$%d\r\n%d\r\n$4\r\ndata\r\n$%d\r\n%b\r\n$1\r\nm\r\n$%d\r\n%b\r\n"
_ROOM: Final = b"%b$1\r\nr\r\n$%d\r\n%b\r\n"


class EntryPacker:
    """Packs the XADD of each message of one server, with the fields of ``streams_wire.fields_of`` in their order.

    Packing such a command from its parts costs six times as much.
    """

    __slots__ = ("_start", "_with_data", "_with_room")

    def __init__(self, stream: str, max_len: int, uid: bytes) -> None:
        start = self._start = ("XADD", stream, "MAXLEN", "~", max_len, "*")
        own = (*start, "uid", uid, "nsp")
        self._with_data = begin(len(start) + 10, *own)
        self._with_room = begin(len(start) + 12, *own)

    def pack(self, nsp: bytes, kind: int, data: bytes, m: bytes, room: bytes | None = None) -> bytes:
        """Return the command for a message that has data."""
        start = self._with_data if room is None else self._with_room
        command = _DATA % (start, len(nsp), nsp, 1 if kind < 10 else 2, kind, len(data), data, len(m), m)
        return command if room is None else _ROOM % (command, len(room), room)

    def pack_fields(self, fields: list[bytes]) -> bytes:
        """Return the command for any fields."""
        return pack((*self._start, *fields))


def marked_again(command: bytes) -> bytes:
    """Return the command with the mark of a message that is sent again at its end."""
    count, _, parts = command.partition(b"\r\n")
    return b"*%d\r\n%b%b%b" % (int(count[1:]) + 2, parts, bulk(b"a"), bulk(b"1"))
