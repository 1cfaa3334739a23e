"""What the kinds of servers on the port of all tests do: handlers for everything that a client may ask, once."""

from __future__ import annotations

import itertools
import os
from typing import Any, Final

from aiohttp import web

from rtframework import ConnectionRefused, Event, EventError, Limits, Recovery, Server, Socket
from rtframework.protocols import CallNext
from rtframework_msgpack import MsgpackSerializer

LARGEST: Final = 100_000
"""Bytes of a message that a server of these takes."""

_numbers: Final = itertools.count()


def attach_all(app: web.Application) -> None:
    """Attach a server of each kind to an application, each at a path of its own."""
    make().attach(app, "/axis/json")
    make(serializer=MsgpackSerializer()).attach(app, "/axis/msgpack")
    own = make(connection_state_recovery=Recovery())
    own.engine.generate_id = lambda request: f"{os.getpid()}.{next(_numbers)}.{os.urandom(15).hex()}"
    own.attach(app, "/axis/own-ids")


def make(**options: Any) -> Server:
    """Make a server."""
    io = Server(allow_eio3=True, limits=Limits(max_http_buffer_size=LARGEST), **options)
    guarded = io.of("/guarded")

    @io.use
    async def let_in(socket: Socket, call_next: CallNext) -> None:
        if socket.handshake.query.get("name") == "Mallory":
            raise ConnectionRefused("not you", {"code": "banned"})
        socket.data["name"] = socket.handshake.query.get("name")
        await call_next()

    @guarded.use
    async def guard(socket: Socket, call_next: CallNext) -> None:
        if socket.handshake.auth.get("token") != "secret":
            raise ConnectionRefused("members only")
        await call_next()

    @io.use_event
    async def shout(socket: Socket, event: Event, call_next: CallNext) -> Any:
        if event.name == "forbidden":
            raise EventError("forbidden")
        return await call_next()

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        for number in range(20):
            await socket.emit("at the beginning", number)

    @io.on("disconnecting")
    async def disconnecting(socket: Socket, reason: str) -> None:
        for room in socket.rooms - {socket.id}:
            await io.to(room).emit("left", socket.data["name"], reason)

    @io.on("pid")
    @guarded.on("pid")
    def pid(socket: Socket) -> int:
        return os.getpid()

    @io.on("echo")
    @guarded.on("echo")
    def echo(socket: Socket, *args: Any) -> tuple[Any, ...]:
        return args

    @io.on("ask me")
    async def ask_me(socket: Socket, *args: Any) -> Any:
        return await socket.timeout(5).emit_with_ack("question", *args)

    @io.on("ask")
    async def ask(socket: Socket, room: str, *args: Any) -> list[Any]:
        return sorted((await io.to(room).timeout(5).emit_with_ack("question", *args)).values())

    @io.on("enter")
    async def enter(socket: Socket, *rooms: str) -> None:
        await socket.join(*rooms)

    @io.on("leave")
    async def leave(socket: Socket, *rooms: str) -> None:
        await socket.leave(*rooms)

    @io.on("tell")
    async def tell(socket: Socket, room: str, *args: Any) -> None:
        await socket.to(room).emit("told", *args)

    @io.on("count")
    async def count(socket: Socket, room: str, most: int) -> None:
        for number in range(most):
            await io.to(room).emit("number", number)

    @io.on("names")
    async def names(socket: Socket, room: str) -> list[Any]:
        return sorted(each.data["name"] for each in await io.in_(room).fetch_sockets())

    @io.on("throw out")
    async def throw_out(socket: Socket, room: str) -> None:
        await io.in_(room).disconnect_sockets()

    @guarded.on("news")
    async def news(socket: Socket, text: str) -> None:
        await guarded.emit("news", text)

    return io
