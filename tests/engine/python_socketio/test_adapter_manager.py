"""python-socketio programs and a program of ours, in one cluster over ``tests.support.backbone``."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import socketio
from aiohttp import web
from socketio.exceptions import DisconnectedError
from socketio.exceptions import TimeoutError as CallTimeout

from rtframework import (
    ClusterDown,
    ClusterGap,
    ClusterLoss,
    ClusterUnavailable,
    ClusterUp,
    ConfigurationError,
    EncodeError,
    MemoryAdapter,
    Readiness,
    Server,
    Target,
)
from rtframework.engine import AsyncServer, Manager
from rtframework.testing import TestClient, TestServer
from tests.support.backbone import Broker, FakeAdapter, FakeBackbone
from tests.support.in_process import NOT_ON_UVLOOP

pytestmark = NOT_ON_UVLOOP


@dataclass
class Drop:
    """A python-socketio program in the cluster, with what its handlers have heard."""

    backbone: FakeBackbone
    sio: AsyncServer
    gone: list[tuple[str, str]] = field(default_factory=list)
    server: TestServer = field(init=False)


@dataclass
class Cluster:
    """Two python-socketio programs, and one of ours."""

    broker: Broker
    one: Drop
    two: Drop
    io: Server
    server: TestServer

    async def clients(self, nsp: str = "/") -> tuple[TestClient, TestClient, TestClient]:
        """Return a client of each server."""
        return (
            await self.one.server.connect(nsp),
            await self.two.server.connect(nsp),
            await self.server.connect(nsp),
        )


def program(backbone: FakeBackbone, **options: Any) -> Drop:
    """A program that puts clients into the rooms that they ask for."""
    sio = AsyncServer(adapter=backbone, namespaces=["/", "/chat"], **options)
    drop = Drop(backbone, sio)

    @sio.on("connect", namespace="*")
    async def connect(nsp: str, sid: str, environ: dict[str, Any], auth: Any) -> None:
        for room in (auth or {}).get("rooms", ()):
            await sio.enter_room(sid, room, namespace=nsp)

    @sio.on("disconnect", namespace="*")
    async def disconnect(nsp: str, sid: str, reason: str) -> None:
        drop.gone.append((sid, reason))

    return drop


@contextlib.asynccontextmanager
async def cluster(**options: Any) -> AsyncIterator[Cluster]:
    """Run the three servers."""
    broker = Broker()
    async with contextlib.AsyncExitStack() as stack:
        drops = [program(FakeBackbone(broker, name), **options) for name in ("one", "two")]
        for drop in drops:
            drop.server = await stack.enter_async_context(TestServer(drop.sio))
        io = Server(adapter=FakeBackbone(broker, "ours"))
        io.of("/chat")

        @io.on("connection")
        async def connection(socket: Any) -> None:
            await socket.join(*socket.handshake.auth.get("rooms", ()))

        server = await stack.enter_async_context(TestServer(io))
        yield Cluster(broker, drops[0], drops[1], io, server)


async def until(condition: Callable[[], object]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the broker tells nobody
            await asyncio.sleep(0)


ARGUMENTS: Any = [(1, "é\U0001f600"), (b"\x00\xff", {"n": [b"deep"]}), ({"a": None}, [1.5])]


async def test_what_is_emitted_reaches_the_clients_of_all_servers() -> None:
    """A program on several servers would reach a third of its clients."""
    async with cluster() as found:
        one, two = found.one, found.two
        a = await one.server.connect(auth={"rooms": ["x"]})
        b = await two.server.connect(auth={"rooms": ["x", "y"]})
        c = await found.server.connect(auth={"rooms": ["y"]})
        other = await two.server.connect("/chat")
        for options, expected in (
            ({}, "abc"),
            ({"room": "x"}, "ab"),
            ({"to": ["x", "y"]}, "abc"),
            ({"to": {"y"}, "skip_sid": b.id}, "c"),
            ({"skip_sid": [a.id, c.id]}, "b"),
            ({"to": b.id}, "b"),
            ({"to": a.id}, "a"),
            ({"to": a.id, "skip_sid": a.id}, ""),
            ({"to": []}, ""),
            ({"to": "nobody"}, ""),
            ({"ignore_queue": True}, "a"),
        ):
            for args in ARGUMENTS:
                await one.sio.emit("news", args, **options)
                for name, client in {"a": a, "b": b, "c": c}.items():
                    if name in expected:
                        assert await client.receive("news") == args, (options, name)
        await one.sio.emit("news", "in the chat", namespace="/chat")
        assert await other.receive("news") == "in the chat"
        await found.io.to("x").emit("ours", b"\x01")
        await found.io.emit("last")
        assert await a.receive("ours") == await b.receive("ours") == b"\x01"
        for client in (a, b, c):
            assert (await client.receive_event()).event == "last"
        await other.receive_nothing()
        with pytest.raises(EncodeError):
            await one.sio.emit("news", object())
        with pytest.raises(EncodeError):
            await one.sio.emit("news", object(), to=b.id, callback=print)


async def test_a_program_with_its_own_packets_is_in_the_cluster() -> None:
    """A program with its own json module would have to give it up."""
    import json

    async with cluster(json=json) as found:
        b, c = await found.two.server.connect(), await found.server.connect()
        for args in ARGUMENTS:
            await found.one.sio.emit("news", args)
            assert await b.receive("news") == await c.receive("news") == args


async def test_clients_of_other_servers_are_asked() -> None:
    """An answer could only be had from those who happen to be on the same server."""
    async with cluster() as found:
        one = found.one
        a, b, c = await found.clients()
        for client in (a, b, c):
            client.on("question", lambda text: (text, 2))
            client.on("nothing", lambda: ())
            client.on("one", lambda: [b"\x01"])
        for client in (a, b, c):
            assert await one.sio.call("question", "why?", to=client.id) == ("why?", 2)
            assert await one.sio.call("nothing", sid=client.id) is None
            assert await one.sio.call("one", to=client.id) == [b"\x01"]
        answers: list[Any] = []
        for client in (a, b, c):
            await one.sio.emit("question", "x", to=client.id, callback=lambda *args: answers.append(args))
            await until(lambda: answers)
            assert [answers.pop()] == [("x", 2)]
        await one.sio.emit("question", "all", callback=lambda *args: answers.append(args))
        await until(lambda: len(answers) == 3)
        assert answers == [("all", 2)] * 3
        assert await one.sio.call("one", to=["nobody", c.id]) == [b"\x01"]
        assert dict(await found.io.emit_with_ack("nothing")) == dict.fromkeys((a.id, b.id, c.id))
        assert not one.sio.manager.callbacks
        assert not found.two.sio.manager.callbacks


async def test_a_question_ends_without_an_answer() -> None:
    """A program would wait for ever for a client that says nothing, or that has left."""
    async with cluster() as found:
        one = found.one
        a, b, c = await found.clients()
        for client in (b, c):
            with pytest.raises(CallTimeout):
                await one.sio.call("question", to=client.id, timeout=0.05)
            await client.receive("question")
            asking = asyncio.create_task(one.sio.call("question", to=client.id))
            await client.receive("question")
            await client.disconnect()
            with pytest.raises(DisconnectedError):
                await asking
        with pytest.raises(DisconnectedError):
            await one.sio.call("question", to="nobody")
        asking = asyncio.create_task(found.io.emit_with_ack("question"))
        await a.receive("question")
        await a.disconnect()
        answers = await asking
        assert (dict(answers), answers.missing) == ({}, (a.id,))
        assert not one.sio.manager.callbacks
        assert not found.two.sio.manager.callbacks


async def test_a_callback_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """One mistake in a callback would keep the others from being called, or nobody would hear of it."""
    async with cluster() as found:
        called: list[str] = []

        async def callback(*args: Any) -> None:
            called.append(args[0])
            raise RuntimeError("a mistake")

        for client in await found.clients():
            client.on("question", lambda: "yes")
        await found.one.sio.emit("question", callback=callback)
        await until(lambda: len(called) == 3)
        await until(lambda: "callback of an acknowledgement" in caplog.text)


async def test_rooms_are_changed_from_any_server() -> None:
    """A program would have to know on which server a client is before it moves it."""
    async with cluster() as found:
        one, two = found.one, found.two
        a, b, c = await found.clients()
        for client in (a, b, c):
            await one.sio.enter_room(client.id, "room")
        await until(lambda: one.sio.rooms(a.id) and "room" in two.sio.rooms(b.id))
        await until(lambda: "room" in found.io.sockets[c.id].rooms)
        await two.sio.emit("news", 1, room="room")
        assert [await client.receive("news") for client in (a, b, c)] == [1, 1, 1]
        await one.sio.leave_room(b.id, "room")
        await until(lambda: "room" not in two.sio.rooms(b.id))
        await one.sio.close_room("room")
        await until(lambda: "room" not in found.io.sockets[c.id].rooms)
        assert one.sio.rooms(a.id) == [a.id]
        await found.io.sockets_join(["late", "later"])
        await until(lambda: "later" in one.sio.rooms(a.id) and "later" in two.sio.rooms(b.id))
        await found.io.to("late").sockets_leave("later")
        await until(lambda: two.sio.rooms(b.id) == [b.id, "late"] and len(one.sio.rooms(a.id)) == 2)
        await one.sio.enter_room(b.id, None)
        await one.sio.leave_room(b.id, None)
        await one.sio.close_room(None)
        await one.sio.enter_room("nobody", "late")
        await two.sio.emit("last", room="late")
        for client in (a, b, c):
            assert (await client.receive_event()).event == "last"
        assert [sid for sid, _ in one.sio.manager.get_participants("/", "late")] == [a.id]


async def test_rooms_are_strings() -> None:
    """A room of another type would have members on one server only, and nobody would know."""
    async with cluster() as found:
        sio = found.one.sio
        client = await found.one.server.connect()
        for work in (
            lambda: sio.enter_room(client.id, 5),
            lambda: sio.enter_room("elsewhere", 5),
            lambda: sio.leave_room("elsewhere", 5),
            lambda: sio.emit("news", room=5),
            lambda: sio.emit("news", room=["x", 5]),
        ):
            with pytest.raises(ValueError, match="a room of a cluster is a string, not 5: write str"):
                await work()
        with pytest.raises(ValueError, match="cannot close a sid room"):
            await sio.close_room(client.id)
        assert sio.rooms(client.id) == [client.id]


async def test_a_client_is_disconnected_from_any_server() -> None:
    """Who throws somebody out would have to know on which server that is."""
    async with cluster() as found:
        one, two = found.one, found.two
        a, b, c = await found.clients()
        await one.sio.disconnect(b.id)
        await one.sio.disconnect(c.id)
        await found.io.to(a.id).disconnect_sockets()
        for client in (a, b, c):
            assert await client.receive_disconnect() == "io server disconnect"
        await until(lambda: one.gone and two.gone)
        assert (one.gone, two.gone) == ([(a.id, "server disconnect")], [(b.id, "server disconnect")])
        again = await two.server.connect()
        await found.io.disconnect_sockets(close=True)
        assert await again.receive_disconnect() in ("io server disconnect", "transport close")
        await until(lambda: not list(two.sio.manager.get_namespaces()))
        assert not adapter_of(two.sio).sockets(Target())
        await one.sio.disconnect("nobody")


def adapter_of(sio: AsyncServer, nsp: str = "/") -> FakeAdapter:
    """Return an adapter of a program."""
    adapter = sio.manager._adapters[nsp]
    assert isinstance(adapter, FakeAdapter)
    return adapter


async def test_other_servers_see_the_sockets() -> None:
    """``fetch_sockets`` would show the half of those who are there."""
    async with cluster() as found:
        two = found.two
        client = await two.server.connect("/chat", auth={"rooms": ["x"], "n": 1})
        await two.sio.save_session(client.id, {"secret": object()}, namespace="/chat")
        (socket,) = await found.io.of("/chat").fetch_sockets()
        assert (socket.id, socket.rooms, socket.data) == (client.id, frozenset({client.id, "x"}), {})
        assert socket.handshake.auth == {"rooms": ["x"], "n": 1}
        assert socket.handshake.nsp == "/chat"
        assert socket.handshake.address == two.sio.get_environ(client.id, "/chat")["REMOTE_ADDR"]
        assert await found.io.fetch_sockets() == []


async def test_who_leaves_is_in_no_room_of_the_cluster_and_its_handler_sees_its_rooms() -> None:
    """A disconnect handler could not say good-bye to the rooms of who has left."""
    async with cluster() as found:
        one = found.one
        seen: list[Any] = []

        @one.sio.on("disconnect", namespace="/")
        async def disconnect(sid: str, reason: str) -> None:
            seen.append((one.sio.rooms(sid), adapter_of(one.sio).sockets(Target())))
            await one.sio.enter_room(sid, "late")
            await one.sio.leave_room(sid, "late")
            await one.sio.emit("left", sid, room="x")

        other = await found.server.connect(auth={"rooms": ["x"]})
        client = await one.server.connect(auth={"rooms": ["x"]})
        await one.sio.enter_room(client.id, "x")
        await client.disconnect()
        assert await other.receive("left") == client.id
        assert seen == [([client.id, "x"], [])]
        await until(lambda: not list(one.sio.manager.get_namespaces()))


async def test_who_is_not_let_in_yet_gets_all_of_it_then() -> None:
    """What other servers emit while a connect handler runs would be lost, or come too early."""
    async with cluster() as found:
        one = found.one
        asked, decided = asyncio.Event(), asyncio.Event()
        sids = []

        @one.sio.on("connect", namespace="/")
        async def connect(sid: str, environ: dict[str, Any]) -> None:
            sids.append(sid)
            asked.set()
            await decided.wait()

        connecting = asyncio.create_task(one.server.connect())
        await asked.wait()
        await found.io.emit("news", 1)
        assert dict(await found.io.timeout(1).emit_with_ack("question")) == {}
        decided.set()
        client = await connecting
        assert await client.receive("news") == 1
        asked.clear()
        decided.clear()
        connecting = asyncio.create_task(one.server.connect())
        await asked.wait()
        await found.two.sio.disconnect(sids[1])  # it is refused, and its disconnect handler runs all the same
        with pytest.raises(Exception, match="rejected"):
            await connecting
        decided.set()
        await until(lambda: one.gone)
        assert one.gone == [(sids[1], "server disconnect")]
        await client.receive_nothing()


async def test_no_emit_is_lost_silently_while_the_broker_is_away(caplog: pytest.LogCaptureFixture) -> None:
    """A program would believe that everybody has heard it."""
    async with cluster() as found:
        one = found.one
        here, there = await one.server.connect(), await found.two.server.connect()
        found.broker.fail()
        assert not one.sio.manager.health.up
        with pytest.raises(ClusterUnavailable):
            await one.sio.emit("news", 1)
        with pytest.raises(ClusterUnavailable):
            await one.sio.call("question", to=there.id)
        with pytest.raises(ClusterUnavailable):
            await one.sio.enter_room(there.id, "x")
        await one.sio.emit("news", 2, to=there.id, callback=print)
        await until(lambda: one.sio.manager.lost)
        await one.sio.emit("news", 3, to=here.id)
        await one.sio.emit("news", 4, ignore_queue=True)
        assert [await here.receive("news") for _ in range(2)] == [3, 4]
        found.broker.recover()
        assert one.sio.manager.health.up
        await one.sio.emit("news", 5)
        assert await here.receive("news") == await there.receive("news") == 5
        assert "cannot be reached" in caplog.text
        assert "an emit of 'news' in / has not reached the other servers" in caplog.text


async def test_a_client_that_would_not_hear_the_others_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    """It would be there, and miss what all the others get."""
    async with cluster() as found:
        found.broker.up = False
        with pytest.raises(Exception, match="Unable to connect"):
            await found.one.server.connect()
        await until(lambda: not list(found.one.sio.manager.get_namespaces()))
        assert "refused a client of /: what other servers emit would not reach it" in caplog.text
        found.broker.up = True
        await found.one.server.connect()


async def test_the_program_sees_its_cluster() -> None:
    """A load balancer would send clients to a server that is alone, and the program could not tell that it is."""
    heard: list[Any] = []
    async with cluster() as found:
        sio = found.one.sio
        readiness = Readiness(sio, cluster_timeout=0.0001)
        for event in ("down", "up", "gap", "lost"):
            sio.cluster.on(event)(heard.append)
        await found.one.server.connect()
        assert (sio.cluster.node, sio.cluster.health.up, sio.is_serving, readiness.reason) == ("one", True, True, None)
        (here,) = await sio.cluster.nodes()
        assert (here.name, here.is_self, here.sockets) == ("one", True, 1)
        found.broker.fail()
        with pytest.raises(ClusterUnavailable):
            await sio.emit("news", 1)
        await asyncio.sleep(0.001)
        assert readiness.reason == "cluster"
        assert sio.cluster.down_for > 0
        found.broker.recover()
        found.broker.gap(0.0)
        await until(lambda: len(heard) == 4)
        assert [type(each) for each in heard] == [ClusterDown, ClusterLoss, ClusterUp, ClusterGap]
        assert (heard[1].event, heard[1].args) == ("news", (1,))
        assert sio.manager.lost == 1
    assert not sio.is_serving
    assert readiness.reason == "stopping"


def test_a_server_without_an_adapter_has_no_cluster() -> None:
    """A program with a manager of python-socketio's would be told that it is alone, and that all is well."""
    sio = AsyncServer()
    with pytest.raises(ConfigurationError, match="without an adapter has no cluster"):
        sio.cluster  # noqa: B018 - a property
    assert not sio.is_serving


async def test_events_for_servers_and_gaps_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """Events that nobody handles, and packets that are missing, would leave no trace."""
    async with cluster() as found:
        client = await found.one.server.connect()
        for _ in range(3):
            await found.io.server_side_emit("refresh", 1)
        assert dict(await found.io.server_side_emit_with_ack("refresh", timeout=1)) == {"one": None, "two": None}
        manager = found.one.sio.manager
        await until(lambda: manager.ignored == 4)
        lines = [each.getMessage() for each in caplog.records if "ignored an event" in each.getMessage()]
        assert len(lines) == 2
        assert "'refresh' in /: AsyncServer has no handlers for them" in lines[0]
        found.broker.gap(0.0)
        assert manager.gaps == 1
        await until(lambda: "packets of other servers may be missing in /" in caplog.text)
        await found.io.emit("news")
        await client.receive("news")


async def test_namespaces_of_clients_are_closed_when_all_have_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each name that a client makes up would take memory, and connections to Redis, for ever."""
    monkeypatch.setattr("rtframework.engine.python_socketio.adapter_table._IDLE", 0.01)
    broker = Broker()
    backbone = FakeBackbone(broker, "one")
    sio = AsyncServer(adapter=backbone, namespaces="*")
    sio.on("hello", lambda sid: "hi", namespace="/declared")
    async with TestServer(sio) as server:
        client = await server.connect("/made-up")
        assert set(backbone.adapters) == {"/", "/declared", "/made-up"}
        await client.disconnect()
        await until(lambda: "/made-up" not in backbone.adapters)
        client = await server.connect("/made-up")
        await sio.emit("news", 1, namespace="/made-up")
        assert await client.receive("news") == 1
        other = await server.connect("/declared")
        await other.disconnect()
        await until(lambda: "/declared" not in sio.manager._spaces)
        assert set(backbone.adapters) == {"/", "/declared", "/made-up"}
    assert not backbone.adapters
    assert not broker.backbones


async def test_a_program_is_served_again_and_on_two_ports() -> None:
    """A second application would start the connection to the cluster again, or stop it for the first."""
    broker = Broker()
    backbone = FakeBackbone(broker, "one")
    sio = AsyncServer(adapter=backbone)
    sio.on("hello", lambda sid: "hi")
    for _ in range(2):
        starts = backbone.starts
        async with TestServer(sio) as server:
            assert await (await server.connect()).emit_with_ack("hello") == "hi"
            app = web.Application()
            sio.attach(app)
            await sio.start()
            assert backbone.starts == starts + 1
        assert not broker.backbones


async def test_an_application_does_not_start_without_its_cluster() -> None:
    """A server would run beside the others, and nobody would notice."""
    broker = Broker()
    backbone = FakeBackbone(broker, "one")
    sio = AsyncServer(adapter=backbone)
    broker.up = False
    app = web.Application()
    sio.attach(app)
    runner = web.AppRunner(app)
    with pytest.raises(ClusterUnavailable):
        await runner.setup()
    await runner.cleanup()
    assert not backbone.adapters


async def test_an_adapter_without_other_servers_changes_nothing() -> None:
    """A program could not be tried with the adapter of one process."""
    sio = AsyncServer(adapter=MemoryAdapter)
    async with TestServer(sio) as server:
        client = await server.connect()
        await sio.enter_room(client.id, "x")
        await sio.emit("news", 1, room="x")
        assert await client.receive("news") == 1
        assert (sio.manager.node, sio.manager.health.up) == ("", True)


def test_mistakes_are_told_where_they_are_made() -> None:
    """A program would start, and fail with the first client."""
    backbone = FakeBackbone(Broker(), "one")
    with pytest.raises(ConfigurationError, match="leave out one of them"):
        AsyncServer(socketio.AsyncManager(), adapter=backbone)
    with pytest.raises(ConfigurationError, match=r"write adapter=FakeBackbone\(\.\.\.\)"):
        AsyncServer(backbone)
    with pytest.raises(ConfigurationError, match="adapter is no URL"):
        AsyncServer(adapter="redis://localhost")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="is no adapter"):
        AsyncServer(adapter=lambda nsp, emitter: object())  # type: ignore[arg-type,return-value]


def test_a_program_without_an_adapter_has_the_manager_that_it_had() -> None:
    """Every emit of every program would pay for what few use."""
    assert type(AsyncServer().manager) is Manager
