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


sio.on("bcast", bcast)
sio.on("echo", echo)


if __name__ == "__main__":
    uvloop.install()
    app = web.Application()
    sio.attach(app)
    web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]), access_log=None, print=None)
