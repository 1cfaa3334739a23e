"""Programs in process groups of their own, which end with the test, or with the test's process if that is killed."""

from __future__ import annotations

import atexit
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final

from tests.support.preload import ForkedPopen, can_fork

_SETPRIV: Final = shutil.which("setpriv")
_RANDOM: Final = random.Random()  # Hypothesis and tests seed the common one
_running: dict[int, subprocess.Popen[bytes] | ForkedPopen] = {}


class MissingProgram(RuntimeError):
    """A program that the harness needs is not installed: tests are skipped, commands end."""


def find_program(name: str) -> str:
    """Return the path of a program. Raises :class:`MissingProgram`."""
    found = shutil.which(name)
    if found is None:
        raise MissingProgram(f"{name} is not installed")
    return found


def lasting_port() -> int:
    """Return a free port that no outgoing connection takes while its server is away: not an ephemeral one."""
    for port in _RANDOM.sample(range(10_000, 32_000), 100):
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no port is free")


def die_with_parent(command: Sequence[str]) -> list[str]:
    """Return a command that is killed when the process that starts it ends, where util-linux is installed."""
    return [_SETPRIV, "--pdeathsig", "KILL", "--", *command] if _SETPRIV else list(command)


class Program:
    """One process with a process group of its own. Its output goes to a file, or standard output to a pipe."""

    def __init__(
        self, name: str, command: Sequence[str], folder: Path, *, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.command = list(command)
        self.folder = folder
        self.log = folder / f"{name}.log"
        self._env = None if env is None else {**os.environ, **env}
        self._process: subprocess.Popen[bytes] | ForkedPopen | None = None

    @property
    def pid(self) -> int:
        """Number of the process. Raises ``RuntimeError`` if none was started."""
        return self._running().pid

    @property
    def alive(self) -> bool:
        """True while the process runs; a frozen one does."""
        return self._process is not None and self._process.poll() is None

    @property
    def stdin(self) -> IO[bytes]:
        """Pipe to the process."""
        pipe = self._running().stdin
        assert pipe is not None
        return pipe

    @property
    def stdout(self) -> IO[bytes]:
        """Pipe from the process."""
        pipe = self._running().stdout
        assert pipe is not None
        return pipe

    def start(self, *, piped: bool = False, cwd: Path | None = None) -> None:
        """Start the process. ``piped``: with pipes to standard input and from standard output."""
        if self.alive:
            raise RuntimeError(f"{self.name} runs already")
        pipe = subprocess.PIPE if piped else None
        folder = cwd or self.folder
        with self.log.open("ab") as log:
            if piped and can_fork(self.command):
                self._process = ForkedPopen(self.command, env=self._env or os.environ, cwd=folder, stderr=log)
            else:
                self._process = subprocess.Popen(
                    die_with_parent(self.command),
                    stdin=pipe or subprocess.DEVNULL,
                    stdout=pipe or log,
                    stderr=log,
                    cwd=folder,
                    env=self._env,
                    process_group=0,
                )
        _running[self._process.pid] = self._process

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and all that it has started; one that has ended gets none."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def wait(self, timeout: float) -> int:
        """Wait for the end and return the exit code. Raises ``subprocess.TimeoutExpired``."""
        process = self._running()
        code = process.wait(timeout)
        _running.pop(process.pid, None)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        return code

    def kill(self) -> None:
        """Send SIGKILL and wait for the end."""
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self.wait(5)

    def freeze(self) -> None:
        """Stop the process (SIGSTOP): its connections stay open and nothing answers."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let the process go on."""
        self.signal(signal.SIGCONT)

    def logged(self, lines: int = 40) -> str:
        """Return the end of the output, for the text of a failure."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.is_file() else ""
        return f"--- {self.name} ({self.log})\n" + "\n".join(text.splitlines()[-lines:])

    def _running(self) -> subprocess.Popen[bytes] | ForkedPopen:
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process


def end_all() -> int:
    """Kill every program that still runs. Return their number."""
    left = [process for process in _running.values() if process.poll() is None]
    for process in left:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    for process in left:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(deadline - time.monotonic(), 0.01))
    _running.clear()
    return len(left)


atexit.register(end_all)
