"""Several handlers of one event that act as one: their order, and whose answer counts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtframework.concurrency import TaskSet
from rtframework.exceptions import EventError
from rtframework.handlers.event import DEFERRED, Ack, Event
from rtframework.handlers.group import Explained, HandlerGroup
from rtframework.handlers.handler import Handler, SpecialHandler
from rtframework.handlers.signatures import Signature
from rtframework.types import Packet
from tests.support.sockets import AnsweringSocket, event_packet
from tests.support.thorough import examples

INTERNAL = {"error": {"code": "internal_error", "message": "Internal server error"}}


def handler_of(function: Callable[..., Any], *, ordered: bool | None = None) -> Handler:
    """Make the handler of a function, as registration does."""
    return Handler("e", function, Signature.of("e", function), ordered=ordered)


def group(*functions: Callable[..., Any]) -> HandlerGroup:
    """These, as one."""
    return HandlerGroup([handler_of(each) for each in functions], TaskSet())


def returns(value: Any) -> Callable[..., Any]:
    """A plain handler."""
    return lambda socket: value


def raises(error: Exception) -> Callable[..., Any]:
    """A plain handler that fails."""

    def handler(socket: object) -> Any:
        raise error

    return handler


async def outcome(made: HandlerGroup, socket: AnsweringSocket, packet: Packet, event: Event | None = None) -> Any:
    """What the group returns or raises."""
    try:
        return await made(socket, [], packet, event)
    except Exception as error:  # noqa: BLE001 - whatever comes out is looked at
        return error


async def test_they_start_in_the_order_of_registration_and_none_holds_up_the_next() -> None:
    """A handler that waits for a database would hold up all others of the event."""
    log: list[str] = []
    gate = asyncio.Event()

    async def waits(socket: object) -> None:
        log.append("first begins")
        await gate.wait()
        log.append("first ends")

    async def opens(socket: object) -> None:
        log.append("second")
        gate.set()

    await group(waits, opens)(AnsweringSocket(), [], event_packet("e"))
    assert log == ["first begins", "second", "first ends"]


async def test_the_first_answer_is_sent_as_soon_as_it_is_there() -> None:
    """A client would wait for the slowest of all handlers, of which it needs nothing."""
    socket = AnsweringSocket()
    gate = asyncio.Event()

    async def slow(socket: object) -> str:
        await gate.wait()
        return "slow"

    serving = asyncio.ensure_future(group(slow, returns("quick"))(socket, [], event_packet("e", id=1)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert socket.answers == [["quick"]]
    gate.set()
    assert await serving == "quick"
    assert socket.answers == [["quick"]]


async def test_under_middleware_the_first_answer_is_left_to_it() -> None:
    """Middleware that changes answers would come too late."""
    socket = AnsweringSocket()
    packet = event_packet("e", id=1)
    assert await outcome(group(returns(None), returns("x")), socket, packet, Event("e", [], packet)) == "x"
    assert socket.answers == []


async def test_an_ack_is_an_answer_too() -> None:
    """An empty answer would be sent before the one that a handler gives by ``ack``."""
    socket = AnsweringSocket()

    async def acks(socket: object, ack: Ack) -> None:
        ack("by ack")

    made = HandlerGroup([SpecialHandler("e", acks, Signature.of("e", acks)), handler_of(returns(None))], TaskSet())
    packet = event_packet("e", id=1)
    assert await made(socket, [], packet) is DEFERRED
    assert socket.answers == [["by ack"]]


async def test_one_that_fails_does_not_take_the_answer_of_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """A logging handler with a mistake would break the event for the client."""
    socket = AnsweringSocket()
    packet = event_packet("e", id=1)
    assert await outcome(group(raises(ValueError("x")), returns("fine")), socket, packet) == "fine"
    assert socket.answers == [["fine"]]
    (record,) = caplog.records
    assert (record.levelno, record.name) == (logging.ERROR, "rtframework.socket")
    assert {name: getattr(record, name) for name in ("nsp", "sid", "event")} == {"nsp": "/", "sid": "s1", "event": "e"}


async def test_when_all_fail_each_failure_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """One failure would be reported, and the others be lost; or the client be told nothing."""
    made = group(raises(ValueError("first")), raises(ValueError("second")))
    found = await outcome(made, AnsweringSocket(), event_packet("e", id=1))
    assert isinstance(found, Explained)
    assert found.error.to_payload() == INTERNAL
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["first", "second"]


async def test_under_middleware_the_first_failure_comes_out_and_the_others_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Middleware that handles exceptions would see none, or the log not say what else went wrong."""
    packet = event_packet("e", id=1)
    made = group(raises(ValueError("first")), raises(ValueError("second")))
    found = await outcome(made, AnsweringSocket(), packet, Event("e", [], packet))
    assert isinstance(found, ValueError)
    assert str(found) == "first"
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["second"]


async def test_a_refusal_is_an_answer() -> None:
    """An event that the first handler refuses would be confirmed by the second."""
    socket = AnsweringSocket()
    packet = event_packet("e", id=1)
    found = await outcome(group(raises(EventError("no", "not now")), returns("yes")), socket, packet)
    assert isinstance(found, Explained)
    assert found.error.code == "no"
    assert socket.answers == [[{"error": {"code": "no", "message": "not now"}}]]


async def test_an_exception_handler_answers_in_place_of_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    """What the program says of an exception would not hold where an event has several handlers."""
    socket = AnsweringSocket()
    socket.explanation = {"sorry": True}
    packet = event_packet("e", id=1)
    assert await outcome(group(raises(ValueError("x")), returns(None)), socket, packet) == {"sorry": True}
    assert socket.answers == [[{"sorry": True}]]
    assert not caplog.records


async def test_a_cancellation_ends_all() -> None:
    """A server that stops would wait for handlers that nobody waits for."""
    ended: list[str] = []

    async def waits(socket: object) -> None:
        try:
            await asyncio.sleep(99)
        finally:
            ended.append("waits")

    serving = asyncio.ensure_future(group(waits, waits)(AnsweringSocket(), [], event_packet("e")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert ended == ["waits", "waits"]


@pytest.mark.parametrize(("ordered", "all_of_them"), [([False, False], False), ([True, False], True)])
def test_one_that_waits_for_its_turn_makes_all_wait(ordered: list[bool], all_of_them: bool) -> None:
    """An event that is to be served in turn would be served out of turn by the other handlers."""
    handlers = [handler_of(returns(1), ordered=each) for each in ordered]
    assert HandlerGroup(handlers, TaskSet()).ordered is all_of_them


ENDS = st.sampled_from(["none", "value", "refusal", "failure"])


@settings(max_examples=examples(400))
@given(st.lists(st.tuples(ENDS, st.integers(0, 3)), min_size=2, max_size=5))
def test_whatever_they_do_the_client_has_one_answer(plan: list[tuple[str, int]]) -> None:
    """A client would wait for ever, or the answer to its next question be that of this one.

    Each handler ends in some way after some turns of the event loop; the first that answers is told by a model.
    """

    def handler(number: int, end: str, turns: int) -> Callable[..., Any]:
        async def run(socket: object) -> Any:
            for _ in range(turns):
                await asyncio.sleep(0)
            finished.append((number, end))
            if end == "refusal":
                raise EventError(f"no {number}")
            if end == "failure":
                raise ValueError(number)
            return f"yes {number}" if end == "value" else None

        return run

    async def scenario() -> None:
        socket = AnsweringSocket()
        made = group(*[handler(number, *each) for number, each in enumerate(plan)])
        found = await outcome(made, socket, event_packet("e", id=1))
        answers = [each for each in finished if each[1] in ("value", "refusal")]
        if answers:
            number, end = answers[0]
            expected = (
                f"yes {number}" if end == "value" else {"error": {"code": f"no {number}", "message": f"no {number}"}}
            )
            assert socket.answers == [[expected]]
            assert found == expected if end == "value" else isinstance(found, Explained)
        else:
            assert socket.answers == []  # the caller answers with what comes out
            failed = any(end == "failure" for _, end in finished)
            assert isinstance(found, Exception) if failed else found is None

    finished: list[tuple[int, str]] = []
    logging.disable(logging.CRITICAL)
    try:
        asyncio.run(scenario())
    finally:
        logging.disable(logging.NOTSET)
