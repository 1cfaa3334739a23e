"""The server of ``benchmarks/doors.py``: one room for clients of all kinds, and a clock that emits to it."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Final

import uvloop
from aiohttp import web

from rtframework import History, Server, Socket
from rtframework.engine import tune_gc

TEXT: Final = (
    "The match is over, and what a match it was: two goals in the last five minutes, one of them from the middle of "
    "the field. The next one is on Sunday."
)

io = Server(history=History("kept", size=1000))


@io.on("connection")
async def connection(socket: Socket) -> None:
    await socket.join("room")
    await socket.emit("joined")


async def emit(request: web.Request) -> web.Response:
    """Emit so many messages to a room, so many a second; answer when that is done."""
    room, count, rate = request.query["room"], int(request.query["count"]), float(request.query["rate"])
    loop = asyncio.get_running_loop()
    begin = loop.time()
    for number in range(count):
        await asyncio.sleep(begin + number / rate - loop.time())
        await io.to(room).emit("said", {"number": number, "at": time.monotonic_ns() // 1000, "text": TEXT})
    return web.Response()


if __name__ == "__main__":
    app = web.Application()
    app.router.add_post("/emit", emit)
    io.attach(app)
    io.attach_websocket(app, "/ws")
    io.attach_sse(app, "/events", rooms=["kept"])
    io.attach_sse(app, "/compressed", rooms=["kept"], compress=True)
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
