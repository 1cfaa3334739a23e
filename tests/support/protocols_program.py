"""A program that is attached for every protocol, for tests with several workers: one room, with what was said in it."""

from __future__ import annotations

import os

from aiohttp import web

from rtframework import History, Server, Socket


def make_app() -> web.Application:
    """Make the application."""
    io = Server(history=History("kept", size=10_000))

    @io.on("enter")
    async def enter(socket: Socket) -> int:
        """Join the room. Return the worker's process."""
        await socket.join("kept")
        return os.getpid()

    async def say(request: web.Request) -> web.Response:
        await io.to("kept").emit("said", int(request.query["n"]))
        return web.json_response(os.getpid())

    app = web.Application()
    io.attach(app)
    io.attach_websocket(app, "/ws")
    io.attach_sse(app, "/events", rooms=["kept"], retry=0.05)
    io.attach_stomp(app, "/stomp", topics=["kept"])
    io.attach_sockjs(app, "/sockjs")
    app.router.add_post("/say", say)
    return app
