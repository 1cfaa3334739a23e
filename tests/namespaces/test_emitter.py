"""The reach of an adapter: what it may do to the sockets of its namespace on this server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Any

import pytest

from rtframework import (
    ClusterUnavailable,
    Disconnected,
    EncodeError,
    EventError,
    Handshake,
    MemoryAdapter,
    Packet,
    PacketType,
    Recovery,
    Socket,
)
from rtframework.namespaces.emitter import NamespaceEmitter
from rtframework.namespaces.host import Host
from rtframework.protocols import CallNext
from tests.support.backbone import Broker, FakeAdapter, FakeBackbone
from tests.support.clients import (
    FakeClient,
    FakeEngine,
    Gate,
    assert_nothing_left,
    held_clock,
    idle,
    make_host,
    turn,
)
from tests.support.in_process import NOT_ON_UVLOOP


class Users:
    """An authenticator that knows one user."""

    async def authenticate(self, handshake: Handshake) -> str:
        return "the user"


class World:
    """A namespace with two clients, and the emitter that its adapter has."""

    def __init__(self, **limits: Any) -> None:
        self.engine = FakeEngine()
        self.host: Host = make_host(engine=self.engine, **limits)
        self.main = self.host.of("/", None)
        self.emitter = NamespaceEmitter(self.main, self.engine)
        self.ada, self.bob = FakeClient(self.host, "ada"), FakeClient(self.host, "bob")

    async def fill(self) -> World:
        """Have both come."""
        for client in (self.ada, self.bob):
            await client.connect()
        self.engine.encoded = 0
        return self


def event(name: str, *args: Any) -> Packet:
    """Make the packet of an event."""
    return Packet(PacketType.EVENT, "/", [name, *args])


async def test_a_packet_is_encoded_once() -> None:
    """A broadcast would cost CPU time for each receiver; one to nobody would hide a mistake until somebody is there."""
    world = await World().fill()
    assert world.emitter.send(["ada1", "bob1", "gone"], event("e")) is None
    assert world.engine.encoded == 1
    assert world.ada.heard()[1:] == world.bob.heard()[1:] == [("event", "e")]
    assert world.ada.line.sent[-1] is world.bob.line.sent[-1]
    with pytest.raises(EncodeError):
        world.emitter.send([], event("e", object()))


async def test_frames_know_their_rooms() -> None:
    """A protocol whose messages name a room could not say where one comes from."""
    world = await World().fill()
    sids = list(world.main.sockets)
    for rooms in (None, frozenset("ab")):
        world.emitter.send(sids, event("hello"), rooms=rooms)
        (sent,) = {id(client.line.sent[-1]): client.line.sent[-1] for client in (world.ada, world.bob)}.values()
        assert getattr(sent, "rooms", None) == rooms
    asked = world.emitter.ask(sids, event("sure?"), rooms=("a",))
    assert getattr(world.ada.line.sent[-1], "rooms", None) == ("a",)
    for each in asked.values():
        each.cancel()


async def test_frames_of_the_adapter_s_own() -> None:
    """A client would be sent the packet without what the adapter has added to it."""
    world = await World().fill()
    frames = world.emitter.encode(event("e", "offset"), compress=False)
    assert not frames.compress
    world.emitter.send(["ada1"], event("e"), frames=frames)
    assert world.ada.heard()[1:] == [("event", "e", "offset")]
    world.ada.line.is_slow = True
    world.emitter.send(["ada1", "bob1"], event("v"), volatile=True, compress=False)
    assert world.ada.line.dropped == {"volatile": 1}
    assert not world.bob.line.sent[-1].compress


async def test_emitters_wait_for_slow_clients() -> None:
    """A program that emits in a loop would fill the memory."""
    world = await World().fill()
    world.engine.congestion = asyncio.get_running_loop().create_future()
    for emit in (world.main.emit("e"), world.ada.socket().emit("e")):
        emitting = asyncio.create_task(emit)
        await turn()
        assert not emitting.done()
        world.engine.congestion.set_result(None)
        await emitting
        world.engine.congestion = asyncio.get_running_loop().create_future()
    assert len(world.ada.heard()) == 3


async def test_asking() -> None:
    """An answer that does not come would keep a socket's memory, or who has left keep everybody waiting."""
    world = await World().fill()
    socket = world.ada.socket()
    asked = world.emitter.ask(["ada1", "bob1", "gone"], event("q"))
    assert set(asked) == {"ada1", "bob1"}
    assert world.engine.encoded == 1
    (id,) = world.ada.questions()
    assert world.bob.questions() == [id]
    world.ada.answer(id, 1, 2)
    world.bob.drop()
    assert await asked["ada1"] == [1, 2]
    with pytest.raises(Disconnected):
        await asked["bob1"]
    again = world.emitter.ask(["ada1"], event("q"))
    again["ada1"].cancel()
    await turn()
    assert not socket._acks
    with pytest.raises(EncodeError):
        world.emitter.ask(["ada1"], event("q", object()))
    await turn()
    assert not socket._acks


async def test_who_is_not_in_yet_is_not_asked() -> None:
    """Everybody would wait for a client that cannot answer before its connection handler has ended."""
    world = World()
    gate = Gate()

    @world.main.on("connection")
    async def connection(socket: Socket) -> None:
        await gate.wait()

    coming = asyncio.create_task(world.ada.connect())
    await gate.reached()
    assert world.emitter.ask(["ada1"], event("q")) == {}
    assert [each.id for each in world.emitter.describe(["ada1"])] == ["ada1"]
    gate.open()
    await coming
    assert world.ada.questions() == []


async def test_rooms() -> None:
    """One socket with too many rooms would keep all that come after it out."""
    world = await World(max_rooms=3).fill()
    await world.ada.socket().join("x", "y")
    with pytest.raises(EventError, match="at most 3 rooms"):
        world.emitter.join(["ada1", "gone", "bob1"], ["z"])
    assert world.ada.socket().rooms == {"ada1", "x", "y"}
    assert world.bob.socket().rooms == {"bob1", "z"}
    world.emitter.leave(["bob1", "gone", "ada1"], ["z", "y", "nowhere"])
    assert world.ada.socket().rooms == {"ada1", "x"}
    assert world.bob.socket().rooms == {"bob1"}
    world.bob.socket().data["n"] = 1
    ((details),) = world.emitter.describe(["bob1", "gone"])
    assert (details.id, details.handshake.nsp, details.data) == ("bob1", "/", {"n": 1})
    assert details.data is world.bob.socket().data


async def test_disconnecting() -> None:
    """Somebody who is banned on all servers would stay on this one."""
    world = await World().fill()
    world.emitter.disconnect(["ada1", "gone"], False)
    world.emitter.disconnect(["bob1"], True)
    assert (world.ada.heard()[-1], world.ada.line.is_open) == (("disconnect",), True)
    assert world.bob.line.closed == "server namespace disconnect"
    assert not world.main.sockets


async def test_events_of_other_servers(caplog: pytest.LogCaptureFixture) -> None:
    """One handler that fails, or awaits a task that it has cancelled, would take the answer of the others with it."""
    world = World()
    log: list[Any] = []

    @world.main.on_server_side("e")
    def plain(number: int) -> None:
        log.append(number)

    @world.main.on_server_side("e")
    async def fails(number: int) -> str:
        raise RuntimeError("a mistake of the program")

    @world.main.on_server_side("e")
    async def cancels(number: int) -> str:
        raise asyncio.CancelledError

    @world.main.on_server_side("e")
    async def first(number: int) -> str:
        await asyncio.sleep(0)
        return "first"

    @world.main.on_server_side("e")
    def second(number: int) -> str:
        log.append("second")
        return "not this"

    world.main.on_server_side(7)(lambda number: number + 1)
    assert await world.emitter.serve([7, 1]) == await world.emitter.serve(["7", 1]) == 2
    assert await world.emitter.serve(["e", 1]) == "first"
    assert log == [1, "second"]
    assert len(caplog.records) == 2
    assert await world.emitter.serve(["nobody listens"]) is None
    caplog.clear()
    assert await world.emitter.serve(["e", "no number"]) is None
    assert len(caplog.records) == 5


async def test_a_packet_that_is_made_when_it_is_needed() -> None:
    """What comes from other servers would be decoded for nobody, at twice the cost."""
    world = await World().fill()
    frames = world.emitter.splice('["e",1]', "offset")
    made: list[Packet] = []

    def make() -> Packet:
        made.append(event("e", 1))
        return made[-1]

    world.emitter.send(["ada1"], make, frames=frames)
    assert made == []
    seen: list[Any] = []
    world.main.on_any_outgoing(lambda socket, *args: seen.append(args))
    world.emitter.send(["ada1"], make, frames=frames)
    assert (len(made), seen) == (1, [("e", 1)])
    assert world.ada.heard()[1:] == [("event", "e", 1, "offset")] * 2
    assert world.emitter.text(event("e", 1)) == '["e",1]'


async def test_what_an_adapter_knows_of_its_server() -> None:
    """An adapter could not keep sessions as long as the program wants, nor say whose they are."""
    world = World()
    assert (world.emitter.recovery, world.emitter.linger, world.emitter.node) == (None, 45.0, "")
    backbone = FakeBackbone(Broker(), "n7")
    recovery = Recovery()
    host = make_host(adapter=backbone, recovery=recovery)
    adapter = host.of("/", None).adapter
    assert isinstance(adapter, FakeAdapter)
    assert (adapter.emitter.recovery, adapter.emitter.node) == (recovery, "n7")


async def test_the_state_of_a_session_now() -> None:
    """What a program has written into ``socket.data`` would be lost with the process."""
    host = make_host(recovery=Recovery(), auth=Users())
    main = host.of("/", None)
    emitter = NamespaceEmitter(main, host.engine)
    ada = FakeClient(host, "ada")
    gate = Gate()
    main.on("connection")(lambda socket: gate.wait())
    coming = asyncio.create_task(ada.connect())
    await gate.reached()
    assert emitter.session("ada1") is None, "its client does not know how to ask for it yet"
    gate.open()
    await coming
    socket = ada.socket()
    await socket.join("x")
    socket.data["n"] = 1
    session = emitter.session("ada1")
    assert session is not None
    assert (session.pid, session.data) == (socket._pid, {"n": 1})
    assert session.rooms == {"ada1", "x", "$user:the user"}
    assert (session.identity, session.replaced, session.origin) == ("the user", False, None)
    socket.user = object()
    assert (session := emitter.session("ada1")) is not None
    assert session.replaced
    assert emitter.session("gone") is None
    assert NamespaceEmitter((await World().fill()).main, host.engine).session("ada1") is None


async def test_a_reason_of_the_program_s_own() -> None:
    """A program could not tell a ban from a client that it has sent away for the night."""
    world = await World().fill()
    reasons: dict[str, str] = {}
    world.main.on("disconnect")(lambda socket, reason: reasons.update({socket.id: reason}))
    world.emitter.disconnect(["ada1"], False, reason="banned")
    world.emitter.disconnect(["bob1"], True, reason="transport close")
    assert (world.ada.heard()[-1], world.bob.line.closed) == (("disconnect",), "server namespace disconnect")
    await idle(world.host)
    assert reasons == {"ada1": "banned", "bob1": "transport close"}
    assert not world.main._membership._told


async def test_a_reason_does_not_make_a_session() -> None:
    """Who is banned "because of transport close" would be back by recovery."""
    host = make_host(recovery=Recovery())
    main = host.of("/", None)
    ada = FakeClient(host)
    await ada.connect()
    pid = ada.socket()._pid
    await ada.socket().disconnect(reason="transport close")
    assert await main.adapter.restore_session(str(pid), None, lambda _: True) is None


@pytest.mark.parametrize("close", [False, True])
async def test_a_socket_that_another_server_continues(close: bool) -> None:
    """Its session would be written down here, over the one that is in use."""
    host = make_host(recovery=Recovery())
    main = host.of("/", None)
    emitter = NamespaceEmitter(main, host.engine)
    reasons: list[str] = []
    main.on("disconnect")(lambda socket, reason: reasons.append(reason))
    ada = FakeClient(host, "ada")
    await ada.connect()
    pid, heard = ada.socket()._pid, ada.heard()
    emitter.disconnect([ada.socket().id, "gone"], close, persist=False)
    await idle(host)
    assert reasons == ["transport close"]
    assert ada.heard() == heard, "its client is told nothing"
    assert ada.line.closed == ("transport close" if close else None)
    assert await main.adapter.restore_session(str(pid), None, lambda _: True) is None
    assert_nothing_left(host)


@NOT_ON_UVLOOP
async def test_a_gap_ends_sessions(caplog: pytest.LogCaptureFixture) -> None:
    """A client would take what it has for complete, and never hear what it has missed."""
    host = make_host(recovery=Recovery())
    main = host.of("/", None)
    emitter = NamespaceEmitter(main, host.engine)
    told: list[Any] = []
    host.cluster.hear(lambda *event: told.append(event))
    async with held_clock() as clock:
        clients = [FakeClient(host, f"c{number}") for number in range(20)]
        for client in clients:
            await client.connect()
        gone = clients.pop()
        pids = [str(client.socket()._pid) for client in clients]
        emitter.gap(12.5)
        assert told == [("gap", "/", 12.5)]
        assert all(client.line.is_open for client in clients), "not all at once"
        clients[0].drop()  # before its turn has come: it does not come back to its session either
        gone.drop()
        await clock.advance(2.5)
        open_now = sum(client.line.is_open for client in clients)
        assert 0 < open_now < len(clients) - 1
        await clock.advance(2.6)
        assert {client.line.closed for client in clients[1:]} == {"missed packets"}
    for pid in pids:
        assert await main.adapter.restore_session(pid, None, lambda _: True) is None
    assert not main._membership.by_pid


async def test_a_gap_while_a_session_is_restored() -> None:
    """A client would be told that it has all that it missed."""
    host = make_host(recovery=Recovery(skip_middlewares=False))
    main = host.of("/", None)
    emitter = NamespaceEmitter(main, host.engine)
    ada = FakeClient(host)
    await ada.connect()
    pid = ada.socket()._pid
    ada.drop()
    gate = Gate()

    @main.use
    async def middleware(socket: Socket, call_next: CallNext) -> None:
        await gate.wait()
        await call_next()

    again = FakeClient(host, "again")
    coming = asyncio.create_task(again.connect("/", {"pid": pid}))
    await gate.reached()
    emitter.gap(0.0)
    assert again.line.closed == "missed packets"
    gate.open()
    await asyncio.gather(coming, return_exceptions=True)
    assert again.heard() == []
    assert_nothing_left(host)


async def test_without_recovery_a_gap_closes_nobody() -> None:
    """Everybody would be thrown out for packets that they would have lost anyway with any bad network."""
    world = await World().fill()
    world.emitter.gap(0.0)
    world.emitter.state(False)
    await turn()
    assert world.ada.line.is_open


class Waits(MemoryAdapter):
    """An adapter whose rooms can be reached later."""

    async def _later(self, fails: bool) -> None:
        await asyncio.sleep(0)
        if fails:
            raise ClusterUnavailable

    def add(self, sid: str, rooms: Iterable[str]) -> Awaitable[None] | None:
        rooms = list(rooms)
        super().add(sid, rooms)
        return asyncio.ensure_future(self._later("broken" in rooms)) if "now" not in rooms else None

    def remove(self, sid: str, rooms: Iterable[str]) -> Awaitable[None] | None:
        super().remove(sid, rooms)
        return asyncio.ensure_future(self._later(False))


async def test_rooms_that_are_waited_for() -> None:
    """An answer to a remote join would be sent before the room can be reached."""
    world = await World(adapter=Waits, max_rooms=4).fill()
    emitter = NamespaceEmitter(world.main, world.engine)
    assert emitter.join(["ada1", "bob1"], ["now"]) is None
    for sids in (["ada1"], ["ada1", "bob1"]):
        entering = emitter.join(sids, ["x"])
        assert entering is not None
        await entering
        leaving = emitter.leave(sids, ["x"])
        assert leaving is not None
        await leaving
    await world.ada.socket().join("y", "z")
    entering = emitter.join(["ada1", "bob1"], ["x"])
    assert entering is not None
    with pytest.raises(EventError, match="at most 4 rooms"):
        await entering
    assert "x" in world.bob.socket().rooms
    with pytest.raises(ClusterUnavailable):
        await world.bob.socket().join("broken")
    await world.main.to("y").sockets_leave("y", "z")
    await world.main.to("ada1").sockets_join("w")
    assert world.ada.socket().rooms == {"ada1", "now", "w"}
    assert emitter.leave(["gone"], ["x"]) is None
