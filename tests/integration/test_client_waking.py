"""The package for JavaScript clients: dead connections are noticed when the machine wakes up, and in the background."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Final

import pytest

from tests.conftest import Serve
from tests.support.browser import Pages
from tests.support.client_page import ClientPage, client_page, open_server
from tests.support.proxy import Proxy, running_proxy

NEVER: Final = 10_000_000
"""Milliseconds after which no test still runs."""

CLOCK: Final = """
const now = Date.now.bind(Date);
window.slept = 0;
Date.now = () => now() + window.slept;
"""
"""A clock that jumps as while a machine sleeps."""

BACKGROUND: Final = """
const after = window.setTimeout.bind(window);
window.setTimeout = (run, ms, ...args) => after(run, ms > 0 ? 10_000_000 : 0, ...args);
"""
"""Timers of a page in the background, which a browser lets hardly run."""


@contextlib.asynccontextmanager
async def through_a_proxy(
    serve: Serve, client: ClientPage, *, interval: float = 25.0, timeout: float = 20.0, options: str = ""
) -> AsyncIterator[Proxy]:
    """Connect by websocket through a proxy that may let the connection starve."""
    server = await serve(open_server(ping_interval=interval, ping_timeout=timeout))
    async with running_proxy(server.url) as proxy:
        waits = {"retry": {"min": NEVER, "max": NEVER}, "recheck": NEVER}
        await client.start({"hosts": proxy.url, "transports": ["websocket"], **waits}, options)
        await client.connected()
        yield proxy


@pytest.fixture
async def client(serve: Serve, browser: Pages) -> ClientPage:
    """The page, with a clock that the test moves."""
    client = ClientPage(await browser.open())
    await client.page.add_init_script(CLOCK)
    await client.load((await serve(client_page())).url)
    return client


async def test_after_an_hour_of_sleep(serve: Serve, client: ClientPage) -> None:
    """Somebody opens the laptop and reads a page that says nothing for 45 seconds."""
    async with through_a_proxy(serve, client) as proxy:
        proxy.strand()
        await client.run("window.slept = 3_600_000")
        await client.until("heard.length === 3")
        assert await client.run("heard") == [["connect"], ["disconnect", "transport close"], ["connect"]]


@pytest.mark.parametrize("event", ["visibilitychange", "resume"])
async def test_a_page_that_is_looked_at_again(serve: Serve, client: ClientPage, event: str) -> None:
    """The connection died while the tab was in the background, and the user waits for the ping timeout."""
    async with through_a_proxy(serve, client, interval=0.2, timeout=600) as proxy:
        proxy.strand()
        await client.run(f"void document.dispatchEvent(new Event('{event}'))")
        await client.until("heard.length === 3")
        assert await client.run("heard") == [["connect"], ["disconnect", "transport close"], ["connect"]]


async def test_a_page_from_the_browsers_cache(serve: Serve, client: ClientPage) -> None:
    """After the back button a page would be as dead as it was when it was left."""
    async with through_a_proxy(serve, client) as proxy:
        proxy.strand()
        await client.run("void dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
        await client.until("heard.length === 3")


async def test_a_connection_that_is_alive_stays(serve: Serve, client: ClientPage) -> None:
    """Each look at a tab would cost a reconnection, and what was to be answered at that moment."""
    async with through_a_proxy(serve, client, interval=0.2):
        await client.run("void document.dispatchEvent(new Event('visibilitychange'))")
        # When a dead one would have been cut.
        await client.run("new Promise((resolve) => setTimeout(resolve, 2_500))")
        assert await client.run("[heard, state()]") == [[["connect"]], "connected"]


async def test_waking_up_while_waiting(serve: Serve, client: ClientPage, browser: Pages) -> None:
    """A user would look at a page that waits for the end of its back-off, which has grown to seconds or minutes."""
    browser.expect_errors("Failed to load resource|WebSocket connection to")
    async with through_a_proxy(serve, client) as proxy:
        await proxy.stop()
        await client.until("state() === 'waiting'")
        await proxy.start()
        await client.run("void document.dispatchEvent(new Event('visibilitychange'))")
        await client.connected()


async def test_waking_up_in_the_middle_of_an_attempt(serve: Serve, client: ClientPage) -> None:
    """An attempt that began before the machine slept hangs until its timeout, 20 seconds later."""
    async with through_a_proxy(serve, client) as proxy:
        proxy.freeze()
        await client.run("connection.reconnect()")
        await client.until("state() === 'connecting'")
        proxy.strand()
        proxy.thaw()
        await client.run("window.slept = 60_000")
        await client.connected()


async def test_a_page_in_the_background_notices_that_the_server_is_gone(serve: Serve, browser: Pages) -> None:
    """A page in the background would believe for a minute, or for as long as it is hidden, that it is connected."""
    client = ClientPage(await browser.open())
    await client.page.add_init_script(BACKGROUND)
    await client.load((await serve(client_page())).url)
    async with through_a_proxy(serve, client, interval=0.2, timeout=0.3) as proxy:
        proxy.strand()
        await client.until("heard.length === 3", timeout=30)
        assert await client.run("heard") == [["connect"], ["disconnect", "transport close"], ["connect"]]


async def test_without_a_worker_for_its_timers_a_page_uses_its_own(serve: Serve, browser: Pages) -> None:
    """A policy of the page that forbids workers would leave a client without any timer: it never comes back."""
    browser.expect_errors("Failed to load resource|WebSocket connection to")
    client = ClientPage(await browser.open())
    await client.page.route("**/timer-worker.js", lambda route: route.abort())
    await client.load((await serve(client_page())).url)
    server = await serve(open_server())
    async with running_proxy(server.url) as proxy:
        await client.start({"hosts": proxy.url, "retry": {"min": 20, "max": 40}})
        await client.connected()
        await proxy.cut()
        await client.until("heard.length === 3")
