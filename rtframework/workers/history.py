"""What was said in the rooms of one namespace of a worker: the broker numbers it, and keeps it."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..adapters.memory_history import take_page
from ..cluster.messages import Broadcast, target_of
from ..cluster.pubsub_wire import decode
from ..exceptions import DecodeError
from ..types import HistoryEntry, HistoryPage, HistoryQuery, KeptPacket, KeptRoom, Packet, PacketType
from . import wire, wire_rooms
from .own_messages import OwnKeptEvent

if TYPE_CHECKING:
    from ..types import Target
    from .adapter import WorkersAdapter

_EVENT: Final = int(PacketType.EVENT)
_SLACK: Final = 8
"""Entries that are read beyond those asked for: a socket may have got some live since it is in its room."""


class KeptEvent(NamedTuple):
    """An event that is in the history of rooms. ``text``: its arguments as JSON; else they are ``data``."""

    at: int
    key: str
    rooms: Collection[str]
    except_: Collection[str]
    compress: bool
    text: str | None
    data: Sequence[Any] = ()


def read_kept(payload: bytes) -> KeptEvent:
    """Decode the payload ``IS_KEPT``. Raises ``DecodeError``."""
    at, payload = wire.kept_at(payload), payload[wire.KEPT_HEAD :]
    if payload[0] == wire.IS_EVENT:
        it = wire.read_event(payload)
        return KeptEvent(at, it.key, it.rooms, it.except_, not it.flags & wire.NOT_COMPRESSED, it.text)
    message = decode(payload[1:])
    data = message.data
    if not isinstance(data, Broadcast):
        raise DecodeError("invalid event in the history of a room")
    target = target_of(data.opts)
    return KeptEvent(at, message.nsp, target.rooms or (), target.except_, target.compress, None, data.packet.data)


class _Found:
    """A page, and the number of the last message that the broker had put in order when it was read."""

    __slots__ = ("_cuts", "head", "page")

    def __init__(self, head: int, page: HistoryPage) -> None:
        self.head = head
        self.page = page
        self._cuts: dict[tuple[str, ...], HistoryPage] = {}
        """Parts of the page: sockets that get the same entries get the same object, which is encoded once."""

    def without(self, ids: Collection[str], query: HistoryQuery) -> HistoryPage | None:
        """Return the part that a query selects, without some entries; ``None`` if others may be missing then."""
        page = self.page
        left = [entry for entry in page.entries if entry.id not in ids]
        cut = take_page(left, query, gap=page.gap)
        if page.more and len(cut.entries) == len(left) < min(query.limit, len(page.entries)):
            return None
        key = tuple(entry.id for entry in cut.entries)
        if key not in self._cuts:
            self._cuts[key] = HistoryPage(cut.entries, cut.gap, cut.more or page.more)
        return self._cuts[key]


class _Opening:
    """The moment at which a socket has come into a room. ``ids``: of the entries that it gets live since.

    ``sid``: the socket, if it was not in the room before. ``at``: the number of the last message that was in order by
    then; for a socket that was not in the room, it is for the page, even if it is handled here later.
    """

    __slots__ = ("at", "ids", "sid")

    def __init__(self, sid: str | None, at: int) -> None:
        self.sid = sid
        self.at = at
        self.ids: set[str] = set()


class WorkersHistory:
    """Keeps the history of rooms, see :class:`rtframework.protocols.HistoryKeeper`.

    The broker puts events in order, keeps them under their numbers, and sends them to the workers that have one of the
    rooms, and back to the one that has emitted them; so the ids have the order in which all deliver.

    The broker may not have heard yet that a room is here when a socket joins. So its page, which is asked for
    afterwards, has all that the broker has by then, but for what the socket got live meanwhile.
    """

    __slots__ = ("_adapter", "_joined", "_openings", "_reading", "is_read")

    def __init__(self, adapter: WorkersAdapter) -> None:
        self._adapter = adapter
        self.is_read = False
        """True once sockets join with history: who joins which room is noted."""
        self._joined: tuple[str, frozenset[str], int] | None = None
        """The last socket that has joined rooms, those in which it had not been, and the number of the last message."""
        self._openings: dict[str, list[_Opening]] = {}
        """By room: sockets that wait for their page."""
        self._reading: dict[tuple[KeptRoom, HistoryQuery], asyncio.Future[_Found]] = {}
        """Pages that are on their way, for sockets that join."""

    # --- what the framework asks --------------------------------------------------------------------------------------

    async def broadcast(self, packet: Packet, target: Target, rooms: Sequence[KeptRoom]) -> None:
        """Have an event put in order and kept; everybody gets it when it is its turn."""
        adapter = self._adapter
        at = time.time_ns() // 1_000_000
        text = adapter._emitter.text(packet)
        if text is None:
            packet = Packet(_EVENT, adapter.nsp, adapter._emitter.plain(packet.data))
        group = adapter._group
        payload = wire.encode_kept(at, adapter._payload(packet, text, target))
        flags, buckets = adapter._buckets_of(target.rooms)
        if adapter.recovers:
            flags |= wire.KEEP
        if not group.link.is_ready:
            await group.link.ready(adapter._backbone.publish_timeout)
        deliver = partial(self._deliver, at, text, lambda: packet, target.rooms or (), target.except_, target.compress)
        own = OwnKeptEvent(deliver)
        group.publish_kept(flags, buckets, adapter.key, rooms, payload, own)
        await own.done
        if own.slow is not None:
            await own.slow

    def note(self, sid: str, rooms: Collection[str]) -> None:
        """Hear that a socket is about to be in rooms."""
        index, group = self._adapter.index, self._adapter._group
        new = frozenset(room for room in rooms if sid not in index.members(room))
        self._joined = (sid, new, group.table.head)

    def open(self, room: str) -> _Opening:
        """Note what is delivered from now on."""
        joined, self._joined = self._joined, None
        self.is_read = True
        if joined is not None and room in joined[1]:
            opening = _Opening(joined[0], joined[2])
        else:
            opening = _Opening(None, self._adapter._group.table.head)
        self._openings.setdefault(room, []).append(opening)
        return opening

    def close(self, room: str, opening: _Opening) -> None:
        """Note it no longer."""
        openings = self._openings[room]
        openings.remove(opening)
        if not openings:
            del self._openings[room]

    async def read(self, room: KeptRoom, query: HistoryQuery, opening: _Opening | None = None) -> HistoryPage:
        """Read a page; with ``opening``, without what was delivered since. Raises
        :class:`~rtframework.ClusterUnavailable`."""
        if opening is None:
            return (await self._read(room, query)).page
        wide = dataclasses.replace(query, limit=query.limit + _SLACK)
        found = await self._read_once(room, wide)
        if found.head < opening.at:  # the question was on its way when the socket came
            found = await self._read(room, wide)
        # What the broker had by then was delivered here before its answer, or is not delivered any more.
        page = found.without(opening.ids, query)
        if page is None:
            upto = self._adapter._offset(found.head)
            page = (await self._read(room, dataclasses.replace(query, upto=upto), opening.ids)).page
        return page

    def _read_once(self, room: KeptRoom, query: HistoryQuery) -> Awaitable[_Found]:
        """Read a page for a socket that joins, together with others that do so while it is asked for."""
        key = (room, query)
        reading = self._reading.get(key)
        if reading is None:
            reading = self._reading[key] = asyncio.ensure_future(self._read(room, query))
            reading.add_done_callback(partial(self._read_done, key))
        return asyncio.shield(reading)

    def _read_done(self, key: tuple[KeptRoom, HistoryQuery], reading: asyncio.Future[_Found]) -> None:
        del self._reading[key]
        if not reading.cancelled():
            reading.exception()  # nobody may wait any longer

    async def _read(self, room: KeptRoom, query: HistoryQuery, without: Collection[str] = ()) -> _Found:
        answer = await self._ask(room, query, without)
        entries = []
        for id, payload in answer.found:
            try:
                it = read_kept(payload)
            except DecodeError:
                continue  # nobody has got it
            data = it.data if it.text is None else None
            entries.append(HistoryEntry(id, it.at, text=it.text, data=data, except_=frozenset(it.except_)))
        return _Found(answer.head, HistoryPage(tuple(entries), answer.gap, answer.more))

    async def clear(self, room: str) -> None:
        """Forget what was said in a room. Raises :class:`~rtframework.ClusterUnavailable`."""
        key = self._adapter.key
        await self._adapter._group.link.request(lambda id: wire_rooms.frame_of(wire_rooms.ClearHistory(id, key, room)))

    async def _ask(self, room: KeptRoom, query: HistoryQuery, without: Collection[str]) -> Any:
        it, key = query, self._adapter.key
        most = (it.limit, it.max_bytes, it.oldest, list(without))

        def make(id: int) -> bytes:
            place = (id, key, room.name, room.size, room.ttl)
            return wire_rooms.frame_of(wire_rooms.ReadHistory(*place, it.after, it.before, it.upto, *most))

        return await self._adapter._group.link.request(make)

    # --- what is delivered --------------------------------------------------------------------------------------------

    def take(self, number: int, it: KeptEvent) -> None:
        """Deliver an event of another worker."""
        if it.text is None:
            packet = partial(Packet, _EVENT, self._adapter.nsp, it.data)
        else:
            packet = partial(self._adapter.decoded, it.text)
        slow = self._deliver(it.at, it.text, packet, it.rooms, it.except_, it.compress, number)
        if slow is not None:
            self._adapter._spawn(slow)

    def _deliver(
        self,
        at: int,
        text: str | None,
        packet: Callable[[], Packet],
        rooms: Collection[str],
        except_: Collection[str],
        compress: bool,
        number: int,
    ) -> Awaitable[None] | None:
        """Send an event to sockets here, with the id of its entry; that is the offset for recovery, too."""
        adapter = self._adapter
        id = adapter._offset(number)
        for returning in adapter._returning:
            returning.add(number, text, packet, rooms, except_, compress)
        sids = adapter.index.select(rooms, except_)
        if self._openings:
            self._leave_to_pages(sids, id, rooms, number)
        if not sids:
            return None

        def kept() -> KeptPacket:
            return KeptPacket(_EVENT, adapter.nsp, [*packet().data, id], None, at)

        frames = adapter.frames(text, packet, id, compress)
        if frames is not None:
            frames.entry = id
        it: Any = kept if frames is not None else kept()
        return adapter._emitter.send(sids, it, compress=compress, frames=frames, rooms=rooms)

    def _leave_to_pages(self, sids: list[str], id: str, rooms: Collection[str], number: int) -> None:
        """Take those sockets out of a list that have come later, though the event is handled here only now.

        Note for the others that they get it, those too that are in another of the rooms.
        """
        for room in rooms:
            for opening in self._openings.get(room, ()):
                sid = opening.sid
                if sid is None or number > opening.at or self._is_elsewhere(sid, rooms, number):
                    opening.ids.add(id)
                elif sid in sids:
                    sids.remove(sid)

    def _is_elsewhere(self, sid: str, rooms: Collection[str], number: int) -> bool:
        """Return whether a socket was in one of the rooms when a message was put in order."""
        return any(
            not any(each.sid == sid and number <= each.at for each in self._openings.get(room, ()))
            for room in self._adapter.index.rooms(sid).intersection(rooms)
        )
