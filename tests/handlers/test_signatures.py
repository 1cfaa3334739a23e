"""What a function takes and returns: mistakes are found at registration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rtframework import (
    Ack,
    ConfigurationError,
    Server,
    Socket,
)
from rtframework.handlers.handler import Handler


def bind(function: Callable[..., Any], *args: Any) -> list[Any]:
    """What a handler's function is called with for these arguments."""
    return list(Handler("e", function).bind(args))


def test_wrong_signatures_are_found_at_registration() -> None:
    """A mistake would show when the first client sends the event, at night."""

    def no_socket() -> None: ...
    def keyword(socket: object, *, needed: int) -> None: ...
    def keywords(socket: object, **more: int) -> None: ...
    def unknown(socket: object, message: Unheard) -> None: ...  # type: ignore[name-defined]  # noqa: F821
    def generator(socket: object) -> Any:
        yield 1

    async def asynchronous(socket: object) -> Any:
        yield 1

    def unsupported(socket: object, message: set[list[int]] | set[str]) -> None: ...

    for function, what in (
        (no_socket, "takes no socket"),
        (keyword, "cannot be filled"),
        (keywords, "cannot be filled"),
        (unknown, "'Unheard' of 'message' cannot be resolved"),
        (generator, "is a generator"),
        (asynchronous, "is a generator"),
        (unsupported, "cannot be checked"),
        ("text", "not callable"),
    ):
        with pytest.raises(ConfigurationError, match=what):
            Handler("e", function)  # type: ignore[arg-type]


def test_keywords_with_defaults_are_left_alone() -> None:
    """A handler could not have settings of its own."""

    def handler(socket: object, a: int, *, loud: bool = False) -> None: ...

    assert bind(handler, 1) == [1]


def test_ack_parameters_are_checked() -> None:
    """A client's flag named "ack" would silently be something else than the handler expects."""
    io = Server()
    with pytest.raises(ConfigurationError, match="the callable that answers"):

        @io.on("x")
        async def data(socket: Socket, ack: bool) -> None: ...

    with pytest.raises(ConfigurationError, match="cannot be positional only"):

        @io.on("x")
        async def position(socket: Socket, ack: Ack, /) -> None: ...

    with pytest.raises(ConfigurationError, match="takes no socket"):

        @io.on("x")
        async def alone(ack: Ack) -> None: ...

    with pytest.raises(ConfigurationError, match="asks for 'ack', which an event that goes out does not have"):

        @io.on_any_outgoing
        async def outgoing(socket: Socket, event: str, ack: Ack) -> None: ...

    with pytest.raises(ConfigurationError, match="asks for 'ack', which a connection does not have"):

        @io.on("connection")
        async def connection(socket: Socket, *, ack: Ack) -> None: ...

    assert io.of("/").is_pristine
