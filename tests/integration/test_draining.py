"""A server that sends its clients away before it ends, as stock clients see it."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web

from rtframework import ConfigurationError, Readiness, Server, Socket
from tests.conftest import Serve
from tests.support.js import JSClients
from tests.support.transports import Transport


async def test_clients_leave_and_come_back_by_themselves(serve: Serve, js: JSClients, transport: Transport) -> None:
    """People would have to reload the page whenever a server is replaced, or would all come back in one moment."""
    io = Server()
    left: list[str] = []

    @io.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        left.append(reason)

    readiness = Readiness(io)

    def make() -> web.Application:
        app = web.Application()
        app.router.add_get("/ready", readiness.handler)
        io.attach(app)
        return app

    server = await serve(make)
    clients = [
        await js.connect(server.url, via=transport, reconnection=True, reconnectionDelay=50, reconnectionDelayMax=100)
        for _ in range(5)
    ]
    async with asyncio.timeout(10):
        await io.drain(0.1)
    assert (io.is_draining, len(io.sockets)) == (True, 0)
    assert [await each.disconnected() for each in clients] == ["transport close"] * 5
    assert left == ["server shutting down"] * 5
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{server.url}/ready") as response:
            assert (response.status, await response.json()) == (503, {"ready": False, "reason": "draining"})
        async with http.get(f"{server.url}/socket.io/?EIO=4&transport=polling") as response:
            assert (response.status, response.headers["Retry-After"]) == (503, "1")
    assert io.stats().requests_refused["server_draining"] > 0
    await server.stop()
    await server.start()
    assert not io.is_draining
    for each in clients:
        await each.reconnected()


async def test_a_time_in_milliseconds_is_refused() -> None:
    """A deployment would wait for hours."""
    with pytest.raises(ConfigurationError, match="seconds is in seconds"):
        await Server().drain(10_000)
