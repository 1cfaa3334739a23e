"""`rtframework emit --ws` and `rtframework listen --ws`: plain websockets from a terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from rtframework import ConnectionRefused, Server, Socket
from tests.conftest import Serve
from tests.support.cli import rtframework
from tests.support.server import RunningServer


@pytest.fixture
async def server(serve: Serve) -> RunningServer:
    """A server of plain websockets alone."""
    io = Server()
    chat = io.of("/chat")
    for namespace in (io, chat):

        @namespace.on("connection")
        async def connection(socket: Socket) -> None:
            if socket.handshake.auth.get("token") == "wrong":
                raise ConnectionRefused("forbidden", {"code": 403})

        @namespace.on("echo")
        async def echo(socket: Socket, *args: Any) -> tuple[Any, ...]:
            return args

        @namespace.on("who")
        async def who(socket: Socket) -> dict[str, Any]:
            return {"nsp": socket.nsp, "auth": dict(socket.handshake.auth), "by": socket.conn.transport}

        @namespace.on("mirror")
        async def mirror(socket: Socket, *args: Any) -> None:
            await socket.emit("mirrored", *args)

        @namespace.on("ask")
        async def ask(socket: Socket) -> None:
            await socket.emit("answered", await socket.emit_with_ack("question", "why?"))

        @namespace.on("leave")
        async def leave(socket: Socket) -> None:
            await socket.emit("bye")
            await socket.disconnect()

    app = web.Application()
    io.attach_websocket(app, "/ws")
    return await serve(app)


async def test_the_answer_is_printed(server: RunningServer, tmp_path: Path) -> None:
    """A server without Socket.IO could not be asked from a terminal."""
    (tmp_path / "data.bin").write_bytes(b"\x00\x01\xff")
    args = ("echo", "hello", "-1", '{"a": [null, "ü"]}', "--binary", f"@{tmp_path / 'data.bin'}")
    done = await rtframework("emit", "--ws", f"{server.url}/ws", *args, "--ack", "--json")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out) == ["hello", -1, {"a": [None, "ü"]}, {"$base64": "AAH/"}]


async def test_who_asks_and_where(server: RunningServer) -> None:
    """A token, or a namespace, could not be given."""
    args = ("who", "--ack", "-n", "chat", "--auth", '{"token": "right"}')
    done = await rtframework("emit", "--ws", server.url.replace("http", "ws"), *args)
    assert json.loads(done.out) == {"nsp": "/chat", "auth": {"token": "right"}, "by": "plain websocket"}
    done = await rtframework("emit", "--ws", server.url, "who", "--ack", "--query", "token=x")
    assert json.loads(done.out)["auth"] == {"token": "x"}
    done = await rtframework("emit", "--ws", server.url, "who", "--auth", '{"token": "wrong"}')
    assert (done.code, done.complaint) == (1, 'rtframework emit: refused by namespace /: forbidden {"code": 403}')
    done = await rtframework("emit", "--ws", server.url, "who", "-n", "/nowhere")
    assert (done.code, done.complaint) == (1, "rtframework emit: refused by namespace /nowhere: Invalid namespace")


async def test_events_are_printed(server: RunningServer) -> None:
    """What a server sends by plain websocket could not be watched."""
    args = ("--emit", "mirror", "1", "two", '{"a": []}', "--emit", "ask", "--ack", "42", "--count", "3")
    done = await rtframework("listen", "--ws", f"{server.url}/ws", *args)
    assert done.code == 0, done.err
    assert done.lines == ['mirrored 1 "two" {"a": []}', 'question "why?"', "answered 42"]
    where = f"{server.url.replace('http', 'ws')}/ws"
    assert f"connected to {where}, namespace /, by plain websocket, id " in done.complaint


async def test_the_end_is_told(server: RunningServer) -> None:
    """A script would wait for events that cannot come."""
    done = await rtframework("listen", "--ws", server.url, "--emit", "leave")
    assert (done.code, done.lines) == (5, ["bye"])
    told = "rtframework listen: the connection was lost (server namespace disconnect, code 4410)"
    assert done.err.splitlines()[-1] == told
    done = await rtframework("emit", "--ws", server.url, "leave", "--ack")
    assert done.code == 5


async def test_what_does_not_belong_together(server: RunningServer) -> None:
    """An option would be ignored."""
    for option in (("--transport", "polling"), ("--msgpack",)):
        done = await rtframework("emit", "--ws", server.url, "who", *option)
        assert (done.code, done.complaint) == (2, f"rtframework emit: {option[0]} cannot be used with --ws")
