"""Responses that do not end: their heads, and clients that have gone before they begin."""

from __future__ import annotations

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from rtframework import Server
from rtframework.gateways.streaming import StreamAnswer
from tests.conftest import Serve
from tests.engine import engine_of, eventually


class Noted:
    """A stream whose client may have gone."""

    def __init__(self, *, has_gone: bool) -> None:
        self.head = b""
        self.is_lost = False
        self._has_gone = has_gone

    def begin(self, request: web.Request, head: bytes) -> None:
        if self._has_gone:
            raise ConnectionResetError("the client has gone")
        self.head = head

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True


async def test_a_stream_has_the_headers_of_all_and_no_length() -> None:
    """A browser would wait for its end, or keep it."""
    stream = Noted(has_gone=False)
    request = make_mocked_request("GET", "/")
    answer = StreamAnswer(request, stream, {"Content-Type": "text/event-stream"})
    response = answer.response()
    response.headers["X-Added"] = "1"
    assert (await answer.send_changed(request, response)).status == 200
    assert stream.head.startswith(b"HTTP/1.1 200 OK\r\n")
    lines = stream.head.lower().split(b"\r\n")
    assert {b"content-type: text/event-stream", b"x-added: 1", b"transfer-encoding: chunked"} <= set(lines)
    assert not [line for line in lines if line.startswith(b"content-length")]


async def test_a_client_that_has_gone_before_it_begins_is_told_of() -> None:
    """Its connection would be kept as one that receives."""
    stream = Noted(has_gone=True)
    request = make_mocked_request("GET", "/")
    assert (await StreamAnswer(request, stream, {}).send(request)).status == 400
    assert stream.is_lost


@pytest.mark.parametrize("path", ["events", "sockjs/0/session/eventsource"])
@pytest.mark.parametrize("where", ["middleware", "signal"])
async def test_a_stream_whose_head_is_not_sent_ends(serve: Serve, path: str, where: str) -> None:
    """Each request that a program answers by itself would leave a client that is there for ever."""
    io = Server()
    app = web.Application()
    io.attach_sse(app, "/events")
    io.attach_sockjs(app, "/sockjs")
    io.attach(app)

    if where == "middleware":

        @io.engine.use
        async def replace(request: web.Request, call_next: web.Handler) -> web.StreamResponse:  # type: ignore[name-defined]
            await call_next(request)
            return web.Response(status=403)

    else:

        async def fail(request: web.Request, response: web.StreamResponse) -> None:
            if response.status == 200:
                raise web.HTTPForbidden()

        app.on_response_prepare.append(fail)

    server = await serve(app)
    async with aiohttp.ClientSession() as http, http.get(f"{server.url}/{path}") as response:
        assert response.status == 403
        await eventually(lambda: not (io.sockets or engine_of(io).connections))
