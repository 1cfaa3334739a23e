"""Several workers on one port by one command, as a user has them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from rtframework.cli.errors import Failure
from rtframework.cli.workers import count_cores, supervise
from rtframework.workers.broker import Broker
from tests.cli.test_reloader import alive, children
from tests.support.cli import COMMAND, Running, environment, rtframework, running
from tests.support.js import JSClients
from tests.support.served_program import PROGRAM, get, url_of
from tests.support.server import HOST
from tests.support.transports import Transport
from tests.support.until import until

OURS = PROGRAM.replace('text="one"', 'text=f"one {os.getpid()}"')


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program whose page names the process, in a folder of its own."""
    path = tmp_path / "program.py"
    path.write_text(OURS)
    return path


def serve(program: Path, *more: str) -> AbstractAsyncContextManager[Running]:
    """Two workers."""
    args = ("run", "program:make_app()", "--port", "0", "--workers", "2", *more)
    return running(*args, cwd=program.parent)


async def pids_of(url: str, count: int = 2) -> set[int]:
    """The processes that answer, when so many have done so; connections are given out by chance."""
    found: set[int] = set()
    async with asyncio.timeout(20):
        while len(found) < count:
            found.add(int((await get(url)).split()[1]))
    return found


async def test_all_workers_serve_one_port(program: Path) -> None:
    """Only one core would work."""
    args = ("run", "program:make_app()", "--port", "0", "--workers", "2")
    async with running(*args, cwd=program.parent, cold=True) as command:
        line = await command.see(r"Serving program:make_app\(\) on http://\S+ with 2 workers")
        assert line
        assert await pids_of(await url_of(command)) == set(children(command.process.pid))
        workers = children(command.process.pid)
        assert await command.end(signal.SIGTERM) == 0, command.printed
        assert (command.out[1:], command.err) == (["cleaned up"] * 2, [])
        assert not [pid for pid in workers if alive(pid)]


async def test_a_killed_worker_is_replaced_and_nobody_is_refused(program: Path) -> None:
    """Who connects at that moment would be refused, and a core be idle afterwards."""
    async with serve(program) as command:
        url = await url_of(command)
        workers = await pids_of(url)
        killed = min(workers)
        os.kill(killed, signal.SIGKILL)
        answers = [get(url) for _ in range(20)]  # those in the dead worker's queue are served by its successor
        await asyncio.gather(*answers)
        await command.see(rf"worker {killed} has ended \(signal 9\): another one is started", on="err")
        assert killed not in await pids_of(url)
        assert await command.end() == 0


async def test_a_new_version_takes_over_worker_by_worker(program: Path, js: JSClients) -> None:
    """Each new version would cut off everybody at once."""
    async with serve(program, "--drain", "1") as command:
        url = await url_of(command)
        old = await pids_of(url)
        clients = [
            await js.connect(url, transports=["websocket"], reconnection=True, reconnectionDelay=50) for _ in range(4)
        ]
        program.write_text(OURS.replace("one", "second"))
        command.process.send_signal(signal.SIGHUP)
        await command.see("all workers were replaced", on="err")
        assert (await get(url)).startswith("second")
        for client in clients:
            await client.reconnected()
        assert not await pids_of(url) & old
        assert await command.end() == 0, command.printed


async def test_a_new_version_that_is_broken_changes_nothing(program: Path) -> None:
    """A mistake would take the old version down with it."""
    async with serve(program) as command:
        url = await url_of(command)
        old = await pids_of(url)
        program.write_text("import nothing_like_it\n")
        command.process.send_signal(signal.SIGHUP)
        await command.see("before it served: the others stay as they are", on="err")
        assert await pids_of(url) == old
        assert await command.end() == 0


async def test_a_program_that_cannot_be_started_is_told_once(program: Path) -> None:
    """The reason would scroll away, once for each core and again for each attempt."""
    program.write_text("import nothing_like_it\n")
    done = await rtframework("run", "program:make_app()", "--port", "0", "--workers", "4", cwd=program.parent)
    assert done.code == 1
    assert done.err.count("nothing_like_it") < 4, done.err
    assert 'the module "program" cannot be imported' in done.err.splitlines()[-1], done.err


async def test_workers_end_when_the_supervisor_is_killed(program: Path) -> None:
    """Servers that nobody sees would hold the port."""
    async with serve(program) as command:
        await url_of(command)
        workers = children(command.process.pid)
        command.process.kill()
        await until(lambda: not [pid for pid in workers if alive(pid)], timeout=20)


BLOCKS = """
import time

async def index(request):
    if request.query_string == "block":
        time.sleep(999)
    return web.Response(text=f"one {os.getpid()}")
"""


async def test_a_worker_that_hangs_is_replaced(program: Path) -> None:
    """Part of the clients would wait for ever."""
    program.write_text(OURS + BLOCKS)
    async with serve(program, "--worker-timeout", "2") as command:
        url = await url_of(command)
        asking = asyncio.create_task(get(f"{url}?block"))
        found = await command.see(r"worker (\d+) has hung for 2 s", on="err")
        await command.see(r"program.py", on="err")  # the traceback
        await command.see(rf"worker {found[1]} has ended", on="err")
        asking.cancel()
        await asyncio.wait((asking,))
        assert int(found[1]) not in await pids_of(url)
        assert await command.end() == 0


SLOW = """
async def index(request):
    print("asked", flush=True)
    await asyncio.sleep(99)

async def told(app):
    print("told", flush=True)

def make_app():
    app = web.Application()
    app.router.add_get("/", index)
    app.on_shutdown.append(told)
    io.attach(app)
    return app
"""


async def test_a_second_ctrl_c_ends_all_at_once(program: Path) -> None:
    """Workers that nobody sees would hold the port for seconds, and write into the prompt."""
    program.write_text(OURS + SLOW)
    with tempfile.TemporaryDirectory(prefix="rtf", dir="/tmp") as folder:
        args = ("run", "program:make_app()", "--port", "0", "--workers", "2", "--shutdown-timeout", "60")
        async with running(*args, cwd=program.parent, env={"TMPDIR": folder}) as command:
            asking = asyncio.create_task(get(await url_of(command)))
            await command.see("asked")
            workers = children(command.process.pid)
            command.process.send_signal(signal.SIGINT)
            await command.see("told")
            assert await command.end() == -signal.SIGINT
            await until(lambda: not [pid for pid in workers if alive(pid)])
            assert (command.err, list(Path(folder).iterdir())) == ([], [])
            with pytest.raises(aiohttp.ClientError):
                await asking


IN_A_TERMINAL = """
import os, pty, sys

pid, terminal = pty.fork()
if not pid:
    os.execv(sys.argv[1], sys.argv[1:])
printed = b""
while b"Serving" not in printed:
    printed += os.read(terminal, 1000)
os.close(terminal)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


async def test_the_terminal_is_closed(program: Path) -> None:
    """A server that nobody sees would go on, and hold the port."""
    args = ("-c", IN_A_TERMINAL, *COMMAND, "run", "program:make_app()", "--port", "0", "--workers", "2")
    process = await asyncio.create_subprocess_exec(
        sys.executable, *args, cwd=program.parent, env=environment(), stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(30):
            out, _ = await process.communicate()
        assert out.strip() == b"0"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_the_folder_of_the_sockets_is_removed(program: Path, js: JSClients) -> None:
    """What tidies up temporary files would cut off all that polls, and no worker could be started any more."""
    with tempfile.TemporaryDirectory(prefix="rtf", dir="/tmp") as folder:
        args = ("run", "program:make_app()", "--port", "0", "--workers", "2")
        async with running(*args, cwd=program.parent, env={"TMPDIR": folder}) as command:
            url = await url_of(command)
            (directory,) = Path(folder).iterdir()
            shutil.rmtree(directory)
            await command.see("the directory of the workers was removed: it is made again", on="err")
            await until(lambda: {each.name for each in directory.iterdir()} == {"broker", "-1", "0", "1"})
            for _ in range(4):
                client = await js.connect(url, transports=["polling"])
                for _ in range(4):
                    assert isinstance(await client.emit_with_ack("pid"), int)
            victim = await client.emit_with_ack("pid")
            os.kill(victim, signal.SIGKILL)
            await command.see(f"worker {victim} has ended", on="err")
            await until(lambda: len(set(children(command.process.pid)) - {victim}) == 2, timeout=20)
            assert victim not in await pids_of(url)
            assert await command.end() == 0
        assert list(Path(folder).iterdir()) == []


async def test_a_folder_that_cannot_be_made(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk would show as a traceback, or as something else."""

    async def fail(broker: Broker) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Broker, "start", fail)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    options = {"timeout": 5.0, "shutdown_timeout": 1.0, "drain": 0.0, "drains_at_end": False}
    try:
        with pytest.raises(Failure, match=r"need sockets in .*: No space left on device"):
            await supervise("nothing", [], [[]], **options)  # type: ignore[arg-type]
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


async def test_a_new_version_that_never_serves_makes_way_for_the_next(program: Path) -> None:
    """A program that waits for ever when it starts could not be mended without ending the server."""
    async with serve(program, "--reload") as command:
        url = await url_of(command)
        before = await pids_of(url)
        program.write_text(OURS + "import time; print('waits', flush=True); time.sleep(999)")
        await command.see("waits")
        assert await pids_of(url) == before
        program.write_text(OURS + "# mended")
        await command.see("all workers were replaced", on="err")
        assert not await pids_of(url) & before
        assert await command.end() == 0


async def test_a_signal_before_the_first_worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder with sockets would be left for each start that is given up at once."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    start = Broker.start

    async def start_when_told(broker: Broker) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await start(broker)

    monkeypatch.setattr(Broker, "start", start_when_told)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with socket.socket() as sock:
            sock.bind((HOST, 0))
            command = partial(supervise, "nothing", ["run", "nothing:app"], [[sock]], timeout=5.0, drain=0.0)
            code = await command(shutdown_timeout=1.0, drains_at_end=False)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert (code, list(tmp_path.iterdir())) == (0, [])


async def test_a_port_that_is_shared_with_nobody_else(program: Path) -> None:
    """Two servers would answer on one port, by chance."""
    async with serve(program) as command:
        port = int((await url_of(command)).rpartition(":")[2])
        done = await rtframework("run", "program:make_app()", "--port", str(port), "--workers", "2", cwd=program.parent)
        assert done.complaint == f"rtframework run: {HOST}:{port} is in use: another program listens there"
        assert await command.end() == 0


async def test_a_change_restarts_one_after_another(program: Path) -> None:
    """In development one would have to restart by hand."""
    async with serve(program, "--reload") as command:
        url = await url_of(command)
        old = await pids_of(url)
        program.write_text("def broken(:\n")
        await command.see("program.py changed: starting the workers again, one by one", on="err")
        await command.see("before it served", on="err")
        assert await pids_of(url) == old
        program.write_text(OURS.replace("one", "second"))
        await command.see("all workers were replaced", on="err")
        assert (await get(url)).startswith("second")
        assert await command.end() == 0, command.printed


async def ask(place: str, query: str, *, data: str | None = None) -> str:
    """Make a request by a Unix socket, with a connection of its own."""
    connector = aiohttp.UnixConnector(place)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.request("POST" if data else "GET", f"http://server/socket.io/?{query}", data=data) as response,
    ):
        assert response.status == 200, await response.text()
        return await response.text()


async def test_a_unix_socket_is_shared(program: Path) -> None:
    """Behind a proxy on the same machine, one would have to choose between a socket and all cores."""
    args = ("run", "program:make_app()", "--path", "server.sock", "--workers", "2")
    async with running(*args, cwd=program.parent) as command:
        await command.see("unix:server.sock with 2 workers")
        place = str(program.parent / "server.sock")
        sids: set[str] = set()
        async with asyncio.timeout(20):
            while len({sid[0] for sid in sids}) < 2:  # until both workers have one
                opened = await ask(place, "EIO=4&transport=polling")
                sids.add(json.loads(opened[1:])["sid"])
        for sid in sids:
            for _ in range(8):  # by connections of their own, to whichever worker
                assert await ask(place, f"EIO=4&transport=polling&sid={sid}", data="40") == "ok"
                assert (await ask(place, f"EIO=4&transport=polling&sid={sid}")).startswith("40{")
        assert await command.end() == 0
    assert not (program.parent / "server.sock").exists()


@pytest.mark.parametrize("number", ["0", "33", "many", "-1"])
async def test_a_number_that_is_none(program: Path, number: str) -> None:
    """A typo would start nothing, or far too much."""
    done = await rtframework("run", "program:make_app()", f"--workers={number}", cwd=program.parent)
    assert (done.code, "is no number of workers: 1 to 32, or auto" in done.err) == (2, True)


def test_as_many_as_there_are_cores() -> None:
    """A container with two cores would get as many workers as the machine has."""
    assert 1 <= count_cores() <= 32


CHAT = """
import os
from aiohttp import web
from rtframework import Recovery, Server, Socket

io = Server(connection_state_recovery=Recovery(max_disconnection_duration=60))

@io.on("connection")
async def connection(socket: Socket) -> None:
    if not socket.recovered:
        await socket.join("all")

@io.on("say")
async def say(socket: Socket, text: str) -> int:
    await io.to("all").emit("said", text)
    return os.getpid()
"""


async def test_workers_are_one_server(program: Path, js: JSClients, transport: Transport) -> None:
    """Polling clients would get "Session ID unknown", and half of the people not see what others write."""
    program.write_text(CHAT)
    async with running("run", "program:io", "--port", "0", "--workers", "2", cwd=program.parent) as command:
        url = await url_of(command)
        clients = [await js.connect(url, via=transport) for _ in range(24)]
        pids = {await client.emit_with_ack("say", str(number)) for number, client in enumerate(clients)}
        assert pids == set(children(command.process.pid)), "they are spread"
        for client in clients:
            for _ in clients:
                await client.wait_for("said")
        assert await command.end() == 0, command.printed
        assert command.err == []


async def statuses(url: str) -> set[int]:
    """What a load balancer is answered, by a connection that it keeps, until this is cancelled."""
    found = set()
    with contextlib.suppress(asyncio.CancelledError):
        async with aiohttp.ClientSession() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientConnectionError):  # its worker has ended
                    async with session.get(url) as response:
                        found.add(response.status)
                await asyncio.sleep(0.02)
    return found


@pytest.mark.parametrize("how", ["SIGKILL", "SIGHUP"])
async def test_clients_of_a_worker_that_goes_miss_nothing(program: Path, js: JSClients, how: str) -> None:
    """What was said while a worker was replaced, or had died, would be lost for its clients."""
    program.write_text(CHAT)
    async with running(
        *("run", "program:io", "--port", "0", "--workers", "2", "--drain", "1", "--ready", "/ready"), cwd=program.parent
    ) as command:
        url = await url_of(command)
        clients = [
            await js.connect(url, reconnection=True, reconnectionDelay=50, reconnectionDelayMax=100) for _ in range(20)
        ]
        pids = [await client.emit_with_ack("say", "before") for client in clients]
        for client in clients:
            for _ in clients:
                await client.wait_for("said")
        if how == "SIGKILL":
            os.kill(pids[0], signal.SIGKILL)
        else:
            command.process.send_signal(signal.SIGHUP)
        asked = asyncio.create_task(statuses(f"{url}/ready"))
        stays = next(client for client, pid in zip(clients, pids, strict=True) if pid != pids[0])
        left = [client for client, pid in zip(clients, pids, strict=True) if how == "SIGHUP" or pid == pids[0]]
        if how == "SIGKILL":
            for number in range(5):
                await stays.emit("say", str(number))
        for client in left:
            assert (await client.reconnected())["recovered"]
        if how == "SIGHUP":
            await command.see("all workers were replaced", on="err")
            for number in range(5):
                await stays.emit("say", str(number))
        for client in clients:
            assert [(await client.wait_for("said"))[0] for _ in range(5)] == ["0", "1", "2", "3", "4"]
        asked.cancel()
        if how == "SIGHUP":
            assert await asked == {200}, "a load balancer would have taken the port out of service"
        assert await command.end() == 0, command.printed


async def test_nothing_is_left_of_a_supervisor_that_was_killed(program: Path) -> None:
    """A folder with sockets would be left for each crash."""
    args = ("run", "program:make_app()", "--port", "0", "--workers", "2")
    with tempfile.TemporaryDirectory(prefix="rtf", dir="/tmp") as folder:  # a Unix socket's name has to be short
        place = Path(folder)
        async with running(*args, cwd=program.parent, env={"TMPDIR": folder}) as command:
            await url_of(command)
            assert len(list(place.iterdir())) == 1
            workers = children(command.process.pid)
            command.process.kill()
            await until(lambda: not [pid for pid in workers if alive(pid)], timeout=20)
            assert list(place.iterdir()) == []
