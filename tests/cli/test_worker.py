"""One of several workers: what it tells its supervisor, and when the others give it connections."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from rtframework import Server
from rtframework.adapters.recovering import instead_of_memory
from rtframework.cli import worker as module
from rtframework.cli.errors import Failure
from rtframework.cli.worker import Worker
from rtframework.workers.adapter import WorkersAdapter
from rtframework.workers.broker import Broker
from rtframework.workers.shared_table import SlotState
from tests.support.until import until


class House:
    """A broker, and a worker that has joined it and writes to a pipe."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        self.worker = Worker(self.writer, broker.directory, 10.0)
        self.lost = asyncio.Event()
        self.has_left = False

    @property
    def said(self) -> bytes:
        """What the worker has written since the last look."""
        with contextlib.suppress(BlockingIOError):
            return os.read(self.reader, 100)
        return b""

    def state(self) -> SlotState:
        """The state of the worker, as the others see it."""
        return self.broker.table.state(0)

    async def leave(self) -> None:
        """Let the worker end."""
        if not self.has_left:
            self.has_left = True
            self.worker.stop()
            await self.worker.leave()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A worker in a group."""
    broker = Broker(tmp_path / "group")
    await broker.start()
    house = House(broker)
    await house.worker.join(house.lost.set)
    try:
        yield house
    finally:
        await house.leave()
        await broker.stop()
        asyncio.get_running_loop().remove_signal_handler(signal.SIGUSR1)
        for each in (house.reader, house.writer):
            with contextlib.suppress(OSError):
                os.close(each)


async def test_it_tells_that_it_serves_and_that_it_is_alive(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker would be taken for one that hangs, and be killed; or one that hangs be left alone."""
    monkeypatch.setattr(module, "_INTERVAL", 0.005)
    told = asyncio.Event()
    assert not os.get_inheritable(house.writer)
    house.worker.serve(told.set)
    assert house.said == b"s."
    await until(lambda: b"." in house.said)
    os.kill(os.getpid(), signal.SIGUSR1)
    async with asyncio.timeout(10):
        await told.wait()
    os.close(house.reader)
    house.worker._write(b".")  # nobody reads: the supervisor has gone


async def test_the_others_give_it_clients_while_it_serves(house: House) -> None:
    """Clients would be passed on to a worker that is not there yet, or has gone."""
    house.worker.connect(web.Application())
    assert house.state() is SlotState.STARTING
    house.worker.serve(lambda: None)
    assert house.state() is SlotState.SERVING
    assert (house.broker.directory / "0").is_socket()
    house.worker.drains()
    assert house.state() is SlotState.DRAINING
    house.worker.stop()
    assert house.state() is SlotState.EMPTY
    assert not (house.broker.directory / "0").exists()


async def test_it_is_told_when_the_supervisor_has_gone_and_leaves_nothing(house: House) -> None:
    """Its clients would get no more of what others emit, and a folder would be left for each crash."""
    house.worker.serve(lambda: None)
    await house.broker.stop()
    async with asyncio.timeout(10):
        await house.lost.wait()
    house.worker.drains()  # the table is no longer there for it
    await house.leave()
    assert not house.broker.directory.exists()


async def test_what_it_cannot_do_without_is_named(house: House) -> None:
    """A full disk would show as something else, and a directory that was removed as forty lines of a traceback."""
    shutil.rmtree(house.broker.directory)
    with pytest.raises(Failure, match=r"the workers need sockets in .*: No such file or directory"):
        house.worker.serve(lambda: None)
    worker = Worker(house.writer, house.broker.directory / "nowhere", 10.0)
    with pytest.raises(Failure, match=r"the broker in .* cannot be reached: "):
        await worker.join(lambda: None)


async def test_a_program_that_names_no_adapter_is_one_with_the_others(house: House) -> None:
    """An emit would reach the clients of one worker alone."""
    assert not isinstance(Server().of("/").adapter, WorkersAdapter)
    token = instead_of_memory.set(None)
    try:
        house.worker.take_default()
        assert isinstance(Server().of("/").adapter, WorkersAdapter)
    finally:
        instead_of_memory.reset(token)
