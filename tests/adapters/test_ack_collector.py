"""Counting answers: also those that come from other servers, which no adapter of this package has."""

from __future__ import annotations

import asyncio

import pytest

from rtframework import AckTimeout, Disconnected
from rtframework.adapters.ack_collector import AckCollector


async def test_answers_of_other_servers_are_counted() -> None:
    """A vote in a cluster would end before all have voted, or wait for votes that have come."""
    loop = asyncio.get_running_loop()
    own = {sid: loop.create_future() for sid in "ab"}
    tally = AckCollector(servers=2)
    tally.ask(own)
    result = asyncio.create_task(tally.result(5))
    tally.answer(["early"], "c")  # before its server has said how many it has asked
    own["a"].set_result([1, 2])
    own["b"].set_exception(Disconnected())
    await asyncio.sleep(0)
    tally.server(0)
    assert not result.done()
    tally.server(4)
    tally.answer([])
    tally.gone("d")
    assert not result.done()
    tally.gone()
    answers = await result
    assert dict(answers) == {"c": "early", "a": (1, 2), "?2": None}
    assert answers.missing == ("b", "d")


async def test_a_server_that_is_silent_is_not_waited_for() -> None:
    """A server that has died would hold up every vote for ever."""
    tally = AckCollector(servers=1)
    tally.ask({"a": (own := asyncio.get_running_loop().create_future())})
    with pytest.raises(AckTimeout) as caught:
        await tally.result(0.01)
    assert own.cancelled()
    assert caught.value.missing == ("a",)
    tally.answer(["too late"], "b")
    tally.server(1)


async def test_nobody_is_not_waited_for() -> None:
    """A vote in an empty room would never end."""
    tally = AckCollector()
    tally.ask({})
    assert not await tally.result(None)


async def test_servers_are_known_by_name() -> None:
    """A second report of a server would end a vote before the others have voted."""
    collector = AckCollector(servers=["one", "two"])
    result = asyncio.create_task(collector.result(5))
    await asyncio.sleep(0)
    collector.server(1, "one")
    collector.server(1, "one")
    collector.answer(["yes"], "s1", "one")
    assert not result.done()
    collector.server(0, "two")
    assert dict(await result) == {"s1": "yes"}


async def test_a_server_that_dies_is_not_waited_for() -> None:
    """Every vote would take its whole time limit after a server was killed."""
    collector = AckCollector(servers=["one", "two"])
    result = asyncio.create_task(collector.result(5))
    await asyncio.sleep(0)
    collector.server(3, "one")
    collector.answer(["yes"], "s1", "one")
    collector.gone("s2", "one")
    collector.answer(["early"], "s3", "two")  # before its server has said how many it has asked
    collector.server_gone("two")
    assert not result.done()
    collector.server_gone("one")
    answers = await result
    assert dict(answers) == {"s1": "yes", "s3": "early"}
    assert answers.missing == ("s2", "two", "one"), "two had not reported, and of one an answer is owed"


async def test_servers_by_name() -> None:
    """A server that dies during a vote would hold it up, and nobody would hear whose votes are missing."""
    tally = AckCollector(["a", "b", "c", "d"])
    result = asyncio.create_task(tally.result(None))
    await asyncio.sleep(0)
    tally.answer(["early"], "b1", "b")  # before its server has said how many it has asked
    tally.server(2, "b")
    tally.server(9, "b")  # said twice
    tally.answer([2], "b2", "b")
    tally.server(1, "late")  # it has joined meanwhile
    tally.server(2, "c")
    tally.gone("c1", "c")
    tally.server(0, "d")
    tally.server_gone("c")  # owes an answer
    tally.server_gone("c")
    tally.server_gone("d")  # owes none
    tally.answer(["too late"], "c2", "c")
    tally.gone("c2", "c")
    tally.server(5, "c")
    tally.server_gone("a")  # has not said anything
    tally.server_gone("stranger")
    assert not result.done()
    tally.answer([], "l1", "late")
    answers = await result
    assert dict(answers) == {"b1": "early", "b2": 2, "l1": None}
    assert answers.missing == ("c1", "c", "a")


async def test_servers_that_are_silent_are_named() -> None:
    """Nobody could tell which server to look at."""
    tally = AckCollector({"a", "b"})
    tally.server(1, "a")
    with pytest.raises(AckTimeout) as caught:
        await tally.result(0.01)
    assert caught.value.missing == ("b",)
    assert not await AckCollector(()).result(None)


async def test_a_server_that_was_only_counted_leaves() -> None:
    """Beside a server of Node, each deployment would hold up every request until its time is over."""
    collector = AckCollector(servers=3)
    collector.server(0, "answered")
    collector.server_gone("answered")
    collector.server_gone("left")
    collector.server_gone("left")
    waiting = asyncio.ensure_future(collector.result(5))
    await asyncio.sleep(0)
    assert not waiting.done()
    collector.server(0)
    answers = await waiting
    assert answers.missing == ("left",)
    collector.server_gone("too late")
