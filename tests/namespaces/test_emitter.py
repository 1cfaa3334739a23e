"""The reach of an adapter: what it may do to the sockets of its namespace on this server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rtframework import Disconnected, EncodeError, EventError, Packet, PacketType, Socket
from rtframework.namespaces.emitter import NamespaceEmitter
from rtframework.namespaces.host import Host
from tests.support.clients import FakeClient, FakeEngine, Gate, make_host, turn


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
