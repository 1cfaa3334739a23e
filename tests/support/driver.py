"""One driver of Playwright for all pages of a worker: each connection would start its own, for half a second of CPU.

``async_playwright()`` starts the program that ``PLAYWRIGHT_NODEJS_PATH`` names, and talks to it by its standard input
and output. Here that is a shell that passes on what comes, to and from a process that serves many (``drivers.cjs``).
What that takes from Playwright is not promised by it: where it is missing, each connection has a driver of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import playwright
from playwright.async_api import Playwright, async_playwright

_SCRIPT: Final = Path(__file__).parent.parent / "js" / "drivers.cjs"
_DRIVER: Final = Path(playwright.__path__[0]) / "driver"
_NAMED: Final = "PLAYWRIGHT_NODEJS_PATH"
_RELAY: Final = """#!{bash}
set -m
exec 2>/dev/null
exec 3<>/dev/tcp/127.0.0.1/{port}
{{ cat <&3; kill $$; }} &
cat >&3
kill -- -$!
"""
"""Whichever side ends, the other one hears of it."""


class Drivers:
    """The process that serves the connections, and is started again when it has ended."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="rtf-")
        self._process: subprocess.Popen[str] | None = None
        self._can_share = True

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[Playwright]:
        """``async_playwright()``, without a process of its own."""
        manager = async_playwright()
        with self._named():
            playwright = await manager.start()
        try:
            yield playwright
        finally:
            await playwright.stop()

    @property
    def is_shared(self) -> bool:
        """Whether connections share a process, rather than start one each."""
        return self._process is not None and self._process.poll() is None

    def close(self) -> None:
        """End it."""
        self._end()
        self._folder.cleanup()

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Let connections that begin meanwhile share the process, if that is possible."""
        before = os.environ.get(_NAMED)
        if self._can_share and not self.is_shared:
            self._start(before)
        if self.is_shared:
            os.environ[_NAMED] = str(self._relay)
        try:
            yield
        finally:
            if before is None:
                os.environ.pop(_NAMED, None)
            else:
                os.environ[_NAMED] = before

    def _start(self, node: str | None) -> None:
        self._end()
        bash = shutil.which("bash")
        self._process = subprocess.Popen(
            [node or _DRIVER / "node", _SCRIPT, _DRIVER / "package"],
            env={**os.environ, "PW_LANG_NAME": "python"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        port = self._process.stdout.readline().strip()
        if bash is None or not port:  # another Playwright than the one that the script knows
            self._can_share = False
            self._end()
            return
        self._relay.write_text(_RELAY.format(bash=bash, port=port))
        self._relay.chmod(0o700)

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.communicate()

    @property
    def _relay(self) -> Path:
        return Path(self._folder.name) / "relay"
