"""The server of ``benchmarks.slow_consumer``: everybody is in one room, and ``go`` broadcasts to it."""

from __future__ import annotations

import json
import os
import sys

import uvloop
from aiohttp import web

from rtframework import Limits, Server, Socket

io = Server(ping_interval=5, ping_timeout=5, limits=Limits(**json.loads(sys.argv[1])))


@io.on("connection")
async def connection(socket: Socket) -> None:
    await socket.join("everybody")


@io.on("disconnect")
async def disconnect(socket: Socket, reason: str) -> None:
    await io.to("everybody").emit("gone", reason)


@io.on("go")
async def go(socket: Socket, first: int, count: int, size: int) -> None:
    for number in range(first, first + count):
        await io.to("everybody").emit("blob", number, "x" * size)


if __name__ == "__main__":
    app = web.Application()
    io.attach(app)
    web.run_app(
        app,
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        access_log=None,
        print=None,
        loop=uvloop.new_event_loop(),
    )
