"""A cluster in one process: several servers, joined by a broker that is a few dicts, over the seam for adapters.

Only plain data passes the broker, as msgpack, so that nothing of one server can be another's by accident.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from rtframework import (
    AckResponses,
    AckTimeout,
    BaseAdapter,
    ClusterUnavailable,
    FetchTimeout,
    Handshake,
    MemoryStore,
    Packet,
    PacketType,
    Target,
)
from rtframework.adapters import AckCollector
from rtframework.protocols import Emitter, Frames, Session
from rtframework.types import Health, SocketDetails

_FETCH_TIME: Final = 5.0
_PREFIX: Final = "the_log_."
"""In front of offsets, which have the form of those that the framework's test client knows."""

Message = dict[str, Any]


class Broker:
    """What would be a process of its own: the log of each namespace, the sessions, and the way to each server.

    ``up``: false, and nothing can be published. ``open``: subscriptions wait while it is not set.
    """

    def __init__(self) -> None:
        self.up = True
        self.open = asyncio.Event()
        self.open.set()
        self.backbones: dict[str, FakeBackbone] = {}
        self.log: dict[str, list[Message]] = {}
        """By namespace: the packets that a client may ask for when it comes back."""
        self.sessions: dict[str, bytes] = {}
        self.store = MemoryStore()
        self.sent = 0
        """Messages that were handed to servers."""

    def publish(self, message: Message, to: str | None = None) -> None:
        """Append a message, and hand it to one server or to all. Raises ``ClusterUnavailable``."""
        if not self.up:
            raise ClusterUnavailable("the broker is down")
        wire = msgspec.msgpack.encode(message)
        for name, backbone in self.backbones.items():
            if to in (None, name) and backbone.wants(message):
                self.sent += 1
                backbone.inbox.put_nowait(wire)

    def append(self, message: Message) -> None:
        """Publish a packet and keep it for those that are away."""
        log = self.log.setdefault(message["nsp"], [])
        message["offset"] = f"{_PREFIX}{len(log) + 1}"
        self.publish(message)
        log.append(message)

    def leave(self, name: str) -> None:
        """Note that a server has gone, in whatever way, and tell the others."""
        if self.backbones.pop(name, None) is not None:
            for backbone in self.backbones.values():
                backbone.gone(name)

    def gap(self, since: float) -> None:
        """Lose some messages of some time, and be found out."""
        for backbone in self.backbones.values():
            for adapter in backbone.adapters.values():
                adapter.emitter.gap(since)

    def fail(self) -> None:
        """Go down."""
        self.up = False
        self._tell()

    def recover(self) -> None:
        """Be there again."""
        self.up = True
        self._tell()

    def _tell(self) -> None:
        for backbone in self.backbones.values():
            for adapter in backbone.adapters.values():
                adapter.emitter.state(self.up)


class FakeBackbone:
    """One server's connection to the broker: a reader for all namespaces; see ``rtframework.protocols.Backbone``."""

    def __init__(self, broker: Broker, node: str) -> None:
        self.broker = broker
        self.node = node
        self.store = broker.store
        self.adapters: dict[str, FakeAdapter] = {}
        """By namespace: the adapters that have been started."""
        self.inbox: asyncio.Queue[bytes] = asyncio.Queue()
        self.frozen = asyncio.Event()
        self.frozen.set()
        self.starts = 0
        self._numbers = itertools.count(1)
        self._reader: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._rooms: dict[tuple[str, str], asyncio.Future[None]] = {}
        """The subscriptions: done when messages to the room are handed to this server."""

    def __call__(self, nsp: str, emitter: Emitter) -> FakeAdapter:
        return FakeAdapter(self, nsp, emitter)

    @property
    def health(self) -> Health:
        """The state of the broker."""
        if self.broker.backbones.get(self.node) is not self:
            return Health(False, "not started")
        return Health(True) if self.broker.up else Health(False, "the broker is down")

    async def start(self) -> None:
        """Join the cluster."""
        if not self.broker.up:
            raise ClusterUnavailable("the broker is down")
        self.starts += 1
        self.inbox = asyncio.Queue()
        self.broker.backbones[self.node] = self
        self._reader = asyncio.create_task(self._read())

    async def stop(self) -> None:
        """Leave the cluster."""
        assert not self.adapters, "stopped before its adapters"
        self.broker.leave(self.node)
        await self.kill()

    async def kill(self) -> None:
        """Hear and say nothing any more, as a process that was killed."""
        tasks = [*self._tasks, *([] if self._reader is None else [self._reader])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._rooms.clear()

    def freeze(self) -> None:
        """Read nothing until ``frozen`` is set."""
        self.frozen.clear()

    def others(self) -> list[str]:
        """Return the names of the other servers."""
        return [name for name in self.broker.backbones if name != self.node]

    def new_id(self) -> str:
        """Return an id for a request."""
        return f"{self.node}:{next(self._numbers)}"

    def spawn(self, work: Awaitable[Any]) -> None:
        """Run something in the background."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- rooms ------------------------------------------------------------------------------------------------------

    def subscribe(self, nsp: str, room: str) -> asyncio.Future[None]:
        """Have messages to a room handed to this server. Return the subscription, which may be one that there is."""
        future = self._rooms.get((nsp, room))
        if future is None:
            future = self._rooms[nsp, room] = asyncio.get_running_loop().create_future()
            if self.broker.open.is_set() and self.broker.up:
                future.set_result(None)
            else:
                self.spawn(self._subscribe(future))
        return future

    async def _subscribe(self, future: asyncio.Future[None]) -> None:
        await self.broker.open.wait()
        if future.done():
            return
        if self.broker.up:
            future.set_result(None)
        else:
            future.set_exception(ClusterUnavailable("the broker is down"))

    def unsubscribe(self, nsp: str, room: str) -> None:
        """Have messages to a room, which nobody here is in any more, no longer."""
        future = self._rooms.pop((nsp, room), None)
        if future is not None and not future.done():
            future.set_result(None)

    def wants(self, message: Message) -> bool:
        """Tell whether a message is to be handed to this server."""
        rooms = message.get("target", {}).get("rooms")
        if rooms is None or message["from"] == self.node or "offset" in message:
            return True
        return any((future := self._rooms.get((message["nsp"], room))) is not None and future.done() for room in rooms)

    # --- messages ---------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            wire = await self.inbox.get()
            await self.frozen.wait()
            message = msgspec.msgpack.decode(wire)
            adapter = self.adapters.get(message["nsp"])
            if adapter is not None:
                await adapter.receive(message)
            elif message.get("request") is not None and message["from"] != self.node:
                self.reply(message, count=0, sockets=[], answer=None)  # that namespace is not here

    def reply(self, message: Message, **values: Any) -> None:
        """Answer a request of another server."""
        if self.broker.up:
            reply = {"kind": "reply", "nsp": message["nsp"], "from": self.node, "to": message["request"], **values}
            self.broker.publish(reply, message["from"])

    def gone(self, name: str) -> None:
        """Hear that a server has gone."""
        for adapter in self.adapters.values():
            adapter.server_gone(name)


class _Request:
    """A question to other servers, each of which answers once."""

    def __init__(self, servers: Iterable[str]) -> None:
        self.waited = set(servers)
        self.values: dict[str, Any] = {}
        self._done = asyncio.Event()
        self.check()

    def check(self) -> None:
        if not self.waited:
            self._done.set()

    async def wait(self, timeout: float) -> bool:
        """Return whether all have answered in time."""
        try:
            async with asyncio.timeout(timeout):
                await self._done.wait()
        except TimeoutError:
            return False
        return True


class FakeAdapter(BaseAdapter):
    """The adapter of one namespace. With recovery, what it publishes it delivers when it reads it back."""

    def __init__(self, backbone: FakeBackbone, nsp: str, emitter: Emitter) -> None:
        super().__init__(nsp, emitter)
        self.emitter = emitter
        self._backbone = backbone
        self._broker = backbone.broker
        self._collectors: dict[str, AckCollector] = {}
        self._requests: dict[str, _Request] = {}
        self._own: dict[str, asyncio.Future[None]] = {}
        """What was published and is not read back."""
        self._position = len(self._broker.log.get(nsp, ()))
        """How far the log was read."""

    async def start(self) -> None:
        """Begin to hear of the namespace."""
        self._position = len(self._broker.log.get(self.nsp, ()))
        self._backbone.adapters[self.nsp] = self

    async def close(self) -> None:
        """Hear of it no longer."""
        if self._backbone.adapters.get(self.nsp) is self:
            del self._backbone.adapters[self.nsp]

    # --- rooms ------------------------------------------------------------------------------------------------------

    def add(self, sid: str, rooms: Iterable[str]) -> Awaitable[None] | None:
        """Put a socket into rooms. What is returned waits for the subscriptions."""
        rooms = tuple(rooms)
        super().add(sid, rooms)
        pending = [each for room in rooms if not (each := self._backbone.subscribe(self.nsp, room)).done()]
        return asyncio.ensure_future(_all_of(pending)) if pending else None

    def remove(self, sid: str, rooms: Iterable[str]) -> Awaitable[None] | None:
        """Take a socket out of rooms."""
        rooms = tuple(rooms)
        super().remove(sid, rooms)
        self._unsubscribe(rooms)
        return None

    def remove_all(self, sid: str) -> frozenset[str]:
        """Forget a socket."""
        left = super().remove_all(sid)
        self._unsubscribe(left)
        return left

    def _unsubscribe(self, rooms: Iterable[str]) -> None:
        for room in rooms:
            if not self.index.members(room):
                self._backbone.unsubscribe(self.nsp, room)

    # --- what is emitted --------------------------------------------------------------------------------------------

    async def broadcast(self, packet: Packet, target: Target) -> None:
        """Publish a packet, and return when it has been delivered here."""
        text = self.emitter.text(packet)  # raises before anybody has it
        if target.local:
            slow = self.emitter.send(
                self.sockets(target), packet, volatile=target.volatile, compress=target.compress, rooms=target.rooms
            )
            if slow is not None:
                await slow
            return
        id = self._backbone.new_id()
        message = self._message("emit", target, id=id, args=self._args(packet, text), ack=packet.id)
        self._own[id] = delivered = asyncio.get_running_loop().create_future()
        try:
            if self.emitter.recovery is not None and not target.volatile and packet.id is None:
                self._broker.append(message)
            else:
                self._broker.publish(message)
            await delivered
        finally:
            del self._own[id]

    def _args(self, packet: Packet, text: str | None) -> str | list[Any]:
        """Return the arguments of an event as they pass the broker: as JSON, or as plain values."""
        return self.emitter.plain(packet.data) if text is None else text

    def _deliver(self, message: Message) -> Awaitable[None] | None:
        target, args = _target(message["target"]), message["args"]
        if "offset" in message:
            self._position = max(self._position, _number(message["offset"]))
        sids = self.sockets(target)
        if not sids:
            return None
        make = partial(_packet, self.nsp, args, message["ack"])
        frames = None if message["ack"] is not None else self._frames(message)
        if frames is None:
            return self.emitter.send(
                sids, make(), volatile=target.volatile, compress=target.compress, rooms=target.rooms
            )
        return self.emitter.send(sids, make, volatile=target.volatile, frames=frames, rooms=target.rooms)

    def _frames(self, message: Message) -> Frames | None:
        """Make the frames of a packet; ``None``: as it is."""
        args, offset, compress = message["args"], message.get("offset"), message["target"]["compress"]
        frames = self.emitter.splice(args, offset, compress=compress) if isinstance(args, str) else None
        if frames is None and offset is not None:
            packet = _packet(self.nsp, args, None)
            frames = self.emitter.encode(Packet(packet.type, self.nsp, [*packet.data, offset]), compress=compress)
        return frames

    async def broadcast_with_ack(self, packet: Packet, target: Target, timeout: float | None) -> AckResponses:
        """Ask the sockets here, and have the other servers ask theirs."""
        others = [] if target.local else self._backbone.others()
        text = self.emitter.text(packet)
        collector = AckCollector(others)
        id = self._backbone.new_id()
        self._collectors[id] = collector
        try:
            collector.ask(
                self.emitter.ask(
                    self.sockets(target), packet, volatile=target.volatile, compress=target.compress, rooms=target.rooms
                )
            )
            for name in others:  # also to those that are not subscribed: each has to report
                message = self._message("ask", target, request=id, args=self._args(packet, text))
                message["wanted"] = message.pop("target")
                self._broker.publish(message, name)
            return await collector.result(timeout)
        finally:
            del self._collectors[id]

    def _ask(self, message: Message) -> None:
        target = _target(message["wanted"])
        asked = self.emitter.ask(self.sockets(target), _packet(self.nsp, message["args"], None), rooms=target.rooms)
        self._backbone.reply(message, count=len(asked))
        for sid, future in asked.items():
            future.add_done_callback(partial(self._answered, message, sid))

    def _answered(self, message: Message, sid: str, future: asyncio.Future[list[Any]]) -> None:
        if future.cancelled():
            return
        if future.exception() is None:
            self._backbone.reply(message, sid=sid, args=self.emitter.plain(future.result()))
        else:
            self._backbone.reply(message, sid=sid, args=None)

    # --- the sockets of all servers ---------------------------------------------------------------------------------

    async def fetch_sockets(self, target: Target, timeout: float | None) -> list[SocketDetails]:
        """Describe the sockets of all servers."""
        found = self.emitter.describe(self.sockets(target))
        if target.local:
            return found
        request, complete = await self._request("fetch", target, _FETCH_TIME if timeout is None else timeout)
        for name in sorted(request.values):
            found += [_details(each) for each in request.values[name]]
        if not complete:
            raise FetchTimeout(sockets=found, missing=sorted(request.waited))
        return found

    async def _request(self, kind: str, target: Target, timeout: float, **more: Any) -> tuple[_Request, bool]:
        id = self._backbone.new_id()
        request = self._requests[id] = _Request(self._backbone.others())
        try:
            for name in list(request.waited):
                message = self._message(kind, target, request=id, **more)
                message["wanted"] = message.pop("target")
                self._broker.publish(message, name)
            return request, await request.wait(timeout)
        finally:
            del self._requests[id]

    async def add_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        """Make sockets of all servers join rooms."""
        entering = self.emitter.join(self.sockets(target), rooms)
        self._order("join", target, rooms=list(rooms))
        if entering is not None:
            await entering

    async def del_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        """Make sockets of all servers leave rooms."""
        leaving = self.emitter.leave(self.sockets(target), rooms)
        self._order("leave", target, rooms=list(rooms))
        if leaving is not None:
            await leaving

    async def disconnect_sockets(self, target: Target, close: bool, reason: str | None) -> None:
        """Disconnect sockets of all servers."""
        self.emitter.disconnect(self.sockets(target), close, reason=reason)
        self._order("disconnect", target, close=close, reason=reason)

    def _order(self, kind: str, target: Target, **more: Any) -> None:
        if not target.local:
            message = self._message(kind, target, **more)
            message["wanted"] = message.pop("target")
            self._broker.publish(message)

    # --- events between servers -------------------------------------------------------------------------------------

    async def server_side_emit(self, args: Sequence[Any]) -> None:
        """Emit an event to the other servers."""
        self._order("serve", Target(), args=self.emitter.plain(args))

    async def server_side_emit_with_ack(self, args: Sequence[Any], timeout: float) -> AckResponses:
        """Emit an event to the other servers and collect their answers."""
        request, complete = await self._request("serve", Target(), timeout, args=self.emitter.plain(args))
        if not complete:
            raise AckTimeout(responses=request.values, missing=sorted(request.waited))
        return AckResponses(request.values)

    async def _serve(self, message: Message) -> None:
        answer = await self.emitter.serve(message["args"])
        if message.get("request") is not None:
            self._backbone.reply(message, answer=self.emitter.plain([answer])[0])

    # --- what the broker hands over ---------------------------------------------------------------------------------

    async def receive(self, message: Message) -> None:
        """Handle a message; in the order of the broker."""
        kind, own = message["kind"], message["from"] == self._backbone.node
        if kind == "emit":
            delivered = self._own.get(message["id"]) if own else None
            try:
                slow = self._deliver(message)
                if slow is not None:
                    await slow
            except Exception as error:  # noqa: BLE001 - the reader goes on
                if delivered is not None and not delivered.done():
                    delivered.set_exception(error)
            else:
                if delivered is not None and not delivered.done():
                    delivered.set_result(None)
        elif kind == "reply":
            self._hear(message)
        elif kind == "take":
            self.emitter.disconnect([message["sid"]], True, persist=False)
        elif not own:
            self._obey(kind, message)

    def _obey(self, kind: str, message: Message) -> None:
        sids = self.sockets(_target(message["wanted"]))
        if kind == "ask":
            self._ask(message)
        elif kind == "fetch":
            sockets = [
                {
                    "id": each.id,
                    "handshake": _plain(each.handshake),
                    "rooms": list(each.rooms),
                    "data": self.emitter.plain([each.data])[0],
                }
                for each in self.emitter.describe(sids)
            ]
            self._backbone.reply(message, sockets=sockets)
        elif kind == "join":
            entering = self.emitter.join(sids, message["rooms"])
            if entering is not None:
                self._backbone.spawn(entering)
        elif kind == "leave":
            self.emitter.leave(sids, message["rooms"])
        elif kind == "disconnect":
            self.emitter.disconnect(sids, message["close"], reason=message["reason"])
        elif kind == "serve":
            self._backbone.spawn(self._serve(message))

    def _hear(self, message: Message) -> None:
        id, name = message["to"], message["from"]
        collector, request = self._collectors.get(id), self._requests.get(id)
        if collector is not None and "count" in message:
            collector.server(message["count"], name)
        elif collector is not None and message["args"] is not None:
            collector.answer(message["args"], message["sid"], name)
        elif collector is not None:
            collector.gone(message["sid"], name)
        elif request is not None and name in request.waited:
            request.values[name] = message["sockets"] if "sockets" in message else message["answer"]
            request.waited.discard(name)
            request.check()

    def server_gone(self, name: str) -> None:
        """Wait for a server no longer."""
        for collector in self._collectors.values():
            collector.server_gone(name)
        for request in self._requests.values():
            request.waited.discard(name)
            request.check()

    # --- sessions ---------------------------------------------------------------------------------------------------

    def keep_session(self, session: Session) -> None:
        """Write a session down, in case that this process dies."""
        self._write(session, here=True)

    def renew_sessions(self) -> None:
        """Write all sessions down as they are now: what a timer would do."""
        for sid in self.sockets(Target()):
            session = self.emitter.session(sid)
            if session is not None:
                self._write(session, here=True)

    def persist_session(self, session: Session) -> None:
        """Keep the session of a socket that has left."""
        self._write(session, here=False)

    def _write(self, session: Session, *, here: bool) -> None:
        value = {
            "nsp": self.nsp,
            "sid": session.sid,
            "rooms": sorted(session.rooms),
            "data": session.data,
            "identity": session.identity,
            "replaced": session.replaced,
            "replayed": session.replayed,
            "node": self._backbone.node,
            "here": here,
        }
        self._broker.sessions[session.pid] = msgspec.msgpack.encode(value)

    def forget_session(self, pid: str) -> None:
        """Forget a session."""
        self._broker.sessions.pop(pid, None)

    async def restore_session(self, pid: str, offset: str | None, accept: Callable[[Session], bool]) -> Session | None:
        """Take a session, up to the packet that this server has read: the next one it delivers itself."""
        await asyncio.sleep(0)  # a broker is not asked in no time
        wire = self._broker.sessions.get(pid)
        if wire is None:
            return None
        kept = msgspec.msgpack.decode(wire)
        session = dataclasses.replace(self._read(pid, kept), missed=self._missed(kept, offset))
        if not accept(session):
            return None
        if self._broker.sessions.get(pid) != wire:
            return None  # somebody else was faster
        del self._broker.sessions[pid]
        if (
            kept["here"] and kept["node"] != self._backbone.node
        ):  # its server has not noticed that the connection is dead, or is dead itself
            take = {"kind": "take", "nsp": self.nsp, "from": self._backbone.node, "sid": session.sid}
            self._broker.publish(take, kept["node"])
        return session

    def _read(self, pid: str, kept: dict[str, Any]) -> Session:
        return Session(
            kept["sid"],
            pid,
            frozenset(kept["rooms"]),
            kept["data"],
            replayed=kept["replayed"],
            identity=kept["identity"],
            replaced=kept["replaced"],
            origin=kept["node"],
        )

    def _missed(self, kept: dict[str, Any], offset: str | None) -> list[Frames]:
        rooms = set(kept["rooms"])
        missed = []
        for message in self._broker.log.get(self.nsp, [])[_number(offset) : self._position]:
            target = _target(message["target"])
            if (target.rooms is None or rooms & target.rooms) and not rooms & target.except_:
                frames = self._frames(message)
                assert frames is not None
                missed.append(frames)
        return missed

    async def forget_sessions(self, belongs: Callable[[Session], bool]) -> int:
        """Forget the sessions for which ``belongs`` returns true."""
        theirs = []
        for pid, wire in self._broker.sessions.items():
            kept = msgspec.msgpack.decode(wire)
            if kept["nsp"] == self.nsp and not kept["here"] and belongs(self._read(pid, kept)):
                theirs.append(pid)
        for pid in theirs:
            del self._broker.sessions[pid]
        return len(theirs)

    def _message(self, kind: str, target: Target, **more: Any) -> Message:
        chosen = {
            "rooms": None if target.rooms is None else sorted(target.rooms),
            "except": sorted(target.except_),
            "volatile": target.volatile,
            "compress": target.compress,
        }
        return {"kind": kind, "nsp": self.nsp, "from": self._backbone.node, "target": chosen, **more}


async def _all_of(pending: Collection[asyncio.Future[None]]) -> None:
    for each in pending:
        await asyncio.shield(each)


def _target(chosen: dict[str, Any]) -> Target:
    rooms = chosen["rooms"]
    return Target(
        None if rooms is None else frozenset(rooms),
        frozenset(chosen["except"]),
        volatile=chosen["volatile"],
        compress=chosen["compress"],
    )


def _packet(nsp: str, args: str | list[Any], ack: int | None) -> Packet:
    data = msgspec.json.decode(args) if isinstance(args, str) else args
    return Packet(PacketType.EVENT, nsp, data, ack)


def _plain(handshake: Handshake) -> dict[str, Any]:
    found = {each.name: getattr(handshake, each.name) for each in dataclasses.fields(handshake)}
    return {name: dict(value) if hasattr(value, "items") else value for name, value in found.items()}


def _details(plain: dict[str, Any]) -> SocketDetails:
    return SocketDetails(plain["id"], Handshake(**plain["handshake"]), frozenset(plain["rooms"]), plain["data"])


def _number(offset: str | None) -> int:
    return int(offset.removeprefix(_PREFIX)) if offset else 0
