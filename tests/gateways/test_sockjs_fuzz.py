"""SockJS against almost valid requests and bodies: refused or served, never worse.

The choices are made by a generator with a fixed seed, as in ``tests/gateways/test_fuzz.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from typing import Final

import aiohttp
import pytest
from aiohttp import web

from rtframework import DecodeError, Limits
from rtframework.counters import Counters
from rtframework.gateways.sockjs_frames import FRAMINGS, SockJSFrames, read_messages
from tests.conftest import Serve
from tests.engine import eventually
from tests.engine.test_fuzz import INPUTS, SEED, Stopwatch, mutate, rubbish
from tests.gateways.test_sockjs import echoing
from tests.gateways.test_stomp_fuzz import VALID, data_of
from tests.support.simulation import client_frame
from tests.support.websocket import REQUEST

BODIES: Final = (
    '["a"]',
    '["a","b","\\u2028","é","\\ud83d\\ude00","\\ud800"]',
    '"a"',
    "[]",
    '["{\\"event\\":\\"a\\",\\"args\\":[]}"]',
    '[["a"],{},1,null,true]',
)
PATHS: Final = (
    "/echo",
    "/echo/info",
    "/echo/iframe-1.html",
    "/echo/000/session1/xhr",
    "/echo/000/session2/xhr?t=1",
    "/echo/000/session1/xhr_send",
    "/echo/0/session1/xhr_streaming",
    "/echo/0/session3/eventsource",
    "/echo/0/session4/htmlfile?c=_jp.a",
    "/echo/0/session5/jsonp?c=a",
    "/echo/0/session5/websocket",
)


def test_no_body_breaks_the_reader() -> None:
    """A body that somebody made up would raise what nobody catches, or hold everybody up."""
    rng, watch, counts = random.Random(SEED), Stopwatch(), Counters()
    most, valid = INPUTS // 4, 0
    while watch.inputs < most:
        text = rubbish(rng) if rng.random() < 0.1 else mutate(rng, rng.choice(BODIES), BODIES)
        body = text.encode(errors="surrogatepass") if rng.random() < 0.7 else text
        found = watch.run(_read, body)
        if found is not None:
            valid += 1
            frames = SockJSFrames(found, counts)
            for framing in FRAMINGS:
                framing.wrap(frames.packets[0] if found else "").encode()  # type: ignore[arg-type]
            if found:
                assert json.loads(str(frames.packets[0])[1:]) == list(found)
    assert valid > most // 50, "too few bodies are valid for this to mean anything"


def _read(body: str | bytes) -> list[str] | None:
    try:
        return list(read_messages(body, most=100))
    except DecodeError:
        return None


async def test_no_request_breaks_the_server(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """One client could take the server away from all others."""
    rng = random.Random(SEED)
    io = echoing(limits=Limits(body_timeout=1.0))
    app = web.Application()
    # A request to a session that is still open is answered by a heartbeat, one whose body ends too early is given up.
    io.attach_sockjs(app, "/echo", client_url="/sockjs.js", session_timeout=0.2, heartbeat=1.0)
    server = await serve(app)
    for number in range(max(60, INPUTS // 200)):
        path = rng.choice(PATHS)
        if rng.random() < 0.3:
            path = "/" + mutate(rng, path[1:], PATHS).encode("ascii", "ignore").decode().translate(_NO_BLANKS)
        body = mutate(rng, rng.choice(BODIES), BODIES).encode(errors="surrogatepass")
        length = len(body) + rng.choice((0, 0, 0, 0, 5, -1))
        method = rng.choice(("POST", "POST", "GET", "OPTIONS", "PUT"))
        head = f"{method} {path} HTTP/1.{rng.choice('1110')}\r\nHost: x\r\nContent-Length: {max(0, length)}\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        with contextlib.closing(writer):
            writer.write(head.encode() + body)
            if number % 3 == 0:
                async with asyncio.timeout(20):
                    await reader.read(1)
    await eventually(lambda: not io._server.eio.connections)
    assert "Error handling request" not in caplog.text


async def test_no_websocket_breaks_the_server(serve: Serve) -> None:
    """One client could take the server away from all others."""
    rng = random.Random(SEED)
    io = echoing()
    app = web.Application()
    io.attach_sockjs(app, "/echo")
    server = await serve(app)
    for _ in range(max(40, INPUTS // 400)):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write("\r\n".join(["GET /echo/0/any/websocket HTTP/1.1", *REQUEST, "", ""]).encode())
        for _ in range(3):
            text = mutate(rng, rng.choice(BODIES), BODIES).encode(errors="surrogatepass")
            writer.write(client_frame(rng.choice((1, 1, 1, 2)), text))
        writer.write(client_frame(8, b"\x03\xe8"))
        async with asyncio.timeout(20):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
            assert await reader.readexactly(3) == b"\x81\x01o"
        writer.close()
    await eventually(lambda: not io._server.eio.connections)


@pytest.mark.parametrize("by", ["websocket", "xhr"])
async def test_no_stomp_breaks_the_server(serve: Serve, by: str) -> None:
    """A client of STOMP over SockJS with a bug, or an attacker, would stay for ever, or leave bytes behind."""
    rng = random.Random(SEED)
    io = echoing()
    app = web.Application()
    io.attach_sockjs(app, "/echo", carries="stomp", session_timeout=0.2)
    server = await serve(app)

    async def post(http: aiohttp.ClientSession, session: int, end: str, body: bytes = b"") -> int:
        async with http.post(f"{server.url}/echo/0/session{session}/{end}", data=body) as response:
            return response.status

    async with asyncio.timeout(60), aiohttp.ClientSession() as http:
        for number in range(max(40, INPUTS // 400)):
            pieces = [data_of(rng).decode(errors="replace") for _ in range(4)]
            bodies = [json.dumps(part).encode() for part in ([VALID[0]], pieces[:3], pieces[3:])]
            if by == "xhr":
                assert await post(http, number, "xhr") == 200
                for body in bodies:
                    assert await post(http, number, "xhr_send", body) in (204, 404)
                assert await post(http, number, "xhr") == 200
                continue
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write("\r\n".join(["GET /echo/0/any/websocket HTTP/1.1", *REQUEST, "", ""]).encode())
            writer.write(b"".join(client_frame(1, body) for body in bodies) + client_frame(8, b"\x03\xe8"))
            await reader.read()
            writer.close()
    await eventually(lambda: not io._server.eio.connections)
    assert io.stats().inbound_bytes == 0


_NO_BLANKS: Final = dict.fromkeys(range(33)) | {127: None}
