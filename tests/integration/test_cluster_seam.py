"""Several servers as one, over the seam for adapters alone: ``tests.support.backbone`` is the broker."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from rtframework import (
    AckTimeout,
    ClusterUnavailable,
    ConfigurationError,
    ConnectionRefused,
    EncodeError,
    EventError,
    FetchTimeout,
    Handshake,
    Limits,
    Recovery,
    Server,
    Socket,
    Target,
)
from rtframework.protocols import CallNext, Serializer
from rtframework.testing import TestClient, TestServer
from rtframework_msgpack import MsgpackSerializer
from tests.support.backbone import Broker, FakeAdapter, FakeBackbone
from tests.support.in_process import NOT_ON_UVLOOP
from tests.support.values import PLAIN, SERIALIZER, VALUES, check_between_servers, hook

pytestmark = NOT_ON_UVLOOP


@dataclass
class Node:
    """One server of a cluster."""

    backbone: FakeBackbone
    io: Server
    server: TestServer = field(init=False)

    def adapter(self, nsp: str = "/") -> FakeAdapter:
        """Return its adapter of a namespace."""
        adapter = self.io.of(nsp).adapter
        assert isinstance(adapter, FakeAdapter)
        return adapter


@dataclass
class Cluster:
    """Some servers, a broker, and what the servers have heard."""

    broker: Broker
    nodes: list[Node]

    def __iter__(self) -> Any:
        return iter(self.nodes)

    def __getitem__(self, number: int) -> Node:
        return self.nodes[number]


@contextlib.asynccontextmanager
async def cluster(
    count: int = 2, prepare: Callable[[Server, str], object] | None = None, **options: Any
) -> AsyncIterator[Cluster]:
    """Run some servers: n0, n1 …"""
    broker = Broker()
    nodes = []
    async with contextlib.AsyncExitStack() as stack:
        for number in range(count):
            backbone = FakeBackbone(broker, f"n{number}")
            node = Node(backbone, Server(adapter=backbone, **options))
            if prepare is not None:
                prepare(node.io, backbone.node)
            node.server = await stack.enter_async_context(TestServer(node.io))
            nodes.append(node)
        yield Cluster(broker, nodes)


async def quiet(*clients: TestClient) -> None:
    """Check that clients have received nothing, after all that was emitted before had its time."""
    for client in clients:
        await client.receive_nothing()


async def until(condition: Callable[[], object]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the broker tells nobody
            await asyncio.sleep(0)


async def gone(node: Node) -> None:
    """Wait until a server has noticed that its last client has gone."""
    await until(lambda: not node.io.sockets)


def move(client: TestClient, node: Node) -> None:
    """Have a client connect to another server the next time."""
    client._network = node.server


# --- emits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recovery", [None, Recovery()])
@pytest.mark.parametrize("serializer", [None, MsgpackSerializer()])
async def test_every_selector_selects_on_all_servers(recovery: Recovery | None, serializer: Any) -> None:
    """A room would end at the server that its members happen to be on."""

    def prepare(io: Server, node: str) -> None:
        @io.on("connection")
        async def connection(socket: Socket) -> None:
            await socket.join(*socket.handshake.auth["rooms"])

    async with cluster(2, prepare, connection_state_recovery=recovery, serializer=serializer) as (one, two):
        a = await one.server.connect(auth={"rooms": ["x"]})
        b = await two.server.connect(auth={"rooms": ["x", "y"]})
        c = await two.server.connect(auth={"rooms": ["y"]})
        socket = one.io.sockets[a.id]
        for emitter, expected in (
            (one.io, "abc"),
            (two.io, "abc"),
            (one.io.to("x"), "ab"),
            (one.io.to("x", "y"), "abc"),
            (one.io.to("y").except_("x"), "c"),
            (one.io.except_(b.id), "ac"),
            (one.io.to(c.id), "c"),
            (one.io.local, "a"),
            (one.io.to("x").volatile, "ab"),
            (one.io.compress(False), "abc"),
            (socket.broadcast, "bc"),
            (socket.to("x"), "b"),
            (one.io.to([]), ""),
        ):
            for args in ((1, "é\U0001f600"), (b"\x00\xff", {"n": [b"deep"]})):
                await emitter.emit("news", *args)
                for name, client in {"a": a, "b": b, "c": c}.items():
                    if name in expected:
                        assert await client.receive("news") == args
        await quiet(a, b, c)
        with pytest.raises(EncodeError):
            await one.io.emit("news", object())
        await one.io.emit("last")
        assert (await b.receive_event()).event == "last"


async def test_catch_alls_see_what_other_servers_emit() -> None:
    """A log of what goes out would lack all that comes from other servers."""
    async with cluster() as (one, two):
        client = await two.server.connect()
        seen: list[tuple[Any, ...]] = []
        two.io.on_any_outgoing(lambda socket, *args: seen.append((socket.id, *args)))
        await one.io.emit("news", 1)
        assert await client.receive("news") == 1
        assert seen == [(client.id, "news", 1)]


async def test_the_order_is_that_of_the_broker() -> None:
    """Two people would see one conversation in two orders."""
    async with cluster(3, connection_state_recovery=Recovery()) as nodes:
        clients = [await node.server.connect() for node in nodes]
        await asyncio.gather(*(node.io.emit("n", number, i) for i in range(20) for number, node in enumerate(nodes)))
        heard = [[await client.receive("n") for _ in range(60)] for client in clients]
        assert heard[0] == heard[1] == heard[2]
        for number in range(3):
            assert [i for of, i in heard[0] if of == number] == list(range(20))


async def test_nobody_has_what_cannot_be_published() -> None:
    """A program would not know whether to emit again."""
    async with cluster() as nodes:
        one, two = nodes
        clients = [await one.server.connect(), await two.server.connect()]
        told: list[Any] = []
        one.io._host.cluster.hear(lambda *event: told.append(event))
        nodes.broker.fail()
        assert not one.backbone.health.up
        with pytest.raises(ClusterUnavailable) as caught:
            await one.io.emit("news", 1)
        assert not caught.value.local
        await one.io.local.emit("news", 2)
        assert await clients[0].receive("news") == 2
        nodes.broker.recover()
        await one.io.emit("news", 3)
        assert [await client.receive("news") for client in clients] == [3, 3]
        await quiet(*clients)
        assert told == [("down",), ("up",)]


# --- answers ----------------------------------------------------------------------------------------------------------


async def test_answers_are_collected_from_all_servers() -> None:
    """A vote would be counted on one server alone."""
    async with cluster(3) as nodes:
        clients = [await node.server.connect() for node in nodes]
        for number, client in enumerate(clients):
            client.on("vote", lambda number=number: number)
        votes = await nodes[0].io.timeout(5).emit_with_ack("vote")
        assert dict(votes) == {client.id: number for number, client in enumerate(clients)}
        assert dict(await nodes[0].io.local.emit_with_ack("vote")) == {clients[0].id: 0}
        (remote,) = await nodes[0].io.to(clients[2].id).fetch_sockets()
        assert await remote.emit_with_ack("vote") == 2


async def test_a_server_that_dies_is_not_waited_for() -> None:
    """A question without a time would wait for ever for clients that nobody has any more."""
    async with cluster() as nodes:
        one, two = nodes
        here, there = await one.server.connect(), await two.server.connect()
        here.on("vote", lambda: "yes")
        asking = asyncio.create_task(one.io.emit_with_ack("vote"))
        await there.receive("vote")
        await until(lambda: one.adapter()._collectors and not next(iter(one.adapter()._collectors.values()))._servers)
        nodes.broker.leave("n1")
        votes = await asking
        assert (dict(votes), votes.missing) == ({here.id: "yes"}, ("n1",))


async def test_sockets_of_all_servers_are_described() -> None:
    """A list of who is there would be short by those of the other servers, and would not say so."""
    async with cluster(3) as nodes:
        clients = [await node.server.connect(auth={"n": number}) for number, node in enumerate(nodes)]
        nodes[1].io.sockets[clients[1].id].data["name"] = "ada"
        found = {each.id: each for each in await nodes[0].io.fetch_sockets()}
        assert found.keys() == {client.id for client in clients}
        assert found[clients[1].id].data == {"name": "ada"}
        assert found[clients[2].id].handshake.auth == {"n": 2}
        assert [each.id for each in await nodes[0].io.local.fetch_sockets()] == [clients[0].id]
        nodes[2].backbone.freeze()
        with pytest.raises(FetchTimeout) as caught:
            await nodes[0].io.timeout(0.05).fetch_sockets()
        assert {each.id for each in caught.value.sockets} == {client.id for client in clients[:2]}
        assert caught.value.missing == ("n2",)
        await caught.value.sockets[0].emit("news", 1)
        assert await clients[0].receive("news") == 1
        parent = nodes[0].io.of("/chat/{tenant}")
        nodes[0].io.of("/chat/acme")
        with pytest.raises(FetchTimeout) as caught:
            await parent.timeout(0.05).fetch_sockets()
        assert caught.value.missing == ("n2",)
        nodes[2].backbone.frozen.set()
        assert await parent.fetch_sockets() == []


# --- rooms ------------------------------------------------------------------------------------------------------------


async def test_join_returns_when_other_servers_reach_the_room() -> None:
    """What is sent after a join was acknowledged would be lost now and then."""
    async with cluster() as nodes:
        one, two = nodes
        client, other = await two.server.connect(), await two.server.connect()
        nodes.broker.open.clear()
        joins = [
            asyncio.create_task(two.io.sockets[client.id].join("x")),
            asyncio.create_task(two.io.sockets[other.id].join("x")),
            asyncio.create_task(two.io.to(client.id).local.sockets_join("y")),
        ]
        await until(lambda: "x" in two.io.sockets[other.id].rooms and "y" in two.io.sockets[client.id].rooms)
        await one.io.to("x").emit("too early")
        assert not any(join.done() for join in joins)
        await two.io.to("x").emit("local")
        assert (await client.receive_event()).event == "local"
        nodes.broker.open.set()
        await asyncio.gather(*joins)
        await one.io.to("x").emit("in time")
        assert (await client.receive_event()).event == "in time"
        await two.io.sockets[client.id].leave("x", "y")
        await two.io.sockets[other.id].leave("x")
        before = nodes.broker.sent
        await one.io.to("x").emit("nobody")
        assert nodes.broker.sent == before + 1, "a room that nobody is in costs other servers nothing"


async def test_a_client_is_in_when_other_servers_reach_it() -> None:
    """A client that hears "connected" and tells another would miss the answer to it."""
    log: list[str] = []

    def prepare(io: Server, node: str) -> None:
        @io.on("connection")
        async def connection(socket: Socket) -> None:
            log.append("handler")

    async with cluster(2, prepare) as nodes:
        one, two = nodes
        nodes.broker.open.clear()
        connecting = asyncio.create_task(two.server.connect())
        await until(lambda: two.adapter().sockets(Target()))
        await asyncio.sleep(0.01)
        assert not connecting.done()
        assert log == []
        nodes.broker.open.set()
        client = await connecting
        assert log == ["handler"]
        await one.io.to(client.id).emit("hello")
        assert (await client.receive_event()).event == "hello"


async def test_a_client_that_goes_meanwhile_leaves_nothing() -> None:
    """Who hangs up while the broker is slow would stay in rooms, and its handlers would run for nobody."""
    log: list[str] = []

    def prepare(io: Server, node: str) -> None:
        io.on("connection")(lambda socket: log.append("connection"))
        io.on("disconnect")(lambda socket, reason: log.append("disconnect"))

    async with cluster(1, prepare) as nodes:
        (one,) = nodes
        nodes.broker.open.clear()
        connecting = asyncio.create_task(one.server.connect())
        await until(lambda: len(one.io.of("/")))
        one.server._connections[-1].engine.cut(False)
        await until(lambda: not len(one.io.of("/")))
        nodes.broker.open.set()
        with pytest.raises(Exception, match=r"."):
            await connecting
        assert log == []
        assert not one.adapter().index.all_rooms()
        assert one.io.stats().connects["gone"] == 1


async def test_a_client_that_cannot_be_reached_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    """A client would be told that it is in, and hear nothing of the other servers."""
    async with cluster() as nodes:
        one, _ = nodes
        nodes.broker.open.clear()
        connecting = asyncio.create_task(one.server.connect())
        await until(lambda: len(one.io.of("/")))
        nodes.broker.fail()
        nodes.broker.open.set()
        with pytest.raises(ConnectionRefused):
            await connecting
        assert not one.adapter().index.all_rooms()
        assert "unhandled error while a client connects" in caplog.text
        nodes.broker.recover()
        client = await one.server.connect()
        nodes.broker.open.clear()
        joining = asyncio.create_task(one.io.sockets[client.id].join("x"))
        await asyncio.sleep(0)
        nodes.broker.fail()
        nodes.broker.open.set()
        with pytest.raises(ClusterUnavailable):
            await joining
        assert "x" in one.io.sockets[client.id].rooms
        nodes.broker.recover()


async def test_sockets_of_other_servers_join_leave_and_go() -> None:
    """An administrator could move and ban only those who happen to be on the same server."""
    reasons: list[str] = []

    def prepare(io: Server, node: str) -> None:
        io.on("disconnect")(lambda socket, reason: reasons.append(reason))

    async with cluster(2, prepare, limits=Limits(max_rooms=3)) as (one, two):
        client, other = await two.server.connect(), await two.server.connect()
        (remote,) = [each for each in await one.io.fetch_sockets() if each.id == client.id]
        await remote.join("x", "y")
        await until(lambda: two.io.sockets[client.id].rooms == {client.id, "x", "y"})
        await one.io.to("x").sockets_leave("y")
        await until(lambda: two.io.sockets[client.id].rooms == {client.id, "x"})
        with pytest.raises(EventError):
            await two.io.local.sockets_join("b", "c")
        assert "b" in two.io.sockets[other.id].rooms, "one that is refused harms no other"
        await one.io.to("x").disconnect_sockets(reason="banned")
        assert await client.receive_disconnect() == "io server disconnect"
        await one.io.disconnect_sockets(close=True)
        await other.receive_disconnect()
        assert reasons == ["banned", "server namespace disconnect"]


# --- between servers --------------------------------------------------------------------------------------------------


async def test_servers_talk_to_each_other() -> None:
    """A cache on one server could not be cleared from another."""
    heard: list[Any] = []

    def prepare(io: Server, node: str) -> None:
        @io.on_server_side("clear")
        def clear(key: str) -> str:
            heard.append((node, key))
            return node

    async with cluster(3, prepare) as nodes:
        await nodes[0].io.server_side_emit("clear", "a")
        await until(lambda: len(heard) == 2)
        assert sorted(heard) == [("n1", "a"), ("n2", "a")]
        answers = await nodes[0].io.server_side_emit_with_ack("clear", "b")
        assert dict(answers) == {"n1": "n1", "n2": "n2"}
        nodes[2].backbone.freeze()
        with pytest.raises(AckTimeout) as caught:
            await nodes[0].io.server_side_emit_with_ack("clear", "c", timeout=0.05)
        assert (caught.value.responses, caught.value.missing) == ({"n1": "n1"}, ("n2",))
        nodes[2].backbone.frozen.set()


async def test_dynamic_namespaces_come_and_go_on_one_backbone() -> None:
    """Each namespace of a tenant would need a connection of its own, or hear nothing of the other servers."""

    def prepare(io: Server, node: str) -> None:
        io.of("/chat/{tenant}")

    async with cluster(2, prepare, cleanup_empty_child_namespaces=True) as nodes:
        one, two = nodes
        for _ in range(3):
            a, b = await one.server.connect("/chat/acme"), await two.server.connect("/chat/acme")
            other = await two.server.connect("/chat/other")
            await one.io.of("/chat/{tenant}").emit("news", 1)
            assert (await a.receive("news"), await b.receive("news")) == (1, 1)
            await two.io.of("/chat/{tenant}").to(a.id).emit("news", 2)
            assert await a.receive("news") == 2
            await quiet(other, b)
            for client in (a, b, other):
                await client.disconnect()
            await until(lambda: set(one.backbone.adapters) == set(two.backbone.adapters) == {"/"})
        assert (one.backbone.starts, two.backbone.starts) == (1, 1)


# --- the backbone -----------------------------------------------------------------------------------------------------


async def test_an_application_does_not_start_without_its_backbone() -> None:
    """A server would serve clients that no other server can reach, and nobody would know."""
    broker = Broker()
    backbone = FakeBackbone(broker, "n0")
    io = Server(adapter=backbone)
    broker.up = False
    with pytest.raises(ClusterUnavailable, match="the broker is down"):
        async with TestServer(io):
            pass
    broker.up = True
    for times in (1, 2):  # and again, with another application
        async with TestServer(io) as server:
            client = await server.connect()
            await io.emit("news", times)
            assert await client.receive("news") == times
            assert list(broker.backbones) == ["n0"]
        assert backbone.starts == times
        assert not broker.backbones


def test_a_backbone_in_another_event_loop() -> None:
    """A test suite, or a program that is reloaded, could start its server once."""
    io = Server(adapter=FakeBackbone(Broker(), "n0"))

    async def serve() -> None:
        async with TestServer(io) as server:
            client = await server.connect()
            await io.emit("news", 1)
            assert await client.receive("news") == 1

    for _ in range(2):
        asyncio.run(serve())


def test_the_class_of_a_backbone_is_no_factory() -> None:
    """The first client would find that there is no connection, in place of the one who wrote the program."""
    with pytest.raises(ConfigurationError, match=r"adapter=FakeBackbone\(\.\.\.\)"):
        Server(adapter=FakeBackbone)  # type: ignore[arg-type]


# --- recovery ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class User:
    """What the authenticator returns."""

    id: str


class Users:
    """An authenticator that believes everybody."""

    async def authenticate(self, handshake: Handshake) -> User:
        return User(handshake.auth.get("user", "ada"))


def lobby(io: Server, node: str) -> None:
    """Put whoever is new into a room."""

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        if not socket.recovered:
            socket.data["came"] = node
            await socket.join("lobby")


async def test_a_session_moves_from_one_server_to_another() -> None:
    """A client whose load balancer sends it elsewhere would lose what it missed, and its rooms."""
    async with cluster(2, lobby, auth=Users(), connection_state_recovery=Recovery()) as (one, two):
        alice = await one.server.connect()
        before = alice.id
        await two.io.to("lobby").emit("news", 1)
        assert await alice.receive("news") == 1
        for here, there in ((one, two), (two, one), (one, two)):
            await alice.lose_connection()
            await gone(here)
            await here.io.to("lobby").emit("news", "missed")
            await here.io.to("elsewhere").emit("news", "not for it")
            await there.io.to("lobby").emit("news", b"missed")
            move(alice, there)
            await alice.reconnect()
            assert (alice.recovered, alice.id) == (True, before)
            assert [await alice.receive("news") for _ in range(2)] == ["missed", b"missed"]
            socket = there.io.sockets[before]
            assert (socket.data, socket.user) == ({"came": "n0"}, User("ada"))
            assert socket.rooms == {before, "lobby", "$user:ada"}
            await here.io.to("lobby").emit("news", "again")
            assert await alice.receive("news") == "again"
            await quiet(alice)


async def test_a_session_during_a_flood() -> None:
    """What is emitted at the moment of the hand-over would be lost, or come twice."""
    async with cluster(2, lobby, connection_state_recovery=Recovery()) as (one, two):
        alice = await one.server.connect()
        total = 0

        async def flood(node: Node, count: int = 40) -> None:
            nonlocal total
            for _ in range(count):
                total += 1
                await node.io.to("lobby").emit("n", total)
                await asyncio.sleep(0)

        for node in (two, one, two):
            flooding = [asyncio.create_task(flood(each)) for each in (one, two)]
            await asyncio.sleep(0)
            await alice.lose_connection()
            move(alice, node)
            await alice.reconnect()
            await asyncio.gather(*flooding)
            assert alice.recovered
        numbers = sorted([await alice.receive("n") for _ in range(total)])
        assert numbers == list(range(1, total + 1))
        await quiet(alice)


async def test_a_session_comes_to_a_server_that_lags() -> None:
    """What that server has not read yet would be sent twice: as missed, and when it is read."""
    async with cluster(2, lobby, connection_state_recovery=Recovery()) as (one, two):
        alice = await one.server.connect()
        await alice.lose_connection()
        await gone(one)
        await one.io.to("lobby").emit("n", 1)
        await until(lambda: two.adapter()._position == 1)
        two.backbone.freeze()
        await one.io.to("lobby").emit("n", 2)
        move(alice, two)
        await alice.reconnect()
        assert alice.recovered
        await one.io.to("lobby").emit("n", 3)
        two.backbone.frozen.set()
        assert [await alice.receive("n") for _ in range(3)] == [1, 2, 3]
        await quiet(alice)


async def test_a_ghost_goes_when_another_server_continues_it() -> None:
    """Somebody in a tunnel would be there twice, and a session would be written down by a server that has lost it."""
    reasons: list[str] = []

    def prepare(io: Server, node: str) -> None:
        lobby(io, node)
        io.on("disconnect")(lambda socket, reason: reasons.append(f"{node} {reason}"))

    async with cluster(2, prepare, connection_state_recovery=Recovery()) as nodes:
        one, two = nodes
        alice = await one.server.connect()
        alice._connection.engine.cut(True)  # nobody is told
        alice.disconnect_reason = "it has noticed itself"
        one.io.sockets[alice.id].data["late"] = True
        one.adapter().renew_sessions()
        move(alice, two)
        await alice.reconnect()
        assert alice.recovered
        assert two.io.sockets[alice.id].data == {"came": "n0", "late": True}
        await gone(one)
        await until(lambda: reasons)
        assert reasons == ["n0 transport close"]
        assert list(nodes.broker.sessions) == [alice._pid]
        await one.io.to("lobby").emit("news", 1)
        assert await alice.receive("news") == 1
        await alice.disconnect()
        await until(lambda: not nodes.broker.sessions)


async def test_the_clients_of_a_server_that_was_killed() -> None:
    """A crash of one server would cost all its clients their state, though another could go on."""
    async with cluster(2, lobby, connection_state_recovery=Recovery()) as nodes:
        one, two = nodes
        alice = await one.server.connect()
        nodes.broker.leave("n0")
        await one.backbone.kill()
        await two.io.to("lobby").emit("news", "missed")
        alice._connection.engine.cut(True)
        alice.disconnect_reason = "the server was killed"
        move(alice, two)
        await alice.reconnect()
        assert alice.recovered
        assert await alice.receive("news") == "missed"


async def test_another_user_does_not_take_a_session() -> None:
    """Who has seen a pid would read along; and the owner would lose it to the attempt."""
    async with cluster(2, lobby, auth=Users(), connection_state_recovery=Recovery()) as nodes:
        one, two = nodes
        alice = await one.server.connect(auth={"user": "ada"})
        await alice.lose_connection()
        await gone(one)
        kept = dict(nodes.broker.sessions)
        mallory = await two.server.connect(auth={"user": "mallory", "pid": alice._pid})
        assert mallory.id != alice.id
        assert {pid: nodes.broker.sessions[pid] for pid in kept} == kept, "it stays, as it was"
        assert two.io.stats().recoveries["another_user"] == 1
        move(alice, two)
        await alice.reconnect()
        assert alice.recovered
        await alice.lose_connection()
        await until(lambda: len(two.io.sockets) == 1)
        assert await one.io.forget_sessions("ada") == 1
        await alice.reconnect()
        assert not alice.recovered


async def test_middleware_that_makes_the_user_runs_again() -> None:
    """On another server ``socket.user`` would be what the authenticator returned, without the program's own."""
    ran: list[str] = []

    def prepare(io: Server, node: str) -> None:
        lobby(io, node)

        @io.use
        async def load(socket: Socket, call_next: CallNext) -> None:
            ran.append(node)
            if socket.handshake.auth.get("load"):
                socket.user = SimpleNamespace(name="Ada")
            await call_next()

    recovery = Recovery(skip_middlewares=True)
    async with cluster(2, prepare, auth=Users(), connection_state_recovery=recovery) as (one, two):
        for load in (True, False):
            ran.clear()
            alice = await one.server.connect(auth={"load": load})
            await alice.lose_connection()
            await gone(one)
            move(alice, two)
            await alice.reconnect()
            assert alice.recovered
            assert two.io.sockets[alice.id].user == (SimpleNamespace(name="Ada") if load else User("ada"))
            assert ran == (["n0", "n1"] if load else ["n0"])
            await alice.disconnect()


async def test_a_session_is_used_once() -> None:
    """Two tabs with one pid would share a socket's id, on two servers."""
    async with cluster(2, lobby, connection_state_recovery=Recovery()) as (one, two):
        alice = await one.server.connect()
        await alice.lose_connection()
        await gone(one)
        tabs = [await node.server.connect(auth={"pid": alice._pid}) for node in (one, two)]
        assert [tab.id for tab in tabs] == [alice.id, alice.id], "who comes last is the client"
        await until(lambda: not tabs[0].connected)
        await gone(one)
        assert list(two.io.sockets) == [alice.id]
        await tabs[1].lose_connection()
        await gone(two)
        both = await asyncio.gather(
            *(node.adapter().restore_session(str(alice._pid), None, lambda _: True) for node in (one, two))
        )
        assert [each is None for each in both].count(False) == 1


@pytest.mark.parametrize("skip_middlewares", [True, False])
async def test_a_client_that_comes_back_twice(skip_middlewares: bool) -> None:
    """Two connections would be one socket, and the end of the first be that of the second."""

    def prepare(io: Server, node: str) -> None:
        lobby(io, node)

        @io.use
        async def slow(socket: Socket, call_next: CallNext) -> None:
            await asyncio.sleep(0)
            await call_next()

    recovery = Recovery(skip_middlewares=skip_middlewares)
    async with cluster(2, prepare, connection_state_recovery=recovery) as (one, two):
        alice = await one.server.connect()
        await alice.lose_connection()
        await gone(one)
        tabs = await asyncio.gather(
            *(one.server.connect(auth={"pid": alice._pid}) for _ in range(3)), return_exceptions=True
        )
        await two.io.to("lobby").emit("news", 1)
        heard = 0
        for tab in tabs:
            if isinstance(tab, TestClient) and tab.connected and tab.id == alice.id:
                assert await tab.receive("news") == 1
                heard += 1
        assert heard == 1
        assert one.io.sockets[alice.id].connected


async def test_what_was_refused_after_all_is_given_back() -> None:
    """A client whose middleware fails for a moment would have lost its session for good."""
    fails = True

    def prepare(io: Server, node: str) -> None:
        lobby(io, node)

        @io.use
        async def check(socket: Socket, call_next: CallNext) -> None:
            if fails and socket.recovered:
                raise ConnectionRefused("not now")
            await call_next()

    recovery = Recovery(skip_middlewares=False)
    async with cluster(2, prepare, connection_state_recovery=recovery) as (one, two):
        alice = await one.server.connect()
        await alice.lose_connection()
        await gone(one)
        move(alice, two)
        with pytest.raises(ConnectionRefused):
            await alice.reconnect()
        fails = False
        await one.io.to("lobby").emit("news", 1)
        await alice.reconnect()
        assert alice.recovered
        assert await alice.receive("news") == 1


@pytest.mark.parametrize("seed", range(12))
async def test_clients_that_wander_miss_nothing(seed: int) -> None:
    """Somebody would lose an event, or get it twice, in some order of emits, losses, moves and others' attempts."""
    chance = random.Random(seed)

    def prepare(io: Server, node: str) -> None:
        @io.on("connection")
        async def connection(socket: Socket) -> None:
            if not socket.recovered:
                await socket.join(*socket.handshake.auth["rooms"])

    async with cluster(3, prepare, auth=Users(), connection_state_recovery=Recovery()) as nodes:
        clients: list[TestClient] = []
        wanted: list[set[str]] = []
        expected: list[list[int]] = []
        for number in range(4):
            rooms = chance.sample("xyz", 2)
            auth = {"user": f"u{number}", "rooms": rooms}
            clients.append(await chance.choice(nodes.nodes).server.connect(auth=auth))
            wanted.append({*rooms, clients[-1].id})
            expected.append([])
        refused = 0
        for step in range(120):
            number = chance.randrange(len(clients))
            client, node, what = clients[number], chance.choice(nodes.nodes), chance.random()
            if what < 0.6:
                room = chance.choice(["x", "y", "z", *(each.id for each in clients), None])
                args = (step, chance.choice(["text", b"bytes"]), step)
                await (node.io if room is None else node.io.to(room)).emit("n", *args)
                for each, names in enumerate(wanted):
                    if room is None or room in names:
                        expected[each].append(step)
            elif what < 0.8 and client.connected:
                silently = chance.random() < 0.5
                await client.lose_connection(silently=silently)
                if silently:
                    client.disconnect_reason = "it has noticed itself"
            elif what < 0.85 and not client.connected:
                thief = await node.server.connect(auth={"user": "mallory", "rooms": [], "pid": client._pid})
                assert thief.id != client.id
                refused += 1
                await thief.disconnect()
            elif not client.connected:
                move(client, node)
                await client.reconnect()
                assert client.recovered
        for number, client in enumerate(clients):
            if not client.connected:
                move(client, nodes[0])
                await client.reconnect()
            assert [(await client.receive("n"))[0] for _ in expected[number]] == expected[number]
            await quiet(client)
        assert all(node.io.stats().recoveries["not_found"] == 0 for node in nodes)
        assert sum(node.io.stats().recoveries["another_user"] for node in nodes) == refused


@pytest.mark.parametrize("serializer", [SERIALIZER, MsgpackSerializer(enc_hook=hook)])
async def test_values_of_the_programs_own_types_are_sent(serializer: Serializer) -> None:
    """A program with models would work on one server, and fail on two."""
    async with cluster(serializer=serializer) as nodes:
        clients = [await node.server.connect() for node in nodes]
        await nodes[0].io.emit("bytes", *VALUES, b"x")
        for client in clients:
            assert [*await client.receive("bytes")] == [*PLAIN, b"x"]
            client.on("ask")(lambda *args: len(args))
        answers = await nodes[0].io.timeout(5).emit_with_ack("ask", *VALUES, b"x")
        assert dict(answers) == {each.id: len(VALUES) + 1 for each in clients}
        await check_between_servers(nodes[0].io, nodes[1].io)
