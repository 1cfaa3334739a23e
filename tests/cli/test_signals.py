"""Being told to end: once in good order, the second time at once."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

import pytest

from rtframework.cli import signals as module
from rtframework.cli.signals import on_end, on_hangup
from tests.support.cli import environment

BOTH: Final = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The handlers of the tests' own process come back."""
    before = {number: signal.getsignal(number) for number in BOTH}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", BOTH, ids=lambda each: each.name)
async def test_the_first_signal_is_told_in_the_loop(number: signal.Signals) -> None:
    """A server would be killed with its clients, or nobody be told."""
    told = asyncio.Event()
    on_end(told.set)
    os.kill(os.getpid(), number)
    await asyncio.wait_for(told.wait(), 5)


async def test_one_ending_is_told_once() -> None:
    """A service manager that asks twice would have the server clean up twice."""
    times: list[int] = []
    on_end(lambda: times.append(1))
    for number in (signal.SIGTERM, signal.SIGTERM):
        os.kill(os.getpid(), number)
    for _ in range(3):
        await asyncio.sleep(0)
    assert times == [1]


PROGRAM: Final = """
import asyncio, signal, sys, time
from rtframework.cli.signals import on_end

def say_so(number, frame, handler=None):
    handler(number, frame)
    print("told", flush=True)

async def main():
    if sys.argv[1] == "blocked":
        on_end(lambda: None)
        handler = signal.getsignal(signal.SIGINT)
        signal.signal(signal.SIGINT, lambda number, frame: say_so(number, frame, handler))
        print("ready", flush=True)
        time.sleep(99)
    on_end(lambda: print("told", flush=True))
    print("ready", flush=True)
    await asyncio.sleep(99)

asyncio.run(main())
"""


@pytest.mark.parametrize("loop", ["runs", "blocked"])
def test_a_second_ctrl_c_ends_it_at_once(loop: str) -> None:
    """A program that blocks the loop, or cleans up for ever, could only be killed from another terminal."""
    command = [sys.executable, "-c", PROGRAM, loop]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "told\n"  # two signals that wait at once are one
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == -signal.SIGINT


@pytest.mark.parametrize(
    ("before", "after", "ignores", "expected"),
    [
        (False, False, False, "told"),
        (True, True, False, "told"),
        (True, False, False, "closed"),
        (True, False, True, "told"),
    ],
    ids=["service", "kill -HUP", "terminal closed", "nohup"],
)
async def test_a_hangup(
    before: bool, after: bool, ignores: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server would go on whose terminal was closed, or end though it was told to go on without one."""
    has_terminal = iter([before, after])
    monkeypatch.setattr(module, "_has_terminal", lambda: next(has_terminal))
    found: asyncio.Queue[str] = asyncio.Queue()
    was = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignores else signal.SIG_DFL)
    try:
        on_hangup(lambda: found.put_nowait("told"), lambda: found.put_nowait("closed"))
        os.kill(os.getpid(), signal.SIGHUP)
        assert await asyncio.wait_for(found.get(), 10) == expected
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
        signal.signal(signal.SIGHUP, was)
