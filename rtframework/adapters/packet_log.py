"""Connection state recovery: the packets kept for clients that may come back, and the rooms that these were in.

Without I/O and without a clock: the adapter has both.
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
        DisconnectReason.TOKEN_EXPIRED,
    }
)
"""The disconnect reasons after which a client can recover its state, as in Node."""

_OFFSET: Final = re.compile(r"[\w-]{8}\.[0-9]{1,16}", re.ASCII)

_MAX_PAST: Final = 256
"""Rooms remembered for a client after it has left them, because it may have missed packets to them."""


class Attendance:
    """The rooms of a client over time, exact to the packet, so that it gets exactly the packets sent to it."""

    __slots__ = ("birth", "known_from", "past", "since")

    def __init__(self, head: int) -> None:
        self.birth = head
        self.known_from = head
        """Position from which the rooms are known; those before have been forgotten in part."""
        self.since: dict[str, int] = {}
        """For each room that the client is in: the position of the last packet before it joined."""
        self.past: deque[tuple[str, int, int]] = deque()
        """Rooms that the client has left: ``(room, joined, left)``, both as positions."""

    def join(self, rooms: Iterable[str], head: int) -> None:
        """Record that the client joins rooms after the packet at position ``head``."""
        for room in rooms:
            self.since.setdefault(room, head)

    def leave(self, rooms: Iterable[str], head: int) -> None:
        """Record that the client leaves rooms after the packet at position ``head``."""
        for room in rooms:
            joined = self.since.pop(room, head)
            if joined < head:
                self.past.append((room, joined, head))
        while len(self.past) > _MAX_PAST:
            self.known_from = self.past.popleft()[2]

    def stays(self, after: int) -> Iterator[tuple[str | None, int, int | None]]:
        """Yield ``(room, from, to)`` for each stay in a room beyond a position.

        Room ``None`` is the whole namespace, ``to`` is ``None`` for a room that the client is still in.
        """
        yield None, after, None
        for room, joined in self.since.items():
            yield room, max(after, joined), None
        for room, joined, left in self.past:
            if left > after:
                yield room, max(after, joined), left

    def was_in(self, rooms: Collection[str], position: int) -> bool:
        """Tell whether the client was in any of the rooms when the packet at a position was emitted."""
        since = self.since
        for room in rooms:
            if room in since and since[room] < position:
                return True
        return any(room in rooms and joined < position <= left for room, joined, left in self.past)

    def is_always_in(self, rooms: Collection[str], after: int) -> bool:
        """Tell whether the client has been in one of the rooms continuously since a position."""
        since = self.since
        return any(room in since and since[room] <= after for room in rooms)


@dataclass(slots=True, eq=False)
class Record:
    """One packet of the log."""

    position: int
    rooms: frozenset[str] | None
    except_: frozenset[str]
    frames: Frames
    at: float


class _Shelf:
    """The packets to one room, oldest first, and the positions of those that have been discarded."""

    __slots__ = ("cuts", "records", "start")

    def __init__(self) -> None:
        self.records: list[Record | None] = []
        self.start = 0
        self.cuts: dict[frozenset[str], int] = {}
        """For each set of excepted rooms: the position of the last packet that has been discarded."""

    def between(self, after: int, to: int | None) -> list[Record]:
        """Return the packets beyond position ``after``, up to position ``to``."""
        records: Any = self.records
        first = bisect_right(records, after, self.start, key=_position)
        last = len(records) if to is None else bisect_right(records, to, first, key=_position)
        found: list[Record] = records[first:last]
        return found

    def drop_first(self, record: Record) -> bool:
        """Discard the oldest packet if it is ``record``. Return ``False`` if it is another."""
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
    """Tell whether a string has the form of an offset of a :class:`PacketLog`."""
    return _OFFSET.fullmatch(text) is not None


class PacketLog:
    """The packets of one namespace that clients may have missed, each with a position: 1, 2, 3 …

    An offset is a position as clients get it, with a random prefix for each log: clients also send offsets that they
    have got from an earlier run of the server.
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
        """Position up to which it is no longer known which packets have been discarded."""
        self.head = 0
        """The position of the newest packet."""

    def __len__(self) -> int:
        """Number of packets kept."""
        return len(self._records)

    def offset(self, position: int) -> str:
        """Return the offset for a position, as clients get it."""
        return f"{self._prefix}{position}"

    def position(self, offset: str | None) -> int | None:
        """Return the position for a client's offset; ``None`` if it is not a valid offset.

        The position is 0 if the client has no offset, or one of another log: it has received no packet of this log.
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
        """Add a packet at position ``head + 1``, and discard packets beyond the bounds."""
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
        """Discard packets beyond the bounds of number, bytes and age."""
        records = self._records
        while len(records) > self._max_packets or self._bytes > self._max_bytes or self._is_old(now):
            self._drop(records.popleft())

    def forget(self, sid: str) -> None:
        """Forget the packets to a socket's own room: the socket will not be recovered."""
        shelf = self._shelves.pop(sid, None)
        if shelf is not None:
            self._cuts -= len(shelf.cuts)

    def missed(self, attendance: Attendance, position: int) -> list[Frames] | None:
        """Return the packets missed since a position, in order; ``None`` if some have been discarded."""
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
                if not record.except_:  # who has missed one of those before has missed this one, too
                    self._cuts -= len(shelf.cuts)
                    shelf.cuts.clear()
                self._cuts += record.except_ not in shelf.cuts
                shelf.cuts[record.except_] = record.position
        if self._cuts > self._max_packets:
            self._floor = record.position
            self._cuts = 0
            for room, shelf in list(self._shelves.items()):
                shelf.cuts.clear()
                if not shelf.records:
                    del self._shelves[room]
