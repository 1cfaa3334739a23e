"""The examples' pages for people with weak eyes, with keys, with a phone, or without a connection."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from playwright.async_api import Page, expect

from tests.conftest import ServeProgram
from tests.support.browser import Pages
from tests.support.chat import LAST_POLL, RECONNECTED_WITHIN, SERVER_DOWN, Chat
from tests.support.cluster.example import running_cluster_example
from tests.support.cluster.needs import needs
from tests.support.legibility import SCHEMES, faint_texts, nameless_controls, unmarked_focus
from tests.support.server import SubprocessServer, free_port

EXAMPLES: Final = Path(__file__).resolve().parents[2] / "examples"
SIZES: Final = ({"width": 375, "height": 800}, {"width": 1280, "height": 800})


async def check(page: Page, where: str) -> None:
    """Everything on the page as it is now: by day and by night, on a phone and on a desktop."""
    for size in SIZES:
        await page.set_viewport_size({"width": size["width"], "height": size["height"]})
        assert await page.evaluate("document.documentElement.scrollWidth") <= size["width"], where
        assert await nameless_controls(page) == [], where
        for scheme in SCHEMES:
            await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            assert await faint_texts(page) == [], f"{where}, {scheme}, {size['width']}"
    assert await page.evaluate("document.getAnimations().length") == 0
    wrong = "ol[role]:not([role=list]), ul[role]:not([role=list]), form[role=toolbar]"
    await expect(page.locator(wrong)).to_have_count(0)  # a list with another role is none, and its items are nothing
    await expect(page.locator("h1:visible, h1.visually-hidden")).not_to_have_count(0)
    assert await unmarked_focus(page) == [], where


async def go_offline(page: Page, status: str) -> None:
    """Cut the connection, and wait until the page says so; the client comes back only with ``online``."""
    await page.context.set_offline(True)
    await page.evaluate("window.dispatchEvent(new Event('offline'))")  # the client closes its connection
    await expect(page.locator("#status")).to_contain_text(status)


async def test_the_page_of_the_first_chat(serve_program: ServeProgram, browser: Pages) -> None:
    """People would not read the time of a message, not find the field, or talk to people of whom nobody knows."""
    browser.expect_errors(f"{LAST_POLL}|{SERVER_DOWN}|status of 400 .*sign-in")
    server = await serve_program(EXAMPLES / "first_chat/server.py")
    page = await browser.open(server.url)
    await expect(page.locator("#name")).to_be_focused()
    await check(page, "signing in")
    await page.locator("#name").fill(" ")
    await page.locator("#name").press("Enter")
    await expect(page.locator("#reason")).not_to_be_empty()
    await expect(page.locator("#name")).to_have_attribute("aria-invalid", "true")
    await check(page, "a name that does not do")
    await page.locator("#name").fill("Ada")
    await page.locator("#name").press("Enter")
    await expect(page.locator("#people")).to_have_text("Ada")
    await page.locator("#text").fill("Hello")
    await page.locator("#text").press("Enter")
    await expect(page.locator("#messages li")).to_have_attribute("data-state", "sent")
    await expect(page.get_by_role("log").get_by_role("listitem")).to_have_count(1)
    await check(page, "inside")
    await go_offline(page, "Reconnecting")
    await expect(page.locator("#people")).to_be_empty()
    await page.locator("#text").fill("In a tunnel")
    await page.locator("#text").press("Enter")
    await expect(page.locator("#messages li").last).to_have_attribute("data-state", "sending")
    await check(page, "offline")


async def test_the_page_of_the_support_desk(serve_program: ServeProgram, browser: Pages) -> None:
    """Staff would not find the button that throws somebody out, or press the one beside another name."""
    browser.expect_errors(f"{LAST_POLL}|{SERVER_DOWN}|status of 401 .*/token|status of 400 .*sign-in")
    server = await serve_program(EXAMPLES / "support_desk/server.py", env={"DESK_CODE": "tea"})
    page, other = await browser.open(server.url), await browser.open(server.url)
    await expect(page.locator("#name")).to_be_focused()
    await check(page, "signing in")
    await page.locator("#name").fill("Ada")
    await page.locator("#code").fill("coffee")
    await page.locator("#code").press("Enter")
    await expect(page.locator("#reason")).to_have_text("This is not the code")
    await check(page, "a wrong code")
    await page.locator("#code").fill("tea")
    await page.locator("#code").press("Enter")
    await other.locator("#name").fill("Grace")
    await other.locator("#name").press("Enter")
    await expect(page.get_by_role("button", name="Throw out Grace")).to_be_visible()
    await page.locator("#text").fill("Hello")
    await page.locator("#text").press("Enter")
    await expect(page.get_by_role("log").get_by_role("listitem")).to_have_count(1)
    await check(page, "inside")
    await go_offline(page, "Reconnecting")
    await page.locator("#text").fill("In a tunnel")
    await page.locator("#text").press("Enter")
    await expect(page.locator("#messages li").last).to_have_attribute("data-state", "sending")
    await check(page, "offline")


async def test_the_page_of_the_dashboard(serve_program: ServeProgram, browser: Pages) -> None:
    """People would not see the switch, or watch together with others of whom nobody knows."""
    browser.expect_errors(f"{LAST_POLL}|{SERVER_DOWN}")
    server = await serve_program(EXAMPLES / "dashboard/server.py")
    page = await browser.open(server.url)
    await expect(page.locator("#watching")).to_have_text("Only you watch")
    await check(page, "live")
    await go_offline(page, "Reconnecting")
    await expect(page.locator("#watching")).to_be_empty()


async def test_the_page_of_the_drawing(serve_program: ServeProgram, browser: Pages) -> None:
    """On a phone the board would be too small to draw on, upright or on its side."""
    browser.expect_errors(f"{LAST_POLL}|{SERVER_DOWN}")
    server = await serve_program(EXAMPLES / "drawing/server.py")
    page = await browser.open(server.url)
    await expect(page.locator("#people")).to_have_text("Somebody")
    await check(page, "online")
    for width, height, share in ((375, 800, 0.42), (375, 667, 0.5), (667, 375, 0.7)):
        await page.set_viewport_size({"width": width, "height": height})
        box = await page.locator("#canvas").bounding_box()
        assert box
        assert box["height"] >= share * height
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        for tool in ("#undo", "#clear", "#width"):
            await expect(page.locator(tool)).to_be_in_viewport(ratio=1)
    await go_offline(page, "Reconnecting")
    await expect(page.locator("#people")).to_be_empty()


async def test_the_page_of_the_pictures(serve_program: ServeProgram, browser: Pages) -> None:
    """People would not find the field for their name, or believe that others still see what they drop."""
    browser.expect_errors(f"{LAST_POLL}|{SERVER_DOWN}")
    server = await serve_program(EXAMPLES / "pictures/server.py")
    page = await browser.open(server.url)
    await expect(page.locator("#people")).to_have_text("1 person here")
    await check(page, "empty")
    await page.get_by_test_id("file").set_input_files(EXAMPLES.parent / "docs/images/first-chat.png")
    await expect(page.get_by_test_id("wall").get_by_role("listitem")).to_have_attribute("data-state", "shown")
    await check(page, "with a picture")
    await go_offline(page, "Reconnecting")
    await expect(page.locator("#people")).to_be_empty()


async def test_the_page_of_the_plain_chat(serve_program: ServeProgram, browser: Pages) -> None:
    """People would not read who says what, or not find the field."""
    server = await serve_program(EXAMPLES / "plain_websocket/server.py")
    page = await browser.open(server.url)
    await check(page, "outside")
    await page.get_by_role("button", name="Enter").click()
    await expect(page.locator("#people")).to_have_text("Ada")
    await page.locator("#text").fill("Hello")
    await page.locator("#text").press("Enter")
    await expect(page.get_by_test_id("log").get_by_role("listitem")).to_have_count(2)
    await check(page, "inside")


async def test_the_page_of_the_one_room(serve_program: ServeProgram, browser: Pages) -> None:
    """People would not know which field is whose, or not read who has said something."""
    server = await serve_program(EXAMPLES / "one_room/server.py")
    page = await browser.open(server.url)
    for name in ("socketio", "sse", "websocket", "stomp", "sockjs"):
        await expect(page.get_by_test_id(name)).to_have_attribute("data-state", "online")
    await page.get_by_label("Text, by SockJS").fill("Hello")
    await page.get_by_label("Say, by SockJS").click()
    await expect(page.get_by_test_id("sse").get_by_role("listitem")).to_have_count(1)
    await check(page, "after the first word")


async def test_the_page_of_the_live_score(serve_program: ServeProgram, browser: Pages) -> None:
    """People would not read the score, or not find the buttons."""
    server = await serve_program(EXAMPLES / "live_score/server.py")
    page = await browser.open(server.url)
    await expect(page.get_by_test_id("status")).to_have_text("Online")
    await check(page, "before the first goal")
    await page.get_by_test_id("home").click()
    await expect(page.get_by_test_id("log").get_by_role("listitem")).to_have_count(1)
    await check(page, "after it")


async def test_the_page_of_the_existing_application(serve_program: ServeProgram, browser: Pages) -> None:
    """People would not read what the field is for, or who has ordered."""
    browser.expect_errors(f"{LAST_POLL}|{SERVER_DOWN}|status of 401 .*/api/orders")
    server = await serve_program(EXAMPLES / "existing_app/server.py")
    page = await browser.open(server.url)
    await expect(page.locator("#name")).to_be_focused()
    await check(page, "signing in")
    await page.locator("#name").fill("Ada")
    await page.locator("#name").press("Enter")
    await page.locator("#item").fill("Flat white")
    await page.locator("#item").press("Enter")
    await expect(page.locator("#orders li")).to_have_count(1)
    await check(page, "inside")


async def test_the_page_of_a_connection_that_lasts(serve_program: ServeProgram, browser: Pages) -> None:
    """People would not read what happens, or not find the buttons."""
    browser.expect_errors(f"{LAST_POLL}|{SERVER_DOWN}")
    server = await serve_program(EXAMPLES / "resilient/server.py", args=["--main-port", str(free_port())])
    page = await browser.open(server.url)
    await check(page, "signing in")
    await page.locator("#name").fill("Ada")
    await page.locator("#name").press("Enter")
    await expect(page.locator("#status")).to_have_attribute("data-state", "connected")
    await check(page, "inside")
    await page.locator("#sign-out").click()
    await expect(page.locator("#status")).to_have_text("Signed out")
    await check(page, "signed out")


@needs("redis-server")
async def test_the_page_of_several_servers(browser: Pages) -> None:
    """People would not read which server they are on, or believe that one is there which has gone."""
    browser.expect_errors(f"{LAST_POLL}|{SERVER_DOWN}")
    async with running_cluster_example() as example:
        page = await browser.open(example.url)
        await expect(page.locator("#servers li[data-state=here]")).to_have_count(1)
        await check(page, "nothing said")
        await page.locator("#name").fill("Ada")
        await page.locator("#text").fill("Hello")
        await page.locator("#text").press("Enter")
        await expect(page.locator("#log li")).to_have_attribute("data-state", "sent")
        await check(page, "something said")
        await go_offline(page, "Looking for another server")
        await expect(page.locator("#servers li[data-state=here]")).to_have_count(0)
        await check(page, "offline")
        await page.context.set_offline(False)
        await page.evaluate("window.dispatchEvent(new Event('online'))")
        await expect(page.locator("#log .move")).to_have_attribute("data-recovered", "yes", timeout=RECONNECTED_WITHIN)
        await check(page, "recovered")


@pytest.fixture
async def chat_server(serve_program: ServeProgram) -> SubprocessServer:
    """The larger chat."""
    return await serve_program(EXAMPLES / "chat/server.py")


@pytest.fixture
def chat(chat_server: SubprocessServer, browser: Pages) -> Chat:
    """Its page."""
    browser.expect_errors(f"{LAST_POLL}|{SERVER_DOWN}")
    return Chat(chat_server.url, browser)


async def test_signing_in_to_the_chat(chat: Chat, browser: Pages) -> None:
    """Who cannot see the form would not learn what is wrong, or with which field."""
    browser.expect_errors("status of 400 .*/sign-in")
    ada = await chat.open()
    await check(ada.page, "signing in")
    for name in ("", "😀"):
        await ada.try_to_sign_in(name)
        await expect(ada.reason).to_be_visible()
        await expect(ada.name_field).to_have_attribute("aria-invalid", "true")
        await expect(ada.name_field).to_be_focused()
        await expect(ada.name_field).to_have_accessible_description(await ada.reason.inner_text())
        field, reason = await ada.name_field.bounding_box(), await ada.reason.bounding_box()
        assert field
        assert reason
        assert reason["y"] > field["y"]  # below its field, and not between the heading and the label
    await check(ada.page, "a name that does not do")
    await ada.sign_in("Ada")
    await ada.page.get_by_test_id("sign-out").click()
    await expect(ada.name_field).not_to_have_attribute("aria-invalid", "true")


async def test_the_page_of_the_chat(chat: Chat) -> None:
    """Messages would not be items of a list, initials be too faint, and private talk be there for a mouse only."""
    ada, grace = await chat.enter("Ada"), await chat.enter("Grace")
    await grace.said("Hello, see https://socket.io")
    await expect(ada.texts).to_have_count(1)
    await ada.said("Hello!")
    await expect(ada.page.get_by_role("log").get_by_role("listitem")).to_have_count(3)  # and Grace's coming
    await ada.page.evaluate(  # faces of all hues that names can have
        """() => document.querySelectorAll("#people .avatar").forEach((face) => {
            for (let hue = 0; hue < 360; hue += 24) {
                const other = face.cloneNode(true);
                other.style.setProperty("--hue", hue);
                document.getElementById("rooms-title").append(other);
            }
        })"""
    )
    await check(ada.page, "inside")
    await expect(ada.person("Grace").locator("button > svg")).to_have_css("opacity", "1")
    await ada.page.set_viewport_size({"width": 375, "height": 800})
    for button in ("people-toggle", "menu"):
        await ada.page.get_by_test_id(button).click()
        assert await faint_texts(ada.page, "aside, nav") == []
        await ada.page.keyboard.press("Escape")
        await expect(ada.page.get_by_test_id(button)).to_be_focused()


@pytest.mark.parametrize("name", ["Ada Lovelace", "Maximiliana v. Hohenfels"])
async def test_one_s_own_name_in_the_chat(chat: Chat, name: str) -> None:
    """People would see "Ada Lovel…" for their own name."""
    ada = await chat.enter(name)
    me = ada.page.get_by_test_id("me")
    await expect(me).to_have_text(name)
    assert await me.evaluate("node => node.scrollWidth <= node.clientWidth && node.scrollHeight <= node.clientHeight")
    lines = "(all, node) => { all.selectNodeContents(node); return all.getClientRects().length; }"
    shown = await me.evaluate(f"node => ({lines})(document.createRange(), node)")
    assert shown <= name.count(" ") + 1  # broken between words alone


async def test_the_chat_without_a_connection(chat_server: SubprocessServer, chat: Chat) -> None:
    """Others would seem to be there, and a phone cut off what the page says of it."""
    ada, _ = await chat.enter("Ada"), await chat.enter("Grace")
    online = ada.page.locator(".avatar.online")
    subtitle = ada.page.locator("#subtitle")
    await ada.talk_in_private("Grace")
    await expect(subtitle).to_have_text("Private · online")
    await expect(online).to_have_count(3)  # twice in the list of people, once in that of private talks
    await go_offline(ada.page, "Offline")
    await expect(online).to_have_count(0)
    await expect(subtitle).to_have_text("Private")
    await expect(ada.private("Grace").get_by_role("button")).to_have_accessible_name("Grace")
    await ada.say("In a tunnel")
    await expect(ada.messages.last).to_have_attribute("data-state", "pending")
    await check(ada.page, "offline")

    await ada.page.context.set_offline(False)
    await ada.page.evaluate("window.dispatchEvent(new Event('online'))")
    await ada.see_online()
    await expect(online).to_have_count(3)
    await expect(ada.messages.last).to_have_attribute("data-state", "sent", timeout=RECONNECTED_WITHIN)

    await chat_server.kill()
    await ada.page.set_viewport_size({"width": 375, "height": 800})
    await expect(ada.status).to_contain_text("Reconnecting, attempt")  # all of it, for those who hear it
    for text in (ada.status.locator("span:not(.roomy)"), ada.page.locator(".offline-note"), ada.title):
        await expect(text).to_be_visible()
        assert await text.evaluate("node => node.scrollWidth <= node.clientWidth || !node.clientWidth")
        await expect(text).to_be_in_viewport(ratio=1)
    await expect(online).to_have_count(0)
