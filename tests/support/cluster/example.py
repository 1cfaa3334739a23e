"""The example of several servers, as its command starts it."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from tests.support.cli import Running, running
from tests.support.server import HOST, free_port

RUN: Final = Path(__file__).resolve().parents[3] / "examples" / "cluster" / "run.py"


class Example:
    """The command, and what it has printed."""

    def __init__(self, command: Running, port: int) -> None:
        self.command = command
        self.port = port

    @property
    def url(self) -> str:
        """Of the proxy."""
        return f"http://{HOST}:{self.port}"

    def place(self, server: str) -> tuple[str, int]:
        """URL and pid of a server, as they were printed."""
        (found,) = [each for line in self.command.out if (each := re.match(rf"{server} +(http\S+) +pid (\d+)$", line))]
        return found[1], int(found[2])


def free_ports(count: int) -> int:
    """The first of several free ports that follow each other."""
    while True:
        first = free_port()
        if all(_is_free(first + more) for more in range(1, count)):
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


@contextlib.asynccontextmanager
async def running_cluster_example() -> AsyncIterator[Example]:
    """Run the command until the end of the block, on free ports; a server that is killed comes back soon."""
    port = free_ports(4)
    args = ("-u", RUN, "--port", str(port), "--pause", "0.5")
    async with running(*args, command=(sys.executable,), env={"REDIS": ""}) as command:
        try:
            await command.see(r"^proxy ")
            yield Example(command, port)
        finally:
            if command.process.returncode is None:
                await command.end(signal.SIGINT)
