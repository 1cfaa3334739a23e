"""The example of several servers: one command, a proxy, clients of all servers, and a server that is killed."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
from playwright.async_api import Page, expect

from tests.support.browser import Pages
from tests.support.chat import LAST_POLL, SERVER_DOWN
from tests.support.cli import running
from tests.support.cluster.example import RUN, Example, free_ports, running_cluster_example
from tests.support.cluster.needs import needs
from tests.support.js import JSClient, JSClients
from tests.support.server import HOST
from tests.support.transports import POLLING, UPGRADE, Transport

PYTHON: Final = ("python-1", "python-2")
ALL: Final = (*PYTHON, "node")

pytestmark = needs("redis-server", "node")


@pytest.fixture
async def example() -> AsyncIterator[Example]:
    """The example, as its command starts it."""
    async with running_cluster_example() as found:
        yield found


async def connect_to_each(js: JSClients, example: Example, via: Transport) -> dict[str, JSClient]:
    """A client of each server, by the name of the server: the proxy gives new ones to the servers in turn."""
    found = {}
    for _ in ALL:
        client = await js.connect(example.url, via=via, reconnection=True)
        welcome, *_ = await client.wait_for("welcome")
        found[welcome["name"]] = client
    return found


@pytest.mark.parametrize("via", [POLLING, UPGRADE], ids=str)
async def test_servers_are_one_and_one_may_die(example: Example, js: JSClients, via: Transport) -> None:
    """The example would show several servers that do not hear of each other, or a client that loses what it missed."""
    clients = await connect_to_each(js, example, via)
    assert set(clients) == set(ALL)
    for server, client in clients.items():
        message = {"key": f"message of {server}", "name": "Ada", "text": "Hello"}
        assert await client.emit_with_ack("say", message) == "ok"
        for other in clients.values():
            said, *_ = await other.wait_for("said")  # with an offset after it
            assert said == {**message, "server": server}

    _, pid = example.place("python-1")
    lost, other = clients["python-1"], clients["python-2"]
    before = await lost.state()
    os.kill(pid, signal.SIGKILL)
    missed = {"key": "said meanwhile", "name": "Grace", "text": "Are you there?"}
    assert await other.emit_with_ack("say", missed) == "ok"
    welcome, *_ = await lost.wait_for("welcome")
    after = await lost.state()
    assert welcome["name"] in ALL
    assert welcome["pid"] != pid
    assert after.recovered
    assert after.id == before.id
    said, *_ = await lost.wait_for("said")
    assert said == {**missed, "server": "python-2"}
    await lost.expect_nothing("said")
    back = await example.command.see(r"^python-1 is back, pid (\d+)")
    assert int(back[1]) != pid


async def test_a_server_by_itself(example: Example, js: JSClients) -> None:
    """The address of one server, which the command prints, would not answer."""
    for server in ALL:
        url, pid = example.place(server)
        client = await js.connect(url)
        welcome, *_ = await client.wait_for("welcome")
        assert (welcome["name"], welcome["pid"]) == (server, pid)
        refused = await client.emit_with_ack("say", {"key": "12345678", "name": "Ada", "text": ""})
        assert "message" in refused["error"]


async def test_everything_ends_with_the_command(example: Example) -> None:
    """Servers, a Redis and its folder would be left behind by each look at the example."""
    pids = [example.place(server)[1] for server in ALL]
    redis = await example.command.see(r"^Redis +unix://(\S+)")
    folder = Path(redis[1]).parent
    assert folder.is_dir()
    assert await example.command.end(signal.SIGINT) == 0
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not folder.exists()
    for port in range(example.port, example.port + 4):
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(HOST, port)
    assert not example.command.err


async def test_without_redis_it_says_what_is_missing() -> None:
    """A newcomer would see a traceback."""
    port = free_ports(4)
    args = (RUN, "--port", str(port))
    async with running(*args, command=(sys.executable,), env={"REDIS": "", "PATH": "/nowhere"}) as command:
        await command.see("redis-server is missing: install it, or say where one runs: --redis redis://", on="err")
        assert await command.wait() == 1


async def test_without_node_there_are_two_servers(js: JSClients, tmp_path: Path) -> None:
    """Whoever has no Node would not see the example at all."""
    (tmp_path / "redis-server").symlink_to(shutil.which("redis-server") or "redis-server")
    port = free_ports(4)
    args = ("-u", RUN, "--port", str(port))
    async with running(*args, command=(sys.executable,), env={"REDIS": "", "PATH": str(tmp_path)}) as command:
        await command.see("^No server in Node: there is no node on this machine")
        await command.see("^proxy ")
        names = set()
        for _ in PYTHON:
            client = await js.connect(f"http://{HOST}:{port}", transports=["websocket"])
            welcome, *_ = await client.wait_for("welcome")
            names.add(welcome["name"])
        assert names == set(PYTHON)
        assert await command.end(signal.SIGINT) == 0


async def where(page: Page) -> str:
    """The server that a page says it is on."""
    await expect(page.locator("#status")).to_have_text(re.compile(r"^On \S+ by websocket$"))
    text = await page.locator("#status").inner_text()
    return text.split()[1]


async def test_the_page_moves_to_another_server(example: Example, browser: Pages) -> None:
    """A page would not say where it is, who has spoken from where, or whether something was missed."""
    browser.expect_errors(f"{LAST_POLL}|{SERVER_DOWN}|status of 502")
    pages: dict[str, Page] = {}
    for _ in range(12):  # the proxy gives what a page asks for to the servers in turn
        if set(pages) == set(ALL):
            break
        page = await browser.open(example.url)
        await expect(page.locator("#servers li")).to_have_count(3)
        pages.setdefault(await where(page), page)
    ada, grace = (pages[name] for name in PYTHON)
    await ada.locator("#name").fill("Ada")
    await ada.locator("#text").fill("Hello <b>you</b>")
    await ada.locator("#text").press("Enter")
    for page in pages.values():
        message = page.locator("#log .message").last
        await expect(message).to_have_attribute("data-state", "sent")
        await expect(message).to_have_text("Adafrom python-1Hello <b>you</b>")
    card = ada.locator("#server-python-1")
    await expect(card).to_have_attribute("data-state", "here")
    assert int(await card.get_attribute("data-pid") or 0) == example.place("python-1")[1]
    await expect(card.locator(".kill")).to_have_text(f"kill -9 {example.place('python-1')[1]}")

    os.kill(example.place("python-1")[1], signal.SIGKILL)
    await grace.locator("#text").fill("Are you there?")
    await grace.locator("#text").press("Enter")
    move = ada.locator("#log .move")
    await expect(move).to_have_attribute("data-recovered", "yes", timeout=15_000)
    assert int(await move.get_attribute("data-missed") or 0) >= 1
    assert await where(ada) != "python-1"
    await expect(ada.locator("#log .message")).to_have_count(2)
    for page in (ada, grace):
        for name in ("#missing", "#twice"):
            await expect(page.locator(name)).to_have_text("0")

    # A server in Node that is killed has written no sessions: the page says that, too.
    os.kill(example.place("node")[1], signal.SIGKILL)
    await expect(pages["node"].locator("#log .move")).to_contain_text("Not recovered: a server in Node", timeout=15_000)


async def test_the_page_says_that_redis_has_lost_something(example: Example, browser: Pages) -> None:
    """The page would take what it shows for complete, or stay outside when Redis is back."""
    browser.expect_errors(f"{LAST_POLL}|{SERVER_DOWN}|status of 502")
    page = await browser.open(example.url)
    for _ in range(3):
        if await where(page) != "node":
            break
        await page.reload()
    server = await where(page)
    redis = await example.command.see(r"^Redis .* pid (\d+)")
    os.kill(int(redis[1]), signal.SIGKILL)
    await example.command.see(r"^Redis is back")
    move = page.locator("#log .move").last
    await expect(move).to_have_attribute("data-recovered", "no", timeout=30_000)
    assert server.startswith("python")
    await page.locator("#text").fill("Is everybody back?")
    await page.locator("#text").press("Enter")
    await expect(page.locator("#log .message").last).to_have_attribute("data-state", "sent", timeout=15_000)


async def test_a_server_that_has_gone_is_shown_as_gone(example: Example, browser: Pages) -> None:
    """The page would show a server that was killed as one that runs."""
    browser.expect_errors(f"{LAST_POLL}|{SERVER_DOWN}|status of 502")
    page = await browser.open(example.url)
    await expect(page.locator("#servers li")).to_have_count(3)
    there = "python-1" if await where(page) != "python-1" else "python-2"
    _, pid = example.place(there)
    os.kill(pid, signal.SIGSTOP)
    try:
        await expect(page.locator(f"#server-{there}")).to_have_attribute("data-state", "gone", timeout=15_000)
    finally:
        os.kill(pid, signal.SIGCONT)
    await expect(page.locator(f"#server-{there}")).to_have_attribute("data-state", "there", timeout=15_000)
