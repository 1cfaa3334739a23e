"""The quick start as it is written, and the programs of the tutorials, in a browser."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
from playwright.async_api import Page, Route, expect

from tests.conftest import ServeProgram
from tests.support.browser import Pages
from tests.support.chat import LAST_POLL, SERVER_DOWN
from tests.support.cli import running
from tests.support.cluster.needs import needs
from tests.support.cluster.redis_server import running_redis
from tests.support.markdown import read_page
from tests.support.served_program import url_of
from tests.support.tutorials import title_of

ROOT: Final = Path(__file__).resolve().parents[2]
EXAMPLES: Final = ROOT / "examples"
CLIENT: Final = ROOT / "tests/js/node_modules/socket.io-client/dist"
PYTHONPATH: Final = {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "plugins")))}


# --- the quick start --------------------------------------------------------------------------------------------------


@pytest.fixture
def quick_start(tmp_path: Path) -> Path:
    """A folder with what one has saved at the end of the page."""
    blocks = {"server.py": "", "index.html": "", "test_server.py": "", "pytest.ini": ""}
    above_index, last_in_script = "", ""
    for block in read_page(ROOT / "docs/quick-start.md").blocks:
        title = title_of(block)
        if title in blocks:
            blocks[title] = block.code
        elif title == "server.py, above index":
            above_index += block.code + "\n\n"
        elif title == "index.html, last in the script":
            last_in_script += block.code
    place, end = "async def index(", "</script>\n"
    blocks["server.py"] = blocks["server.py"].replace(place, above_index + place)
    assert blocks["index.html"].endswith(end)
    blocks["index.html"] = blocks["index.html"].removesuffix(end) + last_in_script + end
    blocks["server.py"] = blocks["server.py"].replace("port=8080", 'port=int(__import__("os").environ["PORT"])')
    for name, content in blocks.items():
        assert content, name
        (tmp_path / name).write_text(content, encoding="utf-8")
    return tmp_path


async def from_cdn(route: Route) -> None:
    """Answer for the CDN with the same file."""
    await route.fulfill(path=CLIENT / route.request.url.rpartition("/")[2], content_type="text/javascript")


async def test_the_quick_start(quick_start: Path, serve_program: ServeProgram, browser: Pages) -> None:
    """A newcomer's first five minutes would end with a page that stays empty."""
    browser.expect_errors(LAST_POLL)
    server = await serve_program(quick_start / "server.py", env=PYTHONPATH)
    pages = []
    for _ in range(2):
        page = await browser.open()
        await page.route("https://cdn.socket.io/**", from_cdn)
        await page.goto(server.url)
        await expect(page.locator("#messages li")).to_have_text(["Hello, Ada!"])
        pages.append(page)
    one, other = pages
    await one.locator("#text").fill("Anybody here?")
    await one.locator("#text").press("Enter")
    for page in pages:
        await expect(page.locator("#messages li").last).to_have_text(re.compile(r"^\S{20}: Anybody here\?$"))
    answer = await other.evaluate("socket.emitWithAck('note', { room: 'lobby', text: '' })")
    assert answer["error"]["code"] == "invalid_payload"
    assert answer["error"]["details"][0]["path"] == "$[0].text"
    browser.expect_errors(SERVER_DOWN)


async def test_the_test_of_the_quick_start(quick_start: Path) -> None:
    """The first test that a newcomer writes would fail."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider"),
        cwd=quick_start,
        env={**os.environ, **PYTHONPATH},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 50)
    assert process.returncode == 0, output.decode(errors="replace")
    assert b"1 passed" in output


# --- the chat ---------------------------------------------------------------------------------------------------------


async def sign_in(page: Page, name: str) -> None:
    """Be in the lobby."""
    await page.locator("#name").fill(name)
    await page.locator("#sign-in button").click()
    await expect(page.locator("#people")).to_contain_text(name)


async def say(page: Page, text: str) -> None:
    """Write, and send it."""
    await page.locator("#text").fill(text)
    await page.locator("#text").press("Enter")


async def test_the_first_chat(serve_program: ServeProgram, browser: Pages) -> None:
    """Who has followed the tutorial would talk to nobody, or be shut out after a reload."""
    browser.expect_errors(LAST_POLL)
    browser.expect_errors(SERVER_DOWN)
    server = await serve_program(EXAMPLES / "first_chat/server.py")
    ada, grace = await browser.open(server.url), await browser.open(server.url, width=390)
    await sign_in(ada, "Ada")
    await say(ada, "Anybody <b>here</b>?")
    await expect(ada.locator("#messages li")).to_have_attribute("data-state", "sent")
    await sign_in(grace, "Grace")
    await expect(grace.locator("#messages span")).to_have_text(["Anybody <b>here</b>?"])
    await grace.locator("#text").press_sequentially("Ye")
    await expect(ada.locator("#typing")).to_have_text("Grace is typing …")
    await say(grace, "Yes!")
    await expect(ada.locator("#messages span").last).to_have_text("Yes!")
    await expect(ada.locator("#typing")).to_be_empty()

    await grace.reload()
    await expect(grace.locator("#messages span")).to_have_text(["Anybody <b>here</b>?", "Yes!"])
    await ada.evaluate("window.dispatchEvent(new Event('offline'))")  # the client closes its connection
    await expect(ada.locator("#status")).to_have_text("Reconnecting …")
    await say(ada, "In a tunnel")
    await expect(ada.locator("#status")).to_have_text("Online")
    await expect(ada.locator("#messages li").last).to_have_attribute("data-state", "failed")
    await expect(ada.locator("#people")).to_have_text("Ada, Grace")
    await expect(ada.locator("#messages span")).to_have_text(["Anybody <b>here</b>?", "Yes!", "In a tunnel"])
    await grace.locator("#room").fill("cellar")
    await grace.locator("#room").press("Enter")
    await expect(grace.locator("#messages li")).to_have_count(0)
    await expect(ada.locator("#people")).to_have_text("Ada")
    await grace.locator("#room").fill("no spaces")
    await grace.locator("#room").press("Enter")
    await expect(grace.locator("#status")).to_contain_text("Not in no spaces")
    assert await grace.evaluate("document.documentElement.scrollWidth") <= 390


# --- the support desk -------------------------------------------------------------------------------------------------

DESK: Final = {"DESK_CODE": "tea", "DESK_KEY": "k" * 40, **PYTHONPATH}
DESK_KINDS: Final = ["one process", "workers", pytest.param("servers", marks=needs("redis-server"))]


@pytest.fixture(params=DESK_KINDS)
async def desk(request: pytest.FixtureRequest, serve_program: ServeProgram) -> AsyncIterator[list[str]]:
    """The addresses of a desk: of one process, of two workers, of two servers."""
    program = EXAMPLES / "support_desk/server.py"
    async with contextlib.AsyncExitStack() as stack:
        if request.param == "workers":
            command = ("run", f"{program}:make_app()", "--port", "0", "--workers", "2")
            yield [await url_of(await stack.enter_async_context(running(*command, env=DESK)))] * 2
        elif request.param == "servers":
            redis = await stack.enter_async_context(running_redis())
            yield [(await serve_program(program, env={"REDIS": redis.url, **DESK})).url for _ in range(2)]
        else:
            yield [(await serve_program(program, env=DESK)).url] * 2


async def come_to_the_desk(browser: Pages, url: str, name: str, code: str = "") -> Page:
    """Sign in, in a browser of one's own."""
    page = await browser.open(url)
    await page.locator("#name").fill(name)
    await page.locator("#code").fill(code)
    await page.locator("#sign-in button").click()
    await expect(page.locator("#people")).to_contain_text(name)
    return page


async def test_the_support_desk(desk: list[str], browser: Pages) -> None:
    """Who has followed the second tutorial would say things twice or never, or stay in when thrown out."""
    browser.expect_errors(f"{LAST_POLL}|{SERVER_DOWN}|status of 401 .*/token")
    ada = await come_to_the_desk(browser, desk[0], "Ada", "tea")
    eve = await come_to_the_desk(browser, desk[1], "Eve")
    await expect(ada.locator("#people li")).to_contain_text(["Ada", "Eve"])
    for number in range(35):
        await say(ada, f"Line <b>{number}</b>")
    await expect(eve.locator("#messages span").last).to_have_text("Line <b>34</b>")
    await expect(ada.locator("#messages [data-state]")).to_have_count(0)

    bob = await come_to_the_desk(browser, desk[1], "Bob")
    await expect(bob.locator("#messages li")).to_have_count(30)
    await bob.locator("#older").click()
    lines = [f"Line <b>{number}</b>" for number in range(35)]
    await expect(bob.locator("#messages span")).to_have_text(lines)
    await expect(bob.locator("#older")).to_be_hidden()

    await eve.evaluate("window.dispatchEvent(new Event('offline'))")  # the client closes its connection
    await expect(eve.locator("#status")).to_have_text("Reconnecting …")
    await say(eve, "In a tunnel")
    await say(ada, "Meanwhile")
    await expect(eve.locator("#status")).to_have_text("Online")
    await expect(eve.locator("#messages [data-state]")).to_have_count(0)
    for page in (ada, bob, eve):
        await expect(page.locator("#messages span")).to_have_count(37)
        await expect(page.locator("#messages span", has_text="In a tunnel")).to_have_count(1)
        await expect(page.locator("#people li")).to_have_count(3)

    await expect(eve.locator("#people button")).to_have_count(0)
    ada.once("dialog", lambda dialog: dialog.accept("no spam, please"))
    await ada.get_by_role("button", name="Throw out Eve").click()
    await expect(eve.locator("#reason")).to_have_text("You were thrown out: no spam, please")
    await expect(ada.locator("#people li")).to_have_count(2)
    await eve.reload()
    await expect(eve.locator("#reason")).not_to_be_empty()  # the session is no good any more
    await eve.locator("#name").fill("Eve")
    await eve.locator("#sign-in button").click()
    await expect(eve.locator("#messages span").last).to_be_visible()
    await expect(ada.locator("#people li")).to_have_count(3)


async def test_the_desk_renews_its_tokens(serve_program: ServeProgram, browser: Pages) -> None:
    """People would lose their connection every five minutes."""
    browser.expect_errors(f"{LAST_POLL}|{SERVER_DOWN}|status of 401 .*/token")
    server = await serve_program(EXAMPLES / "support_desk/server.py", env={**DESK, "DESK_LIFE": "6"})
    page = await browser.open(server.url)
    await page.locator("#name").fill("Ada")
    async with page.expect_response("**/token"):  # the first one, to connect
        await page.locator("#sign-in button").click()
    await expect(page.locator("#status")).to_have_text("Online")
    for _ in range(3):  # nine seconds, more than the life of a token
        await page.wait_for_event("response", lambda response: response.url.endswith("/token"))
    await expect(page.locator("#status")).to_have_text("Online")
    await say(page, "Still here")
    await expect(page.locator("#messages [data-state]")).to_have_count(0)


# --- the dashboard ----------------------------------------------------------------------------------------------------


async def test_the_dashboard(serve_program: ServeProgram, browser: Pages) -> None:
    """Charts would stand still, pictures stay away, or one window not see what another has set."""
    browser.expect_errors(LAST_POLL)
    server = await serve_program(EXAMPLES / "dashboard/server.py")
    ada = await browser.open(server.url)
    grace = await browser.open(server.url, width=390)
    await expect(ada.locator("#watching")).to_have_text("2 watch")
    for page in (ada, grace):
        await expect(page.locator("#status")).to_have_text("Live")
        image = page.locator("#camera img")
        await expect(image).to_have_js_property("naturalWidth", 64)
        first = await image.get_attribute("src")
        assert first
        await expect(image).not_to_have_attribute("src", first)  # another one has been pushed
        await expect(image).to_have_js_property("naturalWidth", 64)
        await expect(page.locator("#temperature .line")).to_have_attribute("d", re.compile("^M.+L.+"))
        await expect(page.locator("#humidity output")).to_have_text(re.compile(r"^\d\d\.\d$"))
    await ada.locator("#heater").check()
    await expect(grace.locator("#heater")).to_be_checked()
    await grace.locator("#target").fill("30")
    await expect(ada.locator("#target-value")).to_have_text("30")
    await expect(ada.locator("#problem")).to_be_empty()
    assert await grace.evaluate("document.documentElement.scrollWidth") <= 390


@needs("redis-server")
async def test_the_dashboard_of_several_servers(serve_program: ServeProgram, browser: Pages) -> None:
    """Nobody would see that one of the servers has lost the others, or a heater be off on one and on on another."""
    browser.expect_errors(f"{LAST_POLL}|{SERVER_DOWN}")
    async with running_redis() as redis:
        env = {"REDIS": redis.url, **PYTHONPATH}
        one, two = [await serve_program(EXAMPLES / "dashboard/server.py", env=env) for _ in range(2)]
        ada, grace = await browser.open(one.url), await browser.open(two.url)
        for page in (ada, grace):
            await expect(page.locator("#servers li")).to_have_count(2)
            await expect(page.locator("#servers li").first).to_contain_text("(this one), 1 client")
            await expect(page.locator("#cluster")).to_have_text("All reach each other")
            await expect(page.locator("#watching")).to_have_text("Only you watch")
        await ada.locator("#heater").check()
        await expect(grace.locator("#heater")).to_be_checked()
        redis.kill()
        await expect(grace.locator("#cluster")).to_have_text("The others cannot be reached")
        await redis.start()
        await expect(grace.locator("#cluster")).to_have_text("All reach each other, messages were lost once")
        await two.stop()
        await expect(ada.locator("#servers li")).to_have_count(1)


# --- drawing ----------------------------------------------------------------------------------------------------------


async def draw(page: Page, *points: tuple[float, float], finish: bool = True) -> None:
    """A line with the mouse, on a board of 1600 by 1600."""
    box = await page.locator("#canvas").bounding_box()
    assert box
    for at, (x, y) in enumerate(points):
        await page.mouse.move(box["x"] + x / 1600 * box["width"], box["y"] + y / 1600 * box["height"])
        if not at:
            await page.mouse.down()
    if finish:
        await page.mouse.up()


async def see(page: Page, x: float, y: float, *, ink: bool = True) -> None:
    """Wait until there is ink at a place, or none."""
    await page.wait_for_function(
        """([x, y, ink]) => {
            const canvas = document.getElementById("canvas");
            const at = [(x / 1600) * canvas.width, (y / 1600) * canvas.height].map(Math.round);
            return (canvas.getContext("2d").getImageData(...at, 1, 1).data[3] > 0) === ink;
        }""",
        arg=[x, y, ink],
    )


@pytest.fixture
async def artists(serve_program: ServeProgram, browser: Pages) -> tuple[Page, Page]:
    """Two windows at the same board, one of them a phone's."""
    browser.expect_errors(LAST_POLL)
    server = await serve_program(EXAMPLES / "drawing/server.py")
    ada, grace = await browser.open(server.url), await browser.open(server.url, width=390)
    for page, name in ((ada, "Ada"), (grace, "Grace")):
        await page.locator("#name").fill(name)
        await page.locator("#name").press("Enter")
        await expect(page.locator("#status")).to_have_text("Online")
    await expect(grace.locator("#people")).to_have_text("Ada, Grace")
    return ada, grace


async def test_drawing_together(artists: tuple[Page, Page], browser: Pages) -> None:
    """Strokes would arrive late, in another place or not at all, and undo take away what somebody else has drawn."""
    ada, grace = artists
    await draw(ada, (200, 200), (400, 200), (600, 200), finish=False)
    async with asyncio.TaskGroup() as tasks:  # while it is being drawn
        seen = tasks.create_task(see(grace, 300, 200))
        while not seen.done():  # volatile: one may be dropped, but not all
            await ada.mouse.move(600, 300)
            await ada.mouse.move(605, 300)
    await expect(grace.locator("#cursors div")).to_have_text("Ada")
    await ada.mouse.up()
    await draw(grace, (200, 600), (400, 600), (600, 600))
    await see(ada, 400, 600)

    await draw(ada, (1400, 900))  # a dot
    await see(grace, 1400, 900)

    late = await browser.open(ada.url)
    await see(late, 300, 200)
    await see(late, 400, 600)

    await grace.locator("#undo").click()
    await see(ada, 400, 600, ink=False)
    await see(ada, 300, 200)
    await grace.locator("#undo").click()  # nothing of hers is left
    await draw(grace, (200, 1000), (400, 1000))
    await see(ada, 300, 1000)
    await see(ada, 300, 200)

    await ada.locator("#canvas").focus()  # in the middle, by keys
    for key in ("Space", "Shift+ArrowRight", "Shift+ArrowRight", "Space"):
        await ada.keyboard.press(key)
    await see(grace, 850, 800)
    await ada.locator("#clear").click()
    for x, y in ((300, 200), (850, 800), (300, 1000)):
        await see(grace, x, y, ink=False)
    assert await grace.evaluate("document.documentElement.scrollWidth") <= 390


async def test_drawing_in_a_tunnel(artists: tuple[Page, Page], browser: Pages) -> None:
    """What one draws without a connection would be lost, and what others draw meanwhile never be seen."""
    ada, grace = artists
    browser.expect_errors(SERVER_DOWN)
    await draw(grace, (100, 100), (300, 100))
    await see(ada, 200, 100)
    await grace.evaluate("window.dispatchEvent(new Event('offline'))")  # the client closes its connection
    await expect(grace.locator("#status")).to_contain_text("Reconnecting")
    await draw(grace, (100, 300), (300, 300))
    await draw(ada, (100, 500), (300, 500))
    await see(ada, 200, 300)
    await see(grace, 200, 500)
    await see(grace, 200, 300)
    await expect(grace.locator("#status")).to_have_text("Online")
