"""Answers of the protocol on the wire: as they are, and after somebody has changed them."""

from __future__ import annotations

import gzip
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from aiohttp import web

from rtframework.engine.http.answers import Accepted, Answer, Opening, Payload, Switching, UnsentResponse
from rtframework.engine.transports.polling import BINARY, TEXT
from tests.conftest import Serve
from tests.engine import wire

GET = "GET / HTTP/1.1"
UPGRADE = (GET, "Connection: Upgrade", "Upgrade: websocket")
LONG = b"x" * 2_000


class Loss:
    """Hears that an answer was lost."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


def handed_over_to_nobody(response: UnsentResponse) -> None:
    raise AssertionError("no middleware of the application is there")


def application(
    make: Callable[[web.Request], Answer], *, change: Mapping[str, str] | None = None, more: Any = None
) -> web.Application:
    """Answers every request in this way; with ``change``, through a response that gets more headers."""

    async def handle(request: web.Request) -> web.StreamResponse:
        answer = make(request)
        if change is None:
            return await answer.send(request)
        response = answer.response()
        response.headers.update(change)
        return await response.answer.send_changed(request, response)

    app = web.Application(middlewares=[more] if more is not None else [])
    app.router.add_get("/", handle)
    return app


async def head_of(serve: Serve, app: web.Application, *lines: str) -> tuple[str, bytes]:
    """The head of the answer to a request, and its body."""
    server = await serve(app)
    async with wire(server.url) as line:
        await line.send(*(lines or (GET,)))
        head = (await line.reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.lower().split("content-length: ")[1].split("\r\n")[0]) if "ontent-" in head else 0
        return head, await line.reader.readexactly(length)


@pytest.mark.parametrize("headers", [{}, {"Access-Control-Allow-Origin": "https://a.org"}])
async def test_a_post_is_answered_with_ok(serve: Serve, headers: dict[str, str]) -> None:
    """The JavaScript client takes anything else for the end of the session."""
    head, body = await head_of(serve, application(lambda request: Accepted(headers)))
    assert head.startswith("HTTP/1.1 200 OK\r\n")
    assert body == b"ok"
    for name, value in headers.items():
        assert f"{name}: {value}\r\n" in head


async def test_middleware_of_the_application_sees_the_answer_to_a_post(serve: Serve) -> None:
    """Headers that a program wants on all of its answers would be missing."""

    @web.middleware
    async def add(request: web.Request, handler: Callable[..., Awaitable[web.StreamResponse]]) -> web.StreamResponse:
        response = await handler(request)
        response.headers["X-More"] = "1"
        return response

    head, _ = await head_of(serve, application(lambda request: Accepted({}), more=add))
    assert "X-More: 1" in head


@pytest.mark.parametrize("kind", [TEXT, BINARY])
@pytest.mark.parametrize("change", [None, {"X-More": "1"}])
async def test_a_payload_says_what_it_is(serve: Serve, kind: str, change: dict[str, str] | None) -> None:
    """A proxy would keep it, or a client read bytes as text."""
    loss = Loss()
    make = lambda request: Payload(  # noqa: E731
        b"4a", {"A": "b"}, coding=None, on_loss=loss, handed_over=handed_over_to_nobody, content_type=kind
    )
    answer = application(make, change=change)
    head, body = await head_of(serve, answer)
    assert body == b"4a"
    for line in (f"Content-Type: {kind}", "Cache-Control: no-store", "A: b"):
        assert f"{line}\r\n" in head
    assert ("X-More: 1" in head) is (change is not None)
    assert loss.times == 0


@pytest.mark.parametrize(
    ("kind", "sent", "is_copy"),
    [
        (TEXT, web.Response(text="4a"), True),
        (TEXT, web.Response(body=b"4a"), True),
        (TEXT, web.Response(body=b"4a", content_type="text/html", headers={"X": "y"}), True),
        (BINARY, web.Response(body=b"4a", content_type=BINARY), True),
        (BINARY, web.Response(body=b"4a", content_type="text/plain"), False),
        (TEXT, web.Response(text="4"), False),
        (TEXT, web.Response(text="4a", status=500), False),
        (TEXT, web.StreamResponse(), False),
    ],
)
def test_a_copy_is_as_good_as_the_answer(kind: str, sent: web.StreamResponse, is_copy: bool) -> None:
    """A session would end although its client has all packets, or go on without them."""
    response = Payload(
        b"4a", {}, coding=None, on_loss=Loss(), handed_over=handed_over_to_nobody, content_type=kind
    ).response()
    response.see(sent)
    assert response.is_sent is is_copy


async def test_large_payloads_are_compressed(serve: Serve) -> None:
    """Phones would pay for ten times the bytes."""
    make = lambda request: Opening(LONG, {}, coding=web.ContentCoding.gzip, on_loss=Loss())  # noqa: E731
    server = await serve(application(make))
    async with wire(server.url) as line:
        await line.send(GET, "Accept-Encoding: gzip")
        status, body = await line.response()
    assert (status, gzip.decompress(body)) == (200, LONG)


async def test_a_payload_that_cannot_be_sent_is_lost(serve: Serve) -> None:
    """The session would go on without packets that nobody got."""
    loss = Loss()

    class Broken(web.Response):
        async def prepare(self, request: web.BaseRequest) -> None:
            raise ConnectionResetError

    async def handle(request: web.Request) -> web.StreamResponse:
        answer = Payload(b"4a", {}, coding=None, on_loss=loss, handed_over=handed_over_to_nobody, content_type=TEXT)
        response: Any = Broken()
        await answer.send_changed(request, response)
        return web.Response(text="done")

    app = web.Application()
    app.router.add_get("/", handle)
    assert (await head_of(serve, app))[1] == b"done"
    assert loss.times == 1


@pytest.mark.parametrize("change", [None, {"X-More": "1"}])
async def test_a_websocket_gets_the_connection(serve: Serve, change: dict[str, str] | None) -> None:
    """Nobody could use websockets; or headers of middleware would be missing on them alone."""

    def make(request: web.Request) -> Answer:
        def begin(answer: bytes) -> web.StreamResponse:
            return web.Response(body=answer)

        return Switching(request, "accepted", [("Sec-WebSocket-Extensions", "x")], begin)

    _, head = await head_of(serve, application(make, change=change), *UPGRADE)
    lines = head.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 101 Switching Protocols"
    assert "Sec-WebSocket-Accept: accepted" in lines
    assert "Sec-WebSocket-Extensions: x" in lines
    assert ("X-More: 1" in lines) is (change is not None)
    assert lines[-2:] == ["", ""]
