"""The example of a connection that lasts: a host that fails, tokens, kicks, tabs."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Final

import pytest
from playwright.async_api import Page, expect

from tests.conftest import ServeProgram
from tests.support.browser import Pages
from tests.support.server import SubprocessServer, free_port

SERVER: Final = Path(__file__).resolve().parents[2] / "examples" / "resilient" / "server.py"
AWAY: Final = "Failed to load resource|WebSocket connection to|blocked by CORS policy"


@pytest.fixture
async def server(serve_program: ServeProgram, browser: Pages) -> SubprocessServer:
    """The example."""
    browser.expect_errors(AWAY)
    return await serve_program(SERVER, args=["--main-port", str(free_port())])


async def enter(page: Page, url: str, place: str = "shared-worker") -> Page:
    """Sign in as Ada, and wait for the connection."""
    await page.goto(url)
    await page.locator("#name").fill("Ada")
    await page.locator("#place").select_option(place)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.locator("#status")).to_have_text("Connected to the main host")
    await expect(page.locator("#people")).to_have_text("Ada")
    return page


@pytest.mark.parametrize("place", ["page", "worker", "shared-worker"])
async def test_the_main_host_fails(server: SubprocessServer, browser: Pages, place: str) -> None:
    """The page would wait for a host that is away, though it says that it has another."""
    page = await enter(await browser.open(), server.url, place)
    os.kill(server.pid, signal.SIGUSR1)
    await expect(page.locator("#status")).to_have_text("Connected to the backup", timeout=20_000)
    await page.get_by_role("button", name="Wave").click()
    await expect(page.locator("#log")).to_contain_text("Ada waves")


async def test_tokens_and_kicks(server: SubprocessServer, browser: Pages) -> None:
    """The buttons would do something else than they say."""
    page = await enter(await browser.open(), server.url)
    log = page.locator("#log")
    await page.get_by_role("button", name="Revoke").click()
    await expect(log).to_contain_text("A new token is fetched: revoked", timeout=20_000)
    await expect(page.locator("#status")).to_have_text("Connected to the main host")
    await page.get_by_role("button", name="I may come back").click()
    await expect(log).to_contain_text("A new token is fetched: kicked", timeout=20_000)
    await expect(page.locator("#status")).to_have_text("Connected to the main host")
    await page.get_by_role("button", name="Throw me out", exact=True).click()
    await expect(page.locator("#status")).to_have_text("Thrown out: You wanted it")
    await page.get_by_role("button", name="Connect", exact=True).click()
    await expect(page.locator("#status")).to_have_text("Connected to the main host")


async def test_two_tabs(server: SubprocessServer, browser: Pages) -> None:
    """One tab would not see what the other does, or stay signed in."""
    first = await enter(await browser.open(), server.url)
    second = await enter(await first.context.new_page(), server.url)
    await first.get_by_role("button", name="Wave").click()
    await expect(second.locator("#log")).to_contain_text("Ada waves")
    await second.get_by_role("button", name="Sign out").click()
    for page in (first, second):
        await expect(page.locator("#status")).to_have_text("Signed out")
