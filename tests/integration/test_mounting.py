"""Into aiohttp applications: paths, sub-applications, several servers, start and clean-up."""

from __future__ import annotations

import asyncio

from aiohttp import ClientSession, web

from rtframework import Server, Socket
from tests.conftest import Serve
from tests.support.js import JSClients
from tests.support.transports import Transport


async def test_beside_routes_and_middleware_of_an_application(
    serve: Serve, js: JSClients, transport: Transport
) -> None:
    """The server could not be added to an application that exists already."""
    seen: list[str] = []

    @web.middleware
    async def middleware(request: web.Request, handler: web.Handler) -> web.StreamResponse:  # type: ignore[name-defined]
        seen.append(request.path)
        response: web.StreamResponse = await handler(request)
        return response

    io = Server()

    async def orders(request: web.Request) -> web.Response:
        await io.emit("order", await request.json())
        return web.Response(text="ordered")

    app = web.Application(middlewares=[middleware])
    app.router.add_post("/orders", orders)
    io.attach(app)
    server = await serve(app)
    client = await js.connect(server.url, via=transport)
    async with ClientSession() as session, session.post(server.url + "/orders", json={"tea": 2}) as response:
        assert await response.text() == "ordered"
    assert await client.wait_for("order") == [{"tea": 2}]
    assert "/orders" in seen
    assert "/socket.io/" in seen
    await client.disconnect()


async def test_another_path_and_a_sub_application(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Only one place in one kind of application would do."""
    here, there = Server(), Server()

    @here.on("where")
    async def in_here(socket: Socket) -> str:
        return "here"

    @there.on("where")
    async def in_there(socket: Socket) -> str:
        return "there"

    app, sub = web.Application(), web.Application()
    here.attach(app, path="/live/")
    there.attach(sub)
    app.add_subapp("/sub", sub)
    server = await serve(app)
    first = await js.connect(server.url, via=transport, path="/live")
    second = await js.connect(server.url, via=transport, path="/sub/socket.io")
    assert await first.emit_with_ack("where") == "here"
    assert await second.emit_with_ack("where") == "there"
    await here.emit("for here")
    await first.wait_for("for here")
    await second.expect_nothing("for here")


async def test_clean_up_leaves_nothing(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Tasks and timers left behind would keep a process from ending, or a test suite from passing."""
    before = asyncio.all_tasks()
    io = Server()
    hold = asyncio.Event()

    @io.on("hang")
    async def hang(socket: Socket) -> None:
        await hold.wait()

    server = await serve(io)
    client = await js.connect(server.url, via=transport)
    await client.emit("hang")
    await client.barrier()
    await client.close_engine()
    await js.connect(server.url, via=transport)
    await server.stop()
    assert not io.sockets
    left = {task for task in asyncio.all_tasks() - before if not task.done()}
    assert left == set()
    handles = getattr(asyncio.get_running_loop(), "_scheduled", [])
    assert [handle for handle in handles if "rtframework" in repr(handle) and not handle.cancelled()] == []


async def test_namespaces_made_while_running(serve: Serve, js: JSClients) -> None:
    """A namespace that a running program makes would not work."""
    io = Server()
    server = await serve(io)
    io.of("/late")
    client = await js.connect(server.url + "/late")
    await io.of("/late").emit("news")
    await client.wait_for("news")
