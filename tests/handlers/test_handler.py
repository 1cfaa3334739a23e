"""Handlers: what a signature means is decided at registration, and wrong arguments never reach the function."""

from __future__ import annotations

import datetime
import functools
import inspect
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec
import pydantic
import pytest

from rtframework.exceptions import ConfigurationError, InvalidPayload
from rtframework.handlers.event import Event
from rtframework.handlers.handler import Handler, LifecycleHandler
from rtframework.handlers.signatures import LifecycleSignature, Signature
from rtframework.packets import check_event_name, from_ack, to_ack
from rtframework.types import RESERVED_EVENTS


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


@pytest.mark.parametrize(
    ("annotation", "value"),
    [(int, "1"), (int, 1.5), (int, True), (str, 1), (bool, 1), (list[int], [1, "2"]), (bytes, "text"), (str, b"x")],
)
def test_conversion_is_strict(annotation: Any, value: Any) -> None:
    """``"1"`` would silently be taken for the number 1, and a mistake of a client never be found."""

    def handler(socket: object, value: Any) -> None: ...

    handler.__annotations__["value"] = annotation
    refused(handler, value)


def test_bytes_stay_bytes() -> None:
    """Binary would be taken for Base64 text, or refused."""

    def handler(socket: object, picture: bytes, parts: dict[str, bytes]) -> None: ...

    assert bind(handler, b"\x00", {"a": b"\xff"}) == [b"\x00", {"a": b"\xff"}]


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

    assert "takes 2 argument(s), got 1" in refused(exact, 1).message
    assert "takes 2 argument(s), got 3" in refused(exact, 1, 2, 3).message
    assert bind(optional, 1) == [1]
    assert "1 to 2 arguments, got 0" in refused(optional).message
    assert bind(rest, "x", 1, 2) == ["x", 1, 2]
    assert refused(rest, "x", 1, "2").details[0]["path"] == "$[2]"
    assert "at least 1 argument(s), got 0" in refused(rest).message
    assert "takes 0 argument(s), got 1" in refused(alone, None).message


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
            handler_of(function)  # type: ignore[arg-type]


def test_keywords_with_defaults_are_left_alone() -> None:
    """A handler could not have settings of its own."""

    def handler(socket: object, a: int, *, loud: bool = False) -> None: ...

    assert bind(handler, 1) == [1]


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


def test_event_names() -> None:
    """A program would emit or register what no client can receive or send."""
    assert check_event_name("chat message") == "chat message"
    for name in (*RESERVED_EVENTS, "", None, 5, b"x"):
        with pytest.raises(ConfigurationError):
            check_event_name(name)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("result", "args"),
    [(None, []), (0, [0]), ("", [""]), ((), []), ((1, 2), [1, 2]), ([1, 2], [[1, 2]]), ((None,), [None])],
)
def test_results_and_acknowledgements(result: Any, args: list[Any]) -> None:
    """A client would get something else than what the handler returned."""
    assert to_ack(result) == args


def test_named_tuples_and_answers() -> None:
    """A point that a handler returns would arrive as two arguments, and one answer as a list."""

    class Point2(NamedTuple):
        x: int
        y: int

    assert to_ack(Point2(1, 2)) == [Point2(1, 2)]
    assert from_ack([]) is None
    assert from_ack([1]) == 1
    assert from_ack([None]) is None
    assert from_ack([1, 2]) == (1, 2)


def test_printing_an_event_gives_nothing_away() -> None:
    """Logged events would fill logs with what people wrote."""
    assert repr(Event("login", ["password"])) == "<Event 'login' with 1 argument(s)>"


class Nested(msgspec.Struct):
    """A payload as deep as a client likes."""

    inside: list[Nested] = []


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    """A payload with nothing else in it."""

    text: str = ""


class Counted(pydantic.BaseModel):
    """A model with fields that can be missing."""

    a: int
    b: int


def test_a_payload_that_is_too_deep_is_refused() -> None:
    """Every client could fill the log with tracebacks, by nesting deeper than Python can follow."""

    def handler(socket: Any, value: Nested) -> None: ...

    value: dict[str, Any] = {}
    for _ in range(10_000):
        value = {"inside": [value]}
    error = refused(handler, value)
    assert error.details == [{"path": "$[0]", "message": "Nested too deeply"}]


def test_what_is_told_of_a_bad_payload_is_bounded() -> None:
    """A client could have the server write answers fifty times as long as what it sends, for seconds."""

    def lists(socket: Any, value: list[Counted]) -> None: ...

    def names(socket: Any, value: dict[str, list[Counted]]) -> None: ...

    assert len(refused(lists, [{}] * 50).details) == 100
    assert refused(lists, [{}] * 51).details == [{"path": "$[0]", "message": "102 values do not fit"}]
    details = refused(names, {"k" * 100_000: [{}] * 50}).details
    assert details[0] == {"path": f"$[0].{'k' * 100}…[0].a", "message": "Field required"}


def test_keys_are_strings_on_the_wire() -> None:
    """No client could send a ``dict[int, ...]``: JSON has no other keys than strings."""

    def handler(socket: Any, value: dict[int, list[int]]) -> None: ...

    assert bind(handler, {"1": [2]}) == [{1: [2]}]
    assert refused(handler, {"a": [2]}).details == [{"path": "$[0]", "message": "Expected `int`, got `str` as a key"}]
    assert refused(handler, {"1": ["2"]}).details == [{"path": "$[0][...][0]", "message": "Expected `int`, got `str`"}]


def test_the_client_has_no_say_in_where_the_problem_is() -> None:
    """A client that calls a field so could send those who read the details to another place."""

    def handler(socket: Any, value: dict[str, Strict]) -> None: ...

    assert refused(handler, {"a": {"x - at `$.forged`": 1}}).details == [
        {"path": "$[0][...]", "message": "Object contains unknown field `x - at `$.forged``"}
    ]
