"""The benchmark's server on python-socketio: default settings, aiohttp, uvloop."""

from __future__ import annotations

import os
from typing import Any

import socketio
import uvloop
from aiohttp import web

sio = socketio.AsyncServer(async_mode="aiohttp")


async def bcast(sid: str, data: Any) -> None:
    await sio.emit("bcast", data)


async def echo(sid: str, data: Any) -> Any:
    return data


async def join(sid: str, prefix: str, count: int) -> int:
    for number in range(count):
        await sio.enter_room(sid, f"{prefix}{number}")
    return count


sio.on("bcast", bcast)
sio.on("echo", echo)
sio.on("join", join)


if __name__ == "__main__":
    app = web.Application()
    sio.attach(app)
    web.run_app(
        app,
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        access_log=None,
        print=None,
        loop=uvloop.new_event_loop(),
    )
