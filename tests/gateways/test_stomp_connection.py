"""Connections of STOMP clients: heart-beats both ways, on a clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import WSMsgType

from rtframework import Server
from rtframework.testing import Clock, TestServer
from tests.support.in_process import NOT_ON_UVLOOP
from tests.support.stomp import stomp_in_memory, stomp_talk

pytestmark = NOT_ON_UVLOOP


@pytest.fixture
async def quiet() -> AsyncIterator[tuple[Server, TestServer, list[str]]]:
    """A server on a clock of its own, with heart-beats every 10 s."""
    io = Server(ping_interval=10.0, ping_timeout=5.0)
    reasons: list[str] = []
    io.on("disconnect")(lambda socket, reason: reasons.append(reason))
    async with stomp_in_memory(io, clock=Clock()) as server:
        yield io, server, reasons


Quiet = tuple[Server, TestServer, list[str]]


async def test_both_sides_say_what_they_can(quiet: Quiet) -> None:
    """A client would wait for heart-beats that nobody sends."""
    _, server, _ = quiet
    async with stomp_talk(server, joins=False) as page:
        await page.say("CONNECT", accept_version="1.2", heart_beat="4000,7000")
        assert (await page.hear()).headers["heart-beat"] == "10000,10000"


async def test_our_heart_beats_come_in_time(quiet: Quiet) -> None:
    """A client would take a server that has nothing to say for dead."""
    io, server, reasons = quiet
    async with stomp_talk(server, heart_beat="0,15000") as page:
        for _ in range(4):
            await server.clock.advance(16)
            assert await page.websocket.receive_str() == "\n"
        assert (len(io.sockets), reasons) == (1, [])


async def test_a_client_that_promised_heart_beats_is_closed_without_them(quiet: Quiet) -> None:
    """Phones without a network would stay in their rooms for hours."""
    io, server, reasons = quiet
    async with stomp_talk(server, heart_beat="20000,0") as page:
        for _ in range(10):
            await server.clock.advance(21)
            await page.send(b"\n")
            await server.settle()
        await server.clock.advance(40)
        assert (len(io.sockets), reasons) == (1, [])
        await server.clock.advance(45)
        assert reasons == ["ping timeout"]


async def test_a_client_that_wants_no_heart_beats_is_not_silent_for_proxies(quiet: Quiet) -> None:
    """nginx would cut off, after a minute, a client that is only told what happens."""
    _, server, reasons = quiet
    async with server.http.ws_connect("/stomp", autoping=False) as websocket:
        await websocket.send_str("CONNECT\naccept-version:1.2\nheart-beat:20000,0\n\n\0")
        assert (await websocket.receive_str()).startswith("CONNECTED")
        for _ in range(3):
            await server.clock.advance(11)
            assert (await websocket.receive()).type is WSMsgType.PING
        assert reasons == []


async def test_a_client_without_heart_beats_is_pinged(quiet: Quiet) -> None:
    """A client of an old library would stay for ever once it has gone."""
    io, server, reasons = quiet
    async with stomp_talk(server, heart_beat="0,0") as page:
        hearing = asyncio.create_task(page.hear())  # aiohttp answers pings while it reads
        for _ in range(20):
            await server.clock.advance(10)
        assert (len(io.sockets), reasons) == (1, [])
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)
        for _ in range(5):
            await server.clock.advance(10)
        assert reasons == ["ping timeout"]


async def test_a_client_that_says_nothing_at_first_is_closed() -> None:
    """Connections that never say CONNECT would stay."""
    io = Server(connect_timeout=5.0)
    async with (
        stomp_in_memory(io, clock=Clock()) as server,
        stomp_talk(server, joins=False) as page,
    ):
        await server.clock.advance(6)
        message = await page.websocket.receive()
        assert (message.type, message.data) == (WSMsgType.CLOSE, 4408)


@pytest.mark.parametrize("value", ["x", "1", "-1,0", "1,2,3", "1e3,0", "1234567890,0"])
async def test_heart_beats_that_are_none_are_refused(quiet: Quiet, value: str) -> None:
    """A client would be cut off, and not know why."""
    _, server, _ = quiet
    async with stomp_talk(server, joins=False) as page:
        await page.say("CONNECT", accept_version="1.2", heart_beat=value)
        assert await page.error() == "heart-beat is two numbers of milliseconds"
