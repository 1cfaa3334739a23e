"""The command line as people have it: the real program, as a process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.preload import ROOT, Forked, Process, start

COMMAND: Final = (sys.executable, "-m", "rtframework")
WITHIN: Final = 20.0
"""Seconds for what takes part of one on a quiet machine."""


ABSENT: Final = ROOT / "tests" / "support" / "absent"


def environment(**more: str) -> dict[str, str]:
    """That of this process; a warning is an error there, too.

    A new interpreter does not find what a default install lacks. A fork has it: it was imported before.
    """
    path = os.pathsep.join([str(ABSENT), str(ROOT), str(ROOT / "plugins")])
    return {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "error", **more}


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """Of its output."""
        return self.out.splitlines()

    @property
    def complaint(self) -> str:
        """The only line on stderr."""
        (line,) = self.err.splitlines()
        return line


class Running:
    """A command that runs."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.out: list[str] = []
        self.err: list[str] = []
        self._news = asyncio.Event()
        self._readers = [
            asyncio.create_task(self._read(stream, into))
            for stream, into in ((process.stdout, self.out), (process.stderr, self.err))
        ]

    async def see(self, pattern: str, *, on: str = "out", after: int = 0) -> re.Match[str]:
        """The first line, from the one with that number on, in which the pattern is found."""
        lines = self.out if on == "out" else self.err
        try:
            async with asyncio.timeout(WITHIN):
                while True:
                    self._news.clear()
                    for line in lines[after:]:
                        if found := re.search(pattern, line):
                            return found
                    assert not all(each.done() for each in self._readers), f"it has ended\n{self.printed}"
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"no {pattern!r} on std{on}\n{self.printed}") from None

    @property
    def printed(self) -> str:
        """Everything so far."""
        return "\n".join(["stdout:", *self.out, "stderr:", *self.err])

    async def end(self, how: signal.Signals = signal.SIGINT) -> int:
        """Send a signal; the exit code."""
        self.process.send_signal(how)
        return await self.wait()

    async def wait(self) -> int:
        """The exit code."""
        try:
            async with asyncio.timeout(WITHIN):
                code = await self.process.wait()
                await asyncio.gather(*self._readers)
        except TimeoutError:
            raise AssertionError(f"it does not end\n{self.printed}") from None
        return code

    async def close(self) -> None:
        """Kill it, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        for reader in self._readers:
            reader.cancel()  # a child that was left behind would hold the pipe open
        await asyncio.gather(*self._readers, return_exceptions=True)
        if isinstance(self.process, Forked):
            await self.process.close()

    async def _read(self, stream: asyncio.StreamReader | None, into: list[str]) -> None:
        assert stream is not None
        async for line in stream:
            into.append(line.decode("utf-8", "replace").rstrip("\n"))
            self._news.set()
        self._news.set()


@contextlib.asynccontextmanager
async def running(
    *args: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    command: Sequence[str] = COMMAND,
    cold: bool = False,
) -> AsyncIterator[Running]:
    """``async with running("run", "server:app") as command``: killed at the end, if it has not ended by itself."""
    environ = environment(**env or {})
    if tuple(command) != COMMAND:  # an example may need more than a default install has
        environ["PYTHONPATH"] = environ["PYTHONPATH"].removeprefix(f"{ABSENT}{os.pathsep}")
    process = await start([*command, *map(str, args)], cwd=cwd, env=environ, cold=cold)
    found = Running(process)
    try:
        yield found
    finally:
        await found.close()


async def rtframework(
    *args: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    cold: bool = False,
) -> Done:
    """Run a command to its end; ``cold`` in an interpreter of its own, which takes longer to start."""
    process = await start([*COMMAND, *map(str, args)], cwd=cwd, env=environment(**env or {}), stdin=stdin, cold=cold)
    try:
        async with asyncio.timeout(WITHIN):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise AssertionError(f"rtframework {' '.join(map(str, args))} does not end") from None
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())
