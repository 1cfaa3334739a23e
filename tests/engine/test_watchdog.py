"""A thread that names what blocks the event loop."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import AsyncIterator, Callable
from types import CodeType
from typing import Any

import pytest

from rtframework.engine import watchdog as module
from rtframework.engine.watchdog import _LOOKS, Watchdog
from tests.support.until import until

BLOCK = 0.2
"""Seconds: five times what the watchdog takes for long."""


def compute(seconds: float = BLOCK) -> None:
    """Block the loop, as a library does."""
    time.sleep(seconds)


async def handler(event: asyncio.Event | None = None) -> None:
    """Block the loop, after a while."""
    await asyncio.sleep(0)
    compute()


ROLES: dict[CodeType, str] = {handler.__code__: "handler handler of 'message' (chat/server.py:41)"}


@pytest.fixture
async def watchdog(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watchdog]:
    """A watchdog that knows one handler, and warns after 40 ms, of each block."""
    monkeypatch.setattr(Watchdog, "threshold", 0.04)
    monkeypatch.setattr(Watchdog, "period", 0.0)
    dog = Watchdog()
    dog.describe = ROLES.copy
    dog.start()
    await asyncio.sleep(0)
    yield dog
    dog.stop()


async def test_a_handler_is_named(watchdog: Watchdog, caplog: pytest.LogCaptureFixture) -> None:
    """Everything would stand still for seconds, and nobody would know because of what."""
    await handler()
    await until(lambda: caplog.messages)
    (said,) = caplog.messages
    assert said.startswith("handler handler of 'message' (chat/server.py:41) blocked the event loop for 0.")
    line = compute.__code__.co_firstlineno + 2
    assert said.endswith(f" s at tests/engine/test_watchdog.py:{line}: move the work to asyncio.to_thread")
    assert 0.1 < float(said.partition("for ")[2].partition(" s")[0]) < 2


async def test_code_that_is_no_handler_is_named(watchdog: Watchdog, caplog: pytest.LogCaptureFixture) -> None:
    """A task in the background would stop all clients, and the handlers would be searched in vain."""

    async def report() -> None:
        compute()

    await asyncio.create_task(report())
    await until(lambda: caplog.messages)
    assert "report (tests/engine/test_watchdog.py:" in caplog.messages[0]


async def test_many_short_calls_are_not_blamed(
    watchdog: Watchdog, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy server would be told that one of its quick handlers is slow."""
    watchdog.stop()
    monkeypatch.setattr(Watchdog, "threshold", 0.2)
    watchdog.start()
    await asyncio.sleep(0)

    def quick() -> None:
        time.sleep(0.004)

    loop = asyncio.get_running_loop()
    for _ in range(80):
        loop.call_soon(quick)
    await asyncio.sleep(0)
    await asyncio.sleep(0.05)
    assert caplog.messages == []


def test_the_looks_do_not_miss_three_seconds() -> None:
    """A handler that blocks for the 3 seconds that the docs name would be told of at most times, not always."""
    pause = Watchdog.threshold / _LOOKS
    seen = 3 - 2 * pause  # of a block that begins right after a look, and ends right before one
    assert seen + pause > Watchdog.threshold


async def test_code_that_holds_the_gil(watchdog: Watchdog, caplog: pytest.LogCaptureFixture) -> None:
    """A regular expression that takes seconds for one message would stop the watchdog as well."""

    def add_up() -> int:
        return sum(range(20_000_000))  # one call, in C

    asyncio.get_running_loop().call_soon(add_up)
    await until(lambda: caplog.messages)
    assert "add_up (tests/engine/test_watchdog.py:" in caplog.messages[0]


async def test_what_waits_is_not_blamed(watchdog: Watchdog, caplog: pytest.LogCaptureFixture) -> None:
    """Each handler that asks a database would be told of."""
    await asyncio.sleep(BLOCK)
    assert caplog.messages == []


async def test_once_for_each_function(
    watchdog: Watchdog, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler that blocks with each message would fill the log."""
    watchdog.stop()
    monkeypatch.setattr(Watchdog, "period", 60.0)
    watchdog.start()
    await asyncio.sleep(0)
    for _ in range(3):
        await handler()
        await asyncio.sleep(0)
    await until(lambda: caplog.messages)
    assert len(caplog.messages) == 1


async def test_a_block_that_does_not_end(
    watchdog: Watchdog, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deadlock would never be told, because it never ends."""
    monkeypatch.setattr("rtframework.engine.watchdog._STILL", 0.05)
    await handler()
    await until(lambda: len(caplog.messages) == 2)
    assert "has blocked the event loop for" in caplog.messages[0]
    assert ", and still does" in caplog.messages[0]


async def test_one_thread_for_all_servers_of_a_loop(watchdog: Watchdog, caplog: pytest.LogCaptureFixture) -> None:
    """Each of two servers in one program would tell the same; and threads would be left behind."""
    second = Watchdog()
    second.start()
    assert len(threads()) == 1
    second.stop()
    await handler()
    await until(lambda: caplog.messages)
    assert len(caplog.messages) == 1
    watchdog.stop()
    watchdog.stop()  # as a server does that is shut down twice
    await until(lambda: not threads())


def test_a_loop_that_was_closed_ends_the_thread() -> None:
    """A program that kills its server would keep a thread for each."""
    loop = asyncio.new_event_loop()

    async def start() -> None:
        Watchdog().start()

    loop.run_until_complete(start())
    (thread,) = threads()
    loop.close()
    thread.join(timeout=5)
    assert not thread.is_alive()


async def test_the_last_server_stops_while_the_thread_ends(watchdog: Watchdog, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server would fail as it stops, because its thread ends in the same moment."""
    ended = threading.Event()
    own = threading.get_ident()

    class Threads(dict[Any, Any]):
        """Lets the other thread go first between looking and deleting, if nothing keeps it from that."""

        def get(self, key: Any, default: Any = None) -> Any:
            found = super().get(key, default)
            if threading.get_ident() == own:
                ended.wait(0.2)
            return found

        def __delitem__(self, key: Any) -> None:
            super().__delitem__(key)
            ended.set()

    monkeypatch.setattr(module, "_threads", Threads(module._threads))
    watchdog.stop()
    assert asyncio.get_running_loop() not in module._threads


def test_a_loop_that_does_not_run_is_not_blocked(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that runs the loop now and then would be told that it blocks what does not run."""
    monkeypatch.setattr(Watchdog, "threshold", 0.04)
    loop, dog = asyncio.new_event_loop(), Watchdog()

    async def call(function: Callable[[], Any]) -> None:
        function()
        await asyncio.sleep(0)

    loop.run_until_complete(call(dog.start))
    functools.partial(compute)()
    loop.run_until_complete(call(dog.stop))
    loop.close()
    assert caplog.messages == []


def threads() -> list[threading.Thread]:
    """The watchdogs' threads."""
    return [each for each in threading.enumerate() if each.name == "rtframework-watchdog"]
