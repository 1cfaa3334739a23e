"""A parent and its adapter: what many namespaces do as one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from rtframework import (
    AckTimeout,
    ConfigurationError,
    EncodeError,
    MemoryAdapter,
    Namespace,
    Packet,
    PacketType,
    Server,
    Socket,
    Target,
    emits,
)
from rtframework.namespaces.host import Host
from rtframework.namespaces.parent import ParentNamespace
from rtframework.protocols import CallNext, Emitter, Session
from rtframework.types import AckResponses
from tests.support.clients import FakeClient, FakeEngine, Gate, make_host, turn


class Cluster(MemoryAdapter):
    """An adapter that pretends to have another server, and fails where the test says so."""

    broken: frozenset[str] = frozenset()
    late: frozenset[str] = frozenset()
    held: dict[str, Gate]
    log: list[Any]

    async def broadcast(self, packet: Packet, target: Target) -> None:
        if self.nsp in self.held:
            await self.held[self.nsp].wait()
        if self.nsp in self.broken:
            raise OSError(f"{self.nsp} has lost its connection")
        await super().broadcast(packet, target)

    async def server_side_emit(self, args: Sequence[Any]) -> None:
        if self.nsp in self.broken:
            raise OSError(f"{self.nsp} has lost its connection")
        self.log.append((self.nsp, list(args)))

    async def server_side_emit_with_ack(self, args: Sequence[Any], timeout: float) -> AckResponses:
        self.log.append((self.nsp, list(args), timeout))
        if self.nsp in self.late:
            raise AckTimeout(responses={"one": 1}, missing=["two"])
        return AckResponses({"one": 1, "two": 2})

    async def start(self) -> None:
        self.log.append(f"start {self.nsp}")

    async def close(self) -> None:
        self.log.append(f"close {self.nsp}")


class World:
    """A parent with two children and a client in each."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.held: dict[str, Gate] = {}
        self.engine = FakeEngine()
        self.kind: type[Cluster] = type("Adapter", (Cluster,), {"log": self.log, "held": self.held})
        self.host: Host = make_host(adapter=self.kind, engine=self.engine)
        parent = self.host.of("/{name}", None)
        assert isinstance(parent, ParentNamespace)
        self.parent = parent

    async def fill(self) -> World:
        """Have a client come into each child."""
        self.ada, self.bob = FakeClient(self.host, "ada"), FakeClient(self.host, "bob")
        for client, name in ((self.ada, "/a"), (self.bob, "/b")):
            assert await client.connect(name) == "connected"
            await client.socket(name).join("room", name)
        self.engine.encoded = 0
        return self

    def events(self) -> tuple[list[Any], list[Any]]:
        """Return what each of them was sent, without CONNECT."""
        return self.ada.heard("/a")[1:], self.bob.heard("/b")[1:]


# --- the parent -------------------------------------------------------------------------------------------------------


async def test_handlers_and_middleware_of_a_parent_come_first() -> None:
    """A guard of the parent would run after what it guards, or not at all in a child that is there already."""
    world = World()
    log: list[str] = []
    early = world.host.of("/early", None)

    def listen(namespace: Namespace, name: str) -> None:
        @namespace.use
        async def middleware(socket: Socket, call_next: CallNext) -> None:
            log.append(f"middleware of {name}")
            await call_next()

        @namespace.use_event
        async def event(socket: Socket, event: Any, call_next: CallNext) -> Any:
            log.append(f"event middleware of {name}")
            return await call_next()

        @namespace.on("x")
        async def x(socket: Socket) -> None:
            log.append(f"handler of {name}")

    listen(world.parent, "the parent")
    listen(early, "the child")
    late = world.host.of("/late", None)
    listen(late, "the child")
    assert early.middlewares[0] is late.middlewares[0] is world.parent.middlewares[0]
    assert early.event_middlewares[0] is late.event_middlewares[0] is world.parent.event_middlewares[0]
    for name in ("/early", "/late"):
        client = FakeClient(world.host)
        await client.connect(name)
        await client.ask("x", nsp=name)
        assert log == [
            f"{what} of {who}"
            for what in ("middleware", "event middleware", "handler")
            for who in ("the parent", "the child")
        ]
        log.clear()


async def test_what_is_seen_of_the_children() -> None:
    """A program that counts or looks for somebody would miss those who came later."""
    world = World()
    children, seen = world.parent.children, world.parent.sockets
    assert (len(world.parent), dict(children), dict(seen)) == (0, {}, {})
    assert world.parent
    await world.fill()
    assert set(children) == {"/a", "/b"}
    assert len(world.parent) == 2
    assert set(world.parent.sockets) == {"ada1", "bob1"}
    with pytest.raises(TypeError):
        children["/c"] = world.parent  # type: ignore[index]
    assert world.parent.label == "/{name}"
    assert children["/a"].label == "/{name}"
    remotes = {each.id: each for each in await world.parent.fetch_sockets()}
    await remotes["bob1"].emit("only you")
    assert world.events() == ([], [("event", "only you")])


def test_events_that_a_parent_emits_are_those_of_its_children() -> None:
    """A contract would tell two stories of one event."""

    @emits("own", int)
    class Own(Namespace): ...

    host = make_host()
    parent = host.of("/{name}", Own)
    child = host.of("/a", None)
    assert parent.declared.get("own") is not None
    parent.emits("later", str)
    assert child.declared.get("later") is not None
    with pytest.raises(ConfigurationError):
        child.emits("later", int)
    child.emits("mine", int)
    with pytest.raises(ConfigurationError):
        parent.emits("mine", str)


# --- its adapter ------------------------------------------------------------------------------------------------------


async def test_emitting() -> None:
    """Some children would be left out, or a packet carry the name of another namespace."""
    world = await World().fill()
    await world.parent.emit("all")
    await world.parent.to("room").emit("room")
    await world.parent.to("/b").emit("one")
    await world.parent.except_("/b").emit("other")
    await world.parent.to("bob1").emit("by id")
    assert world.events() == (
        [("event", "all"), ("event", "room"), ("event", "other")],
        [("event", "all"), ("event", "room"), ("event", "one"), ("event", "by id")],
    )


async def test_a_slow_or_broken_child_harms_no_other() -> None:
    """One namespace with a broken connection would silence all that come after it."""
    world = World()
    world.kind.broken = frozenset({"/a"})
    world.held["/a"] = Gate()
    await world.fill()
    emitting = asyncio.create_task(world.parent.emit("all"))
    await world.held["/a"].reached()
    await turn()
    assert world.events() == ([], [("event", "all")])
    assert not emitting.done()
    world.held["/a"].open()
    with pytest.raises(OSError, match="/a has lost its connection"):
        await emitting


async def test_a_mistake_shows_also_without_children() -> None:
    """An emit that cannot be sent would fail in production only, once somebody is there."""
    world = World()
    for emit in (world.parent.emit, world.parent.emit_with_ack):
        with pytest.raises(EncodeError):
            await emit("e", object())
    assert dict(await world.parent.emit_with_ack("q")) == {}
    await world.fill()
    world.engine.encoded = 0
    await world.parent.emit("e")
    assert world.engine.encoded == 2, "once for each child, whose name is in the packet"


async def test_asking() -> None:
    """The answers of one child would hide those of the others."""
    world = await World().fill()
    asking = asyncio.create_task(world.parent.timeout(60).emit_with_ack("q"))
    await turn()
    for client, nsp in ((world.ada, "/a"), (world.bob, "/b")):
        client.answer(client.questions(nsp)[0], nsp, nsp=nsp)
    assert dict(await asking) == {"ada1": "/a", "bob1": "/b"}
    asking = asyncio.create_task(world.parent.timeout(0.01).emit_with_ack("q"))
    await turn()
    world.ada.answer(world.ada.questions("/a")[1], "in time", nsp="/a")
    with pytest.raises(AckTimeout) as caught:
        await asking
    assert (dict(caught.value.responses), caught.value.missing) == ({"ada1": "in time"}, ("bob1",))


async def test_other_servers() -> None:
    """Events of a cluster would reach one child only; or the answer of one server hide its other children."""
    world = await World().fill()
    world.log.clear()
    await world.parent.server_side_emit("e", 1)
    assert world.log == [("/a", ["e", 1]), ("/b", ["e", 1])]
    world.log.clear()
    answers = await world.parent.server_side_emit_with_ack("q", timeout=3)
    assert dict(answers) == {"one/a": 1, "two/a": 2, "one/b": 1, "two/b": 2}
    assert world.log == [("/a", ["q"], 3), ("/b", ["q"], 3)]
    world.kind.late = frozenset({"/b"})
    with pytest.raises(AckTimeout) as caught:
        await world.parent.server_side_emit_with_ack("q")
    assert dict(caught.value.responses) == {"one/a": 1, "two/a": 2, "one/b": 1}
    assert caught.value.missing == ("two/b",)
    world.kind.broken = frozenset({"/a"})
    world.log.clear()
    with pytest.raises(OSError, match="/a"):
        await world.parent.server_side_emit("e")
    assert world.log == [("/b", ["e"])]


async def test_handlers_for_other_servers_of_a_parent() -> None:
    """A child would answer other servers without what its parent has to say."""
    world = World()
    log: list[str] = []
    child = world.host.of("/a", None)
    child.on_server_side("e")(lambda: log.append("child"))
    world.parent.on_server_side("e")(lambda: log.append("parent"))
    world.parent.on_server_side("f")(lambda: None)
    assert child._server_side_events() == ("e", "f")
    for handler in child._server_side_handlers("e"):
        handler(child, [])
    assert log == ["parent", "child"]


async def test_rooms_by_id_and_by_selection() -> None:
    """Sockets that are selected with the parent would not join, leave or be disconnected."""
    world = await World().fill()
    adapter = world.parent.adapter
    assert adapter.rooms("ada1") == {"ada1", "room", "/a"}
    assert adapter.rooms("nobody") == frozenset()
    adapter.add("ada1", ["x"])
    adapter.remove("ada1", ["room"])
    adapter.add("nobody", ["x"])
    adapter.remove("nobody", ["x"])
    assert world.ada.socket("/a").rooms == {"ada1", "x", "/a"}
    assert adapter.sockets(Target(frozenset({"x"}))) == ["ada1"]
    assert adapter.sockets(Target()) == ["ada1", "bob1"]
    await world.parent.sockets_join("y")
    assert sorted(adapter.sockets(Target(frozenset({"y"})))) == ["ada1", "bob1"]
    await world.parent.to("bob1").sockets_leave("y")
    assert adapter.sockets(Target(frozenset({"y"}))) == ["ada1"]
    assert [each.id for each in await world.parent.to("y").fetch_sockets()] == ["ada1"]
    assert adapter.remove_all("bob1") == {"bob1", "room", "/b"}
    assert adapter.remove_all("nobody") == frozenset()
    await world.parent.to("ada1").disconnect_sockets()
    assert world.ada.heard("/a")[-1] == ("disconnect",)
    assert world.ada.line.is_open
    assert set(world.parent.sockets) == {"bob1"}


async def test_listening_to_rooms_of_all_children() -> None:
    """Rooms of a child that is made later would be opened without a word."""
    world = World()
    adapter = world.parent.adapter
    log: list[tuple[str, ...]] = []

    @adapter.on("join_room")
    def joined(room: str, sid: str) -> None:
        log.append((room, sid))

    adapter.on("create_room")(print)
    await world.fill()
    assert ("room", "ada1") in log
    assert ("room", "bob1") in log
    log.clear()
    adapter.off("join_room", joined)
    adapter.off("join_room", joined)
    adapter.off("create_room", print)
    await world.parent.sockets_join("y")
    eve = FakeClient(world.host, "eve")
    await eve.connect("/c")
    assert log == []
    with pytest.raises(ConfigurationError):
        adapter.on("typo")


async def test_sessions_and_connections_are_the_children_s() -> None:
    """A session would be kept twice, or a child's connection be closed with its parent's."""
    world = await World().fill()
    adapter = world.parent.adapter
    world.log.clear()
    await adapter.start()
    await adapter.close()
    assert world.log == []
    adapter.persist_session(Session("ada1", "p", frozenset(), {}, None, None))
    assert await adapter.restore_session("p", None, lambda _: True) is None
    assert adapter.session_time() == 0


async def test_a_child_that_has_gone_is_forgotten() -> None:
    """Each namespace that a client has ever asked for would stay in memory, and be emitted to."""
    host = make_host(clean_up=True)
    parent = host.of("/{name}", None)
    await host.start()
    ada = FakeClient(host)
    await ada.connect("/a")
    child = host.namespaces["/a"]
    ada.depart("/a")
    assert dict(parent.children) == {}
    parent.on("later")(lambda socket: None)
    assert child.listeners("later") == ()
    assert await parent.fetch_sockets() == []


async def test_packets_of_a_child_are_its_own() -> None:
    """One child's id of a question would be that of another."""
    world = await World().fill()
    packet = Packet(PacketType.EVENT, "/{name}", ["e"])
    await world.parent.adapter.broadcast(packet, Target())
    assert packet == Packet(PacketType.EVENT, "/{name}", ["e"])
    assert world.events() == ([("event", "e")], [("event", "e")])


def test_whatever_a_namespace_can_do_a_parent_can() -> None:
    """What is registered with a parent, or asked of it, would be lost without a word."""
    of_all = {"use", "use_event", "children", "sockets"}
    by_the_adapter = {"adapter", "forget_sessions", "server_side_emit", "server_side_emit_with_ack"}
    by_inheritance = {"emits", "exception_handler", "on_server_side"}
    of_one = {"server", "label"}
    public = {name for name in vars(Namespace) if not name.startswith("_")}
    assert public == of_all | by_the_adapter | by_inheritance | of_one
    parent = type(Server().of("/{x}"))
    assert of_all | {"_audience_of"} <= set(vars(parent))
    assert not (public - of_all) & set(vars(parent))


async def test_events_of_other_servers_with_a_parent() -> None:
    """An event of another server would find no handler in a child, or its answers overwrite each other."""

    class Cluster(MemoryAdapter):
        """Two servers that know each other's emitters."""

        async def server_side_emit(self, args: Sequence[Any]) -> None:
            await others[self.nsp].serve(args)

        async def server_side_emit_with_ack(self, args: Sequence[Any], timeout: float) -> AckResponses:
            if args[0] == "slow":
                raise AckTimeout(responses={"other": 1} if self.nsp == "/a" else {}, missing=["third"])
            return AckResponses({"other": await others[self.nsp].serve(args)})

    others: dict[str, Emitter] = {}

    def there(nsp: str, emitter: Emitter) -> MemoryAdapter:
        others[nsp] = emitter
        return MemoryAdapter(nsp, emitter)

    here, other = Server(adapter=Cluster), Server(adapter=there)
    heard: list[Any] = []
    parents = [io.of("/{tenant}") for io in (here, other)]
    for io in (here, other):
        io.of("/a")

    @parents[1].on_server_side("clear")
    def clear(key: str) -> str:
        heard.append(key)
        return f"cleared {key}"

    other.of("/b")
    here.of("/b")

    @other.of("/b").on_server_side("clear")
    def clear_b(key: str) -> str:
        heard.append(f"{key} of b")
        return "b"

    await parents[0].server_side_emit("clear", "x")
    assert heard == ["x", "x", "x of b"]
    answers = await parents[0].server_side_emit_with_ack("clear", "y")
    assert dict(answers) == {"other/a": "cleared y", "other/b": "cleared y"}
    with pytest.raises(AckTimeout) as caught:
        await parents[0].server_side_emit_with_ack("slow")
    assert caught.value.responses == {"other/a": 1}
    assert sorted(caught.value.missing) == ["third/a", "third/b"]
