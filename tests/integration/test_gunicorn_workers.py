"""Several workers of gunicorn on one port, which nobody but the program has told of each other."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import signal
import sys
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.cli import running
from tests.support.js import JSClient, JSClients, JSError
from tests.support.markdown import read_page
from tests.support.server import HOST, free_port
from tests.support.until import until

DOCS: Final = Path(__file__).parents[2] / "docs"

PROGRAM: Final = """
import os

from aiohttp import web

from rtframework import Recovery, Server, Socket, Workers

io = Server(adapter=Workers(), connection_state_recovery=Recovery())
app = web.Application()
io.attach(app)


@io.on("connection")
async def connection(socket: Socket) -> None:
    if not socket.recovered:
        await socket.join("all")


@io.on("where")
async def where(socket: Socket) -> int:
    return os.getpid()


@io.on("say")
async def say(socket: Socket, text: str) -> None:
    await io.to("all").emit("said", text)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where the group's directory is to be, with a short name: Unix sockets are in it."""
    with tempfile.TemporaryDirectory(prefix="rtf") as folder:
        yield Path(folder)


def command_of_page(port: int) -> list[str]:
    """The command of the page, at a port that is free here."""
    (command,) = [
        line.removeprefix("$ ")
        for block in read_page(DOCS / "deployment/gunicorn.md").blocks
        if block.info == ("console",) and "--workers 4" in block.code
        for line in block.code.splitlines()
    ]
    return shlex.split(command.replace("127.0.0.1:8080", f"{HOST}:{port}").replace("--workers 4", "--workers 3"))


def processes_of(folder: Path) -> list[int]:
    """The processes whose command line names the folder: the broker."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if os.fsencode(folder) in each.read_bytes():
                found.append(int(each.parent.name))
        except OSError:
            continue
    return found


async def listens(port: int) -> None:
    """Wait until a port is open."""
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection(HOST, port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


async def by_worker(clients: list[JSClient]) -> dict[int, list[JSClient]]:
    """The clients, by the process that has each."""
    found: dict[int, list[JSClient]] = {}
    for client in clients:
        found.setdefault(await client.emit_with_ack("where"), []).append(client)
    return found


async def by_new_worker(clients: list[JSClient], old: Collection[int]) -> dict[int, list[JSClient]]:
    """The same when nobody is at an old worker: on the way, one may come to another that is about to end."""
    async with asyncio.timeout(40):
        while True:
            with contextlib.suppress(JSError):
                found = await by_worker(clients)
                if not set(found) & set(old):
                    return found
            await asyncio.sleep(0.05)


async def all_hear(clients: list[JSClient], by: JSClient, text: str) -> None:
    """One of them says something, and each of them gets it once."""
    await by.emit("say", text)
    for client in clients:
        assert (await client.wait_for("said"))[0] == text
    for client in clients:
        await client.expect_nothing("said")


async def test_workers_of_gunicorn_are_one_server(tmp_path: Path, folder: Path, js: JSClients) -> None:
    """Who runs gunicorn anyway would have one core, or clients that lose their session with every other request."""
    port = free_port()
    (tmp_path / "server.py").write_text(PROGRAM)
    name, *args = command_of_page(port)
    env = {"PYTHONWARNINGS": "", "XDG_RUNTIME_DIR": str(folder)}
    async with running("-m", name, *args, command=(sys.executable,), cwd=tmp_path, env=env) as program:
        await until(lambda: sum("Booting worker" in line for line in program.err) >= 3, timeout=60)
        await listens(port)
        clients: list[JSClient] = []
        workers: dict[int, list[JSClient]] = {}
        while len(workers) < 3:  # a worker with 9 more than another gives it new ones
            assert len(clients) < 60
            via = (["polling"], ["websocket"], ["polling", "websocket"])[len(clients) % 3]
            clients.append(
                await js.connect(f"http://{HOST}:{port}", transports=via, reconnection=True, reconnectionDelay=50)
            )
            workers = await by_worker(clients)
        await all_hear(clients, clients[0], "hello")

        (directory,) = folder.glob("rtf-*")  # gunicorn has something of its own there
        assert directory.stat().st_mode & 0o777 == 0o700
        await until(lambda: len(processes_of(folder)) == 1)
        (broker,) = processes_of(folder)

        killed, homeless = min(workers.items(), key=lambda each: len(each[1]))
        others = [client for client in clients if client not in homeless]
        os.kill(killed, signal.SIGKILL)
        await others[0].emit("say", "meanwhile")
        for client in homeless:
            assert (await client.reconnected(timeout=30))["recovered"] is True
        for client in clients:
            assert (await client.wait_for("said"))[0] == "meanwhile"
        await all_hear(clients, homeless[0], "again")

        before = await by_worker(clients)
        program.process.send_signal(signal.SIGHUP)
        for client in clients:
            assert (await client.reconnected(timeout=60))["recovered"] is True
        await by_new_worker(clients, before)
        await all_hear(clients, clients[0], "after a restart")
        assert processes_of(folder) == [broker]

        assert await program.end(signal.SIGTERM) == 0, program.printed
        await until(lambda: not any(folder.glob("rtf-*")) and not processes_of(folder), timeout=20)
        assert not re.search("Traceback|unhandled", "\n".join(program.err)), program.printed
        for client in clients:
            await client.disconnect()


async def test_another_broker_is_started_when_one_was_killed(tmp_path: Path, folder: Path, js: JSClients) -> None:
    """Workers would go on, each of them alone, and nobody would notice."""
    port = free_port()
    (tmp_path / "server.py").write_text(PROGRAM)
    name, *args = command_of_page(port)
    env = {"PYTHONWARNINGS": "", "XDG_RUNTIME_DIR": str(folder)}
    async with running("-m", name, *args, command=(sys.executable,), cwd=tmp_path, env=env) as program:
        await listens(port)
        client = await js.connect(f"http://{HOST}:{port}", reconnection=True, reconnectionDelay=50)
        await until(lambda: len(processes_of(folder)) == 1)  # the process that has started it is about to end
        (broker,) = processes_of(folder)
        await until(lambda: sum("Booting worker" in line for line in program.err) >= 3, timeout=60)
        old = await by_worker([client])
        booted = len(program.err)
        os.kill(broker, signal.SIGKILL)
        await client.reconnected(timeout=60)
        await until(lambda: sum("Booting worker" in line for line in program.err[booted:]) >= 3, timeout=60)
        await by_new_worker([client], old)
        await until(lambda: len(processes_of(folder)) == 1 and broker not in processes_of(folder), timeout=60)
        other = await js.connect(f"http://{HOST}:{port}", reconnection=True, reconnectionDelay=50)
        await all_hear([client, other], client, "hello")
        assert await program.end(signal.SIGTERM) == 0, program.printed
        await until(lambda: not any(folder.glob("rtf-*")) and not processes_of(folder), timeout=20)
