"""The chat example in a browser: what people do with it, and what the network does to them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from playwright.async_api import Locator, WebSocket, WebSocketRoute, expect

from tests.conftest import ServeProgram
from tests.support.browser import Pages
from tests.support.chat import LAST_POLL, RECONNECTED_WITHIN, REFUSED_UPGRADE, SERVER_DOWN, Chat, ChatPage
from tests.support.proxy import Proxy, running_proxy
from tests.support.server import SubprocessServer

SERVER = Path(__file__).resolve().parents[2] / "examples" / "chat" / "server.py"
PATIENT = Path(__file__).resolve().parents[1] / "support" / "patient_chat.py"
KEY = "the key of the tests, which is long enough"


@pytest.fixture
async def server(serve_program: ServeProgram) -> SubprocessServer:
    """The chat as its own process. With a key given, sessions outlive a restart."""
    return await serve_program(SERVER, env={"CHAT_KEY": KEY})


@pytest.fixture
def chat(server: SubprocessServer, browser: Pages) -> Chat:
    """Its page: ``ada = await chat.enter("Ada")``."""
    return Chat(server.url, browser)


@pytest.fixture
async def proxy(server: SubprocessServer) -> AsyncIterator[Proxy]:
    """Stands before the server and refuses websockets. Asked for before ``browser``, it outlives the pages."""
    async with running_proxy(server.url, refuse_upgrades=403) as proxy:
        yield proxy


def token(*, key: str = KEY, lasts: float = 3600, **claims: Any) -> str:
    """A session's token as the server signs it, unless told otherwise."""
    return jwt.encode({"sub": "1", "name": "Mallory", "exp": time.time() + lasts, **claims}, key, algorithm="HS256")


async def keep_token(page: ChatPage, token: str) -> None:
    """Put a session into the browser's storage, as the page itself would."""
    session = {"token": token, "person": {"id": "1", "name": "Mallory"}}
    await page.page.evaluate("session => localStorage.setItem('chat.session', session)", json.dumps(session))


async def test_two_people_meet_in_the_lobby(chat: Chat) -> None:
    """Nobody would see who is there, or what they say, or everything twice."""
    ada = await chat.enter("Ada")
    grace = await chat.enter("Grace")
    await expect(ada.notices).to_have_text(["Grace joined"])
    await expect(ada.people).to_have_text(["ADAdayou", "GRGrace"])  # initials, name, and a mark at oneself
    await expect(grace.people).to_have_text(["GRGraceyou", "ADAda"])
    await expect(grace.notices).to_have_count(0)
    await expect(ada.room("lobby")).to_have_attribute("data-count", "2")

    await ada.say("Hello!")
    await expect(grace.texts).to_have_text(["Hello!"])
    await grace.say("Hello, Ada.")
    await expect(ada.texts).to_have_text(["Hello!", "Hello, Ada."])
    await expect(grace.texts).to_have_text(["Hello!", "Hello, Ada."])
    await expect(ada.messages.first).to_have_attribute("data-state", "sent")
    await expect(ada.messages.first).to_contain_text("You")
    await expect(grace.messages.first).to_contain_text("Ada")
    assert not [frame for frame in ada.frames if frame.startswith('42["message"') and "Hello!" in frame]


async def test_a_room_keeps_what_is_said_in_it(chat: Chat) -> None:
    """What is said in a room would be heard outside, or not inside."""
    ada, grace, linus = await chat.enter("Ada"), await chat.enter("Grace"), await chat.enter("Linus")
    await ada.make_room("Release  Party")
    await expect(ada.title).to_have_text("# release-party")
    await expect(linus.room("release-party")).to_have_attribute("data-joined", "false")
    await grace.go("release-party")
    await expect(ada.notices).to_have_text(["Grace joined"])
    await expect(ada.people).to_have_count(2)
    await expect(linus.room("release-party")).to_have_attribute("data-count", "2")

    await ada.said("cake is hidden in the kitchen")
    await expect(grace.texts).to_have_text(["cake is hidden in the kitchen"])
    await linus.say("anybody here?")
    await ada.received("anybody here?")

    # A badge for what came to another room than the one that is open; it goes when that is opened.
    await expect(ada.room("lobby")).to_have_attribute("data-unread", "1")
    await expect(ada.room("lobby").locator(".badge")).to_have_text("1")
    await expect(ada.page).to_have_title("(1) release-party · Chat")
    await ada.go("lobby")
    await expect(ada.texts).to_have_text(["anybody here?"])
    await expect(ada.room("lobby")).to_have_attribute("data-unread", "0")
    await expect(ada.page).to_have_title("lobby · Chat")
    await ada.said("over here")
    await linus.received("over here")  # said after the other, by the same person: that one is not still on its way
    assert not linus.has_received("cake")

    await ada.go("release-party")
    await grace.page.get_by_test_id("leave").click()
    await expect(grace.title).to_have_text("# lobby")
    await expect(ada.notices).to_have_text(["Grace joined", "Grace left"])
    await expect(ada.people).to_have_count(1)
    await expect(grace.room("release-party")).to_have_attribute("data-joined", "false")
    await ada.said("now I am alone")
    await ada.go("lobby")
    await ada.said("still there, Grace?")
    await grace.received("still there, Grace?")
    assert not grace.has_received("now I am alone")

    await ada.make_room("!!")
    await expect(ada.toast).to_contain_text("A room's name has 1 to 32 letters")


async def test_private_talk_reaches_all_tabs_of_two_people_and_nobody_else(chat: Chat) -> None:
    """A private word would be overlooked, missing in the tab that one looks at, or read by a third."""
    ada, grace, linus = await chat.enter("Ada"), await chat.enter("Grace"), await chat.enter("Linus")
    ada_too, grace_too = await chat.tab(ada), await chat.tab(grace)
    await expect(ada.notices).to_have_text(["Grace joined", "Linus joined"])  # another tab is nobody new
    await ada.talk_in_private("Grace")
    await ada.said("just for you")
    await expect(grace.private("Ada")).to_have_attribute("data-unread", "1")
    await expect(grace.page).to_have_title("(1) lobby · Chat")
    for page, other in ((ada_too, "Grace"), (grace, "Ada"), (grace_too, "Ada")):
        await expect(page.private(other)).to_be_visible()
        await page.private(other).get_by_role("button").click()
        await expect(page.title).to_have_text(other)
        await expect(page.texts).to_have_text(["just for you"])
        await expect(page.private(other)).to_have_attribute("data-unread", "0")
    await grace_too.said("thank you")
    for page in (ada, ada_too, grace, grace_too):
        await expect(page.texts).to_have_text(["just for you", "thank you"])

    await ada.go("lobby")
    await ada.said("hello, all")
    await grace_too.go("lobby")
    await grace_too.said("hello, Ada")
    await linus.received("hello, all")
    await linus.received("hello, Ada")
    assert not linus.has_received("just for you")
    assert not linus.has_received("thank you")
    await expect(linus.private_talks).to_have_count(0)


async def test_a_typing_hint_comes_and_goes(browser: Pages, chat: Chat) -> None:
    """One would talk into somebody's half-written sentence, or wait for one who has long gone."""
    ada = await chat.open()
    await ada.page.clock.install()
    await ada.page.reload()
    await ada.sign_in("Ada")
    grace = await chat.enter("Grace")
    await grace.box.press_sequentially("Well")
    await expect(ada.typing).to_have_text("Grace is typing")
    await grace.box.press("Enter")
    await expect(ada.texts).to_have_text(["Well"])
    await expect(ada.typing).to_be_empty()
    await grace.box.press_sequentially("Hm")
    await expect(ada.typing).to_have_text("Grace is typing")
    await ada.page.clock.fast_forward(5000)
    await expect(ada.typing).to_be_empty()
    await expect(grace.typing).to_be_empty()  # nobody is told of oneself


async def test_people_come_and_go(serve_program: ServeProgram, browser: Pages) -> None:
    """Leaving would go unnoticed, a reload make a noise, and a newcomer not learn what is wrong or what was said."""
    server = await serve_program(PATIENT, env={"CHAT_KEY": KEY})
    chat = Chat(server.url, browser)
    browser.expect_errors(r"Failed to load resource.* 4(00|09) .*/sign-in")
    ada, grace, linus = await chat.enter("Ada"), await chat.enter("Grace"), await chat.enter("Linus")
    await grace.make_room("boat")
    await expect(grace.title).to_have_text("# boat")
    await grace.said("on board")
    await grace.page.reload()
    await grace.see_online()
    await expect(grace.title).to_have_text("# boat")  # where this tab was before
    await linus.said("bye")
    await linus.page.context.close()

    # The server waits for people to come back: time for a newcomer, who has trouble with the form.
    mary = await chat.open()
    for name, sentence in (
        ("", "Please enter a name."),
        ("😀", "A name has 1 to 24 letters"),
        ("aDA", "Somebody is here as aDA already"),
    ):
        await mary.try_to_sign_in(name)
        await mary.see_signed_out(sentence)
    await ada.said("second")
    await grace.go("lobby")
    await grace.said("third")
    await mary.sign_in("Mary")
    await expect(mary.reason).to_be_hidden()
    await expect(mary.texts).to_have_text(["bye", "second", "third"])
    for at, author in enumerate(("Linus", "Ada", "Grace")):
        await expect(mary.messages.nth(at)).to_have_attribute("data-author", author)
    await mary.go("boat")
    await expect(mary.texts).to_have_text(["on board"])
    await expect(mary.page).to_have_title("boat · Chat")  # what is old is not unread

    notices = ["Grace joined", "Linus joined", "Mary joined"]
    await expect(ada.notices).to_have_text(notices)
    await ada.page.request.post(f"{server.url}/lose-patience")
    # Grace's page went first, so her notice would be there before this one.
    await expect(ada.notices).to_have_text([*notices, "Linus left"])
    await expect(ada.people).to_have_text(["ADAdayou", "GRGrace", "MAMary"])


async def test_markup_is_shown_as_it_was_written(chat: Chat) -> None:
    """A message, a name or a room's name could run a script in everybody's browser."""
    name, text = "<img src=x onerror=a()>", "<img src=x onerror=\"document.title='taken'\"><b>bold</b>"
    ada = await chat.enter(name)
    grace = await chat.enter("Grace")
    await ada.say(text)
    await expect(grace.texts).to_have_text([text])
    await expect(ada.texts).to_have_text([text])
    await expect(grace.people.last).to_contain_text(name)
    await ada.make_room("<script>a()</script>")
    await expect(grace.room("<script>a()</script>")).to_be_visible()
    for page in (ada, grace):
        await expect(page.page.locator("img, b, #chat-view script")).to_have_count(0)
    await expect(grace.page).to_have_title("lobby · Chat")


async def test_the_server_is_killed_and_comes_back(server: SubprocessServer, browser: Pages, chat: Chat) -> None:
    """What was written meanwhile would be lost, doubled or shuffled, or everybody thrown out of their rooms."""
    browser.expect_errors(SERVER_DOWN)
    ada, grace = await chat.enter("Ada"), await chat.enter("Grace")
    await ada.make_room("boat")
    await expect(ada.title).to_have_text("# boat")
    await grace.go("boat")
    await ada.said("before")
    await server.kill()
    for page in (ada, grace):
        await expect(page.status).to_have_attribute("data-state", "reconnecting")
        await expect(page.status).to_contain_text("Reconnecting, attempt")
    await ada.say("one")
    await ada.say("two")
    await expect(ada.messages.last).to_have_attribute("data-state", "pending")

    await server.start()
    for page in (ada, grace):  # one may be back 5 s before the other
        await page.see_online()
    for page in (ada, grace):
        await expect(page.title).to_have_text("# boat")
        await expect(page.people).to_have_count(2)
    await expect(grace.texts).to_have_text(["before", "one", "two"], timeout=RECONNECTED_WITHIN)
    await grace.said("after")  # behind this one, nothing of the old comes any more
    for page in (ada, grace):
        await expect(page.texts).to_have_text(["before", "one", "two", "after"])
        await expect(page.page.locator('[data-state="pending"], [data-state="failed"]')).to_have_count(0)
    await expect(ada.notices).to_have_text(["Grace joined"])  # who was there before is not announced again


async def test_a_message_whose_answer_got_lost_is_posted_once(browser: Pages, chat: Chat) -> None:
    """A connection that breaks or stalls at the wrong moment would say everything twice."""
    browser.expect_errors(SERVER_DOWN)
    routes: list[tuple[WebSocketRoute, WebSocketRoute]] = []
    deaf = False

    def route(page_side: WebSocketRoute) -> None:
        server_side = page_side.connect_to_server()
        server_side.on_message(lambda message: None if deaf else page_side.send(message))
        routes.append((page_side, server_side))

    ada = await chat.open()
    await ada.page.route_web_socket("**/socket.io/**", route)
    await ada.page.clock.install()
    await ada.page.reload()
    await ada.sign_in("Ada")
    grace = await chat.enter("Grace")
    await expect(ada.person("Grace")).to_be_visible()

    deaf = True
    await ada.say("only once")
    await expect(grace.texts).to_have_text(["only once"])
    await expect(ada.messages).to_have_attribute("data-state", "pending")
    deaf = False
    await ada.page.clock.fast_forward(8000)  # as long as the page waits for an answer before it sends again
    await expect(ada.messages).to_have_attribute("data-state", "sent")

    deaf = True
    await ada.say("this too")
    await expect(grace.texts).to_have_text(["only once", "this too"])
    await expect(ada.messages.last).to_have_attribute("data-state", "pending")
    deaf = False
    for side in routes[0]:
        await side.close()
    await expect(ada.status).to_have_attribute("data-state", "reconnecting")
    await ada.page.clock.fast_forward(1500)  # as long as the client waits, at most, before it tries again
    await expect(ada.messages.last).to_have_attribute("data-state", "sent", timeout=RECONNECTED_WITHIN)
    await ada.see_online()
    assert len(routes) == 2

    await ada.said("and then")
    for page in (ada, grace):
        await expect(page.texts).to_have_text(["only once", "this too", "and then"])
    for text in ("only once", "this too"):  # not only shown once
        assert len([frame for frame in grace.frames if text in frame]) == 1


async def test_websockets_are_refused(server: SubprocessServer, proxy: Proxy, browser: Pages) -> None:
    """People behind such a proxy could not take part, or would lose what they write while the server restarts."""
    browser.expect_errors(REFUSED_UPGRADE)
    through, direct = Chat(proxy.url, browser), Chat(server.url, browser)
    ada = await through.enter("Ada", transport="polling")
    grace = await through.enter("Grace", transport="polling")
    linus = await direct.enter("Linus")
    await ada.say("by polling")
    for page in (grace, linus):
        await expect(page.texts).to_have_text(["by polling"])
    await linus.say("by websocket")
    await grace.say("me too")
    said = ["by polling", "by websocket", "me too"]
    for page in (ada, grace, linus):
        await expect(page.texts).to_have_text(said)
    await grace.talk_in_private("Ada")
    await grace.box.press_sequentially("psst")
    await grace.box.press("Enter")
    await expect(ada.private("Grace")).to_have_attribute("data-unread", "1")
    await grace.go("lobby")
    for page in (ada, grace):
        await page.see_online("polling")
    assert proxy.refused == 2

    browser.expect_errors(SERVER_DOWN)
    await server.kill()
    await expect(ada.status).to_have_attribute("data-state", "reconnecting")
    await ada.say("one")
    await ada.say("two")
    await server.start()
    for page in (ada, grace):
        await page.see_online("polling")
        await expect(page.texts).to_have_text([*said, "one", "two"], timeout=RECONNECTED_WITHIN)
    await grace.said("after")
    for page in (ada, grace):
        await expect(page.texts).to_have_text([*said, "one", "two", "after"])


async def test_sessions_that_do_not_do_and_one_that_does(browser: Pages, chat: Chat) -> None:
    """A forged session would be let in, one that has ended leave a page that says nothing, a signed-out one live on."""
    not_valid = "Your session is not valid: please sign in again."
    not_here = "Your session is not valid on this server any more: please sign in again."
    browser.expect_errors(LAST_POLL)
    page = await chat.open()
    for bad, sentence in (
        (token(lasts=-60), "Your session has ended: please sign in again."),
        (token(key=KEY[::-1]), not_here),
        (jwt.encode({"sub": "1", "name": "Mallory", "exp": 4e9}, "", algorithm="none"), not_valid),
        ("nonsense", not_valid),
    ):
        await keep_token(page, bad)
        await page.page.reload()
        await page.see_signed_out(sentence)
        assert await page.page.evaluate("localStorage.length") == 0  # it is not tried again
    await page.sign_in("Ada")
    await expect(page.reason).to_be_hidden()
    # The same by the right key shows that it was the token that did not do.
    await keep_token(page, token())
    await page.page.reload()
    await page.see_online()
    await expect(page.people).to_contain_text(["Mallory"])

    other_tab = await chat.tab(page)
    await page.page.get_by_test_id("sign-out").click()
    await expect(page.name_field).to_be_visible()
    await other_tab.see_signed_out("You were signed out in another tab.")
    await page.page.reload()
    await expect(page.name_field).to_be_visible()
    assert await page.page.evaluate("localStorage.length") == 0


async def test_a_page_goes_on_with_a_new_token(browser: Pages, chat: Chat) -> None:
    """A page that stays open would be signed out when its token runs out, in the middle of a sentence."""
    page = await chat.open()
    ends = time.time() + 3
    short = token(exp=ends)
    await keep_token(page, short)
    await page.page.reload()
    await page.see_online()
    sockets: list[WebSocket] = []
    page.page.on("websocket", lambda opened: sockets.append(opened))
    await page.page.wait_for_function("old => JSON.parse(localStorage['chat.session']).token !== old", arg=short)
    await asyncio.sleep(max(ends - time.time(), 0))  # the first one has run out
    await page.said("still here")
    assert not sockets, "it is the same connection"


async def test_somebody_is_thrown_out(serve_program: ServeProgram, browser: Pages) -> None:
    """A person who is thrown out would not learn why, or would be back at once."""
    key = "the-key-of-those-who-look-after-the-chat"
    server = await serve_program(SERVER, env={"CHAT_KEY": KEY, "CHAT_API_KEY": key})
    chat = Chat(server.url, browser)
    ada, grace = await chat.enter("Ada"), await chat.enter("Grace")
    (person,) = [row for row in await ada.page.locator('[data-testid="people"] li').all() if await is_of(row, "Grace")]
    kicked = await ada.page.request.post(
        f"{server.url}/api/kick",
        headers={"Authorization": f"Bearer {key}"},
        data={"user": await person.get_attribute("data-person"), "reason": "no flooding, please"},
    )
    assert kicked.ok, await kicked.text()
    await grace.see_signed_out("You were sent away: no flooding, please")
    await expect(ada.notices).to_have_text(["Grace joined", "Grace left"])
    await grace.page.reload()
    await expect(grace.name_field).to_be_visible()


async def is_of(row: Locator, name: str) -> bool:
    """Tell whether a row of a list is a person's."""
    return await row.get_attribute("data-name") == name
