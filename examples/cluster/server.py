"""One Socket.IO server of several that are one: run.py starts it twice, beside a server in Node that does the same.

::

    NAME=python-1 PORT=8087 REDIS=redis://127.0.0.1:6379 python examples/cluster/server.py
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct

from rtframework import ClusterUnavailable, Recovery, Server, Socket
from rtframework_redis import RedisStreams

NAME = os.environ.get("NAME", "python-1")
REDIS = os.environ.get("REDIS", "redis://127.0.0.1:6379")
PERIOD = 1.0  # seconds from one beat to the next

HERE = Path(__file__).resolve().parent
NPM = [folder / modules for folder in (HERE, *HERE.parents) for modules in ("node_modules", "tests/js/node_modules")]
CLIENT = next((found for folder in NPM if (found := folder / "socket.io-client/dist").is_dir()), None)

io = Server(
    adapter=RedisStreams(REDIS),  # what joins the servers
    connection_state_recovery=Recovery(max_disconnection_duration=120),
    trusted_proxies="127.0.0.1",
    serve_client=CLIENT or False,
)


# --- what goes over the wire ------------------------------------------------------------------------------------------


class ServerInfo(Struct):
    name: str
    runtime: str
    pid: int


class Beat(Struct):
    server: ServerInfo
    number: int  # without a hole, so that a page sees what is missing
    clients: int  # of this server


class Say(Struct):
    key: Annotated[str, Meta(min_length=8, max_length=64)]  # the page's own id: said twice, shown once
    name: Annotated[str, Meta(min_length=1, max_length=24)]
    text: Annotated[str, Meta(pattern=r"\S", max_length=500)]


class Said(Struct):
    key: str
    name: str
    text: str
    server: str


ME = ServerInfo(NAME, "Python", os.getpid())


# --- what the server does ---------------------------------------------------------------------------------------------


@io.on("connection")
async def connection(socket: Socket) -> None:
    await socket.emit("welcome", ME)  # also to a client that comes from another server, with its session


@io.on("say")
async def say(socket: Socket, data: Say) -> str:
    await io.emit("said", Said(data.key, data.name, data.text, NAME))  # to the clients of all servers
    return "ok"


async def beating(app: web.Application) -> AsyncIterator[None]:
    """While the application runs, tell the clients of all servers every second that this one is alive."""

    async def beat() -> None:
        number = 1
        while True:
            with suppress(ClusterUnavailable):  # Redis is away: nobody has it, and the log says so
                await io.emit("beat", Beat(ME, number, len(io.sockets)))
                number += 1
            await asyncio.sleep(PERIOD)

    task = asyncio.create_task(beat())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


# --- the page ---------------------------------------------------------------------------------------------------------


async def index(request: web.Request) -> web.Response:
    html = (HERE / "page/index.html").read_text(encoding="utf-8")
    if CLIENT:  # npm has put the client library on this machine: no need for the CDN
        html = html.replace("https://cdn.socket.io/4.8.3/", "/socket.io/")
    return web.Response(text=html, content_type="text/html")


def make_app() -> web.Application:
    app = web.Application()
    app.router.add_get("/", index)
    app.router.add_static("/page", HERE / "page")
    app.cleanup_ctx.append(beating)
    io.attach(app)
    return app


if __name__ == "__main__":
    logging.basicConfig(format=f"{NAME}: %(message)s")
    port = int(os.environ.get("PORT", "8087"))
    web.run_app(make_app(), host="127.0.0.1", port=port, print=lambda *_: None, access_log=None, shutdown_timeout=5)
