"""Handlers: what a signature means is decided at registration, and wrong arguments never reach the function."""

from __future__ import annotations

import datetime
import functools
import inspect
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pytest

from rtframework.exceptions import ConfigurationError, InvalidPayload
from rtframework.handlers.handler import Handler, LifecycleHandler
from rtframework.handlers.signatures import LifecycleSignature, Signature


class Message(msgspec.Struct):
    text: str
    likes: Annotated[int, msgspec.Meta(ge=0)] = 0


@dataclass
class Point:
    x: int
    y: int = 0


class Options(TypedDict, total=False):
    loud: bool


def handler_of(function: Callable[..., Any]) -> Handler:
    """The handler that registration makes of a function."""
    return Handler("e", function, Signature.of("e", function))


def lifecycle(name: str, function: Callable[..., Any]) -> LifecycleHandler:
    """The same, for a socket that comes or goes."""
    return LifecycleHandler(name, function, LifecycleSignature(name, function))


async def call(function: Callable[..., Any], *args: Any) -> Any:
    """What a handler made of this function gives for these arguments, as the namespace gets it."""
    handler = handler_of(function)
    result = handler(None, args)
    return await result if handler.is_async or inspect.isawaitable(result) else result


def bind(function: Callable[..., Any], *args: Any) -> list[Any]:
    """What a handler's function is called with for these arguments."""
    return list(handler_of(function).bind(args))


def refused(function: Callable[..., Any], *args: Any) -> InvalidPayload:
    """The error for arguments that do not fit."""
    with pytest.raises(InvalidPayload) as caught:
        bind(function, *args)
    return caught.value


def test_arguments_become_what_the_annotations_say() -> None:
    """Every handler would begin with its own parsing and checking."""

    def handler(  # type: ignore[no-untyped-def]
        socket: object,
        message: Message,
        point: Point,
        options: Options,
        when: datetime.datetime,
        id: uuid.UUID,
        kind: Literal["a", "b"],
        many: list[Message] | None,
        any: Any,
        bare,
    ) -> None: ...

    when = datetime.datetime(2024, 5, 6, 7, 8, 9, tzinfo=datetime.UTC)
    number = uuid.UUID(int=5)
    token = object()
    assert bind(
        handler,
        {"text": "hi"},
        {"x": 1},
        {"loud": True},
        when.isoformat(),
        str(number),
        "b",
        [{"text": "a", "likes": 1}],
        token,
        {"k": [1]},
    ) == [Message("hi"), Point(1), {"loud": True}, when, number, "b", [Message("a", 1)], token, {"k": [1]}]


def test_the_error_says_where() -> None:
    """A form with twenty fields would only be told that something is wrong."""

    def handler(socket: object, room: str, messages: list[Message]) -> None: ...

    error = refused(handler, "lobby", [{"text": "a"}, {"text": 5}])
    assert error.details == [{"path": "$[1][1].text", "message": "Expected `str`, got `int`"}]
    assert "'e'" in error.message
    assert refused(handler, 1, []).details == [{"path": "$[0]", "message": "Expected `str`, got `int`"}]
    assert refused(handler, "x", [{"text": "a", "likes": -1}]).details[0]["path"] == "$[1][0].likes"


def test_the_number_of_arguments_is_checked() -> None:
    """A client that forgets an argument would cause a TypeError on the server's side."""

    def exact(socket: object, a: Any, b: Any) -> None: ...
    def optional(socket: object, a: Any, b: Any = 2) -> None: ...
    def rest(socket: object, a: Any, *more: int) -> None: ...
    def alone(socket: object) -> None: ...

    assert "takes 2 arguments, got 1" in refused(exact, 1).message
    assert "takes 2 arguments, got 3" in refused(exact, 1, 2, 3).message
    assert bind(optional, 1) == [1]
    assert "1 to 2 arguments, got 0" in refused(optional).message
    assert bind(rest, "x", 1, 2) == ["x", 1, 2]
    assert refused(rest, "x", 1, "2").details[0]["path"] == "$[2]"
    assert "at least 1 argument, got 0" in refused(rest).message
    assert "takes 0 arguments, got 1" in refused(alone, None).message


def test_a_handler_of_anything_takes_anything() -> None:
    """An echo would not be possible."""

    def handler(socket: object, *args: int) -> None: ...
    def untyped(socket, *args): ...  # type: ignore[no-untyped-def]

    assert bind(handler) == []
    assert bind(handler, 1, 2, 3) == [1, 2, 3]
    assert bind(untyped, "a", b"b", None) == ["a", b"b", None]


async def test_functions_methods_objects_and_partials_are_handlers() -> None:
    """Only one of the ways in which Python people write functions would work."""

    class Chat:
        def method(self, socket: object, number: int) -> int:
            return number + 1

        async def slow(self, socket: object, number: int) -> int:
            return number + 2

        async def __call__(self, socket: object, number: int) -> int:
            return number + 3

        @staticmethod
        def static(socket: object, number: int) -> int:
            return number + 4

    async def with_more(extra: int, socket: object, number: object) -> int:
        assert isinstance(number, int)
        return number + extra

    chat = Chat()
    functions: list[Callable[..., Any]] = [chat.method, chat.slow, chat, chat.static]
    functions.append(functools.partial(with_more, 5))
    functions.append(lambda socket, number: number + 6)
    assert [await call(function, 0) for function in functions] == [1, 2, 3, 4, 5, 6]


async def test_a_partial_may_have_annotations() -> None:
    """A handler that is given its database by ``functools.partial`` would have to be untyped."""

    async def handler(extra: int, socket: object, message: Message) -> str:
        return message.text * extra

    assert await call(functools.partial(handler, 2), {"text": "a"}) == "aa"


async def test_decorated_functions_keep_their_types() -> None:
    """A logging decorator would turn the checks off."""

    def logged(function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        @functools.wraps(function)
        async def wrapper(*args: Any) -> Any:
            return await function(*args)

        return wrapper

    @logged
    async def handler(socket: object, message: Message) -> str:
        return message.text

    assert await call(handler, {"text": "a"}) == "a"
    with pytest.raises(InvalidPayload):
        await call(handler, "a")


async def test_what_a_plain_function_returns_is_awaited_when_it_can_be() -> None:
    """``lambda socket: io.emit(...)`` would never emit."""

    async def later() -> str:
        return "later"

    assert await call(lambda socket: later()) == "later"


async def test_lifecycle_handlers_take_what_they_want() -> None:
    """A disconnect handler that does not care for the reason would have to take it."""
    heard: list[Any] = []

    class Sink:
        def gone(self, socket: object) -> None:
            heard.append(("method", socket))

    def bare(socket: object) -> None:
        heard.append(("bare", socket))

    async def full(socket: object, reason: str) -> None:
        heard.append(("full", socket, reason))

    def extra(socket: object, reason: str, more: int = 5) -> None:
        heard.append(("extra", reason, more))

    def star(*args: Any) -> None:
        heard.append(("star", *args))

    for function in (Sink().gone, bare, full, extra, star):
        await lifecycle("disconnect", function)("S", "why")
    assert heard == [("method", "S"), ("bare", "S"), ("full", "S", "why"), ("extra", "why", 5), ("star", "S", "why")]
    await lifecycle("connection", star)("S")
    assert heard[-1] == ("star", "S")
    for name, function in (("connection", full), ("disconnect", lambda: None), ("connection", lambda: None)):
        with pytest.raises(ConfigurationError, match="must take"):
            lifecycle(name, function)
