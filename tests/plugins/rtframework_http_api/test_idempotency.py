"""Calls that are made once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from rtframework_http_api import idempotency
from rtframework_http_api.answers import Answer
from rtframework_http_api.idempotency import Idempotency, check_key
from rtframework_http_api.problems import Problem


class Calls:
    """Makes calls, and counts them."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.count = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.answer = answer

    async def _make(self) -> Answer:
        self.count += 1
        number = self.count
        await self.gate.wait()
        return self.answer or Answer(200, str(number).encode())

    def make(self) -> asyncio.Task[Answer]:
        """Make one."""
        return asyncio.get_running_loop().create_task(self._make())


async def test_a_call_is_made_once() -> None:
    """A retry after a lost answer would emit twice."""
    kept, calls = Idempotency(), Calls()
    first = await kept.once("a", b"x", calls.make)
    again = await kept.once("a", b"x", calls.make)
    other = await kept.once("b", b"x", calls.make)
    assert [(answer.body, repeated) for answer, repeated in (first, again, other)] == [
        (b"1", False),
        (b"1", True),
        (b"2", False),
    ]


async def test_a_call_that_still_runs_is_waited_for() -> None:
    """A caller that retries early would emit a second time."""
    kept, calls = Idempotency(), Calls()
    calls.gate.clear()
    both = [asyncio.create_task(kept.once("a", b"x", calls.make)) for _ in range(2)]
    while not calls.count:  # noqa: ASYNC110 - until the first has begun
        await asyncio.sleep(0)
    calls.gate.set()
    assert [(answer.body, repeated) for answer, repeated in await asyncio.gather(*both)] == [
        (b"1", False),
        (b"1", True),
    ]


async def test_a_caller_that_goes_leaves_its_answer_behind() -> None:
    """The call would be cancelled halfway, and made again by the retry."""
    kept, calls = Idempotency(), Calls()
    calls.gate.clear()
    first = asyncio.create_task(kept.once("a", b"x", calls.make))
    while not calls.count:  # noqa: ASYNC110 - until it has begun
        await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait((first,))
    calls.gate.set()
    answer, repeated = await kept.once("a", b"x", calls.make)
    assert (answer.body, repeated, calls.count) == (b"1", True, 1)


async def test_another_body_under_the_same_key_is_a_mistake() -> None:
    """An event would be lost: its sender would get the answer to another one."""
    kept, calls = Idempotency(), Calls()
    await kept.once("a", b"x", calls.make)
    with pytest.raises(Problem) as raised:
        await kept.once("a", b"y", calls.make)
    assert raised.value.code == "idempotency_key_reused"


async def test_a_call_without_effect_is_made_again() -> None:
    """What Redis could not take would never be sent, whoever tries again."""
    kept, calls = Idempotency(), Calls(Answer(503, b"", code="cluster_unavailable", made=False))
    await kept.once("a", b"x", calls.make)
    await asyncio.sleep(0)
    await kept.once("a", b"x", calls.make)
    assert calls.count == 2


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller with a new key for each event would fill the memory."""
    monkeypatch.setattr(idempotency, "MOST", 3)
    kept, calls = Idempotency(), Calls()
    for number in range(5):
        await kept.once(number, b"x", calls.make)
    assert len(kept) == 3
    monkeypatch.setattr(idempotency, "MOST_BYTES", 10)
    calls.answer = Answer(200, b"12345678")
    for number in range(5, 8):
        await kept.once(number, b"x", calls.make)
        await asyncio.sleep(0)
    assert kept._size <= 10
    assert len(kept) < 3


async def test_of_a_large_answer_only_the_fact_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answers of ten thousand sockets would be kept for an hour, or the retry ask them all again."""
    monkeypatch.setattr(idempotency, "LARGEST", 5)
    kept, calls = Idempotency(), Calls(Answer(200, b"123456"))
    assert (await kept.once("a", b"x", calls.make))[0].body == b"123456"
    await asyncio.sleep(0)
    answer, repeated = await kept.once("a", b"x", calls.make)
    assert (answer.status, answer.code, repeated, calls.count) == (409, "answer_not_kept", True, 1)


async def test_answers_are_kept_for_an_hour() -> None:
    """A key that is used again a day later would be answered by what happened then."""
    now = 0.0
    kept, calls = Idempotency(lambda: now), Calls()
    await kept.once("a", b"x", calls.make)
    now = 3599.0
    assert (await kept.once("a", b"x", calls.make))[1]
    now = 3600.0
    assert not (await kept.once("a", b"x", calls.make))[1]
    assert len(kept) == 1


@pytest.mark.parametrize("text", ["", "x" * 256, "a\nb", "é"])
def test_keys_that_are_none(text: str) -> None:
    """A caller whose key is cut off would get the answer of another call."""
    with pytest.raises(Problem):
        check_key(text)


def test_keys_that_are_one() -> None:
    """Calls without a key, or with a UUID in quotes as the draft has it, would be refused."""
    check: Callable[[str | None], str | None] = check_key
    assert check(None) is None
    assert check('"8e03978e-40d5-43dd-bc93-6894a57f9324"') == '"8e03978e-40d5-43dd-bc93-6894a57f9324"'
