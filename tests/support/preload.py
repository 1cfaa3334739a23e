"""Python programs without the wait for their imports: a process that has done them, and forks when one is asked for.

``await start(command, …)`` takes the place of ``asyncio.create_subprocess_exec`` for commands of this Python, and
``ForkedPopen`` that of ``subprocess.Popen``. Where there is no ``fork``, and with ``cold=True``, ``start`` starts an
interpreter. What comes out is the program as that would run it: arguments, environment, folder, streams, signals and
exit code are its own.

Run as a program, ``python -m tests.support.preload SOCKET`` is that process. It ends when its stdin does.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import gc
import importlib
import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any, Final, Protocol

from tests.support.forked_program import become, run

ROOT: Final = Path(__file__).parent.parent.parent
_PRELOADED: Final = (
    *("argparse", "asyncio.base_subprocess", "logging", "traceback", "unittest.mock"),
    *("aiohttp.web", "msgpack", "pydantic", "uvloop", "attrs", "jwt"),
    *("rtframework.server", "rtframework.contracts", "rtframework.cli.client", "rtframework.testing"),
    *("rtframework.cli.main", "rtframework.cli.commands.run", "rtframework_msgpack", "rtframework_jwt"),
    *("redis.asyncio", "rtframework_redis", "rtframework_redis.keeper"),
    *("rtframework.engine.handover", "rtframework.workers.passing"),
    *("tests.support.markdown", "tests.support.tutorials", "tests.support.server"),
    *("tests.support.cluster.command_loop", "tests.support.cluster.driven", "tests.support.cluster.redis_server"),
)
_READY: Final = b"ready\n"
WITHIN: Final = 30.0
"""Seconds within which a fork has to begin, on a machine that does much else."""


class Process(Protocol):
    """What ``start`` gives: as much of ``asyncio.subprocess.Process`` as the tests use."""

    stdout: asyncio.StreamReader | None
    stderr: asyncio.StreamReader | None

    @property
    def pid(self) -> int:
        """Of the program itself."""

    @property
    def returncode(self) -> int | None:
        """``None`` while it runs; negative for a signal."""

    async def wait(self) -> int:
        """The exit code."""

    async def communicate(self, input: bytes | None = None) -> tuple[bytes, bytes]:
        """Everything that it writes, when it has ended."""

    def send_signal(self, signal: int) -> None:
        """Raises ``ProcessLookupError`` when it has ended."""

    def kill(self) -> None:
        """SIGKILL."""


async def start(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    stdin: bytes | None = None,
    merged: bool = False,
    cold: bool = False,
) -> Process:
    """Start ``[sys.executable, …]``; ``stdin`` is what it reads, ``merged`` sends stderr where stdout goes."""
    if cold or not can_fork(command):
        with _file_of(stdin) as file:
            return await asyncio.create_subprocess_exec(
                *command,
                env=env,
                cwd=cwd,
                stdin=file,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT if merged else asyncio.subprocess.PIPE,
            )
    return await Forked.start(_forker(), command[1:], env, cwd, stdin, merged)


def can_fork(command: Sequence[str]) -> bool:
    """Return True for commands of this Python, where there is ``fork``."""
    return command[0] == sys.executable and hasattr(os, "fork") and hasattr(socket, "send_fds")


def _file_of(content: bytes | None) -> Any:
    """A file to read it from: nobody has to write while the program reads."""
    file = tempfile.TemporaryFile()  # noqa: SIM115
    file.write(content or b"")
    file.seek(0)
    return file


class Forked:
    """A program in a fork."""

    def __init__(self, connection: socket.socket, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdout: asyncio.StreamReader | None = None
        self.stderr: asyncio.StreamReader | None = None
        self._pipes: list[asyncio.ReadTransport] = []
        self._ended = asyncio.create_task(self._watch(connection))

    @classmethod
    async def start(
        cls,
        forker: Forker,
        arguments: Sequence[str],
        env: Mapping[str, str],
        cwd: Path | None,
        stdin: bytes | None,
        merged: bool,
    ) -> Forked:
        """Ask for a fork."""
        out, out_of_program = os.pipe()
        err, err_of_program = (None, out_of_program) if merged else os.pipe()
        request = {"arguments": list(arguments), "env": dict(env), "cwd": str(cwd or Path.cwd())}
        try:
            with _file_of(stdin) as file:
                connection, pid = await forker.fork(request, [file.fileno(), out_of_program, err_of_program])
        finally:
            for each in {out_of_program, err_of_program}:
                os.close(each)
        forked = cls(connection, pid)
        forked.stdout = await forked._reader(out)
        if err is not None:
            forked.stderr = await forked._reader(err)
        return forked

    async def wait(self) -> int:
        """The exit code."""
        return await asyncio.shield(self._ended)

    async def communicate(self, input: bytes | None = None) -> tuple[bytes, bytes]:
        """Everything that it writes, when it has ended."""
        assert input is None, "what it reads is given to start()"

        async def read(stream: asyncio.StreamReader | None) -> bytes:
            return await stream.read() if stream else b""

        out, err = await asyncio.gather(read(self.stdout), read(self.stderr))
        await self.wait()
        await self.close()
        return out, err

    async def close(self) -> None:
        """Read nothing more."""
        for pipe in self._pipes:
            pipe.close()
        await asyncio.sleep(0)  # uvloop cannot be closed before it has closed them

    def send_signal(self, signal: int) -> None:
        """Raises ``ProcessLookupError`` when it has ended."""
        if self.returncode is not None:
            raise ProcessLookupError
        os.kill(self.pid, signal)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    async def _reader(self, descriptor: int) -> asyncio.StreamReader:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
        )
        self._pipes.append(transport)
        return reader

    async def _watch(self, connection: socket.socket) -> int:
        with connection:
            self.returncode = int(await _line(connection))
        for pipe in self._pipes:
            # What it has written is there already; what children of its write that it left behind is nobody's.
            asyncio.get_running_loop().call_later(0.5, pipe.close)
        return self.returncode


class ForkedPopen:
    """A program in a fork for callers without an event loop: as much of ``subprocess.Popen`` as the harness uses.

    It has a process group of its own, pipes for standard input and output, and is killed when this process ends.
    """

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str], cwd: Path, stderr: IO[bytes]) -> None:
        self.args = list(command)
        self.returncode: int | None = None
        stdin_of_program, stdin = os.pipe()
        stdout, stdout_of_program = os.pipe()
        self.stdin: IO[bytes] = os.fdopen(stdin, "wb", 0)
        self.stdout: IO[bytes] = os.fdopen(stdout, "rb")
        request = {"arguments": self.args[1:], "env": dict(env), "cwd": str(cwd), "group": True}
        try:
            self._connection = _forker().ask(request, [stdin_of_program, stdout_of_program, stderr.fileno()])
        finally:
            os.close(stdin_of_program)
            os.close(stdout_of_program)
        self._connection.settimeout(WITHIN)
        self._lines = self._connection.makefile("rb", 0)
        self.pid = int(self._lines.readline())

    def poll(self) -> int | None:
        """Return the exit code, or None while the program runs."""
        if self.returncode is None and select.select([self._connection], [], [], 0)[0]:
            # Without a line, the process that forks has ended, and everything that it has started with it.
            self.returncode = int(self._lines.readline() or -signal.SIGKILL)
            self._lines.close()
            self._connection.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code when the program has ended. Raises ``subprocess.TimeoutExpired``."""
        if self.returncode is None:
            select.select([self._connection], [], [], timeout)
        code = self.poll()
        if code is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        return code


async def _line(connection: socket.socket) -> bytes:
    """One line and no more: of a program that has ended already the next one is there, too."""
    loop = asyncio.get_running_loop()
    line = b""
    while not line.endswith(b"\n"):
        more = await loop.sock_recv(connection, 1)
        if not more:
            raise RuntimeError("tests.support.preload has ended")
        line += more
    return line


class Forker:
    """The process that has done the imports, from outside."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="rtf-")
        self._address = os.path.join(self._folder.name, "s")
        path = os.pathsep.join([str(ROOT), str(ROOT / "plugins")])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.preload", self._address],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != _READY:
            raise RuntimeError("tests.support.preload does not start")

    async def fork(self, request: Mapping[str, Any], descriptors: Sequence[int]) -> tuple[socket.socket, int]:
        """A connection that will tell the exit code, and the process id."""
        connection = self.ask(request, descriptors)
        try:
            connection.setblocking(False)
            return connection, int(await _line(connection))
        except BaseException:
            connection.close()
            raise

    def ask(self, request: Mapping[str, Any], descriptors: Sequence[int]) -> socket.socket:
        """A connection on which a line with the process id comes, and at the end one with the exit code."""
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(self._address)
            message = json.dumps(request).encode() + b"\n"
            sent = socket.send_fds(connection, [message], descriptors)
            if sent < len(message):  # even nothing cannot be sent to who has answered and closed already
                connection.sendall(message[sent:])
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=10)
        self._folder.cleanup()


_running: Forker | None = None


def _forker() -> Forker:
    global _running
    if _running is None:
        _running = Forker()
        atexit.register(close)
    return _running


def close() -> None:
    """At the end of all tests."""
    global _running
    if _running is not None:
        _running.close()
        _running = None


# --- inside -----------------------------------------------------------------------------------------------------------


def _serve(address: str) -> tuple[dict[str, Any], list[int]] | None:
    """Fork whenever somebody asks. Returns in the forks, with what is to run; ``None`` when there is nothing more."""
    watched, watching = os.pipe()
    os.set_blocking(watching, False)
    signal.set_wakeup_fd(watching)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(32)
    waiting: dict[int, socket.socket] = {}
    gc.freeze()
    os.write(1, _READY)
    with selectors.DefaultSelector() as selector:
        for each in (listener.fileno(), watched, 0):
            selector.register(each, selectors.EVENT_READ)
        while True:
            ready = {key.fd for key, _ in selector.select()}
            if 0 in ready:
                return None
            if watched in ready:
                os.read(watched, 100)
                for pid, status in _ended():
                    with waiting.pop(pid) as connection, contextlib.suppress(OSError):
                        connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
            if listener.fileno() in ready:
                connection, _ = listener.accept()
                message, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 3)
                while not message.endswith(b"\n"):
                    message += connection.recv(1 << 20)
                asked: dict[str, Any] = json.loads(message)
                pid = os.fork()
                if not pid:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    signal.signal(signal.SIGINT, signal.default_int_handler)
                    for sock in (listener, connection, *waiting.values()):
                        sock.close()
                    os.close(watched)
                    os.close(watching)
                    return asked, descriptors
                if asked.get("group"):
                    os.setpgid(pid, pid)  # both do it: who is told the process id may send a signal to the group
                for descriptor in descriptors:
                    os.close(descriptor)
                waiting[pid] = connection
                connection.sendall(b"%d\n" % pid)


def _ended() -> list[tuple[int, int]]:
    found = []
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            found.append(ended)
    return found


def _main() -> None:
    ours = [str(ROOT), str(ROOT / "plugins")]
    # Last, where an editable install has them.
    installed = [*(each for each in sys.path[1:] if each not in ours), *ours]
    for name in _PRELOADED:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)
    asked = _serve(sys.argv[1])
    if asked is not None:
        run(partial(become, *asked, installed))


if __name__ == "__main__":
    _main()
