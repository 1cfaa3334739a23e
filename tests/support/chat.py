"""The chat example, started and looked at as people do: ``Chat`` opens its page, ``ChatPage`` is one tab of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from playwright.async_api import BrowserContext, ConsoleMessage, Locator, Page, WebSocket, expect

from tests.support.until import until

if TYPE_CHECKING:
    from tests.support.browser import Pages

# What the browser says on its console in the cases that tests bring about: for ``browser.expect_errors``.
SERVER_DOWN: Final = r"net::ERR_|WebSocket connection to .* failed|WebSocket is closed before"
REFUSED_UPGRADE: Final = r"WebSocket connection to .* failed: .*Unexpected response code: 403"
# The client library closes a polling connection by a POST and polls once more at the same time: the answer to that poll
# is 400 when the POST overtakes it, since the session is gone then.
LAST_POLL: Final = r"status of 400 .*transport=polling.*&sid="

RECONNECTED_WITHIN: Final = 20_000
"""Milliseconds. The client tries again after up to 1.5 s, then 3 s, then every 5 to 7.5 s."""


class ChatPage:
    """One tab. Locators are named as the comment at the top of the page's HTML names them."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.frames: list[str] = []
        """What came by websocket, all of it: what is not in here has not reached this tab once it is upgraded."""
        page.on("websocket", self._on_websocket)
        at = page.get_by_test_id
        self.name_field = at("sign-in-name")
        self.reason = at("sign-in-reason")
        self.status = at("status")
        self.rooms = at("rooms")
        self.people = at("people").get_by_role("listitem")
        self.private_talks = at("private").get_by_role("listitem")
        self.title = at("title")
        self.messages = at("messages").locator('[data-kind="message"]')
        self.texts = self.messages.get_by_test_id("message-text")
        self.notices = at("messages").locator('[data-kind="notice"] > span')
        self.typing = at("typing")
        self.box = at("message-box")
        self.toast = at("toast")
        self.me = at("me")

    def room(self, name: str) -> Locator:
        """A room in the list."""
        return self.rooms.locator(f'[data-room="{name}"]')

    def person(self, name: str) -> Locator:
        """Somebody among those who are here."""
        return self.page.get_by_test_id("people").locator(f'[data-name="{name}"]')

    def private(self, name: str) -> Locator:
        """A private conversation in the list."""
        return self.page.get_by_test_id("private").locator(f'[data-name="{name}"]')

    async def try_to_sign_in(self, name: str) -> None:
        """Send the form; what comes of it is for the caller to see."""
        await self.name_field.fill(name)
        await self.page.get_by_test_id("sign-in-submit").click()

    async def sign_in(self, name: str, *, transport: str = "websocket") -> None:
        """Send the form and be in the lobby, online by the transport that the page ends up with."""
        await self.try_to_sign_in(name)
        await self.see_online(transport)
        await expect(self.me).to_have_text(name)
        await expect(self.people.first).to_contain_text("you")

    async def see_online(self, transport: str = "websocket", *, timeout: float = RECONNECTED_WITHIN) -> None:
        """Wait until the page says so, with the transport it ends up with."""
        await expect(self.status).to_have_text(f"Online by {transport}", timeout=timeout)
        await expect(self.status).to_have_attribute("data-state", "online")
        await expect(self.status).to_have_attribute("data-transport", transport)

    async def see_signed_out(self, why: str) -> None:
        """Wait until the sign-in form is shown with a sentence and the chat is not."""
        await expect(self.reason).to_have_text(why)
        await expect(self.name_field).to_be_visible()
        await expect(self.box).to_be_hidden()

    async def say(self, text: str) -> None:
        """Write into the open conversation."""
        await self.box.fill(text)
        await self.box.press("Enter")

    async def said(self, text: str) -> None:
        """Write into the open conversation, and wait until the server has confirmed it."""
        await self.say(text)
        await expect(self.messages.filter(has_text=text).last).to_have_attribute("data-state", "sent")

    async def make_room(self, name: str) -> None:
        """Make a room or join it by name."""
        field = self.page.get_by_test_id("new-room-name")
        await field.fill(name)
        await field.press("Enter")

    async def go(self, room: str) -> None:
        """Choose a room in the list; who is not in it joins it."""
        await self.page.bring_to_front()  # behind another tab, the browser draws once a second
        await self.room(room).get_by_role("button").click()
        await expect(self.title).to_have_text(f"# {room}")

    async def talk_in_private(self, name: str) -> None:
        """Choose a person in the list of those who are here."""
        await self.person(name).get_by_role("button").click()
        await expect(self.title).to_have_text(name)

    async def received(self, text: str) -> None:
        """Wait until a websocket frame with this text has come."""
        await until(lambda: self.has_received(text))

    def has_received(self, text: str) -> bool:
        """Whether a websocket frame with this text has come."""
        return any(text in frame for frame in self.frames)

    def _on_websocket(self, websocket: WebSocket) -> None:
        websocket.on("framereceived", lambda data: self.frames.append(data if isinstance(data, str) else repr(data)))


class Chat:
    """Opens the chat's page, at one address."""

    def __init__(self, url: str, pages: Pages) -> None:
        self.url = url
        self._pages = pages

    async def open(self) -> ChatPage:
        """The page as a new visitor sees it."""
        page = ChatPage(await self._pages.open())
        await page.page.goto(self.url)
        return page

    async def enter(self, name: str, *, transport: str = "websocket") -> ChatPage:
        """The page of a new visitor who has signed in."""
        page = await self.open()
        await page.sign_in(name, transport=transport)
        return page

    async def tab(self, other: ChatPage) -> ChatPage:
        """Another tab of the same browser, so of the same person."""
        page = ChatPage(await self._new_tab(other.page.context))
        await page.page.goto(self.url)
        await page.see_online()
        return page

    async def _new_tab(self, context: BrowserContext) -> Page:
        page = await context.new_page()
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self._pages.errors.append(f"uncaught: {error.message}"))
        return page

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._pages.errors.append(f"console: {message.text}")
