"""SockJS by websocket: its frames, heartbeats, and messages that are none."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from rtframework import Deflate, Server
from rtframework.testing import Clock, TestServer
from tests.conftest import Serve
from tests.engine import eventually
from tests.gateways.test_sockjs import echoing, sockjs
from tests.support.in_process import NOT_ON_UVLOOP
from tests.support.stomp import stomp


async def hear(websocket: aiohttp.ClientWebSocketResponse) -> Any:
    """Receive a message: its text, or the code of a close frame."""
    message = await websocket.receive(timeout=60)
    return message.data


async def test_messages_both_ways(serve: Serve) -> None:
    """Stock clients would use no websocket."""
    io = echoing()
    async with sockjs(serve, io) as client, client.http.ws_connect(f"{client.url}/000/session1/websocket") as one:
        assert await hear(one) == "o"
        for text in ("", "[]", '["a"]', '"b"', '["c","d"]'):
            await one.send_str(text)
        assert [await hear(one) for _ in range(4)] == ['a["a"]', 'a["b"]', 'a["c"]', 'a["d"]']
        async with client.http.ws_connect(f"{client.url}/000/session1/websocket") as two:  # the id means nothing here
            assert await hear(two) == "o"
            await io.emit("message", "all\u2028")
            assert await hear(one) == await hear(two) == 'a["all\\u2028"]'
            assert {socket.conn.transport for socket in io.sockets.values()} == {"sockjs websocket"}
        await one.send_str('["go"]')
        assert await hear(one) == 'c[4410,"server namespace disconnect"]'
        assert await hear(one) == 4410


@pytest.mark.parametrize("message", ['["a', "1", "{}", "[1]", b'["a"]', "[" * 50_000])
async def test_what_is_no_frame_ends_it(serve: Serve, message: str | bytes) -> None:
    """Somebody's mistake would go unnoticed, or break the server."""
    async with sockjs(serve) as client, client.http.ws_connect(f"{client.url}/000/session1/websocket") as websocket:
        assert await hear(websocket) == "o"
        await (websocket.send_str(message) if isinstance(message, str) else websocket.send_bytes(message))
        assert await hear(websocket) in (4400, 1009)


async def test_requests_that_are_no_websocket_are_refused(serve: Serve) -> None:
    """A client behind a proxy that rewrites headers would wait for ever."""
    async with sockjs(serve) as client:
        for headers in ({}, {"Upgrade": "WebSocket", "Connection": "close"}):
            assert (await client.ask("GET", "/0/session1/websocket", headers=headers)).status == 400
        assert (await client.ask("POST", "/0/session1/websocket")).status == 405
        evil = {"Origin": "https://evil.example"}
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            await client.http.ws_connect(f"{client.url}/0/session1/websocket", headers=evil)


async def test_a_raw_websocket_has_no_frames_of_sockjs(serve: Serve) -> None:
    """Programs without the stock client would have to write them."""
    async with sockjs(serve) as client, client.http.ws_connect(f"{client.url}/websocket") as websocket:
        await websocket.send_str("Hello world!\uffff")
        assert await hear(websocket) == "Hello world!\uffff"


@NOT_ON_UVLOOP
async def test_heartbeats_are_frames_and_pings() -> None:
    """Proxies would cut off what is silent, and a client that is not there would stay."""
    io = echoing()
    gone: list[str] = []
    io.on("disconnect")(lambda socket, reason: gone.append(reason))
    app = web.Application()
    io.attach_sockjs(app, "/echo", heartbeat=10)
    async with (
        TestServer(app, clock=Clock()) as server,
        server.http.ws_connect("/echo/0/session1/websocket", autoping=False) as websocket,
    ):
        assert await hear(websocket) == "o"
        assert "connected" in await hear(websocket)
        await server.clock.advance(10.5)
        assert await hear(websocket) == "h"
        assert (await websocket.receive()).type is aiohttp.WSMsgType.PING
        await server.clock.advance(21)
        assert gone == ["ping timeout"]


@NOT_ON_UVLOOP
@pytest.mark.parametrize(
    ("heart_beat", "sent"),
    [
        ("0,10000", ['a["\\n"]', "h"]),  # it is pinged, too
        ("10000,10000", ['a["\\n"]']),
        ("10000,0", ["h"]),
        ("0,0", ["h"]),
    ],
)
async def test_heart_beats_of_stomp(heart_beat: str, sent: list[str]) -> None:
    """A client would take the server for dead, a proxy would cut it off, or one that has gone would stay."""
    io = Server()
    gone: list[str] = []
    io.on("disconnect")(lambda socket, reason: gone.append(reason))
    app = web.Application()
    io.attach_sockjs(app, "/echo", carries="stomp", heartbeat=10)
    async with (
        TestServer(app, clock=Clock()) as server,
        server.http.ws_connect("/echo/0/session1/websocket", autoping=False) as websocket,
    ):
        assert await hear(websocket) == "o"
        await websocket.send_json([stomp("CONNECT", accept_version="1.2", heart_beat=heart_beat).decode()])
        assert "heart-beat:10000,10000" in await hear(websocket)
        heard: list[str] = []
        for _ in range(2):
            await server.clock.advance(10.5)
            while len(heard) < len(sent):
                message = await websocket.receive()
                heard += [message.data] if message.type is aiohttp.WSMsgType.TEXT else []
            assert sorted(heard) == sorted(sent)
            heard = []
            await websocket.send_json(["\n"])
            await server.settle()
        await server.clock.advance(45)
        assert gone == ["ping timeout"]


@NOT_ON_UVLOOP
async def test_a_raw_websocket_speaks_stomp() -> None:
    """Clients that need no SockJS, those of Spring among them, would have to be given another path."""
    io = Server()
    app = web.Application()
    io.attach_sockjs(app, "/spring", carries="stomp")
    async with (
        TestServer(app) as server,
        server.http.ws_connect("/spring/websocket", protocols=["v12.stomp"]) as websocket,
    ):
        assert websocket.protocol == "v12.stomp"
        await websocket.send_bytes(stomp("CONNECT", accept_version="1.2"))
        assert (await hear(websocket)).startswith("CONNECTED\n")
        assert {socket.conn.transport for socket in io.sockets.values()} == {"stomp"}


async def test_compression_is_agreed_to(serve: Serve) -> None:
    """Frames would be compressed by another form than they are written in."""
    io = Server(per_message_deflate=Deflate())
    async with (
        sockjs(serve, io, codec=None) as client,
        client.http.ws_connect(f"{client.url}/000/session1/websocket", compress=15) as websocket,
    ):
        assert websocket.compress
        assert await hear(websocket) == "o"
        assert "connected" in await hear(websocket)
        await eventually(lambda: len(io.sockets) == 1)
        await asyncio.gather(io.emit("a", "x" * 5_000), io.emit("b", "y"))
        assert "x" * 5_000 in await hear(websocket)
        assert await hear(websocket) == r'a["{\"type\":\"event\",\"event\":\"b\",\"args\":[\"y\"]}"]'
