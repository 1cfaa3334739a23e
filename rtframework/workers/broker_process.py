"""A broker in a process of its own, for workers that a process manager has started: it ends with the last of them.

``python -m rtframework.workers.broker_process DIRECTORY PID STARTED`` returns when it listens. ``PID`` and ``STARTED``:
the process whose workers it is for.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import importlib
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from ..exceptions import ClusterUnavailable
from .broker import Broker
from .group import Group, join
from .parent import Parent, make_private

log: Final = logging.getLogger("rtframework.workers")

_LOCK: Final = "lock"
_START: Final = 30.0
"""Seconds that a broker may take to start."""
_LOOK: Final = 0.25
"""Seconds between two looks at whether somebody is there."""
_ALONE: Final = 5.0
"""Seconds without a worker after which a broker ends; at once, if their parent has ended."""
_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


async def join_or_start(directory: Path, parent: Parent, *, on_lost: Callable[[], None]) -> Group:
    """Join the group of the workers of a process; the first one starts its broker.

    Raises :class:`~rtframework.ClusterUnavailable`.
    """
    try:
        async with asyncio.timeout(_START):
            while True:
                make_private(directory)
                with contextlib.suppress(ClusterUnavailable):
                    return await join(directory, on_lost=on_lost)
                with _locked(directory) as is_ours:
                    if is_ours:
                        with contextlib.suppress(ClusterUnavailable):
                            return await join(directory, on_lost=on_lost)
                        await _start(directory, parent)
                        return await join(directory, on_lost=on_lost)
                await asyncio.sleep(0.02)  # another worker starts it
    except TimeoutError:
        raise ClusterUnavailable(f"the broker in {directory} has not started within {_START:g} s") from None


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[bool]:
    """Hold the lock of a directory; ``False``: another process does, or has removed it."""
    path = directory / _LOCK
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = os.stat(path).st_ino == os.fstat(fd).st_ino
        except (BlockingIOError, FileNotFoundError):
            is_ours = False
        yield is_ours
    finally:
        os.close(fd)


async def _start(directory: Path, parent: Parent) -> None:
    """Start a broker, and wait until it listens. Raises :class:`~rtframework.ClusterUnavailable`."""
    root = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", __name__, str(directory), str(parent.pid), parent.started),
        env={**os.environ, "PYTHONPATH": paths},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    if await process.wait():
        raise ClusterUnavailable(f"the broker in {directory} has not started: see the lines above")


# --- in its own process -----------------------------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> int:
    """Run a broker in the background. Return 0 when it listens."""
    directory, pid, started = arguments
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        return 0 if os.read(reader, 1) else 1
    os.close(reader)
    logging.basicConfig(format=_FORMAT, level=logging.WARNING)
    try:
        make_loop: Callable[[], asyncio.AbstractEventLoop] | None = importlib.import_module("uvloop").new_event_loop
    except ImportError:
        make_loop = None
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(_serve(Path(directory), Parent(int(pid), started), writer))
    return 0


async def _serve(directory: Path, parent: Parent, ready: int) -> None:
    """Serve the workers of a process until they have gone."""
    broker = Broker(directory)
    await broker.start()
    told = asyncio.Event()
    # A service manager ends all processes at the same time: the broker goes after the workers.
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, told.set)
    os.write(ready, b".")
    os.close(ready)
    alone_since = time.monotonic()
    while True:
        await asyncio.sleep(_LOOK)
        if broker.is_used:
            alone_since = time.monotonic()
        elif told.is_set() or not parent.is_alive or time.monotonic() - alone_since > _ALONE:
            with _locked(directory) as is_ours:  # else a worker is about to come, or nothing is there any more
                if (is_ours or not directory.exists()) and not broker.is_used:
                    await broker.stop()
                    if is_ours:
                        shutil.rmtree(directory, ignore_errors=True)
                    return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
