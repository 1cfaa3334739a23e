"""The adapter of one namespace of a worker: what is emitted, what other workers send, and who comes back."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..adapters.packet_log import Attendance
from ..cluster.adapter import ClusterAdapter, wait_for_slow
from ..cluster.messages import (
    Broadcast,
    Data,
    EventPacket,
    Message,
    MessageType,
    Options,
    ServerSideEmit,
    SocketsRooms,
    options_of,
    target_of,
)
from ..cluster.pubsub_wire import encode_ephemeral
from ..exceptions import ClusterUnavailable, EncodeError
from ..types import Packet, PacketType, Target
from . import wire
from .history import WorkersHistory
from .own_messages import OwnEvent, OwnOrder
from .recovery import Returning, missed_frames, shelves_of
from .sessions import encode_change, encode_session, read_session
from .shared_table import bucket_of

if TYPE_CHECKING:
    from ..protocols import Emitter, Frames, Session
    from .backbone import Workers
    from .group import Group

_EVENT: Final = int(PacketType.EVENT)
_BROADCAST: Final = int(MessageType.BROADCAST)
_MESSAGE: Final = bytes([wire.IS_MESSAGE])
_MOST_BUCKETS: Final = 1024
"""Buckets of one message; one with more goes to all workers."""
_MOST_CHANGES: Final = 32
"""Changes of a client's rooms after which its session is written anew; as many as it has rooms, if it has more."""
_TRIES: Final = 3
"""Times that a session is asked for which changes meanwhile."""


@dataclasses.dataclass(slots=True)
class _Written:
    """A session that the broker has. ``changes``: those since it was written; ``is_due``: it is about to be again."""

    pid: str
    changes: int = 0
    is_due: bool = False


class WorkersAdapter(ClusterAdapter):
    """One namespace of a worker."""

    __slots__ = (
        "_at_work",
        "_backbone",
        "_changes",
        "_present",
        "_renewal",
        "_restored",
        "_restoring",
        "_returning",
        "bucket",
        "history_keeper",
        "key",
        "recovers",
    )

    def __init__(self, backbone: Workers, nsp: str, emitter: Emitter) -> None:
        super().__init__(nsp, emitter, max_message=backbone.max_message)
        self._backbone = backbone
        self.key = nsp
        self.recovers = False
        self._at_work: Group | None = None
        self.bucket = -1
        self._present: dict[str, Attendance] = {}
        """By socket id, with recovery: the rooms of a client over time."""
        self._restored: dict[str, Attendance] = {}
        self._restoring: set[str] = set()
        self._returning: list[Returning] = []
        """Clients that are on their way in, with the messages that they would miss meanwhile."""
        self._changes: dict[str, _Written] = {}
        self._renewal: asyncio.Task[None] | None = None
        self.history_keeper = WorkersHistory(self)

    @property
    def _group(self) -> Group:
        if self._at_work is None:
            raise ClusterUnavailable("the server has not started, and is not connected to the other workers")
        return self._at_work

    async def start(self) -> None:
        """Take part in the group."""
        group = self._backbone.group
        recovery = self._emitter.recovery
        self.key = self._backbone.key_of(self.nsp)
        self.bucket = bucket_of(self.key)
        self.recovers = recovery is not None
        group.open(self.key, self)
        self._at_work = group
        if len(self.index):  # sockets that have come before the start
            group.rooms[self.bucket] += 1
            for room in self.index.all_rooms():
                group.rooms[bucket_of(self.key, room)] += 1
        if recovery is not None:
            keep = wire.KeepPackets(self._lifetime, recovery.max_packets, recovery.max_bytes)
            group.link.send(wire.control(keep))
            self._renewal = asyncio.get_running_loop().create_task(self._renew())

    async def close(self) -> None:
        """Leave the group."""
        group, self._at_work = self._at_work, None
        if group is None:
            return
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait([self._renewal])
            self._renewal = None
        group.shut(self.key)
        if len(self.index):
            group.rooms[self.bucket] -= 1
            self._uncount(group, self.index.all_rooms())
        self._present.clear()
        self._restored.clear()
        self._changes.clear()
        await super().close()

    # --- rooms --------------------------------------------------------------------------------------------------------

    def add(self, sid: str, rooms: Iterable[str]) -> Awaitable[None] | None:
        """Put a socket into rooms."""
        rooms = tuple(rooms)
        index, group = self.index, self._at_work
        if group is not None:
            counters = group.rooms
            if not len(index):
                counters[self.bucket] += 1
            known = index.all_rooms()
            for room in dict.fromkeys(rooms):
                if room not in known:
                    counters[bucket_of(self.key, room)] += 1
            if self.recovers:
                self._attend(group, sid, rooms)
            if self.history_keeper.is_read:
                self.history_keeper.note(sid, rooms)
        index.add(sid, rooms)
        return None

    def _attend(self, group: Group, sid: str, rooms: Sequence[str]) -> None:
        head = group.table.head
        attendance = self._present.get(sid)
        if attendance is None:
            attendance = self._restored.pop(sid, None) or Attendance(head)
            self._present[sid] = attendance
        attendance.join(rooms, head)
        self._change(sid, True, rooms, head)

    def remove(self, sid: str, rooms: Iterable[str]) -> Awaitable[None] | None:
        """Take a socket out of rooms."""
        rooms = tuple(rooms)
        group = self._at_work
        ended = self._ends_with(sid, rooms) if group is not None else ()
        self.index.remove(sid, rooms)
        if group is not None:
            self._uncount(group, ended)
            attendance = self._present.get(sid)
            if attendance is not None:
                head = group.table.head
                attendance.leave(rooms, head)
                self._change(sid, False, rooms, head)
        return None

    def remove_all(self, sid: str) -> frozenset[str]:
        """Forget a socket."""
        group, index = self._at_work, self.index
        self._present.pop(sid, None)
        self._changes.pop(sid, None)
        if group is None or sid not in index:
            return index.remove_all(sid)
        ended = self._ends_with(sid, index.rooms(sid))
        is_last = len(index) == 1
        rooms = index.remove_all(sid)
        self._uncount(group, ended)
        if is_last:
            group.rooms[self.bucket] -= 1
        return rooms

    def _ends_with(self, sid: str, rooms: Iterable[str]) -> list[str]:
        """Return those of some rooms in which nobody is but this socket."""
        members = self.index.members
        return [room for room in dict.fromkeys(rooms) if len(there := members(room)) == 1 and sid in there]

    def _uncount(self, group: Group, rooms: Iterable[str]) -> None:
        for room in rooms:
            group.rooms[bucket_of(self.key, room)] -= 1

    # --- what is emitted ----------------------------------------------------------------------------------------------

    async def broadcast(self, packet: Packet, target: Target) -> None:
        """Deliver a packet to the sockets that a target selects, here and at the other workers.

        With recovery everybody gets it when it is its turn in the order of the broker. Otherwise the sockets of this
        worker get it at once.
        """
        if packet.type != _EVENT or packet.id is not None:
            await wait_for_slow(self.send(packet, target, None))
            return
        text = self._emitter.text(packet)
        if text is None:
            packet = Packet(_EVENT, self.nsp, self._emitter.plain(packet.data))
        if target.rooms is not None and not target.rooms:
            return
        if target.local:
            await wait_for_slow(self.deliver(packet, text, target, self._offset_here() if self.recovers else None))
            return
        group = self._group
        payload = self._payload(packet, text, target)
        flags, buckets = self._buckets_of(target.rooms)
        if self.recovers:
            if not group.link.is_ready:
                await group.link.ready(self._backbone.publish_timeout)
            own = OwnEvent(self, packet, text, target)
            group.publish(flags if target.volatile else flags | wire.KEEP, buckets, payload, own)
            await own.done
            if own.slow is not None:
                await own.slow
            return
        slow = self.deliver(packet, text, target, None)
        try:
            if not group.link.is_ready:
                await group.link.ready(self._backbone.publish_timeout)
            group.publish(flags, buckets, payload)
        except ClusterUnavailable as error:
            error.local = True
            raise
        finally:
            if slow is not None:
                await slow

    def _payload(self, packet: Packet, text: str | None, target: Target) -> bytes:
        """Encode an event for the other workers."""
        if text is None:
            data = Broadcast(EventPacket(_EVENT, packet.data), opts=options_of(target))
            payload = self._encode(MessageType.BROADCAST, data)
        else:
            flags = (wire.VOLATILE if target.volatile else 0) | (0 if target.compress else wire.NOT_COMPRESSED)
            try:
                payload = wire.encode_event(self.key, target.rooms or (), target.except_, flags, text)
            except UnicodeEncodeError as error:
                raise EncodeError(f"cannot be sent to other workers: {error}") from None
        if len(payload) > self.max_message:
            self.check_size(payload)
        return payload

    def _buckets_of(self, rooms: Collection[str] | None) -> tuple[int, Sequence[int]]:
        """Return the buckets of the sockets in these rooms, and the flags of messages for them."""
        if not rooms:
            return 0, (self.bucket,)
        key = self.key
        if len(rooms) == 1:
            (room,) = rooms
            return 0, (bucket_of(key, room),)
        buckets = {bucket_of(key, room) for room in rooms}
        if len(buckets) > _MOST_BUCKETS and not self.recovers:
            return wire.TO_ALL, ()
        return 0, tuple(buckets)

    def deliver(self, packet: Packet, text: str | None, target: Target, offset: str | None) -> Awaitable[None] | None:
        """Send an event to the sockets of this worker. ``text``: its arguments as JSON, if there are no bytes."""
        sids = self.index.select(target.rooms, target.except_)
        if not sids:
            return None
        frames = self.frames(text, lambda: packet, offset, target.compress)
        return self._emitter.send(
            sids, packet, volatile=target.volatile, compress=target.compress, frames=frames, rooms=target.rooms
        )

    def read_back(self, packet: Packet, text: str | None, target: Target, number: int) -> Awaitable[None] | None:
        """Send an event of this worker to its sockets: it is its turn."""
        if self._returning and not target.volatile:
            for each in self._returning:
                each.add(number, text, packet, target.rooms, target.except_, target.compress)
        return self.deliver(packet, text, target, self._offset(number))

    def _offset(self, number: int) -> str:
        return f"{self._group.epoch}.{number}"

    def _offset_here(self) -> str | None:
        return None if self._at_work is None else self._offset(self._at_work.at)

    # --- what other workers send --------------------------------------------------------------------------------------

    def take_event(self, number: int, event: Any) -> None:
        """Deliver an event of another worker."""
        rooms, except_, flags, text = event.rooms or None, event.except_, event.flags, event.text
        volatile, compress = bool(flags & wire.VOLATILE), not flags & wire.NOT_COMPRESSED
        packet = partial(self.decoded, text)
        if self._returning and not volatile:
            for each in self._returning:
                each.add(number, text, packet, rooms, except_, compress)
        sids = self.index.select(rooms, except_)
        if sids:
            self._give(sids, text, packet, number, volatile, compress, rooms)

    def take(self, number: int, message: Message) -> None:
        """Handle any other message of another worker."""
        data = message.data
        if isinstance(data, Broadcast) and not data.requestId:
            target = target_of(data.opts)
            packet = Packet(_EVENT, self.nsp, data.packet.data)
            if self._returning and not target.volatile:
                for each in self._returning:
                    each.add(number, None, packet, target.rooms, target.except_, target.compress)
            sids = self.index.select(target.rooms, target.except_)
            if sids:
                self._give(sids, None, lambda: packet, number, target.volatile, target.compress, target.rooms)
        else:
            self.hear(message)

    def _give(
        self,
        sids: Collection[str],
        text: str | None,
        packet: Callable[[], Packet],
        number: int,
        volatile: bool,
        compress: bool,
        rooms: Collection[str] | None,
    ) -> None:
        frames = self.frames(text, packet, self._offset(number) if self.recovers else None, compress)
        it: Any = packet if frames is not None else packet()
        slow = self._emitter.send(sids, it, volatile=volatile, compress=compress, frames=frames, rooms=rooms)
        if slow is not None:
            self._spawn(slow)

    def decoded(self, text: str) -> Packet:
        return Packet(_EVENT, self.nsp, msgspec.json.decode(text))

    def member_gone(self, name: str) -> None:
        """Wait no longer for a worker that has gone."""
        self.server_gone(name)

    def missed(self, since: float) -> None:
        """Tell of messages that were dropped."""
        self._backbone.gaps += 1
        self._emitter.gap(since)

    def state(self, up: bool) -> None:
        """Tell the program that the broker has gone."""
        self._emitter.state(up)

    def session_taken(self, pid: str, sid: str) -> None:
        """Let go of a client that another worker has now."""
        self._changes.pop(sid, None)
        self._emitter.disconnect([sid], True, persist=False)

    # --- how messages travel ------------------------------------------------------------------------------------------

    async def _order(
        self, kind: MessageType, data: Data, target: Target, act: Callable[[], Awaitable[None] | None]
    ) -> None:
        """Have something done at all workers, in the order of the events if there is one order."""
        if target.local or not self.recovers:
            await super()._order(kind, data, target, act)
        elif target.rooms is None or target.rooms:
            own = OwnOrder(act)
            await self._publish(kind, data, own)
            await own.outcome()

    async def _tell(self, kind: MessageType, data: Data) -> None:
        await self._publish(kind, data)

    async def _publish(self, kind: MessageType, data: Data, own: OwnOrder | None = None) -> None:
        group = self._group
        payload = self._encode(kind, data)
        self.check_size(payload)
        if not group.link.is_ready:
            await group.link.ready(self._backbone.publish_timeout)
        if isinstance(data, ServerSideEmit):
            group.publish(wire.TO_ALL, (), payload, own)
        else:
            opts: Options = data.opts  # type: ignore[union-attr]
            flags, buckets = self._buckets_of(opts.rooms)
            if kind == MessageType.SOCKETS_JOIN and isinstance(data, SocketsRooms):
                joined = list({bucket_of(self.key, room) for room in data.rooms})
                payload, flags = wire.encode_join(joined, payload[1:]), flags | wire.JOINS
            group.publish(flags, buckets, payload, own)

    async def _others(self) -> Collection[str]:
        return self._group.serving(self.key)

    async def _request(self, kind: MessageType, data: Data) -> None:
        group = self._group
        payload = self._encode(kind, data)
        self.check_size(payload)
        group.link.check()
        group.send_to_all(payload)

    def _reply(self, uid: str, kind: MessageType, data: Data) -> None:
        if self._at_work is not None:
            self._at_work.send_to(uid, self._encode(kind, data))

    def _encode(self, kind: MessageType, data: Data) -> bytes:
        return _MESSAGE + encode_ephemeral(Message(int(kind), data, self._group.name, self.key))

    def _spawn(self, work: Awaitable[Any]) -> None:
        self._group.spawn(work)

    # --- sessions -----------------------------------------------------------------------------------------------------

    @property
    def _lifetime(self) -> float:
        """Seconds that the session of a client that is in outlives its worker."""
        recovery = self._emitter.recovery
        return 0.0 if recovery is None else recovery.max_disconnection_duration + self._emitter.linger

    def keep_session(self, session: Session) -> None:
        """Write down the session of a client that is in."""
        group, attendance = self._at_work, self._present.get(session.sid)
        if group is None or attendance is None:
            return
        value = encode_session(session, attendance, group.name, has_left=False)
        self._changes[session.sid] = _Written(session.pid)
        group.link.send(wire.control(wire.KeepSession(session.pid, self.key, session.sid, value, self._lifetime)))

    def _change(self, sid: str, joins: bool, rooms: Sequence[str], at: int) -> None:
        """Write down that a client's rooms have changed, if its session is written down."""
        written = self._changes.get(sid)
        if written is None or not rooms or written.is_due:
            return
        if written.changes < max(_MOST_CHANGES, len(self._present[sid].since)):
            written.changes += 1
            self._group.link.send(wire.control(wire.NoteSession(written.pid, encode_change(joins, rooms, at))))
        else:  # for all changes of this turn of the event loop: to write it takes as long as it has rooms
            written.is_due = True
            asyncio.get_running_loop().call_soon(self._keep_again, sid)

    def _keep_again(self, sid: str) -> None:
        written, session = self._changes.get(sid), self._emitter.session(sid)
        if written is None or session is None or self._at_work is None:
            return
        try:
            self.keep_session(session)
        except EncodeError:
            self._changes.pop(sid, None)
            self.forget_session(session.pid)  # what is there is old, and would be wrong

    async def _renew(self) -> None:
        """Write down, from time to time, what programs have changed in ``socket.data``."""
        while True:
            await asyncio.sleep(self._backbone.renew)
            for number, sid in enumerate(list(self._changes)):
                if sid in self._changes:
                    self._keep_again(sid)
                if number % 100 == 99:
                    await asyncio.sleep(0)

    def persist_session(self, session: Session) -> None:
        """Write down the session of a client that has left and may come back."""
        group, recovery = self._at_work, self._emitter.recovery
        attendance = self._present.get(session.sid) or self._restored.pop(session.sid, None)
        if group is None or recovery is None or attendance is None:
            return
        self._changes.pop(session.sid, None)
        value = encode_session(session, attendance, group.name, has_left=True)
        seconds = recovery.max_disconnection_duration
        group.link.send(
            wire.control(wire.LeaveSession(session.pid, self.key, session.sid, value, seconds, recovery.max_sessions))
        )

    def forget_session(self, pid: str) -> None:
        """Forget a session."""
        if self._at_work is not None:
            self._at_work.link.send(wire.control(wire.ForgetSession(pid)))

    async def forget_sessions(self, belongs: Callable[[Session], bool]) -> int:
        """Forget the sessions for which ``belongs`` returns true."""
        found = await self._ask_broker(lambda id: wire.ListSessions(id, self.key))
        which = []
        for pid, version, value, changes in found.found:
            kept = read_session(pid, version, value, changes)
            if belongs(kept.session):
                which.append((pid, version))
        return int((await self._ask_broker(lambda id: wire.DropSessions(id, which))).count) if which else 0

    async def restore_session(self, pid: str, offset: str | None, accept: Callable[[Session], bool]) -> Session | None:
        """Take a session with all packets that its client has missed, up to what this worker has handled."""
        group = self._at_work
        after = None if offset is None or group is None else self._number_of(offset)
        if group is None or (offset is not None and after is None) or pid in self._restoring:
            return None
        self._restoring.add(pid)
        try:
            for _ in range(_TRIES):
                session, version = await self._restore(group, pid, after, accept)
                if session is not None or not version:
                    return session
                found = await self._ask_broker(lambda id: wire.FindSession(id, pid))
                if found.version in (0, version):
                    return None
                # It has changed meanwhile: the worker that had the client has just noticed that it has left.
            return None
        except ClusterUnavailable:
            return None
        finally:
            self._restoring.discard(pid)

    async def _restore(
        self, group: Group, pid: str, after: int | None, accept: Callable[[Session], bool]
    ) -> tuple[Session | None, int]:
        """Take a session. Return it, or ``None`` and the version in which it could not be taken; 0: in none."""
        found = await self._ask_broker(lambda id: wire.FindSession(id, pid))
        if not found.version:
            return None, 0
        kept = read_session(pid, found.version, found.value, found.changes)
        birth = kept.attendance.birth
        start = birth if after is None else max(after, birth)
        shelves = shelves_of(self, kept.attendance, start)
        if shelves is None:
            return None, 0
        packets = await self._ask_broker(lambda id: wire.ReadPackets(id, shelves))
        missed = missed_frames(self, kept, start, packets.found)
        if missed is None or not accept(dataclasses.replace(kept.session, missed=missed)):
            return None, 0
        rooms = [self.bucket, *(bucket_of(self.key, room) for room in kept.session.rooms)]
        for bucket in rooms:  # messages for it are to come here from the moment on at which it is taken
            group.rooms[bucket] += 1
        returning = Returning()
        try:
            packets = await self._ask_broker(
                lambda id: wire.TakeSession(id, pid, kept.version, shelves), partial(self._begin, returning)
            )
        finally:
            # Nothing is waited for after this: what comes later reaches the client by its rooms.
            if returning in self._returning:
                self._returning.remove(returning)
            asyncio.get_running_loop().call_soon(self._release, group, rooms)
        missed = missed_frames(self, kept, start, packets.found)
        if missed is None:
            return None, kept.version
        missed += returning.frames(self, kept, start)
        self._restored[kept.session.sid] = kept.attendance
        return dataclasses.replace(kept.session, missed=missed), kept.version

    def _begin(self, returning: Returning) -> None:
        self._returning.append(returning)

    def _release(self, group: Group, buckets: Iterable[int]) -> None:
        for bucket in buckets:
            group.rooms[bucket] -= 1

    def numbered_frames(
        self, text: str | None, packet: Packet | Callable[[], Packet], number: int, compress: bool
    ) -> Frames | None:
        make = packet if callable(packet) else lambda: packet
        return self.frames(text, make, self._offset(number), compress)

    def _number_of(self, offset: str) -> int | None:
        epoch, _, number = offset.rpartition(".")
        if epoch != self._group.epoch or not number.isascii() or not number.isdigit() or len(number) > 16:
            return None
        return int(number)

    async def _ask_broker(self, make: Callable[[int], wire.Control], begin: Callable[[], None] | None = None) -> Any:
        """Ask the broker. ``begin``: called with the answer's place in the order of messages, before any later one."""
        link = self._group.link
        link.check()
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def answered(message: Any) -> None:
            if begin is not None:
                begin()
            if not answer.done():
                answer.set_result(message)

        link.send(wire.control(make(link.ask(answered))))
        found = await answer
        if found is None:
            raise ClusterUnavailable("the broker of the workers has gone")
        return found
