"""Connection state recovery: what is kept of clients that have gone, and of packets that they may have missed.

Nothing here does I/O or knows the time: both are the adapter's.
"""

from __future__ import annotations

import re
import secrets
from bisect import bisect_right
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..types import DisconnectReason

if TYPE_CHECKING:
    from ..protocols import Frames

RECOVERABLE: Final = frozenset(
    {
        DisconnectReason.TRANSPORT_ERROR,
        DisconnectReason.TRANSPORT_CLOSE,
        DisconnectReason.FORCED_CLOSE,
        DisconnectReason.PING_TIMEOUT,
        DisconnectReason.SERVER_SHUTTING_DOWN,
        DisconnectReason.FORCED_SERVER_CLOSE,
    }
)
"""The reasons after which a client may take its state up again: Node's."""

_OFFSET: Final = re.compile(r"[\w-]{8}\.[0-9]{1,16}", re.ASCII)

_MAX_PAST: Final = 256
"""Rooms that a client has left, with packets that it may still miss, that are remembered."""


class Attendance:
    """When a client was in which rooms: exact to the packet, so that it gets what was meant for it and nothing else."""

    __slots__ = ("birth", "known_from", "past", "since")

    def __init__(self, head: int) -> None:
        self.birth = head
        self.known_from = head
        """Of positions before this one too much is forgotten to tell."""
        self.since: dict[str, int] = {}
        """For each room it is in: the position of the last packet before it joined."""
        self.past: deque[tuple[str, int, int]] = deque()
        """Rooms it has left: ``(room, joined, left)``."""

    def join(self, rooms: Iterable[str], head: int) -> None:
        """Note that the socket is in these rooms from now on."""
        for room in rooms:
            self.since.setdefault(room, head)

    def leave(self, rooms: Iterable[str], head: int) -> None:
        """… and not any more."""
        for room in rooms:
            joined = self.since.pop(room, head)
            if joined < head:
                self.past.append((room, joined, head))
        while len(self.past) > _MAX_PAST:
            self.known_from = self.past.popleft()[2]

    def stays(self, after: int) -> Iterator[tuple[str | None, int, int | None]]:
        """Where packets for it may be, beyond a position: ``(room, from, to)``; room ``None`` is everybody."""
        yield None, after, None
        for room, joined in self.since.items():
            yield room, max(after, joined), None
        for room, joined, left in self.past:
            if left > after:
                yield room, max(after, joined), left

    def was_in(self, rooms: Collection[str], position: int) -> bool:
        """Return whether it was in any of the rooms when the packet of that position was emitted."""
        since = self.since
        for room in rooms:
            if room in since and since[room] < position:
                return True
        return any(room in rooms and joined < position <= left for room, joined, left in self.past)

    def is_always_in(self, rooms: Collection[str], after: int) -> bool:
        """Return whether it has been in one of the rooms ever since a position."""
        since = self.since
        return any(room in since and since[room] <= after for room in rooms)


@dataclass(slots=True, eq=False)
class Record:
    """One packet that was emitted."""

    position: int
    rooms: frozenset[str] | None
    except_: frozenset[str]
    frames: Frames
    at: float


class _Shelf:
    """The packets to one room, oldest first, and how far they have been thrown away."""

    __slots__ = ("cuts", "records", "start")

    def __init__(self) -> None:
        self.records: list[Record | None] = []
        self.start = 0
        self.cuts: dict[frozenset[str], int] = {}
        """For each set of rooms left out: the position of the last packet that has been thrown away."""

    def between(self, after: int, to: int | None) -> list[Record]:
        """Those beyond one position, up to another."""
        records: Any = self.records
        first = bisect_right(records, after, self.start, key=_position)
        last = len(records) if to is None else bisect_right(records, to, first, key=_position)
        found: list[Record] = records[first:last]
        return found

    def drop_first(self, record: Record) -> bool:
        """Throw the oldest away, if this is it."""
        if self.start == len(self.records) or self.records[self.start] is not record:
            return False
        self.records[self.start] = None
        self.start += 1
        if self.start * 2 > len(self.records):
            del self.records[: self.start]
            self.start = 0
        return True


def _position(record: Record) -> int:
    return record.position


def is_offset(text: str) -> bool:
    """Return whether a string may be the offset of a :class:`PacketLog`."""
    return _OFFSET.fullmatch(text) is not None


class PacketLog:
    """The packets of one namespace that somebody may have missed, each with a position: 1, 2, 3 …

    An offset is a position in the form that clients are given: with a prefix that is this log's own, because clients
    also bring offsets of a server that is not there any more.
    """

    def __init__(self, *, max_packets: int, max_bytes: int, max_age: float) -> None:
        self._max_packets = max_packets
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._prefix = secrets.token_urlsafe(6) + "."
        self._records: deque[Record] = deque()
        self._shelves: dict[str | None, _Shelf] = {}
        self._bytes = 0
        self._cuts = 0
        self._floor = 0
        """Up to here it is forgotten what was thrown away."""
        self.head = 0
        """The position of the newest packet."""

    def __len__(self) -> int:
        """How many packets are kept."""
        return len(self._records)

    def offset(self, position: int) -> str:
        """Write a position as the offset that clients are given."""
        return f"{self._prefix}{position}"

    def position(self, offset: str | None) -> int | None:
        """The position that a client has reached; ``None`` when that is no offset.

        It is 0 for one that brings none, or one of another log: since it has been given a session here, it has received
        nothing.
        """
        if not offset:
            return 0
        prefix, _, number = offset.rpartition(".")
        if len(prefix) + 1 != len(self._prefix) or not (number.isascii() and number.isdigit()) or len(number) > 16:
            return None
        if prefix + "." != self._prefix:
            return 0
        return int(number) if int(number) <= self.head else None

    def append(self, frames: Frames, rooms: frozenset[str] | None, except_: frozenset[str], now: float) -> None:
        """Keep a packet, at position ``head + 1``, and throw away what is too much."""
        self.head += 1
        record = Record(self.head, rooms, except_, frames, now)
        self._records.append(record)
        self._bytes += frames.size
        for room in (None,) if rooms is None else rooms:
            shelf = self._shelves.get(room)
            if shelf is None:
                shelf = self._shelves[room] = _Shelf()
            shelf.records.append(record)
        if len(self._records) > self._max_packets or self._bytes > self._max_bytes or self._is_old(now):
            self.trim(now)

    def trim(self, now: float) -> None:
        """Throw away what is too much or too old."""
        records = self._records
        while len(records) > self._max_packets or self._bytes > self._max_bytes or self._is_old(now):
            self._drop(records.popleft())

    def forget(self, sid: str) -> None:
        """Forget what was kept for this socket: nobody will ask for it."""
        shelf = self._shelves.pop(sid, None)
        if shelf is not None:
            self._cuts -= len(shelf.cuts)

    def missed(self, attendance: Attendance, position: int) -> list[Frames] | None:
        """Return the packets missed since a position, in order; ``None`` when some are not kept any more."""
        after = max(position, attendance.birth)
        if after < self._floor or after < attendance.known_from:
            return None
        found: dict[int, Record] = {}
        for room, start, end in attendance.stays(after):
            shelf = self._shelves.get(room)
            if shelf is None:
                continue
            for except_, cut in shelf.cuts.items():
                if cut > start and not attendance.is_always_in(except_, start):
                    return None
            for record in shelf.between(start, end):
                if not record.except_ or not attendance.was_in(record.except_, record.position):
                    found[record.position] = record
        return [found[each].frames for each in sorted(found)]

    def _is_old(self, now: float) -> bool:
        return bool(self._records) and now - self._records[0].at > self._max_age

    def _drop(self, record: Record) -> None:
        self._bytes -= record.frames.size
        for room in (None,) if record.rooms is None else record.rooms:
            shelf = self._shelves.get(room)
            if shelf is not None and shelf.drop_first(record):
                self._cuts += record.except_ not in shelf.cuts
                shelf.cuts[record.except_] = record.position
        if self._cuts > self._max_packets:
            self._floor = record.position
            self._cuts = 0
            for room, shelf in list(self._shelves.items()):
                shelf.cuts.clear()
                if not shelf.records:
                    del self._shelves[room]
