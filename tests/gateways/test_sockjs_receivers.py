"""Requests that receive, on a real network: HTTP/1.0, clients that vanish, and what an application adds."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
from aiohttp import web

from rtframework import Limits
from tests.conftest import Serve
from tests.engine import eventually
from tests.gateways.test_sockjs import Echo, echoing, see, sockjs
from tests.gateways.test_sockjs_session import reasons
from tests.support.server import reset

PRELUDE = "h" * 2048 + "\n"


async def opened(port: int, path: str, version: str = "1.1", more: str = "") -> tuple[Any, Any, bytes]:
    """Send a request by hand. Return both ends and the head of the response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {path} HTTP/{version}\r\nHost: x\r\nContent-Length: 0\r\n{more}\r\n"
    writer.write(head.encode())
    return reader, writer, await reader.readuntil(b"\r\n\r\n")


def port_of(url: str) -> int:
    """Return the port of a URL."""
    return int(url.split(":")[2].split("/")[0])


async def test_old_proxies_get_a_response_without_chunks(serve: Serve) -> None:
    """What stands in front may speak HTTP/1.0 only."""
    async with sockjs(serve) as client:
        port = port_of(client.url)
        reader, writer, head = await opened(port, "/echo/0/session1/xhr_streaming", "1.0", "Connection: keep-alive\r\n")
        assert head.startswith(b"HTTP/1.0 200")
        assert b"chunked" not in head.lower()
        assert b"content-length" not in head.lower()
        await reader.readexactly(len(PRELUDE))
        assert await reader.readexactly(2) == b"o\n"
        await client.post("/0/session1/xhr_send", data='["go"]')
        assert await reader.read() == b'c[4410,"server namespace disconnect"]\n'
        writer.close()


async def test_a_client_that_vanishes_loses_its_session(serve: Serve) -> None:
    """What was on its way to it is lost: it would go on with a hole."""
    io = echoing()
    gone = reasons(io)
    async with sockjs(serve, io) as client:
        port = port_of(client.url)
        _, writer, _ = await opened(port, "/echo/0/stream-1/xhr_streaming")
        await eventually(lambda: len(io.sockets) == 1)
        reset(writer.transport)
        await eventually(lambda: gone == ["transport close"])
        assert await client.post("/0/stream-1/xhr") == 'c[1002,"Connection interrupted"]\n'
        assert await client.post("/0/polls-1/xhr") == "o\n"
        writer = (await asyncio.open_connection("127.0.0.1", port))[1]
        writer.write(b"POST /echo/0/polls-1/xhr HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        while "2010" not in await client.post("/0/polls-1/xhr"):
            pass
        reset(writer.transport)
        await eventually(lambda: len(gone) == 2)
        assert await client.post("/0/polls-1/xhr") == 'c[1002,"Connection interrupted"]\n'


async def test_a_client_that_does_not_read_is_cut_off(serve: Serve) -> None:
    """What waits for it would fill the memory."""
    io = echoing(limits=Limits(max_outbox=200_000))
    gone = reasons(io)
    async with sockjs(serve, io, response_limit=2**30) as client:
        _, writer, _ = await opened(port_of(client.url), "/echo/0/session1/xhr_streaming")
        writer.transport.pause_reading()
        await eventually(lambda: len(io.sockets) == 1)
        async with asyncio.timeout(30):
            while not gone:
                await io.emit("message", "x" * 50_000)
                await asyncio.sleep(0)
        assert gone == ["slow consumer"]
        writer.transport.abort()


async def test_a_client_that_reads_again_gets_what_is_left_of_it(serve: Serve) -> None:
    """With the policy "drop_oldest", a stream would stop for good once it was full."""
    io = echoing(limits=Limits(max_outbox=200_000, slow_consumer="drop_oldest"))
    async with sockjs(serve, io, response_limit=2**30) as client:
        reader, writer, _ = await opened(port_of(client.url), "/echo/0/session1/xhr_streaming")
        await reader.readuntil(b"o\n\r\n")
        writer.transport.pause_reading()
        for _ in range(400):
            await io.emit("message", "x" * 50_000)
            await asyncio.sleep(0)
        await io.emit("message", "the end")
        writer.transport.resume_reading()
        async with asyncio.timeout(30):
            tail = b""
            while b"the end" not in tail:
                tail = tail[-20:] + await reader.read(65_536)
        writer.close()


async def test_what_comes_behind_the_request_of_a_stream_is_bounded(serve: Serve) -> None:
    """It would be kept, or read for nothing without end."""
    io = echoing()
    gone = reasons(io)
    async with sockjs(serve, io) as client:
        _, writer, _ = await opened(port_of(client.url), "/echo/0/session1/xhr_streaming")
        await eventually(lambda: len(io.sockets) == 1)
        writer.write(b"x" * 100_000)
        await eventually(lambda: bool(gone))
        writer.close()


async def test_applications_add_headers_to_streams(serve: Serve) -> None:
    """Middleware and signals of aiohttp would not hold for them."""
    io = echoing()
    app = web.Application()

    @web.middleware
    async def middleware(request: web.Request, handler: Any) -> web.StreamResponse:
        response: web.StreamResponse = await handler(request)
        return response

    async def hook(request: web.Request, response: web.StreamResponse) -> None:
        response.headers["X-Hook"] = "seen"

    app.middlewares.append(middleware)
    app.on_response_prepare.append(hook)
    io.attach_sockjs(app, "/echo", codec=Echo())
    server = await serve(app)
    async with aiohttp.ClientSession() as http:
        async with http.post(f"{server.url}/echo/0/session1/xhr_streaming") as response:
            assert response.headers["X-Hook"] == "seen"
            await see(response, PRELUDE, "o\n")
            async with http.post(f"{server.url}/echo/0/session1/xhr_send", data='["x"]') as sent:
                assert sent.headers["X-Hook"] == "seen"
            await see(response, 'a["x"]\n')
        async with http.options(f"{server.url}/echo/0/session1/xhr") as asked:
            assert asked.headers["Access-Control-Max-Age"] == "31536000"


async def test_a_stream_gets_heartbeats(serve: Serve) -> None:
    """Proxies would cut off what is silent."""
    async with sockjs(serve, heartbeat=0.1) as client:
        stream = await client.stream("POST", "/0/session1/xhr_streaming", PRELUDE, "o\n", "h\n", "h\n")
        await client.post("/0/session1/xhr_send", data='["go"]')
        assert (await stream.text()).endswith('c[4410,"server namespace disconnect"]\n')
