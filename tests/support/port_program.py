"""What the workers of one port serve for tests, by ``rtframework run --workers``: a program like any other."""

from __future__ import annotations

import os
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry

from rtframework import History, Readiness, Recovery, Server, Socket
from rtframework_prometheus import Metrics
from tests.support.axis_program import attach_all
from tests.support.worker_program import make_server


def make_app() -> web.Application:
    """Make the application."""
    io = make_server(
        connection_state_recovery=Recovery(skip_middlewares=True), allow_eio3=True, trusted_proxies="127.0.0.1"
    )
    io.instrument(auth=False, mode="development")
    tenants = io.of("/tenant/{name}")

    @io.on("pid")
    @tenants.on("pid")
    def pid(socket: Socket) -> int:
        return os.getpid()

    @io.on("ban")
    def ban(socket: Socket, address: str, seconds: float) -> None:
        io.engine.ban(address, seconds)

    @io.on("unban")
    def unban(socket: Socket, address: str) -> bool:
        return io.engine.unban(address)

    @io.on("bans")
    def bans(socket: Socket) -> list[str]:
        return list(io.engine.bans)

    @io.on("leave")
    async def leave(socket: Socket) -> None:
        for room in set(socket.rooms) - {socket.id}:
            await socket.leave(room)

    @io.on("echo")
    def echo(socket: Socket, *args: Any) -> tuple[Any, ...]:
        return args

    @tenants.on("say")
    async def say(socket: Socket, text: str) -> None:
        await socket.namespace.emit("said", text)

    app = web.Application()
    io.attach(app)
    io.attach_sockjs(app)
    attach_all(app)
    io.attach_sse(app, rooms=lambda socket, rooms: True)
    kept = Server(history=History("kept:{n}", size=10_000))
    kept.attach_sse(app, "/kept", rooms=lambda socket, rooms: True)

    @kept.on("flood")
    async def flood(socket: Socket, first: int, count: int) -> int:
        for number in range(first, first + count):
            await kept.to(f"kept:{number % 3 % 2}").emit("n", number)
        return os.getpid()

    app.router.add_get("/metrics", Metrics(io, CollectorRegistry()).handler)
    app.router.add_get("/ready", Readiness(io).handler)
    return app
