"""Connections of other protocols: signs of life, bounds, and the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import WSMsgType

from rtframework import Limits, Server, Socket
from rtframework.gateways.connection import NEVER, GatewayConnection
from rtframework.testing import Clock, TestServer
from tests.engine import eventually
from tests.gateways import in_memory, talk
from tests.support.in_process import NOT_ON_UVLOOP

pytestmark = NOT_ON_UVLOOP


def only(io: Server) -> GatewayConnection:
    """Return the one connection."""
    (connection,) = io._server.eio.connections.values()
    assert isinstance(connection, GatewayConnection)
    return connection


def ending(io: Server) -> list[str]:
    """Note the reasons of all ends."""
    reasons: list[str] = []
    io.on("disconnect")(lambda socket, reason: reasons.append(reason))
    return reasons


@pytest.fixture
async def quiet() -> AsyncIterator[tuple[Server, TestServer, list[str]]]:
    """A server on a clock of its own, with pings every 10 s that have to be answered in 5 s."""
    io = Server(ping_interval=10.0, ping_timeout=5.0)
    reasons = ending(io)
    async with in_memory(io, clock=Clock()) as server:
        yield io, server, reasons


async def test_a_client_that_answers_pings_stays(quiet: tuple[Server, TestServer, list[str]]) -> None:
    """A page that is only read would be closed."""
    io, server, reasons = quiet
    async with talk(server) as page:
        reading = asyncio.create_task(page.hear())  # aiohttp answers while it reads
        await server.clock.advance(120)
        assert (len(io.sockets), reasons) == (1, [])
        await io.emit("news")
        assert (await reading)["event"] == "news"


async def test_a_client_that_is_gone_without_a_word_is_closed(quiet: tuple[Server, TestServer, list[str]]) -> None:
    """Phones without a network would stay in their rooms for hours."""
    io, server, reasons = quiet
    async with talk(server, autoping=False) as page:
        await server.clock.advance(9)
        await io.emit("a")
        assert (await page.hear())["event"] == "a"
        await server.clock.advance(2)
        assert (await page.websocket.receive()).type is WSMsgType.PING
        assert len(io.sockets) == 1
        await server.clock.advance(5)
        assert reasons == ["ping timeout"]


async def test_whatever_comes_is_a_sign_of_life(quiet: tuple[Server, TestServer, list[str]]) -> None:
    """A client that writes all the time, and answers late, would be closed."""
    io, server, reasons = quiet
    async with talk(server, autoping=False) as page:
        for _ in range(10):
            await server.clock.advance(4)
            await page.say(type="ping")
        assert (len(io.sockets), reasons) == (1, [])


async def test_a_gateway_may_have_its_own_times(quiet: tuple[Server, TestServer, list[str]]) -> None:
    """A protocol in which client and server agree on heart-beats could not keep to them."""
    io, server, reasons = quiet
    async with talk(server, autoping=False) as page:
        connection = only(io)
        connection.interval, connection.timeout = 1.0, 1.0
        connection.beat()
        await server.clock.advance(1.5)
        assert (await page.websocket.receive()).type is WSMsgType.PING
        connection.interval = NEVER
        connection.beat()
        await server.clock.advance(100)
        assert (len(io.sockets), reasons) == (1, [])
        connection.interval, connection.answers = 2.0, False
        connection.beat()
        for _ in range(3):
            await server.clock.advance(2.5)
            assert (await page.websocket.receive()).type is WSMsgType.PING
        assert (len(io.sockets), reasons) == (1, [])


async def test_messages_take_memory_as_those_of_others() -> None:
    """Clients of another protocol could fill the memory."""
    io = Server()
    gate = asyncio.Event()

    @io.on("slow")
    async def slow(socket: Socket, text: str) -> None:
        await gate.wait()

    async with in_memory(io) as server, talk(server) as page:
        await page.emit("slow", "x" * 100_000)
        await page.emit("slow", "y" * 1_000)
        await eventually(lambda: io.stats().waiting_handlers == 2)
        assert 100_000 < io.stats().inbound_bytes < 400_000
        gate.set()
        await eventually(lambda: io.stats().inbound_bytes == 0)


@pytest.mark.parametrize(
    ("limits", "message", "code"),
    [
        ({"max_http_buffer_size": 1_000}, {"event": "a", "args": ["x" * 1_000]}, 1009),
        ({"max_items": 10_000}, {"event": "a", "args": [0] * 20_000}, 4400),
        ({"max_event_name": 5}, {"event": "abcdef"}, 4400),
    ],
    ids=["size", "items", "name"],
)
async def test_limits_are_those_of_all_protocols(limits: dict[str, Any], message: dict[str, Any], code: int) -> None:
    """Whoever is limited by Socket.IO would use the other door."""
    io = Server(limits=Limits(**limits))
    io.on("a")(lambda socket, *args: None)
    async with in_memory(io) as server, talk(server) as page:
        await page.say(**message)
        assert (await page.close_code())[0] == code


async def test_what_waits_is_sent_before_the_end() -> None:
    """The last words of a server would be lost."""
    io = Server()

    @io.on("leave")
    async def leave(socket: Socket) -> None:
        for number in range(100):
            await socket.emit("last", number)
        await socket.disconnect()

    async with in_memory(io) as server, talk(server) as page:
        await page.emit("leave")
        for number in range(100):
            assert (await page.hear())["args"] == [number]
        assert await page.hear() == {"type": "disconnected"}
        assert await page.close_code() == (4410, "server namespace disconnect")


async def test_they_are_counted_and_closed_as_all_others() -> None:
    """A shutdown would hang, a drain forget them, and the figures be wrong."""
    io = Server()
    reasons = ending(io)
    async with in_memory(io) as server, talk(server) as page:
        node = await server.connect()
        assert io.stats().connections == {"polling": 0, "websocket": 1, "plain websocket": 1}
        socket = next(each for each in io.sockets.values() if each.conn.protocol == 0)
        assert (socket.transport, socket.conn.transport) == ("plain websocket", "plain websocket")
        draining = asyncio.create_task(io.drain(0.0))
        assert await page.close_code() == (1001, "server shutting down")
        await draining
        assert not node.connected
        async with server.http.get("/ws") as response:
            assert response.status == 503
    assert reasons == ["server shutting down"] * 2


async def test_an_engine_io_request_cannot_take_the_session() -> None:
    """A client could speak two protocols on one connection."""
    io = Server()
    async with in_memory(io) as server, talk(server):
        sid = only(io).sid
        for query in (f"transport=polling&sid={sid}", f"transport=websocket&sid={sid}"):
            async with server.http.get(f"/socket.io/?EIO=4&{query}") as response:
                assert response.status == 400
                assert (await response.json())["code"] in (1, 3)
        assert len(io.sockets) == 1
