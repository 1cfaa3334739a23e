"""Running several coroutines side by side, in order, without a task for each.

The first ones that never wait run to their end in the task that is there, at no cost. One that does wait keeps that
task, so that ``asyncio.current_task()``, timeouts and cancellation work in it as in any coroutine, and a new task goes
on with the rest: what the engine does with the events of a client, for the handlers of one event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from inspect import isawaitable
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, None]]


async def maybe_await(value: Awaitable[T] | T) -> T:
    """Return a value, or the result of awaiting it: for functions of a program that may be ``async`` or not."""
    return await value if isawaitable(value) else value


@coroutine
def run_until_wait(work: Coroutine[Any, Any, T], on_wait: Callable[[], None]) -> Generator[Any, Any, T]:
    """Await ``work``; call ``on_wait`` when it waits for the first time, before control goes to the event loop."""
    try:
        waits_for = work.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    on_wait()
    return (yield from go_on(work, waits_for))


@coroutine
def go_on(work: Coroutine[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    """Await the rest of a coroutine that has begun and waits for something."""
    while True:
        try:
            sent = yield waits_for
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:  # noqa: BLE001 - handed on to the coroutine, as "yield from" would
            step: Callable[[Any], Any] = work.throw
            argument: Any = error
        else:
            step, argument = work.send, sent
        try:
            waits_for = step(argument)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]


async def run_abreast(works: Sequence[Work], tasks: set[asyncio.Task[None]]) -> None:
    """Start each of these in order, none waiting for the one before it; return when all are done.

    Those that never wait run here, one after another. When one waits, a task that is kept in ``tasks`` goes on with
    the rest. What they raise is theirs to catch; only a cancellation comes out, and ends all that still run.
    """
    followers: list[asyncio.Task[None]] = []
    try:
        await _run_from(0, works, followers, tasks)
        for task in followers:  # they may still become more
            await task
    except asyncio.CancelledError:
        for task in followers:
            task.cancel()
        raise


async def _run_from(
    start: int, works: Sequence[Work], followers: list[asyncio.Task[None]], tasks: set[asyncio.Task[None]]
) -> None:
    waited = False

    def follow() -> None:
        nonlocal waited
        waited = True
        if position + 1 < len(works):
            rest = asyncio.get_running_loop().create_task(_run_from(position + 1, works, followers, tasks))
            followers.append(rest)
            tasks.add(rest)
            rest.add_done_callback(tasks.discard)

    for position in range(start, len(works)):
        await run_until_wait(works[position](), follow)
        if waited:
            return


def is_cancelled(error: BaseException) -> bool:
    """Whether the task that runs is cancelled, and not only something that it waited for."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
