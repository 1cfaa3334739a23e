"""The adapter of one namespace over the stream: what is emitted, what is read, and what servers ask each other."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from rtframework.adapters.ack_collector import AckCollector
from rtframework.adapters.base import BaseAdapter
from rtframework.cluster.messages import (
    Answer,
    Broadcast,
    ClientCount,
    DisconnectSockets,
    EventPacket,
    FetchedSockets,
    FetchSockets,
    Message,
    MessageType,
    ServerSideEmit,
    SocketsRooms,
    details_of,
    new_id,
    options_of,
    record_of,
    target_of,
    timeout_of,
)
from rtframework.cluster.payloads import to_plain
from rtframework.cluster.pubsub_wire import private_channel, public_channel
from rtframework.cluster.requests import FetchRequest, Requests, ServerSideRequest
from rtframework.cluster.stream_ids import is_id
from rtframework.cluster.streams_wire import (
    Entry,
    encode_data,
    encode_text,
    read_message,
    read_splice,
    room_of,
    selects_any,
)
from rtframework.exceptions import ClusterUnavailable, EncodeError, EventError
from rtframework.logs import ThrottledLog
from rtframework.types import AckResponses, Packet, PacketType, Target

from .errors import LinkError
from .own_messages import OwnEvent, OwnOrder
from .stream_recovery import missed_frames, packet_of, read_since
from .stream_sessions import Renewal

if TYPE_CHECKING:
    from rtframework.protocols import Emitter, Frames, Session
    from rtframework.types import SocketDetails

    from .streams import RedisStreams

log: Final = logging.getLogger("rtframework.cluster")

_beyond: Final = ThrottledLog(log, logging.WARNING, "a socket does not join rooms as another server wants: %s")

_EVENT: Final = int(PacketType.EVENT)
_FETCH_TIMEOUT: Final = 5.0
_AGAIN: Final = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds between attempts to restore a session while connections to Redis end."""
_WRITTEN_SOON: Final = 0.1
"""Seconds in which a server writes down the session of a client that has just left it."""
_LONGEST: Final = 86_400.0
"""Seconds for answers that are sent to the others if the program waits for ever."""


class StreamsAdapter(BaseAdapter):
    """One namespace of a server with ``RedisStreams``."""

    __slots__ = (
        "_at",
        "_backbone",
        "_is_open",
        "_renewal",
        "_requests",
        "_restored",
        "_restoring",
        "_slow",
        "_stream_first",
        "_timers",
        "name",
        "recovers",
    )

    def __init__(self, backbone: RedisStreams, nsp: str, emitter: Emitter) -> None:
        super().__init__(nsp, emitter)
        self._backbone = backbone
        self.name = nsp.encode()
        self._requests = Requests()
        self.recovers = self._stream_first = self._is_open = False
        self._at: dict[str, dict[str | None, str]] = {}
        """By socket id: the positions at which it has come, under ``None``, and has joined its rooms."""
        self._restored: dict[str, dict[str | None, str]] = {}
        self._restoring: set[str] = set()
        self._renewal: Renewal | None = None
        self._timers: set[asyncio.TimerHandle] = set()
        self._slow: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take part in the cluster."""
        backbone, recovery = self._backbone, self._emitter.recovery
        self.recovers = recovery is not None
        self._stream_first = self.recovers or backbone.delivery == "stream"
        self._is_open = True
        backbone.open(self)
        if recovery is not None:
            self._renewal = Renewal(lambda: self.sockets(Target()), self._renew, self._lifetime)
            self._renewal.start()
        uid, prefix = backbone.uid, backbone.channel_prefix
        await backbone.writer.subscribe(public_channel(self.nsp, prefix), private_channel(self.nsp, uid, prefix))

    async def close(self) -> None:
        """Leave the cluster."""
        if not self._is_open:
            return
        self._is_open = False
        backbone = self._backbone
        backbone.close(self)
        if self._renewal is not None:
            await self._renewal.close()
            self._renewal = None
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        uid, prefix = backbone.uid, backbone.channel_prefix
        await backbone.writer.unsubscribe(public_channel(self.nsp, prefix), private_channel(self.nsp, uid, prefix))

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

    async def broadcast(self, packet: Packet, target: Target) -> None:
        """Deliver a packet to the sockets that a target selects, here and on the other servers.

        With recovery, or with ``delivery="stream"``, everybody gets it when it is read back from the stream. Otherwise
        the sockets of this server get it at once.
        """
        if packet.type != _EVENT or packet.id is not None:
            await self._wait(self.send(packet, target, None))
            return
        text = self._emitter.text(packet)
        if text is None:
            packet = Packet(_EVENT, self.nsp, to_plain(list(packet.data)))
            self._emitter.encode(packet)
        if target.rooms is not None and not target.rooms:
            return
        event = OwnEvent(self, packet, text, target)
        if target.local:
            await self._wait(event.deliver(self._backbone.at if self.recovers else None))
            return
        if text is not None:
            data = encode_text(text, target)
        else:
            data = encode_data(3, Broadcast(EventPacket(_EVENT, packet.data), opts=options_of(target)))
        self._check_size(data)
        if self._stream_first:
            await self._publish(MessageType.BROADCAST, data, event, room=room_of(target))
            await self._wait(event.slow)
            return
        slow = event.deliver(None)
        try:
            await self._publish(MessageType.BROADCAST, data, None, room=room_of(target))
        except ClusterUnavailable as error:
            error.local = True
            raise
        finally:
            await self._wait(slow)

    def frames(
        self, text: str | None, packet: Callable[[], Packet], offset: str | None, compress: bool
    ) -> Frames | None:
        """Make the frames of an event; ``None``: as the packet is."""
        frames = self._emitter.splice(text, offset, compress=compress) if text is not None else None
        if frames is None and offset is not None:
            it = packet()
            frames = self._emitter.encode(Packet(it.type, it.nsp, [*it.data, offset]), compress=compress)
        return frames

    def send(self, packet: Packet, target: Target, frames: Frames | None) -> Awaitable[None] | None:
        """Send a packet, or frames in its place, to the sockets of this server."""
        sids = self.index.select(target.rooms, target.except_)
        return self._emitter.send(sids, packet, volatile=target.volatile, compress=target.compress, frames=frames)

    async def _wait(self, slow: Awaitable[None] | None) -> None:
        if slow is not None:
            await slow

    def _check_size(self, data: bytes) -> None:
        if len(data) > self._backbone.max_message:
            most = self._backbone.max_message
            raise EncodeError(f"cannot be sent to other servers: {len(data)} bytes, more than max_message={most}")

    async def _publish(self, kind: MessageType, data: bytes, own: Any, *, room: bytes | None = None) -> str | None:
        return await self._backbone.writer.publish(self.name, int(kind), data, own, room=room)

    # --- what is read from the stream ---------------------------------------------------------------------------------

    def take(self, id: str, entry: Entry) -> None:
        """Handle an entry of another server, of this namespace."""
        if entry.type == MessageType.BROADCAST:
            splice = read_splice(entry.data)
            if splice is not None and not splice.requestId and (text := splice.args()) is not None:
                if selects_any(splice.opts, self.index.all_rooms()):
                    packet = partial(packet_of, self.nsp, entry)
                    self._deliver(text, packet, target_of(splice.opts), id)  # type: ignore[arg-type]
                return
        message = read_message(entry)
        self.hear(message, id)

    def _deliver(self, text: str | None, packet: Callable[[], Packet], target: Target, id: str | None) -> None:
        """Deliver an event of another server."""
        sids = self.index.select(target.rooms, target.except_)
        if not sids:
            return
        frames = self.frames(text, packet, id if self.recovers else None, target.compress)
        it: Any = packet if frames is not None else packet()
        slow = self._emitter.send(sids, it, volatile=target.volatile, compress=target.compress, frames=frames)
        if slow is not None:
            self._backbone.spawn(slow)

    def hear(self, message: Message, id: str | None = None) -> None:
        """Handle a message of another server, of the stream or of a channel."""
        data, uid = message.data, message.uid
        if isinstance(data, Broadcast):
            if data.requestId:
                self._ask(uid, data)
            else:
                self._deliver(None, lambda: Packet(_EVENT, self.nsp, data.packet.data), target_of(data.opts), id)
        elif isinstance(data, SocketsRooms):
            self.move_here(target_of(data.opts), data.rooms, join=message.type == MessageType.SOCKETS_JOIN)
        elif isinstance(data, DisconnectSockets):
            self._disconnect(data)
        elif isinstance(data, FetchSockets):
            found = self._emitter.describe(self.sockets(target_of(data.opts)))
            records = [record_of(each, to_plain) for each in found]
            self._reply(uid, MessageType.FETCH_SOCKETS_RESPONSE, FetchedSockets(data.requestId, records))
        elif isinstance(data, ServerSideEmit):
            self._backbone.spawn(self._serve(uid, data))
        else:
            self._hear_answer(message)

    def _hear_answer(self, message: Message) -> None:
        data, uid, requests = message.data, message.uid, self._requests
        if isinstance(data, FetchedSockets):
            requests.fetched(data.requestId, [details_of(each, self.nsp) for each in data.sockets], uid)
        elif isinstance(data, ClientCount):
            requests.counted(data.requestId, data.clientCount, uid)
        elif isinstance(data, Answer) and message.type == MessageType.SERVER_SIDE_EMIT_RESPONSE:
            requests.answered(data.requestId, data.packet, uid)
        elif isinstance(data, Answer):
            x = data.x if isinstance(data.x, dict) else {}
            sid, args = x.get("sid"), x.get("args")
            if x.get("gone"):
                requests.gone(data.requestId, sid, uid)
            else:
                requests.acknowledged(data.requestId, args if isinstance(args, list) else [data.packet], sid, uid)

    # --- the sockets of all servers -----------------------------------------------------------------------------------

    async def add_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        """Make the sockets that a target selects join rooms."""
        data = SocketsRooms(_options(target), list(rooms))
        await self._order(
            MessageType.SOCKETS_JOIN, data, target, lambda: self._emitter.join(self.sockets(target), rooms)
        )

    async def del_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        """Make the sockets that a target selects leave rooms."""
        data = SocketsRooms(_options(target), list(rooms))
        await self._order(
            MessageType.SOCKETS_LEAVE, data, target, lambda: self._emitter.leave(self.sockets(target), rooms)
        )

    async def disconnect_sockets(self, target: Target, close: bool, reason: str | None) -> None:
        """Disconnect the sockets that a target selects."""
        data = DisconnectSockets(_options(target), close)
        if reason is not None:
            data.x = {"reason": reason}

        def disconnect() -> None:
            self._emitter.disconnect(self.sockets(target), close, reason=reason)

        await self._order(MessageType.DISCONNECT_SOCKETS, data, target, disconnect)

    async def _order(
        self, kind: MessageType, data: Any, target: Target, act: Callable[[], Awaitable[None] | None]
    ) -> None:
        """Have something done here and on the other servers, in the order of the stream if events are in it."""
        if target.rooms is not None and not target.rooms:
            return
        own = OwnOrder(act)
        if target.local or not self._stream_first:
            own.deliver(None)
        if not target.local:
            try:
                await self._publish(kind, encode_data(kind, data), own if self._stream_first else None)
            except ClusterUnavailable as error:
                error.local = not self._stream_first
                raise
        await own.outcome()

    def move_here(self, target: Target, rooms: Sequence[str], *, join: bool) -> None:
        """Make sockets of this server join or leave rooms, as another program wants."""
        sids = self.sockets(target)
        try:
            waiting = self._emitter.join(sids, rooms) if join else self._emitter.leave(sids, rooms)
        except EventError as error:
            _beyond(error, extra={"nsp": self.nsp})
        else:
            if waiting is not None:
                self._backbone.spawn(waiting)

    def disconnect_here(self, target: Target, close: bool) -> None:
        """Disconnect sockets of this server."""
        self._emitter.disconnect(self.sockets(target), close)

    def deliver_published(self, args: list[Any], target: Target) -> None:
        """Deliver an event that is in no stream to sockets of this server; they cannot recover it."""
        packet = Packet(_EVENT, self.nsp, args)
        self._deliver(None, lambda: packet, target, self._backbone.at)

    def serve_published(self, args: list[Any]) -> None:
        """Run the handlers of an event for servers."""
        self._backbone.spawn(self._emitter.serve(args))

    def _disconnect(self, data: DisconnectSockets) -> None:
        x = data.x if isinstance(data.x, dict) else {}
        reason = x.get("reason")
        sids = self.sockets(target_of(data.opts))
        if x.get("taken"):  # their clients are at another server, and so are their sessions
            for sid in sids:
                session = self._emitter.session(sid)
                if session is not None:
                    self._backbone.sessions.release(session.pid)
            self._emitter.disconnect(sids, True, persist=False)
            return
        self._emitter.disconnect(sids, data.close, reason=reason if isinstance(reason, str) and reason else None)

    async def fetch_sockets(self, target: Target, timeout: float | None) -> list[SocketDetails]:
        """Describe the sockets of all servers."""
        own = self._emitter.describe(self.sockets(target))
        if target.local or (target.rooms is not None and not target.rooms):
            return own
        request = FetchRequest(await self._others(), own)
        id = new_id()
        self._requests.open(id, request)
        try:
            await self._request(MessageType.FETCH_SOCKETS, FetchSockets(options_of(target), id))
            return await request.result(_FETCH_TIMEOUT if timeout is None else timeout)
        finally:
            self._requests.close(id)

    # --- acknowledgements ---------------------------------------------------------------------------------------------

    async def broadcast_with_ack(self, packet: Packet, target: Target, timeout: float | None) -> AckResponses:
        """Deliver a packet and collect the answers of the clients of all servers."""
        if target.rooms is not None and not target.rooms:
            return AckResponses({})
        plain = to_plain(list(packet.data))
        self._emitter.encode(Packet(packet.type, packet.nsp, packet.data, 0))
        collector = AckCollector(0 if target.local else await self._others())
        id = new_id()
        self._requests.open(id, collector)
        try:
            sids = self.sockets(target)
            collector.ask(self._emitter.ask(sids, packet, volatile=target.volatile, compress=target.compress))
            if not target.local:
                opts = options_of(target, _LONGEST if timeout is None else timeout)
                opts.flags["x"] = True  # servers of this framework tell of clients that have left
                await self._request(MessageType.BROADCAST, Broadcast(EventPacket(_EVENT, plain), id, opts), local=True)
            return await collector.result(timeout)
        finally:
            self._requests.close(id)

    def _ask(self, uid: str, data: Broadcast) -> None:
        """Ask the sockets here for another server."""
        target, id = target_of(data.opts), str(data.requestId)
        packet = Packet(_EVENT, self.nsp, data.packet.data)
        sids = self.sockets(target)
        asked = self._emitter.ask(sids, packet, volatile=target.volatile, compress=target.compress)
        self._reply(uid, MessageType.BROADCAST_CLIENT_COUNT, ClientCount(id, len(asked)))
        if not asked:
            return
        timeout = timeout_of(data.opts)
        timer = asyncio.get_running_loop().call_later(
            _FETCH_TIMEOUT if timeout is None else timeout, self._give_up, asked
        )
        self._timers.add(timer)
        left = set(asked)
        for sid, future in asked.items():
            future.add_done_callback(partial(self._answered, uid, id, sid, "x" in data.opts.flags, left, timer))

    def _give_up(self, asked: Any) -> None:
        for future in asked.values():
            future.cancel()

    def _answered(
        self,
        uid: str,
        id: str,
        sid: str,
        tells: bool,
        left: set[str],
        timer: asyncio.TimerHandle,
        future: asyncio.Future[list[Any]],
    ) -> None:
        left.discard(sid)
        if not left:
            timer.cancel()
            self._timers.discard(timer)
        if future.cancelled():
            return
        if future.exception() is not None:
            if tells:
                self._reply(uid, MessageType.BROADCAST_ACK, Answer(id, None, {"sid": sid, "gone": True}))
            return
        args = to_plain(list(future.result()))
        x = {"sid": sid} if len(args) == 1 else {"sid": sid, "args": args}
        self._reply(uid, MessageType.BROADCAST_ACK, Answer(id, args[0] if args else None, x))

    # --- events between servers ---------------------------------------------------------------------------------------

    async def server_side_emit(self, args: Sequence[Any]) -> None:
        """Emit an event to the other servers: by the stream, so that a broken connection does not lose it."""
        data = encode_data(9, ServerSideEmit(packet=to_plain(list(args))))
        self._check_size(data)
        await self._publish(MessageType.SERVER_SIDE_EMIT, data, None)

    async def server_side_emit_with_ack(self, args: Sequence[Any], timeout: float) -> AckResponses:
        """Emit an event to the other servers and collect their answers."""
        plain = to_plain(list(args))
        request = ServerSideRequest(await self._others())
        id = new_id()
        self._requests.open(id, request)
        try:
            await self._request(MessageType.SERVER_SIDE_EMIT, ServerSideEmit(id, plain))
            return await request.result(timeout)
        finally:
            self._requests.close(id)

    async def _serve(self, uid: str, data: ServerSideEmit) -> None:
        answer = await self._emitter.serve(data.packet)
        if data.requestId:
            self._reply(uid, MessageType.SERVER_SIDE_EMIT_RESPONSE, Answer(data.requestId, to_plain(answer)))

    async def _others(self) -> int:
        """Count the other servers of the namespace."""
        channel = public_channel(self.nsp, self._backbone.channel_prefix)
        found = await self._backbone.writer.command("PUBSUB", "NUMSUB", channel)
        count = next(iter(found.values())) if isinstance(found, dict) else found[1]
        return max(0, int(count) - 1)

    async def _request(self, kind: MessageType, data: Any, *, local: bool = False) -> None:
        message = self._backbone.encode(kind, data, self.nsp)
        try:
            await self._backbone.writer.command(
                "PUBLISH", public_channel(self.nsp, self._backbone.channel_prefix), message
            )
        except ClusterUnavailable as error:
            error.local = local
            raise

    def _reply(self, uid: str, kind: MessageType, data: Any) -> None:
        message = self._backbone.encode(kind, data, self.nsp)
        self._backbone.writer.send("PUBLISH", private_channel(self.nsp, uid, self._backbone.channel_prefix), message)

    # --- sessions -----------------------------------------------------------------------------------------------------

    @property
    def _lifetime(self) -> float:
        """Seconds that the session of a client that is in outlives its server."""
        recovery = self._emitter.recovery
        return 0.0 if recovery is None else recovery.max_disconnection_duration + self._emitter.linger

    def keep_session(self, session: Session) -> None:
        """Write down the session of a client that is in."""
        self._backbone.sessions.keep(session, self.nsp, self._lifetime, self._at.get(session.sid, {}))

    def _renew(self, sid: str) -> None:
        session = self._emitter.session(sid)
        if session is not None and self._backbone.sessions.has(session.pid):
            try:
                self.keep_session(session)
            except EncodeError:
                self._backbone.sessions.forget(session.pid)  # what is there is old, and would be wrong

    def persist_session(self, session: Session) -> None:
        """Write down the session of a client that has left and may come back."""
        recovery = self._emitter.recovery
        if recovery is not None:
            at = self._at.get(session.sid) or self._restored.pop(session.sid, {})
            self._backbone.sessions.persist(session, self.nsp, recovery.max_disconnection_duration, at)

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
            await self._publish(MessageType.DISCONNECT_SOCKETS, encode_data(6, data), None)
        entries = await read_since(await backbone.writer.link(), backbone.stream, start, lambda: backbone.at)
        missed = None if entries is None else missed_frames(self, kept, entries)
        backbone.sessions.use(pid)
        if missed is None:
            return None
        restored: dict[str | None, str] = {None: start}
        restored.update({room: kept.since.get(room, start) for room in kept.session.rooms})
        self._restored[kept.session.sid] = restored
        return dataclasses.replace(kept.session, missed=missed)


def _options(target: Target) -> Any:
    return options_of(target if target.rooms is None or target.rooms else Target())
