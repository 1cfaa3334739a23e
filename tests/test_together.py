"""Coroutines side by side in one task."""

from __future__ import annotations

import asyncio

import pytest

from rtframework.together import run_together


async def test_a_slow_one_does_not_hold_up_the_start_of_others() -> None:
    """One slow client in one namespace would delay a message to all other namespaces."""
    gates = [asyncio.Event() for _ in range(3)]
    log: list[str] = []
    task: set[asyncio.Task[object] | None] = set()

    async def work(number: int) -> None:
        log.append(f"start {number}")
        if number != 1:
            async with asyncio.timeout(10):
                await gates[number].wait()
            await asyncio.sleep(0)
        task.add(asyncio.current_task())
        log.append(f"end {number}")

    running = asyncio.create_task(run_together([work(0), work(1), work(2)]))
    await asyncio.sleep(0)
    assert log == ["start 0", "start 1", "end 1", "start 2"]
    gates[2].set()
    gates[0].set()
    await running
    assert log[4:] == ["end 0", "end 2"]
    assert task == {running}


async def test_all_are_run_though_one_fails() -> None:
    """The failure of one namespace would be that of those behind it."""
    log: list[str] = []

    async def fail(message: str, wait: bool) -> None:
        if wait:
            await asyncio.sleep(0)
        raise RuntimeError(message)

    async def work(name: str) -> None:
        await asyncio.sleep(0)
        log.append(name)

    with pytest.raises(RuntimeError, match="second"):
        await run_together([fail("first, but later", True), work("a"), fail("second", False), work("b")])
    assert log == ["a", "b"]


async def test_cancelling_ends_all() -> None:
    """What nobody waits for any more would be left hanging."""
    ended: list[int] = []

    async def work(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    running = asyncio.create_task(run_together([work(0), work(1)]))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert sorted(ended) == [0, 1]


async def test_nothing_to_do() -> None:
    """An emit to a parent without children would hang or fail."""
    await run_together([])
