"""Headless Chromium by way of playwright, with the errors of every page collected.

``python -m tests.support.browser`` prints which Chromium the tests use, and fails when there is none.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Final

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, async_playwright

from tests.support.driver import Drivers
from tests.support.server import HOST, free_port

_COMMANDS: Final = (
    "chromium-headless-shell",  # without windows, which take more than half of the CPU of the others
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
)
_MAC: Final = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
_FLAGS: Final = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find_chromium() -> str | None:
    """The path of a Chromium or Chrome that is installed on this machine: ``CHROMIUM`` if set, else a known one."""
    if named := os.environ.get("CHROMIUM"):
        return named
    for command in _COMMANDS:
        if found := shutil.which(command):
            return found
    return next((path for path in _MAC if Path(path).is_file()), None)


async def find_own_chromium() -> str | None:
    """The path of the Chromium that ``playwright install chromium`` put there, if it did."""
    async with async_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).is_file() else None


class Pages:
    """Opens pages, each in a profile of its own, and knows what went wrong in them."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self._expected: list[re.Pattern[str]] = []
        self.errors: list[str] = []
        """Exceptions that nothing caught, and errors on the console, of all pages so far."""

    async def open(self, url: str | None = None, *, width: int = 1200, height: int = 800) -> Page:
        """A new page as of a new user: cookies and storage are not shared with the others."""
        context = await self._browser.new_context(viewport={"width": width, "height": height})
        context.set_default_timeout(10_000)
        self._contexts.append(context)
        page = await context.new_page()
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.errors.append(f"uncaught: {error.message}"))
        if url is not None:
            await page.goto(url)
        return page

    def expect_errors(self, pattern: str) -> None:
        """Let errors pass in which the pattern is found, e.g. "Failed to load resource" while a server is down."""
        self._expected.append(re.compile(pattern))

    def unexpected(self) -> list[str]:
        """The errors that no pattern allows."""
        return [error for error in self.errors if not any(pattern.search(error) for pattern in self._expected)]

    async def close(self) -> None:
        """Close all pages; fail if there were errors that nobody expected."""
        for context in self._contexts:
            await context.close()
        if unexpected := self.unexpected():
            raise AssertionError("errors in the browser:\n" + "\n".join(unexpected))

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(f"console: {message.text} ({message.location.get('url', '')})")


class Chromium:
    """A headless Chromium for many tests, each in an event loop of its own: it is held by a loop in a thread."""

    def __init__(self) -> None:
        self._drivers = Drivers()
        self._port = free_port()
        self._started: Future[None] = Future()
        self._loop = asyncio.new_event_loop()
        self._ending = asyncio.Event()
        self._thread = threading.Thread(target=self._hold, name="chromium", daemon=True)
        self._thread.start()
        self._started.result(30)

    @contextlib.asynccontextmanager
    async def visit(self) -> AsyncIterator[Browser]:
        """The browser, for one test: what it opens is closed with it."""
        async with self._drivers.connect() as playwright:
            browser = await playwright.chromium.connect_over_cdp(f"http://{HOST}:{self._port}")
            try:
                yield browser
            finally:
                await browser.close()

    def close(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join(30)
        self._drivers.close()

    def _hold(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._run())

    async def _run(self) -> None:
        try:
            async with self._drivers.connect() as playwright, _launched(playwright, self._port):
                self._started.set_result(None)
                await self._ending.wait()
        except BaseException as error:
            if self._started.done():
                raise
            self._started.set_exception(error)


@contextlib.asynccontextmanager
async def _launched(playwright: Playwright, port: int) -> AsyncIterator[None]:
    path = find_chromium()
    if path is None and not Path(playwright.chromium.executable_path).is_file():
        raise RuntimeError("Chromium is missing: run `make test` once, it installs it or says what to install")
    # Chromium's sandbox does not work for root, which is what tests in containers run as.
    as_root = os.name == "posix" and os.geteuid() == 0
    flags = [*_FLAGS, f"--remote-debugging-port={port}"]
    browser = await playwright.chromium.launch(
        executable_path=path, headless=True, chromium_sandbox=not as_root, args=flags
    )
    try:
        yield
    finally:
        await browser.close()


@contextlib.asynccontextmanager
async def browser_pages(chromium: Chromium, expected: Sequence[str] = ()) -> AsyncIterator[Pages]:
    """Pages for one test."""
    async with chromium.visit() as browser:
        pages = Pages(browser)
        for pattern in expected:
            pages.expect_errors(pattern)
        yield pages
        await pages.close()


if __name__ == "__main__":
    found = find_chromium() or asyncio.run(find_own_chromium())
    if found is None:
        sys.exit("no Chromium found")
    sys.stdout.write(found + "\n")
