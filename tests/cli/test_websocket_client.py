"""The commands by a websocket that is not Socket.IO's: servers that are something else, refuse, or are not there."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import pytest
from aiohttp import web

from rtframework import Server, Socket
from tests.conftest import Serve
from tests.support.cli import rtframework


@dataclass(frozen=True)
class Door:
    """A protocol by websocket, as the commands know it."""

    option: str
    name: str

    def attach(self, io: Server, app: web.Application) -> None:
        """Serve it."""
        if self.option == "--ws":
            io.attach_websocket(app, "/ws")
        else:
            io.attach_stomp(app, "/stomp")


DOORS: Final = [Door("--ws", "rtframework.v1"), Door("--stomp", "STOMP")]


@pytest.fixture(params=DOORS, ids=lambda door: door.option)
def door(request: pytest.FixtureRequest) -> Door:
    """Each of the protocols."""
    found: Door = request.param
    return found


@pytest.mark.parametrize("path", ["/other", "/nowhere"])
async def test_what_is_something_else(door: Door, serve: Serve, path: str) -> None:
    """A wrong URL would look like a server that is down."""

    async def other(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        await websocket.send_str("hello, I am something else\n\n")
        await websocket.receive()
        return websocket

    app = web.Application()
    app.router.add_get("/other", other)
    door.attach(Server(), app)
    server = await serve(app)
    done = await rtframework("emit", door.option, f"{server.url}{path}", "who")
    assert done.code == 3, done.err
    complaints = {
        "/other": f"does not speak {door.name}: ",
        "/nowhere": "opens no websocket (HTTP 404): see the path of the URL",
    }
    assert complaints[path] in done.complaint


async def test_who_is_refused_by_http(door: Door, serve: Serve) -> None:
    """A refusal would look like a server that is down."""
    app = web.Application()
    door.attach(Server(allow_request=lambda request: False), app)
    server = await serve(app)
    done = await rtframework("listen", door.option, server.url)
    assert (done.code, "refused by ws://" in done.complaint, "HTTP 403" in done.complaint) == (1, True, True)


async def test_nobody_answers(door: Door) -> None:
    """A server that is down would be a traceback."""
    done = await rtframework("emit", door.option, "ws://127.0.0.1:9", "who")
    assert (done.code, "nobody answers at 127.0.0.1:9" in done.complaint) == (3, True)


async def test_who_does_not_answer_in_time(door: Door, serve: Serve) -> None:
    """A script would wait for ever for an answer that no handler gives."""
    io = Server()

    @io.on("slow")
    async def slow(socket: Socket) -> None:
        await never.wait()

    never = asyncio.Event()
    app = web.Application()
    door.attach(io, app)
    server = await serve(app)
    done = await rtframework("emit", door.option, server.url, "slow", "--ack", "--timeout", "0.2")
    assert done.code == 4, done.err
    assert "was not answered within 0.2 s" in done.complaint
    never.set()
