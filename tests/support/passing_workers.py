"""Workers that pass connections on to one another, each a process of its own; without a broker or a supervisor.

``python -m tests.support.passing_workers`` is one of them. All listen on one port, by SO_REUSEPORT, and each on one of
its own, so that a test can choose where a connection arrives.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from aiohttp import ClientSession, web
from aiohttp.log import access_logger

from rtframework import Server, Socket
from rtframework.engine import AsyncServer
from rtframework.engine.handover import join_workers
from rtframework.workers.passing import Passing
from rtframework.workers.shared_table import SharedTable, SlotState, make_file
from tests.support import preload
from tests.support.server import HOST

ROOT: Final = Path(__file__).parent.parent.parent
WITHIN: Final = 15.0
BACKLOG: Final = 512


class Workers:
    """The workers that run; ``url`` is the port of all."""

    def __init__(self, directory: Path, table: SharedTable, fd: int, options: dict[str, Any]) -> None:
        self.directory = directory
        self.table = table
        self._fd = fd
        self._options = options
        self._scheme = "https" if "tls" in options else "http"
        self._listeners: list[list[socket.socket]] = []
        self._processes: list[preload.Process] = []

    @property
    def loop(self) -> str:
        """``asyncio`` or ``uvloop``."""
        return str(self._options.get("loop", "asyncio"))

    @property
    def url(self) -> str:
        """Without a slash at the end."""
        return f"{self._scheme}://{HOST}:{self._listeners[0][0].getsockname()[1]}"

    def url_of(self, slot: int) -> str:
        """Of one worker's own port."""
        return f"{self._scheme}://{HOST}:{self.port_of(slot)}"

    def port_of(self, slot: int) -> int:
        """Of one worker's own."""
        port: int = self._listeners[slot][1].getsockname()[1]
        return port

    async def start(self, count: int) -> None:
        """Start the workers of the slots from 0 on."""
        port = 0
        for _ in range(count):
            shared, own = socket.socket(), socket.socket()
            shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            shared.bind((HOST, port))
            own.bind((HOST, 0))
            port = shared.getsockname()[1]
            self._listeners.append([shared, own])
        for slot in range(count):
            await self.start_one(slot)

    async def start_one(self, slot: int) -> None:
        """Start one worker, and wait until it serves."""
        fds = [each.fileno() for each in self._listeners[slot]]
        for each in self._listeners[slot]:
            each.listen(BACKLOG)
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.setblocking(False)
            way = self.directory / f"descriptors{slot}"
            way.unlink(missing_ok=True)
            listener.bind(str(way))
            listener.listen()
            process = await preload.start(
                [
                    *(sys.executable, "-m", "tests.support.passing_workers"),
                    json.dumps({**self._options, "dir": str(self.directory), "slot": slot, "way": str(way)}),
                ],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}"},
            )
            async with asyncio.timeout(WITHIN):
                connection, _ = await loop.sock_accept(listener)
        with connection:
            socket.send_fds(connection, [b"x"], [self._fd, *fds])
        self._processes[slot : slot + 1] = [process]
        assert process.stdout is not None
        async with asyncio.timeout(WITHIN):
            assert await process.stdout.readline() == b"ready\n"

    async def die(self, slot: int) -> None:
        """End a worker at once, with nobody who notices."""
        self._processes[slot].kill()
        await self._processes[slot].wait()

    async def end(self, slot: int) -> None:
        """End a worker in order."""
        self._processes[slot].send_signal(signal.SIGTERM)
        async with asyncio.timeout(WITHIN):
            await self._processes[slot].wait()

    def is_alive(self, slot: int) -> bool:
        """Tell whether a worker has not ended."""
        return self._processes[slot].returncode is None

    def pid(self, slot: int) -> int:
        """Of a worker."""
        return self._processes[slot].pid

    async def kill(self, slot: int) -> None:
        """End a worker at once, and forget it, as a broker does."""
        await self.die(slot)
        self.table.clear(slot)

    async def stop(self) -> None:
        """End all."""
        for each in self._processes:
            if each.returncode is None:
                each.send_signal(signal.SIGTERM)
        for each in self._processes:
            try:
                async with asyncio.timeout(WITHIN):
                    await each.wait()
            except TimeoutError:
                each.kill()
                await each.wait()
        for sock in (sock for pair in self._listeners for sock in pair):
            sock.close()

    async def ask(self, slot: int, question: str) -> Any:
        """Ask a worker at its own port."""
        verify: Any = False
        async with ClientSession() as session, session.get(f"{self.url_of(slot)}/{question}", ssl=verify) as response:
            return await response.json()


@contextlib.asynccontextmanager
async def passing_workers(count: int = 2, **options: Any) -> AsyncIterator[Workers]:
    """Workers that run. ``options``: ``loop``, ``drop_in``, ``middleware``, ``log``, ``tls``; ``server`` has more."""
    with tempfile.TemporaryDirectory(prefix="rtf-workers-") as directory:
        fd = make_file()
        table = SharedTable(fd)
        workers = Workers(Path(directory), table, fd, options)
        try:
            await workers.start(count)
            yield workers
        finally:
            await workers.stop()
            table.close()
            os.close(fd)


class WorkersHere:
    """Workers in this process, each with a port of its own: what differs from other processes is the speed."""

    def __init__(self, directory: Path, table: SharedTable) -> None:
        self.directory = directory
        self.table = table
        self.passing: list[Passing] = []
        self.runners: list[web.AppRunner] = []

    async def start(self, app: web.Application, **settings: Any) -> None:
        """Serve an application as the next worker."""
        slot = len(self.passing)
        passing = Passing(self.directory, slot, self.table)
        join_workers(app, passing)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5, **settings)
        await runner.setup()
        passing.start()
        await web.TCPSite(runner, HOST, 0).start()
        self.table.set_state(slot, SlotState.SERVING)
        self.passing.append(passing)
        self.runners.append(runner)

    def url_of(self, slot: int) -> str:
        """Without a slash at the end."""
        return f"http://{HOST}:{self.runners[slot].addresses[0][1]}"

    def connections_of(self, slot: int) -> int:
        """Count the open TCP connections of a worker."""
        server = self.runners[slot].server
        assert server is not None
        return len(server.connections)

    async def stop(self) -> None:
        """End all."""
        for slot, (passing, runner) in enumerate(zip(self.passing, self.runners, strict=True)):
            self.table.set_state(slot, SlotState.EMPTY)
            passing.stop()
            await runner.cleanup()


@contextlib.asynccontextmanager
async def workers_here(*apps: web.Application, **settings: Any) -> AsyncIterator[WorkersHere]:
    """Workers in this process, one for each application; ``settings`` of their runners."""
    with tempfile.TemporaryDirectory(prefix="rtf-workers-") as directory:
        fd = make_file()
        table = SharedTable(fd)
        os.close(fd)
        workers = WorkersHere(Path(directory), table)
        try:
            for app in apps:
                await workers.start(app, **settings)
            yield workers
        finally:
            await workers.stop()
            table.close()


# --- one worker -------------------------------------------------------------------------------------------------------


def _application(options: dict[str, Any], slot: int, table: SharedTable) -> web.Application:
    seen: list[str] = []

    @web.middleware
    async def note(request: web.Request, handler: Any) -> web.StreamResponse:
        seen.append(f"{request.method} {request.query.get('transport', request.path)} {request.remote}")
        response: web.StreamResponse = await handler(request)
        return response

    app = web.Application(middlewares=[note] if options.get("middleware") else (), client_max_size=64_000_000)
    if options.get("drop_in"):
        sio = AsyncServer(async_mode="aiohttp")

        @sio.event
        async def slot_(sid: str) -> int:
            return slot

        sio.on("slot", slot_)
        sio.on("echo", lambda sid, *args: args)
        sio.attach(app)
    else:
        io = Server(**options.get("server", {}))

        @io.on("slot")
        def tell_slot(socket: Socket) -> int:
            return slot

        @io.on("address")
        def tell_address(socket: Socket) -> list[Any]:
            return [socket.handshake.address, socket.handshake.secure]

        @io.on("echo")
        def echo(socket: Socket, *args: Any) -> tuple[Any, ...]:
            return args

        @io.on("send")
        async def send(socket: Socket, size: int) -> None:
            await socket.emit("sent", "x" * size)

        io.attach(app)

    async def tell(request: web.Request) -> web.Response:
        what: Any = {
            "slot": slot,
            "fds": len(os.listdir("/proc/self/fd")),
            "seen": list(seen),
            "tasks": len(asyncio.all_tasks()),
            "clients": table.clients(slot),
        }
        return web.json_response(what)

    async def large(request: web.Request) -> web.Response:
        return web.json_response([slot, len(await request.read())])

    app.router.add_get("/tell", tell)
    app.router.add_post("/socket.io/own", large)
    return app


async def _serve(options: dict[str, Any]) -> None:
    slot = options["slot"]
    with socket.socket(socket.AF_UNIX) as way:
        way.connect(options["way"])
        _, (table_fd, *fds), _, _ = socket.recv_fds(way, 1, 3)
    table = SharedTable(table_fd)
    passing = Passing(Path(options["dir"]), slot, table)
    app = _application(options, slot, table)
    join_workers(app, passing)
    runner = web.AppRunner(app, access_log=None if not options.get("log") else access_logger)
    await runner.setup()
    passing.start()
    context = None
    if "tls" in options:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options["tls"])
    for fd in fds:
        await web.SockSite(runner, socket.socket(fileno=fd), backlog=BACKLOG, ssl_context=context).start()
    table.set_state(slot, SlotState.SERVING)
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(15, ending.set)
    print("ready", flush=True)
    await ending.wait()
    table.set_state(slot, SlotState.EMPTY)
    passing.stop()
    await runner.cleanup()


def main() -> None:
    """Be one worker."""
    options = json.loads(sys.argv[1])
    if options.get("log"):
        import logging

        logging.basicConfig(filename=f"{options['dir']}/log{options['slot']}", level=logging.INFO)
    if options.get("loop") == "uvloop":
        import uvloop

        uvloop.run(_serve(options))
    else:
        asyncio.run(_serve(options))


if __name__ == "__main__":
    main()
