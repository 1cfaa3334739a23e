"""Two workers on one port, by ``rtframework run --workers``, which many tests share: they are started once."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, Final, TypeVar

from tests.support.cli import Running, running
from tests.support.preload import ROOT

T = TypeVar("T")

TARGET: Final = "tests.support.port_program:make_app()"


_EXPECTED: Final = re.compile(
    "barrier-of-the-tests|no limit on such lines|closing a connection that sent a message of|its address is banned"
)
"""What is logged of the barriers of clients, of those that send too much, and of bans."""


class Port:
    """The port. ``url`` is without a slash at the end."""

    def __init__(self, url: str, command: Running) -> None:
        self.url = url
        self.command = command


class _Loop:
    """An event loop in a thread of its own: those of tests end with each of them."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextlib.contextmanager
def shared_port(count: int = 2) -> Iterator[Port]:
    """Workers that run until the end of all tests. They are to write nothing on stderr."""
    loop = _Loop()
    stack = contextlib.AsyncExitStack()
    try:
        args = ("run", TARGET, "--port", "0", "--workers", str(count))
        command = loop.run(stack.enter_async_context(running(*args, cwd=ROOT)))
        try:
            url = loop.run(command.see(r"on (http://\S+)"))[1]
            yield Port(url, command)
            assert loop.run(command.end()) == 0, command.printed
            wrong = [line for line in command.err if not _EXPECTED.search(line)]
            assert wrong == []
        finally:
            loop.run(stack.aclose())
    finally:
        loop.close()
