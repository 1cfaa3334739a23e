"""Real processes under a supervisor: small programs that serve, die, hang and will not end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rtframework.workers.processes import Command, Processes
from rtframework.workers.supervisor import Supervisor
from tests.support.until import until

PROGRAM = """
import faulthandler, os, signal, sys, time
number, pipe, log = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
faulthandler.enable()

def write(text):
    with open(log, "a") as file:
        file.write(f"{text} {number} {os.getpid()}\\n")

def leave(number, frame):
    write(signal.Signals(number).name)
    if "deaf" not in sys.argv:
        os._exit(0)

signal.signal(signal.SIGTERM, leave)
signal.signal(signal.SIGUSR1, leave)
if "broken" in sys.argv:
    sys.exit(3)
write("serves")
os.write(pipe, b"s")
while True:
    time.sleep(0.02)
    if "silent" not in sys.argv:
        os.write(pipe, b".")
"""


class House:
    """Processes, what they have written and what was said of them."""

    def __init__(self, folder: Path, places: int, *more: str, timeout: float = 30.0, patience: float = 20.0) -> None:
        self.log = folder / "log"
        self.log.touch()
        self.program = folder / "worker.py"
        self.program.write_text(PROGRAM)
        self.more = more
        self.said: list[str] = []
        self.ready = asyncio.Event()
        self.supervisor = Supervisor(places, timeout=timeout, patience=patience, drain=0)
        self.processes = Processes(self.supervisor, self.command, say=self.said.append, on_ready=self.ready.set)
        self.running = asyncio.create_task(self.processes.run())

    def command(self, place: int, pipe: int) -> Command:
        """How a worker is started."""
        line = [sys.executable, "-S", str(self.program), str(place), str(pipe), str(self.log), *self.more]
        return Command(line, ())

    def lines(self, what: str = "serves") -> list[tuple[int, int]]:
        """Place and process of each that has written this."""
        found = [line.split() for line in self.log.read_text().splitlines()]
        return [(int(place), int(pid)) for text, place, pid in found if text == what]


@contextlib.asynccontextmanager
async def running(folder: Path, places: int, *more: str, timeout: float = 30.0) -> AsyncIterator[House]:
    """A supervisor whose workers serve; nothing is left of it."""
    house = House(folder, places, *more, timeout=timeout)
    try:
        async with asyncio.timeout(30):
            await house.ready.wait()
            yield house
    finally:
        house.running.cancel()
        await asyncio.gather(house.running, return_exceptions=True)
    for _, pid in house.lines():
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_all_serve_until_they_are_told(tmp_path: Path) -> None:
    """Cores would be idle, or processes be left behind."""
    async with running(tmp_path, 3) as house:
        assert sorted(place for place, _ in house.lines()) == [0, 1, 2]
        house.processes.end()
        assert await house.running == 0
        assert len(house.lines("SIGTERM")) == 3
        assert house.said == []


async def test_a_killed_worker_has_a_successor(tmp_path: Path) -> None:
    """The memory of one process would run out, and a core be idle from then on."""
    async with running(tmp_path, 2) as house:
        place, pid = house.lines()[1]
        os.kill(pid, signal.SIGKILL)
        await until(lambda: len(house.lines()) == 3)
        assert house.lines()[2][0] == place
        assert house.said == [f"worker {pid} has ended (signal 9): another one is started"]


async def test_workers_are_replaced(tmp_path: Path) -> None:
    """A new version would mean a restart of everything."""
    async with running(tmp_path, 2) as house:
        old = dict(house.lines())
        house.processes.replace()
        await until(lambda: house.said, timeout=20)
        assert house.said == ["all workers were replaced"]
        assert dict(house.lines("SIGUSR1")) == old
        assert [place for place, _ in house.lines()[2:]] == [0, 1]


async def test_a_program_that_cannot_be_started(tmp_path: Path) -> None:
    """The command would go on for ever without a worker."""
    house = House(tmp_path, 2, "broken")
    assert await asyncio.wait_for(house.running, 20) == 3


async def test_a_worker_that_hangs_shows_where(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nobody would know why it was killed."""
    async with running(tmp_path, 1, "silent", timeout=0.2) as house:
        _, pid = house.lines()[0]
        await until(lambda: any("has ended" in line for line in house.said), timeout=20)
        assert house.said[:2] == [
            f"worker {pid} has hung for 0.2 s: it is killed, see where it is",
            f"worker {pid} has ended (signal 6): another one is started",
        ]
        assert "worker.py" in capfd.readouterr().err


async def test_one_that_cannot_be_told_anything_is_killed(tmp_path: Path) -> None:
    """A frozen process would outlive its supervisor."""
    async with running(tmp_path, 1) as house:
        _, pid = house.lines()[0]
        house.supervisor._patience = 0.1
        os.kill(pid, signal.SIGSTOP)
        house.processes.end()
        assert await house.running == 0
        assert house.said == [f"worker {pid} does not end and is killed"]


async def test_a_supervisor_that_stood_still_kills_nobody(tmp_path: Path) -> None:
    """Ctrl-Z and fg, or a machine that was frozen for a moment, would cut off everybody on all workers."""
    async with running(tmp_path, 2) as house:
        pipes = list(house.processes._pipes.values())
        for _, reader in pipes:  # blocks the loop, as a process that is stopped would stand still
            assert select.select([reader], [], [], 20)[0]
        for worker, _ in pipes:
            worker.heard -= 1000
        house.processes._tick()
        assert house.said == []
