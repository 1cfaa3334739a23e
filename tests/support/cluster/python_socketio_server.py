"""python-socketio's server with its Redis manager, driven like the others, for the commands that it can carry out.

``python -m tests.support.cluster.python_socketio_server`` is the process. Its manager has no remote sockets, no acks of
broadcasts and no server-side events, so a command for one of these is unknown.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import socketio
from aiohttp import web

from tests.support.cluster.command_loop import Command, Floods
from tests.support.cluster.driven import DrivenProgram
from tests.support.cluster.python_server import python_server, serve_app
from tests.support.js import pack, unpack


class Program:
    """The program of a fleet on python-socketio's server."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self.log: list[dict[str, Any]] = []
        manager = socketio.AsyncRedisManager(url) if url else None
        self.io = socketio.AsyncServer(async_mode="aiohttp", client_manager=manager, namespaces="*")
        self.io.on("connect", self._connect, namespace="*")
        self.io.on("disconnect", self._disconnect, namespace="*")
        self.io.on("echo", self._echo, namespace="*")
        self.io.on("join", self._join, namespace="*")
        self.floods = Floods(self._flood)
        self.commands: Mapping[str, Command] = {
            "emit": self._emit,
            "flood": self.floods.start,
            "flooded": self.floods.state,
            "log": self._log,
        }

    def make_app(self) -> web.Application:
        """Return an application that serves the program."""
        app = web.Application()
        self.io.attach(app)
        return app

    async def _connect(self, nsp: str, sid: str, environ: dict[str, Any], auth: Any) -> None:
        given = auth or {}
        if given.get("token") == "wrong":
            raise socketio.exceptions.ConnectionRefusedError("forbidden")
        for room in given.get("rooms", ()):
            await self.io.enter_room(sid, room, namespace=nsp)
        rooms = sorted(self.io.rooms(sid, namespace=nsp))
        self.log.append({"what": "connection", "nsp": nsp, "sid": sid, "recovered": False, "data": {}, "rooms": rooms})

    async def _disconnect(self, nsp: str, sid: str, reason: str) -> None:
        self.log.append({"what": "disconnect", "nsp": nsp, "sid": sid, "reason": reason})

    async def _echo(self, nsp: str, sid: str, *args: Any) -> Any:
        return args

    async def _join(self, nsp: str, sid: str, room: str) -> str:
        await self.io.enter_room(sid, room, namespace=nsp)
        return "joined"

    async def _emit(self, command: dict[str, Any]) -> None:
        event, *args = unpack(command["args"])
        await self._flood(command, event, args)

    async def _flood(self, command: dict[str, Any], event: str, args: list[Any]) -> None:
        rooms = command.get("rooms") or None
        skipped = command.get("except") or None
        await self.io.emit(event, tuple(args), to=rooms, skip_sid=skipped, namespace=command.get("nsp", "/"))

    async def _log(self, command: dict[str, Any]) -> Any:
        return pack(self.log)


def python_socketio_server(name: str, folder: Path, *, url: str = "", port: int = 0, **_: Any) -> DrivenProgram:
    """Prepare a server that is not started yet; what else a Node server is configured by does not concern it."""
    module = "tests.support.cluster.python_socketio_server"
    server = python_server(name, folder, url=url, module=module, port=port)
    server.kind = "python-socketio"
    return server


async def main() -> None:
    """Run one server."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", default="")
    parser.add_argument("--config", default="{}")
    given = parser.parse_args()
    config = json.loads(given.config)
    program = Program(config["name"], given.url)
    await serve_app(program.make_app(), program.commands, port=config.get("port", 0), name=program.name)


if __name__ == "__main__":
    asyncio.run(main())
