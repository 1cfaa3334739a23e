"""Starts a peer on a core of its own, drives it from another one, and collects what the load generator reports."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import resource
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from .peers import Peer
from .rows import Options

Report = dict[str, Any]

_START_TIMEOUT: Final = 20.0
_RUN_TIMEOUT: Final = 120


class Failed(Exception):
    """A run that does not count, and why."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Where the two processes run; ``None``: wherever the system likes."""

    server: int | None
    load: int | None

    @classmethod
    def choose(cls) -> Cores:
        """Two of the cores that this process may use, when there are two."""
        usable = sorted(os.sched_getaffinity(0))
        return cls(usable[0], usable[1]) if len(usable) > 1 else cls(None, None)


def raise_file_limit() -> int:
    """Allow as many open files, here and in every child, as the system lets us; how many that are."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


@dataclass(frozen=True, slots=True)
class Server:
    """A peer that runs."""

    pid: int
    port: int
    load: Path
    core: int | None

    def drive(self, scenario: str, options: Options) -> Report:
        """One run of the load generator. Raises ``Failed`` when anything at all goes wrong in it."""
        arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        done = subprocess.run(
            [self.load, scenario, "--port", str(self.port), "--pid", str(self.pid), *arguments],
            capture_output=True,
            text=True,
            timeout=_RUN_TIMEOUT + 10,
            preexec_fn=_pin(self.core),
        )
        if done.returncode != 0:
            raise Failed(f"{scenario}: {done.stderr.strip() or f'the load generator ended with {done.returncode}'}")
        report: Report = json.loads(done.stdout)
        return report


@contextlib.contextmanager
def running(peer: Peer, load: Path, cores: Cores, hear: Callable[[Peer, int], None] | None = None) -> Iterator[Server]:
    """A peer, started for the time of a ``with`` block. Raises ``Failed`` when it does not come up.

    What it logs is not shown: ``hear`` is called at the end with the errors in it, if there are any.
    """
    port = free_port()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            peer.command,
            env={**os.environ, "PORT": str(port), "NODE_ENV": "production"},
            preexec_fn=_pin(cores.server),
            stdin=subprocess.DEVNULL,
            stderr=log,
        )
        try:
            try:
                _wait_until_it_serves(process, port)
            except Failed as failed:
                log.seek(0)
                raise Failed(f"{failed}: {log.read()[-2000:].decode(errors='replace').strip()}") from None
            yield Server(process.pid, port, load, cores.load)
        finally:
            process.kill()
            process.wait()
            log.seek(0)
            errors = count_errors(log.read())
            if errors and hear is not None:
                hear(peer, errors)


def count_errors(log: bytes) -> int:
    """Count the errors in what a server has logged: tracebacks of Python, stacks of Node and Bun."""
    return log.count(b"Traceback (most recent call last)") or len(re.findall(rb"^\w*Error\b", log, re.MULTILINE))


def _pin(core: int | None) -> partial[None] | None:
    return None if core is None else partial(os.sched_setaffinity, 0, {core})


def free_port() -> int:
    """Return a free port of those that no outgoing connection is given meanwhile."""
    chance = random.SystemRandom()
    while True:
        port = chance.randrange(3_000, 12_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _wait_until_it_serves(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Failed("the server ended at once")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise Failed("the server does not listen")
