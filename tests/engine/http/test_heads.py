"""Heads of requests: how large and how late they may be, however the application is run."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import re
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import pytest
from aiohttp import web

from rtframework import Limits, Server
from rtframework.engine import limit_heads
from tests.engine import Wire, Witness, block, join, line, raw_client, wire
from tests.support.server import HOST

HANDSHAKE: Final = "GET /socket.io/?EIO=4&transport=polling{more} HTTP/1.1"
UPGRADE: Final = (
    "GET /socket.io/?EIO=4&transport=websocket{more} HTTP/1.1",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
SECRET: Final = "secret" * 4_000


@contextlib.asynccontextmanager
async def run(app: web.Application, **settings: Any) -> AsyncIterator[str]:
    """The URL of an application, run as the page on deployment says."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5, **settings)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0).start()
        yield f"http://{HOST}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def attached(io: Server) -> web.Application:
    """An application with a server."""
    app = web.Application()
    io.attach(app)
    return app


def in_sub_application(io: Server) -> web.Application:
    """An application with a server further in."""
    app, outer = web.Application(), web.Application()
    io.attach(app)
    outer.add_subapp("/sub", app)
    limit_heads(outer)
    return outer


async def closed(tcp: Wire, within: float = 5) -> bytes:
    """What comes until the server closes."""
    async with asyncio.timeout(within):
        return await tcp.reader.read()


def statuses(answer: bytes) -> list[int]:
    """The statuses of the responses in what came. aiohttp answers what it cannot read as HTTP/1.0."""
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3})", answer)]


@pytest.mark.parametrize("size", [8_300, 15_000])
@pytest.mark.parametrize("where", ["cookie", "url"])
async def test_large_cookies_and_urls_are_served(size: int, where: str) -> None:
    """Whoever has a session cookie of 9 KB could not connect, and would be served by Node."""
    async with run(attached(Server())) as url, wire(url) as tcp:
        for first, *more in ((HANDSHAKE,), UPGRADE):
            large = "x" * size
            if where == "cookie":
                await tcp.send(first.format(more=""), f"Cookie: a={large}", *more)
            else:
                await tcp.send(first.format(more=f"&token={large}"), *more)
            status, _ = await tcp.response()
            assert status in (200, 101)
        assert status == 101


@pytest.mark.parametrize("make", [attached, in_sub_application])
@pytest.mark.parametrize(
    "lines",
    [
        (HANDSHAKE.format(more=""), f"Cookie: a={SECRET}"),
        (HANDSHAKE.format(more=f"&token={SECRET}"),),
    ],
    ids=["cookie", "url"],
)
async def test_a_refusal_quotes_nothing(
    make: Callable[[Server], web.Application], lines: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """Cookies and tokens of users would stand in the log, and a traceback for each request."""
    async with run(make(Server())) as url:
        for _ in range(3):
            async with wire(url) as tcp:
                await tcp.send(*lines)
                answer = await closed(tcp)
                assert statuses(answer) == [431]
                assert b"secretsecret" not in answer
    assert "secretsecret" not in caplog.text
    assert "Traceback" not in caplog.text
    assert {record.name for record in caplog.records} == {"rtframework.engine"}
    assert "max_head_size" in caplog.text


@pytest.mark.parametrize(
    "bad", [b"GET / HTTP/1.1\r\nHost: x\r\nCookie : secret\r\n\r\n", b"\0" * 60_000, b"\r\nsecret\r\n"]
)
async def test_what_is_not_http_is_refused_quietly(bad: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Anybody could fill the log with tracebacks."""
    async with run(attached(Server())) as url, wire(url) as tcp:
        await tcp.more(bad)
        assert statuses(await closed(tcp)) == [400]
    assert "secret" not in caplog.text
    assert "Traceback" not in caplog.text


async def test_an_exception_of_a_handler_is_logged_as_before(caplog: pytest.LogCaptureFixture) -> None:
    """A program's own mistakes would be silent."""

    async def fail(request: web.Request) -> web.Response:
        raise RuntimeError("a mistake")

    app = attached(Server())
    app.router.add_get("/fail", fail)
    async with run(app) as url, wire(url) as tcp:
        await tcp.send("GET /fail HTTP/1.1")
        assert (await tcp.response())[0] == 500
    assert "a mistake" in caplog.text


@pytest.mark.parametrize("first", [HANDSHAKE, UPGRADE[0]])
async def test_a_handshake_of_many_large_headers_is_refused(first: str) -> None:
    """Each session would keep a megabyte for as long as its client likes."""
    witness = Witness()
    async with run(attached(witness.io)) as url, wire(url) as tcp:
        headers = [f"X-{number}: {'x' * 7_900}" for number in range(100)]
        await tcp.send(first.format(more=""), *headers, *UPGRADE[1 : 5 if first == UPGRADE[0] else 1])
        answer = await closed(tcp)
        assert statuses(answer) == [431]
        assert b"Connection: close" in answer
        assert not witness.engine.connections


@pytest.mark.parametrize("many", ["&" + "&".join(f"p{n}" for n in range(300)), ""], ids=["parameters", "cookies"])
async def test_a_handshake_of_many_parts_is_refused(many: str) -> None:
    """A few kilobytes of parameters would take a megabyte of memory once they are taken apart."""
    async with run(attached(Server())) as url, wire(url) as tcp:
        cookies = "; ".join(f"c{n}=1" for n in range(300))
        await tcp.send(HANDSHAKE.format(more=many), *(() if many else (f"Cookie: {cookies}",)))
        assert statuses(await closed(tcp)) == [431]


async def test_the_program_s_own_limits_count() -> None:
    """A program that wants less, or more, could not have it."""
    app = attached(Server(limits=Limits(max_head_size=30_000)))
    Server(limits=Limits(max_head_size=500)).attach(app, "/small")
    async with run(app) as url, wire(url) as tcp:
        await tcp.send(HANDSHAKE.format(more=""), f"Cookie: a={'x' * 25_000}")
        assert (await tcp.response())[0] == 200
        await tcp.send("GET /small/?EIO=4&transport=polling HTTP/1.1", f"Cookie: a={'x' * 600}")
        assert (await tcp.response())[0] == 431
    async with run(attached(Server()), max_field_size=1_000) as url, wire(url) as tcp:
        await tcp.send(HANDSHAKE.format(more=""), f"Cookie: a={'x' * 1_500}")
        assert (await tcp.response())[0] == 431


async def test_a_head_has_to_arrive_in_time(caplog: pytest.LogCaptureFixture) -> None:
    """A thousand connections with half a head each, a byte a minute, would take all files of the process."""
    app = attached(Server(limits=Limits(head_timeout=0.1)))
    async with run(app) as url, wire(url) as first, wire(url) as kept, wire(url) as other:
        await first.more(b"GET / HTTP/1.1\r\nHost: x\r\n")
        for tcp in (kept, other):  # in this order: the server waits again for what comes on the first
            await tcp.send(HANDSHAKE.format(more=""))
            assert (await tcp.response())[0] == 200
        await kept.more(b"GET /secret HTT")
        for tcp in (first, kept):
            answer = await closed(tcp)
            assert statuses(answer) == [408]
    assert "head_timeout" in caplog.text
    assert "secret" not in caplog.text


async def test_idle_connections_are_closed() -> None:
    """Connections of clients that have vanished would stay for an hour."""
    async with run(attached(Server()), keepalive_timeout=0.1) as url, wire(url) as silent, wire(url) as kept:
        await kept.send(HANDSHAKE.format(more=""))
        assert (await kept.response())[0] == 200
        for tcp in (silent, kept):
            assert await closed(tcp) == b""


async def test_idle_connections_have_as_long_as_with_run_app() -> None:
    """A runner's connections would stay for an hour, where those of ``web.run_app`` stay for 75 seconds."""
    app = attached(Server())
    async with run(app) as url, wire(url) as tcp:
        await tcp.send(HANDSHAKE.format(more=""))
        await tcp.response()
        open_ones = [each for each in gc.get_objects() if isinstance(each, web.RequestHandler) and each.connected]
        assert {each.keepalive_timeout for each in open_ones} == {75}


async def test_a_blocked_loop_closes_no_connection() -> None:
    """A handler that computes for a minute would cut off those whose requests wait unread meanwhile."""
    app = attached(Server(limits=Limits(head_timeout=0.5)))
    async with run(app, keepalive_timeout=0.5) as url, wire(url) as tcp:
        await tcp.more(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost:")
        await asyncio.sleep(0.02)
        block(1.2)
        for _ in range(3):  # the time has passed, and is looked at
            await asyncio.sleep(0)
        await tcp.more(b" x\r\n\r\n")
        assert (await tcp.response())[0] == 200


async def test_polls_websockets_and_bodies_may_wait() -> None:
    """Clients for whom there is nothing would be disconnected."""
    witness = Witness(limits=Limits(head_timeout=0.05))
    async with run(attached(witness.io), keepalive_timeout=0.05) as url, raw_client(url, keeps_alive=False) as raw:
        await join(raw)
        async with wire(url) as tcp, wire(url) as poster, wire(url) as upgraded:
            await tcp.send(line(raw, "GET"))
            await poster.send(line(raw, "POST"), "Content-Length: 12", body=b'42["note')
            await upgraded.send(UPGRADE[0].format(more=""), *UPGRADE[1:])
            assert (await upgraded.response())[0] == 101
            await asyncio.sleep(0.2)  # four times as long as a head may take
            await poster.more(b'",7]')
            assert await poster.response() == (200, b"ok")
            await witness.noted(7)
            await witness.io.emit("news")
            assert await tcp.response() == (200, b'42["news"]')
            upgraded.writer.write(b"\x89\x80\0\0\0\0")
            frames = b""
            while b"\x8a\0" not in frames:  # the pong, behind the open packet
                frames += await upgraded.reader.read(1_000)


@pytest.mark.parametrize("together", [True, False], ids=["one segment", "two segments"])
async def test_an_upgrade_that_the_application_refuses_gets_one_answer(together: bool) -> None:
    """Frames behind the handshake of somebody who is not signed in would be answered one by one."""

    @web.middleware
    async def refuse(request: web.Request, handler: Callable[..., Any]) -> web.StreamResponse:
        return web.Response(status=401)

    app = web.Application(middlewares=[refuse])
    Server().attach(app)
    async with run(app) as url, wire(url) as tcp:
        tail = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 100
        await tcp.send(UPGRADE[0].format(more=""), *UPGRADE[1:], body=tail if together else b"")
        if not together:
            assert (await tcp.response())[0] == 401
            with contextlib.suppress(ConnectionError):
                await tcp.more(tail)
                assert await closed(tcp) == b""
        else:
            assert statuses(await closed(tcp)) == [401]


async def test_an_argument_that_there_is_not(caplog: pytest.LogCaptureFixture) -> None:
    """A typo in a program would end every connection with an exception, which with aiohttp is a line in the log."""
    async with run(attached(Server()), no_such_argument=1) as url, wire(url) as tcp:
        await tcp.send(HANDSHAKE.format(more=""))
        assert (await tcp.response())[0] == 200
    assert "no_such_argument" in caplog.text
