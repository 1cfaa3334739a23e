"""Our server, driven like those of Node: in the test's own loop, or as a process that can be killed.

``python -m tests.support.cluster.python_server --adapter module:factory --url redis://… --config '{…}'`` is the
process. The factory is called with the URL and the keywords of ``options``, and returns what ``Server(adapter=…)``
takes; without one the server keeps to itself.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import json
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from rtframework import AckTimeout, ConnectionRefused, Namespace, Recovery, Server, Socket
from rtframework.namespaces.operators import BroadcastOperator
from tests.support.cluster import command_loop
from tests.support.cluster.command_loop import Command, Floods, answer_commands
from tests.support.cluster.driven import DrivenProgram, DrivenServer
from tests.support.cluster.redis_server import folder_of_logs, showing
from tests.support.js import JSError, pack, unpack
from tests.support.server import RunningServer

ROOT: Final = Path(__file__).parent.parent.parent.parent


def find_factory(name: str) -> Callable[..., Any]:
    """Return the factory that ``module:name`` names."""
    module, _, attribute = name.partition(":")
    factory: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return factory


class Program:
    """The program that every server of a fleet runs, and the commands that drive it."""

    def __init__(
        self,
        name: str,
        *,
        adapter: Any = None,
        recovery: float | None = 120.0,
        namespaces: Sequence[str] = ("/", "/chat"),
        ping_interval: float = 25.0,
        ping_timeout: float = 20.0,
    ) -> None:
        self.name = name
        self.log: list[dict[str, Any]] = []
        given = {} if adapter is None else {"adapter": adapter}
        self.io = Server(
            connection_state_recovery=None
            if recovery is None
            else Recovery(max_disconnection_duration=recovery, skip_middlewares=True),
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            **given,
        )
        self.io._host.cluster.hear(self._note)
        self._served: set[str] = set()
        for nsp in namespaces:
            self._serve(self.io.of(nsp))
        self._serve(self.io.of(re.compile(r"/dynamic-\w+")))
        self.floods = Floods(self._flood)
        self.commands: Mapping[str, Command] = {
            "emit": self._emit,
            "emitWithAck": self._emit_with_ack,
            "fetchSockets": self._fetch_sockets,
            "socketsJoin": self._sockets_join,
            "socketsLeave": self._sockets_leave,
            "disconnectSockets": self._disconnect_sockets,
            "serverSideEmit": self._server_side_emit,
            "serverSideEmitWithAck": self._server_side_emit_with_ack,
            "call": self._call,
            "flood": self.floods.start,
            "flooded": self.floods.state,
            "of": self._of,
            "log": self._log,
            "sockets": self._sockets,
        }

    def make_app(self) -> web.Application:
        """Return an application that serves the program."""
        app = web.Application()
        self.io.attach(app)

        async def end_floods(app: web.Application) -> None:
            await self.floods.stop()

        app.on_shutdown.append(end_floods)
        return app

    def _note(self, event: str, *args: Any) -> None:
        if event == "gap":
            nsp, since = args
            self.log.append({"what": "gap", "nsp": nsp, "since": since})

    # --- for the clients --------------------------------------------------------------------------------------------

    def _serve(self, namespace: Namespace) -> None:
        if namespace.name in self._served:
            return
        self._served.add(namespace.name)

        @namespace.use
        async def check(socket: Socket, call_next: Callable[[], Awaitable[Any]]) -> Any:
            if socket.handshake.auth.get("token") == "wrong":
                raise ConnectionRefused("forbidden")
            return await call_next()

        @namespace.on("connection")
        async def connection(socket: Socket) -> None:
            if not socket.recovered:
                await socket.join(*socket.handshake.auth.get("rooms", ()))
                socket.data.update(socket.handshake.auth.get("data", {}))
            self.log.append(
                {
                    "what": "connection",
                    "nsp": socket.namespace.name,
                    "sid": socket.id,
                    "recovered": socket.recovered,
                    "data": pack(dict(socket.data)),
                    "rooms": sorted(socket.rooms),
                }
            )

        @namespace.on("disconnect")
        async def disconnect(socket: Socket, reason: str) -> None:
            nsp = socket.namespace.name
            self.log.append({"what": "disconnect", "nsp": nsp, "sid": socket.id, "reason": reason})

        @namespace.on("join")
        async def join(socket: Socket, room: str) -> str:
            await socket.join(room)
            return "joined"

        @namespace.on("leave")
        async def leave(socket: Socket, room: str) -> str:
            await socket.leave(room)
            return "left"

        @namespace.on("echo")
        async def echo(socket: Socket, *args: Any) -> Any:
            return args

        @namespace.on("data")
        async def data(socket: Socket, data: dict[str, Any]) -> str:
            socket.data.update(data)
            return "kept"

        @namespace.on("say")
        async def say(socket: Socket, rooms: list[str], event: str, *args: Any) -> str:
            await (socket.to(*rooms) if rooms else socket.broadcast).emit(event, *args)
            return "said"

        @namespace.on("drop")
        async def drop(socket: Socket) -> None:
            await socket.disconnect()

        @namespace.on_server_side("told")
        async def told(*args: Any) -> None:
            self.log.append({"what": "told", "nsp": namespace.name, "args": pack(list(args))})

        @namespace.on_server_side("question")
        async def question(*args: Any) -> str:
            self.log.append({"what": "question", "nsp": namespace.name, "args": pack(list(args))})
            if args[:1] == ("nobody",):
                await asyncio.sleep(3600)
            return self.name

    # --- commands ---------------------------------------------------------------------------------------------------

    def _operator(self, command: Mapping[str, Any]) -> BroadcastOperator:
        namespace = self.io.of(command.get("nsp", "/"))
        rooms = command.get("rooms", [])
        found = namespace.to(*rooms) if rooms else namespace.compress(True)  # to() with no room selects nobody
        if socket := command.get("socket"):
            found = namespace.sockets[socket].broadcast
            found = found.to(*rooms) if rooms else found
        if excluded := command.get("except"):
            found = found.except_(*excluded)
        flags = command.get("flags", {})
        if flags.get("volatile"):
            found = found.volatile
        if flags.get("local"):
            found = found.local
        if "compress" in flags:
            found = found.compress(flags["compress"])
        if command.get("timeout") is not None:
            found = found.timeout(command["timeout"] / 1000)
        return found

    async def _emit(self, command: dict[str, Any]) -> None:
        event, *args = unpack(command["args"])
        await self._operator(command).emit(event, *args)

    async def _flood(self, command: dict[str, Any], event: str, args: list[Any]) -> None:
        await self._operator({"nsp": command["nsp"], "rooms": command["rooms"]}).emit(event, *args)

    async def _emit_with_ack(self, command: dict[str, Any]) -> dict[str, Any]:
        event, *args = unpack(command["args"])
        return await _outcome(self._operator({"timeout": 5000, **command}).emit_with_ack(event, *args))

    async def _fetch_sockets(self, command: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            {
                "id": each.id,
                "rooms": sorted(each.rooms),
                "data": pack(dict(each.data)),
                "auth": pack(dict(each.handshake.auth)),
            }
            for each in await self._operator(command).fetch_sockets()
        ]

    async def _sockets_join(self, command: dict[str, Any]) -> None:
        await self._operator(command).sockets_join(*command["names"])

    async def _sockets_leave(self, command: dict[str, Any]) -> None:
        await self._operator(command).sockets_leave(*command["names"])

    async def _disconnect_sockets(self, command: dict[str, Any]) -> None:
        await self._operator(command).disconnect_sockets(close=command.get("close", False))

    async def _server_side_emit(self, command: dict[str, Any]) -> None:
        event, *args = unpack(command["args"])
        await self.io.of(command.get("nsp", "/")).server_side_emit(event, *args)

    async def _server_side_emit_with_ack(self, command: dict[str, Any]) -> dict[str, Any]:
        event, *args = unpack(command["args"])
        return await _outcome(self.io.of(command.get("nsp", "/")).server_side_emit_with_ack(event, *args))

    async def _call(self, command: dict[str, Any]) -> Any:
        event, *args = unpack(command["args"])
        found = await self.io.of(command.get("nsp", "/")).to(command["sid"]).fetch_sockets()
        if not found:
            raise LookupError("there is no such socket")
        return pack(await found[0].timeout(command.get("timeout", 5000) / 1000).emit_with_ack(event, *args))

    async def _of(self, command: dict[str, Any]) -> None:
        self._serve(self.io.of(command["nsp"]))

    async def _log(self, command: dict[str, Any]) -> list[dict[str, Any]]:
        return self.log

    async def _sockets(self, command: dict[str, Any]) -> list[str]:
        return list(self.io.of(command.get("nsp", "/")).sockets)


async def _outcome(asked: Awaitable[Mapping[str, Any]]) -> dict[str, Any]:
    try:
        answers = await asked
    except AckTimeout as error:
        return {"responses": pack(list(error.responses.values())), "complete": False, "error": str(error)}
    return {"responses": pack(list(answers.values())), "complete": True, "error": None}


class InProcessServer(DrivenServer):
    """Our server in the test's own loop; ``stop`` and ``kill`` end it, and no signal can freeze it."""

    def __init__(self, name: str, *, port: int = 0, **options: Any) -> None:
        super().__init__(name, "python")
        self.program = Program(name, **options)
        self._running = RunningServer(self.program.make_app, port=port)
        self._serves = False

    @property
    def alive(self) -> bool:
        """True while the server runs."""
        return self._serves

    async def start(self) -> None:
        """Serve."""
        await self._running.start()
        self._serves = True
        self.url = self._running.url
        self.port = self._running.port

    async def ask(self, do: str, fields: Mapping[str, Any], *, timeout: float) -> Any:
        """Carry out a command, with values that went through JSON, as in a process of its own."""
        try:
            async with asyncio.timeout(timeout):
                value = await self.program.commands[do](json.loads(json.dumps(fields)))
        except TimeoutError:
            raise
        except Exception as error:
            raise JSError(str(error), type(error).__name__) from error
        return json.loads(json.dumps(value))

    async def stop(self) -> None:
        """Shut down in good order."""
        self._serves = False
        await self._running.stop()

    async def kill(self) -> None:
        """Reset all connections before the program hears of it. What runs in the process goes on, unlike at SIGKILL."""
        self._serves = False
        await self._running.kill()

    async def close(self) -> None:
        """Stop, if it still runs."""
        await self.stop()


def python_server(
    name: str,
    folder: Path,
    *,
    url: str = "",
    adapter: str | None = None,
    module: str = "tests.support.cluster.python_server",
    **config: Any,
) -> DrivenProgram:
    """Prepare our server as a process that is not started yet.

    ``adapter``: ``module:factory``. ``config``: the keywords of ``Program``, ``port``, ``options`` of the factory, and
    ``clock``: seconds by which the process's clock is wrong.
    """
    command = [sys.executable, "-m", module, "--url", url, "--config", json.dumps({"name": name, **config})]
    if adapter is not None:
        command += ["--adapter", adapter]
    env = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins"), os.environ.get("PYTHONPATH", "")])}
    return DrivenProgram(name, "python", command, folder, cwd=ROOT, env=env)


@contextlib.asynccontextmanager
async def running_python(name: str = "python", **options: Any) -> AsyncIterator[DrivenProgram]:
    """Our server as a process, with the options of :func:`python_server`, which is gone at the end."""
    with contextlib.ExitStack() as stack:
        server = python_server(name, stack.enter_context(folder_of_logs()), **options)
        stack.enter_context(showing([server.program]))
        await server.start()
        yield server
        await server.close()


@contextlib.asynccontextmanager
async def in_process(name: str = "python", **options: Any) -> AsyncIterator[InProcessServer]:
    """Our server in the test's own loop, with the options of ``Program``."""
    server = InProcessServer(name, **options)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def serve_app(
    app: web.Application, commands: Mapping[str, Command], *, port: int = 0, name: str = "python"
) -> None:
    """Serve an application and carry out commands until SIGTERM, or until standard input ends."""
    runner = web.AppRunner(app, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    port = runner.addresses[0][1]
    ready = {"url": f"http://127.0.0.1:{port}", "port": port, "pid": os.getpid(), "name": name}
    try:
        await answer_commands(commands, ready, ended)
    finally:
        await runner.cleanup()


def set_clock_wrong(seconds: float) -> None:
    """Make ``time.time()`` of this process wrong by some seconds; floods keep the right time."""
    if seconds:
        right = time.time
        command_loop.right_time = right
        time.time = lambda: right() + seconds


async def main() -> None:
    """Run one server."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--adapter")
    parser.add_argument("--url", default="")
    parser.add_argument("--config", default="{}")
    given = parser.parse_args()
    config = json.loads(given.config)
    port = config.pop("port", 0)
    set_clock_wrong(config.pop("clock", 0.0))
    options = config.pop("options", {})
    adapter = None if given.adapter is None else find_factory(given.adapter)(given.url, **options)
    program = Program(**config, adapter=adapter)
    await serve_app(program.make_app(), program.commands, port=port, name=program.name)


if __name__ == "__main__":
    asyncio.run(main())
