"""What is injected: mistakes are found at registration, and the message says what to write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import pytest

from rtframework import Ack, ConfigurationError, Depends, EventError, Server, Socket


class Database:
    """Nothing that a client can send."""


def get_db(url: str) -> Database:
    """A provider with a parameter that nothing fills."""
    return Database()


def needs_ack(ack: Ack) -> str:
    """A provider for events only."""
    return "x"


def first(value: str = Depends(lambda: second())) -> str:
    """One of two."""
    return value


def second() -> str:
    """The other."""
    return "x"


def around(value: Any = None) -> Any:
    """Needs itself, see the test."""


around.__defaults__ = (Depends(around),)


def forgotten(socket: Socket, db: Database) -> None:
    """``Depends`` was forgotten."""


def data_first(data: dict[str, int]) -> None:
    """The socket was forgotten."""


def unfilled(socket: Socket, db: Database = Depends(get_db)) -> None:
    """Its provider cannot be called."""


def acks(socket: Socket, x: str = Depends(needs_ack)) -> None:
    """Its provider needs an event."""


def no_class(socket: Socket, db: Any = Depends()) -> None:
    """No provider, and no class to take for it."""


def no_generic_class(socket: Socket, db: Callable[[], str] = Depends()) -> None:
    """Nothing that could be made."""


def circle(socket: Socket, x: Any = Depends(around)) -> None:
    """Its provider needs itself."""


def only_injected(db: Database = Depends(second)) -> None:  # type: ignore[assignment]
    """No socket."""


def too_many(socket: Socket, call_next: Any, more: str) -> None:
    """Middleware with a parameter that nothing fills."""


def one(socket: Socket) -> None:
    """Middleware without ``call_next``."""


def generator(socket: Socket) -> Any:
    """Not a handler."""
    yield


class Generator:
    """Not a handler either."""

    async def __call__(self, socket: Socket) -> Any:
        yield


def any_number(socket: Socket, *names: Annotated[str, Depends(second)]) -> None:
    """As many as there are of what?"""


io = Server()


@pytest.mark.parametrize(
    ("register", "function", "said"),
    [
        (io.on("x"), forgotten, ["test_dependency_plan.forgotten", "'x'", "'db'", "Database", "= Depends(...)"]),
        (io.on("x"), data_first, ["data_first", "'data'", "(socket: Socket, data"]),
        (io.on("x"), unfilled, ["unfilled", "'url'", "_plan.get_db", "a default", "= Depends(...)", "Socket"]),
        (io.on("connection"), acks, ["acks", "needs_ack", "'ack'", "a connection does not have"]),
        (io.on_server_side("x"), forgotten, ["forgotten", "'socket'", "another server does not have"]),
        (io.on("x"), no_class, ["no_class", "'db'", "without a provider"]),
        (io.on("x"), no_generic_class, ["no_generic_class", "'db'", "without a provider"]),
        (io.on("x"), circle, ["circle", "around -> ", "need each other"]),
        (io.on("x"), only_injected, ["only_injected", "takes no socket"]),
        (io.on("connection"), only_injected, ["only_injected", "takes no socket"]),
        (io.on("disconnect"), lambda socket, reason, more: None, ["(socket, reason)"]),
        (io.use, too_many, ["too_many", "(socket, call_next)", "'more'", "= Depends(...)"]),
        (io.use, one, ["one", "(socket, call_next)"]),
        (io.use_event, one, ["one", "(socket, event, call_next)"]),
        (io.use, 7, ["io.use takes a function, not 7"]),
        (io.on("x"), generator, ["generator", "return one value"]),
        (io.on("x"), Generator(), ["Generator", "return one value"]),
        (io.use_event, generator, ["event middleware", "generator", "return one value"]),
        (io.on("x"), any_number, ["any_number", "*names", "none of them is injected"]),
        (io.exception_handler(ValueError), one, ["one", "ValueError", "(socket, error)"]),
        (io.exception_handler(ValueError), lambda socket, error, more: None, ["(socket, error)"]),
        (lambda function: io.exception_handler(7)(function), one, ["class of exceptions, not 7"]),  # type: ignore[arg-type]
        (
            lambda function: io.exception_handler(BaseException)(function),  # type: ignore[arg-type]
            one,
            ["class of exceptions"],
        ),
        (Depends, 7, ["a function or a class, not 7"]),
    ],
)
def test_mistakes_are_found_at_registration(register: Callable[..., Any], function: Any, said: list[str]) -> None:
    """The first client to send the event would find them."""
    with pytest.raises(ConfigurationError) as found:
        register(function)
    for each in said:
        assert each in str(found.value)


def test_nothing_is_left_of_a_mistake() -> None:
    """A handler that was refused would be called all the same."""
    io = Server()
    for register in (io.on("x"), io.use, io.use_event, io.exception_handler(ValueError)):
        with pytest.raises(ConfigurationError):
            register(lambda: None)  # type: ignore[arg-type, call-arg, misc, return-value, unused-ignore]
    assert io.of("/")._is_pristine
    handler = io.exception_handler(ValueError)(lambda socket, error: EventError("x"))
    with pytest.raises(ConfigurationError, match="already"):
        io.exception_handler(ValueError)(handler)


def test_the_type_of_what_is_injected_is_known() -> None:
    """A type checker would not see that a handler asks for one thing and is given another."""
    name: str = Depends(second)
    length: Annotated[int, Depends(lambda: 7)] = Depends(second)  # type: ignore[assignment]
    assert repr(name) == "Depends(tests.handlers.test_dependency_plan.second)"
    assert name == Depends(second) != Depends(second, use_cache=False)
    assert hash(name) == hash(Depends(second))
    assert repr(length) == repr(name)
    with pytest.raises(ConfigurationError, match="no application"):
        Server().app  # noqa: B018
