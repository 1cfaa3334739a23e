"""Connection state recovery with the test client: what a program does when a client comes back, in no time."""

from __future__ import annotations

from typing import Any, Literal

from rtframework import MemoryAdapter, Recovery, Server, Socket
from rtframework.testing import Clock, TestServer
from tests.support.in_process import BOTH, NOT_ON_UVLOOP

pytestmark = NOT_ON_UVLOOP

Transport = Literal["websocket", "polling"]


def recovering(**options: Any) -> Server:
    """A server that puts whoever is new into a room."""
    io = Server(connection_state_recovery=Recovery(max_disconnection_duration=120), **options)

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        if not socket.recovered:
            socket.data["came"] = socket.id
            await socket.join("lobby")

    return io


@BOTH
async def test_a_client_goes_on_where_it_was(transport: Transport) -> None:
    """Nobody could test that a client misses nothing in a tunnel."""
    io = recovering()
    async with TestServer(io, clock=Clock()) as server:
        alice = await server.connect(transport=transport)
        before = alice.id
        await io.to("lobby").emit("news", 1, "one")
        assert await alice.receive("news") == (1, "one")
        await alice.lose_connection()
        await io.to("lobby").emit("news", 2, "two")
        await server.clock.advance(119)
        await io.to("lobby").emit("news", 3, "three")
        await alice.reconnect()
        assert (alice.recovered, alice.id) == (True, before)
        assert [await alice.receive("news") for _ in range(2)] == [(2, "two"), (3, "three")]
        await alice.receive_nothing()
        assert io.sockets[alice.id].recovered
        assert io.sockets[alice.id].data == {"came": before}
        await io.to("lobby").emit("news", 4)
        assert await alice.receive("news") == 4


@BOTH
async def test_a_tunnel(transport: Transport) -> None:
    """The same when neither side is told: the client comes back before the server has missed it, or after."""
    io = recovering()
    async with TestServer(io, clock=Clock()) as server:
        alice = await server.connect(transport=transport)
        for away in (30, 100):  # before the server has missed it, and after
            await io.emit("news", "before")
            assert await alice.receive("news") == "before"
            await alice.lose_connection(silently=True)
            await io.emit("news", "missed")
            await server.clock.advance(away)
            if alice.connected:
                await alice.disconnect()
            await alice.reconnect()
            assert alice.recovered
            assert await alice.receive("news") == "missed"
            await alice.receive_nothing()


@BOTH
async def test_sessions_end_with_the_simulated_time(transport: Transport) -> None:
    """What a program does for a client that was away for too long could not be tested, but in minutes."""
    io = recovering()
    adapter: Any = io.of("/").adapter
    async with TestServer(io, clock=Clock()) as server:
        alice = await server.connect(transport=transport)
        bob = await server.connect(transport=transport)
        before = alice.id
        await alice.lose_connection()
        await bob.lose_connection()
        await io.emit("news", "missed")
        await server.clock.advance(120.5)
        await alice.reconnect()
        assert not alice.recovered
        assert alice.id != before
        await alice.receive_nothing()
        assert adapter.session_time() == 0
        await server.clock.advance(200)
        assert not adapter._sessions, "memory is given back in simulated time, too"
        assert not len(adapter._log)


async def test_strings_that_are_no_offsets_are_left_alone() -> None:
    """A test would see an event without its last argument, where an adapter adds no offsets."""

    class Other(MemoryAdapter):
        """It keeps nothing."""

    io = recovering(adapter=Other)
    async with TestServer(io) as server:
        alice = await server.connect()
        await io.emit("news", 1, "one")
        assert await alice.receive("news") == (1, "one")
