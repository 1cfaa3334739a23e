"""The real Admin UI, the page of ``@socket.io/admin-ui``, in Chromium."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from aiohttp import web
from playwright.async_api import Page, Route, expect

from rtframework import Server, Socket
from rtframework_redis import RedisStreams
from tests.conftest import Serve
from tests.support.cluster.needs import needs
from tests.support.cluster.redis_server import running_redis
from tests.support.js import JS_FOLDER, JSClients
from tests.support.until import until

if TYPE_CHECKING:
    from tests.support.browser import Pages

DIST: Final = JS_FOLDER / "node_modules" / "@socket.io" / "admin-ui" / "ui" / "dist"


def application(io: Server) -> web.Application:
    """A server with the page under /ui/."""
    app = web.Application()
    io.attach(app)

    async def index(request: web.Request) -> web.FileResponse:
        return web.FileResponse(DIST / "index.html")

    app.router.add_get("/ui/", index)
    app.router.add_static("/ui", DIST)
    return app


async def without_cdn(route: Route) -> None:
    """The page asks for fonts from elsewhere."""
    await route.fulfill(status=200, content_type="text/css", body="")


async def log_in(page: Page, url: str, username: str, password: str) -> None:
    """Fill in the form and send it."""
    await page.get_by_label("Server URL").fill(url)
    await page.get_by_label("Username").fill(username)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Connect").click()


@pytest.fixture
async def page(browser: Pages) -> Page:
    """An empty page that gets nothing from other hosts."""
    page = await browser.open()
    await page.route(lambda url: not url.startswith("http://127.0.0.1"), without_cdn)
    return page


async def test_the_ui(serve: Serve, js: JSClients, page: Page) -> None:
    """The page that people know would not work with this server."""
    io = Server()
    io.instrument(username="ada", password="right", mode="development", server_id="the-server")

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        socket.data["name"] = "Grace"
        await socket.join("lobby")

    @io.on("say")
    async def say(socket: Socket, text: str) -> None:
        await io.emit("said", text)

    server = await serve(application(io))
    one = await js.connect(server.url, transports=["websocket"], extraHeaders={"Cookie": "session=SECRET"})
    two = await js.connect(server.url, transports=["polling"])
    one_id, two_id = await one.id(), await two.id()

    await page.goto(server.url + "/ui/")
    await log_in(page, server.url, "ada", "wrong")
    await expect(page.get_by_text("Invalid credentials")).to_be_visible()
    assert not io.of("/admin").sockets
    await log_in(page, server.url, "ada", "right")
    await expect(page.get_by_text("Invalid credentials")).not_to_be_visible()

    # the dashboard
    await expect(page.get_by_text("/admin", exact=True)).to_be_visible()
    await one.emit("say", "hello")

    # one socket
    await page.goto(server.url + "/ui/#/sockets/")
    await expect(page.get_by_role("row").filter(has_text=two_id)).to_contain_text("127.0.0.1")
    await page.get_by_text(one_id).click()
    await expect(page.get_by_text('"name": "Grace"')).to_be_visible()
    await expect(page.get_by_text("(hidden)").first).to_be_visible()
    assert "SECRET" not in await page.content()
    await expect(page.get_by_role("cell", name="lobby")).to_be_visible()

    # makes it join a room
    await page.get_by_label("Join a room").fill("from-the-ui")
    await page.get_by_label("Join a room").press("Enter")
    await page.locator("form").filter(has=page.get_by_label("Join a room")).get_by_role("button").last.click()
    await until(lambda: "from-the-ui" in io.sockets[one_id].rooms)
    await expect(page.get_by_role("cell", name="from-the-ui")).to_be_visible()

    # the rooms, and the events
    await page.goto(server.url + "/ui/#/rooms/")
    await expect(page.get_by_role("cell", name="from-the-ui")).to_be_visible()
    await one.emit("say", "again")
    await page.goto(server.url + "/ui/#/events/")
    await expect(page.get_by_text("from-the-ui").first).to_be_visible()
    await expect(page.get_by_text("said").first).to_be_visible()

    # disconnects it
    await page.goto(server.url + "/ui/#/sockets/")
    row = page.get_by_role("row").filter(has_text=one_id).filter(has_text="127.0.0.1").filter(has_text="WebSocket")
    await row.get_by_role("button").click()
    assert await one.disconnected() == "io server disconnect"
    await expect(row).to_have_count(0)
    assert list(io.sockets) == [two_id]
    await page.goto(server.url + "/ui/#/servers/")
    await expect(page.get_by_text("the-server")).to_be_visible()

    # a new page of the same browser does not ask for the password again
    await page.reload()
    await expect(page.get_by_text("the-server")).to_be_visible()
    await expect(page.get_by_label("Password")).not_to_be_visible()


async def test_the_ui_in_production(serve: Serve, js: JSClients, page: Page) -> None:
    """The dashboard would be empty, or show what it should not."""
    io = Server()
    io.instrument(username="ada", password="right")
    server = await serve(application(io))
    for transports in (["websocket"], ["websocket"], ["polling"]):
        await js.connect(server.url, transports=transports)
    await page.goto(server.url + "/ui/")
    await log_in(page, server.url, "ada", "right")
    await expect(page.get_by_role("row").filter(has_text="/admin")).to_contain_text("1")
    await js.connect(server.url, transports=["polling"])
    await expect(page.get_by_role("row").filter(has=page.get_by_text("/", exact=True))).to_contain_text("4")
    await expect(page.get_by_role("row").filter(has_text="WebSocket")).to_contain_text("3")  # the page itself, too
    kinds = "document.querySelector('#app').__vue__.$store.state.main.aggregatedEvents.map((event) => event.type)"
    await page.wait_for_function(f"['rawConnection', 'bytesIn', 'bytesOut'].every((kind) => {kinds}.includes(kind))")
    await expect(page.get_by_label("Password")).not_to_be_visible()


@needs("redis-server")
async def test_the_ui_with_two_servers(serve: Serve, js: JSClients, page: Page) -> None:
    """The page would show, and reach, only what the server that it is connected to has."""
    async with running_redis() as redis:
        ios = [Server(adapter=RedisStreams(redis.url, name=name)) for name in ("first", "second")]
        for io, name in zip(ios, ("the-first", "the-second"), strict=True):
            io.instrument(username="ada", password="right", mode="development", server_id=name)
        servers = [await serve(application(io)) for io in ios]
        one, two = [await js.connect(each.url, transports=["websocket"]) for each in servers]
        one_id, two_id = await one.id(), await two.id()

        await page.goto(servers[0].url + "/ui/")
        await log_in(page, servers[0].url, "ada", "right")
        await expect(page.get_by_text("/admin", exact=True)).to_be_visible()
        await page.goto(servers[0].url + "/ui/#/servers/")
        for name in ("the-first", "the-second"):
            await expect(page.get_by_text(name)).to_be_visible()
        await page.goto(servers[0].url + "/ui/#/sockets/")
        for sid in (one_id, two_id):
            await expect(page.get_by_role("row").filter(has_text=sid)).to_contain_text("WebSocket")

        # a client of the other server
        await page.get_by_text(two_id).click()
        await page.get_by_label("Join a room").fill("from-the-ui")
        await page.get_by_label("Join a room").press("Enter")
        await page.locator("form").filter(has=page.get_by_label("Join a room")).get_by_role("button").last.click()
        await until(lambda: "from-the-ui" in ios[1].sockets[two_id].rooms)
        await expect(page.get_by_role("cell", name="from-the-ui")).to_be_visible()
        await page.goto(servers[0].url + "/ui/#/sockets/")
        row = page.get_by_role("row").filter(has_text=two_id).filter(has_text="WebSocket")
        await row.get_by_role("button").click()
        assert await two.disconnected() == "io server disconnect"
        await expect(row).to_have_count(0)
        assert list(ios[0].sockets) == [one_id]
        for server in servers:
            await server.stop()
