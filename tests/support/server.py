"""Servers to test against: in the test's own loop, or as a process that can be killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import signal
import socket
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, Self, TypeAlias

from aiohttp import web

from tests.support.preload import Process, start

HOST = "127.0.0.1"
BY_AIOHTTP = os.environ.get("RTF_TEST_WAY") == "aiohttp"
"""True if aiohttp's tasks are to serve the requests of tests, which are else served where they are read."""


class Attachable(Protocol):
    """What mounts itself into an application: ``rtframework.Server``, python-socketio's ``AsyncServer``."""

    def attach(self, app: web.Application) -> Any:
        """Add routes and start-up and clean-up hooks."""


Served: TypeAlias = Attachable | web.Application | Callable[[], web.Application]


@web.middleware
async def see(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Have aiohttp's tasks serve all requests of an application: the program would see them."""
    return await handler(request)


def reset(transport: asyncio.BaseTransport) -> None:
    """Drop a TCP connection the hard way: the peer gets RST."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError, ValueError):  # closed already; uvloop says it in the second way
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    abort = getattr(transport, "abort", None)  # uvloop's transports are no asyncio.WriteTransport
    if abort is not None:
        abort()


def backlog_of(sock: socket.socket) -> int:
    """Return how many connections may wait to be accepted; Linux only (``tcpi_sacked`` of a listening socket)."""
    found: int = struct.unpack_from("I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 28)[0]
    return found


NO_PAGES: Final = frozenset({3659, 4045, 4190, 5060, 5061, 6000, 6566, *range(6665, 6670), 6679, 6697, 10080})
"""Ports between 3000 and 12000 that browsers refuse to connect to (the Fetch standard, "port blocking")."""


def free_port() -> int:
    """A port, good for pages too, that nobody listens on now, and that no outgoing connection is given meanwhile."""
    chance = random.SystemRandom()
    while True:
        port = chance.randrange(3_000, 12_000)
        if port in NO_PAGES:
            continue
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind((HOST, port))
            return port


async def close_port(server: asyncio.Server) -> None:
    """Stop listening, and lose no connection: one that was accepted but has no handler yet would hang for ever.

    asyncio (seen in 3.11) leaves such a connection open, in nobody's hands, when the server is closed in between.
    """
    loop = asyncio.get_running_loop()
    for sock in server.sockets:
        loop.remove_reader(sock.fileno())
    for _ in range(4):  # turns of the loop between accept() and connection_made()
        await asyncio.sleep(0)
    server.close()


class RunningServer:
    """An aiohttp application on 127.0.0.1, on a free port that it keeps when it is started again.

    Only a factory can be started twice, since an application is used up when it has been cleaned up.
    """

    def __init__(self, served: Served, *, shutdown_timeout: float = 0.5, port: int = 0) -> None:
        self._served = served
        self._shutdown_timeout = shutdown_timeout
        self._used = False
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None
        self.port = port
        self.app: web.Application | None = None

    @property
    def url(self) -> str:
        """Without a slash at the end."""
        return f"http://{HOST}:{self.port}"

    @property
    def connections(self) -> int:
        """TCP connections that are open."""
        server = self._runner.server if self._runner else None
        return len(server.connections) if server else 0

    async def start(self) -> None:
        """Serve; again, on the same port, after ``stop`` or ``kill``."""
        if self._runner is not None:
            raise RuntimeError("the server runs already")
        self.app = self._application()
        if BY_AIOHTTP and see not in self.app.middlewares:
            self.app.middlewares.append(see)
        runner = web.AppRunner(self.app, shutdown_timeout=self._shutdown_timeout)
        try:
            await runner.setup()
            assert runner.server is not None
            self._listener = await asyncio.get_running_loop().create_server(runner.server, HOST, self.port)
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner
        self.port = self._listener.sockets[0].getsockname()[1]

    def _application(self) -> web.Application:
        if isinstance(self._served, web.Application) or hasattr(self._served, "attach"):
            if self._used:
                raise RuntimeError("to start again, give running_server a function that makes the application")
            self._used = True
            if isinstance(self._served, web.Application):
                return self._served
            app = web.Application()
            self._served.attach(app)
            return app
        return self._served()

    async def _close_port(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            await close_port(listener)

    async def stop(self) -> None:
        """Shut down in good order, as at SIGTERM: the application's clean-up runs."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await self._close_port()
            await runner.cleanup()

    async def kill(self) -> None:
        """Vanish: the port closes and every connection is reset before the application hears of it."""
        runner = self._runner
        if runner is None:
            return
        await self._close_port()
        for connection in runner.server.connections if runner.server else ():
            if connection.transport is not None:
                reset(connection.transport)
        await self.stop()


@contextlib.asynccontextmanager
async def running_server(
    served: Served, *, shutdown_timeout: float = 0.5, port: int = 0
) -> AsyncIterator[RunningServer]:
    """Serve an application, something to ``attach`` to a new one, or what a function returns.

    ``shutdown_timeout`` is how long, in seconds, aiohttp lets requests that still run end by themselves.
    """
    server = RunningServer(served, shutdown_timeout=shutdown_timeout, port=port)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


class SubprocessServer:
    """A Python program that serves, as a process of its own; it gets its port as ``PORT`` and prints its URL.

    Example::

        async with SubprocessServer(EXAMPLES / "chat" / "server.py") as server:
            await server.kill()
            await server.start()
    """

    def __init__(
        self,
        program: Path | str,
        *,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        python: str = sys.executable,
        cwd: Path | None = None,
        port: int | None = None,
        timeout: float = 20.0,
    ) -> None:
        self._command = [python, "-u", str(program), *args]
        self._env = dict(env or {})
        self._cwd = cwd
        self._timeout = timeout
        self._process: Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._announced = asyncio.Event()
        self.port = free_port() if port is None else port
        self.output: list[str] = []

    @property
    def url(self) -> str:
        """Without a slash at the end."""
        return f"http://{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """Of the running process."""
        if self._process is None:
            raise RuntimeError("the server does not run")
        return self._process.pid

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start the process and wait until it has printed its URL and accepts connections."""
        if self._process is not None:
            raise RuntimeError("the server runs already")
        self._announced.clear()
        self._process = await start(
            self._command, env={**os.environ, **self._env, "PORT": str(self.port)}, cwd=self._cwd, merged=True
        )
        self._reader = asyncio.create_task(self._read(self._process))
        try:
            async with asyncio.timeout(self._timeout):
                await self._announced.wait()
                if self._process.returncode is not None:
                    raise RuntimeError(f"the server ended at once:\n{self.printed}")
                await self._accepting()
        except TimeoutError:
            await self.kill()
            raise RuntimeError(f"no URL within {self._timeout:g} s; printed:\n{self.printed}") from None
        except BaseException:
            await self.kill()
            raise

    @property
    def printed(self) -> str:
        """Everything that the program wrote, both streams."""
        return "\n".join(self.output)

    async def stop(self, *, timeout: float = 10.0) -> int | None:
        """SIGTERM, and the exit code; ``None`` when it did not run. Killed when it does not end in time."""
        return await self._end(signal.SIGTERM, timeout)

    async def kill(self) -> int | None:
        """SIGKILL: no good-byes."""
        return await self._end(signal.SIGKILL, 10.0)

    async def _end(self, how: signal.Signals, timeout: float) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(how)
        try:
            async with asyncio.timeout(timeout):
                code = await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise RuntimeError(f"the server did not end within {timeout:g} s; printed:\n{self.printed}") from None
        finally:
            if self._reader is not None:
                await self._reader
                self._reader = None
        return code

    async def _read(self, process: Process) -> None:
        if process.stdout is not None:
            async for line in process.stdout:
                text = line.decode(errors="replace").rstrip()
                self.output.append(text)
                if re.search(rf"https?://\S+:{self.port}\b", text):
                    self._announced.set()
        await process.wait()
        self._announced.set()

    async def _accepting(self) -> None:
        while True:
            try:
                _, writer = await asyncio.open_connection(HOST, self.port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()
                return
