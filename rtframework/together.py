"""Running several coroutines side by side in the task that is there."""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine, Generator, Iterable
from types import coroutine
from typing import Any


async def run_together(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run each as far as it goes without waiting, then wait for those that have to; no task is made.

    So a slow one holds up whoever waits here, and not the start of those behind it. All are run, also when one fails;
    then the first exception is raised.
    """
    to_start = deque(works)
    waiting: deque[tuple[Coroutine[Any, Any, None], Any]] = deque()
    failed: Exception | None = None
    try:
        while to_start:
            work = to_start.popleft()
            try:
                waiting.append((work, work.send(None)))
            except StopIteration:
                pass
            except Exception as error:  # noqa: BLE001 - raised below
                failed = failed or error
        while waiting:
            work, waits_for = waiting.popleft()
            try:
                await _resume(work, waits_for)
            except Exception as error:  # noqa: BLE001 - raised below
                failed = failed or error
    finally:
        for work in (*to_start, *(work for work, _ in waiting)):  # only when this was cancelled
            work.close()
    if failed is not None:
        raise failed


@coroutine
def _resume(work: Coroutine[Any, Any, None], waits_for: Any) -> Generator[Any, Any, None]:
    """Await a coroutine that has been started and waits for something."""
    while True:
        try:
            sent = yield waits_for
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
            waits_for = step(argument)
        except StopIteration:
            return
