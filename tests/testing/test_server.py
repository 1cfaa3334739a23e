"""A server for tests: what is served, and that nothing of it is left."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from aiohttp import web

from rtframework import (
    ConfigurationError,
    ConnectionRefused,
    ContractError,
    Depends,
    Disconnected,
    Event,
    EventError,
    Server,
    Socket,
)
from rtframework.engine import AsyncServer
from rtframework.testing import Clock, TestClient, TestServer
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


# --- strict mode ------------------------------------------------------------------------------------------------------


def break_the_contract(io: Server) -> None:
    """Handlers that emit what nobody has declared: for an event, and for a client that wants to be greeted."""

    @io.on("say")
    async def say(socket: Socket, text: str) -> None:
        await io.emit("said", text)

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        if socket.handshake.auth.get("greet"):
            await socket.emit("hello")


async def hear_of_breaches(server: TestServer) -> TestClient:
    """A client to whom that happened, each time told to the test."""
    client = await server.connect()
    with pytest.raises(ContractError, match="'said'"):
        await client.emit("say", "hi")
    with pytest.raises(ContractError, match="'said'"):
        await client.emit_with_ack("say", "hi")
    with pytest.raises(ContractError, match="'hello'"):
        await server.connect(auth={"greet": True})
    return client


async def test_the_test_hears_of_what_a_handler_emits() -> None:
    """A handler's breach of contract would be an ``internal_error`` in a client that does not ask for an answer."""
    io = Server()

    break_the_contract(io)
    async with TestServer(io, strict_emits=True) as server:
        client = await hear_of_breaches(server)
        await client.receive_nothing()  # each is told once
    async with TestServer(io) as server:  # not strict by itself
        client = await server.connect()
        assert await client.emit_with_ack("say", "hi") is None


async def test_an_exception_handler_does_not_hide_a_breach() -> None:
    """A program that answers for every exception would pass all tests in strict mode."""
    io = Server()

    @io.exception_handler(Exception)
    async def sorry(socket: Socket, error: Exception) -> EventError:
        return EventError("sorry")

    break_the_contract(io)
    async with TestServer(io, strict_emits=True) as server:
        await hear_of_breaches(server)


async def test_a_breach_at_the_end_is_not_forgotten() -> None:
    """What a program emits when a client leaves, or the server stops, would go unseen."""
    io = Server()

    @io.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        await io.emit("left", socket.id)

    server = TestServer(io, strict_emits=True)
    await server.start()
    await server.connect()
    with pytest.raises(ContractError, match="'left'"):
        await server.stop()
    await server.stop()


async def test_a_breach_that_the_program_catches_is_told() -> None:
    """A program that goes on after every error would pass all tests in strict mode."""
    io = Server()

    @io.on("say")
    async def say(socket: Socket, text: str) -> str:
        try:
            await io.emit("said", text)
        except Exception:  # noqa: BLE001 - as programs do
            return "never mind"
        return "ok"

    async with TestServer(io, strict_emits=True) as server:
        client = await server.connect()
        with pytest.raises(ContractError, match="'said'"):
            await client.emit_with_ack("say", "hi")
        await client.receive_nothing()  # each is told once


async def test_a_breach_that_nobody_logs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strict mode would find nothing in a program that has turned its log off."""
    for name in ("rtframework", "asyncio"):
        monkeypatch.setattr(logging.getLogger(name), "disabled", True)
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)
    io = Server()
    break_the_contract(io)
    async with TestServer(io, strict_emits=True) as server:
        await hear_of_breaches(server)


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_a_background_task_is_held_to_the_contract(transport: Literal["websocket", "polling"]) -> None:
    """What a program emits from time to time would go unseen, because nobody awaits the task that does it."""
    io = Server()
    kept = set()

    async def tick(event: str, delay: float) -> None:
        await asyncio.sleep(delay)
        await io.emit(event)

    @io.on("start")
    async def start(socket: Socket) -> None:
        kept.add(asyncio.create_task(tick("from a handler", 20.0)))

    async def begin(app: web.Application) -> None:
        kept.add(asyncio.create_task(tick("from the start", 10.0)))

    app = web.Application()
    app.on_startup.append(begin)
    io.attach(app)
    io.check_emits()
    async with TestServer(app, clock=Clock()) as server:
        client = await server.connect(transport=transport)
        await client.emit("start")
        for event in ("from the start", "from a handler"):
            await server.clock.advance(10.0)
            with pytest.raises(ContractError, match=event):
                await client.receive_nothing()
        await client.receive_nothing()
    for task in kept:
        assert isinstance(task.exception(), ContractError)


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_what_the_test_has_caught_is_not_told_again(transport: Literal["websocket", "polling"]) -> None:
    """A test that expects a breach would fail for it."""
    io = Server(strict_emits=True)

    @io.on("ask")
    async def ask(socket: Socket) -> Any:
        return await socket.emit_with_ack("question")

    io.emits("question")
    async with TestServer(io) as server:
        client = await server.connect(transport=transport)

        @client.on("question")
        async def question() -> str:
            with pytest.raises(ContractError):
                await io.emit("unknown")
            return "no"

        with pytest.raises(ContractError):
            await io.emit("unknown")
        task = asyncio.create_task(io.emit("unknown"))
        with pytest.raises(ContractError):
            await task
        both = await asyncio.gather(io.emit("unknown"), io.emit("unknown"), return_exceptions=True)
        assert [type(each) for each in both] == [ContractError, ContractError]
        assert await client.emit_with_ack("ask") == "no"
        await client.receive_nothing()


async def test_every_way_in_is_listened_to() -> None:
    """A breach would be told or not by the way that leads to it."""
    io = Server(strict_emits=True)
    app = web.Application()
    io.attach(app)

    @io.on_any_outgoing
    async def outgoing(socket: Socket, event: str, *args: Any) -> None:
        await asyncio.sleep(0)
        await io.emit("from a catch-all for what goes out")

    @io.on_any
    async def incoming(socket: Socket, event: str) -> None:
        await io.emit("from a catch-all")

    @io.use_event
    async def middleware(socket: Socket, event: Event, call_next: Callable[[], Awaitable[Any]]) -> Any:
        await io.emit("from middleware")

    async def get(request: web.Request) -> web.Response:
        await io.emit("from a route")
        return web.Response()

    io.emits("fine")
    app.router.add_get("/", get)
    async with TestServer(app) as server:
        client = await server.connect()
        await io.emit("fine")
        with pytest.raises(ContractError, match="for what goes out"):
            await client.receive("fine")
        with pytest.raises(ContractError, match="from a catch-all"):
            await client.emit("anything")
        io.off_any()
        with pytest.raises(ContractError, match="from middleware"):
            await client.emit("anything")
        assert (await server.http.get("/")).status == 500
        with pytest.raises(ContractError, match="from a route"):
            await server.settle()


async def test_a_disconnect_is_listened_to_whoever_causes_it() -> None:
    """What a program emits when a client is lost would go unseen."""
    io = Server()

    @io.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        await io.emit("left", socket.id)

    async with TestServer(io, strict_emits=True) as server:
        client = await server.connect()
        with pytest.raises(ContractError, match="'left'"):
            await client.disconnect()
        client = await server.connect()
        await client.lose_connection()
        with pytest.raises(ContractError, match="'left'"):
            await server.settle()
        await server.connect()
        await io.disconnect_sockets()
        with pytest.raises(ContractError, match="'left'"):
            await server.settle()


async def test_each_test_server_hears_of_its_own_program() -> None:
    """A test with two servers would be told of one's mistake by the other."""
    first, second, third = Server(), Server(), Server()
    app = web.Application()
    for io, path in ((first, "/socket.io"), (second, "/second")):
        io.attach(app, path)
        break_the_contract(io)
    break_the_contract(third)
    async with TestServer(app) as one, TestServer(third, strict_emits=True) as other, TestServer(app_of(Server())) as _:
        at_one, at_other = await one.connect(), await other.connect()
        second.check_emits()
        await at_one.emit("say", "not strict yet")
        first.check_emits()
        for _ in range(2):
            with pytest.raises(ContractError):
                await at_one.emit("say", "strict")
            await at_other.receive_nothing()
            first.check_emits()  # makes a new auditor
        with pytest.raises(ContractError):
            await at_other.emit("say", "strict")
        assert await at_one.receive("said") == "not strict yet"
        await at_one.receive_nothing()


def app_of(io: Server) -> web.Application:
    """An application that serves it."""
    app = web.Application()
    io.attach(app)
    return app


async def test_an_application_is_checked_as_well() -> None:
    """Programs that make their application themselves could not be tested strictly."""
    io = Server()
    app = app_of(io)

    @io.on("say")
    async def say(socket: Socket, text: str) -> None:
        await io.emit("said", text)

    with pytest.raises(ConfigurationError, match="check_emits"):
        TestServer(app, strict_emits=True)
    io.check_emits()
    async with TestServer(app) as server:
        client = await server.connect()
        with pytest.raises(ContractError):
            await client.emit("say", "hi")
        io.check_emits(False)
        await client.emit("say", "hi")
        assert await client.receive("said") == "hi"


async def test_other_errors_of_handlers_stay_what_they_are() -> None:
    """Strict mode would make failures of tests out of what a program answers for."""
    io = Server(strict_emits=True)

    @io.on("refuse")
    async def refuse(socket: Socket) -> None:
        raise EventError("no")

    async with TestServer(io) as server:
        client = await server.connect()
        assert await client.emit_with_ack("refuse") == {"error": {"code": "no", "message": "no"}}
