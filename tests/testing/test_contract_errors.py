"""A test hears of what handlers emit against their contract."""

from __future__ import annotations

import pytest

from rtframework import ConfigurationError, ContractError, EventError, Server, Socket
from rtframework.testing import TestClient, TestServer
from tests.support.in_process import NOT_ON_UVLOOP

pytestmark = NOT_ON_UVLOOP


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


async def test_an_application_is_checked_as_well() -> None:
    """Programs that make their application themselves could not be tested strictly."""
    from aiohttp import web

    io = Server()
    app = web.Application()
    io.attach(app)

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
