"""The history of rooms in memory, bounded over all rooms."""

from __future__ import annotations

import logging
import secrets
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final

from ..logs import ThrottledLog
from ..options import whole_number
from ..types import HistoryEntry, HistoryPage, HistoryQuery, KeptRoom

log: Final = logging.getLogger("rtframework.history")

_forgotten: Final = ThrottledLog(
    log,
    logging.WARNING,
    "the history of a room is forgotten: more than %d rooms or %d bytes are kept in memory",
    period=60.0,
)

_OVERHEAD: Final = 300
"""Bytes of an entry besides its event: objects of Python."""


class _Shelf:
    """The entries of one room, and the position up to which they were discarded."""

    __slots__ = ("bytes", "cut", "entries", "numbers")

    def __init__(self, cut: int) -> None:
        self.numbers: list[int] = []
        self.entries: list[HistoryEntry] = []
        self.bytes = 0
        self.cut = cut

    def drop(self, count: int) -> int:
        """Discard the oldest entries. Return their bytes."""
        gone = sum(each.size + _OVERHEAD for each in self.entries[:count])
        if count:
            self.cut = self.numbers[count - 1]
            del self.numbers[:count], self.entries[:count]
            self.bytes -= gone
        return gone


class MemoryHistory:
    """Keeps the history of rooms in the memory of this process: the default of a server without other servers.

    ``max_bytes`` and ``max_rooms`` are bounds for all rooms together. Beyond: the rooms that were used least recently
    are forgotten, and counted in ``forgotten``; a client that asks for what came after an entry of theirs is told of a
    gap.
    ``clock``: returns the time, in seconds since the epoch.

    Example::

        io = Server(history=History("chat:{room}", store=MemoryHistory(max_bytes=10_000_000)))
    """

    def __init__(
        self, *, max_bytes: int = 67_108_864, max_rooms: int = 10_000, clock: Callable[[], float] = time.time
    ) -> None:
        self._max_bytes = whole_number("max_bytes", max_bytes, least=1)
        self._max_rooms = whole_number("max_rooms", max_rooms, least=1)
        self._clock = clock
        self._shelves: OrderedDict[tuple[str, str], _Shelf] = OrderedDict()
        self._prefix = ""
        self._number = 0
        self._renew()
        self.bytes = 0
        """Bytes of all entries, about."""
        self.forgotten = 0
        """Rooms that were forgotten for others."""

    def __len__(self) -> int:
        """Count the rooms that have entries."""
        return len(self._shelves)

    def __bool__(self) -> bool:
        return True

    async def start(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Forget everything."""
        self._shelves.clear()
        self.bytes = 0
        self._renew()

    async def append(self, nsp: str, rooms: Sequence[KeptRoom], entry: HistoryEntry) -> str:
        """Add an entry to rooms; return its id."""
        return self.add(nsp, rooms, entry)

    async def read(self, nsp: str, room: KeptRoom, query: HistoryQuery) -> HistoryPage:
        """Return a page."""
        return self.find(nsp, room, query)

    async def clear(self, nsp: str, room: str) -> None:
        """Forget the entries of a room."""
        shelf = self._shelves.pop((nsp, room), None)
        if shelf is not None:
            self.bytes -= shelf.bytes

    # --- without waiting ----------------------------------------------------------------------------------------------

    @property
    def position(self) -> str:
        """The id of the newest entry of all rooms."""
        return f"{self._prefix}{self._number}"

    def add(self, nsp: str, rooms: Sequence[KeptRoom], entry: HistoryEntry) -> str:
        """Add an entry to rooms; return its id."""
        number = self._number = self._number + 1
        id = f"{self._prefix}{number}"
        entry = entry.with_id(id)
        size = entry.size + _OVERHEAD
        now = self._clock()
        for room in rooms:
            key = (nsp, room.name)
            shelf = self._shelves.get(key)
            if shelf is None:
                # What is from before this entry is gone, or was never there: who asks for it is told of a gap.
                shelf = self._shelves[key] = _Shelf(number - 1)
            else:
                self._shelves.move_to_end(key)
            shelf.numbers.append(number)
            shelf.entries.append(entry)
            shelf.bytes += size
            self.bytes += size
            self._trim(shelf, room, now)
        if self.bytes > self._max_bytes or len(self._shelves) > self._max_rooms:
            self._make_room()
        return id

    def find(self, nsp: str, room: KeptRoom, query: HistoryQuery) -> HistoryPage:
        """Return a page."""
        key = (nsp, room.name)
        shelf = self._shelves.get(key)
        if shelf is None:
            return HistoryPage(gap=query.after is not None)
        self._shelves.move_to_end(key)
        self._trim(shelf, room, self._clock())
        after, gap = 0, False
        if query.after is not None:
            after = self._number_of(query.after) or 0
            if after > self._number:  # one that was never given out
                after = 0
            gap = after < shelf.cut or not after
        numbers = shelf.numbers
        first = bisect_right(numbers, after)
        last = len(numbers)
        for bound, inclusive in ((query.before, False), (query.upto, True)):
            if bound is not None:
                end = self._number_of(bound)
                # Nothing here is before an entry of another life.
                last = 0 if end is None else min(last, bisect_right(numbers, end if inclusive else end - 1))
        return take_page(shelf.entries[first:last], query, gap=gap)

    # --- bounds -------------------------------------------------------------------------------------------------------

    def _trim(self, shelf: _Shelf, room: KeptRoom, now: float) -> None:
        count = max(0, len(shelf.entries) - room.size)
        if room.ttl is not None:
            oldest = (now - room.ttl) * 1000
            while count < len(shelf.entries) and shelf.entries[count].at < oldest:
                count += 1
        if count:
            self.bytes -= shelf.drop(count)

    def _make_room(self) -> None:
        """Forget rooms, those first that were used least recently; of the last one, its oldest entries."""
        while len(self._shelves) > 1 and (self.bytes > self._max_bytes or len(self._shelves) > self._max_rooms):
            _, shelf = self._shelves.popitem(last=False)
            self.bytes -= shelf.bytes
            self.forgotten += 1
            _forgotten(self._max_rooms, self._max_bytes, extra={"count": self.forgotten})
        if self.bytes > self._max_bytes:
            (shelf,) = self._shelves.values()
            while len(shelf.entries) > 1 and self.bytes > self._max_bytes:
                self.bytes -= shelf.drop(1)

    def _number_of(self, id: str) -> int | None:
        """Return the position of an entry; ``None`` if this is no id, or one of an earlier life."""
        digits = id.removeprefix(self._prefix)
        if not id.startswith(self._prefix) or len(digits) > 16 or not (digits.isascii() and digits.isdigit()):
            return None
        return int(digits)

    def _renew(self) -> None:
        self._prefix = secrets.token_urlsafe(6) + "."
        self._number = 0


def take_page(found: Sequence[HistoryEntry], query: HistoryQuery, *, gap: bool = False) -> HistoryPage:
    """Make a page of the entries that a query selects, the oldest first: as many of them as it may have."""
    limit, size = query.limit, 0
    order: Any = found if query.oldest else reversed(found)
    taken: list[HistoryEntry] = []
    for entry in order:
        size += entry.size
        if len(taken) >= limit or (taken and size > query.max_bytes):
            break
        taken.append(entry)
    if not query.oldest:
        taken.reverse()
    return HistoryPage(tuple(taken), gap, len(taken) < len(found))
