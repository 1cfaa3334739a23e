"""Several workers on one port: their supervisor, for the command line."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from ..workers.broker import Broker
from ..workers.parent import temporary
from ..workers.processes import Command, Processes
from ..workers.substitute import Substitute
from ..workers.supervisor import Supervisor
from .addresses import BACKLOG, url_of
from .reloader import Lifeline, describe_files, say, wait_for_change, watch
from .signals import on_end, on_hangup
from .worker import needs_sockets

MOST: Final = 32
"""Workers that there may be: twice as many have a slot while all are replaced."""
DRAIN: Final = 10.0
"""Seconds over which a worker that is replaced sends its clients away, unless ``--drain`` says otherwise."""
_PATIENCE: Final = 8.0
"""Seconds beyond its shutdown timeout after which a worker that has not ended is killed."""


async def supervise(
    name: str,
    arguments: Sequence[str],
    places: Sequence[Sequence[socket.socket]],
    *,
    timeout: float,
    shutdown_timeout: float,
    drain: float,
    drains_at_end: bool,
    folders: Sequence[Path] = (),
) -> int:
    """Run ``rtframework`` with these arguments once for each place, until a signal. Return the exit code.

    ``name``: what is served. ``places``: the sockets of each worker. ``timeout``: seconds after which a worker that
    hangs is killed. ``drain``: seconds that a worker which is replaced sends its clients away; ``drains_at_end``: that
    it does so whenever it ends. ``folders``: replace the workers whenever a Python file in them changes.
    """

    def command(place: int, pipe: int) -> Command:
        socks = [sock.fileno() for sock in places[place]]
        assert lifeline.reader is not None
        line = [sys.executable, "-m", "rtframework", *arguments, "--inherit", ",".join(map(str, socks))]
        line += ["--parent", str(lifeline.reader), "--worker", str(pipe), "--join", str(directory)]
        return Command(line, (*socks, lifeline.reader))

    def ready() -> None:
        urls = dict.fromkeys(url_of(sock) for sock in places[0])
        many = f"{len(places)} worker{'s' * (len(places) != 1)}"
        print(f"Serving {name} on {', '.join(urls)} with {many} (Ctrl-C ends it)", flush=True)

    told = asyncio.Event()
    on_end(told.set)  # from here on: a signal must not leave the directory behind
    patience = shutdown_timeout + _PATIENCE + (drain if drains_at_end else 0)
    supervisor = Supervisor(len(places), timeout=timeout, patience=patience, drain=drain, waits=bool(folders))
    lifeline = Lifeline()
    with needs_sockets(temporary()):
        directory = Path(tempfile.mkdtemp(prefix="rtframework-", dir=temporary()))  # for this user alone
    broker = Broker(directory)
    try:
        with needs_sockets(temporary()):
            await broker.start()
            is_shared = len(places) > 1 and places[0] is places[1]  # one Unix socket: who is there accepts
            substitute = None if is_shared else Substitute(places, directory, broker.table, BACKLOG)

        def changed() -> None:
            if substitute is not None:
                substitute.serve(supervisor.unserved)

        processes = Processes(supervisor, command, say=say, on_ready=ready, on_change=changed)
        try:

            def at_once() -> None:
                processes.kill()
                shutil.rmtree(directory, ignore_errors=True)

            with lifeline:
                return await _run(processes, folders, told, at_once)
        finally:
            if substitute is not None:
                substitute.close()
    finally:
        await broker.stop()
        shutil.rmtree(directory, ignore_errors=True)


async def _run(processes: Processes, folders: Sequence[Path], told: asyncio.Event, at_once: Callable[[], None]) -> int:
    on_end(processes.end, at_once)
    if told.is_set():
        return 0
    on_hangup(processes.replace, processes.end)
    watching = asyncio.create_task(_reload(processes, folders)) if folders else None
    try:
        return await processes.run()
    finally:
        if watching is not None:
            watching.cancel()


async def _reload(processes: Processes, folders: Sequence[Path]) -> None:
    seen = watch(folders)
    while True:
        seen, files = await wait_for_change(seen, folders)
        say(f"{describe_files(files)} changed: starting the workers again, one by one")
        processes.replace()


def count_cores() -> int:
    """Return the number of cores that this process may use, as a number of workers."""
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, MOST)
