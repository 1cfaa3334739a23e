"""Requests that were read without aiohttp's parser, as programs of python-socketio see them."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from rtframework.engine import AsyncServer
from rtframework.engine.http.full_request import full_request
from rtframework.engine.http.protocol import HttpProtocol
from tests.engine import wire
from tests.engine.http.test_direct import UPGRADE, frames, run, started

__all__ = ["started"]

HEADERS = ("x-Own: a, b", "Cookie: a=b; c=d", "Origin: http://localhost", "User-Agent: Mozilla/5.0")


async def seen_by(app: web.Application, *request: str) -> tuple[dict[str, Any], web.Request]:
    """The environ and the request that a handler gets."""
    sio = AsyncServer(async_mode="aiohttp", cors_allowed_origins="*")
    sio.attach(app)
    async with run(app) as url, wire(url) as tcp:
        await tcp.send(*request)
        await frames(tcp, 1)
        (socket,) = sio.eio.sockets.values()
        environ: dict[str, Any] = dict(socket.environ)
        assert socket.came_through(app)
    return environ, environ["aiohttp.request"]


async def test_a_handler_sees_what_aiohttp_reads(started: list[HttpProtocol]) -> None:
    """Programs look for tokens, sessions and addresses in the environ and in aiohttp's request behind it."""

    @web.middleware
    async def see(request: web.Request, handler: Any) -> web.StreamResponse:
        response: web.StreamResponse = await handler(request)
        return response

    request = (*UPGRADE, *HEADERS)
    ours, full = await seen_by(web.Application(), *request)
    assert started == []
    theirs, parsed = await seen_by(web.Application(middlewares=[see]), *request)
    assert len(started) == 1
    unlike = {"REMOTE_PORT", "wsgi.input", "wsgi.errors", "aiohttp.request"}
    assert {name: value for name, value in ours.items() if name not in unlike} == {
        name: value for name, value in theirs.items() if name not in unlike
    }
    assert list(ours) == list(theirs)
    for name in (
        "method",
        "path",
        "path_qs",
        "rel_url",
        "url",
        "version",
        "headers",
        "raw_headers",
        "cookies",
        "query",
    ):
        assert getattr(full, name) == getattr(parsed, name), name
    for name in ("remote", "scheme", "host", "secure", "keep_alive", "can_read_body", "content_type", "charset"):
        assert getattr(full, name) == getattr(parsed, name), name
    assert full.match_info.route.method == parsed.match_info.route.method == "*"
    assert await full.read() == b""
    assert full_request(full) is full
