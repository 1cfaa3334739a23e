"""A network in memory between an aiohttp server and aiohttp clients."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextvars import copy_context
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from rtframework.testing.idle import settle
from rtframework.testing.network import MemoryConnector, memory_session
from tests.support.in_process import NOT_ON_UVLOOP

pytestmark = NOT_ON_UVLOOP


class Place:
    """A server, and how to reach it."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.lost: list[str] = []
        self.runner: web.AppRunner | None = None
        self.connector = MemoryConnector(self._accept, "192.0.2.9", copy_context)
        self.session = memory_session(self.connector, "http://localhost")

    def _accept(self) -> asyncio.BaseProtocol | None:
        if self.runner is None or self.runner.server is None:
            return None
        made: asyncio.BaseProtocol = self.runner.server()
        return made

    async def hello(self, request: web.Request) -> web.Response:
        return web.json_response({"from": request.remote, "secure": request.secure, "body": await request.text()})

    async def slow(self, request: web.Request) -> web.Response:
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.lost.append(request.path)
            raise
        return web.Response(text="late")

    async def echo(self, request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        async for message in websocket:
            await websocket.send_str(message.data * 2)
        self.lost.append(f"{request.path} {websocket.close_code}")
        return websocket


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    made = Place()
    app = web.Application()
    app.router.add_route("*", "/", made.hello)
    app.router.add_route("*", "/slow", made.slow)
    app.router.add_get("/echo", made.echo)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    made.runner = runner
    yield made
    made.connector.bury()
    await made.session.close()
    await runner.cleanup()


async def test_requests_are_answered_without_a_network(place: Place) -> None:
    """Tests would need ports, and fail where there is no network."""
    async with place.session.post("/", data="x" * 200_000) as response:
        assert await response.json() == {"from": "192.0.2.9", "secure": False, "body": "x" * 200_000}


async def test_many_at_once(place: Place) -> None:
    """A client that polls and sends at the same time would wait for itself."""
    waiting = [asyncio.create_task(text(place.session, "/slow")) for _ in range(150)]
    await settle()
    assert (await text(place.session, "/"))[:1] == "{"
    place.gate.set()
    assert await asyncio.gather(*waiting) == ["late"] * 150


async def text(session: aiohttp.ClientSession, path: str) -> str:
    async with session.post(path) as response:  # aiohttp's client tries a GET again by itself
        return await response.text()


async def test_a_websocket(place: Place) -> None:
    """Most clients in the world could not be tested."""
    async with place.session.ws_connect("/echo") as websocket:
        await websocket.send_str("ab")
        assert await websocket.receive_str() == "abab"
    await settle()
    assert place.lost == ["/echo 1000"]


async def test_a_server_that_does_not_run(place: Place) -> None:
    """A test would hang instead of saying what is wrong."""
    runner, place.runner = place.runner, None
    with pytest.raises(aiohttp.ClientConnectionError, match="the server does not run"):
        await text(place.session, "/")
    place.runner = runner
    assert await text(place.session, "/")


async def test_a_reset_reaches_both_sides(place: Place) -> None:
    """A server would go on for a client that has vanished, and a client wait for an answer for ever."""
    waiting = asyncio.create_task(text(place.session, "/slow"))
    await settle()
    place.connector.reset()
    with pytest.raises((aiohttp.ClientError, ConnectionError)):
        await waiting
    await settle()
    assert place.lost == ["/slow"]
    assert await text(place.session, "/"), "a new connection is made"


async def test_a_dead_network_is_seen_by_nobody_until_it_is_buried(place: Place) -> None:
    """What only a timeout finds out could not be tested; or the test's server would wait for it at its end."""
    waiting = asyncio.create_task(text(place.session, "/slow"))
    await settle()
    place.connector.die()
    place.gate.set()
    await settle()
    assert not waiting.done()
    place.connector.bury()
    with pytest.raises((aiohttp.ClientError, ConnectionError)):
        await waiting


async def test_a_client_that_leaves_is_heard_of(place: Place) -> None:
    """A handler would run on for nobody."""
    waiting = asyncio.create_task(text(place.session, "/slow"))
    await settle()
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    await settle()
    assert place.lost == ["/slow"]


async def test_connections_that_are_over_are_not_kept(place: Place) -> None:
    """A test with a million requests would fill the memory."""
    for _ in range(5):
        async with place.session.get("/", headers={"Connection": "close"}) as response:
            await response.read()
        await settle()
    ends: list[Any] = place.connector._ends
    assert len(ends) <= 1


async def test_cookies_are_kept_only_where_that_is_asked_for(place: Place) -> None:
    """A client would be taken for another one of the same test."""
    assert isinstance(place.session.cookie_jar, aiohttp.DummyCookieJar)
    jar = aiohttp.CookieJar()
    session = memory_session(MemoryConnector(place._accept, "192.0.2.9", copy_context), "http://localhost", jar)
    assert session.cookie_jar is jar
    await session.close()
