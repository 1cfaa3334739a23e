"""run_until_wait: a handler must not be able to tell that it shares the reader's task; and tasks in the background."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import weakref
from collections.abc import Callable, Coroutine, Generator
from typing import Any, cast

import pytest

from rtframework.concurrency import TaskSet, go_on, run_abreast, run_until_wait, start_now
from tests.engine import turns_until


class Waits:
    """Counts how often ``on_wait`` was called."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


async def test_a_handler_that_does_not_wait_costs_no_turn() -> None:
    """Every event would cost a turn of the event loop."""

    async def inner() -> int:
        return 5

    async def handler() -> int:
        return await inner() + 1

    waits = Waits()
    turned = False

    def turn() -> None:
        nonlocal turned
        turned = True

    asyncio.get_running_loop().call_soon(turn)
    assert await run_until_wait(handler(), waits) == 6
    assert (waits.count, turned) == (0, False)


@pytest.mark.parametrize("times", [1, 3])
async def test_the_first_wait_is_told_and_no_other(times: int) -> None:
    """Each pause of a handler would start another reader for its connection."""

    async def handler() -> str:
        for _ in range(times):
            await asyncio.sleep(0)
        return "done"

    waits = Waits()
    assert await run_until_wait(handler(), waits) == "done"
    assert waits.count == 1


async def test_the_wait_is_told_before_the_event_loop_goes_on() -> None:
    """The next event of a client could overtake, or wait for, the one that is being served."""
    order: list[str] = []
    loop = asyncio.get_running_loop()

    async def handler() -> None:
        order.append("handler")
        loop.call_soon(order.append, "loop")
        await asyncio.sleep(0)

    await run_until_wait(handler(), lambda: order.append("on_wait"))
    assert order == ["handler", "on_wait", "loop"]


async def test_futures_tasks_and_values_come_through() -> None:
    """What a handler awaits would be lost on the way."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[str] = loop.create_future()

    async def later() -> str:
        await asyncio.sleep(0)
        future.set_result("future")
        return "task"

    async def handler() -> list[Any]:
        return [await loop.create_task(later()), await future, *await asyncio.gather(later2(), later2())]

    async def later2() -> int:
        await asyncio.sleep(0.001)
        return 1

    assert await run_until_wait(handler(), Waits()) == ["task", "future", 1, 1]


@pytest.mark.parametrize("waits_first", [False, True])
async def test_exceptions_come_out(waits_first: bool) -> None:
    """A handler that fails would leave no trace."""

    async def handler() -> None:
        if waits_first:
            await asyncio.sleep(0)
        raise LookupError("here")

    with pytest.raises(LookupError, match="here") as caught:
        await run_until_wait(handler(), Waits())
    assert "handler" in [entry.name for entry in caught.traceback]


async def test_exceptions_thrown_in_are_the_handler_s_to_answer() -> None:
    """A handler could not catch what its database raises."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    loop.call_soon(future.set_exception, OSError("gone"))

    async def handler() -> str:
        try:
            await future
        except OSError as error:
            await asyncio.sleep(0)
            return f"caught {error}"
        return "nothing"

    assert await run_until_wait(handler(), Waits()) == "caught gone"


async def test_the_current_task_is_the_one_that_awaits() -> None:
    """Libraries that ask for the current task (locks, timeouts, tracing) would fail inside handlers."""

    async def handler() -> list[asyncio.Task[Any] | None]:
        before = asyncio.current_task()
        await asyncio.sleep(0)
        return [before, asyncio.current_task()]

    me = asyncio.current_task()
    assert await run_until_wait(handler(), Waits()) == [me, me]


async def test_timeouts_work_inside() -> None:
    """A handler with a timeout would hang, or be cancelled for good."""

    async def handler() -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        except TimeoutError:
            pass
        try:
            await asyncio.wait_for(asyncio.sleep(60), 0.01)
        except TimeoutError:
            return "timed out"
        return "not"

    assert await run_until_wait(handler(), Waits()) == "timed out"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_task_groups_work_inside() -> None:
    """A handler that does several things at once could not."""
    done: list[int] = []

    async def part(number: int) -> None:
        await asyncio.sleep(0)
        done.append(number)

    async def handler() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(part(number))

    await run_until_wait(handler(), Waits())
    assert done == [0, 1, 2]


async def test_cancellation_reaches_the_handler() -> None:
    """At shutdown handlers would not be told to clean up."""
    started = asyncio.Event()
    cleaned: list[str] = []

    async def handler() -> None:
        try:
            started.set()
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            cleaned.append("yes")
            raise

    async def reader() -> None:
        await run_until_wait(handler(), Waits())

    task = asyncio.create_task(reader())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned == ["yes"]


async def test_a_handler_may_refuse_to_be_cancelled() -> None:
    """A shielded commit would be torn in two."""
    started = asyncio.Event()

    async def handler() -> str:
        started.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "finished"
        return "slept"

    async def reader() -> str:
        return await run_until_wait(handler(), Waits())

    task = asyncio.create_task(reader())
    await started.wait()
    task.cancel()
    assert await task == "finished"


Drive = Callable[[Coroutine[Any, Any, Any], Waits], Generator[Any, Any, Any]]


def drive(work: Coroutine[Any, Any, Any], waits: Waits) -> Generator[Any, Any, Any]:
    """The steps of an event loop, one by one."""
    return cast("Generator[Any, Any, Any]", run_until_wait(work, waits))


def drive_the_rest(work: Coroutine[Any, Any, Any], waits: Waits) -> Generator[Any, Any, Any]:
    """The same for what has begun already: so the engine's runner has it."""
    waits_for = work.send(None)
    waits()
    return cast("Generator[Any, Any, Any]", go_on(work, waits_for))


@pytest.mark.parametrize("drive", [drive, drive_the_rest])
@pytest.mark.parametrize("make_error", [GeneratorExit, RuntimeError])
def test_a_reader_that_is_dropped_closes_its_handler(make_error: type[BaseException], drive: Drive) -> None:
    """A loop that ends would leave handlers half-way, without their ``finally``."""
    closed: list[type[BaseException]] = []

    class Pause:
        def __await__(self) -> Generator[str, Any, None]:
            yield "pause"

    async def handler() -> None:
        try:
            await Pause()
        except BaseException as error:
            closed.append(type(error))
            raise

    waits = Waits()
    generator = drive(handler(), waits)
    assert next(generator) == "pause"
    if make_error is GeneratorExit:
        generator.close()
    else:
        with pytest.raises(make_error):
            generator.throw(make_error())
    assert closed == [make_error]
    assert waits.count == 1


@pytest.mark.parametrize("drive", [drive, drive_the_rest])
def test_values_that_are_sent_in_arrive(drive: Drive) -> None:
    """It would be no faithful stand-in for ``await``."""

    class Ask:
        def __await__(self) -> Generator[str, str, str]:
            return (yield "?")

    async def handler() -> str:
        return await Ask() + await Ask()

    generator = drive(handler(), Waits())
    assert next(generator) == "?"
    assert generator.send("a") == "?"
    with pytest.raises(StopIteration) as stop:
        generator.send("b")
    assert stop.value.value == "ab"


async def test_readers_follow_each_other() -> None:
    """The order in which events start would not be the order in which they came."""
    started: list[int] = []
    finished: list[int] = []
    gates = [asyncio.Event() for _ in range(5)]
    events = list(range(5))
    tasks: list[asyncio.Task[None]] = []

    async def handler(number: int) -> None:
        started.append(number)
        if number % 2:
            await gates[number].wait()
        finished.append(number)

    async def reader() -> None:
        while events:
            handed_over = False

            def follow() -> None:
                nonlocal handed_over
                handed_over = True
                tasks.append(asyncio.create_task(reader()))

            await run_until_wait(handler(events.pop(0)), follow)
            if handed_over:
                return

    tasks.append(asyncio.create_task(reader()))
    await turns_until(lambda: len(started) == 5)
    assert started == [0, 1, 2, 3, 4]
    assert finished == [0, 2, 4]
    gates[3].set()
    gates[1].set()
    await asyncio.gather(*tasks)
    assert finished == [0, 2, 4, 3, 1]


async def test_abreast_nothing_waits_for_what_stands_before_it() -> None:
    """One slow handler of an event would hold up the others, or those that do not wait would cost tasks."""
    log: list[str] = []
    release = asyncio.Event()
    tasks = TaskSet()

    def work(name: str, waits: bool = False) -> Callable[[], Coroutine[Any, Any, None]]:
        async def run() -> None:
            log.append(name)
            if waits:
                await release.wait()
                log.append(name + " ends")

        return run

    quick = run_abreast([work("a"), work("b")], tasks)
    with pytest.raises(StopIteration):
        quick.send(None)
    assert log == ["a", "b"]
    log.clear()
    running = asyncio.create_task(
        run_abreast([work("a"), work("b", waits=True), work("c"), work("d", waits=True)], tasks)
    )
    for _ in range(3):
        await asyncio.sleep(0)
    assert log == ["a", "b", "c", "d"]
    assert len(tasks) == 1
    release.set()
    await running
    assert sorted(log[4:]) == ["b ends", "d ends"]
    await asyncio.sleep(0)
    assert not tasks


async def test_abreast_any_number_can_be_cancelled() -> None:
    """Giving up an emit to ten thousand namespaces would end the process: one call within the other."""
    count = 20_000
    tasks = TaskSet()
    started = ended = 0
    others_ended = asyncio.Event()

    async def work() -> None:
        nonlocal started, ended
        started += 1
        try:
            await asyncio.sleep(60 if started == count else 0)
        finally:
            ended += 1
            if ended == count - 1:
                others_ended.set()

    running = asyncio.create_task(run_abreast([work] * count, tasks))
    await others_ended.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await turns_until(lambda: not tasks)
    assert ended == count


@pytest.mark.parametrize("waiting", ["abc", "b", "c", "ac"])
async def test_abreast_a_cancellation_reaches_all(waiting: str) -> None:
    """Handlers would go on after their event was given up at shutdown."""
    ended: list[str] = []
    tasks = TaskSet()

    def work(name: str) -> Callable[[], Coroutine[Any, Any, None]]:
        async def run() -> None:
            try:
                await asyncio.sleep(60 if name in waiting else 0)
            except asyncio.CancelledError:
                ended.append(name)
                raise

        return run

    running = asyncio.create_task(run_abreast([work(name) for name in "abc"], tasks))
    for _ in range(8):
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await turns_until(lambda: not tasks)
    assert sorted(ended) == list(waiting)


# --- tasks in the background ------------------------------------------------------------------------------------------


async def test_a_task_in_the_background_is_kept_until_it_is_done() -> None:
    """Python may throw a task away that waits for something, and what it does would never be done."""
    tasks = TaskSet()
    done: list[str] = []

    async def work() -> None:
        event = asyncio.Event()
        events.append(weakref.ref(event))
        await event.wait()
        done.append("done")

    events: list[weakref.ref[asyncio.Event]] = []
    tasks.spawn(work())
    await asyncio.sleep(0)
    gc.collect()  # nobody else holds the task, or what it waits for
    event = events[0]()
    assert event is not None
    assert len(tasks) == 1
    event.set()
    assert await tasks.wait()
    assert done == ["done"]
    assert not tasks


async def test_a_task_that_was_started_elsewhere_is_kept_too() -> None:
    """A handler that waits in the reader's task would be forgotten at shutdown."""
    tasks = TaskSet()
    task = asyncio.create_task(asyncio.sleep(0, "result"))
    assert tasks.keep(task) is task
    assert await tasks.wait()
    assert task.result() == "result"
    assert not tasks


async def test_a_task_sees_the_context_that_it_is_given() -> None:
    """A handler would see the context variables of another client."""
    tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant")
    tenant.set("here")
    other = contextvars.copy_context()
    other.run(tenant.set, "there")

    async def look() -> str:
        return tenant.get()

    tasks = TaskSet()
    assert await tasks.spawn(look()) == "here"
    assert await tasks.spawn(look(), context=other) == "there"


async def test_all_are_waited_for_whatever_becomes_of_them() -> None:
    """The server would stop before a disconnect handler that another one has started is done, or that has failed."""
    tasks = TaskSet()
    seen: list[str] = []

    async def second() -> None:
        await asyncio.sleep(0)
        seen.append("second")

    async def first() -> None:
        await asyncio.sleep(0)
        tasks.spawn(second())
        raise LookupError

    failing = tasks.spawn(first())
    stopping = tasks.spawn(tasks.wait(60.0))  # not for itself
    assert await tasks.wait(60.0)
    assert stopping.result()
    assert seen == ["second"]
    assert isinstance(failing.exception(), LookupError)


async def test_waiting_ends_in_time() -> None:
    """One handler that hangs would keep the server from stopping."""
    tasks = TaskSet()
    task = tasks.spawn(asyncio.Event().wait())
    assert not await tasks.wait(0.01)
    assert not await tasks.wait(0)
    assert tasks == {task}
    task.cancel()
    assert await tasks.wait()


async def test_all_are_cancelled_but_the_one_that_asks_for_it() -> None:
    """What is cancelled would still run on while what it needs is taken down, or nobody could take it down."""
    tasks = TaskSet()
    seen: list[str] = []

    async def hang(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            seen.append(name)

    async def stop() -> None:
        await tasks.cancel()
        assert sorted(seen) == ["a", "b"]
        seen.append("stopped")

    hanging = [tasks.spawn(hang(name)) for name in "ab"]
    await asyncio.sleep(0)
    await tasks.spawn(stop())
    assert seen[2:] == ["stopped"]
    assert all(task.cancelled() for task in hanging)
    await tasks.cancel()  # nothing is left


async def test_a_coroutine_is_started_at_once() -> None:
    """What is published would come after what was published later."""
    log: list[str] = []
    tasks, gate = TaskSet(), asyncio.Event()

    async def work(name: str, *, waits: bool) -> None:
        log.append(f"{name} begins")
        if waits:
            await gate.wait()
        log.append(f"{name} ends")

    start_now(work("a", waits=False), tasks)
    assert (log, len(tasks)) == (["a begins", "a ends"], 0)
    start_now(work("b", waits=True), tasks)
    assert log[2:] == ["b begins"]
    gate.set()
    assert await tasks.wait(5)
    assert log[3:] == ["b ends"]
