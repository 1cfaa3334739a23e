"""A broker in a process of its own: started once, and gone with its last worker."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtframework.exceptions import ClusterUnavailable
from rtframework.workers import broker_process
from rtframework.workers.broker_process import join_or_start
from rtframework.workers.parent import Parent, make_private, started_at, this_parent
from tests.support.until import until


@pytest.fixture
def directory() -> Iterator[Path]:
    """A place for a group's directory."""
    with tempfile.TemporaryDirectory(prefix="rtf") as folder:
        yield Path(folder) / "group"


def ignore() -> None:
    """Take the end of a broker as it is."""


def pid_of(directory: Path) -> int | None:
    """The process of the broker, if it is there."""
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if os.fsencode(directory) in each.read_bytes():
                return int(each.parent.name)
        except OSError:
            continue
    return None


async def test_workers_that_come_at_once_have_one_broker(directory: Path) -> None:
    """Some workers would be alone."""
    parent = this_parent()
    groups = await asyncio.gather(*(join_or_start(directory, parent, on_lost=ignore) for _ in range(4)))
    assert sorted(group.slot for group in groups) == [0, 1, 2, 3]
    assert len({group.epoch for group in groups}) == 1
    await asyncio.gather(*(group.leave() for group in groups))
    pid = pid_of(directory)
    assert pid is not None
    os.kill(pid, signal.SIGTERM)  # as a service manager does: it goes with the last worker
    await until(lambda: not directory.exists() and pid_of(directory) is None, timeout=20)


async def test_it_serves_on_until_its_last_worker_has_gone(directory: Path) -> None:
    """A service manager ends all processes at once: workers would fail in what they do at their end."""
    group = await join_or_start(directory, this_parent(), on_lost=ignore)
    pid = pid_of(directory)
    assert pid is not None
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGINT)
    other = await join_or_start(directory, this_parent(), on_lost=ignore)
    assert other.epoch == group.epoch
    await other.leave()
    await group.leave()
    await until(lambda: not directory.exists() and pid_of(directory) is None, timeout=20)


async def test_it_ends_soon_when_its_parent_has_gone(directory: Path) -> None:
    """Each end of a service would leave a process and a folder."""
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=subprocess.PIPE)
    parent = Parent(child.pid, started_at(child.pid) or "")
    group = await join_or_start(directory, parent, on_lost=ignore)
    child.kill()
    await child.wait()
    await group.leave()
    await until(lambda: not directory.exists() and pid_of(directory) is None, timeout=20)


async def test_a_broker_that_was_killed_is_replaced(directory: Path) -> None:
    """Its socket would be left, and no worker could start any more."""
    lost = asyncio.Event()
    group = await join_or_start(directory, this_parent(), on_lost=lost.set)
    pid = pid_of(directory)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(20):
        await lost.wait()
    await group.leave()
    assert (directory / "broker").exists()
    another = await join_or_start(directory, this_parent(), on_lost=ignore)
    assert another.epoch != group.epoch
    await another.leave()
    os.kill(pid_of(directory) or 0, signal.SIGTERM)
    await until(lambda: not directory.exists(), timeout=20)


async def test_it_ends_when_its_directory_was_removed(directory: Path) -> None:
    """Nobody could find it any more, and it would be there until the machine is restarted."""
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=subprocess.PIPE)
    group = await join_or_start(directory, Parent(child.pid, started_at(child.pid) or ""), on_lost=ignore)
    shutil.rmtree(directory)
    child.kill()
    await child.wait()
    await group.leave()
    await until(lambda: pid_of(directory) is None, timeout=20)


async def test_a_worker_waits_for_the_one_that_starts_the_broker(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two brokers would be started, and each have half of the workers."""
    make_private(directory)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        monkeypatch.setattr(broker_process, "_START", 0.2)
        with pytest.raises(ClusterUnavailable, match="has not started within"):
            await join_or_start(directory, this_parent(), on_lost=ignore)
    assert pid_of(directory) is None


async def test_a_broker_that_cannot_start_is_told_of(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker would wait for what never comes."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ClusterUnavailable, match="has not started"):
        await join_or_start(directory, this_parent(), on_lost=ignore)
