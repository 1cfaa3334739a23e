"""Responses that do not end: their heads, and clients that have gone before they begin."""

from __future__ import annotations

from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from rtframework.gateways.streaming import StreamAnswer


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

    def lose(self) -> None:
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
