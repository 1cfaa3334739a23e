"""What a worker knows of the others."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from rtframework.exceptions import ConfigurationError
from rtframework.workers.group import join
from tests.support.until import until
from tests.support.workers import running_broker


class Silent:
    """An adapter that hears who goes."""

    def __init__(self) -> None:
        self.gone: list[str] = []

    def member_gone(self, name: str) -> None:
        """Note it."""
        self.gone.append(name)

    def state(self, up: bool) -> None:
        """Do nothing."""


async def test_workers_know_who_serves_a_namespace() -> None:
    """A request would wait for a worker that does not answer, or miss one that would."""
    async with running_broker() as broker, await join(broker.directory, name="one") as one:
        adapter = Silent()
        one.open("/", adapter)  # type: ignore[arg-type]
        two = await join(broker.directory, name="two")
        assert two.serving("/") == ["one"]
        two.open("/", Silent())  # type: ignore[arg-type]
        await until(lambda: one.serving("/") == ["two"])
        assert one.serving("/other") == []
        two.shut("/")
        await until(lambda: adapter.gone == ["two"])
        assert one.serving("/") == []
        two.crash()
        await until(lambda: not one.members)
        assert adapter.gone == ["two", "two"]
        await two.leave()


async def test_two_servers_of_one_process_need_two_names() -> None:
    """The second would take the events of the first."""
    async with running_broker() as broker, await join(broker.directory) as group:
        group.open("/", Silent())  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="same name"):
            group.open("/", Silent())  # type: ignore[arg-type]
        group.adapters.clear()


async def test_a_question_reaches_all_workers() -> None:
    """A scrape of one worker would show that worker alone."""
    async with running_broker() as broker:
        groups = [await join(broker.directory, name=f"w{number}") for number in range(3)]

        async def slowly(data: bytes) -> bytes:
            await asyncio.sleep(0)
            return data + b"1"

        def fails(data: bytes) -> bytes:
            raise ValueError("not today")

        groups[0].answer("stats", lambda data: data + b"0")
        groups[1].answer("stats", slowly)
        groups[2].answer("stats", fails)
        gathered = await groups[0].gather("stats", b"x", 10.0)
        assert gathered.answers == {"w0": b"x0", "w1": b"x1"}
        assert gathered.missing == ()
        for group in groups:
            await group.leave()


async def test_a_worker_without_a_broker_writes_no_more_into_the_table() -> None:
    """Its counters would be those of the worker that has its slot now."""
    async with running_broker() as broker:
        one = await join(broker.directory)
        one.rooms[5] += 1
        one.crash()
        await until(lambda: not broker.members)
        two = await join(broker.directory)
        assert two.slot == one.slot
        one.rooms[5] -= 1
        one.rooms[6] += 1
        assert not two.table.has(two.slot, [5, 6])
        await one.leave()
        await two.leave()


async def test_work_that_has_not_begun_when_a_worker_leaves() -> None:
    """The last line of a worker would be a warning of a coroutine that was never awaited."""
    async with running_broker() as broker:
        group = await join(broker.directory)

        async def work() -> None:
            raise AssertionError("it begins")

        waiting = work()
        group.spawn(waiting)
        await group._tasks.cancel()
        assert inspect.getcoroutinestate(waiting) == inspect.CORO_CLOSED
        await group.leave()
