"""Knowing that nothing more will come."""

from __future__ import annotations

import asyncio
import threading
from typing import Literal

import pytest

from rtframework import Server, Socket
from rtframework.testing import Clock, TestServer
from rtframework.testing.idle import is_due, next_timer, own_loop, settle, wait
from tests.support.in_process import BOTH, NOT_ON_UVLOOP, chat

pytestmark = NOT_ON_UVLOOP


Transport = Literal["websocket", "polling"]


@BOTH
@pytest.mark.parametrize("turns", [1, 10, 500])
async def test_nothing_is_not_said_too_early(transport: Transport, turns: int) -> None:
    """A test that asserts that nothing comes would pass because it looked too early."""
    io = chat()
    tasks = []

    @io.on("work")
    async def work(socket: Socket, turns: int) -> None:
        async def later() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)
            await socket.emit("done")

        tasks.append(asyncio.create_task(later()))

    async with TestServer(io) as server:
        alice = await server.connect(transport=transport)
        await alice.emit("work", turns)
        with pytest.raises(AssertionError, match="has received 'done'"):
            await alice.receive_nothing()


async def test_several_may_wait_for_nothing_at_once() -> None:
    """Two clients that wait for the loop to come to rest would wait for each other."""
    async with TestServer(chat()) as server:
        clients = [await server.connect() for _ in range(5)]
        await asyncio.gather(*(client.receive_nothing() for client in clients))
        await asyncio.gather(*(client.emit("message", 1) for client in clients), server.settle())
        for client in clients:
            assert [await client.receive("message") for _ in range(4)] == [1, 1, 1, 1]
        await asyncio.gather(*(client.receive_nothing() for client in clients))


async def test_what_never_rests_is_named() -> None:
    """A handler that spins would hang the test instead of failing it."""
    async with TestServer(chat()) as server:
        alice = await server.connect()

        async def spin() -> None:
            while True:  # noqa: ASYNC110 - it is what this is about
                await asyncio.sleep(0)

        spinning = asyncio.create_task(spin())
        with pytest.raises(AssertionError, match="runs on in the event loop"):
            await alice.receive_nothing()
        with pytest.raises(RuntimeError, match="without ever waiting"):
            await server.settle()
        spinning.cancel()
        await server.settle()


async def test_threads_are_waited_for() -> None:
    """Handlers that use threads, as database drivers do, could not be tested."""
    io = chat()
    gate = threading.Event()

    @io.on("query")
    async def query(socket: Socket) -> str:
        await asyncio.to_thread(gate.wait, 5)
        await socket.emit("row", 1)
        return "done"

    async with TestServer(io, clock=Clock()) as server:
        alice = await server.connect()
        await alice.emit("query")
        await alice.receive_nothing()
        threading.Timer(0.02, gate.set).start()
        assert await alice.receive("row", within=5) == 1
        gate.clear()
        threading.Timer(0.02, gate.set).start()
        assert await alice.emit_with_ack("query", within=5) == "done"
        await alice.receive("row")
        gate.clear()
        await alice.emit("query")
        threading.Timer(0.02, gate.set).start()
        with pytest.raises(AssertionError, match="has received 'row'"):
            await alice.receive_nothing(within=5)


# --- by itself --------------------------------------------------------------------------------------------------------


async def test_everything_that_can_run_has_run() -> None:
    """A test would look before the last of a chain of callbacks."""
    loop = asyncio.get_running_loop()
    log: list[int] = []

    def step(number: int) -> None:
        log.append(number)
        if number < 50:
            loop.call_soon(step, number + 1)

    loop.call_soon(step, 0)
    assert await settle()
    assert log == list(range(51))


async def test_a_timer_that_is_due_has_run_and_others_are_not_waited_for() -> None:
    """A handler that sleeps for an hour would hold a test up; one that sleeps for no time would be missed."""
    log: list[str] = []

    async def sleeper(seconds: float, name: str) -> None:
        await asyncio.sleep(seconds)
        log.append(name)

    now = asyncio.create_task(sleeper(1e-9, "now"))
    later = asyncio.create_task(sleeper(3600, "later"))
    assert await settle()
    assert log == ["now"]
    loop = own_loop()
    when = next_timer(loop)
    assert when is not None
    assert when > loop.time() + 3000
    assert not is_due(loop)
    later.cancel()
    assert await settle()
    assert now.done()


async def test_cancelled_timers_are_no_timers() -> None:
    """A clock would stop at a time at which nothing happens."""
    loop = own_loop()
    timers = [loop.call_later(seconds, lambda: None) for seconds in (100, 200, 300)]
    timers[0].cancel()
    assert next_timer(loop) == timers[1].when()
    timers[2].cancel()
    timers[1].cancel()
    assert next_timer(loop) is None


async def test_what_never_rests_is_told() -> None:
    """The test would hang."""

    async def spin() -> None:
        while True:  # noqa: ASYNC110 - it is what this is about
            await asyncio.sleep(0)

    spinning = asyncio.create_task(spin())
    assert not await settle()
    spinning.cancel()
    assert await settle()


async def test_waiting_for_a_future() -> None:
    """A client would give up too early, or wait for what is there already."""
    loop = asyncio.get_running_loop()
    done, soon, never = loop.create_future(), loop.create_future(), loop.create_future()
    done.set_result(1)
    loop.call_soon(loop.call_soon, soon.set_result, 2)
    assert await wait(done, 0)
    assert await wait(soon, 0), "what is about to happen needs no time"
    assert not await wait(never, 0)
    assert not await wait(never, 0.01)
    assert not never.cancelled()
    never.cancel()
    assert await wait(never, 0)


async def test_the_seconds_are_real() -> None:
    """A simulated clock, which stands still, would have a client wait for ever for what a thread does."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    async with TestServer(Server(), clock=Clock()):
        before = loop.time()
        threading.Timer(0.02, loop.call_soon_threadsafe, (future.set_result, None)).start()
        assert await wait(future, 5)
        assert loop.time() == before
