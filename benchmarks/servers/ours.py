"""The benchmark's server on rtframework: default settings, typed handlers, uvloop, as ``rtframework run`` serves.

``--middleware``: with middleware that does nothing, so that aiohttp's tasks serve all requests.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable

import uvloop
from aiohttp import web

from rtframework import Server, Socket
from rtframework.engine import tune_gc

io = Server()


@io.on("bcast")
async def bcast(socket: Socket, data: dict[str, int | str]) -> None:
    await io.emit("bcast", data)


@io.on("echo")
async def echo(socket: Socket, data: str) -> str:
    return data


@io.on("join")
async def join(socket: Socket, prefix: str, count: int) -> int:
    await socket.join([f"{prefix}{number}" for number in range(count)])
    return count


@web.middleware
async def see(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    return await handler(request)


if __name__ == "__main__":
    app = web.Application(middlewares=[see] if "--middleware" in sys.argv else [])
    io.attach(app)
    tune_gc(app)
    web.run_app(
        app,
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        access_log=None,
        print=None,
        backlog=4096,
        loop=uvloop.new_event_loop(),
    )
