"""Clients of other protocols: let in or refused, and what they say meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rtframework import ConnectionRefused, DisconnectReason, Handshake, Limits, Server, Socket
from rtframework.testing import Clock
from tests.engine import eventually
from tests.gateways import Talk, in_memory, talk
from tests.support.in_process import NOT_ON_UVLOOP

pytestmark = NOT_ON_UVLOOP


class Gated:
    """An authenticator that takes its time."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.asked = asyncio.Event()

    async def authenticate(self, handshake: Handshake) -> str:
        self.asked.set()
        await self.gate.wait()
        if handshake.auth.get("token") == "wrong":
            raise ConnectionRefused("not you", {"code": "unauthorized"})
        return "ada"


def noting(io: Server) -> list[Any]:
    """Register handlers; what they were called with."""
    notes: list[Any] = []

    @io.on("note")
    def note(socket: Socket, value: Any) -> Any:
        notes.append(value)
        return value

    return notes


async def test_what_comes_before_the_answer_is_served_after_it() -> None:
    """A page sends in ``onopen``: what it sends first would be lost, or end its connection."""
    auth = Gated()
    io = Server(auth=auth)
    notes = noting(io)
    async with in_memory(io) as server, talk(server, joins=False) as page:
        for number in range(40):
            await page.emit("note", number, id=number)
        await auth.asked.wait()
        await server.settle()
        assert notes == []
        auth.gate.set()
        assert (await page.hear())["type"] == "connected"
        for number in range(40):
            assert await page.hear() == {"type": "ack", "args": [number], "id": number}
    assert notes == list(range(40))


async def test_who_waits_is_not_read() -> None:
    """A client could fill the memory while its authenticator asks a database."""
    auth = Gated()
    io = Server(auth=auth, max_http_buffer_size=10_000)
    noting(io)
    async with in_memory(io) as server, talk(server, joins=False) as page:
        await auth.asked.wait()
        for _ in range(200):
            await page.emit("note", "x" * 1_000)
        await server.settle()
        assert io.stats().inbound_bytes < 50_000
        (connection,) = io._server.eio.connections.values()
        assert len(connection.inbox or ()) < 80
        auth.gate.set()
        await page.hear()
        await page.emit("note", 1, id=1)
        assert (await page.hear())["args"] == [1]


async def test_what_a_refused_client_has_sent_is_not_served() -> None:
    """Whoever has no token could send events all the same."""
    auth = Gated()
    io = Server(auth=auth)
    notes = noting(io)
    async with in_memory(io) as server, talk(server, "?token=wrong", joins=False) as page:
        await page.emit("note", 1)
        await auth.asked.wait()
        auth.gate.set()
        assert await page.hear() == {"type": "refused", "message": "not you", "data": {"code": "unauthorized"}}
        assert await page.close_code() == (4401, "not you")
    assert notes == []


async def test_one_namespace_may_be_asked_while_another_is_served() -> None:
    """A slow namespace would have to be the only one of a client."""
    io = Server()
    notes = noting(io)
    slow = io.of("/slow")
    gate = asyncio.Event()
    asked = asyncio.Event()

    @slow.use
    async def wait(socket: Socket, call_next: Any) -> None:
        asked.set()
        await gate.wait()
        await call_next()

    @slow.on("note")
    def note(socket: Socket, value: Any) -> None:
        notes.append(value)

    async with in_memory(io) as server, talk(server) as page:
        await page.say(type="connect", nsp="/slow")
        await page.emit("note", 1)
        await asked.wait()
        await eventually(lambda: notes == [1])
        await page.emit("note", 2, nsp="/slow")
        await page.emit("note", 3)
        await server.settle()
        assert notes == [1]
        gate.set()
        assert await page.hear() == {"type": "connected", "sid": next(iter(slow.sockets)), "nsp": "/slow"}
        await eventually(lambda: notes == [1, 2, 3])


async def test_a_refusal_is_that_of_its_namespace() -> None:
    """With two requests at a time, each would get the answer to the other."""
    io = Server()
    io.of("/b")
    gates = {"/a": asyncio.Event(), "/b": asyncio.Event()}

    for nsp in gates:

        async def refuse(socket: Socket, call_next: Any) -> None:
            await gates[socket.nsp].wait()
            raise ConnectionRefused(f"no {socket.nsp}")

        io.of(nsp).use(refuse)
    async with in_memory(io) as server, talk(server) as page:
        await page.say(type="connect", nsp="/a")
        await page.say(type="connect", nsp="/b")
        gates["/b"].set()
        assert await page.hear() == {"type": "refused", "message": "no /b", "nsp": "/b"}
        gates["/a"].set()
        assert await page.hear() == {"type": "refused", "message": "no /a", "nsp": "/a"}
        await page.say(type="ping")
        assert await page.hear() == {"type": "pong"}


async def test_an_event_for_a_namespace_that_it_is_not_in_is_an_error() -> None:
    """A client that was sent away from one namespace would lose all others."""
    io = Server()
    io.of("/a")
    async with in_memory(io) as server, talk(server) as page:
        await page.emit("x", nsp="/a", id=4)
        assert await page.hear() == {
            "type": "error",
            "message": "not connected to the namespace /a",
            "id": 4,
            "nsp": "/a",
        }
        await page.say(type="disconnect", nsp="/a")
        await page.say(type="connect", nsp="/a")
        assert (await page.hear())["type"] == "connected"
        await page.say(type="disconnect", nsp="/a")
        await page.say(type="ping")
        assert await page.hear() == {"type": "pong"}
    assert not io.of("/a").sockets


async def test_a_client_asks_for_no_more_namespaces_than_the_limit() -> None:
    """One client that joins thousands would slow everybody down."""
    io = Server(limits=Limits(max_namespaces=2))
    async with in_memory(io) as server, talk(server) as page:
        for nsp in ("/a", "/b"):
            io.of(nsp)
            await page.say(type="connect", nsp=nsp)
        assert (await page.hear())["nsp"] == "/a"
        assert await page.close_code() == (1008, "forced server close")


async def test_credentials_have_a_bound() -> None:
    """A client could have megabytes kept for as long as it stays."""
    io = Server(limits=Limits(max_connect_size=1_000))
    async with in_memory(io) as server, talk(server, "?auth=message", joins=False) as page:
        await page.say(type="connect", auth={"token": "x" * 1_000})
        assert (await page.close_code())[0] == 1009
        async with talk(server) as other:
            io.of("/a")
            await other.say(type="connect", nsp="/a", auth={"token": "x" * 1_000})
            assert (await other.close_code())[0] == 4400


async def test_a_client_that_goes_while_it_is_asked_is_forgotten() -> None:
    """A ghost would stay in the room."""
    auth = Gated()
    io = Server(auth=auth)
    noting(io)
    async with in_memory(io) as server:
        async with talk(server, joins=False) as page:
            await page.emit("note", 1)
            await auth.asked.wait()
        auth.gate.set()
        await eventually(lambda: not io._server.eio.connections and not io._server.eio.tasks)
        assert not io.sockets
        assert io.stats().inbound_bytes == 0


@pytest.mark.parametrize("nsp", ["/", "/a"])
async def test_a_client_that_says_goodbye_leaves_by_itself(nsp: str) -> None:
    """Its handlers would hear that the server has sent it away."""
    io = Server()
    reasons: list[str] = []
    io.of(nsp).on("disconnect")(lambda socket, reason: reasons.append(reason))
    async with in_memory(io) as server, talk(server, f"?nsp={nsp}") as page:
        await page.say(type="disconnect")
        assert await page.close_code() == (1000, "")
    assert reasons == [DisconnectReason.CLIENT_NAMESPACE_DISCONNECT]


async def test_a_client_that_asks_for_nothing_is_closed() -> None:
    """Connections that nobody uses would fill the server."""
    io = Server(connect_timeout=5.0)
    async with in_memory(io, clock=Clock()) as server, talk(server, "?auth=message", joins=False) as page:
        reading = asyncio.create_task(Talk.close_code(page))
        await server.clock.advance(6)
        assert await reading == (4408, "joined no namespace in time")
