"""Websocket handshakes without aiohttp's tasks: all that a program has put in their way still sees them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import pytest
from aiohttp import web

from rtframework import ConnectionFailure, Server
from rtframework.engine.http.protocol import HttpProtocol
from tests.engine import Wire, Witness, engine_of, eventually, wire
from tests.support.server import HOST

PATH: Final = "/socket.io/?EIO=4&transport=websocket"
UPGRADE: Final = (
    f"GET {PATH} HTTP/1.1",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
CONNECT: Final = b"\x81\x82\0\0\0\x0040"

Arrange = Callable[[web.Application, Server, list[Any]], None]


@contextlib.asynccontextmanager
async def run(app: web.Application, access_log: logging.Logger | None = None) -> AsyncIterator[str]:
    """The URL of an application that is served."""
    runner = web.AppRunner(app, access_log=access_log, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0).start()
        yield f"http://{HOST}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[HttpProtocol]:
    """The connections for which aiohttp has started its task."""
    found: list[HttpProtocol] = []
    start = HttpProtocol.start

    async def note(self: HttpProtocol) -> None:
        found.append(self)
        await start(self)

    monkeypatch.setattr(HttpProtocol, "start", note)
    return found


async def frames(tcp: Wire, count: int) -> list[bytes]:
    """The payloads of so many short frames behind the answer to a handshake."""
    async with asyncio.timeout(3):
        head = await tcp.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        found = []
        for _ in range(count):
            _, length = await tcp.reader.readexactly(2)
            assert length < 126
            found.append(await tcp.reader.readexactly(length))
        return found


async def test_a_handshake_starts_no_task(started: list[HttpProtocol]) -> None:
    """A tenth of what a new client costs, and all of it when a hundred thousand come back at once."""
    app, witness = web.Application(), Witness()
    witness.io.attach(app)
    async with run(app) as url, wire(url) as tcp:
        await tcp.send(*UPGRADE, body=CONNECT)  # at once: what comes behind the handshake is not lost
        opened, connected = await frames(tcp, 2)
        assert opened.startswith(b'0{"sid":"')
        assert connected.startswith(b'40{"sid":"')
        assert started == []
        assert witness.only.handshake.url == PATH
        assert witness.only.handshake.address == HOST
        tcp.writer.close()
        await witness.reason()
    witness.assert_nothing_left()


async def test_a_handshake_through_a_proxy_starts_no_task(started: list[HttpProtocol]) -> None:
    """The same behind nginx, where most servers are; the address is the client's."""
    app, witness = web.Application(), Witness(trusted_proxies=[HOST])
    witness.io.attach(app)
    async with run(app) as url, wire(url) as tcp:
        await tcp.send(*UPGRADE, "X-Forwarded-For: 203.0.113.7", body=CONNECT)
        await frames(tcp, 2)
        assert started == []
        assert witness.only.handshake.address == "203.0.113.7"


async def test_a_connection_moves_to_a_websocket_without_a_task(started: list[HttpProtocol]) -> None:
    """The same for clients that begin with polling, as the JavaScript client does."""
    app, witness = web.Application(), Witness()
    witness.io.attach(app)
    async with run(app) as url, wire(url) as polling, wire(url) as tcp:
        await polling.send("GET /socket.io/?EIO=4&transport=polling HTTP/1.1")
        _, body = await polling.response()
        sid = body.split(b'"')[3].decode()
        assert len(started) == 1
        await tcp.send(UPGRADE[0].replace("websocket ", f"websocket&sid={sid} "), *UPGRADE[1:])
        await tcp.more(b"\x81\x86\0\0\0\x002probe")
        assert await frames(tcp, 1) == [b"3probe"]
        assert len(started) == 1


@pytest.mark.parametrize(
    ("more", "status", "message"),
    [("&EIO=5", 400, b"Unsupported protocol version"), ("&sid=nobody", 400, b"Session ID unknown")],
)
async def test_a_refused_handshake_is_answered(more: str, status: int, message: bytes) -> None:
    """A client would wait for an answer until its own patience ends."""
    app = web.Application()
    Server().attach(app)
    async with run(app) as url, wire(url) as tcp:
        await tcp.send(UPGRADE[0].replace("websocket ", f"websocket{more} "), *UPGRADE[1:])
        answered, body = await tcp.response()
        assert (answered, message in body) == (status, True)
        assert await tcp.reader.read() == b""


async def test_an_error_is_answered_and_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A mistake in the engine would close the connection without a word."""
    app, io = web.Application(), Server()
    io.attach(app)

    def fail(*args: object) -> str:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(engine_of(io).handshakes, "_generate_id", fail)
    async with run(app) as url, wire(url) as tcp:
        await tcp.send(*UPGRADE)
        assert (await tcp.response())[0] == 500
    assert "a mistake" in caplog.text


def middleware(app: web.Application, io: Server, seen: list[Any]) -> None:
    """The application's middleware."""

    @web.middleware
    async def note(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        seen.append(request.path)
        return await handler(request)

    app.middlewares.append(note)


def signal(app: web.Application, io: Server, seen: list[Any]) -> None:
    """A signal for responses."""

    async def note(request: web.Request, response: web.StreamResponse) -> None:
        seen.append(response.status)

    app.on_response_prepare.append(note)


def engine_middleware(app: web.Application, io: Server, seen: list[Any]) -> None:
    """Middleware of the engine."""

    @io.engine.use
    async def note(request: web.Request, call_next: Callable[[], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
        async with asyncio.timeout(3):  # which needs a task
            seen.append(request.path)
            return await call_next()


def headers(app: web.Application, io: Server, seen: list[Any]) -> None:
    """A listener for headers."""

    @io.engine.on("initial_headers")
    async def note(headers: Any, request: web.Request) -> None:
        seen.append(request.path)


def make_id(app: web.Application, io: Server, seen: list[Any]) -> None:
    """A function for session ids."""

    async def note(request: web.Request) -> str:
        assert asyncio.current_task() is not None
        seen.append(request.path)
        return f"id-{len(seen)}"

    io.engine.generate_id = note


@pytest.mark.parametrize("arrange", [middleware, signal, engine_middleware, headers, make_id])
async def test_what_a_program_has_put_in_the_way_sees_the_handshake(
    arrange: Arrange, started: list[HttpProtocol]
) -> None:
    """Its middleware checks who may come, its signals add headers."""
    app, io = web.Application(), Server()
    io.attach(app)
    seen: list[Any] = []
    arrange(app, io, seen)
    async with run(app) as url, wire(url) as tcp:
        await tcp.send(*UPGRADE)
        await frames(tcp, 1)
        assert len(seen) == 1
        assert len(started) == 1


async def test_allow_request_is_asked_in_a_task() -> None:
    """It asks a database, with a timeout."""

    async def allow(request: web.Request) -> bool:
        async with asyncio.timeout(3):
            await asyncio.sleep(0)
            return False

    app, io = web.Application(), Server(allow_request=allow)
    io.attach(app)
    async with run(app) as url, wire(url) as tcp:
        await tcp.send(*UPGRADE)
        assert (await tcp.response())[0] == 403


async def test_listeners_hear_of_refusals_in_a_task() -> None:
    """They write to a database, with a timeout."""
    app, io = web.Application(), Server()
    io.attach(app)
    heard: list[int] = []

    @io.engine.on("connection_error")
    async def note(failure: ConnectionFailure) -> None:
        assert asyncio.current_task() is not None
        heard.append(failure.code)

    async with run(app) as url, wire(url) as tcp:
        await tcp.send(UPGRADE[0].replace("websocket ", "websocket&sid=nobody "), *UPGRADE[1:])
        assert (await tcp.response())[0] == 400
        assert heard == [1]


@pytest.mark.parametrize("path", ["/socket.io/", "/socket.io/{rest:.*}"])
async def test_an_earlier_route_of_the_program_gets_its_requests(path: str) -> None:
    """aiohttp gives a request to the first route that fits."""

    async def own(request: web.Request) -> web.Response:
        return web.Response(status=418)

    app = web.Application()
    app.router.add_get(path, own)
    Server().attach(app)
    async with run(app) as url, wire(url) as tcp:
        await tcp.send(*UPGRADE)
        assert (await tcp.response())[0] == 418


async def test_a_domain_of_the_program_gets_its_requests() -> None:
    """A second site on the same server."""

    async def own(request: web.Request) -> web.Response:
        return web.Response(status=418)

    app, other = web.Application(), web.Application()
    other.router.add_get("/socket.io/", own)
    Server().attach(app)
    app.add_domain("localhost", other)
    async with run(app) as url, wire(url) as tcp:
        await tcp.send(*UPGRADE)
        assert (await tcp.response())[0] == 418


async def test_a_tool_that_replaces_the_application_s_method_sees_the_handshake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sentry does that."""
    seen: list[str] = []
    handle = web.Application._handle

    async def note(self: web.Application, request: web.Request) -> web.StreamResponse:
        seen.append(request.path)
        return await handle(self, request)

    monkeypatch.setattr(web.Application, "_handle", note)
    app = web.Application()
    Server().attach(app)
    async with run(app) as url, wire(url) as tcp:
        await tcp.send(*UPGRADE)
        await frames(tcp, 1)
        assert seen == ["/socket.io/"]


async def test_the_access_log_has_the_handshake(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever looks for a client there would not find it."""
    app = web.Application()
    Server().attach(app)
    log = logging.getLogger("tests.access")
    with caplog.at_level(logging.INFO, log.name):
        async with run(app, log) as url, wire(url) as tcp:
            await tcp.send(*UPGRADE)
            await frames(tcp, 1)
            await eventually(lambda: 'websocket HTTP/1.1" 101' in caplog.text)


async def test_a_client_that_waits_for_100_continue_gets_it() -> None:
    """aiohttp answers it."""
    app = web.Application()
    Server().attach(app)
    async with run(app) as url, wire(url) as tcp:
        await tcp.send(*UPGRADE, "Expect: 100-continue")
        assert (await tcp.response())[0] == 100
        await frames(tcp, 1)
