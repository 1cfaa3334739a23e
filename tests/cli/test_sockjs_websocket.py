"""`rtframework emit --sockjs` and `rtframework listen --sockjs`: SockJS from a terminal, plain and with STOMP."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from rtframework import ConnectionRefused, Server, Socket
from tests.conftest import Serve
from tests.support.cli import rtframework
from tests.support.server import RunningServer

WAYS = pytest.mark.parametrize("way", [("--sockjs",), ("--sockjs", "--stomp")], ids=["plain", "stomp"])


@pytest.fixture
async def server(serve: Serve) -> RunningServer:
    """A server of SockJS alone: plain, and with STOMP at another path."""
    io = Server()

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        if socket.handshake.auth.get("token") == "wrong":
            raise ConnectionRefused("forbidden", {"code": 403})

    @io.on("who")
    async def who(socket: Socket, *args: Any) -> list[Any]:
        return [socket.conn.transport, socket.handshake.query.get("color"), *args]

    @io.on("mirror")
    async def mirror(socket: Socket, *args: Any) -> None:
        await socket.emit("mirrored", *args)
        await socket.emit("pair", "\u2028", 2)

    @io.on("leave")
    async def leave(socket: Socket) -> None:
        await socket.disconnect()

    app = web.Application()
    io.attach_sockjs(app)
    io.attach_sockjs(app, "/spring", carries="stomp")
    return await serve(app)


def place(server: RunningServer, way: tuple[str, ...]) -> str:
    """The URL for a way to connect."""
    return server.url + ("/spring" if "--stomp" in way else "")


@WAYS
async def test_the_answer_is_printed(server: RunningServer, way: tuple[str, ...]) -> None:
    """A server for old pages could not be asked from a terminal."""
    done = await rtframework("emit", *way, f"{place(server, way)}?color=blue", "who", '{"a": "ü"}', "--ack")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out) == ["sockjs websocket", "blue", {"a": "ü"}]


@WAYS
async def test_events_are_printed(server: RunningServer, way: tuple[str, ...]) -> None:
    """What pages get could not be watched."""
    url = place(server, way)
    done = await rtframework("listen", *way, url, "--emit", "mirror", "1", "two", "--count", "2")
    assert (done.code, done.lines) == (0, ['mirrored 1 "two"', 'pair "\\u2028" 2']), done.err
    where = url if "--stomp" in way else f"{url}/sockjs"
    by = "stomp" if "--stomp" in way else "plain websocket"
    assert f"connected to {where}, namespace /, by {by} over SockJS, id " in done.complaint


@WAYS
async def test_the_end_is_told(server: RunningServer, way: tuple[str, ...]) -> None:
    """A script would not know whether it may come back."""
    done = await rtframework("listen", *way, place(server, way), "--emit", "leave")
    assert done.code == 5, done.err
    assert "the connection was lost (server namespace disconnect, code 4410)" in done.err


@WAYS
async def test_who_is_refused(server: RunningServer, way: tuple[str, ...]) -> None:
    """A wrong token would look like a server that is down."""
    token = ("--auth", '{"token": "wrong"}') if "--stomp" in way else ("--query", "token=wrong")
    done = await rtframework("emit", *way, place(server, way), "who", *token)
    assert (done.code, done.complaint) == (1, 'rtframework emit: refused by namespace /: forbidden {"code": 403}')


@WAYS
async def test_bytes_are_refused(server: RunningServer, way: tuple[str, ...], tmp_path: Path) -> None:
    """They would be lost on the way."""
    (tmp_path / "data.bin").write_bytes(b"\xff")
    done = await rtframework("emit", *way, place(server, way), "who", "--binary", f"@{tmp_path / 'data.bin'}")
    assert (done.code, "bytes cannot be sent over SockJS" in done.complaint) == (2, True), done.err


@pytest.mark.parametrize("said", ["hello", "a{}", "a[1]", "a[", 'c["x"]', "", "m1"])
async def test_what_is_something_else(serve: Serve, said: str) -> None:
    """A wrong URL would look like a server that is down."""

    async def other(request: web.Request) -> web.WebSocketResponse:
        assert re.fullmatch(r"/x/[0-9]{3}/[a-z0-9]{8}/websocket", request.path)
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        await websocket.send_str(said)
        await websocket.receive()
        return websocket

    app = web.Application()
    app.router.add_get("/x/{server}/{session}/websocket", other)
    url = f"{(await serve(app)).url}/x"
    done = await rtframework("listen", "--sockjs", url)
    assert (done.code, f"what answers at {url} does not speak SockJS" in done.complaint) == (3, True), done.err


async def test_each_kind_of_frame_is_read(serve: Serve) -> None:
    """Servers that send a single message without an array, as sockjs-node may, would say nothing."""

    async def other(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        for frame in ("o", "h", 'm"{\\"type\\":\\"connected\\",\\"sid\\":\\"x\\"}"', "h", "a[]"):
            await websocket.send_str(frame)
        events = [json.dumps({"type": "event", "event": "n", "args": [number]}) for number in range(2)]
        await websocket.send_str(f"a{json.dumps(events)}")
        await websocket.send_str('c[3000,"Go away!"]')
        await websocket.receive()
        return websocket

    app = web.Application()
    app.router.add_get("/sockjs/{server}/{session}/websocket", other)
    done = await rtframework("listen", "--sockjs", (await serve(app)).url)
    assert done.lines == ["n 0", "n 1"]
    assert "the connection was lost (Go away!, code 3000)" in done.err


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--sockjs", "--ws"), "--ws cannot be used with --sockjs"),
        (("--sockjs", "--sse"), "--sockjs cannot be used with --sse"),
        (("--sockjs", "--transport", "polling"), "--transport cannot be used with --sockjs"),
        (("--sockjs", "--stomp", "-n", "/chat"), "--namespace cannot be used with --stomp"),
    ],
)
async def test_options_that_do_not_go_together(options: tuple[str, ...], complaint: str) -> None:
    """An option would be ignored."""
    done = await rtframework("emit", *options, "http://127.0.0.1:9", "who")
    assert (done.code, done.complaint) == (2, f"rtframework emit: {complaint}")
