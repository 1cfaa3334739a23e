"""The adapter of one namespace over the stream: what is emitted, what is read, and what servers ask each other."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Collection, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from rtframework.cluster.adapter import ClusterAdapter, wait_for_slow
from rtframework.cluster.messages import (
    Broadcast,
    Data,
    DisconnectSockets,
    EventPacket,
    Message,
    MessageType,
    options_of,
    target_of,
)
from rtframework.cluster.pubsub_wire import encode_ephemeral, private_channel, public_channel
from rtframework.cluster.stream_ids import is_id
from rtframework.cluster.streams_wire import (
    Entry,
    Fields,
    Splice,
    encode_data,
    encode_options,
    encode_text,
    read_fields,
    read_message,
    room_of,
)
from rtframework.exceptions import ClusterUnavailable, EncodeError
from rtframework.types import Packet, PacketType, Target

from .entries import AROUND, EventPacker
from .errors import LinkError
from .own_messages import OwnEvent, OwnOrder
from .stream_history import StreamHistory
from .stream_recovery import missed_frames, packet_of, read_since
from .stream_sessions import Renewal

if TYPE_CHECKING:
    from rtframework.protocols import Emitter, Session

    from .stream_writer import StreamWriter
    from .streams import RedisStreams

_CLOSE: Final = int(MessageType.ADAPTER_CLOSE)
_EVENT: Final = int(PacketType.EVENT)
_BROADCAST: Final = int(MessageType.BROADCAST)
_AGAIN: Final = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds between attempts to restore a session while connections to Redis end."""
_WRITTEN_SOON: Final = 0.1
"""Seconds in which a server writes down the session of a client that has just left it."""


class StreamsAdapter(ClusterAdapter):
    """One namespace of a server with ``RedisStreams``."""

    __slots__ = (
        "_at",
        "_backbone",
        "_is_open",
        "_packer",
        "_renewal",
        "_restored",
        "_restoring",
        "_writer",
        "history_keeper",
        "is_stream_first",
        "name",
        "recovers",
    )

    def __init__(self, backbone: RedisStreams, nsp: str, emitter: Emitter) -> None:
        super().__init__(nsp, emitter, max_message=backbone.max_message)
        self._backbone = backbone
        self.name = nsp.encode()
        self.recovers = self.is_stream_first = self._is_open = False
        self._at: dict[str, dict[str | None, str]] = {}
        """By socket id: the positions at which it has come, under ``None``, and has joined its rooms."""
        self._restored: dict[str, dict[str | None, str]] = {}
        self._restoring: set[str] = set()
        self._renewal: Renewal | None = None
        self._packer: EventPacker | None = None
        self._writer: StreamWriter | None = None
        self.history_keeper = StreamHistory(self, backbone)

    async def start(self) -> None:
        """Take part in the cluster."""
        backbone, recovery = self._backbone, self._emitter.recovery
        self.recovers = recovery is not None
        self.is_stream_first = self.recovers or backbone.delivery == "stream"
        self._is_open = True
        backbone.open(self)
        self._reach_writer()
        if recovery is not None:
            self._renewal = Renewal(lambda: self.sockets(Target()), self._renew, self._lifetime)
            self._renewal.start()
        uid, prefix = backbone.uid, backbone.channel_prefix
        await backbone.writer.subscribe(public_channel(self.nsp, prefix), private_channel(self.nsp, uid, prefix))
        backbone.leases.serve(self.nsp)  # not before: nobody is to wait for a server that does not hear

    async def close(self) -> None:
        """Leave the cluster."""
        if not self._is_open:
            return
        self._is_open = False
        self._writer = self._packer = None
        backbone = self._backbone
        if self._renewal is not None:
            await self._renewal.close()
            self._renewal = None
        uid, prefix = backbone.uid, backbone.channel_prefix
        public = public_channel(self.nsp, prefix)
        # Together, in this order: who begins a request before hears that it is not answered, who does after waits for
        # nothing.
        backbone.leases.withdraw(self.nsp)
        backbone.writer.send("PUBLISH", public, encode_ephemeral(Message(_CLOSE, None, uid, self.nsp)))
        await backbone.writer.unsubscribe(public, private_channel(self.nsp, uid, prefix))
        backbone.close(self)
        await super().close()

    # --- rooms --------------------------------------------------------------------------------------------------------

    def add(self, sid: str, rooms: Iterable[str]) -> Awaitable[None] | None:
        """Put a socket into rooms."""
        rooms = tuple(rooms)
        if self.recovers:
            known = self._at.get(sid)
            if known is None:
                known = self._restored.pop(sid, {}) or {None: self._backbone.at}
                self._at[sid] = known
            for room in rooms:
                known.setdefault(room, self._backbone.at)
            if self._renewal is not None:
                self._renewal.change(sid)
        self.index.add(sid, rooms)
        return None

    def remove(self, sid: str, rooms: Iterable[str]) -> Awaitable[None] | None:
        """Take a socket out of rooms."""
        rooms = tuple(rooms)
        known = self._at.get(sid)
        if known is not None:
            for room in rooms:
                known.pop(room, None)
            if self._renewal is not None:
                self._renewal.change(sid)
        self.index.remove(sid, rooms)
        return None

    def remove_all(self, sid: str) -> frozenset[str]:
        """Forget a socket."""
        self._at.pop(sid, None)
        return self.index.remove_all(sid)

    # --- what is emitted ----------------------------------------------------------------------------------------------

    def broadcast(self, packet: Packet, target: Target) -> Awaitable[Any]:
        """Deliver a packet to the sockets that a target selects, here and on the other servers.

        With recovery, or with ``delivery="stream"``, everybody gets it when it is read back from the stream. Otherwise
        the sockets of this server get it at once.
        """
        if packet.type != _EVENT or packet.id is not None:
            return wait_for_slow(self.send(packet, target, None))
        text = self._emitter.text(packet)
        if text is None:
            packet = Packet(_EVENT, self.nsp, self._emitter.plain(packet.data))
        if target.rooms is not None and not target.rooms:
            return wait_for_slow(None)
        if target.local:
            return wait_for_slow(self.deliver(packet, text, target, self._backbone.at if self.recovers else None))
        event = OwnEvent(self, packet, text, target)
        if text is None:
            return self._add_binary(event)
        args = text.encode()
        opts, room = encode_options(target)
        if AROUND + len(args) + len(opts) > self.max_message:
            self.check_size(encode_text(text, target))
        writer, packer = self._writer, self._packer
        if writer is None or packer is None:
            try:
                writer, packer = self._reach_writer()
            except ClusterUnavailable as error:
                return self._before_start(event, error)
        if self.is_stream_first:
            return _through_stream(event, writer.publish_event(packer, args, opts, event, room, event))
        slow = self.deliver(packet, text, target, None)
        adding = writer.publish_event(packer, args, opts, None, room, event)
        return adding if slow is None else _with_slow(adding, slow)

    def _add_binary(self, event: OwnEvent) -> Awaitable[Any]:
        """Do the same with an event that holds bytes, or that the serializer does not write as JSON."""
        packet, target = event.packet, event.target
        data = encode_data(3, Broadcast(EventPacket(_EVENT, packet.data), opts=options_of(target)))
        self.check_size(data)
        room = room_of(target)
        try:
            writer, _ = self._reach_writer()
        except ClusterUnavailable as error:
            return self._before_start(event, error)
        if self.is_stream_first:
            adding = writer.publish(self.name, _BROADCAST, data, event, room=room, emit=event)
            return _through_stream(event, adding)
        slow = self.deliver(packet, None, target, None)
        adding = writer.publish(self.name, _BROADCAST, data, room=room, emit=event)
        return adding if slow is None else _with_slow(adding, slow)

    def _reach_writer(self) -> tuple[StreamWriter, EventPacker]:
        """Return what adds events to the stream. Raises ``ClusterUnavailable`` before the server has started."""
        writer = self._writer = self._backbone.writer
        packer = self._packer = writer.events_of(self.name)
        return writer, packer

    async def _before_start(self, event: OwnEvent, error: ClusterUnavailable) -> None:
        """Deliver an event to the sockets here, if they do not wait for the stream, and raise what the others get."""
        if not self.is_stream_first:
            await wait_for_slow(self.deliver(event.packet, event.text, event.target, None))
        error.local = event.local
        raise error

    def deliver(self, packet: Packet, text: str | None, target: Target, offset: str | None) -> Awaitable[None] | None:
        """Send an event to the sockets of this server. ``text``: its arguments as JSON, if there are no bytes."""
        sids = self.index.select(target.rooms, target.except_)
        if not sids:
            return None
        frames = self.frames(text, lambda: packet, offset, target.compress)
        return self._emitter.send(
            sids, packet, volatile=target.volatile, compress=target.compress, frames=frames, rooms=target.rooms
        )

    async def _publish(self, kind: int, data: bytes, own: Any = None) -> str | None:
        return await self._backbone.writer.publish(self.name, kind, data, own)

    def lost(self, packet: Packet, target: Target, error: ClusterUnavailable) -> None:
        """Tell of an event whose emitter waits no longer: the others do not get it."""
        error.local = not self.is_stream_first
        self._emitter.lost(packet, target, error)

    # --- what is read from the stream ---------------------------------------------------------------------------------

    def take_text(self, id: str, text: str, sids: Collection[str], fields: Fields, room: str) -> None:
        """Deliver an event of another server to a room. ``text``: see ``read_text``."""
        emitter = self._emitter
        frames = emitter.splice(text, id if self.recovers else None)
        packet = partial(_packet_in, self.nsp, fields)
        it: Any = packet if frames is not None else packet()
        slow = emitter.send(sids, it, frames=frames, rooms=(room,))
        if slow is not None:
            self._spawn(slow)

    def take_event(self, id: str, event: Splice, fields: Fields, kept: bool = False) -> bool:
        """Deliver an event of another server. Return false if it has to be decoded: then use ``take``.

        ``kept``: in the history of a room.
        """
        opts = event.opts
        sids = self.index.select(opts.rooms or None, opts.except_)
        if not sids:
            return True
        text = event.args()
        if text is None:
            return False
        flags = opts.flags
        compress = flags.get("compress") is not False
        packet, rooms = partial(_packet_in, self.nsp, fields), opts.rooms or None
        if kept:
            self._give_kept(sids, text, packet, id, compress, rooms)
            return True
        self._give(sids, text, packet, id, bool(flags.get("volatile")), compress, rooms)
        return True

    def take(self, id: str, entry: Entry) -> None:
        """Handle any entry of another server, of this namespace."""
        message = read_message(entry)
        data = message.data
        if isinstance(data, Broadcast) and not data.requestId:
            self._deliver_here(data.packet.data, target_of(data.opts), id, entry.kept)
        else:
            self.hear(message)

    def deliver_here(self, args: list[Any], target: Target) -> None:
        """Deliver an event that is in no stream to sockets of this server; they cannot recover it."""
        self._deliver_here(args, target, self._backbone.at)

    def _deliver_here(self, args: list[Any], target: Target, id: str, kept: bool = False) -> None:
        sids = self.index.select(target.rooms, target.except_)
        if sids:
            packet = Packet(_EVENT, self.nsp, args)
            if kept:
                self._give_kept(sids, None, lambda: packet, id, target.compress, target.rooms)
                return
            self._give(sids, None, lambda: packet, id, target.volatile, target.compress, target.rooms)

    def _give(
        self,
        sids: Collection[str],
        text: str | None,
        packet: Callable[[], Packet],
        id: str,
        volatile: bool,
        compress: bool,
        rooms: Collection[str] | None,
    ) -> None:
        """Give an event of the stream to sockets here. ``text``: its arguments as JSON, which are spliced."""
        frames = self.frames(text, packet, id if self.recovers else None, compress)
        it: Any = packet if frames is not None else packet()
        slow = self._emitter.send(sids, it, volatile=volatile, compress=compress, frames=frames, rooms=rooms)
        if slow is not None:
            self._spawn(slow)

    def _give_kept(
        self,
        sids: Collection[str],
        text: str | None,
        packet: Callable[[], Packet],
        id: str,
        compress: bool,
        rooms: Collection[str] | None,
    ) -> None:
        slow = self.history_keeper.give(sids, text, packet, id, compress, rooms)
        if slow is not None:
            self._spawn(slow)

    # --- how messages travel ------------------------------------------------------------------------------------------

    async def _order(
        self, kind: MessageType, data: Data, target: Target, act: Callable[[], Awaitable[None] | None]
    ) -> None:
        """Have something done on all servers, in the order of the stream if events are in it."""
        if target.local or not self.is_stream_first:
            await super()._order(kind, data, target, act)
        elif target.rooms is None or target.rooms:
            own = OwnOrder(act)
            await self._publish(kind, encode_data(kind, data), own)
            await own.outcome()

    async def _tell(self, kind: MessageType, data: Data) -> None:
        """Add a message to the stream, so that a broken connection does not lose it."""
        message = encode_data(kind, data)
        self.check_size(message)
        await self._publish(kind, message)

    async def _others(self) -> int | Collection[str]:
        """Return the names of the other servers of the namespace, or their number if Node's are among them."""
        channel = public_channel(self.nsp, self._backbone.channel_prefix)
        return await self._backbone.leases.others(self.nsp, channel, self)

    def hear(self, message: Message) -> None:
        """Handle a message of another server."""
        if message.type == MessageType.ADAPTER_CLOSE:
            self.server_gone(self._backbone.leases.left(self.nsp, message.uid))
        else:
            super().hear(message)

    def _name_of(self, uid: str) -> str:
        return self._backbone.leases.heard(self.nsp, uid)

    def _ask_again(self, name: str, kind: MessageType, data: Data) -> None:
        uid = self._backbone.leases.uid_of(name)
        if uid is not None:
            self._reply(uid, kind, data)

    async def _request(self, kind: MessageType, data: Data) -> None:
        message = self._encode(kind, data)
        await self._backbone.writer.command("PUBLISH", public_channel(self.nsp, self._backbone.channel_prefix), message)
        self._backbone.published += 1

    def _reply(self, uid: str, kind: MessageType, data: Data) -> None:
        message = self._encode(kind, data)
        self._backbone.writer.send("PUBLISH", private_channel(self.nsp, uid, self._backbone.channel_prefix), message)
        self._backbone.published += 1

    def _encode(self, kind: MessageType, data: Data) -> bytes:
        return encode_ephemeral(Message(int(kind), data, self._backbone.uid, self.nsp))

    def _spawn(self, work: Awaitable[Any]) -> None:
        self._backbone.spawn(work)

    def _disconnect(self, data: DisconnectSockets) -> None:
        if isinstance(data.x, dict) and data.x.get("taken"):
            # Their clients are at another server, as are their sessions.
            sids = self.sockets(target_of(data.opts))
            for sid in sids:
                session = self._emitter.session(sid)
                if session is not None:
                    self._backbone.sessions.release(session.pid)
            self._emitter.disconnect(sids, True, persist=False)
        else:
            super()._disconnect(data)

    # --- sessions -----------------------------------------------------------------------------------------------------

    @property
    def _lifetime(self) -> float:
        """Seconds that the session of a client that is in outlives its server."""
        recovery = self._emitter.recovery
        return 0.0 if recovery is None else recovery.max_disconnection_duration + self._emitter.linger

    def keep_session(self, session: Session) -> None:
        """Write down the session of a client that is in."""
        sessions = self._backbone.sessions
        try:
            sessions.keep(session, self.nsp, self._lifetime, self._at.get(session.sid, {}))
        except EncodeError as error:
            sessions.give_up(session.pid, self.nsp, error)

    def _renew(self, sid: str) -> None:
        session = self._emitter.session(sid)
        if session is not None and self._backbone.sessions.has(session.pid):
            self.keep_session(session)

    def persist_session(self, session: Session) -> None:
        """Write down the session of a client that has left and may come back."""
        recovery = self._emitter.recovery
        if recovery is not None:
            at = self._at.get(session.sid) or self._restored.pop(session.sid, {})
            sessions = self._backbone.sessions
            try:
                sessions.persist(session, self.nsp, recovery.max_disconnection_duration, at)
            except EncodeError as error:
                sessions.give_up(session.pid, self.nsp, error)

    def forget_session(self, pid: str) -> None:
        """Forget a session."""
        self._backbone.sessions.forget(pid)

    async def forget_sessions(self, belongs: Callable[[Session], bool]) -> int:
        """Forget the sessions for which ``belongs`` returns true."""
        return await self._backbone.sessions.forget_all(self.nsp, belongs)

    async def restore_session(self, pid: str, offset: str | None, accept: Callable[[Session], bool]) -> Session | None:
        """Take a session with all packets that its client has missed, up to what this server has read.

        What fails because a connection to Redis has ended is tried again for a while.
        """
        if (offset is not None and not is_id(offset)) or pid in self._restoring:
            return None
        self._restoring.add(pid)
        try:
            for pause in _AGAIN:
                try:
                    return await self._restore(pid, offset, accept)
                except (LinkError, ClusterUnavailable):
                    await asyncio.sleep(pause)
        finally:
            self._restoring.discard(pid)
        return None

    async def _restore(self, pid: str, offset: str | None, accept: Callable[[Session], bool]) -> Session | None:
        backbone = self._backbone
        link = await backbone.writer.link()
        kept = await backbone.sessions.find(link, pid, self.nsp)
        if kept is None:  # its server may be about to write it
            await asyncio.sleep(_WRITTEN_SOON)
            kept = await backbone.sessions.find(link, pid, self.nsp)
        start = offset if offset is not None else kept.at if kept is not None else None
        if kept is None or start is None or not await backbone.catch_up(link):
            return None
        entries = await read_since(link, backbone.stream, start, lambda: backbone.at)
        missed = None if entries is None else missed_frames(self, kept, entries)
        if missed is None or not accept(dataclasses.replace(kept.session, missed=missed)):
            return None
        kept = await backbone.sessions.take(link, kept, self.nsp)
        if kept is None:
            return None
        if kept.here and kept.session.origin != backbone.node:
            # Before the session is written down here: who reads that has read this, and does not lose a client that has
            # come back to it.
            opts = options_of(Target(frozenset([kept.session.sid])))
            data = DisconnectSockets(opts, True, {"taken": backbone.node})
            await self._publish(MessageType.DISCONNECT_SOCKETS, encode_data(6, data))
        entries = await read_since(await backbone.writer.link(), backbone.stream, start, lambda: backbone.at)
        missed = None if entries is None else missed_frames(self, kept, entries)
        backbone.sessions.use(pid)
        if missed is None or backbone.knows_more:
            return None
        restored: dict[str | None, str] = {None: start}
        restored.update({room: kept.since.get(room, start) for room in kept.session.rooms})
        self._restored[kept.session.sid] = restored
        return dataclasses.replace(kept.session, missed=missed)


async def _through_stream(event: OwnEvent, adding: Awaitable[Any]) -> None:
    await adding
    if event.slow is not None:
        await event.slow


async def _with_slow(adding: Awaitable[Any], slow: Awaitable[None]) -> None:
    try:
        await adding
    finally:
        await slow


def _packet_in(nsp: str, fields: Fields) -> Packet:
    return packet_of(nsp, read_fields(fields))
