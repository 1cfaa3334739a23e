"""What was said in the rooms of all workers, as the broker keeps it; without I/O."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Collection, Sequence

from ..adapters.memory_history import MemoryHistory, take_page
from ..types import HistoryEntry, HistoryPage, HistoryQuery, KeptRoom
from . import wire


class _Entry(HistoryEntry):
    """An entry of which the broker knows nothing but its payload."""

    __slots__ = ()

    def with_id(self, id: str) -> HistoryEntry:
        """Give it its id: nobody else has it yet."""
        self.id = id
        return self

    @property
    def size(self) -> int:
        """Bytes of the payload."""
        return len(self.data[0])


class BrokerHistory(MemoryHistory):
    """The history of rooms, by namespace and room, under the numbers of the broker's messages.

    The payload of a message is all that its entry has. Nothing is kept before :meth:`bound` says how much.
    ``epoch``: names the life of the broker in ids.
    """

    def __init__(self, epoch: str) -> None:
        super().__init__(max_bytes=1, max_rooms=1)
        self._prefix = f"{epoch}."

    def bound(self, size: int, rooms: int) -> None:
        """Keep so many bytes and so many rooms at least; of several calls the most counts."""
        self._max_bytes = max(self._max_bytes, size)
        self._max_rooms = max(self._max_rooms, rooms)

    def keep(self, number: int, key: str, rooms: Sequence[KeptRoom], payload: bytes) -> None:
        """Add a message to rooms."""
        self._number = number - 1
        self.add(key, rooms, _Entry("", wire.kept_at(payload), data=(payload,)))

    def find_without(self, key: str, room: KeptRoom, query: HistoryQuery, without: Collection[str] = ()) -> HistoryPage:
        """Return a page that lacks the entries with some ids."""
        if not without:
            return self.find(key, room, query)
        wide = dataclasses.replace(query, limit=query.limit + len(without), max_bytes=sys.maxsize)
        page = self.find(key, room, wide)
        found = take_page([each for each in page.entries if each.id not in without], query, gap=page.gap)
        return HistoryPage(found.entries, found.gap, found.more or page.more)

    def forget(self, key: str, room: str) -> None:
        """Forget what was said in a room."""
        shelf = self._shelves.pop((key, room), None)
        if shelf is not None:
            self.bytes -= shelf.bytes
