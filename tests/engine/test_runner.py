"""The runner: a handler must not be able to tell that it shares a task, nor a client that it shares a runner."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import itertools
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextvars import Context
from functools import partial
from typing import Any, cast

import pytest

from rtframework.engine.frames import EncodedFrames
from rtframework.engine.outbox import Cork, Outbox
from rtframework.engine.runner import Runner
from rtframework.protocols import Frames
from tests.engine import eventually, roomy, turns_until

Work = Coroutine[Any, Any, None]


class Client:
    """Somebody whose packets are functions that make the work they set off."""

    def __init__(self, runner: Runner, most: int = 1_000, context: Context | None = None) -> None:
        self.runner = runner
        self.inbox: deque[Any] | None = None
        self.blocked = False
        self.context = context
        self.most = most
        self.working = 0
        self.times_emptied = 0

    def send(self, *packets: Callable[[], Work | None]) -> None:
        """Packets come."""
        for packet in packets:
            if self.inbox is None:
                self.inbox = deque((packet,))
                if not self.blocked:
                    self.runner.add(self)
            else:
                self.inbox.append(packet)

    def take(self, packet: Any) -> Work | None:
        return cast("Work | None", packet())

    def emptied(self) -> None:
        self.times_emptied += 1

    def began(self, packet: Any) -> int:
        self.working += 1
        self.blocked = self.working >= self.most
        return 1

    def ended(self, weight: int) -> None:
        self.working -= weight
        if self.blocked:
            self.blocked = False
            if self.inbox is not None:
                self.runner.add(self)


class Stage:
    """A runner that goes on until the end of the test."""

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[Any]] = set()
        self.over = False
        self.runner = Runner(self.tasks, lambda: self.over, roomy(), Cork())

    def client(self, most: int = 1_000, context: Context | None = None) -> Client:
        """One more client."""
        return Client(self.runner, most, context)

    async def run(self, handler: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """What a handler returned, or raised, when it was run."""
        outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        async def work() -> None:
            try:
                outcome.set_result(await handler())
            except BaseException as error:
                outcome.set_exception(error)
                raise

        self.client().send(work)
        async with asyncio.timeout(3):
            return await outcome


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """A runner, and nothing of it left after the test."""
    before = asyncio.all_tasks()
    stage = Stage()
    yield stage
    stage.over = True
    stage.runner.rest()
    me = asyncio.current_task()
    await eventually(lambda: asyncio.all_tasks() - before <= {me})


async def test_handlers_that_do_not_wait_share_one_task_and_one_turn(stage: Stage) -> None:
    """Every event would cost a task, and a turn of the event loop."""
    tasks: list[Any] = []
    turns = 0

    async def handler() -> None:
        tasks.append(asyncio.current_task())

    def turn() -> None:
        nonlocal turns
        turns += 1
        if len(tasks) < 60:
            asyncio.get_running_loop().call_soon(turn)

    one, two = stage.client(), stage.client()
    one.send(*[handler] * 30)
    two.send(*[handler] * 30)
    turn()
    await turns_until(lambda: len(tasks) == 60)
    assert len(set(tasks)) == 1
    assert turns <= 3
    assert (one.times_emptied, two.times_emptied) == (1, 1)
    assert not stage.tasks


async def test_events_start_in_order_and_end_when_they_please(stage: Stage) -> None:
    """The order in which events start would not be the order in which they came."""
    started: list[int] = []
    finished: list[int] = []
    gates = [asyncio.Event() for _ in range(5)]

    def packet(number: int) -> Callable[[], Work]:
        async def handler() -> None:
            started.append(number)
            if number % 2:
                await gates[number].wait()
            finished.append(number)

        return handler

    stage.client().send(*map(packet, range(5)))
    await turns_until(lambda: len(started) == 5)
    assert started == [0, 1, 2, 3, 4]
    assert finished == [0, 2, 4]
    assert len(stage.tasks) == 2
    gates[3].set()
    gates[1].set()
    await turns_until(lambda: len(finished) == 5)
    assert finished == [0, 2, 4, 3, 1]
    await turns_until(lambda: not stage.tasks)


async def test_a_busy_client_does_not_keep_the_others_waiting(stage: Stage) -> None:
    """One client that sends thousands of events at once would be served before everybody else."""
    order: list[str] = []

    def packet(name: str) -> Callable[[], Work]:
        async def handler() -> None:
            order.append(name)

        return handler

    stage.client().send(*[packet("many")] * 5_000)
    stage.client().send(packet("one"))
    await turns_until(lambda: len(order) == 5_001)
    assert order.index("one") < 100


async def test_the_event_loop_has_its_turn_between_many_packets(stage: Stage) -> None:
    """While a flood is served nothing would be read or written for anybody."""
    served = 0
    seen: list[int] = []

    async def handler() -> None:
        nonlocal served
        served += 1

    def look() -> None:
        seen.append(served)
        if served < 2_000:
            asyncio.get_running_loop().call_soon(look)

    stage.client().send(*[handler] * 2_000)
    look()
    await turns_until(lambda: served == 2_000)
    assert max(after - before for before, after in itertools.pairwise(seen)) <= 200


async def test_events_to_many_do_not_hold_up_the_event_loop(stage: Stage) -> None:
    """A burst of broadcasts to thousands would stop everybody for as long as all of them take."""
    now = 0.0
    stage.runner = runner = Runner(stage.tasks, lambda: stage.over, roomy(), Cork(), lambda: now)
    served = 0
    seen: list[int] = []

    async def handler() -> None:
        nonlocal now, served
        runner.begin_broadcast()
        now += 0.003  # of the clock that the runner looks at
        runner.end_broadcast()
        served += 1

    def look() -> None:
        seen.append(served)
        if served < 60:
            asyncio.get_running_loop().call_soon(look)

    stage.client().send(*[handler] * 30)  # of one client, and of many
    for _ in range(30):
        stage.client().send(handler)
    look()
    await turns_until(lambda: served == 60)
    assert max(after - before for before, after in itertools.pairwise(seen)) <= 2


async def test_events_to_many_that_are_seldom_cost_no_turn(stage: Stage) -> None:
    """Each would cost a turn of the event loop, and its acknowledgement come later."""
    now = 0.0
    stage.runner = runner = Runner(stage.tasks, lambda: stage.over, roomy(), Cork(), lambda: now)
    served = 0

    async def handler() -> None:
        nonlocal now, served
        runner.begin_broadcast()
        now += 0.003
        runner.end_broadcast()
        served += 1

    client = stage.client()
    for number in range(3):
        client.send(handler)
        await turns_until(lambda number=number: served > number)  # type: ignore[misc]
        now += 1.0
        assert not runner._yields
    runner.begin_broadcast()  # of a task of the program
    now += 1.0
    runner.end_broadcast()
    assert not runner._yields


async def test_a_blocked_client_waits_and_the_others_do_not(stage: Stage) -> None:
    """Back-pressure on one client would be a stop for all."""
    gate = asyncio.Event()
    heard: list[str] = []

    async def hold() -> None:
        await gate.wait()

    def note(name: str) -> Callable[[], None]:
        return lambda: heard.append(name)

    slow, quick = stage.client(most=2), stage.client()
    slow.send(hold, note("a"), hold, note("b"), note("c"))
    quick.send(note("quick"))
    await turns_until(lambda: slow.blocked and "quick" in heard)
    slow.send(note("d"))
    assert sorted(heard) == ["a", "quick"]
    gate.set()
    await turns_until(lambda: len(heard) == 5)
    assert [name for name in heard if name != "quick"] == ["a", "b", "c", "d"]
    assert slow.inbox is None


async def test_a_failing_handler_is_logged_and_harms_nobody(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """One mistake would stop the server, or leave no trace."""
    heard: list[str] = []

    async def fails() -> None:
        raise LookupError("at once")

    async def fails_later() -> None:
        await asyncio.sleep(0)
        raise LookupError("later")

    def cannot_even_be_taken() -> None:
        raise LookupError("taken")

    stage.client().send(fails, fails_later, cannot_even_be_taken, lambda: heard.append("after"))
    with caplog.at_level(logging.ERROR):
        await turns_until(lambda: heard and not stage.tasks)
    errors = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert sorted(errors) == ["'at once'", "'later'", "'taken'"] or sorted(errors) == ["at once", "later", "taken"]


async def test_a_client_is_served_after_a_handler_that_ends_its_task(stage: Stage) -> None:
    """A client would never be served again after something like ``pytest.fail`` in a handler."""

    class Ending(BaseException):
        """No ``Exception``."""

    said: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: said.append(context.get("exception")))
    heard: list[str] = []

    async def ends() -> None:
        raise Ending

    client = stage.client()
    client.send(ends, lambda: heard.append("behind it"))
    await turns_until(lambda: heard == ["behind it"])
    client.send(ends)
    await turns_until(lambda: client.inbox is None)
    client.send(lambda: heard.append("later"))
    await turns_until(lambda: heard == ["behind it", "later"])
    gc.collect()
    assert [type(each) for each in said] == [Ending, Ending]  # asyncio tells of them, when their tasks go


async def test_futures_tasks_and_values_come_through(stage: Stage) -> None:
    """What a handler awaits would be lost on the way."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[str] = loop.create_future()

    async def later() -> str:
        await asyncio.sleep(0)
        future.set_result("future")
        return "task"

    async def one() -> int:
        await asyncio.sleep(0.001)
        return 1

    async def handler() -> list[Any]:
        return [await loop.create_task(later()), await future, *await asyncio.gather(one(), one())]

    assert await stage.run(handler) == ["task", "future", 1, 1]


async def test_exceptions_thrown_in_are_the_handler_s_to_answer(stage: Stage) -> None:
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

    assert await stage.run(handler) == "caught gone"


async def test_the_current_task_is_the_same_before_and_after_waiting(stage: Stage) -> None:
    """Libraries that ask for the current task (locks, timeouts, tracing) would fail inside handlers."""

    async def handler() -> list[asyncio.Task[Any] | None]:
        before = asyncio.current_task()
        await asyncio.sleep(0)
        return [before, asyncio.current_task()]

    before, after = await stage.run(handler)
    assert before is after is not None


async def test_timeouts_and_task_groups_work_inside(stage: Stage) -> None:
    """A handler with a timeout would hang, or be cancelled for good."""
    done: list[int] = []

    async def part(number: int) -> None:
        await asyncio.sleep(0)
        done.append(number)

    async def handler() -> int:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(60), 0.01)
        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(part(number))
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert await stage.run(handler) == 0
    assert done == [0, 1, 2]


async def test_cancellation_reaches_the_handler_that_waits(stage: Stage) -> None:
    """At shutdown handlers would not be told to clean up."""
    cleaned: list[str] = []

    async def handler() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            cleaned.append("yes")
            raise

    client = stage.client()
    client.send(handler)
    await turns_until(lambda: stage.tasks)
    (task,) = stage.tasks
    task.cancel()
    await turns_until(lambda: not stage.tasks)
    assert cleaned == ["yes"]
    assert client.working == 0


async def test_a_handler_may_refuse_to_be_cancelled(stage: Stage) -> None:
    """A shielded commit would be torn in two."""

    async def handler() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "finished"
        return "slept"

    running = asyncio.create_task(stage.run(handler))
    await turns_until(lambda: stage.tasks)
    (task,) = stage.tasks
    task.cancel()
    assert await running == "finished"


async def test_a_handler_that_cancels_its_task_and_does_not_wait_cancels_nobody_else(stage: Stage) -> None:
    """The next client's handler would be cancelled for it."""
    heard: list[str] = []

    async def cancels() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    async def waits() -> None:
        await asyncio.sleep(0)
        heard.append("done")

    stage.client().send(cancels)
    stage.client().send(waits)
    await turns_until(lambda: heard)


async def test_a_leader_that_is_cancelled_is_replaced(stage: Stage) -> None:
    """Something that cancels every task it finds would leave a server that hears nobody."""
    heard: list[int] = []
    client = stage.client()
    client.send(lambda: heard.append(1))
    await turns_until(lambda: heard == [1])
    leader = stage.runner._leader
    assert leader is not None
    leader.cancel()
    await turns_until(leader.done)
    client.send(lambda: heard.append(2))
    await turns_until(lambda: heard == [1, 2])


NAME: contextvars.ContextVar[str] = contextvars.ContextVar("NAME", default="nobody")


async def test_context_variables_stay_with_the_handler_that_set_them(stage: Stage) -> None:
    """One client's request id, or user, would show up while another client is served."""
    seen: list[str] = []

    async def sets() -> None:
        seen.append(NAME.get())
        NAME.set("somebody")

    async def sets_and_waits() -> None:
        seen.append(NAME.get())
        NAME.set("somebody else")
        await asyncio.sleep(0)
        seen.append(NAME.get())

    client = stage.client()
    client.send(sets, sets, sets_and_waits, sets)
    await turns_until(lambda: len(seen) == 5 and not stage.tasks)
    assert sorted(seen) == ["nobody"] * 4 + ["somebody else"]
    assert client.inbox is None


async def test_a_connection_s_own_context_variables_are_there(stage: Stage) -> None:
    """What a middleware of the application has set for a connection would be lost."""
    context = contextvars.copy_context()
    context.run(NAME.set, "theirs")
    seen: list[str] = []

    async def handler() -> None:
        seen.append(NAME.get())
        NAME.set("changed")

    async def waits() -> None:
        await asyncio.sleep(0)
        seen.append(NAME.get())

    client = stage.client(most=2, context=context)
    client.send(handler, handler, waits, handler)
    stage.client().send(handler)
    await turns_until(lambda: len(seen) == 5 and not stage.tasks)
    assert sorted(seen) == ["nobody", *["theirs"] * 4]
    assert stage.runner.context() is None
    assert context.run(stage.runner.context) is not None


def test_a_leader_that_went_with_its_event_loop() -> None:
    """A server that is served in another event loop would serve nobody there."""
    served: list[str] = []

    async def serve(runner: Runner, name: str) -> None:
        runner.start()
        client = Client(runner)

        async def work() -> None:
            served.append(name)

        client.send(work)
        await turns_until(lambda: name in served)

    runner = Runner(set(), lambda: False, roomy(), Cork())
    abandoned = asyncio.new_event_loop()
    abandoned.run_until_complete(serve(runner, "first"))  # its leader is left waiting
    left = runner._leader
    assert left is not None
    assert not left.done()
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(serve(runner, "second"))
        leader = runner._leader
        left.get_coro().close()  # what the garbage collector does to it, at any time
        assert runner._leader is leader is not None
        loop.run_until_complete(serve(runner, "third"))
        assert served == ["first", "second", "third"]
        leader.cancel()
        loop.run_until_complete(asyncio.wait({leader}))
    finally:
        left._log_destroy_pending = False  # type: ignore[attr-defined]
        for each in (loop, abandoned):
            each.close()


async def test_who_sends_little_does_not_wait_for_a_backlog(stage: Stage) -> None:
    """Everybody would wait for all that the clients who send without end have sent before."""
    served: list[str] = []
    busy = [stage.client() for _ in range(20)]
    for each in busy:
        each.send(*[partial(served.append, "busy")] * 200)
    await turns_until(lambda: len(served) > 20 * 32 + 128)  # all of them have had a turn
    quiet = stage.client()
    quiet.send(partial(served.append, "quiet"))
    before = len(served)
    await turns_until(lambda: "quiet" in served)
    assert served.index("quiet") - before <= 2 * 32, "one of the backlog at most came before it"
    await turns_until(lambda: len(served) == 20 * 200 + 1)


async def test_messages_that_take_long_come_one_in_a_turn(stage: Stage) -> None:
    """Large messages of many clients would be decoded one after another, and everybody else would wait for all."""
    served: list[str] = []
    heavy = [stage.client() for _ in range(5)]

    def large(one: Client) -> None:
        if stage.runner.defers(one):
            assert one.inbox is not None
            one.inbox.appendleft(partial(large, one))
            return
        served.append("large")
        stage.runner.yield_soon()

    for each in heavy:
        each.send(partial(large, each))
    small = stage.client()
    rounds = 0

    def again() -> None:
        nonlocal rounds
        rounds += 1
        served.append("small")
        if rounds < 10:
            asyncio.get_running_loop().call_soon(small.send, again)

    small.send(again)
    await turns_until(lambda: len(served) == 15)
    largest = max(len(list(group)) for kind, group in itertools.groupby(served) if kind == "large")
    assert largest <= 2, served


class Sink:
    """A transport that takes everything."""

    writable = True

    def __init__(self) -> None:
        self.writes: list[list[str]] = []

    def write(self, frames: list[Frames]) -> bool:
        self.writes.append([each.polling for each in frames])
        return True

    def buffered(self) -> int:
        return 0

    def overflow(self) -> None:
        raise AssertionError


async def test_what_handlers_send_leaves_in_the_turn_in_which_they_ran(stage: Stage) -> None:
    """An acknowledgement would wait for one more turn of the event loop, and cost one."""
    sink = Sink()
    outbox = Outbox(stage.runner.cork, sink, 1_000, sink)
    after: list[int] = []
    loop = asyncio.get_running_loop()

    def answer(text: str) -> None:
        outbox.put(EncodedFrames([text]))
        if not after:
            loop.call_soon(lambda: after.append(len(sink.writes)))

    one, other = stage.client(), stage.client()
    one.send(partial(answer, "4a"), partial(answer, "4b"))
    other.send(partial(answer, "4c"))
    await turns_until(lambda: bool(after))
    assert after == [1, 1, 1]
    assert sink.writes == [["4a", "4b", "4c"]]


async def test_what_a_handler_has_sent_before_it_waits_leaves(stage: Stage) -> None:
    """A handler that says that it has begun would be heard when it is done."""
    sink = Sink()
    outbox = Outbox(stage.runner.cork, sink, 1_000, sink)
    goes_on = asyncio.Event()

    async def work() -> None:
        outbox.put(EncodedFrames(["4begun"]))
        await goes_on.wait()
        outbox.put(EncodedFrames(["4done"]))

    stage.client().send(work)
    await turns_until(lambda: sink.writes == [["4begun"]])
    goes_on.set()
    await turns_until(lambda: sink.writes == [["4begun"], ["4done"]])


@pytest.mark.parametrize("ends", ["a variable", "cancelled"])
async def test_what_a_handler_has_sent_leaves_however_it_ends(stage: Stage, ends: str) -> None:
    """The answer of a handler that sets a context variable, or cancels its task, would stay here."""
    sink = Sink()
    outbox = Outbox(stage.runner.cork, sink, 1_000, sink)
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")

    async def work() -> None:
        outbox.put(EncodedFrames(["4a"]))
        if ends == "a variable":
            variable.set(1)
        else:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()

    stage.client().send(work)
    await turns_until(lambda: sink.writes == [["4a"]])
    outbox.put(EncodedFrames(["4b"]))
    await turns_until(lambda: sink.writes == [["4a"], ["4b"]])
