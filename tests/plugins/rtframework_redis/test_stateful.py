"""Three servers with ``RedisStreams``, clients that move between them, and faults, in any order, against a model.

All of the plugin is real, up to the bytes of its connections; Redis, the network and the time are simulated
(``tests.support.cluster.simulated_redis``), so that an hour of outages takes a second and runs the same way twice.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Coroutine, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import combinations, count
from random import Random
from typing import Any, ClassVar, Final

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rtframework import ClusterUnavailable, Packet, PacketType, Recovery, Target
from rtframework.cluster.stream_ids import parse_id
from rtframework.testing.conformance.cluster_nodes import NSP, ClusterNode, NodeDeliveries, offset_of
from rtframework.types import KeptPacket, KeptRoom
from rtframework_redis import RedisStreams
from tests.support.cluster.simulated_redis import SimulatedRedis, simulated
from tests.support.simulation import SimulatedLoop
from tests.support.thorough import examples, is_thorough

NODES: Final = 3
GAP: Final = -1
"""What a client has seen in the place of a gap: it has started anew, and knows that something may be missing."""
PUBLISH_TIMEOUT: Final = 1.0
ROOMS: Final = ("x", "y")

READER, WRITER = "XREAD", "XADD"


@dataclass
class Event:
    """What was emitted, and what became of it."""

    number: int
    node: str
    """The host of its server, another one after a crash."""
    target: Target
    began: dict[Client, int]
    """For each client that has to get it, how much it had seen before."""
    error: BaseException | None = None
    is_kept: bool = False
    """True if it is kept in the history of its rooms."""
    is_done: bool = False
    is_orphan: bool = False
    """True if its server has died: then nobody was told what became of it."""


@dataclass(eq=False)
class Client:
    """A client: it has one socket at a time, and goes on elsewhere with its private id and its last offset."""

    name: str
    rooms: frozenset[str]
    at: Server | None = None
    """The server that it is connected to; ``None`` while it is away."""
    sid: str = ""
    offset: str | None = None
    seen: list[int] = field(default_factory=list)
    came_at: float = 0.0
    left_at: float = 0.0
    is_returning: bool = False

    @property
    def pid(self) -> str:
        """Its private id."""
        return f"pid of {self.sid}"

    def selected(self, target: Target) -> bool:
        """Tell whether a target means it."""
        return (target.rooms is None or bool(target.rooms & self.rooms)) and not target.except_ & self.rooms

    def start_anew(self) -> None:
        """Take note of a gap, and forget the session."""
        self.seen.append(GAP)
        self.offset = None
        self.sid = ""


class Server(ClusterNode):
    """One server; ``generation`` grows each time it is started after a crash."""

    def __init__(self, number: int, generation: int, machine: Machine) -> None:
        self.machine = machine
        self.host = f"host{number}-{generation}"
        streams = RedisStreams(
            f"redis://{self.host}:6379",
            name=f"n{number}.{generation}",
            publish_timeout=PUBLISH_TIMEOUT,
            emitters=False,
            read_count=5,
        )
        super().__init__(f"n{number}", streams, Recovery(max_disconnection_duration=120))
        self.clients: dict[str, Client] = {}
        """By socket id: who is connected here."""

    @property
    def heard(self) -> Deliveries:
        """What its clients are sent."""
        found = self.emitters[NSP]
        assert isinstance(found, Deliveries)
        return found

    async def start(self) -> None:
        """Start, without a socket of its own."""
        await self.backbone.start()
        emitter = self.emitters[NSP] = Deliveries(self)
        emitter.adapter = adapter = self.backbone(NSP, emitter)
        self.adapters[NSP] = adapter
        await adapter.start()


class Deliveries(NodeDeliveries):
    """Gives events to the clients of one server."""

    def __init__(self, server: Server) -> None:
        super().__init__(NSP, server.backbone.node, Recovery(max_disconnection_duration=120))
        self.server = server
        self.linger = 5.0
        self.sent: list[int] = []
        """Events in the order in which they were sent to some socket here."""

    def send(self, sids: Any, packet: Any, *, frames: Any = None, **_: Any) -> None:
        """Let clients see an event."""
        it = packet() if callable(packet) else packet
        data = it.data
        if isinstance(it, KeptPacket):
            offset = data[-1]
            assert offset_of(frames, len(data) - 1) == offset
        else:
            offset = offset_of(frames, len(data))
        assert offset is not None
        self.sent.append(data[1])
        for sid in sids:
            client = self.server.clients.get(sid)
            if client is not None:
                client.seen.append(data[1])
                client.offset = offset

    def disconnect(self, sids: Any, close: bool, *, reason: str | None = None, persist: bool = True) -> None:
        """Let sockets go whose clients are elsewhere."""
        assert not persist
        for sid in sids:
            assert sid not in self.server.clients, "a client was taken from the server where it is"
            self._adapter.remove_all(sid)

    def session(self, sid: str) -> Any:
        """Return the state of a socket that is connected, or whose connection is not known to be dead."""
        return super().session(sid) if self._adapter.rooms(sid) else None

    def gap(self, since: float) -> None:
        """Let all clients start anew, as a namespace does."""
        super().gap(since)
        machine = self.server.machine
        machine.gaps += 1
        for client in list(self.server.clients.values()):
            machine.part(client, forget=True)
            client.start_anew()
            machine.loop.call_soon(machine.begin, machine.come(client, self.server))


targets = st.sampled_from(
    [
        Target(),
        Target(frozenset("x")),
        Target(frozenset("xy")),
        Target(frozenset("y"), frozenset("x")),
        Target(None, frozenset("y")),
    ]
)
servers = st.integers(0, NODES - 1)
SECONDS: Final = st.sampled_from([0.001, 0.003, 0.02, 0.2, 1.5, 4.0])


class Machine(RuleBasedStateMachine):
    """Random steps, and what must be true after each, and at the end."""

    taken: ClassVar[int] = 0
    """Steps that all machines have taken."""

    def __init__(self) -> None:
        super().__init__()
        logging.disable(logging.CRITICAL)  # thousands of outages
        self.stack = ExitStack()
        self.stack.callback(logging.disable, logging.NOTSET)
        self.loop = SimulatedLoop()
        self.stack.callback(self.loop.close)
        self.redis = SimulatedRedis(self.loop)
        self.stack.enter_context(simulated(self.loop, self.redis, Random(0).random))
        self.numbers, self.generations, self.sids = count(), count(), count()
        self.events: list[Event] = []
        self.clients: list[Client] = []
        self.nodes: list[Server] = []
        self.dead: list[Server] = []
        self.work: set[asyncio.Task[Any]] = set()
        self.failed: list[BaseException] = []
        self.gaps = 0
        self.failed_at = 0.0
        self.is_lossy = False

    # --- running ------------------------------------------------------------------------------------------------------

    def begin(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do something in the background."""
        task = self.loop.create_task(work)
        self.work.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self.work.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.failed.append(task.exception())  # type: ignore[arg-type]

    def run(self, work: Awaitable[Any]) -> Any:
        """Let time pass until something is done."""

        async def bounded() -> Any:
            async with asyncio.timeout(120):
                return await work

        return self.loop.run_until_complete(bounded())

    # --- steps --------------------------------------------------------------------------------------------------------

    @initialize(entries=st.integers(0, 2))
    def start(self, entries: int) -> None:
        """Start servers, on a stream that may have entries already, with clients."""
        for _ in range(entries):
            self.redis.add(b"uid", b"other", b"nsp", b"/", b"type", b"2")

        async def start() -> None:
            for number in range(NODES):
                node = Server(number, next(self.generations), self)
                await node.start()
                self.nodes.append(node)
                for rooms in ("", "x", "xy", "y")[number : number + 2]:
                    client = Client(f"c{len(self.clients)}", frozenset(rooms))
                    self.clients.append(client)
                    await self.come(client, node)

        self.run(start())
        self.redis.replicate()

    @rule(node=servers, whom=targets, number=st.integers(1, 8), is_kept=st.booleans())
    def emit(self, node: int, whom: Target, number: int, is_kept: bool = False) -> None:
        """Emit, to rooms with a history perhaps."""
        for _ in range(number):
            began = {client: len(client.seen) for client in self.clients if client.selected(whom)}
            event = Event(next(self.numbers), self.nodes[node].host, whom, began)
            event.is_kept = is_kept and whom.rooms is not None
            self.events.append(event)
            self.begin(self._emit(self.nodes[node], event))

    async def _emit(self, node: Server, event: Event) -> None:
        try:
            if event.is_kept:
                rooms = [KeptRoom(room, 10_000) for room in sorted(event.target.rooms or ())]
                packet = Packet(PacketType.EVENT, NSP, ["n", event.number])
                adapter: Any = node.adapter
                await adapter.history_keeper.broadcast(packet, event.target, rooms)
            else:
                await node.emit("n", event.number, target=event.target)
        except ClusterUnavailable as error:
            event.error = error
        event.is_done = True

    @rule(seconds=SECONDS)
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.run(asyncio.sleep(seconds))

    @rule(node=servers, seconds=SECONDS, number=st.integers(1, 4), pause=st.sampled_from([0.0, 0.0004, 0.002, 0.05]))
    def flood(self, node: int, seconds: float, number: int, pause: float) -> None:
        """Emit on all servers for a while."""

        async def run() -> None:
            for _ in range(number):
                for each in range(NODES):
                    self.emit((node + each) % NODES, Target(), 1)
                await asyncio.sleep(pause)

        self.run(run())
        self.run(asyncio.sleep(seconds))

    # --- clients ------------------------------------------------------------------------------------------------------

    def part(self, client: Client, *, forget: bool = False) -> None:
        """Let a server notice that a client has gone."""
        server = client.at
        assert server is not None
        del server.clients[client.sid]
        client.at = None
        client.left_at = self.loop.time()
        if forget:
            server.adapter.remove_all(client.sid)
            server.adapter.forget_session(client.pid)
        else:
            server.lose(client.sid)

    @rule(client=st.integers(0, 5), silently=st.booleans())
    def lose(self, client: int, silently: bool) -> None:
        """Let a client lose its connection; ``silently``: its server does not notice."""
        it = self.clients[client]
        if it.at is not None and silently:
            del it.at.clients[it.sid]
            it.at = None
            it.left_at = self.loop.time()
        elif it.at is not None:
            self.part(it)

    @rule(client=st.integers(0, 5), node=servers)
    def come_back(self, client: int, node: int) -> None:
        """Let a client that is away connect."""
        it, server = self.clients[client], self.nodes[node]
        if it.at is None and not it.is_returning and not server.adapter.rooms(it.sid):
            self.begin(self.come(it, server))

    @rule(client=st.integers(0, 5), node=servers, number=st.integers(1, 6))
    def move(self, client: int, node: int, number: int) -> None:
        """Let a client change servers while all emit."""
        self.lose(client, False)
        self.come_back(client, node)
        self.flood(node, 0.02, number, 0.0007)

    async def come(self, client: Client, server: Server) -> None:
        """Let a client in, recovered or anew."""
        if client.at is not None or client.is_returning:
            return
        session = None
        client.is_returning = True
        try:
            if client.sid:
                # A namespace asks, and puts the socket into its rooms before anything else can happen.
                session = await server.adapter.restore_session(client.pid, client.offset, lambda session: True)
        finally:
            client.is_returning = False
        if server in self.dead:
            client.start_anew()
            return
        if session is not None:
            assert session.rooms == {*client.rooms, client.sid}
            assert session.sid == client.sid
            for frames in session.missed:
                *_, number, offset = frames.packet.data  # type: ignore[attr-defined]
                client.seen.append(number)
                client.offset = offset
        else:
            if client.sid:
                # Not right after a fault: a gap of that time may be told a little later.
                quiet = client.came_at - self.failed_at > 5 and self.loop.time() - client.left_at < 100
                assert not quiet, "a client was not recovered, and nothing had failed"
            client.start_anew()
            client.sid = f"s{next(self.sids)}"
        client.at = server
        server.clients[client.sid] = client
        client.came_at = self.loop.time()
        await server.enter(client.sid, client.sid, *client.rooms)

    # --- faults -------------------------------------------------------------------------------------------------------

    @rule(node=servers, doing=st.sampled_from([READER, WRITER, None]))
    def cut(self, node: int, doing: str | None) -> None:
        """Break connections of a server."""
        self.failed_at = self.loop.time()
        for each in self.redis.of(self.nodes[node].host, doing):
            each.lose()

    @rule(node=servers)
    def lose_reply(self, node: int) -> None:
        """Break a connection when it has added an entry."""
        self.failed_at = self.loop.time()
        for each in self.redis.of(self.nodes[node].host, WRITER):
            each.loses_reply = True

    @rule(node=servers, number=st.integers(0, 8), seconds=SECONDS)
    def cut_while_emitting(self, node: int, number: int, seconds: float) -> None:
        """Break connections between an emit and its reply."""
        self.emit(node, Target(), number + 1)
        self.run(asyncio.sleep(0.0001 * number))
        self.cut(node, WRITER)
        self.emit((node + 1) % NODES, Target(), 1)
        self.run(asyncio.sleep(seconds))

    @rule(node=servers, seconds=SECONDS)
    def isolate(self, node: int, seconds: float) -> None:
        """Let nothing pass between a server and Redis for a while."""
        self.failed_at = self.loop.time()
        self.redis.isolate(self.nodes[node].host)
        self.flood(node, seconds, 2, 0.0004)
        self.redis.rejoin(self.nodes[node].host)
        self.failed_at = self.loop.time()

    @rule(node=servers, number=st.integers(0, 3), seconds=SECONDS)
    def trim_behind(self, node: int, number: int, seconds: float) -> None:
        """Cut the stream while a server cannot read."""
        self.failed_at = self.loop.time()
        self.is_lossy = True
        self.redis.isolate(self.nodes[node].host)
        self.flood((node + 1) % NODES, seconds, 2, 0.0004)
        self.redis.trim(number)
        self.redis.rejoin(self.nodes[node].host)
        self.failed_at = self.loop.time()

    @rule(node=servers)
    def deafen(self, node: int) -> None:
        """Let a server hear nothing on a connection that lives."""
        self.failed_at = self.loop.time()
        for each in self.redis.of(self.nodes[node].host, READER):
            each.drops = True

    @rule(seconds=SECONDS)
    def freeze(self, seconds: float) -> None:
        """Let Redis do nothing for a while."""
        self.failed_at = self.loop.time()
        self.redis.freeze()
        self.flood(0, seconds, 2, 0.002)
        self.redis.thaw()
        self.failed_at = self.loop.time()

    @rule(seconds=SECONDS, empty=st.booleans())
    def restart(self, seconds: float, empty: bool) -> None:
        """Restart Redis, with its data or without them."""
        self.failed_at = self.loop.time()
        self.redis.kill()
        if empty:
            self.is_lossy = True
            self.redis.empty()
        self.flood(1, seconds, 1, 0)
        self.redis.start()
        self.failed_at = self.loop.time()

    @rule()
    def replicate(self) -> None:
        """Let the replica catch up."""
        self.redis.replicate()

    @rule()
    def fail_over(self) -> None:
        """Let the replica take over, with what it has."""
        self.failed_at = self.loop.time()
        self.is_lossy = True
        self.redis.fail_over()

    @rule(node=servers, number=st.integers(1, 4), seconds=st.sampled_from([0.0005, 0.001, 0.0015, 0.002, 0.003]))
    def fail_over_while_emitting(self, node: int, number: int, seconds: float) -> None:
        """Let a replica take over that lacks what some servers have read, and some have not."""
        self.redis.replicate()
        self.emit(node, Target(), number)
        self.emit((node + 1) % NODES, Target(), number)
        self.run(asyncio.sleep(seconds))
        self.fail_over()

    @rule()
    def spoil(self) -> None:
        """Add entries that nobody understands."""
        self.redis.add(b"x", b"y")
        self.redis.add(b"uid", b"u", b"nsp", NSP.encode(), b"type", b"3", b"data", b"{")
        self.redis.add(b"uid", b"\xff", b"nsp", NSP.encode(), b"type", b"3", b"data", b"AAAA")

    @rule(node=servers)
    def crash(self, node: int) -> None:
        """Kill a server, and start another one in its place."""
        self.failed_at = self.loop.time()
        server = self.nodes[node]
        self.dead.append(server)
        self.redis.refused.add(server.host)
        for each in self.redis.of(server.host):
            each.lose()
        for client in list(server.clients.values()):
            del server.clients[client.sid]
            client.at = None
            client.left_at = self.loop.time()
        for event in self.events:
            event.is_orphan |= event.node == server.host and not event.is_done
        new = self.nodes[node] = Server(node, next(self.generations), self)

        async def start() -> None:
            while True:
                try:
                    await new.start()
                except ClusterUnavailable:
                    continue
                return

        self.run(start())

    # --- what must be true --------------------------------------------------------------------------------------------

    @invariant()
    def nothing_has_failed(self) -> None:
        """Something would have raised that no program expects."""
        Machine.taken += 1
        if self.failed:
            raise self.failed[0]

    @invariant()
    def nothing_is_doubled(self) -> None:
        """A client would get an event twice."""
        for client in self.clients:
            for segment in segments(client.seen):
                assert len(segment) == len(set(segment)), (client.name, segment)
        for node in self.nodes:
            sent = node.heard.sent  # also across gaps
            assert len(sent) == len(set(sent)), (node.name, sent)

    def teardown(self) -> None:
        """Heal everything, and see where each event is."""
        try:
            if self.nodes:
                self.heal()
                self.check()
        finally:
            self.run(self._stop())
            self.stack.close()

    def heal(self) -> None:
        """Let all clients come back and everything arrive."""

        async def settle() -> None:
            await asyncio.sleep(8)
            for number, client in enumerate(self.clients):
                while client.at is None:
                    server = self.nodes[number % NODES]
                    if server.adapter.rooms(client.sid):
                        server = self.nodes[(number + 1) % NODES]
                    await self.come(client, server)
                    await asyncio.sleep(0.1)
            await asyncio.sleep(3)

        self.run(settle())
        last = [next(self.numbers) for _ in self.nodes]
        for number, node in zip(last, self.nodes, strict=True):
            event = Event(number, node.host, Target(), {client: len(client.seen) for client in self.clients})
            self.events.append(event)
            self.begin(self._emit(node, event))
        self.run(asyncio.sleep(3))

    def check(self) -> None:
        """Check that each emit has ended in one of three ways, and the order."""
        self.nothing_has_failed()
        self.nothing_is_doubled()
        for event in self.events:
            assert event.is_done or event.is_orphan, (event.number, "has no outcome")
            for client in self.clients:
                if event.error is not None:
                    assert not getattr(event.error, "local", True)
                    is_known = not getattr(event.error, "uncertain", True)
                    assert not (is_known and event.number in client.seen), (event.number, client.name, "is there")
                if client not in event.began:
                    assert event.number not in client.seen, (event.number, client.name, "is not for this client")
                elif event.error is None and not event.is_orphan and self.is_known(event):
                    seen = client.seen[event.began[client] :]
                    assert event.number in seen or GAP in seen, (event.number, client.name, "is lost")
        self.check_order()
        self.check_history()
        assert self.is_lossy or not self.gaps, "a gap was told, and nothing was lost"

    def check_history(self) -> None:
        """Check that rooms have what was emitted to them, once and in the order in which clients have got it."""
        late = self.sent_again() if self.gaps else set()
        for room in ROOMS:
            found = self.redis.history(NSP, room)
            kept = [json.loads(data)["packet"]["data"][1] for _, data in found]
            assert len(kept) == len(set(kept)), (room, kept)
            assert [id for id, _ in found] == sorted((id for id, _ in found), key=parse_id)
            places = {number: place for place, number in enumerate(kept) if number not in late}
            for client in self.clients:
                for segment in segments(client.seen):
                    common = [places[number] for number in segment if number in places]
                    assert common == sorted(common), (room, client.name)
            for event in self.events:
                if not event.is_kept or room not in (event.target.rooms or ()):
                    assert event.number not in kept, (event.number, "is in a history and was not to be kept")
                elif event.error is not None and not getattr(event.error, "uncertain", True):
                    assert event.number not in kept, (event.number, "is in the history, and nobody has it")
                elif event.error is None and not event.is_orphan and not self.is_lossy:
                    assert event.number in kept, (event.number, "is missing in the history")

    def is_known(self, event: Event) -> bool:
        """Tell whether a server is left that could know that an event is lost: it has emitted it, or had it."""
        return any(node.host == event.node or event.number in node.heard.sent for node in self.nodes)

    def check_order(self) -> None:
        """Check that all clients have one order, and each server's events in that of its emits."""
        origin = {event.number: event.node for event in self.events}
        for client in self.clients:
            for segment in segments(client.seen):
                for name in {origin[number] for number in segment}:
                    own = [number for number in segment if origin[number] == name]
                    assert own == sorted(own), (client.name, name, own)
        # After a gap, what was on its way is sent again rather than lost: it then comes late to those who had not read
        # it, and others had it before. Without a gap there is one order, whatever was sent again.
        late = self.sent_again() if self.gaps else set()
        for first, second in combinations(self.clients, 2):
            for one in segments(first.seen):
                places = {number: place for place, number in enumerate(one) if number not in late}
                for other in segments(second.seen):
                    common = [places[number] for number in other if number in places]
                    assert common == sorted(common), (first.name, second.name, one, other)

    def sent_again(self) -> set[int]:
        """Return the events of entries that were marked as sent again."""
        found = set()
        for fields in self.redis.added:
            named = dict(zip(fields[::2], fields[1::2], strict=True))
            if b"a" in named and named[b"type"] == b"3":
                found.add(json.loads(named[b"data"])["packet"]["data"][1])
        return found

    async def _stop(self) -> None:
        for node in [*self.nodes, *self.dead]:
            await node.stop()
        for task in self.work:
            task.cancel()
        await asyncio.gather(*self.work, return_exceptions=True)


def segments(seen: list[int]) -> Iterator[list[int]]:
    """Split what a client has seen at its gaps."""
    found: list[int] = []
    for each in seen:
        if each == GAP:
            yield found
            found = []
        else:
            found.append(each)
    yield found


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=examples(240),
    stateful_step_count=40 if is_thorough() else 25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
TestMachine = pytest.mark.timeout(900)(TestMachine)  # what it finds, it makes small


@pytest.mark.parametrize("node", range(NODES))
def test_a_client_that_moves_before_a_gap_is_told_starts_anew(node: int) -> None:
    """An event that a failover has lost would be missing at a client that has just gone to the server which knows."""
    state = Machine()
    state.start(entries=0)
    state.trim_behind(node=0, number=0, seconds=0.001)
    state.lose_reply(node=0)
    state.trim_behind(node=1, number=0, seconds=0.001)
    state.restart(empty=False, seconds=1.5)
    state.freeze(seconds=0.02)
    state.trim_behind(node=0, number=0, seconds=0.2)
    state.crash(node=2)
    state.fail_over()
    state.cut_while_emitting(node=0, number=0, seconds=4.0)
    state.flood(node=0, number=1, pause=0.0, seconds=0.2)
    state.freeze(seconds=0.001)
    state.freeze(seconds=4.0)
    state.fail_over_while_emitting(node=0, number=1, seconds=0.0015)  # the first server has read what is lost
    state.crash(node=2)
    state.move(client=2, node=node, number=1)
    state.teardown()
