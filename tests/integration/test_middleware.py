"""Middleware at connect and around events, and class-based namespaces."""

from __future__ import annotations

from typing import Any

import pytest

from rtframework import ConnectionRefused, Event, EventError, Namespace, Server, Socket
from rtframework.protocols import CallNext
from tests.conftest import Serve
from tests.support.js import JSClients
from tests.support.transports import Transport
from tests.support.until import until


async def test_connect_middleware(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Checks before the door would not run, run in the wrong order, or not keep anybody out."""
    io = Server()
    log: list[str] = []

    @io.use
    async def first(socket: Socket, call_next: CallNext) -> None:
        log.append("first")
        socket.data["by"] = "first"
        await socket.join("early")
        await call_next()
        log.append("first after")

    @io.use
    async def second(socket: Socket, call_next: CallNext) -> None:
        log.append("second")
        if socket.handshake.auth.get("name") == "Mallory":
            raise ConnectionRefused("not you", {"code": "banned"})
        await call_next()

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        log.append(f"connection {socket.data['by']} {'early' in socket.rooms}")

    server = await serve(io)
    await js.connect(server.url, via=transport, auth={"name": "Ada"})
    assert log == ["first", "second", "first after", "connection first True"]

    log.clear()
    mallory = await js.connect(server.url, via=transport, auth={"name": "Mallory"}, wait=False)
    error = await mallory.refused()
    assert (error["message"], error["data"]) == ("not you", {"code": "banned"})
    assert log == ["first", "second"]
    assert len(io.sockets) == 1


async def test_connect_middleware_that_forgets_to_go_on_refuses(
    serve: Serve, js: JSClients, caplog: pytest.LogCaptureFixture
) -> None:
    """A forgotten call_next would leave its clients waiting for ever, without a hint why."""
    io = Server()

    @io.use
    async def forgetful(socket: Socket, call_next: CallNext) -> None:
        pass

    client = await js.connect((await serve(io)).url, wait=False)
    assert (await client.refused())["message"] == "Connection refused"
    assert "call_next" in caplog.text


async def test_middleware_of_one_namespace_is_not_that_of_another(serve: Serve, js: JSClients) -> None:
    """A guard of /admin would guard everything, or nothing."""
    io = Server()
    admin = io.of("/admin")

    @admin.use
    async def guard(socket: Socket, call_next: CallNext) -> None:
        raise ConnectionRefused("admins only")

    server = await serve(io)
    client = await js.connect(server.url)
    other = await client.of("/admin", wait=False)
    assert (await other.refused())["message"] == "admins only"
    await client.barrier()


async def test_event_middleware(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Rate limits, checks and timing around every event would not be possible."""
    io = Server()

    @io.use_event
    async def outer(socket: Socket, event: Event, call_next: CallNext) -> Any:
        if event.name == "forbidden":
            raise EventError("forbidden")
        if event.name == "short":
            return "cut"
        result = await call_next()
        return ("outer", result)

    @io.use_event
    async def inner(socket: Socket, event: Event, call_next: CallNext) -> Any:
        event.args = [each.upper() if isinstance(each, str) else each for each in event.args]
        if event.name == "alias":
            event.name = "say"
        return await call_next()

    @io.on("say")
    async def say(socket: Socket, text: str) -> str:
        return text

    client = await js.connect((await serve(io)).url, via=transport)
    assert await client.ack_args("say", "hi") == ["outer", "HI"]
    assert await client.ack_args("alias", "hi") == ["outer", "HI"]
    assert await client.ack_args("short") == ["cut"]
    assert (await client.emit_with_ack("forbidden"))["error"]["code"] == "forbidden"
    assert (await client.emit_with_ack("nothing"))["error"]["code"] == "unknown_event"


@pytest.mark.parametrize("close", [False, True])
async def test_middleware_cannot_disconnect(
    serve: Serve, js: JSClients, transport: Transport, close: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """As in Node, the client would be let in all the same, and nobody would notice whom the program let in."""
    io = Server()
    left: list[str] = []

    @io.use
    async def throw_out(socket: Socket, call_next: CallNext) -> None:
        await socket.disconnect(close)
        await call_next()

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        left.append("came")

    client = await js.connect((await serve(io)).url, via=transport, wait=False)
    assert (await client.refused())["message"] == "Internal server error"
    assert not io.sockets
    assert left == []
    assert "in middleware, refuse it with raise ConnectionRefused(message)" in caplog.text


async def test_a_socket_that_was_refused_may_be_disconnected(serve: Serve, js: JSClients) -> None:
    """A program that cleans up after itself would fail where there is nothing left to do."""
    io = Server()
    seen: list[Socket] = []

    @io.use
    async def refuse(socket: Socket, call_next: CallNext) -> None:
        seen.append(socket)
        raise ConnectionRefused("no")

    client = await js.connect((await serve(io)).url, wait=False)
    assert (await client.refused())["message"] == "no"
    await seen[0].disconnect()
    await seen[0].disconnect(close=True)


async def test_class_based_namespaces(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Programs that come from python-socketio keep their handlers in classes."""

    class Chat(Namespace):
        def __init__(self) -> None:
            super().__init__("/chat")
            self.gone: list[str] = []

        async def on_connection(self, socket: Socket) -> None:
            await socket.join("lobby")

        async def on_message(self, socket: Socket, text: str) -> str:
            await self.to("lobby").emit("message", text)
            return "ok"

        def on_disconnect(self, socket: Socket, reason: str) -> None:
            self.gone.append(reason)

    io = Server()
    chat = io.register_namespace(Chat())
    assert io.of("/chat") is chat

    @chat.on("extra")
    async def extra(socket: Socket) -> int:
        return len(chat)

    server = await serve(io)
    client = await js.connect(server.url + "/chat", via=transport)
    assert await client.emit_with_ack("message", "hi") == "ok"
    assert await client.wait_for("message") == ["hi"]
    assert await client.emit_with_ack("extra") == 1
    await client.disconnect()
    await until(lambda: not len(chat))
    await server.stop()
    assert chat.gone == ["client namespace disconnect"]
