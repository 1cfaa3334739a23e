"""Where one request ends and the next begins, as far as that is certain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from aiohttp import web

from rtframework import Server
from rtframework.engine.http.protocol import HttpProtocol
from rtframework.testing.idle import settle
from rtframework.testing.memory_transport import MemoryTransport
from tests.support.both_ways import Received

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio"])  # only that shows when nothing more will come

PAGE = b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /page HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789"
CHUNKED = b"POST /page HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
ENDING = b"POST /page HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\n01234567\r\n\r\n"


@pytest.fixture
async def protocol() -> AsyncIterator[HttpProtocol]:
    """The server's end of a connection."""
    app = web.Application()
    Server().attach(app)

    async def page(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    app.router.add_route("*", "/page", page)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    assert runner.server is not None
    found = runner.server()
    wire = MemoryTransport(asyncio.get_running_loop(), found, far_end=Received())
    await settle()
    yield cast("HttpProtocol", found)
    wire.reset()
    await runner.cleanup()


async def feed(protocol: HttpProtocol, *pieces: bytes) -> bool:
    """Send these, each after what the one before it has set off. Return whether the end of a request is certain."""
    for piece in pieces:
        protocol.data_received(piece)
        await settle()
    return protocol._is_clean


@pytest.mark.parametrize("request_", [PAGE, POST, CHUNKED, ENDING], ids=["get", "post", "chunked", "ending"])
async def test_the_end_is_certain_wherever_a_body_is_cut(protocol: HttpProtocol, request_: bytes) -> None:
    """Behind a proxy, no connection that has carried a body could be passed on to another worker."""
    end = request_.index(b"\r\n\r\n") + 4
    for cut in range(end, len(request_) - (3 if request_ is CHUNKED else 0)):
        assert not await feed(protocol, request_[:cut])
        assert await feed(protocol, request_[cut:])
    assert await feed(protocol, request_)


@pytest.mark.parametrize(
    "data",
    [
        PAGE + PAGE[:10],
        POST + PAGE[:10],
        POST[:-1],
        POST[:-4],
        CHUNKED[:-2],
        CHUNKED + PAGE[:10],
        ENDING + b"G",
        ENDING[:-2],
        PAGE[:-2],
        b"\r\n\r\n" + POST,
    ],
)
async def test_an_end_that_is_not_certain(protocol: HttpProtocol, data: bytes) -> None:
    """A piece of one request would be taken for the beginning of another, which a client could make use of."""
    assert not await feed(protocol, data)


async def test_it_is_certain_again(protocol: HttpProtocol) -> None:
    """One odd request would spoil a connection for good."""
    assert not await feed(protocol, PAGE + PAGE[:10])
    assert await feed(protocol, PAGE[10:])
    assert not await feed(protocol, POST + POST)
    assert await feed(protocol, PAGE)
    body = cast("Any", protocol)._messages
    assert not body
