"""One server, served by one application after another, in one event loop after another: nothing of the old stays."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from aiohttp import web

from rtframework import MemoryAdapter, Namespace, Recovery, Server, Socket
from rtframework.engine import AsyncServer
from rtframework.testing import Clock, TestServer
from tests.support.in_process import NOT_ON_UVLOOP, chat

pytestmark = NOT_ON_UVLOOP


@pytest.mark.parametrize("clock", [False, True], ids=["real time", "simulated time"])
def test_namespaces_of_clients(clock: bool) -> None:
    """Clients of the second test would be refused, or find adapters that have been closed."""
    seen: list[str] = []

    class Noted(MemoryAdapter):
        async def start(self) -> None:
            seen.append(f"start {self.nsp}")

        async def close(self) -> None:
            seen.append(f"close {self.nsp}")

    io = Server(adapter=Noted, cleanup_empty_child_namespaces=True)
    chats = io.of("/chat/{tenant}")

    @io.on("new_namespace")
    async def new_namespace(namespace: Namespace) -> None:
        seen.append(f"new {namespace.name}")

    @chats.on("echo")
    def echo(socket: Socket, text: str) -> str:
        return f"{socket.namespace.params['tenant']}: {text}"

    kept = io.of("/chat/kept")

    async def once() -> None:
        async with TestServer(io, clock=Clock() if clock else None) as server:
            acme = await server.connect("/chat/acme")
            assert await acme.emit_with_ack("echo", "hi") == "acme: hi"
            held = await server.connect("/chat/kept", transport="polling")
            assert await held.emit_with_ack("echo", "hi") == "kept: hi"
            gone = await server.connect("/chat/gone")
            await gone.disconnect()
            assert set(chats.children) == {"/chat/acme", "/chat/kept"}
            await chats.emit("all", 1)
            assert (await acme.receive("all"), await held.receive("all")) == (1, 1)

    for round in range(3):
        asyncio.run(once())
        assert dict(chats.children) == {"/chat/kept": kept}
        assert set(io.namespaces) == {"/", "/chat/kept"}
        came = [each for each in seen if each.startswith("new")]
        assert came == (["new /chat/kept"] if not round else []) + ["new /chat/acme", "new /chat/gone"]
        for name in ("/", "/chat/acme", "/chat/kept", "/chat/gone"):
            assert [each for each in seen if each.endswith(f" {name}") and "new" not in each] == [
                f"start {name}",
                f"close {name}",
            ]
        seen.clear()


def test_sessions_do_not_outlive_an_application() -> None:
    """A client would be given what another test has left; or wait for a time that a simulated clock has skipped."""
    io = chat(connection_state_recovery=Recovery(max_disconnection_duration=60))

    async def once() -> None:
        async with TestServer(io, clock=Clock()) as server:
            alice, bob = await server.connect(), await server.connect()
            await alice.emit("message", "hi")
            assert await bob.receive("message") == "hi"
            await bob.lose_connection()
            await alice.emit("message", "missed")
            await server.clock.advance(59)
            assert io.of("/").adapter.session_time() == 1
            old = (bob._pid, bob._offset)
        async with TestServer(io) as server:
            assert io.of("/").adapter.session_time() == 0
            stranger = await server.connect(auth={"pid": old[0], "offset": old[1]})
            assert not io.sockets[stranger.id].recovered
            await stranger.receive_nothing()

    for _ in range(2):
        asyncio.run(once())


def test_those_who_watch() -> None:
    """The Admin UI would be told of the sockets of another test, or the server count for nobody for ever."""
    io = chat(connection_state_recovery=Recovery())
    io.instrument(username="ada", password="secret", mode="development")

    async def once() -> None:
        async with TestServer(io, clock=Clock()) as server:
            page = await server.connect("/admin", auth={"username": "ada", "password": "secret"})
            (session_id,) = (await page.receive_event("session")).args
            assert re.fullmatch(r"[\w-]{32}", session_id), "the argument of an event, and no offset"
            assert await page.receive("all_sockets") == []
            alice = await server.connect()
            for client in (page, alice):
                shown, _ = (await page.receive_event("socket_connected")).args
                assert (shown["id"], shown["nsp"]) == (client.id, client.nsp)
            await page.receive("server_stats")
            await server.clock.advance(2)
            stats = await page.receive("server_stats")
            counts = {each["type"]: each["count"] for each in stats["aggregatedEvents"]}
            assert (counts["rawConnection"], stats["clientsCount"]) == (1, 2)
        assert io.of("/").listeners_any() == ()
        assert io.of("/")._watcher is None
        assert not io._server.eio.table.meters

    for _ in range(3):
        asyncio.run(once())


def test_a_start_that_fails_is_forgotten() -> None:
    """One test whose application does not start would fail all that come after it."""
    io = chat()
    starts = []
    heard: list[str] = []

    @io.on("new_namespace")
    async def new_namespace(namespace: Namespace) -> None:
        heard.append(namespace.name)
        if len(heard) == 1:
            raise ValueError("no database")

    io.of("/made")

    async def fail(app: web.Application) -> None:
        starts.append(app)
        raise ValueError("no database")

    def broken() -> web.Application:
        app = web.Application()
        io._mount(app)
        app.on_startup.append(fail)
        return app

    async def once() -> None:
        with pytest.raises(ValueError, match="no database"):
            await TestServer(broken).start()
        assert not io._host.started
        async with TestServer(io) as server:
            assert heard == ["/made", "/made"]
            with pytest.raises(Exception, match="serves another application"):
                await TestServer(broken).start()
            alice = await server.connect()  # the server is not stopped by the application that could not have it
            assert await alice.emit_with_ack("add", 1, 2) == 3

    for _ in range(2):
        asyncio.run(once())
    assert len(starts) == 1, "the first start has not come so far"


async def test_one_that_fails_to_close_does_not_hold_the_others_up(caplog: pytest.LogCaptureFixture) -> None:
    """A server could not be served again because of one adapter, and others would be left open."""
    closed: list[str] = []

    class Broken(MemoryAdapter):
        async def close(self) -> None:
            closed.append(self.nsp)
            if self.nsp == "/":
                raise ValueError("the connection to the store is gone")

    io = Server(adapter=Broken)
    io.of("/other")
    for _ in range(2):
        async with TestServer(io) as server:
            await server.connect()
    assert closed == ["/", "/other"] * 2
    assert [record.message for record in caplog.records] == ["an adapter failed to close"] * 2


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_a_program_of_python_socketios(transport: Any) -> None:
    """The tests of a program that is being ported would each need a server of their own."""
    sio = AsyncServer()

    @sio.event
    async def add(sid: str, a: int, b: int) -> int:
        await asyncio.sleep(0)
        return a + b

    async def once() -> None:
        async with TestServer(sio, clock=Clock()) as server:
            alice = await server.connect(transport=transport)
            assert await alice.emit_with_ack("add", 1, 2) == 3
            await server.clock.advance(100)
            assert alice.connected

    for _ in range(3):
        asyncio.run(once())
