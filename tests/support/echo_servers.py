"""Servers for the commands that talk to one: ours and Node's (tests/js/server.mjs), which behave alike."""

from __future__ import annotations

import datetime
import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pytest

from rtframework import Ack, ConnectionRefused, Server, Socket
from rtframework.protocols import CallNext
from rtframework_msgpack import MsgpackSerializer
from tests.support.preload import ROOT

JSON: Final = "json"
MSGPACK: Final = "msgpack"


def our_server(parser: str) -> Server:
    """The twin of tests/js/server.mjs."""
    io = Server(serializer=MsgpackSerializer() if parser == MSGPACK else None)
    for namespace in (io.of("/"), io.of("/chat")):

        @namespace.use
        async def refuse(socket: Socket, call_next: CallNext) -> None:
            auth = socket.handshake.auth
            if isinstance(auth, Mapping) and auth.get("token") == "wrong":
                raise ConnectionRefused("forbidden", {"code": 403})
            await call_next()

        @namespace.on("echo")
        async def echo(socket: Socket, *args: Any) -> tuple[Any, ...]:
            return args

        @namespace.on("1")
        async def one(socket: Socket, *args: Any) -> str:
            return "one"

        @namespace.on(2)
        async def two(socket: Socket, *args: Any) -> str:
            return "two"

        @namespace.on("mirror")
        async def mirror(socket: Socket, *args: Any) -> None:
            await socket.emit("mirrored", *args)

        @namespace.on("who")
        async def who(socket: Socket) -> dict[str, Any]:
            shake = socket.handshake
            color = shake.query.get("color")
            return {
                "nsp": socket.nsp,
                "auth": dict(shake.auth or {}),
                "header": shake.headers.get("x-test"),
                "query": color,
            }

        @namespace.on("ask")
        async def ask(socket: Socket) -> None:
            await socket.emit("answered", await socket.emit_with_ack("question", "why?"))

        @namespace.on("leave")
        async def leave(socket: Socket) -> None:
            await socket.emit("bye")
            await socket.disconnect()

        @namespace.on("dates")
        async def dates(socket: Socket) -> None:
            await socket.emit("date", datetime.datetime.fromtimestamp(0, datetime.UTC), None)

        @namespace.on("silence")
        async def silence(socket: Socket, ack: Ack) -> None: ...

    return io


class NodeServers:
    """Stock servers in Node, in one process for many tests."""

    def __init__(self) -> None:
        node = shutil.which("node")
        assert node is not None, "Node is missing: run `make test` once"
        command = [node, str(ROOT / "tests/js/server.mjs")]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "tests/js/server.mjs does not start: run `make test` once"
        self.urls: dict[str, str] = json.loads(line)
        """By the parser."""

    def close(self) -> None:
        """End them."""
        self._process.communicate(timeout=10)


@dataclass(frozen=True)
class Peer:
    """A server to talk to."""

    url: str
    options: tuple[str, ...]
    """What says how it encodes."""


PARSERS = [
    pytest.param((whose, parser), id=f"{whose}-{parser}") for whose in ("ours", "node") for parser in (JSON, MSGPACK)
]
