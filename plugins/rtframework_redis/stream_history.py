"""The history of the rooms of one namespace over the stream: kept and delivered in the stream's order."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from rtframework.cluster.adapter import wait_for_slow
from rtframework.cluster.messages import Broadcast, EventPacket, options_of
from rtframework.cluster.stream_ids import parse_id
from rtframework.cluster.streams_wire import encode_data, encode_text, room_of
from rtframework.exceptions import ClusterUnavailable
from rtframework.types import HistoryPage, HistoryQuery, KeptPacket, KeptRoom, Packet, PacketType, Target

from .history_scripts import key_of, read_command, read_reply, room_key
from .shared_pages import SharedPages

if TYPE_CHECKING:
    from .streams import RedisStreams
    from .streams_adapter import StreamsAdapter

_EVENT: Final = int(PacketType.EVENT)


class OwnKeptEvent(msgspec.Struct, eq=False):
    """An event of this server for rooms with history, on its way through the stream; see ``OwnEvent``."""

    history: StreamHistory
    packet: Packet
    text: str | None
    target: Target
    slow: Awaitable[None] | None = None

    local = False
    """Nobody has it before it was read back."""

    def read(self, id: str) -> None:
        """Send it to the sockets here: it was read back."""
        target = self.target
        sids = self.history.select(target.rooms, target.except_)
        if sids:
            self.slow = self.history.give(sids, self.text, lambda: self.packet, id, target.compress, target.rooms)

    def lost(self, error: ClusterUnavailable) -> None:
        """Handle that the other servers do not get it, though nobody waits any longer."""
        self.history.lost(self.packet, self.target, error)


class StreamHistory:
    """Keeps the history of the rooms of one namespace, see ``rtframework.protocols.HistoryKeeper``.

    One script adds an event to the stream and to the keys of its rooms. So the ids of a room have the order of the
    stream, in which all servers deliver; and what a server has not read yet when a socket joins is beyond its position.
    """

    __slots__ = ("_adapter", "_backbone", "_pages")

    def __init__(self, adapter: StreamsAdapter, backbone: RedisStreams) -> None:
        self._adapter = adapter
        self._backbone = backbone
        self._pages = SharedPages(self._read)

    # --- what the framework asks --------------------------------------------------------------------------------------

    async def broadcast(self, packet: Packet, target: Target, rooms: Sequence[KeptRoom]) -> None:
        """Add an event to the stream and to the history of rooms; everybody gets it when it is read back."""
        adapter, backbone = self._adapter, self._backbone
        text = adapter._emitter.text(packet)
        if text is None:
            packet = Packet(_EVENT, adapter.nsp, adapter._emitter.plain(packet.data))
            data = encode_data(3, Broadcast(EventPacket(_EVENT, packet.data), opts=options_of(target)))
        else:
            data = encode_text(text, target)
        adapter.check_size(data)
        keys = [room_key(backbone.stream, adapter.nsp, room) for room in rooms]
        event = OwnKeptEvent(self, packet, text, target)
        await backbone.writer.publish_kept(adapter.name, data, keys, event, room=room_of(target), emit=event)
        await wait_for_slow(event.slow)

    def open(self, room: str) -> str:
        """Return the position of this server in the stream."""
        return self._backbone.at

    def close(self, room: str, opening: str) -> None:
        """Do nothing."""

    async def read(self, room: KeptRoom, query: HistoryQuery, opening: str | None = None) -> HistoryPage:
        """Read a page; with ``opening``, up to this position. Raises :class:`~rtframework.ClusterUnavailable`."""
        if opening is not None:
            if query.after is None and query.limit:
                page = await self._pages.read(room, query, opening)
                if page is not None:
                    return page
            query = dataclasses.replace(query, upto=opening)
        return await self._read(room, query)

    async def _read(self, room: KeptRoom, query: HistoryQuery) -> HistoryPage:
        command = read_command(self._backbone.stream, self._adapter.nsp, room, query)
        if command is None:
            return HistoryPage(gap=query.after is not None)
        return read_reply(await self._backbone.writer.command(*command), query)

    async def clear(self, room: str) -> None:
        """Delete a room's key. Raises :class:`~rtframework.ClusterUnavailable`."""
        await self._backbone.writer.command("DEL", key_of(self._backbone.stream, self._adapter.nsp, room))

    # --- what is delivered --------------------------------------------------------------------------------------------

    def select(self, rooms: Collection[str] | None, except_: Collection[str]) -> list[str]:
        """Return the sockets of this server that an event is for."""
        return self._adapter.index.select(rooms, except_)

    def give(
        self,
        sids: Collection[str],
        text: str | None,
        packet: Callable[[], Packet],
        id: str,
        compress: bool,
        rooms: Collection[str] | None,
    ) -> Awaitable[None] | None:
        """Send an event to sockets here, with the id of its entry; that is the offset for recovery, too."""
        adapter = self._adapter

        def kept() -> KeptPacket:
            return KeptPacket(_EVENT, adapter.nsp, [*packet().data, id], None, parse_id(id)[0])

        frames = adapter.frames(text, packet, id, compress)
        if frames is not None:
            frames.entry = id
        it: Any = kept if frames is not None else kept()
        return adapter._emitter.send(sids, it, compress=compress, frames=frames, rooms=rooms)

    def lost(self, packet: Packet, target: Target, error: ClusterUnavailable) -> None:
        """Tell of an event whose emitter waits no longer: nobody gets it."""
        self._adapter._emitter.lost(packet, target, error)
