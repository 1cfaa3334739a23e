"""What a worker tells its supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

import pytest

from rtframework.cli import worker as module
from rtframework.cli.worker import Worker
from tests.support.until import until


async def test_it_tells_that_it_serves_and_that_it_is_alive() -> None:
    """A worker would be taken for one that hangs, and be killed; or one that hangs be left alone."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    told = asyncio.Event()
    try:
        worker = Worker(writer, 10.0)
        assert not os.get_inheritable(writer)
        worker.serve(told.set)
        assert os.read(reader, 10) == b"s."
        os.kill(os.getpid(), signal.SIGUSR1)
        async with asyncio.timeout(10):
            await told.wait()
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGUSR1)
        os.close(reader)
    worker._write(b".")  # nobody reads: the supervisor has gone
    os.close(writer)


async def test_it_tells_so_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be killed after half a minute."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    monkeypatch.setattr(module, "_INTERVAL", 0.005)
    try:
        Worker(writer, 10.0).serve(lambda: None)
        said = b""

        def is_alive() -> bool:
            nonlocal said
            with contextlib.suppress(BlockingIOError):
                said += os.read(reader, 10)
            return said.count(b".") > 3

        await until(is_alive)
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGUSR1)
        os.close(reader)
        os.close(writer)
