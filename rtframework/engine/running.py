"""Running handlers in the order their events came, without a task for each.

A reader takes an event, starts its handler and would then have to wait for it. Most handlers never wait: they run to
their end in the reader's own task, at no cost. One that does wait keeps the task, so that ``asyncio.current_task()``,
timeouts and cancellation work in it as in any coroutine, and a new task goes on reading (leader and followers).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")


@coroutine
def run_until_wait(work: Coroutine[Any, Any, T], on_wait: Callable[[], None]) -> Generator[Any, Any, T]:
    """Await ``work``; call ``on_wait`` when it waits for the first time, before control goes to the event loop."""
    try:
        waiting_for = work.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    on_wait()
    while True:
        try:
            sent = yield waiting_for
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:  # noqa: BLE001 - handed on to the coroutine, as "yield from" would
            step = work.throw
            argument: Any = error
        else:
            step = work.send  # type: ignore[assignment]
            argument = sent
        try:
            waiting_for = step(argument)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
