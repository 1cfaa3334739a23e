"""Servers for the test client to talk to, in one process with it."""

from __future__ import annotations

import os
from typing import Any, Final

import pytest
from aiohttp import web

from rtframework import ConnectionRefused, Event, Server, Socket
from rtframework.protocols import CallNext

BOTH: Final = pytest.mark.parametrize("transport", ["websocket", "polling"])

NOT_ON_UVLOOP: Final = pytest.mark.skipif(
    os.environ.get("RTF_TEST_LOOP") == "uvloop", reason="the test client looks into asyncio's own event loop"
)


def chat(**options: Any) -> Server:
    """A server with a bit of everything; ``io.reasons`` is not there, so it keeps them in the list it is given."""
    io = Server(**options)

    @io.on("message")
    async def message(socket: Socket, text: Any) -> None:
        await socket.broadcast.emit("message", text)

    @io.on("add")
    def add(socket: Socket, a: int, b: int) -> int:
        return a + b

    @io.on("echo")
    def echo(socket: Socket, *args: Any) -> tuple[Any, ...]:
        return args

    @io.on("ask")
    async def ask(socket: Socket, question: Any) -> Any:
        return await socket.emit_with_ack("question", question)

    @io.on("never")
    async def never(socket: Socket, ack: Any) -> None:
        """Answers by a call that never comes."""

    @io.on("leave")
    async def leave(socket: Socket, close: bool) -> None:
        await socket.disconnect(close=close)

    return io


def application(io: Server, seen: list[str]) -> web.Application:
    """The server in an application with middleware and a route of its own."""

    @web.middleware
    async def watch(request: web.Request, handler: Any) -> web.StreamResponse:
        seen.append(f"{request.method} {request.path}")
        if request.headers.get("X-Banned"):
            raise web.HTTPForbidden(text="you are banned")
        response: web.StreamResponse = await handler(request)
        return response

    async def hello(request: web.Request) -> web.Response:
        response = web.json_response({"cookie": request.cookies.get("seen", "")})
        response.set_cookie("seen", "yes")
        return response

    app = web.Application(middlewares=[watch])
    app.router.add_get("/hello", hello)
    io.attach(app)
    return app


async def refuse_strangers(socket: Socket, call_next: CallNext) -> None:
    """Connect middleware."""
    if "name" not in socket.handshake.auth:
        raise ConnectionRefused("who are you?", {"code": 7})
    await call_next()


async def shout(socket: Socket, event: Event, call_next: CallNext) -> Any:
    """Event middleware."""
    event.args = [arg.upper() if isinstance(arg, str) else arg for arg in event.args]
    return await call_next()
