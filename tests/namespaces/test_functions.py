"""The functions of a program, as a stack is to be read."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from rtframework import ConnectionRefused, Depends, EventError, Handshake, Server, Socket
from rtframework.namespaces.functions import codes_of, describe_functions
from rtframework.protocols import CallNext
from rtframework.testing import TestServer


def database() -> int:
    """A provider."""
    return 1


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator, as programs have them."""

    @functools.wraps(function)
    async def call(*args: Any) -> Any:
        return await function(*args)

    return call


class Everybody:
    """An authenticator."""

    async def authenticate(self, handshake: Handshake) -> Any:
        """Let everybody in."""
        return "ada"


class Callback:
    """A handler that is an object."""

    def __call__(self, socket: Socket) -> None:
        """Do nothing."""


@pytest.fixture
def io() -> Server:
    """A server with functions of each kind."""
    io = Server(auth=Everybody())

    @io.on("message")
    @decorated
    async def send(socket: Socket, db: int = Depends(database)) -> None: ...

    @io.on("connection")
    async def welcome(socket: Socket) -> None:
        @socket.on("mine")
        async def own() -> None: ...

    @io.use
    async def check(socket: Socket, call_next: CallNext) -> None:
        await call_next()

    @io.of("/admin").use_event
    async def count(socket: Socket, event: Any, call_next: CallNext) -> Any:
        return await call_next()

    @io.exception_handler(ConnectionRefused)
    async def explain(socket: Socket, error: Exception) -> EventError:
        return EventError("x")

    @io.on_any
    async def log(socket: Socket, *args: Any) -> None: ...

    @io.on_any_outgoing
    def sent(socket: Socket, *args: Any) -> None: ...

    @io.on_server_side("reload")
    async def reload() -> None: ...

    @io.on("new_namespace")
    def made(namespace: Any) -> None: ...

    io.on("object")(Callback())
    return io


async def test_each_kind_is_described(io: Server) -> None:
    """A blocking provider would be taken for a handler, or for nothing."""
    async with TestServer(io) as server:
        await server.connect()
        said = {text.rpartition(" (")[0] for text in describe_functions(io._host).values()}
    assert said == {
        "authenticator authenticate Everybody",
        "catch-all log",
        "catch-all sent for what goes out",
        "connect middleware check",
        "event middleware count",
        "exception handler explain of ConnectionRefused",
        "handler Callback of 'object'",
        "handler made of 'new_namespace'",
        "handler own of 'mine'",
        "handler reload of 'reload' of other servers",
        "handler send of 'message'",
        "handler welcome of 'connection'",
        "provider database",
    }


def test_the_place_is_that_of_the_function(io: Server) -> None:
    """An editor would open the wrong line."""
    places = describe_functions(io._host)
    assert places[database.__code__].endswith(
        f"(tests/namespaces/test_functions.py:{database.__code__.co_firstlineno})"
    )


def test_what_wraps_a_function() -> None:
    """A decorated handler would not be known by what it wraps."""
    wrapped = decorated(database)
    assert [code.co_name for code in codes_of(wrapped)] == ["call", "database"]
    assert list(codes_of(functools.partial(database))) == [database.__code__]
    assert list(codes_of(Everybody)) == []
    assert list(codes_of(Callback())) == [Callback.__call__.__code__]
    assert list(codes_of(len)) == []
