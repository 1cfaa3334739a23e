"""Streams that are compressed, each event once for all clients (RFC 1951 and 1952).

Each event is compressed by itself, and refers to nothing before it. So the same blocks stand in the streams of all
clients; only the checksum at the end is a client's own. A client costs no memory for it, and no event waits in a
compressor.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final

from .event_stream import EventForm
from .event_stream_transport import EventStream

if TYPE_CHECKING:
    import asyncio

CODING: Final = "gzip"

_HEAD: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_LAST_BLOCK: Final = b"\x03\x00"
_LONGEST_STORED: Final = 65_535
_WORTHWHILE: Final = 128
"""Bytes from which an event is compressed; shorter ones become longer by it."""
_LEVEL: Final = 6


def stored(data: bytes) -> bytes:
    """Make blocks of data as they are (RFC 1951, 3.2.4)."""
    blocks = []
    for start in range(0, len(data), _LONGEST_STORED):
        part = data[start : start + _LONGEST_STORED]
        length = len(part)
        blocks.append(b"\x00%b%b%b" % (length.to_bytes(2, "little"), (length ^ 0xFFFF).to_bytes(2, "little"), part))
    return b"".join(blocks)


def blocks_of(data: bytes) -> bytes:
    """Make blocks of data, which end at a byte, and of which none is the last one."""
    if len(data) < _WORTHWHILE:
        return stored(data)
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -15)
    return compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)


class GzipEventStream(EventStream):
    """A stream that is compressed."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._sum = zlib.crc32(b"")
        self._size = 0
        self._is_begun = False

    def _count(self, data: bytes) -> None:
        self._sum = zlib.crc32(data, self._sum)
        self._size += len(data)

    def _shared(self, form: EventForm) -> bytes:
        self._count(form.text)
        if form.blocks is None:
            form.blocks = blocks_of(form.text)
        return self._framed(form.blocks)

    def _with_id(self, form: EventForm, id: bytes) -> bytes:
        self._count(form.lines)
        self._count(id)
        if form.line_blocks is None:
            form.line_blocks = blocks_of(form.lines)
        return self._framed(form.line_blocks + stored(id))

    def _wrapped(self, data: bytes) -> bytes:
        self._count(data)
        return self._framed(stored(data))

    def _framed(self, blocks: bytes) -> bytes:
        if not self._is_begun:
            self._is_begun = True
            blocks = _HEAD + blocks
        return super()._wrapped(blocks)

    def _write_end(self, transport: asyncio.Transport) -> None:
        size = (self._size & 0xFFFF_FFFF).to_bytes(4, "little")
        transport.write(self._framed(b"%b%b%b" % (_LAST_BLOCK, self._sum.to_bytes(4, "little"), size)))
        super()._write_end(transport)
