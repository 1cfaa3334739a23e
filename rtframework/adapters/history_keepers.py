"""The history of rooms kept in memory, or in a program's own store, whatever adapter delivers."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Final

from ..concurrency import TaskSet
from ..types import HistoryEntry, HistoryPage, HistoryQuery, KeptPacket, KeptRoom, Packet, PacketType, Target

if TYPE_CHECKING:
    from ..protocols import Adapter, Emitter, HistoryStore
    from .memory_history import MemoryHistory

_EVENT: Final = int(PacketType.EVENT)


class MemoryKeeper:
    """Keeps events in memory, in the moment in which they are delivered."""

    __slots__ = ("_adapter", "_emitter", "_nsp", "_store")

    def __init__(self, nsp: str, adapter: Adapter, emitter: Emitter, store: MemoryHistory) -> None:
        self._nsp = nsp
        self._adapter = adapter
        self._emitter = emitter
        self._store = store

    async def broadcast(self, packet: Packet, target: Target, rooms: Sequence[KeptRoom]) -> None:
        """Keep and deliver an event; nothing is waited for between the two."""
        entry = entry_of(packet, target, self._emitter)
        id = self._store.add(self._nsp, rooms, entry)
        await self._adapter.broadcast(kept_packet(packet, id, entry.at), target)

    def open(self, room: str) -> str:
        """Note the newest entry."""
        return self._store.position

    def close(self, room: str, opening: str) -> None:
        """Do nothing."""

    async def read(self, room: KeptRoom, query: HistoryQuery, opening: str | None = None) -> HistoryPage:
        """Return a page."""
        return self._store.find(self._nsp, room, dataclasses.replace(query, upto=opening))

    async def clear(self, room: str) -> None:
        """Forget the entries of a room."""
        await self._store.clear(self._nsp, room)


class _Room:
    """A room whose events are on their way into a store, or into which a socket is on its way."""

    __slots__ = ("appending", "lock", "openings", "users")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.appending: asyncio.Future[None] | None = None
        """Ends when the store has told the id of the event that is being added."""
        self.openings: list[set[str]] = []
        """For each of those sockets: the ids of entries that were delivered since."""
        self.users = 0


class StoreKeeper:
    """Keeps events in a program's own store, those of a room one after another."""

    __slots__ = ("_adapter", "_emitter", "_nsp", "_rooms", "_store", "_tasks")

    def __init__(self, nsp: str, adapter: Adapter, emitter: Emitter, store: HistoryStore) -> None:
        self._nsp = nsp
        self._adapter = adapter
        self._emitter = emitter
        self._store = store
        self._rooms: dict[str, _Room] = {}
        self._tasks = TaskSet()

    async def broadcast(self, packet: Packet, target: Target, rooms: Sequence[KeptRoom]) -> None:
        """Keep an event, then deliver it; the next one of its rooms waits until then.

        What has begun is done also if the emitter is cancelled: what is kept is delivered.
        """
        task = self._tasks.spawn(self._keep(packet, target, rooms, entry_of(packet, target, self._emitter)))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(partial(self._tell, packet, target))
            raise

    async def _keep(self, packet: Packet, target: Target, rooms: Sequence[KeptRoom], entry: HistoryEntry) -> None:
        names = sorted(each.name for each in rooms)
        taken = [self._use(name) for name in names]
        try:
            async with AsyncExitStack() as locks:
                for room in taken:  # in the same order by everybody
                    await locks.enter_async_context(room.lock)
                id = await self._append(rooms, taken, entry)
                await self._adapter.broadcast(kept_packet(packet, id, entry.at), target)
        finally:
            for name in names:
                self._leave(name)

    async def _append(self, rooms: Sequence[KeptRoom], taken: Sequence[_Room], entry: HistoryEntry) -> str:
        told = asyncio.get_running_loop().create_future()
        for room in taken:
            room.appending = told
        try:
            id = await self._store.append(self._nsp, rooms, entry)
            for room in taken:
                for opening in room.openings:
                    opening.add(id)
            return id
        finally:
            told.set_result(None)
            for room in taken:
                room.appending = None

    def _tell(self, packet: Packet, target: Target, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self._emitter.lost(packet, target, error)

    def open(self, room: str) -> set[str]:
        """Note what is delivered from now on."""
        opening: set[str] = set()
        self._use(room).openings.append(opening)
        return opening

    def close(self, room: str, opening: set[str]) -> None:
        """Note it no longer."""
        openings = self._rooms[room].openings
        openings[:] = [each for each in openings if each is not opening]
        self._leave(room)

    async def read(self, room: KeptRoom, query: HistoryQuery, opening: set[str] | None = None) -> HistoryPage:
        """Return a page, without what was delivered since the opening."""
        page = await self._store.read(self._nsp, room, query)
        if opening is None:
            return page
        appending = self._rooms[room.name].appending
        if appending is not None:  # the store may have one whose id it has not told yet
            await asyncio.wait([appending])
        live = next((each.id for each in page.entries if each.id in opening), None)
        while live is not None:
            page = await self._store.read(self._nsp, room, dataclasses.replace(query, before=live))
            live = next((each.id for each in page.entries if each.id in opening), None)
        return page

    async def clear(self, room: str) -> None:
        """Forget the entries of a room."""
        await self._store.clear(self._nsp, room)

    def _use(self, name: str) -> _Room:
        room = self._rooms.get(name)
        if room is None:
            room = self._rooms[name] = _Room()
        room.users += 1
        return room

    def _leave(self, name: str) -> None:
        room = self._rooms[name]
        room.users -= 1
        if not room.users:
            del self._rooms[name]


def entry_of(packet: Packet, target: Target, emitter: Emitter) -> HistoryEntry:
    """Make the entry of an event that is emitted now. Raises ``EncodeError``."""
    at = time.time_ns() // 1_000_000
    text = emitter.text(packet)
    data = emitter.plain(packet.data) if text is None else None
    return HistoryEntry("", at, text=text, data=data, except_=target.except_)


def kept_packet(packet: Packet, id: str, at: int) -> KeptPacket:
    """Return the packet of an event with the id of its entry."""
    return KeptPacket(_EVENT, packet.nsp, [*packet.data, id], None, at)
