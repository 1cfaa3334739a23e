"""What handlers return, checked against what they say that they return."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import msgspec
import pytest

from rtframework.exceptions import ConfigurationError, EventError, InvalidReturn
from rtframework.handlers.event import DEFERRED, Ack
from rtframework.handlers.handler import Handler, SpecialHandler
from rtframework.handlers.returns import CheckedHandler, checked
from rtframework.handlers.signatures import Signature
from tests.support.sockets import AnsweringSocket, event_packet


def handler_of(function: Callable[..., Any], *, ordered: bool | None = None) -> Handler:
    """Make the handler of a function, as registration does."""
    return Handler("e", function, Signature.of("e", function), ordered=ordered)


class Message(msgspec.Struct):
    text: str
    likes: int = 0


def returning(kind: Any, value: Any) -> Callable[..., Any]:
    """A handler that says it returns this type, and returns this value."""

    def handler(socket: object) -> Any:
        return value

    handler.__annotations__["return"] = kind
    return handler


async def run(function: Callable[..., Any], *args: Any) -> Any:
    """What the checked handler gives."""
    handler = checked(handler_of(function))
    assert isinstance(handler, CheckedHandler)
    return await handler("socket", args)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, 5),
        (None, None),
        (str | None, None),
        (list[Message], [Message("a"), {"text": "b"}]),
        (Message, {"text": "a", "likes": 1}),
        (dict[int, str], {1: "a"}),
        (bytes, b"\x00"),
        (tuple[int, str], (1, "a")),
    ],
)
async def test_what_it_says_passes_as_it_is(kind: Any, value: Any) -> None:
    """A handler that is right would be refused, or its answer be changed on the way."""
    assert await run(returning(kind, value)) is value


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (int, "5", "returned Expected `int`, got `str` at $"),
        (int, None, "returned Expected `int`, got `null` at $"),
        (None, 1, "returned Expected `null`, got `int` at $"),
        (list[Message], [Message("a"), {"text": 1}], "returned Expected `str`, got `int` at $[1].text"),
        (Message, object(), "returned "),
    ],
)
async def test_anything_else_is_found(kind: Any, value: Any, said: str) -> None:
    """The page's types, which are made from the annotation, would promise something else than what arrives."""
    with pytest.raises(InvalidReturn) as caught:
        await run(returning(kind, value))
    assert said in str(caught.value)
    assert "returning.<locals>.handler of 'e'" in str(caught.value)
    assert caught.value.__cause__ is None


async def test_an_async_handler_is_awaited_before_it_is_checked() -> None:
    """The coroutine, and not the answer, would be checked."""

    async def right(socket: object, value: int) -> int:
        return value

    def later(socket: object, value: int) -> Awaitable[int]:
        return right(socket, value)

    async def wrong(socket: object) -> int:
        return "text"  # type: ignore[return-value]

    assert await run(right, 5) == 5
    assert await run(later, 6) == 6
    with pytest.raises(InvalidReturn):
        await run(wrong)


async def test_what_a_handler_raises_is_left_alone() -> None:
    """A refusal would be reported as a wrong answer."""

    async def refuse(socket: object) -> int:
        raise EventError("no")

    with pytest.raises(EventError, match="no"):
        await run(refuse)


@pytest.mark.parametrize("kind", [Any, object, NoReturn])
def test_a_handler_that_says_nothing_costs_nothing(kind: Any) -> None:
    """Handlers without annotations would pay for a check that cannot find anything."""
    handler = handler_of(returning(kind, 1))
    assert checked(handler) is handler


async def test_who_answers_by_ack_may_return_anything() -> None:
    """What a handler returns that answers by ``ack`` is no answer: it would be refused all the same."""

    async def answers(socket: object, ack: Ack) -> int:
        ack("received")
        return "ignored"  # type: ignore[return-value]

    handler = SpecialHandler("e", answers, Signature.of("e", answers))
    assert checked(handler) is handler
    socket = AnsweringSocket()
    assert await handler(socket, [], event_packet("e", id=1)) is DEFERRED
    assert socket.answers == [["received"]]


def test_an_annotation_that_nothing_can_be_checked_against_is_found_at_registration() -> None:
    """The first client would find it, by an error in the answer."""

    class Unknown:
        pass

    with pytest.raises(ConfigurationError, match=r"what it returns cannot be checked: .*Unknown"):
        checked(handler_of(returning(Unknown, Unknown())))


def test_a_checked_handler_takes_the_place_of_its_own() -> None:
    """A handler would run at once that is to wait for its turn, as soon as returns are checked."""
    handler = handler_of(returning(int, 1), ordered=True)
    found = checked(handler)
    assert (found.name, found.ordered, found.is_async) == ("e", True, True)
