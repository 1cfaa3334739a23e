"""Running a program in a child process, which is restarted whenever one of the program's files changes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
import time
from asyncio.subprocess import Process, create_subprocess_exec
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from .errors import Exit
from .file_watcher import Snapshot, difference, take_snapshot
from .signals import on_end

_INTERVAL: Final = 0.25
"""Seconds between two checks of the files, at least."""
_SHARE: Final = 20
"""At most one part in this many of the time is spent on checking."""
_PATIENCE: Final = 3.0
"""Seconds beyond its shutdown timeout after which a child that has not ended is killed."""


async def serve_and_reload(
    arguments: Sequence[str], socks: Sequence[socket.socket], folders: Sequence[Path], *, shutdown_timeout: float
) -> int:
    """Run ``rtframework`` with these arguments as a child, and restart it whenever a file changes, until a signal.

    The sockets stay open during a restart: clients that connect wait, and a port chosen for 0 is kept.
    """
    ending = asyncio.Event()
    on_end(ending.set)
    told = asyncio.create_task(ending.wait())
    seen = watch(folders)
    with Lifeline() as lifeline:
        while True:
            child = await _start(arguments, socks, lifeline)
            ended = asyncio.create_task(child.wait())
            changed = asyncio.create_task(wait_for_change(seen, folders))
            try:
                await asyncio.wait((ended, changed, told), return_when=asyncio.FIRST_COMPLETED)
                if ended.done() and not told.done():
                    if ended.result() == Exit.USAGE:
                        return Exit.USAGE
                    say(f"the program has ended ({_describe(ended.result())}); save a file to try again")
                    await asyncio.wait((changed, told), return_when=asyncio.FIRST_COMPLETED)
                if told.done():
                    return Exit.DONE
                seen, files = changed.result()
                say(f"{describe_files(files)} changed: starting again")
            finally:
                changed.cancel()
                await _end(child, ended, shutdown_timeout + _PATIENCE)


def watch(folders: Sequence[Path]) -> Snapshot:
    """Return what the files of folders are now, and tell how many are watched."""
    seen = take_snapshot(folders)
    say(f"watching {len(seen)} Python file{'s' * (len(seen) != 1)} in {', '.join(map(_relative, folders))}")
    return seen


def inherit(descriptors: str, parent: int | None) -> list[socket.socket]:
    """Return the parent's sockets, in the child, and make this process end when the parent ends in any way."""
    if parent is not None:
        os.set_inheritable(parent, False)
        threading.Thread(target=_follow, args=(parent,), name="rtframework-follow", daemon=True).start()
    socks = [socket.socket(fileno=int(each)) for each in descriptors.split(",") if each]
    for sock in socks:
        sock.set_inheritable(False)
    return socks


class Lifeline:
    """A pipe without data: the children read its end when this process is gone, even if it was killed."""

    def __init__(self) -> None:
        self.reader: int | None = None
        self._writer: int | None = None
        if os.name == "posix":
            self.reader, self._writer = os.pipe()

    def __enter__(self) -> Lifeline:
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self.reader, self._writer):
            if each is not None:
                os.close(each)


def _follow(parent: int) -> None:
    os.read(parent, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(10)
    os._exit(Exit.FAILED)


async def _start(arguments: Sequence[str], socks: Sequence[socket.socket], lifeline: Lifeline) -> Process:
    command = [sys.executable, "-m", "rtframework", *arguments]
    if os.name != "posix":  # descriptors cannot be inherited: the child binds its own sockets
        return await create_subprocess_exec(*command)
    assert lifeline.reader is not None
    descriptors = [sock.fileno() for sock in socks]
    command += ["--inherit", ",".join(map(str, descriptors)), "--parent", str(lifeline.reader)]
    return await create_subprocess_exec(*command, pass_fds=(*descriptors, lifeline.reader))


async def _end(child: Process, ended: asyncio.Task[int], patience: float) -> None:
    if not ended.done():
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
        await asyncio.wait((ended,), timeout=patience)
    if not ended.done():
        say("the program does not end and is killed")
        with contextlib.suppress(ProcessLookupError):
            child.kill()
    await ended


async def wait_for_change(seen: Snapshot, folders: Sequence[Path]) -> tuple[Snapshot, list[str]]:
    """Wait for the next change. Return the new snapshot and the changed files."""
    pause = _INTERVAL
    while True:
        await asyncio.sleep(pause)
        start = time.perf_counter()
        now = take_snapshot(folders)
        pause = max(_INTERVAL, _SHARE * (time.perf_counter() - start))
        if now != seen:
            break
    while True:  # until no more files are written
        await asyncio.sleep(0.05)
        later = take_snapshot(folders)
        if later == now:
            return now, difference(seen, now)
        now = later


def describe_files(files: Sequence[str]) -> str:
    """Name a file, and say how many more there are."""
    names = [_relative(file) for file in files]
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _relative(path: str | Path) -> str:
    try:
        return os.path.relpath(path)
    except ValueError:  # on another drive
        return str(path)


def _describe(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"


def say(text: str) -> None:
    """Tell the people who run the server, on stderr."""
    print(f"rtframework run: {text}", file=sys.stderr, flush=True)
