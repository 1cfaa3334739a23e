"""Plain websockets in tests: messages both ways, close codes, the clock."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web

from rtframework import ConnectionRefused, Disconnected, Identity, Server, Socket, StaticTokenAuth
from rtframework.testing import Clock, TestServer
from tests.gateways import Numbered
from tests.support.in_process import NOT_ON_UVLOOP

pytestmark = NOT_ON_UVLOOP


def serving(**options: Any) -> tuple[Server, web.Application]:
    """Make a server of plain websockets and of Socket.IO."""
    io = Server(auth=StaticTokenAuth({"a": Identity("1"), "b": Identity("2")}), ping_interval=10, ping_timeout=5)

    @io.on("say")
    async def say(socket: Socket, text: str) -> str:
        await socket.broadcast.emit("said", text)
        return "ok"

    @io.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        await io.emit("left", reason, socket.handshake.address)

    app = web.Application()
    io.attach(app)
    io.attach_websocket(app, "/ws", **options)
    return io, app


async def test_messages_go_both_ways() -> None:
    """Programs with plain websockets could only be tested over a network."""
    io, app = serving()
    async with TestServer(app) as server:
        alice = await server.connect(auth={"token": "a"})
        page = await server.connect_websocket(query={"token": "b"}, protocols=["rtframework.v1"], address="10.0.0.1")
        assert page.subprotocol == "rtframework.v1"
        assert (await page.receive())["type"] == "connected"
        await page.send({"event": "say", "args": ["hi"], "id": 1})
        assert await alice.receive("said") == "hi"
        assert await page.receive() == {"type": "ack", "args": ["ok"], "id": 1}
        await page.send('{"type": "ping"}')
        assert await page.receive() == {"type": "pong"}
        await io.emit("bytes", b"123")
        found = await page.receive()
        assert isinstance(found, bytes)
        assert found.endswith(b"123")
        assert len(page.received) == 4
        await page.receive_nothing()
        await page.close()
        assert (page.close_code, page.connected) == (1000, False)
        assert await alice.receive("left") == ("transport close", "10.0.0.1")
        with pytest.raises(Disconnected):
            await page.send("x")


async def test_what_the_server_closes_with_is_seen() -> None:
    """A test could not tell why a client is not let in."""
    io, app = serving()
    async with TestServer(app) as server:
        page = await server.connect_websocket("/ws?token=wrong")
        assert (await page.receive())["type"] == "refused"
        assert await page.receive_close() == 4401
        assert page.close_reason == "Unknown token"
        assert "closed: 4401 Unknown token" in repr(page)
        page = await server.connect_websocket("/ws?token=a")
        await io.disconnect_sockets(close=True)
        assert await page.receive_close() == 4410
        with pytest.raises(ConnectionRefused, match="HTTP 404") as refused:
            await server.connect_websocket("/nowhere")
        assert refused.value.data == {"status": 404}
        with pytest.raises(ConnectionRefused, match="HTTP 403"):
            await server.connect_websocket(headers={"Origin": "https://example.org"})


async def test_the_end_of_the_server_closes_it() -> None:
    """A program's good-bye could not be tested."""
    _, app = serving()
    async with TestServer(app) as server:
        page = await server.connect_websocket("/ws?token=a")
        lost = await server.connect_websocket("/ws?token=b")
        await lost.lose_connection(silently=True)
    assert page.close_code == 1001
    assert not lost.connected


async def test_a_lost_connection_is_noticed_by_the_clock() -> None:
    """A test of what happens when a phone loses its network would take half a minute."""
    _, app = serving()
    async with TestServer(app, clock=Clock()) as server:
        alice = await server.connect(auth={"token": "a"})
        page = await server.connect_websocket("/ws?token=b")
        await server.clock.advance(60)
        assert page.connected
        await page.lose_connection(silently=True)
        await alice.receive_nothing("left")
        await server.clock.advance(16)
        assert (await alice.receive("left"))[0] == "ping timeout"
        other = await server.connect_websocket("/ws?token=b")
        await other.lose_connection()
        assert await other.receive_close() == 1006
        assert (await alice.receive("left"))[0] in ("transport close", "transport error")


async def test_what_is_missing_is_told() -> None:
    """A test would hang, or not say what came in its place."""
    io, app = serving()
    async with TestServer(app, clock=Clock()) as server:
        page = await server.connect_websocket("/ws?token=a")
        await page.receive()
        with pytest.raises(AssertionError, match=r"nothing more within 0 s\nreceived so far:\n  \{'type': 'connected'"):
            await page.receive(within=0)
        with pytest.raises(AssertionError, match="has not been closed within 0 s"):
            await page.receive_close(within=0)
        await io.emit("n")
        with pytest.raises(AssertionError, match=r"has received \{'type': 'event', 'event': 'n'"):
            await page.receive_nothing()


async def test_a_wire_of_its_own() -> None:
    """A program's codec could not be tested."""
    _, app = serving(codec=Numbered())
    async with TestServer(app) as server:
        page = await server.connect_websocket("/ws?token=wrong", protocols=["numbered"])
        assert page.subprotocol == "numbered"
        assert await page.receive() == {"type": 9, "data": "Unknown token"}
        page = await server.connect_websocket("/ws?token=a")
        await page.send("ping")
        assert await page.receive() == "pong"
        await page.send(json.dumps([]))
        assert (await page.receive())["type"] == 8
        assert await page.receive_close() == 4400
