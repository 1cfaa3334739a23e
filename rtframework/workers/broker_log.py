"""The packets that the broker keeps for clients that may come back, by bucket; without I/O."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

_OVERHEAD: Final = 200
"""Bytes that a packet takes beside its payload."""
_CHUNKS: Final = 64
"""Parts of the log, which are discarded whole: a part for each packet would cost as much as all else."""


class _Chunk:
    """Packets that came one after another. ``last``: the number of the last one, ``until``: its time."""

    __slots__ = ("begun", "count", "last", "shelves", "size", "until")

    def __init__(self) -> None:
        self.count = self.size = self.last = 0
        self.begun = self.until = 0.0
        self.shelves: list[_Shelf] = []
        """The shelves that have one of the packets."""


class _Shelf:
    """The packets of one bucket, oldest first.

    ``cut``: the number of the last one that was discarded. ``chunk``: the one that its last packet is in.
    """

    __slots__ = ("chunk", "cut", "entries", "start")

    def __init__(self) -> None:
        self.entries: list[tuple[int, bytes]] = []
        self.start = 0
        self.cut = 0
        self.chunk: _Chunk | None = None

    def after(self, number: int) -> int:
        """Return the position of the first packet after a number."""
        return bisect_right(self.entries, number, self.start, key=_number_of)

    def drop_to(self, number: int) -> None:
        """Discard the packets up to a number; there is one."""
        start = self.start = self.after(number)
        self.cut = self.entries[start - 1][0]
        if start * 2 > len(self.entries):
            del self.entries[:start]
            self.start = 0


class BrokerLog:
    """Packets in their order, each with its number, bounded by age, number and bytes.

    For each bucket it is known what was discarded, so that a client is refused only if a packet is missing that may
    have been for it. Nothing is kept before :meth:`keep` says for how long. When a bound is reached, a 64th of what it
    allows is discarded at once.
    """

    def __init__(self) -> None:
        self._shelves: dict[int, _Shelf] = {}
        self._closed: deque[_Chunk] = deque()
        self._open = _Chunk()
        self._count = self._size = 0
        """Packets, and their bytes, in the closed chunks."""
        self._seconds = 0.0
        self._packets = self._most_bytes = 0
        self._packets_at_once = self._bytes_at_once = 1

    def __len__(self) -> int:
        """Number of packets."""
        return self._count + self._open.count

    @property
    def size(self) -> int:
        """Bytes that the packets take."""
        return self._size + self._open.size

    def keep(self, seconds: float, packets: int, size: int) -> None:
        """Keep packets so long, at least, within a number and bytes; of several calls the most counts."""
        self._seconds = max(self._seconds, seconds)
        self._packets = max(self._packets, packets)
        self._most_bytes = max(self._most_bytes, size)
        self._packets_at_once = max(self._packets // _CHUNKS, 1)
        self._bytes_at_once = max(self._most_bytes // _CHUNKS, 1)

    def append(self, number: int, buckets: Sequence[int], payload: bytes, now: float) -> None:
        """Keep a packet. ``now``: seconds of a clock that goes on."""
        entry = (number, payload)
        chunk, shelves = self._open, self._shelves
        for bucket in buckets:
            shelf = shelves.get(bucket)
            if shelf is None:
                shelf = shelves[bucket] = _Shelf()
            shelf.entries.append(entry)
            if shelf.chunk is not chunk:
                shelf.chunk = chunk
                chunk.shelves.append(shelf)
        if not chunk.count:
            chunk.begun = now
        chunk.count += 1
        chunk.size += _OVERHEAD + len(payload)
        chunk.last, chunk.until = number, now
        if chunk.count >= self._packets_at_once or chunk.size >= self._bytes_at_once:
            self._close()

    def trim(self, now: float) -> None:
        """Discard what is too old."""
        chunk = self._open
        if chunk.count and now - chunk.begun > self._seconds / _CHUNKS:
            self._close()
        oldest = now - self._seconds
        while self._closed and self._closed[0].until < oldest:
            self._drop_first()

    def _close(self) -> None:
        """Begin a new chunk, and discard what is beyond the bounds when that one is full."""
        chunk, self._open = self._open, _Chunk()
        self._closed.append(chunk)
        self._count += chunk.count
        self._size += chunk.size
        while self._closed and (
            self._count + self._packets_at_once - 1 > self._packets
            or self._size + self._bytes_at_once - 1 > self._most_bytes
        ):
            self._drop_first()

    def _drop_first(self) -> None:
        chunk = self._closed.popleft()
        self._count -= chunk.count
        self._size -= chunk.size
        for shelf in chunk.shelves:
            shelf.drop_to(chunk.last)

    def read(self, after: Iterable[tuple[int, int]]) -> list[tuple[int, bytes]] | None:
        """Return the packets to these buckets, each after a number, in their order; ``None`` if one was discarded."""
        found: dict[int, tuple[int, bytes]] = {}
        for bucket, number in after:
            shelf = self._shelves.get(bucket)
            if shelf is None:
                continue
            if shelf.cut > number:
                return None
            for entry in shelf.entries[shelf.after(number) :]:
                found[entry[0]] = entry
        return [found[number] for number in sorted(found)]


def _number_of(entry: tuple[int, bytes]) -> int:
    return entry[0]
