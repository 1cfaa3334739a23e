"""Awaiting what may be awaitable, keeping tasks, and running coroutines concurrently without a task for each.

Coroutines are started in order. Those that never wait run to their end in the current task, at no extra cost. The first
one that waits keeps the task, so that ``asyncio.current_task()``, timeouts and cancellation work in it as in any
coroutine, and a new task runs the rest. The handlers of one event run this way, as do the events of a client in the
engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from contextvars import Context
from inspect import isawaitable
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, None]]


async def maybe_await(value: Awaitable[T] | T) -> T:
    """Return a value, awaiting it if it is awaitable: for results of functions that may be ``async`` or not."""
    return await value if isawaitable(value) else value


class TaskSet(set[asyncio.Task[Any]]):
    """Tasks in the background, each kept until it is done: the event loop holds no reference to a task that waits.

    It is a set of those that still run.
    """

    __slots__ = ()

    def spawn(self, work: Coroutine[Any, Any, T], *, context: Context | None = None) -> asyncio.Task[T]:
        """Start a task, by default with a copy of the current context variables."""
        return self.keep(asyncio.get_running_loop().create_task(work, context=context))

    def keep(self, task: asyncio.Task[T]) -> asyncio.Task[T]:
        """Keep a task that was started elsewhere."""
        self.add(task)
        task.add_done_callback(self.discard)
        return task

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until all are done but the one that calls, those that they start meanwhile among them.

        Return ``False`` when ``timeout`` seconds have passed before that. What the tasks raise is theirs.
        """
        loop = asyncio.get_running_loop()
        end = None if timeout is None else loop.time() + timeout
        while others := self._others():
            left = None if end is None else end - loop.time()
            if left is not None and left <= 0:
                return False
            await asyncio.wait(others, timeout=left)
        return True

    async def cancel(self) -> None:
        """Cancel all but the one that calls, and wait until they have ended."""
        others = self._others()
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _others(self) -> list[asyncio.Task[Any]]:
        me = asyncio.current_task()
        return [task for task in self if task is not me and not task.done()]


@coroutine
def run_until_wait(work: Coroutine[Any, Any, T], on_wait: Callable[[], None]) -> Generator[Any, Any, T]:
    """Await ``work``; call ``on_wait`` when it first waits, before control returns to the event loop."""
    try:
        waits_for = work.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    on_wait()
    return (yield from go_on(work, waits_for))


@coroutine
def go_on(work: Coroutine[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    """Await the rest of a coroutine that has been started and waits for ``waits_for``."""
    while True:
        try:
            sent = yield waits_for
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:  # noqa: BLE001 - thrown into the coroutine, as "yield from" does
            step: Callable[[Any], Any] = work.throw
            argument: Any = error
        else:
            step, argument = work.send, sent
        try:
            waits_for = step(argument)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]


def start_now(work: Coroutine[Any, Any, None], tasks: TaskSet) -> None:
    """Run a coroutine until it first waits; a new task, which is kept in ``tasks``, runs the rest.

    Only for coroutines that do not ask which task they are in. What it raises before it waits is raised here.
    """
    try:
        waits_for = work.send(None)
    except StopIteration:
        return
    tasks.spawn(_rest(work, waits_for))


async def _rest(work: Coroutine[Any, Any, None], waits_for: Any) -> None:
    await go_on(work, waits_for)


async def run_abreast(works: Sequence[Work], tasks: TaskSet) -> None:
    """Start coroutines in order, without waiting for one before the next; return when all are done.

    Coroutines that never wait run in the current task, one after another. When one waits, a new task, which is kept in
    ``tasks``, runs the rest. The coroutines must catch their exceptions. Cancelling the call cancels all of them.
    """
    followers: list[asyncio.Task[None]] = []
    try:
        await _run_from(0, works, followers, tasks)
        for task in followers:  # the list may grow meanwhile
            await task
    except asyncio.CancelledError:
        for task in followers:
            task.cancel()
        raise


async def _run_from(start: int, works: Sequence[Work], followers: list[asyncio.Task[None]], tasks: TaskSet) -> None:
    waited = False

    def follow() -> None:
        nonlocal waited
        waited = True
        if position + 1 < len(works):
            followers.append(tasks.spawn(_run_from(position + 1, works, followers, tasks)))

    for position in range(start, len(works)):
        await run_until_wait(works[position](), follow)
        if waited:
            return


def is_cancelled(error: BaseException) -> bool:
    """Tell whether an exception cancels the current task, and not only something that the task has awaited.

    For ``except (Exception, asyncio.CancelledError) as error``: a cancellation of the current task is to be raised
    again.
    """
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
