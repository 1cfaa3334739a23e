"""`rtframework emit --stomp` and `rtframework listen --stomp`: STOMP from a terminal."""

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
    """A server of STOMP alone."""
    io = Server()

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        if socket.handshake.auth.get("token") == "wrong":
            raise ConnectionRefused("forbidden", {"code": 403})

    @io.on("echo")
    async def echo(socket: Socket, *args: Any) -> tuple[Any, ...]:
        return args

    @io.on("who")
    async def who(socket: Socket) -> dict[str, Any]:
        return {"auth": dict(socket.handshake.auth), "by": socket.conn.transport}

    @io.on("mirror")
    async def mirror(socket: Socket, *args: Any) -> None:
        await socket.emit("mirrored", *args)
        await io.to("news:1").emit("news", *args)

    @io.on("ask")
    async def ask(socket: Socket) -> None:
        await socket.emit("answered", await socket.emit_with_ack("question", "why?"))

    @io.on("leave")
    async def leave(socket: Socket) -> None:
        await socket.emit("bye")
        await socket.disconnect()

    app = web.Application()
    io.attach_stomp(app, "/stomp", topics="news:{id}")
    return await serve(app)


async def test_the_answer_is_printed(server: RunningServer, tmp_path: Path) -> None:
    """A server without Socket.IO could not be asked from a terminal."""
    (tmp_path / "data.bin").write_bytes(b"\x00\x01\xff")
    args = ("echo", "hello", "-1", '{"a": [null, "ü"]}', "--binary", f"@{tmp_path / 'data.bin'}")
    done = await rtframework("emit", "--stomp", f"{server.url}/stomp", *args, "--ack", "--json")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out) == ["hello", -1, {"a": [None, "ü"]}, {"$base64": "AAH/"}]
    done = await rtframework("emit", "--stomp", server.url, "echo", "--ack", "--json")
    assert (done.code, json.loads(done.out)) == (0, [])


async def test_who_asks(server: RunningServer) -> None:
    """A token could not be given."""
    url = server.url.replace("http", "ws")
    done = await rtframework("emit", "--stomp", url, "who", "--ack", "--auth", '{"token": "right", "n": 1}')
    assert json.loads(done.out) == {"auth": {"token": "right", "n": "1"}, "by": "stomp"}
    done = await rtframework("emit", "--stomp", url, "who", "--auth", '{"token": "wrong"}')
    assert (done.code, done.complaint) == (1, 'rtframework emit: refused by namespace /: forbidden {"code": 403}')


async def test_events_are_printed(server: RunningServer) -> None:
    """What a server sends by STOMP could not be watched."""
    args = ("--topic", "news:1", "--emit", "mirror", "1", "two", "--emit", "ask", "--ack", "42", "--count", "4")
    done = await rtframework("listen", "--stomp", f"{server.url}/stomp", *args)
    assert done.code == 0, done.err
    assert done.lines == ['mirrored 1 "two"', 'news 1 "two"', 'question "why?"', "answered 42"]
    where = f"{server.url.replace('http', 'ws')}/stomp"
    assert f"connected to {where}, namespace /, by stomp, id " in done.complaint


async def test_the_end_is_told(server: RunningServer) -> None:
    """A script would wait for events that cannot come."""
    done = await rtframework("listen", "--stomp", server.url, "--emit", "leave")
    assert (done.code, done.lines) == (5, ["bye"])
    told = "rtframework listen: the connection was lost (server namespace disconnect, code 4410)"
    assert done.err.splitlines()[-1] == told
    done = await rtframework("emit", "--stomp", server.url, "leave", "--ack")
    assert done.code == 5
    done = await rtframework("listen", "--stomp", server.url, "--topic", "secret")
    assert done.code == 5
    assert "may not subscribe to /topic/secret" in done.complaint


async def test_what_does_not_belong_together(server: RunningServer) -> None:
    """An option would be ignored."""
    for option in (("--transport", "polling"), ("--msgpack",), ("--namespace", "/a")):
        done = await rtframework("emit", "--stomp", server.url, "who", *option)
        assert (done.code, done.complaint) == (2, f"rtframework emit: {option[0]} cannot be used with --stomp")
    done = await rtframework("emit", "--stomp", "--ws", server.url, "who")
    assert (done.code, done.complaint) == (2, "rtframework emit: --stomp cannot be used with --ws")
    done = await rtframework("listen", server.url, "--topic", "a")
    assert (done.code, done.complaint) == (2, "rtframework listen: --topic is for --stomp only")
