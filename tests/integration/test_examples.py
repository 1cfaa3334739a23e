"""The two small examples in a browser: an application that is made live, and pictures by msgpack."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
from aiohttp import ClientSession
from playwright.async_api import FilePayload, Locator, Page, expect

from tests.conftest import ServeProgram
from tests.support.browser import Pages
from tests.support.chat import LAST_POLL, RECONNECTED_WITHIN, REFUSED_UPGRADE, SERVER_DOWN
from tests.support.proxy import Proxy, running_proxy
from tests.support.transports import POLLING, WEBSOCKET, Transport
from tests.support.until import until

EXAMPLES: Final = Path(__file__).resolve().parents[2] / "examples"
NOT_SIGNED_IN = r"Failed to load resource.* 401 .*/api/orders"


async def sign_in(page: Page, name: str) -> None:
    """Be signed in at the café, with the page live."""
    field = page.get_by_test_id("sign-in-name")
    await field.fill(name)
    await field.press("Enter")
    await expect(page.get_by_test_id("status")).to_have_text("Live by websocket")


async def order(page: Page, item: str) -> None:
    """Order something by the form."""
    field = page.get_by_test_id("order-item")
    await field.fill(item)
    await field.press("Enter")


def orders(page: Page) -> Locator:
    """All orders on a page, the newest first."""
    return page.get_by_test_id("orders").locator("li")


async def test_an_application_that_was_there_is_made_live(serve_program: ServeProgram, browser: Pages) -> None:
    """What one page changes by REST would be seen on the others after a reload only, or still after signing out."""
    browser.expect_errors(LAST_POLL)
    browser.expect_errors(NOT_SIGNED_IN)  # a page asks whether there is a session, and there is none at first
    server = await serve_program(EXAMPLES / "existing_app" / "server.py")
    ada, grace = await browser.open(), await browser.open(server.url)
    asked: list[str] = []
    closed: list[str] = []
    ada.on("request", lambda request: asked.append(request.url))
    ada.on("websocket", lambda websocket: websocket.on("close", lambda closing: closed.append(closing.url)))
    await ada.clock.install()
    await ada.goto(server.url)
    await sign_in(ada, "Ada")
    await order(ada, "Flat <b>white")
    await sign_in(grace, "Grace")
    await expect(orders(grace)).to_have_text([re.compile(r"Flat <b>white\s*Ada · ordered")])  # one from before
    await order(ada, "Espresso")
    answer = await ada.request.post(f"{server.url}/api/orders", data={"item": "Chai"})
    assert answer.status == 201
    items = [re.compile("Chai.*ordered"), re.compile("Espresso.*ordered"), re.compile("Flat <b>white.*ordered")]
    for page in (ada, grace):
        await expect(orders(page)).to_have_text(items)

    chai = orders(grace).first
    await chai.get_by_test_id("start").click()
    await expect(orders(ada).first).to_have_attribute("data-state", "making")
    await chai.get_by_test_id("done").click()
    await expect(orders(ada).first).to_have_attribute("data-state", "ready")
    await chai.get_by_test_id("call").click()
    for page in (ada, grace):
        await expect(page.get_by_test_id("called")).to_have_text("Grace calls: Chai for Ada!")

    await ada.get_by_test_id("sign-out").click()
    await expect(ada.get_by_test_id("sign-in-name")).to_be_visible()
    await expect(ada.get_by_test_id("order")).to_be_hidden()
    await until(lambda: closed)
    asked.clear()
    await order(grace, "Cocoa")
    await expect(orders(grace)).to_have_count(4)
    await expect(orders(ada)).to_have_count(3)
    await ada.clock.fast_forward(2000)
    assert not asked  # the page does not knock at the door again
    await ada.reload()
    await expect(ada.get_by_test_id("sign-in-name")).to_be_visible()
    assert (await ada.request.get(f"{server.url}/api/orders")).status == 401

    # Grace signs out elsewhere, with the same cookie: the server closes the socket, and there is no way back.
    assert (await grace.request.post(f"{server.url}/api/sign-out", data={})).ok
    await expect(grace.get_by_test_id("sign-in-name")).to_be_visible()


# --- pictures ---------------------------------------------------------------------------------------------------------

WIDTH, HEIGHT = 3, 2


def png() -> bytes:
    """A red picture of three pixels by two."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    rows = (b"\x00" + b"\xff\x00\x00" * WIDTH) * HEIGHT
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.fixture(params=(WEBSOCKET, POLLING), ids=str)
async def pictures(request: pytest.FixtureRequest, serve_program: ServeProgram) -> AsyncIterator[tuple[Proxy, str]]:
    """The pictures' server behind a proxy, and the transport that pages end up with: it refuses websockets, or not."""
    transport: Transport = request.param
    server = await serve_program(EXAMPLES / "pictures" / "server.py")
    refuse = 403 if transport is POLLING else None
    async with running_proxy(server.url, refuse_upgrades=refuse) as proxy:
        yield proxy, transport.final


async def open_room(browser: Pages, pictures: tuple[Proxy, str], room: str, name: str) -> Page:
    """A page that is in a room."""
    proxy, transport = pictures
    page = await browser.open(f"{proxy.url}/#{room}")
    await page.get_by_test_id("name").fill(name)
    await expect(page.get_by_test_id("status")).to_have_text(f"Online by {transport}")
    await expect(page.get_by_text("Up to 2.0 MiB.")).to_be_visible()
    return page


def wall(page: Page) -> Locator:
    """The pictures on a page, the newest first."""
    return page.get_by_test_id("wall").get_by_role("listitem")


async def see(picture: Locator) -> None:
    """The picture has really been decoded, not only announced."""
    await expect(picture).to_have_attribute("data-state", "shown")
    await expect(picture).to_have_attribute("data-type", "image/png")
    await expect(picture.get_by_role("img")).to_have_js_property("naturalWidth", WIDTH)


async def choose(page: Page, name: str, data: bytes) -> None:
    """Choose a file in the page's file field."""
    await page.get_by_test_id("file").set_input_files(FilePayload(name=name, mimeType="image/png", buffer=data))


async def test_a_picture_is_seen_by_everybody_in_the_room(pictures: tuple[Proxy, str], browser: Pages) -> None:
    """Bytes would arrive changed, in another room or not at all, or what is no picture be handed on as one."""
    browser.expect_errors(REFUSED_UPGRADE)
    ada = await open_room(browser, pictures, "kitchen", "Ada")
    grace = await open_room(browser, pictures, "kitchen", "Grace")
    linus = await open_room(browser, pictures, "cellar", "Linus")
    for page, people in ((ada, "2 people here"), (grace, "2 people here"), (linus, "1 person here")):
        await expect(page.get_by_test_id("people")).to_have_text(people)
    await choose(ada, "red.png", png())
    await see(wall(grace))
    await see(wall(ada))
    await expect(wall(grace)).to_have_attribute("data-by", "Ada")
    await expect(wall(grace)).to_contain_text("red.png")

    await choose(ada, "fake.png", b"<svg onload='a()'/>")
    toast = ada.get_by_test_id("toast")
    await expect(toast).to_have_text(["fake.png: This is no PNG, JPEG, GIF, WebP or AVIF"])
    await choose(ada, "big.png", bytes(3 * 1024 * 1024))
    await expect(toast.last).to_have_text("big.png has 3.0 MiB: a picture can have 2.0 MiB at most.")
    await expect(wall(ada)).to_have_count(1)

    await choose(linus, "cellar.png", png())
    await see(wall(linus))
    await linus.get_by_test_id("room").fill("Kitchen")
    await linus.get_by_test_id("room").press("Enter")
    await expect(linus.get_by_test_id("people")).to_have_text("3 people here")
    await expect(wall(linus)).to_contain_text("red.png")  # who comes later finds what is there
    await see(wall(linus))
    await choose(grace, "last.png", png())
    for page in (ada, grace, linus):
        await expect(wall(page)).to_contain_text(["last.png", "red.png"])
        await see(wall(page).first)


async def test_a_live_score(serve_program: ServeProgram, browser: Pages) -> None:
    """The example of streams would not show what others see, or be empty for those who come later."""
    server = await serve_program(EXAMPLES / "live_score" / "server.py")
    one, two = [await browser.open(server.url) for _ in range(2)]
    for page in (one, two):
        await expect(page.get_by_test_id("status")).to_have_attribute("data-state", "online")
    await one.get_by_test_id("home").click()
    await expect(two.get_by_test_id("score")).to_have_text("1 : 0")
    await two.get_by_test_id("away").click()
    later = await browser.open(server.url)
    for page in (one, two, later):
        await expect(page.get_by_test_id("score")).to_have_text("1 : 1")
        await expect(page.get_by_test_id("log").locator("li")).to_have_text(
            ["1 : 1 by the guests", "1 : 0 by the home team"]
        )


async def test_one_room_by_five_protocols(serve_program: ServeProgram, browser: Pages) -> None:
    """The example would not show what it says: that clients of all protocols are in the same rooms."""
    browser.expect_errors(SERVER_DOWN)
    server = await serve_program(EXAMPLES / "one_room" / "server.py")
    page = await browser.open(server.url)
    doors = {"socketio": "websocket", "sse": "sse", "websocket": "plain websocket", "stomp": "stomp"}
    doors["sockjs"] = "sockjs websocket"
    panes = [page.get_by_test_id(name) for name in doors]

    async def all_say(said: list[str]) -> None:
        for pane in panes:
            await expect(pane).to_have_attribute("data-state", "online", timeout=RECONNECTED_WITHIN)
        for pane, by in zip(panes, doors.values(), strict=True):
            await pane.get_by_test_id("text").fill("Hello")
            await pane.get_by_test_id("say").click()
            said.insert(0, f"Hello{by}")
            for each in panes:
                await expect(each.get_by_test_id("log").locator("li")).to_have_text(said)

    said: list[str] = []
    await expect(panes[0]).to_have_attribute("data-state", "online")
    await all_say(said)
    await server.stop()
    for pane in panes:
        await expect(pane).to_have_attribute("data-state", "offline")
    await server.start()
    await all_say(said)


async def test_a_chat_by_plain_websocket(serve_program: ServeProgram, browser: Pages) -> None:
    """The example of a program's own wire would not work, or its private messages be seen by all."""
    server = await serve_program(EXAMPLES / "plain_websocket" / "server.py")
    ada, grace, linus = [await browser.open(server.url) for _ in range(3)]
    for page, token in ((ada, "ada-1815"), (grace, "grace-1906"), (linus, "linus-1969")):
        await page.get_by_test_id("token").select_option(token)
        await page.get_by_role("button", name="Enter").click()
        await expect(page.get_by_test_id("status")).to_have_attribute("data-state", "online")
    for page in (ada, grace, linus):
        await expect(page.get_by_test_id("people")).to_have_text("Ada, Grace, Linus")

    async def say(page: Page, to: str, text: str) -> None:
        await page.get_by_test_id("to").select_option(to)
        await page.get_by_test_id("text").fill(text)
        await page.get_by_test_id("text").press("Enter")

    def messages(page: Page) -> Locator:
        return page.get_by_test_id("log").locator("li")

    await say(ada, "all", "to all <b>")
    await expect(messages(linus).last).to_have_text("Ada to all <b>")
    await say(grace, "others", "to others")
    await expect(messages(linus).last).to_have_text("Grace to others")
    await say(linus, "Ada", "to Ada alone")
    await expect(messages(ada)).to_have_text(
        ["Welcome, Ada", "Ada to all <b>", "Grace to others", "Linus to you alone to Ada alone"]
    )
    await expect(messages(grace)).to_have_text(["Welcome, Grace", "Ada to all <b>", "Grace to all others to others"])
    await linus.close()
    await expect(messages(grace).last).to_have_text("Linus is offline")
    await expect(grace.get_by_test_id("people")).to_have_text("Ada, Grace")
    async with ClientSession() as http:
        async with http.ws_connect(f"{server.url}/ws?token=linus-1969") as tool:  # not a page
            assert await tool.receive_json() == {"type": 1, "usr": "Linus", "data": "Welcome, Linus"}
            assert (await tool.receive_json())["data"] == ["Ada", "Grace", "Linus"]
            await tool.send_json({"type": 4, "usr": "Grace", "data": "psst"})
            await expect(messages(grace).last).to_have_text("Linus to you alone psst")
        async with http.ws_connect(f"{server.url}/ws") as nobody:
            assert (await nobody.receive_json())["type"] == 0
            assert (await nobody.receive()).data == 4401
    await grace.get_by_test_id("token").select_option("nobody")
    await grace.get_by_role("button", name="Enter").click()
    await expect(grace.get_by_test_id("status")).to_have_text("Offline: Unknown token (4401)")
    await expect(messages(grace)).to_have_text(["Unknown token"])
    await expect(ada.get_by_test_id("people")).to_have_text("Ada")
