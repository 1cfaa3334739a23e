"""Programs that are not the plain one, with several workers: a drop-in, a cluster on Redis."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import pytest

from tests.cli.test_reloader import children
from tests.support.cli import running
from tests.support.cluster.needs import needs
from tests.support.cluster.redis_server import running_redis
from tests.support.js import JSClient, JSClients
from tests.support.served_program import url_of
from tests.support.transports import Transport

DROP_IN: Final = """
import os
from aiohttp import web
from rtframework.engine import AsyncServer

sio = AsyncServer(async_mode="aiohttp", cors_allowed_origins=[])

@sio.event
async def connect(sid, environ):
    await sio.enter_room(sid, "all")

@sio.event
async def pid(sid):
    return os.getpid()

@sio.event
async def say(sid, text):
    await sio.emit("said", text, room="all")

app = web.Application()
sio.attach(app)
"""
REDIS: Final = """
import os
from rtframework import Recovery, Server, Socket
from rtframework_redis import RedisStreams

io = Server(adapter=RedisStreams(os.environ["REDIS"]), connection_state_recovery=Recovery(skip_middlewares=True))

@io.on("connection")
async def connection(socket: Socket) -> None:
    if not socket.recovered:
        await socket.join("all")

@io.on("pid")
def pid(socket: Socket) -> int:
    return os.getpid()

@io.on("say")
async def say(socket: Socket, text: str) -> int:
    await io.to("all").emit("said", text)
    return len(await io.cluster.nodes())
"""


async def two(js: JSClients, url: str, transport: Transport) -> tuple[JSClient, JSClient]:
    """Clients of two workers."""
    one = await js.connect(url, via=transport)
    async with asyncio.timeout(20):
        while True:
            other = await js.connect(url, via=transport)
            if await other.emit_with_ack("pid") != await one.emit_with_ack("pid"):
                return one, other


async def test_the_drop_in(tmp_path: Path, js: JSClients, transport: Transport) -> None:
    """A program that was python-socketio's would emit to the clients of one worker alone, and nobody be told."""
    (tmp_path / "program.py").write_text(DROP_IN)
    async with running("run", "program:app", "--port", "0", "--workers", "2", cwd=tmp_path) as command:
        one, other = await two(js, await url_of(command), transport)
        await one.emit("say", "hello")
        assert await one.wait_for("said") == await other.wait_for("said") == ["hello"]
        assert await command.end() == 0
        assert command.err == []


@needs("redis-server")
@pytest.mark.parametrize("by", ["polling", "websocket"])
async def test_workers_are_servers_of_a_cluster(tmp_path: Path, js: JSClients, by: str) -> None:
    """Workers would be a cluster of their own beside that on Redis, and its other servers not reach them."""
    (tmp_path / "program.py").write_text(REDIS)
    transport = Transport(by, (by,), by)
    async with running_redis() as redis:
        args = ("run", "program:io", "--port", "0", "--workers", "2")
        async with running(*args, cwd=tmp_path, env={"REDIS": redis.url}) as command:
            one, other = await two(js, await url_of(command), transport)
            assert await one.emit_with_ack("say", "hello") == 2
            assert (await one.wait_for("said"))[0] == (await other.wait_for("said"))[0] == "hello"
            assert len(children(command.process.pid)) == 2
            assert await command.end() == 0
            assert command.err == []
