"""An Engine.IO client: one connection, as the JavaScript client keeps it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextvars import copy_context
from typing import Any

import pytest
from aiohttp import web

from rtframework import ConnectionRefused, Server
from rtframework.testing import TestServer
from rtframework.testing.engine_client import EngineClient
from rtframework.testing.idle import settle
from rtframework.testing.network import MemoryConnector, memory_session
from tests.support.in_process import BOTH, NOT_ON_UVLOOP, chat

pytestmark = NOT_ON_UVLOOP


async def test_upgrading() -> None:
    """Most clients in the world begin by polling and move to a websocket."""
    io = chat()
    io.of("/admin")
    async with TestServer(io) as server:
        alice = await server.connect(transport="polling")
        admin = await alice.of("/admin")
        await alice.upgrade()
        assert (alice.transport, admin.transport, io.sockets[alice.id].transport) == ("websocket",) * 3
        assert await alice.emit_with_ack("add", 1, 2) == 3
        await io.of("/admin").emit("news", 1)
        assert await admin.receive("news") == 1
        with pytest.raises(RuntimeError, match="only a connection by polling"):
            await alice.upgrade()
    async with TestServer(Server(allow_upgrades=False)) as server:
        alice = await server.connect(transport="polling")
        with pytest.raises(ConnectionRefused, match="HTTP 400"):
            await alice.upgrade()
        assert alice.connected


# --- against an engine that is written by hand ------------------------------------------------------------------------


class Engine:
    """Engine.IO as the protocol's document has it, for one client, with everything in the test's hands."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[str] = asyncio.Queue()
        self.got: list[str] = []
        self.queries: list[dict[str, str]] = []
        self.headers: list[str | None] = []
        self.statuses: list[int] = []
        """What the next requests are refused with."""
        self.websocket: web.WebSocketResponse | None = None
        self.messages: list[str | bytes] = []
        self.ends: list[str] = []

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.queries.append(dict(request.query))
        self.headers.append(request.headers.get("X-Test"))
        if self.statuses:
            return web.Response(status=self.statuses.pop(0), text="refused")
        if request.query["transport"] == "websocket":
            self.websocket = web.WebSocketResponse()
            await self.websocket.prepare(request)
            if "sid" not in request.query:
                await self.websocket.send_str(OPEN)
            async for message in self.websocket:
                self.got.append(message.data)
                if message.data == "2probe":
                    await self.websocket.send_str("3probe")
                    self.queue.put_nowait("6")
            return self.websocket
        if request.method == "POST":
            self.got += (await request.text()).split("\x1e")
            return web.Response(text="ok")
        if "sid" not in request.query:
            return web.Response(text=OPEN)
        return web.Response(text=await self.queue.get())


OPEN = '0{"sid":"s1","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}'


@pytest.fixture
async def engine() -> Engine:
    return Engine()


@pytest.fixture
async def client(engine: Engine) -> AsyncIterator[EngineClient]:
    """A client of that engine, not open yet."""
    app = web.Application()
    app.router.add_route("*", "/io/", engine.serve)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    assert runner.server is not None
    connector = MemoryConnector(runner.server, "127.0.0.1", copy_context)
    made = EngineClient(
        memory_session(connector, "http://localhost"),
        connector,
        "/io/",
        query={"color": "red"},
        headers={"X-Test": "7"},
        on_message=engine.messages.append,
        on_close=engine.ends.append,
    )
    yield made
    connector.bury()
    await made.dispose()
    await runner.cleanup()


@BOTH
async def test_it_says_who_it_is_with_each_request(engine: Engine, client: EngineClient, transport: Any) -> None:
    """A server that looks at a parameter, or at a header, would take it for somebody else."""
    await client.open(transport)
    await client.send(["x"])
    await settle()
    assert client.sid == "s1"
    first, *others = engine.queries
    assert first == {"color": "red", "EIO": "4", "transport": transport}
    assert all(each == {**first, "sid": "s1"} for each in others)
    assert set(engine.headers) == {"7"}


async def test_messages_of_a_poll_in_order(engine: Engine, client: EngineClient) -> None:
    """Binary data would come as text, or packets of one payload be mixed up."""
    await client.open("polling")
    engine.queue.put_nowait("4one\x1ebAP8=\x1e4two")
    await settle()
    assert engine.messages == ["one", b"\x00\xff", "two"]


async def test_messages_that_wait_go_in_one_request(engine: Engine, client: EngineClient) -> None:
    """Two requests at the same time would be an error of the protocol, for which servers close the connection."""
    await client.open("polling")
    for number in range(3):
        await client.send([f"text {number}", bytes([number])])
    await settle()
    assert engine.got == ["4text 0", "bAA==", "4text 1", "bAQ==", "4text 2", "bAg=="]
    posts = [each for each in engine.queries if each.get("sid")]
    assert len(posts) <= 3


@BOTH
async def test_pings_are_answered(engine: Engine, client: EngineClient, transport: Any) -> None:
    """Every test that takes longer than a heartbeat would lose its client."""
    await client.open(transport)
    if engine.websocket is not None:
        await engine.websocket.send_str("2")
    else:
        engine.queue.put_nowait("2")
    await settle()
    assert engine.got == ["3"]
    assert engine.ends == []


@BOTH
async def test_a_close_of_the_server_is_told_once(engine: Engine, client: EngineClient, transport: Any) -> None:
    """A client would be told of each way in which it notices."""
    await client.open(transport)
    if engine.websocket is not None:
        await engine.websocket.send_str("1")
        await engine.websocket.send_str("4late")
        await engine.websocket.close()
    else:
        engine.queue.put_nowait("1\x1e4late")
    await settle()
    assert (engine.ends, client.reason, engine.messages) == (["transport close"], "transport close", [])


@BOTH
async def test_leaving(engine: Engine, client: EngineClient, transport: Any) -> None:
    """A server would not hear of it, or miss what was sent before."""
    await client.open(transport)
    await client.send(["last words"])
    client.close()
    await settle()
    assert engine.got == ["4last words"] + ["1"] * (transport == "polling")
    assert engine.ends == ["forced close"]
    await client.send(["too late"])
    await settle()
    assert "4too late" not in engine.got


@pytest.mark.parametrize("status", [400, 403, 503])
@BOTH
async def test_a_handshake_that_is_refused(engine: Engine, client: EngineClient, transport: Any, status: int) -> None:
    """A test could not tell why a client is not let in."""
    engine.statuses.append(status)
    with pytest.raises(ConnectionRefused, match=f"HTTP {status}") as caught:
        await client.open(transport)
    assert caught.value.data["status"] == status
    assert engine.ends == []


@pytest.mark.parametrize("when", ["poll", "post"])
async def test_a_request_that_is_refused_later_ends_it(engine: Engine, client: EngineClient, when: str) -> None:
    """A server that has forgotten the session would be asked for ever."""
    await client.open("polling")
    await settle()
    engine.statuses.append(400)
    if when == "poll":
        engine.queue.put_nowait("4x")
    else:
        await client.send(["x"])
    await settle()
    assert engine.ends == ["transport error"]


async def test_an_upgrade_moves_both_directions(engine: Engine, client: EngineClient) -> None:
    """A message would be lost in between, or come by two ways."""
    await client.open("polling")
    await client.upgrade()
    assert client.transport == "websocket"
    await client.send(["by websocket"])
    assert engine.websocket is not None
    await engine.websocket.send_str("4back")
    await settle()
    assert engine.got == ["2probe", "5", "4by websocket"]
    assert engine.messages == ["back"]


async def test_a_server_that_is_silent_for_too_long_is_given_up(engine: Engine, client: EngineClient) -> None:
    """What a program does about a server that has gone could not be tested."""
    await client.open("websocket")
    client._patience = 0.0
    client._hear()
    await settle()
    assert engine.ends == ["ping timeout"]


@BOTH
@pytest.mark.parametrize("silently", [True, False])
async def test_a_network_that_is_lost(engine: Engine, client: EngineClient, transport: Any, silently: bool) -> None:
    """A tunnel, and a phone that is switched off, would look the same."""
    await client.open(transport)
    await settle()
    engine.statuses = [400] * 3  # whoever comes back is not known any more
    client.cut(silently)
    await client.send(["into the dark"])
    await settle()
    assert "4into the dark" not in engine.got
    assert (engine.ends == []) is silently
    if silently:
        client.be_missed()
        await settle()
    assert engine.ends == ["transport close" if transport == "websocket" else "transport error"]
