"""The broker of a group of workers: it puts their messages in one order, and keeps what clients may come back for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from ..adapters.memory_store import ValueTable
from ..exceptions import ConfigurationError
from ..logs import ThrottledLog
from . import wire
from .broker_log import BrokerLog
from .broker_rooms import BrokerRooms
from .parent import make_private
from .questions import Gathered, Questions
from .session_store import SessionStore
from .shared_table import SLOTS, SharedTable, SlotState, make_file

log: Final = logging.getLogger("rtframework.workers")

_refused: Final = ThrottledLog(log, logging.WARNING, "a worker cannot join")
_behind: Final = ThrottledLog(
    log, logging.ERROR, "worker %s does not read: messages for it are dropped, and its clients start anew when it does"
)
_failed: Final = ThrottledLog(log, logging.ERROR, "unhandled error of a message to the broker")

_gone: Final = ThrottledLog(
    log,
    logging.ERROR,
    "the directory of the workers was removed: it is made again; have what tidies up temporary files leave folders "
    "named rtf*, or name another folder in TMPDIR",
)
_lost: Final = ThrottledLog(
    log, logging.ERROR, "the directory of the workers was removed, and cannot be made again: no worker can join"
)

_SWEEP: Final = 1.0
"""Seconds between two looks at what is too old, and whether the directory is still there."""
_LONGEST_HELLO: Final = 65_536
"""Bytes that come before a worker is admitted."""
_PATIENCE: Final = 10.0
"""Seconds in which a worker has to say who it is."""


class Broker:
    """Serves the workers of one group, which find it in a directory.

    ``max_behind``: bytes that wait for a worker that does not read; then the others wait for it, and after
    ``patience`` seconds they do no longer: it is told that it has missed messages.

    ``max_values``: values that workers keep here, and ``max_value_bytes`` their bytes, about; beyond, the oldest are
    discarded.

    ``on_join`` and ``on_leave`` are called with a :class:`~rtframework.workers.wire.Member`.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        max_behind: int = 16 * 1024 * 1024,
        patience: float = 2.0,
        max_values: int = 200_000,
        max_value_bytes: int = 64 * 1024 * 1024,
        on_join: Callable[[wire.Member], None] | None = None,
        on_leave: Callable[[wire.Member], None] | None = None,
    ) -> None:
        self.directory = Path(directory)
        self.max_behind = max_behind
        self.patience = patience
        self.on_join = on_join
        self.on_leave = on_leave
        self.epoch = secrets.token_urlsafe(6)
        """Names the life of this broker in the offsets of clients."""
        self.table: SharedTable
        self.log = BrokerLog()
        self.sessions = SessionStore()
        self.rooms = BrokerRooms(self)
        self.values = ValueTable(max_values, max_value_bytes)
        self.published = 0
        """Messages that were put in order."""
        self.dropped = 0
        """Messages that were dropped for workers that did not read."""
        self._head = 0
        self._table_fd = -1
        self._workers: dict[int, _Worker] = {}
        self._connections: set[_Worker] = set()
        self._held: dict[_Worker, None] = {}
        self._itself = _Worker(self)
        """The sender of the broker's own messages; it is no member."""
        self._itself.slot = wire.BROKER
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Future[None] | None = None
        self._healing: asyncio.Task[None] | None = None
        self._questions = Questions()

    async def start(self) -> None:
        """Listen. The directory is made if need be, for this user alone."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._table_fd = make_file()
        self.table = SharedTable(self._table_fd)
        (self.directory / wire.SOCKET).unlink(missing_ok=True)
        self._server = await self._listen()
        self._sweeper = asyncio.get_running_loop().call_later(_SWEEP, self._sweep)

    async def _listen(self) -> asyncio.Server:
        path = str(self.directory / wire.SOCKET)
        return await asyncio.get_running_loop().create_unix_server(lambda: _Worker(self), path, backlog=128)

    async def _listen_again(self) -> None:
        """Make the directory again; the workers' own sockets follow as soon as it is back."""
        before = self._server
        if before is None:
            return
        before.close()
        try:
            make_private(self.directory)
            server = await self._listen()
        except (OSError, ConfigurationError) as error:
            _lost(error=error)
            return
        if self._server is not before:  # stopped meanwhile
            server.close()
            return
        self._server = server
        _gone()

    async def stop(self) -> None:
        """End all connections, and remove the socket."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        self.rooms.stop()
        if self._healing is not None:
            await asyncio.wait((self._healing,))
        for connection in list(self._connections):
            connection.abort()
        if self._connections:
            self._emptied = asyncio.get_running_loop().create_future()
            await self._emptied
        with contextlib.suppress(OSError):
            (self.directory / wire.SOCKET).unlink()
        self.table.close()
        os.close(self._table_fd)

    # --- for the supervisor -------------------------------------------------------------------------------------------

    @property
    def members(self) -> Mapping[int, wire.Member]:
        """The workers that are connected, by slot."""
        return {slot: worker.member for slot, worker in self._workers.items()}

    @property
    def is_used(self) -> bool:
        """True while a worker is connected, or about to be."""
        return bool(self._connections)

    def silent(self, pid: int) -> float | None:
        """Return the seconds for which a process has said nothing; ``None`` if it is not connected."""
        now = time.monotonic()
        heard = [worker.heard for worker in self._workers.values() if worker.member.pid == pid]
        return now - max(heard) if heard else None

    def slot_of(self, pid: int) -> int | None:
        """Return the slot of a process."""
        return next((slot for slot, worker in self._workers.items() if worker.member.pid == pid), None)

    async def gather(self, topic: str, data: bytes = b"", timeout: float = 2.0) -> Gathered:
        """Ask all workers; see :meth:`rtframework.workers.group.Group.answer`."""
        names = [worker.member.name for worker in self._workers.values()]
        id, question = self._questions.ask(names)
        frame = wire.direct(wire.BROKER, wire.encode_question(wire.Question(id, topic, data)))
        for worker in self._workers.values():
            worker.out.append(frame)
        self.flush()
        return await self._questions.result(id, question, timeout)

    # --- workers come and go ------------------------------------------------------------------------------------------

    def admit(self, worker: _Worker, hello: wire.Hello) -> None:
        """Give a worker its slot, tell it of the others, and the others of it."""
        slot = next((each for each in range(SLOTS) if each not in self._workers), None)
        if slot is None:
            _refused(error=ConnectionRefusedError(f"all {SLOTS} slots are taken"))
            worker.abort()
            return
        member = hello.member
        member.slot, member.serves = slot, []
        worker.slot, worker.member = slot, member
        self.table.clear(slot)
        self.table.set_state(slot, SlotState.STARTING)
        welcome = wire.control(wire.Welcome(slot, self.epoch, [each.member for each in self._workers.values()]))
        if not worker.welcome(welcome, self._table_fd):
            worker.abort()
            return
        worker.rooms = self.table.rooms(slot)
        for other in self._workers.values():
            other.out.append(wire.control(wire.Joined(member)))
        self._workers[slot] = worker
        if self.on_join is not None:
            self.on_join(member)

    def lost(self, worker: _Worker) -> None:
        """Forget a worker whose connection has ended, and tell the others."""
        self._connections.discard(worker)
        self._held.pop(worker, None)
        if not self._connections and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)
        if worker.rooms is None:
            return
        worker.rooms.release()
        worker.rooms = None
        del self._workers[worker.slot]
        self.table.clear(worker.slot)
        self.sessions.worker_gone(worker.slot, time.monotonic())
        self._questions.gone(worker.member.name)
        for other in self._workers.values():
            other.out.append(wire.control(wire.Left(worker.slot)))
        if self._server is not None:
            self.rooms.worker_gone(worker.slot, time.monotonic())
        self.release()
        self.flush()
        if self.on_leave is not None and self._server is not None:
            self.on_leave(worker.member)

    # --- messages -----------------------------------------------------------------------------------------------------

    def publish(self, source: _Worker, frame: bytes, now: float) -> None:
        """Put a message in order, and write it to those whom it is for."""
        buckets, start = wire.buckets_of(frame)
        flags = frame[1]
        payload = frame[start:]
        number = self._head = self._head + 1
        self.published += 1
        self.table.head = number
        if flags & wire.KEEP:
            self.log.append(number, buckets, payload, now)
        out: bytes | None = None
        for worker in self._workers.values():
            if worker is source:
                if flags & wire.READ_BACK:
                    worker.out.append(wire.own(number))
                continue
            if not flags & wire.TO_ALL:
                rooms, expected = worker.rooms, worker.expected
                for bucket in buckets:
                    if rooms[bucket] or (expected and bucket in expected):  # type: ignore[index]  # it has them here
                        break
                else:
                    continue
            if worker.missed_since is not None:
                self.dropped += 1
                continue
            if out is None:
                out = wire.event(source.slot, number, payload)
            worker.out.append(out)
            if flags & wire.JOINS:
                worker.expected.update(wire.read_join(payload)[0])
            if worker.is_full:
                self._held[source] = None

    def tell(self, source: _Worker | None, flags: int, bucket: int, payload: bytes, now: float) -> None:
        """Put a message of the broker's own in order, for all workers that have a bucket.

        ``source``: the worker that has caused it, which gets the message like the others.
        """
        itself = self._itself
        self.publish(itself, wire.publish(flags, (bucket,), payload)[4:], now)
        if itself in self._held:
            del self._held[itself]
            if source is not None:
                self._held[source] = None

    def forward(self, source: _Worker, frame: bytes) -> None:
        """Hand a message to one worker, or take it if it is for the broker."""
        slot, payload = frame[1], frame[2:]
        if slot == wire.BROKER:
            if payload[0] == wire.IS_ANSWER:
                self._questions.answer(wire.read_answer(payload), source.member.name)
            return
        worker = self._workers.get(slot)
        if worker is not None and worker.missed_since is None:
            worker.out.append(wire.direct(source.slot, payload))
            if worker.is_full:
                self._held[source] = None

    def flush(self) -> None:
        """Write what waits, once for each worker."""
        for worker in self._workers.values():
            if worker.out:
                worker.flush()
        for worker in self._held:
            worker.hold()

    def release(self) -> None:
        """Read all workers again, unless one of those whom they write to is full."""
        if not any(worker.is_full and worker.missed_since is None for worker in self._workers.values()):
            held, self._held = self._held, {}
            for worker in held:
                worker.go_on()

    def control(self, source: _Worker, frame: bytes, now: float) -> None:
        """Handle anything else."""
        message = wire.read_by_broker(frame)
        handle = _HANDLERS.get(type(message))
        if handle is not None:
            handle(self, source, message, now)

    def _serves(self, source: _Worker, message: wire.Serves, now: float) -> None:
        message.slot = source.slot
        serves = source.member.serves
        if message.does:
            serves.append(message.key)
        elif message.key in serves:
            serves.remove(message.key)
        told = wire.control(message)
        for worker in self._workers.values():
            if worker is not source:
                worker.out.append(told)

    def _done(self, source: _Worker, message: wire.Done, now: float) -> None:
        source.expected.subtract(message.buckets)
        source.expected = +source.expected  # those that are left

    def _alive(self, source: _Worker, message: wire.Alive, now: float) -> None:
        source.out.append(_ALIVE)

    def _keep_packets(self, source: _Worker, message: wire.KeepPackets, now: float) -> None:
        self.log.keep(message.seconds, message.packets, message.size)

    def _keep(self, source: _Worker, message: wire.KeepSession, now: float) -> None:
        it = message
        self.sessions.keep(source.slot, it.pid, it.key, it.sid, it.value, it.seconds)

    def _note(self, source: _Worker, message: wire.NoteSession, now: float) -> None:
        self.sessions.note(source.slot, message.pid, message.change)

    def _leave(self, source: _Worker, message: wire.LeaveSession, now: float) -> None:
        it = message
        self.sessions.leave(source.slot, it.pid, it.key, it.sid, it.value, it.seconds, it.most, now)

    def _forget(self, source: _Worker, message: wire.ForgetSession, now: float) -> None:
        self.sessions.forget(source.slot, message.pid)

    def _find(self, source: _Worker, message: wire.FindSession, now: float) -> None:
        found = self.sessions.find(message.pid, now)
        answer = wire.FoundSession(message.request)
        if found is not None:
            answer = wire.FoundSession(message.request, found.version, found.value, found.changes, found.seconds)
        source.out.append(wire.control(answer))

    def _read(self, source: _Worker, message: wire.ReadPackets, now: float) -> None:
        source.out.append(wire.control(wire.Packets(message.request, self._head, self.log.read(message.after))))

    def _take(self, source: _Worker, message: wire.TakeSession, now: float) -> None:
        taken = self.sessions.take(source.slot, message.pid, message.version, now)
        found = None
        if taken is not None:
            session, before = taken
            found = self.log.read(message.after)
            owner = None if before is None or before == source.slot else self._workers.get(before)
            if owner is not None:
                owner.out.append(wire.control(wire.TakenSession(message.pid, session.key, session.sid)))
        source.out.append(wire.control(wire.Packets(message.request, self._head, found)))

    def _list(self, source: _Worker, message: wire.ListSessions, now: float) -> None:
        found = [
            (pid, session.version, session.value, session.changes)
            for pid, session in self.sessions.left(message.key, now)
        ]
        source.out.append(wire.control(wire.Sessions(message.request, found)))

    def _drop(self, source: _Worker, message: wire.DropSessions, now: float) -> None:
        source.out.append(wire.control(wire.Dropped(message.request, self.sessions.drop(message.which))))

    def _get_value(self, source: _Worker, message: wire.GetValue, now: float) -> None:
        source.out.append(wire.control(wire.Value(message.request, self.values.get(message.key))))

    def _set_value(self, source: _Worker, message: wire.SetValue, now: float) -> None:
        self.values.set(message.key, message.value, message.seconds)
        source.out.append(wire.control(wire.Value(message.request)))

    def _add_value(self, source: _Worker, message: wire.AddValue, now: float) -> None:
        found = self.values.add(message.key, message.value, message.seconds)
        source.out.append(wire.control(wire.Value(message.request, found)))

    def _replace_value(self, source: _Worker, message: wire.ReplaceValue, now: float) -> None:
        done = self.values.replace(message.key, message.old, message.value, message.seconds)
        source.out.append(wire.control(wire.Value(message.request, done=done)))

    def _remove_value(self, source: _Worker, message: wire.RemoveValue, now: float) -> None:
        done = self.values.remove(message.key, message.old)
        source.out.append(wire.control(wire.Value(message.request, done=done)))

    def _sweep(self) -> None:
        now = time.monotonic()
        self.log.trim(now)
        self.sessions.trim(now)
        for worker in list(self._connections):
            worker.check(now)
        is_healing = self._healing is not None and not self._healing.done()
        if self._server is not None and not is_healing and not (self.directory / wire.SOCKET).exists():
            self._healing = asyncio.get_running_loop().create_task(self._listen_again())
        self._sweeper = asyncio.get_running_loop().call_later(_SWEEP, self._sweep)


_HANDLERS: Final[dict[type, Callable[[Broker, Any, Any, float], None]]] = {
    wire.Serves: Broker._serves,
    wire.Done: Broker._done,
    wire.Alive: Broker._alive,
    wire.KeepPackets: Broker._keep_packets,
    wire.KeepSession: Broker._keep,
    wire.NoteSession: Broker._note,
    wire.LeaveSession: Broker._leave,
    wire.ForgetSession: Broker._forget,
    wire.FindSession: Broker._find,
    wire.ReadPackets: Broker._read,
    wire.TakeSession: Broker._take,
    wire.ListSessions: Broker._list,
    wire.DropSessions: Broker._drop,
    wire.GetValue: Broker._get_value,
    wire.SetValue: Broker._set_value,
    wire.AddValue: Broker._add_value,
    wire.ReplaceValue: Broker._replace_value,
    wire.RemoveValue: Broker._remove_value,
}

_ALIVE: Final = wire.control(wire.Alive())


class _Worker(asyncio.Protocol):
    """The broker's side of the connection of one worker."""

    slot = -1
    member: wire.Member

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._reader = wire.FrameReader()
        self._transport: asyncio.Transport
        self.rooms: memoryview[int] | None = None
        """The counters of its rooms, once it is admitted."""
        self.expected: Counter[int] = Counter()
        """Buckets of rooms that its sockets are to join, by a message that it has not handled yet."""
        self.out: list[bytes] = []
        self.heard = time.monotonic()
        self.full_since: float | None = None
        self.missed_since: float | None = None
        """Time, in seconds since the epoch, since which messages are dropped for it."""
        self._is_held = False
        self._begun = 0
        """Bytes that have come before it was admitted."""

    @property
    def is_full(self) -> bool:
        """True while too much waits for it."""
        return self.full_since is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._transport.set_write_buffer_limits(high=self._broker.max_behind)
        self._broker._connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._broker.lost(self)

    def abort(self) -> None:
        """End the connection."""
        self._transport.abort()

    def welcome(self, frame: bytes, fd: int) -> bool:
        """Write the first frame, with the descriptor of the table. False if it cannot be written."""
        their = self._transport.get_extra_info("socket")
        ours = socket.socket(fileno=os.dup(their.fileno()))
        try:
            return socket.send_fds(ours, [frame], [fd]) == len(frame)
        except OSError as error:
            _refused(error=error)
            return False
        finally:
            ours.close()

    def data_received(self, data: bytes) -> None:
        broker = self._broker
        now = self.heard = time.monotonic()
        if self.rooms is None:
            self._begun += len(data)
            if self._begun > _LONGEST_HELLO:
                self._refuse(ValueError("it does not say who it is"))
                return
        for frame in self._reader.feed(data):
            if self.rooms is None:
                try:
                    hello = wire.read_by_broker(frame)
                except (msgspec.MsgspecError, IndexError) as error:
                    self._refuse(error)
                    return
                if isinstance(hello, wire.Hello):
                    broker.admit(self, hello)
                continue
            try:
                kind = frame[0]
                if kind == wire.PUBLISH:
                    broker.publish(self, frame, now)
                elif kind == wire.DIRECT:
                    broker.forward(self, frame)
                elif kind == wire.ROOMS:
                    broker.rooms.handle(self, frame, now)
                elif kind == wire.KEPT:
                    broker.rooms.keep(self, frame, now)
                else:
                    broker.control(self, frame, now)
            except Exception as error:  # noqa: BLE001 - one message must not stop the others
                _failed(error=error)
        broker.flush()

    def flush(self) -> None:
        """Write what waits."""
        out = self.out
        self._transport.write(out[0] if len(out) == 1 else b"".join(out))
        out.clear()

    def pause_writing(self) -> None:
        self.full_since = time.monotonic()
        asyncio.get_running_loop().call_later(self._broker.patience, self._out_of_patience, self.full_since)

    def resume_writing(self) -> None:
        self.full_since = None
        if self.missed_since is not None:
            self.out.append(wire.control(wire.Missed(self.missed_since)))
            self.missed_since = None
            self.flush()
        self._broker.release()

    def _out_of_patience(self, full_since: float) -> None:
        if self.full_since == full_since and self.rooms is not None:
            _behind(self.member.name, key=self.member.name, extra={"node": self.member.name})
            self.missed_since = time.time()
            self._broker.release()

    def hold(self) -> None:
        """Read no more of it, until those that it writes to have read."""
        if not self._is_held:
            self._is_held = True
            self._transport.pause_reading()

    def go_on(self) -> None:
        """Read it again."""
        if self._is_held:
            self._is_held = False
            self._transport.resume_reading()

    def check(self, now: float) -> None:
        """Be heard of: one that is held cannot say that it lives. End the connection of one that says nothing."""
        if self._is_held:
            self.heard = now
        elif self.rooms is None and self.heard + _PATIENCE < now:
            self._refuse(TimeoutError("it does not say who it is"))

    def _refuse(self, error: Exception) -> None:
        _refused(error=error)
        self.abort()
