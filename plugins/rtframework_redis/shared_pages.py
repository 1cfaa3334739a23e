"""Pages that many sockets ask for at once, as after a restart: read together."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from rtframework.cluster.stream_ids import parse_id
from rtframework.concurrency import TaskSet
from rtframework.exceptions import ClusterUnavailable
from rtframework.types import HistoryPage, HistoryQuery, KeptRoom

from .errors import LinkError

HistoryBounds: TypeAlias = tuple[int, int]

_SLACK: Final = 50
"""Entries that are read beyond those asked for: some may have come since a socket was in its room."""


class _Batch:
    """Sockets that wait for one page."""

    __slots__ = ("cuts", "page")

    def __init__(self) -> None:
        self.page: asyncio.Future[HistoryPage | None] = asyncio.get_running_loop().create_future()
        self.cuts: dict[HistoryBounds, HistoryPage] = {}
        """Parts of the page, by their bounds: sockets that get the same get the same object, which is encoded once."""


class SharedPages:
    """Reads the newest page of a room once for all sockets that have asked for it while another one was read.

    Such a page is read after each of them was put into the room, so it has all that came before. What came since is cut
    off for each.
    """

    __slots__ = ("_next", "_read", "_reading", "_tasks")

    def __init__(self, read: Callable[[KeptRoom, HistoryQuery], Awaitable[HistoryPage]]) -> None:
        self._read = read
        self._reading: dict[tuple[KeptRoom, int, int], int] = {}
        """Pages that are read now, of each room."""
        self._next: dict[tuple[KeptRoom, int, int], _Batch] = {}
        self._tasks = TaskSet()

    async def read(self, room: KeptRoom, query: HistoryQuery, upto: str) -> HistoryPage | None:
        """Return the newest page up to a position; ``None``: nobody else asks for it, or too much has come since."""
        key = (room, query.limit, query.max_bytes)
        if key not in self._reading:
            return await self._alone(key, room, dataclasses.replace(query, upto=upto))
        batch = self._next.get(key)
        if batch is None:
            batch = self._next[key] = _Batch()
        page = await asyncio.shield(batch.page)
        bounds = None if page is None else bounds_of(page, query.limit, upto)
        if page is None or bounds is None:
            return None
        if bounds not in batch.cuts:
            first, last = bounds
            batch.cuts[bounds] = HistoryPage(page.entries[first:last], more=page.more or first > 0)
        return batch.cuts[bounds]

    async def _alone(self, key: tuple[KeptRoom, int, int], room: KeptRoom, query: HistoryQuery) -> HistoryPage:
        self._reading[key] = 1
        try:
            return await self._read(room, query)
        finally:
            self._go_on(key, room, query)

    def _go_on(self, key: tuple[KeptRoom, int, int], room: KeptRoom, query: HistoryQuery) -> None:
        """Read the page for those that have asked meanwhile."""
        batch = self._next.pop(key, None)
        if batch is None:
            del self._reading[key]
        else:
            self._tasks.spawn(self._together(key, room, query, batch))

    async def _together(
        self, key: tuple[KeptRoom, int, int], room: KeptRoom, query: HistoryQuery, batch: _Batch
    ) -> None:
        page: HistoryPage | None = None
        try:
            page = await self._read(room, dataclasses.replace(query, upto=None, limit=query.limit + _SLACK))
        except (LinkError, ClusterUnavailable):
            page = None  # each reads its own then, and has its own error
        finally:
            if not batch.page.done():
                batch.page.set_result(page)
            self._go_on(key, room, query)


def bounds_of(page: HistoryPage, limit: int, upto: str) -> HistoryBounds | None:
    """Return where the newest entries up to a position begin and end; ``None`` if the page has not all of them."""
    last = len(page.entries)
    end = parse_id(upto)
    while last and parse_id(page.entries[last - 1].id) > end:
        last -= 1
    return None if last < limit and page.more else (max(0, last - limit), last)
