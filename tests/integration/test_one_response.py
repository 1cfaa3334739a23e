"""One request, one response, whatever the application's middleware does."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import pytest
from aiohttp import web

from rtframework import Server, Socket
from tests.conftest import Serve
from tests.support.front import block_of, nginx, program
from tests.support.js import JSClients
from tests.support.raw import raw_client
from tests.support.server import RunningServer
from tests.support.thorough import examples

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Wrap = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]

MARK: Final = "X-Seen"


async def do_nothing(request: web.Request, handler: Handler) -> web.StreamResponse:
    return await handler(request)


async def set_header(request: web.Request, handler: Handler) -> web.StreamResponse:
    response = await handler(request)
    response.headers[MARK] = "header"
    response.set_cookie("seen", "cookie")
    return response


async def read_text(request: web.Request, handler: Handler) -> web.StreamResponse:
    response = await handler(request)
    if isinstance(response, web.Response):
        response.headers[MARK] = str(len(response.text or ""))
    return response


async def replace(request: web.Request, handler: Handler) -> web.StreamResponse:
    await handler(request)
    return web.json_response({"replaced": True}, headers={MARK: "replaced"})


async def copy_text(request: web.Request, handler: Handler) -> web.StreamResponse:
    response = await handler(request)
    assert isinstance(response, web.Response)
    return web.Response(text=response.text, status=response.status, headers={MARK: "copied"})


async def copy_body(request: web.Request, handler: Handler) -> web.StreamResponse:
    response = await handler(request)
    assert isinstance(response, web.Response)
    return web.Response(body=response.body, status=response.status, headers={MARK: "copied"})


async def stream(request: web.Request, handler: Handler) -> web.StreamResponse:
    await handler(request)
    response = web.StreamResponse(headers={MARK: "streamed"})
    await response.prepare(request)
    await response.write(b"a")
    await response.write(b"b")
    await response.write_eof()
    return response


async def refuse_before(request: web.Request, handler: Handler) -> web.StreamResponse:
    raise web.HTTPForbidden(headers={MARK: "before"})


async def refuse_after(request: web.Request, handler: Handler) -> web.StreamResponse:
    await handler(request)
    raise web.HTTPForbidden(headers={MARK: "after"})


async def fail(request: web.Request, handler: Handler) -> web.StreamResponse:
    await handler(request)
    raise RuntimeError("a mistake in middleware")


COPYING: Final = (copy_text, copy_body)
SENDING_NOTHING: Final = (do_nothing, set_header, read_text, *COPYING, replace, refuse_before, refuse_after, fail)
KINDS: Final = (*SENDING_NOTHING, stream)


def kind_of(request: web.Request) -> str:
    """Return ``"plain"``, ``"handshake"``, ``"poll"`` or ``"post"``."""
    if request.path.startswith("/plain"):
        return "plain"
    if "sid" not in request.query:
        return "handshake"
    return "poll" if request.method == "GET" else "post"


def middleware_of(wrap: Wrap, targets: frozenset[str]) -> Any:
    """Apply a function to requests of some kinds."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await (wrap(request, handler) if kind_of(request) in targets else handler(request))

    return middleware


def make_app(middlewares: list[Any]) -> web.Application:
    """Make an application with a server, and a route that says which request it got."""
    io = Server(ping_interval=0.1, ping_timeout=5)

    @io.on("echo")
    async def echo(socket: Socket, value: int) -> int:
        return value

    async def plain(request: web.Request) -> web.Response:
        return web.Response(text=f"plain {request.match_info['number']}")

    app = web.Application(middlewares=middlewares)
    app.router.add_get("/plain/{number}", plain)
    io.attach(app)
    return app


@dataclass
class Response:
    """A response as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def closes(self) -> bool:
        """True if nothing more comes on the connection."""
        return self.headers.get("connection") == "close"


async def read_response(reader: asyncio.StreamReader) -> Response:
    """Read one response (RFC 9112), and not a byte more."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    else:
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Response(int(head[0].split()[1]), headers, body)


class Browser:
    """One TCP connection, kept alive for as long as the server does; then the next one."""

    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter

    def __init__(self, address: str) -> None:
        self._address = address

    async def open(self) -> None:
        """Connect."""
        host, _, port = self._address.partition(":")
        self._reader, self._writer = await asyncio.open_connection(host, int(port))

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()

    def send(self, method: str, path: str, body: str = "") -> None:
        """Send a request, without waiting for the response."""
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._address}\r\nContent-Length: {len(body)}\r\n\r\n"
        self._writer.write((head + body).encode())

    async def receive(self) -> Response:
        """Read the next response. One that closes the connection is the last."""
        async with asyncio.timeout(10):
            response = await read_response(self._reader)
            if response.closes:
                assert await self._reader.read() == b""
                self.close()
                await self.open()
            return response

    async def ask(self, method: str, path: str, body: str = "") -> Response:
        """Send a request and read the response."""
        self.send(method, path, body)
        return await self.receive()

    async def receive_nothing(self) -> None:
        """Assert that nothing follows."""
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                raise AssertionError(f"unasked: {await self._reader.readexactly(1)!r}")


@asynccontextmanager
async def browser_of(server: RunningServer) -> AsyncIterator[Browser]:
    """Connect to a server."""
    browser = Browser(server.url.removeprefix("http://"))
    await browser.open()
    try:
        yield browser
    finally:
        browser.close()


def random_middlewares(choose: random.Random) -> list[Any]:
    """Some middleware, or none."""
    return [
        # One that streams writes at once: inside another one, both would write.
        middleware_of(
            choose.choice(KINDS if outermost else SENDING_NOTHING),
            frozenset(choose.sample(["poll", "post", "plain"], choose.randint(1, 3))),
        )
        for outermost in [True, False, False][: choose.randint(0, 3)]
    ]


@pytest.mark.parametrize("seed", range(examples(200) // 10))
async def test_each_request_gets_its_own_response(serve: Serve, seed: int) -> None:
    """Behind a proxy with keep-alive, the second response to one person's request is another person's."""
    choose = random.Random(seed)
    server = await serve(make_app(random_middlewares(choose)))
    async with browser_of(server) as browser:
        for session in range(4):
            opened = await browser.ask("GET", "/socket.io/?EIO=4&transport=polling")
            sid = json.loads(opened.body[1:])["sid"] if opened.body.startswith(b"0{") else "none"
            path = f"/socket.io/?EIO=4&transport=polling&sid={sid}"
            asked: list[str] = []
            for step in ("connect", "poll", "event", "poll", "event", "poll"):
                for kind in choose.choice([(step,), ("plain", step), (step, "plain", "plain")]):
                    number = choose.randrange(1000)
                    asked.append(f"plain {number}" if kind == "plain" else "")
                    if kind == "plain":
                        browser.send("GET", f"/plain/{number}")
                    elif kind == "poll":
                        browser.send("GET", path)
                    else:
                        browser.send("POST", path, "40" if kind == "connect" else f'42{number}["echo",{session}]')
                if choose.random() < 0.5:
                    await expect_all(browser, asked)
            await expect_all(browser, asked)
            await browser.receive_nothing()


@pytest.mark.skipif(program("nginx") is None, reason="nginx is not installed")
@pytest.mark.parametrize("seed", range(examples(60) // 10))
async def test_nobody_gets_the_response_of_somebody_else(serve: Serve, seed: int) -> None:
    """Behind nginx, requests of several people share a connection: one would read the other's messages."""
    choose = random.Random(seed)
    server = await serve(make_app(random_middlewares(choose)))
    changes = {"127.0.0.1:8080": server.url.removeprefix("http://"), "keepalive 32;": "keepalive 2;"}
    async with nginx(block_of("nginx.md", "nginx"), changes) as front:
        people = [choose.randrange(1 << 30) for _ in range(4)]
        await asyncio.gather(*(visit(front.url, random.Random(person)) for person in people))


async def visit(url: str, choose: random.Random) -> None:
    """Be one person behind the proxy: connect, send, poll, ask for pages; see that all answers are to one's own."""
    browser = Browser(url.removeprefix("http://"))
    await browser.open()
    try:
        for _ in range(3):
            opened = await browser.ask("GET", "/socket.io/?EIO=4&transport=polling")
            sid = json.loads(opened.body[1:])["sid"] if opened.body.startswith(b"0{") else "none"
            path = f"/socket.io/?EIO=4&transport=polling&sid={sid}"
            mine = choose.randrange(1_000, 1_000_000)
            for step in ("connect", "poll", "event", "poll", "refused", "event", "poll"):
                number = choose.randrange(1_000_000)
                page = await browser.ask("GET", f"/plain/{number}")
                if page.status == 200 and MARK.lower() not in page.headers:
                    assert page.body.decode() == f"plain {number}"
                if step == "poll":
                    polled = await browser.ask("GET", path)
                    assert not polled.body.startswith((b"plain", b"0{", b"ok"))
                    acks = re.findall(rb"43\d+\[(\d+)\]", polled.body)
                    assert {int(ack) for ack in acks} <= {mine}, "somebody else's"
                elif step == "refused":
                    refused = await browser.ask("GET", "/socket.io/?EIO=4&transport=polling&sid=nobody")
                    assert (refused.status, refused.body) == (400, b'{"code":1,"message":"Session ID unknown"}') or (
                        MARK.lower() in refused.headers or refused.status in (403, 500, 502)
                    )
                else:
                    body = "40" if step == "connect" else f'42{number}["echo",{mine}]'
                    posted = await browser.ask("POST", path, body)
                    assert not re.match(rb"plain|0\{|2|40\{|43\d*\[", posted.body)
        await browser.receive_nothing()
    finally:
        browser.close()


async def expect_all(browser: Browser, asked: list[str]) -> None:
    """Read the responses to requests, and see that each belongs to its own."""
    while asked:
        text = asked.pop(0)
        response = await browser.receive()
        if response.closes:
            asked.clear()
        if text and MARK.lower() not in response.headers and response.status == 200:
            assert response.body.decode() == text
        if not text:
            assert not response.body.startswith(b"plain")


@pytest.mark.parametrize("wrap", [set_header, read_text, *COPYING], ids=lambda wrap: wrap.__name__)
async def test_middleware_may_change_the_answer_to_a_poll(serve: Serve, js: JSClients, wrap: Wrap) -> None:
    """Headers and cookies of middleware would be lost, or would break every poll."""
    server = await serve(make_app([middleware_of(wrap, frozenset({"handshake", "poll", "post"}))]))
    async with browser_of(server) as browser:
        opened = await browser.ask("GET", "/socket.io/?EIO=4&transport=polling")
        path = f"/socket.io/?EIO=4&transport=polling&sid={json.loads(opened.body[1:])['sid']}"
        posted = await browser.ask("POST", path, "40")
        polled = await browser.ask("GET", path)
    for response in (opened, posted, polled):
        assert response.status == 200
        assert MARK.lower() in response.headers
        assert ("set-cookie" in response.headers) is (wrap is set_header)
    assert polled.body.startswith(b'40{"sid"')
    client = await js.connect(server.url, transports=["polling"])
    for number in range(5):
        assert await client.emit_with_ack("echo", number) == number


@pytest.mark.parametrize("wrap", [replace, stream, refuse_after, fail], ids=lambda wrap: wrap.__name__)
async def test_a_session_ends_whose_packets_middleware_has_thrown_away(
    serve: Serve, wrap: Wrap, caplog: pytest.LogCaptureFixture
) -> None:
    """The client would go on without the packets, and nobody would know."""
    broken = False

    async def sometimes(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await (wrap if broken else do_nothing)(request, handler)

    server = await serve(make_app([middleware_of(sometimes, frozenset({"poll"}))]))
    async with browser_of(server) as browser:
        opened = await browser.ask("GET", "/socket.io/?EIO=4&transport=polling")
        path = f"/socket.io/?EIO=4&transport=polling&sid={json.loads(opened.body[1:])['sid']}"
        await browser.ask("POST", path, "40")
        broken = True
        lost = await browser.ask("GET", path)
        assert not lost.body.startswith(b"40{")
        broken = False
        assert (await browser.ask("GET", path)).status == 400
        await browser.receive_nothing()
    told = [record for record in caplog.records if record.name == "rtframework.engine"]
    assert ["return that response" in record.getMessage() for record in told] == [True]


async def test_a_copy_of_an_answer_is_sent_or_it_is_not(serve: Serve) -> None:
    """A client that has hung up would lose packets, or one that has got them be closed."""
    broken = False

    async def copy_half(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        assert isinstance(response, web.Response)
        text = response.text or ""
        return web.Response(text=text[: len(text) // 2] if broken else text)

    server = await serve(make_app([middleware_of(copy_half, frozenset({"poll"}))]))
    async with browser_of(server) as browser:
        opened = await browser.ask("GET", "/socket.io/?EIO=4&transport=polling")
        path = f"/socket.io/?EIO=4&transport=polling&sid={json.loads(opened.body[1:])['sid']}"
        await browser.ask("POST", path, "40")
        assert (await browser.ask("GET", path)).body.startswith(b'40{"sid"')
        broken = True
        assert (await browser.ask("GET", path)).body == b"", "half of a ping"
        broken = False
        assert (await browser.ask("GET", path)).body == b'{"code":3,"message":"Bad request"}'


async def test_a_websocket_is_not_disturbed_by_middleware_that_comes_too_late(serve: Serve, js: JSClients) -> None:
    """The frames of a websocket would have an error page between them."""
    server = await serve(make_app([middleware_of(fail, frozenset({"handshake"}))]))
    client = await js.connect(server.url, transports=["websocket"])
    for number in range(5):
        assert await client.emit_with_ack("echo", number) == number


async def test_an_upgrade_does_not_save_a_session_whose_packets_are_lost(serve: Serve) -> None:
    """The client would go on by websocket, without the packets that middleware has thrown away."""
    broken = False

    async def sometimes(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await (replace if broken else do_nothing)(request, handler)

    server = await serve(make_app([middleware_of(sometimes, frozenset({"poll"}))]))
    async with raw_client(server.url) as client:
        await client.handshake()
        await client.post("40")
        await client.receive()
        await client.post('421["echo",1]')
        broken = True
        assert "replaced" in (await client.request("GET")).text
        broken = False
        websocket = await client.websocket()
        await websocket.send("5")
        assert (await websocket.closed())[0] == []
