"""What a client has received: in order, each taken once, and waited for by name."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtframework.testing.inbox import Inbox, Received
from tests.support.in_process import NOT_ON_UVLOOP
from tests.support.thorough import examples

pytestmark = NOT_ON_UVLOOP


def put(inbox: Inbox, event: str, *args: Any) -> Received:
    """An event came."""
    return inbox.put(event, args, None)


def never() -> bool:
    return False


@pytest.mark.parametrize(
    ("args", "payload"), [((), None), ((1,), 1), ((None,), None), ((1, [2]), (1, [2])), (([],), [])]
)
async def test_the_payload_is_what_a_test_compares(args: tuple[Any, ...], payload: Any) -> None:
    """Every test would take one argument out of a list of one."""
    received = put(Inbox(), "e", *args)
    assert (received.event, received.args, received.payload) == ("e", args, payload)
    assert not received.wants_ack


async def test_events_are_taken_by_name_the_oldest_first() -> None:
    """A test would see the second event of a name where it expects the first."""
    inbox = Inbox()
    for event, number in (("a", 1), ("b", 2), ("a", 3)):
        put(inbox, event, number)
    assert [each.payload for each in inbox.peek("a")] == [1, 3]
    found = [await inbox.take(event, 0, never) for event in ("b", "a", None)]
    assert [each.payload for each in found if each] == [2, 1, 3]
    assert inbox.peek() == []
    assert [each.payload for each in inbox.items] == [1, 2, 3], "they stay to be looked at"
    assert await inbox.take(None, 0, never) is None


async def test_who_waits_is_woken_by_what_comes() -> None:
    """A test would wait to the end of its time for what is there."""
    inbox = Inbox()
    waiting = asyncio.create_task(inbox.take("b", 5, never))
    await asyncio.sleep(0)
    put(inbox, "a")
    await asyncio.sleep(0)
    received = put(inbox, "b", 1)
    assert await waiting is received
    assert received.taken
    assert [each.event for each in inbox.peek()] == ["a"]


async def test_two_that_wait_for_one_event_do_not_both_have_it() -> None:
    """One event would answer for two."""
    inbox = Inbox()
    waiting = [asyncio.create_task(inbox.take("a", 0.05, never)) for _ in range(2)]
    await asyncio.sleep(0)
    put(inbox, "a")
    assert sorted(each is None for each in await asyncio.gather(*waiting)) == [False, True]


async def test_nobody_waits_for_a_client_that_has_gone() -> None:
    """Each such test would take seconds to fail."""
    inbox = Inbox()
    over: list[bool] = []
    waiting = asyncio.create_task(inbox.take("a", 60, lambda: bool(over)))
    await asyncio.sleep(0)
    over.append(True)
    inbox.changed()
    assert await asyncio.wait_for(waiting, 5) is None
    put(inbox, "a", 1)
    found = await inbox.take("a", 60, lambda: True)
    assert found is not None, "what had come before is there"


async def test_an_answer_is_given_once() -> None:
    """The server would get two answers to one question, or one that it has not asked for."""
    answers: list[Any] = []

    async def reply(args: tuple[Any, ...]) -> None:
        answers.append(args)

    received = Inbox().put("ask", (), reply)
    assert received.wants_ack
    await received.ack(1, "a")
    assert answers == [(1, "a")]
    assert not received.wants_ack
    with pytest.raises(RuntimeError, match="waits for no answer to 'ask'"):
        await received.ack(2)


async def test_a_failure_shows_what_did_come() -> None:
    """A failure that does not show what came instead costs a debugging session."""
    inbox = Inbox()
    assert inbox.describe() == "nothing has been received at all"
    put(inbox, "message", "hi", b"\x00").taken = True
    inbox.put("ask", ("x" * 500,), lambda args: asyncio.sleep(0))
    head, one, two = inbox.describe().splitlines()
    assert head == "received so far:"
    assert re.fullmatch(r" +\d+\.\d{3} s  message\('hi', b'\\x00'\)", one)
    assert two.endswith("…) [wants an ack] [not taken]")
    assert len(two) < 180
    for number in range(30):
        put(inbox, "more", number)
    lines = inbox.describe().splitlines()
    assert lines[0] == "received so far (7 earlier left out):"
    assert len(lines) == 26
    assert "more(29)" in lines[-1]


@settings(max_examples=examples(400))
@given(st.lists(st.tuples(st.sampled_from(["put", "take"]), st.sampled_from(["a", "b", None])), max_size=30))
def test_each_event_is_taken_once_and_in_order(steps: list[tuple[str, str | None]]) -> None:
    """An event would be lost between two that are waited for by name.

    The model: one queue for each name, and the order in which they came.
    """

    async def scenario() -> None:
        inbox = Inbox()
        model: deque[tuple[str, int]] = deque()
        for number, (step, name) in enumerate(steps):
            if step == "put":
                put(inbox, name or "c", number)
                model.append((name or "c", number))
                continue
            expected = next((each for each in model if name in (None, each[0])), None)
            found = await inbox.take(name, 0, never)
            assert (found and (found.event, found.payload)) == expected
            if expected is not None:
                model.remove(expected)
        assert [(each.event, each.payload) for each in inbox.peek()] == list(model)

    asyncio.run(scenario())
