"""A server for tests: what is served, and that nothing of it is left."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Literal

import pytest
from aiohttp import web

from rtframework import (
    ConfigurationError,
    ConnectionRefused,
    Depends,
    Disconnected,
    Server,
    Socket,
)
from rtframework.engine import AsyncServer
from rtframework.testing import Clock, TestServer
from tests.support.in_process import BOTH, NOT_ON_UVLOOP, application, chat, shout

pytestmark = NOT_ON_UVLOOP


Transport = Literal["websocket", "polling"]


@BOTH
async def test_an_application_is_served_with_all_that_is_in_it(transport: Transport) -> None:
    """Middleware and routes of the application are part of what people want to test."""
    seen: list[str] = []
    io = chat()
    io.use_event(shout)
    async with TestServer(lambda: application(io, seen)) as server:
        async with server.http.get("/hello") as response:
            assert await response.json() == {"cookie": ""}
        async with server.http.get("/hello") as response:
            assert await response.json() == {"cookie": "yes"}
        alice = await server.connect(transport=transport)
        assert "GET /socket.io/" in seen
        assert await alice.emit_with_ack("echo", "hi") == "HI"
        with pytest.raises(ConnectionRefused, match="HTTP 403") as banned:
            await server.connect(transport=transport, headers={"X-Banned": "1"})
        assert banned.value.data["status"] == 403
        assert len(server.app.middlewares) == 1


async def test_an_application_is_made_for_each_test() -> None:
    """A function that makes the application, around a server that is kept in a module, is what programs have."""
    io = chat()
    for _ in range(2):
        async with TestServer(lambda: application(io, [])) as server:
            assert await (await server.connect()).emit_with_ack("add", 1, 2) == 3
            with pytest.raises(ConfigurationError, match="attached"):
                io.attach(web.Application())

    async def make() -> web.Application:
        return application(io, [])

    async with TestServer(make) as server:
        await server.connect()


async def test_origins_are_checked() -> None:
    """A page of another host that must not connect is a thing to test."""
    async with TestServer(Server(cors_allowed_origins=["https://a.example"])) as server:
        await server.connect(headers={"Origin": "https://a.example"})
        with pytest.raises(ConnectionRefused, match="HTTP 403"):
            await server.connect(headers={"Origin": "https://b.example"})


async def test_a_program_of_python_socketios_is_served() -> None:
    """Who comes from python-socketio wants to test the program before changing it."""
    sio = AsyncServer()

    @sio.event
    async def add(sid: str, a: int, b: int) -> int:
        return a + b

    async with TestServer(sio) as server:
        assert await (await server.connect()).emit_with_ack("add", 1, 2) == 3


async def test_a_stopped_server_tells_its_clients() -> None:
    """Programs that say good-bye at shutdown could not be tested."""
    io = chat()
    reasons: list[str] = []

    @io.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        await asyncio.sleep(0)
        reasons.append(reason)

    async with TestServer(io) as server:
        clients = [await server.connect(), await server.connect(transport="polling")]
        with pytest.raises(RuntimeError, match="runs already"):
            await server.start()
        await server.stop()
        assert reasons == ["server shutting down"] * 2
        assert [client.disconnect_reason for client in clients] == ["transport close"] * 2
        with pytest.raises(RuntimeError, match="does not run"):
            await server.connect()
        with pytest.raises(RuntimeError, match="does not run"):
            _ = server.app


@pytest.mark.parametrize("clock", [False, True], ids=["real time", "simulated time"])
def test_a_server_is_served_again_in_another_loop(clock: bool) -> None:
    """A program keeps its server in a module, and each test has an event loop of its own."""
    io = chat()
    io.attach(web.Application())  # as programs do; it never runs

    async def once() -> None:
        async with TestServer(io, clock=Clock() if clock else None) as server:
            alice = await server.connect()
            bob = await server.connect(transport="polling")
            await alice.emit("message", "hi")
            assert await bob.receive("message") == "hi"
            assert await bob.emit_with_ack("add", 1, 2) == 3
            with pytest.raises(ConfigurationError, match="serves another application"):
                await TestServer(io).start()
            if clock:
                await server.clock.advance(100)
            assert len(io.sockets) == 2
            # … and is left in the middle of everything.
            bob_asks = asyncio.create_task(bob.emit_with_ack("never"))
            await io.emit("message", "last")
        with pytest.raises(Disconnected):
            await bob_asks
        assert not io.sockets

    for _ in range(3):
        asyncio.run(once())


async def test_nothing_is_left_behind() -> None:
    """Tasks and connections that outlive a test fail another one, for no visible reason."""
    before = asyncio.all_tasks()
    async with TestServer(chat(), clock=Clock()) as server:
        for transport in ("websocket", "polling"):
            alice = await server.connect(transport=transport)
            await alice.lose_connection(silently=True)
            await server.connect(transport=transport)
        await (await server.connect(transport="polling")).upgrade()
        async with server.http.get("/") as response:
            assert response.status == 404
    assert asyncio.all_tasks() == before
    gc.collect()  # an unclosed session would warn, and warnings are errors


async def test_a_server_that_does_not_start_leaves_nothing_behind() -> None:
    """The failure of one test would show in the next."""

    async def fail(app: web.Application) -> None:
        raise ValueError("no database")

    app = web.Application()
    app.on_startup.append(fail)
    clock = Clock()
    with pytest.raises(ValueError, match="no database"):
        async with TestServer(app, clock=clock):
            pass
    async with TestServer(chat(), clock=clock) as server:
        await server.connect()


async def test_files_are_served(tmp_path: Path) -> None:
    """An application's static files and downloads would be empty in tests."""
    (tmp_path / "hello.txt").write_text("hello")
    app = web.Application()
    app.router.add_static("/files", tmp_path)
    Server().attach(app)
    async with TestServer(app) as server, server.http.get("/files/hello.txt") as response:
        assert await response.text() == "hello"


async def test_providers_are_overridden_while_it_runs() -> None:
    """One test's double would be there in the next; or take the place of those that the program has set."""

    def real() -> str:
        return "real"

    def other() -> str:
        return "other"

    io = Server()
    io.dependency_overrides = {other: lambda: "the program's"}

    @io.on("ask")
    def ask(socket: Socket, one: str = Depends(real), two: str = Depends(other)) -> list[str]:
        return [one, two]

    before = io.dependency_overrides
    async with TestServer(io, overrides={real: lambda: "double"}) as server:
        assert await (await server.connect()).emit_with_ack("ask") == ["double", "the program's"]
    assert io.dependency_overrides == before
    with pytest.raises(ConfigurationError, match="overrides need the server"):
        TestServer(web.Application(), overrides={real: other})


async def test_what_needs_a_running_server_says_so() -> None:
    """``async with`` that was forgotten would be an error of some attribute."""
    server = TestServer(chat())
    not_running = pytest.raises(RuntimeError, match="the server does not run: `async with")
    with not_running:
        await server.connect()
    with not_running:
        _ = server.app
    with pytest.raises(ConfigurationError, match="runs in real time"):
        _ = server.clock
    async with server:
        with pytest.raises(RuntimeError, match="runs already"):
            await server.start()
    await server.stop()  # once more does nothing


@pytest.mark.parametrize("path", ["live/io", "/live/io", "/live/io/"])
async def test_another_path(path: str) -> None:
    """A program that mounts the server elsewhere could not be tested."""
    async with TestServer(chat(), path=path) as server:
        assert await (await server.connect()).emit_with_ack("add", 1, 2) == 3
        async with server.http.get("/socket.io/") as response:
            assert response.status == 404
