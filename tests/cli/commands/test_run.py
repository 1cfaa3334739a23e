"""`rtframework run`: a program that is served."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import stat
from pathlib import Path

import aiohttp
import pytest

from tests.support.cli import rtframework, running
from tests.support.js import JSClients
from tests.support.served_program import PROGRAM, STUCK, get, url_of
from tests.support.server import HOST


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program in a folder of its own."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


@pytest.mark.parametrize(
    "target",
    [
        ("program:make_app()",),
        ("program:make_slowly()",),
        ("program:make_app", "--factory"),
        ("program.py:make_app()",),
        ("program:io",),
    ],
    ids=" ".join,
)
async def test_what_can_be_served(target: tuple[str, ...], program: Path, js: JSClients) -> None:
    """A program would have to be changed before it can be run."""
    async with running("run", *target, "--port", "0", cwd=program.parent) as command:
        client = await js.connect(await url_of(command))
        assert await client.emit_with_ack("pid") == command.process.pid
        assert await command.end() == 0, command.printed
        assert command.err == []


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
async def test_it_ends_in_good_order(program: Path, js: JSClients, how: signal.Signals, loop: str) -> None:
    """What an application does at its end would be left out, or the end would take minutes."""
    args = ("run", "program:make_app()", "--port", "0", "--loop", loop)
    async with running(*args, cwd=program.parent) as command:
        url = await url_of(command)
        by_polling = await js.connect(url, transports=["polling"])
        by_websocket = await js.connect(url, transports=["websocket"])
        assert await command.end(how) == 0, command.printed
        assert (command.out[-1], command.err) == ("cleaned up", [])
        for client in (by_polling, by_websocket):
            await client.disconnected()


async def test_a_program_that_blocks_can_be_ended(program: Path) -> None:
    """An endless loop in a handler could be ended by kill -9 alone."""
    program.write_text(PROGRAM + STUCK)
    async with running("run", "program:make_app()", "--port", "0", cwd=program.parent) as command:
        asking = asyncio.create_task(get(await url_of(command)))
        await command.see("stuck")
        command.process.send_signal(signal.SIGINT)
        await asyncio.sleep(0.05)  # two signals at once are one
        assert await command.end() == -signal.SIGINT
        with pytest.raises(aiohttp.ClientError):
            await asking


async def test_a_port_in_use(program: Path) -> None:
    """The one mistake that everybody makes every day would be answered with a traceback."""
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        for more in ((), ("--reload",)):
            done = await rtframework("run", "program:make_app()", "--port", str(port), *more, cwd=program.parent)
            assert (done.code, done.out) == (1, "")
            assert done.complaint == f"rtframework run: {HOST}:{port} is in use: another program listens there"


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (("--port", "70000"), 2, "'70000' is no port"),
        (("--host", "no.such.host.invalid"), 1, "no.such.host.invalid is no address of this machine"),
        (("--host", "192.0.2.1"), 1, "is no address of this machine"),
        (("--reload", "--reload-dir", "nowhere"), 2, "there is no folder"),
        (("--path", ""), 2, "a Unix socket needs the name of a file"),
        (("--path", "program.py"), 1, "program.py is there already, and no Unix socket"),
        (("--mode", "660"), 2, "name its file with --path"),
        (("--path", "s", "--mode", "rw-rw----"), 2, "is no mode"),
        (("--path", "s", "--mode", "0o660"), 2, "is no mode"),
        (("--path", "s", "--mode", "1777"), 2, "is no mode"),
        (("--path", "no/such/folder/socket"), 1, "cannot listen on no/such/folder/socket: No such file"),
    ],
)
async def test_an_address_that_is_none(program: Path, args: tuple[str, ...], code: int, says: str) -> None:
    """A typo would be answered with a traceback."""
    done = await rtframework("run", "program:make_app()", "--port", "0", *args, cwd=program.parent)
    assert done.code == code
    assert says in done.err.splitlines()[0]


async def test_all_addresses_of_a_host_have_one_port(program: Path) -> None:
    """`localhost` would be one server for those who take IPv4 and another, or none, for the rest."""
    async with running(
        "run", "program:make_app()", "--host", "localhost", "--port", "0", cwd=program.parent
    ) as command:
        line = (await command.see("Serving"))[0]
        urls = re.findall(r"http://[^\s,]+", command.out[0])
        assert line
        assert len({url.rpartition(":")[2] for url in urls}) == 1
        for url in urls:
            assert await get(url) == "one"


async def test_a_unix_socket(program: Path) -> None:
    """Behind a proxy on the same machine, a port would be in everybody's reach."""
    path = program.parent / "server.sock"
    for _ in range(2):  # what a process leaves behind that was killed is not in the way
        async with running("run", "program:make_app()", "--path", "server.sock", cwd=program.parent) as command:
            await command.see("unix:server.sock")
            connector = aiohttp.UnixConnector(str(path))
            async with aiohttp.ClientSession(connector=connector) as session, session.get("http://x/") as response:
                assert await response.text() == "one"
            second = await rtframework("run", "program:make_app()", "--path", "server.sock", cwd=program.parent)
            assert second.complaint == "rtframework run: server.sock is in use: another program listens there"
            await command.end(signal.SIGKILL)
    async with running("run", "program:make_app()", "--path", "server.sock", cwd=program.parent) as command:
        await command.see("unix:server.sock")
        assert await command.end() == 0
    assert not path.exists()


@pytest.mark.parametrize("reload", [(), ("--reload",)], ids=["once", "reload"])
async def test_who_may_use_a_unix_socket(program: Path, reload: tuple[str, ...]) -> None:
    """A proxy that runs as another user would answer every request with 502."""
    args = ("run", "program:make_app()", "--path", "server.sock", "--mode", "0660", *reload)
    async with running(*args, cwd=program.parent) as command:
        await command.see("unix:server.sock")
        assert stat.S_IMODE((program.parent / "server.sock").stat().st_mode) == 0o660
        assert await command.end() == 0


async def test_a_start_that_fails(program: Path) -> None:
    """One would have to look for the cause, or the exit code would say that all is well."""
    failing = PROGRAM.replace("io.attach(app)", "app.on_startup.append(fail)")
    program.write_text(failing + "\nasync def fail(app): 1 / 0\n")
    done = await rtframework("run", "program:make_app()", "--port", "0", cwd=program.parent)
    assert done.code == 1
    lines = done.err.splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-1] == "rtframework run: program:make_app() has failed to start: ZeroDivisionError: division by zero"


async def test_a_server_that_is_attached_already(program: Path) -> None:
    """The routes of the application would be missing, and nobody would say why."""
    program.write_text(PROGRAM + "\napp = make_app()\n")
    done = await rtframework("run", "program:io", "--port", "0", cwd=program.parent)
    assert done.code == 1
    assert done.complaint.endswith("has attached to an application: name that, program:app")


async def test_a_load_balancer_can_ask(program: Path) -> None:
    """A server that needs nothing but itself would need an application, only to say that it is ready."""
    async with running("run", "program:io", "--port", "0", "--ready", "/ready", cwd=program.parent) as command:
        url = await url_of(command)
        assert json.loads(await get(f"{url}/ready")) == {"ready": True}
        assert await command.end() == 0
    done = await rtframework("run", "program:make_app()", "--port", "0", "--ready", "/ready", cwd=program.parent)
    assert done.code == 2
    assert "app.router.add_get('/ready', Readiness(io).handler)" in done.complaint
    done = await rtframework("run", "program:io", "--port", "0", "--ready", "ready", cwd=program.parent)
    assert done.code == 2
    assert "'ready' is no path" in done.err


async def test_requests_are_logged_on_demand(program: Path) -> None:
    """Nobody would see what a proxy makes of requests; or everybody would, all day."""
    async with running(
        *("run", "program:make_app()", "--port", "0", "--access-log", "--log-level", "info"), cwd=program.parent
    ) as command:
        await get(await url_of(command))
        await command.see('"GET / HTTP/1.1" 200', on="err")
    async with running("run", "program:make_app()", "--port", "0", cwd=program.parent) as command:
        await get(await url_of(command))
        assert await command.end() == 0
        assert command.err == []


MISTAKES = """
import time
from aiohttp import web
from rtframework import Server, Socket

io = Server()
io.of("/admin")
io.emits("message", str)

async def notify(): ...

@io.on("message")
async def send_message(socket: Socket, text: str) -> None:
    time.sleep(0.3)

@io.on("save")
async def save(socket: Socket, data: dict[str, str]) -> None:
    notify()
    await io.emit("mesage", "x")
    raise ValueError("cannot be saved")
"""


@pytest.mark.parametrize("how", ["--dev", "--reload"])
async def test_development_mode(program: Path, js: JSClients, how: str) -> None:
    """A typing error would look like a network that does not work, and a blocking handler like a slow one."""
    program.write_text(MISTAKES)
    args = ("run", "program:io", "--port", "0", how, "--slow-callback", "0.05")
    async with running(*args, cwd=program.parent, env={"PYTHONWARNINGS": ""}) as command:
        url = await url_of(command)
        client = await js.connect(url)
        await client.emit("mesage", "hello")
        await client.emit_with_ack("message", "hello")
        await client.emit_with_ack("save", {"text": "hunter2"})
        lost = await js.connect(url + "/amdin", wait=False)
        await lost.life("connect_error")
        for line in (
            r"no handler takes 'mesage' in /: did you mean 'message'\? \(socket \S+, without ack\)",
            r"handler send_message of 'message' \(program.py:12\) blocked the event loop for 0\.\d+ s at program.py:14",
            r"program.py:18 calls notify\(\) and does not await it",
            r"program.py:19: emit\('mesage', ...\) in /: no such event is declared; did you mean 'message'\?",
            r"unhandled error in a handler of 'save'",
            r"  in /, for socket \S+, with \({text: str}\)",
            r"'/amdin': did you mean '/admin'\?",
        ):
            await command.see(line, on="err")
        assert not [line for line in command.err if "hunter2" in line or "\x1b" in line]
        assert await command.end() == 0, command.printed


DROP_IN = """
from aiohttp import web
from rtframework.engine import AsyncServer

sio = AsyncServer()
app = web.Application()
sio.attach(app)
"""


@pytest.mark.parametrize(("text", "target"), [(PROGRAM, "program:make_app()"), (DROP_IN, "program:app")])
@pytest.mark.parametrize("how", [(), ("--dev",)], ids=["plain", "dev"])
async def test_a_healthy_server_is_silent(
    program: Path, js: JSClients, text: str, target: str, how: tuple[str, ...]
) -> None:
    """The first line that matters would stand among lines that say that all is well."""
    program.write_text(text)
    async with running(
        "run", target, "--port", "0", "--log-level", "info", "--slow-callback", "5", *how, cwd=program.parent
    ) as command:
        client = await js.connect(await url_of(command))
        await client.disconnect()
        assert await command.end() == 0
        assert command.err == []


async def test_clients_are_sent_away_first(program: Path, js: JSClients) -> None:
    """All clients of a server that is replaced would come back in one moment."""
    args = ("run", "program:make_app()", "--port", "0", "--drain", "30", "--log-level", "info")
    async with running(*args, cwd=program.parent) as command:
        url = await url_of(command)
        clients = [await js.connect(url) for _ in range(3)]
        assert await command.end(signal.SIGTERM) == 0
        assert [await each.disconnected() for each in clients] == ["transport close"] * 3
        assert [line for line in command.err if "draining: 3 clients leave" in line], command.printed
        assert command.out[-1] == "cleaned up"
