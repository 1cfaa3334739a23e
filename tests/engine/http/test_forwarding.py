"""Requests of one worker that come through another."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from rtframework import Server
from tests.engine import Wire, wire
from tests.support.passing_workers import WorkersHere, workers_here
from tests.support.until import until


def program(slot: int) -> web.Application:
    """An application with pages below the path of its server, of which any may have a session id."""
    app = web.Application(client_max_size=10_000_000)

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"X-Slot": str(slot)})
        await response.prepare(request)
        for number in range(50):
            await response.write(b"%d," % number * 1_000)
        return response

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionResetError):
            while True:
                await response.write(b"x" * 1_000)
                await asyncio.sleep(0)
        return response

    async def echo(request: web.Request) -> web.Response:
        body = await request.read()
        return web.Response(body=body, headers={"X-Slot": str(slot), "X-Remote": request.remote or ""}, status=201)

    async def die(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"begun")
        assert request.transport is not None
        request.transport.abort()
        return response

    app.router.add_get("/socket.io/stream", stream)
    app.router.add_get("/socket.io/endless", endless)
    app.router.add_post("/socket.io/echo", echo)
    app.router.add_get("/socket.io/die", die)
    Server().attach(app)
    return app


@pytest.fixture
async def workers() -> AsyncIterator[WorkersHere]:
    """Two of them."""
    async with workers_here(program(0), program(1)) as found:
        yield found


@pytest.fixture
async def tcp(workers: WorkersHere) -> AsyncIterator[Wire]:
    """A connection to the first, on which a request waits: those behind it are forwarded to the second."""
    async with wire(workers.url_of(0)) as found:
        await found.send("GET /socket.io/?EIO=4&transport=polling HTTP/1.1")
        _, body = await found.response()
        sid = json.loads(body[1:])["sid"]
        await found.send(f"GET /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1")
        found.sid = sid  # type: ignore[attr-defined]
        yield found


async def go_on(workers: WorkersHere, tcp: Any) -> None:
    """Have the request answered that waits."""
    async with wire(workers.url_of(0)) as other:
        await other.send(
            f"POST /socket.io/?EIO=4&transport=polling&sid={tcp.sid} HTTP/1.1", "Content-Length: 2", body=b"40"
        )
        assert await other.response() == (200, b"ok")
    assert (await tcp.response())[0] == 200


@pytest.mark.parametrize("size", [0, 10, 300_000])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
async def test_bodies_arrive_whole(workers: WorkersHere, tcp: Wire, size: int, is_chunked: bool) -> None:
    """A message would arrive in part."""
    body = bytes(number % 251 for number in range(size))
    for _ in range(2):
        if is_chunked:
            chunks = (b"%x\r\n%b\r\n" % (size, body) if size else b"") + b"0\r\n\r\n"
            await tcp.send("POST /socket.io/echo?sid=B HTTP/1.1", "Transfer-Encoding: chunked", body=chunks)
        else:
            await tcp.send("POST /socket.io/echo?sid=B HTTP/1.1", f"Content-Length: {size}", body=body)
    await go_on(workers, tcp)
    for _ in range(2):
        assert await tcp.response() == (201, body)


async def test_a_streamed_response_comes_whole(workers: WorkersHere, tcp: Wire) -> None:
    """A client would wait for the rest of a response for ever."""
    await tcp.send("GET /socket.io/stream?sid=B HTTP/1.1")
    await tcp.send("GET /socket.io/stream?sid=B HTTP/1.1", "Connection: close")
    await go_on(workers, tcp)
    async with asyncio.timeout(10):
        everything = await tcp.reader.read()
    assert everything.lower().count(b"x-slot: 1") == 2
    assert everything.count(b"49," * 100) >= 2


async def test_a_client_that_hangs_up_amid_a_response_is_no_error(
    workers: WorkersHere, tcp: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    """Each page that is left would write a traceback into the log."""
    await tcp.send("GET /socket.io/endless?sid=B HTTP/1.1")
    await go_on(workers, tcp)
    async with asyncio.timeout(10):
        await tcp.reader.readexactly(10_000)
    tcp.reset()
    await until(lambda: workers.connections_of(0) == 0)
    assert "Error handling request" not in caplog.text


async def test_a_client_waits_to_be_asked_for_its_body(workers: WorkersHere, tcp: Wire) -> None:
    """Programs such as curl would wait a second before they send a body."""
    await tcp.send("POST /socket.io/echo?sid=B HTTP/1.1", "Expect: 100-continue", "Content-Length: 4")
    await go_on(workers, tcp)
    async with asyncio.timeout(10):
        assert await tcp.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await tcp.more(b"body")
    assert await tcp.response() == (201, b"body")


async def test_a_worker_that_fails_amid_its_response(workers: WorkersHere, tcp: Wire) -> None:
    """A part of a response would be taken for the whole."""
    await tcp.send("GET /socket.io/die?sid=B HTTP/1.1")
    await go_on(workers, tcp)
    with pytest.raises(asyncio.IncompleteReadError):
        await tcp.response()


async def test_a_compressed_body_is_refused_as_ever(workers: WorkersHere, tcp: Wire) -> None:
    """A client would be told something else, by chance of where it has connected."""
    async with wire(workers.url_of(1)) as other:
        await other.send("GET /socket.io/?EIO=4&transport=polling HTTP/1.1")
        sid = json.loads((await other.response())[1][1:])["sid"]
    await tcp.send(
        f"POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1",
        "Content-Encoding: gzip",
        "Content-Length: 20",
        body=b"x" * 20,
    )
    await go_on(workers, tcp)
    assert (await tcp.response())[0] in (400, 415)  # aiohttp sees that it is no gzip, or the owner refuses it
