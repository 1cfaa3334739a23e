"""python-socketio's programs with several workers: the drop-in with an adapter, and without one."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.support.cli import running
from tests.support.js import JSClient, JSClients
from tests.support.served_program import url_of

PROGRAM: Final = """
import os

from aiohttp import web

from rtframework import Workers
from rtframework.engine import AsyncServer

sio = AsyncServer(async_mode="aiohttp"{adapter})
app = web.Application()
sio.attach(app)


@sio.event
async def connect(sid, environ):
    await sio.enter_room(sid, "all")


@sio.event
async def where(sid):
    return os.getpid()


@sio.event
async def say(sid, text):
    await sio.emit("said", text, room="all", skip_sid=sid)


@sio.event
async def ask(sid, other):
    return await sio.call("question", "well?", to=other)


@sio.event
async def kick(sid, other):
    await sio.disconnect(other)
"""


async def two_workers(js: JSClients, url: str) -> tuple[JSClient, JSClient]:
    """Two clients, on different workers; one that has 9 more than another gives it new ones."""
    found: dict[int, JSClient] = {}
    for number in range(40):
        client = await js.connect(url, transports=(["polling"], ["websocket"], ["polling", "websocket"])[number % 3])
        found.setdefault(await client.emit_with_ack("where"), client)
        if len(found) == 2:
            break
    one, two = found.values()
    return one, two


async def test_the_drop_in_is_one_server_with_an_adapter(tmp_path: Path, js: JSClients) -> None:
    """A program of python-socketio's would need Redis for a second core."""
    (tmp_path / "program.py").write_text(PROGRAM.replace("{adapter}", ", adapter=Workers()"))
    async with running("run", "program:app", "--port", "0", "--workers", "2", cwd=tmp_path) as command:
        one, two = await two_workers(js, await url_of(command))
        await one.emit("say", "hello")
        assert (await two.wait_for("said"))[0] == "hello"
        await one.expect_nothing("said")
        await two.answer("question", "well!")
        assert await one.emit_with_ack("ask", await two.id()) == "well!"
        await one.emit("kick", await two.id())
        assert await two.disconnected() == "io server disconnect"
        assert await command.end() == 0, command.printed
        assert "whose client_manager" not in command.printed


async def test_the_drop_in_says_that_its_manager_knows_one_process(tmp_path: Path, js: JSClients) -> None:
    """Half of the clients would miss every emit, and nothing would say why."""
    manager = ', client_manager=__import__("socketio").AsyncManager()'
    (tmp_path / "program.py").write_text(PROGRAM.replace("{adapter}", manager))
    async with running("run", "program:app", "--port", "0", "--workers", "2", cwd=tmp_path) as command:
        one, two = await two_workers(js, await url_of(command))
        await one.emit("say", "hello")
        await two.expect_nothing("said")
        assert await command.end() == 0, command.printed
        assert r"write AsyncServer(adapter=rtframework.Workers())" in "\n".join(command.err)
