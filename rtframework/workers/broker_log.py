"""The packets that the broker keeps for clients that may come back, by bucket; without I/O."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

_OVERHEAD: Final = 200
"""Bytes that a packet takes beside its payload."""


class _Shelf:
    """The packets of one bucket, oldest first. ``cut``: the number of the last one that was discarded."""

    __slots__ = ("cut", "entries", "start")

    def __init__(self) -> None:
        self.entries: list[tuple[int, bytes]] = []
        self.start = 0
        self.cut = 0

    def drop_first(self, number: int) -> None:
        self.cut = number
        self.start += 1
        if self.start * 2 > len(self.entries):
            del self.entries[: self.start]
            self.start = 0


class BrokerLog:
    """Packets in their order, each with its number, bounded by age, number and bytes.

    For each bucket it is known what was discarded, so that a client is refused only if a packet is missing that may
    have been for it. Nothing is kept before :meth:`keep` says for how long.
    """

    def __init__(self) -> None:
        self._shelves: dict[int, _Shelf] = {}
        self._entries: deque[tuple[int, float, Sequence[int], int]] = deque()
        """Number, time, buckets and size of each packet."""
        self._seconds = 0.0
        self._packets = self._most_bytes = 0
        self.size = 0
        """Bytes that the packets take."""

    def __len__(self) -> int:
        """Number of packets."""
        return len(self._entries)

    def keep(self, seconds: float, packets: int, size: int) -> None:
        """Keep packets so long, at least, within a number and bytes; of several calls the most counts."""
        self._seconds = max(self._seconds, seconds)
        self._packets = max(self._packets, packets)
        self._most_bytes = max(self._most_bytes, size)

    def append(self, number: int, buckets: Sequence[int], payload: bytes, now: float) -> None:
        """Keep a packet. ``now``: seconds of a clock that goes on."""
        size = _OVERHEAD + len(payload)
        self.size += size
        entry = (number, payload)
        shelves = self._shelves
        for bucket in buckets:
            shelf = shelves.get(bucket)
            if shelf is None:
                shelf = shelves[bucket] = _Shelf()
            shelf.entries.append(entry)
        self._entries.append((number, now, buckets, size))
        if self.size > self._most_bytes or len(self._entries) > self._packets:
            self.trim(now)

    def trim(self, now: float) -> None:
        """Discard what is beyond the bounds."""
        entries = self._entries
        oldest = now - self._seconds
        while entries and (entries[0][1] < oldest or len(entries) > self._packets or self.size > self._most_bytes):
            number, _, buckets, size = entries.popleft()
            self.size -= size
            for bucket in buckets:
                self._shelves[bucket].drop_first(number)

    def read(self, after: Iterable[tuple[int, int]]) -> list[tuple[int, bytes]] | None:
        """Return the packets to these buckets, each after a number, in their order; ``None`` if one was discarded."""
        found: dict[int, tuple[int, bytes]] = {}
        for bucket, number in after:
            shelf = self._shelves.get(bucket)
            if shelf is None:
                continue
            if shelf.cut > number:
                return None
            first = bisect_right(shelf.entries, number, shelf.start, key=_number_of)
            for entry in shelf.entries[first:]:
                found[entry[0]] = entry
        return [found[number] for number in sorted(found)]


def _number_of(entry: tuple[int, bytes]) -> int:
    return entry[0]
