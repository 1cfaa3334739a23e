"""The format ``text/event-stream`` (HTML Standard, 9.2 "Server-sent events"), without I/O: packets in it, and ids."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from ..types import PacketType, place_of

if TYPE_CHECKING:
    from ..protocols import Frames
    from .packets import Outgoing

CONTENT_TYPE: Final = "text/event-stream"
GAP: Final = "gap"
"""The event that tells a client that it has missed something for good."""
BEGINNING: Final = "0"
"""The entry of a client that came when nothing was there."""
HEARTBEAT: Final = b": ping\n\n"
LEFT: Final = "left"
"""The first part of the last id of a client that the server has sent away: it is not let in when it comes back."""

_EVENT: Final = int(PacketType.EVENT)
_LONGEST_ID: Final = 512
"""Bytes of the id with which a client comes back; longer ones are none of ours."""
_ID: Final = re.compile(r"[!-~]{1,512}", re.ASCII)
_ARGUMENTS: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode: Final = msgspec.json.Encoder().encode
_UNSENDABLE: Final = re.compile("[\r\n\0]")


# --- out --------------------------------------------------------------------------------------------------------------


def data_of(arguments: str | bytes, without: int = 0, *, as_array: bool = False) -> bytes:
    """Make one line of JSON of a JSON array of arguments: of a single argument itself, of none ``null``, else an array.

    ``without``: so many of the last arguments are left out. ``as_array``: it is always an array. Raises ``ValueError``
    if it was none.
    """
    parts = _ARGUMENTS(arguments)
    if without:
        del parts[-without:]
    if as_array:
        return _one_line(b"[" + b",".join(map(bytes, parts)) + b"]")
    if len(parts) == 1:
        return _one_line(bytes(parts[0]))
    return _one_line(b"[" + b",".join(map(bytes, parts)) + b"]") if parts else b"null"


def _one_line(text: bytes) -> bytes:
    """Return JSON on one line: line ends in it are between values, since strings have them escaped."""
    return text if b"\n" not in text and b"\r" not in text else text.replace(b"\r", b" ").replace(b"\n", b" ")


def event_of(name: str | int, data: Any) -> bytes:
    """Make the lines of an event of the server's own; the empty line that ends it is not among them."""
    return b"event: %b\ndata: %b\n" % (str(name).encode(), _encode(data))


class EventForm:
    """A packet in the format, made once for all clients: ``text``, and the same in the chunked coding (RFC 9112, 7.1).

    Both are empty for packets that are no events. ``lines`` are those of an event without its ``id``; ``offset`` and
    ``entry`` are what the server has added, of which that is made. They are there after :meth:`settle`.
    """

    __slots__ = (
        "as_array",
        "asks",
        "blocks",
        "chunk",
        "entry",
        "is_settled",
        "line_blocks",
        "lines",
        "offset",
        "outgoing",
        "text",
    )

    def __init__(self, outgoing: Outgoing, *, as_array: bool = False) -> None:
        self.as_array = as_array
        self.blocks: bytes | None = None
        """The whole event, compressed."""
        self.line_blocks: bytes | None = None
        """The lines, compressed."""
        self.outgoing = outgoing
        self.is_settled = False
        self.asks: int | None = None
        """The id with which the event asks for an acknowledgement."""
        self.entry = self.offset = self.lines = self.text = self.chunk = b""

    def settle(self, frames: Frames | None) -> bool:
        """Write the packet of frames. ``False`` if that cannot be: its name has more than one line."""
        self.is_settled = True
        outgoing = self.outgoing
        if outgoing.type != _EVENT:
            return True
        self.asks = outgoing.id
        entry, offset = (None, None) if frames is None else (frames.entry, frames.offset)
        added = (entry is not None) + (offset is not None and offset != entry)
        parts = outgoing.name_and_args()
        if parts is None:
            name = str(outgoing.data[0])
            data = data_of(_encode(outgoing.data[1:]), added, as_array=self.as_array)
        else:
            name = msgspec.json.decode(parts[0], type=str)
            data = data_of(parts[1], added, as_array=self.as_array)
        if _UNSENDABLE.search(name):
            return False
        # A string of JSON cannot hold half a surrogate pair as UTF-8; a name can, once it is decoded.
        self.lines = b"event: %b\ndata: %b\n" % (name.encode(errors="replace"), data)
        self.offset = b"" if offset is None else offset.encode()
        self.complete(b"" if entry is None else entry.encode())
        return True

    def complete(self, entry: bytes) -> None:
        """Make the whole of the lines, with the id of its entry in a history, if it has one."""
        self.entry = entry
        self.text = b"%bid: %b\n\n" % (self.lines, entry) if entry else self.lines + b"\n"
        self.chunk = chunk(self.text)


def chunk(data: bytes) -> bytes:
    """Make a chunk of the chunked coding (RFC 9112, 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK: Final = b"0\r\n\r\n"


# --- ids --------------------------------------------------------------------------------------------------------------


class EventId(NamedTuple):
    """The id of an event: what a client brings back in ``Last-Event-ID``.

    ``ticket``: proves that it had a ticket. ``pid``: names its session, and ``offset`` the last event of that.
    ``entry``: the last entry of the histories that it reads; ``BEGINNING``: they had none. Each may be empty.
    """

    ticket: str = ""
    pid: str = ""
    entry: str = ""
    offset: str = ""

    @property
    def prefix(self) -> bytes:
        """The part that is the same for all events of a client."""
        return f"{self.ticket}~{self.pid}~".encode() if self.ticket or self.pid else b""

    @property
    def text(self) -> bytes:
        """The whole id; it is never empty, so that a client that comes back is known as one."""
        return f"{self.ticket}~{self.pid}~{self.entry}~{self.offset}".encode()

    @property
    def position(self) -> str:
        """The entry after which the client has got nothing: the offset, if that is a later one of the same order."""
        entry, offset = place_of(self.entry), place_of(self.offset)
        is_later = entry is not None and offset is not None and entry[0] == offset[0] and offset > entry
        return self.offset if is_later else self.entry

    @classmethod
    def parse(cls, text: str) -> EventId | None:
        """Read the id with which a client comes back; ``None`` if it is none."""
        if len(text) > _LONGEST_ID or not _ID.fullmatch(text):
            return None
        parts = text.split("~")
        if len(parts) == 1:  # of a stream without sessions and tickets: all its clients have the same ids
            return cls(entry=text)
        return cls(*parts) if len(parts) == 4 else None


# --- in ---------------------------------------------------------------------------------------------------------------


class ServerSentEvent(NamedTuple):
    """An event as a client gets it; ``id`` is the last one that the stream has had."""

    event: str
    data: str
    id: str


class EventStreamReader:
    """Reads a stream as ``EventSource`` does (HTML Standard, 9.2.6 "Interpreting an event stream").

    ``last_id``: the id with which the client has come back.
    """

    def __init__(self, last_id: str = "") -> None:
        self.last_id = last_id
        self.retry: float | None = None
        """Seconds to wait before coming back, if the server has said so."""
        self.comments = 0
        """Comments that have come."""
        self._rest = ""
        self._begun = False
        self._id = last_id
        self._event = ""
        self._data: list[str] = []

    def feed(self, text: str) -> Iterator[ServerSentEvent]:
        """Yield the events that are complete; ``text`` is decoded, and may end anywhere."""
        if not self._begun and text:
            self._begun = True
            text = text.removeprefix("\ufeff")
        text = self._rest + text
        end = ""
        if text.endswith("\r"):  # the line end may go on
            text, end = text[:-1], "\r"
        *lines, self._rest = re.split("\r\n|\n|\r", text)
        self._rest += end
        return self._read(lines)

    def _read(self, lines: Iterable[str]) -> Iterator[ServerSentEvent]:
        for line in lines:
            if line:
                self._take(line)
                continue
            self.last_id = self._id
            data, name = self._data, self._event
            self._data, self._event = [], ""
            if data:
                yield ServerSentEvent(name or "message", "\n".join(data), self.last_id)

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not name:
            self.comments += 1
        elif name == "event":
            self._event = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit() and len(value) < 10:
            self.retry = int(value) / 1000
