"""The package for JavaScript clients: who is in a room, without a framework, in React and in Vue.

The servers here emit by hand what the framework does, so that the wire is written down once more.
"""

from __future__ import annotations

from typing import Final

import pytest
from aiohttp import web

from rtframework import Server, Socket
from tests.conftest import Serve
from tests.support.browser import Pages
from tests.support.client_page import IMPORTS, PACKAGE, ClientPage, client_page, has_vue, open_server
from tests.support.react import add_page, has_react
from tests.support.server import RunningServer

PLACES: Final = ("page", "worker", "shared-worker")
ADA: Final = {"user": "ada", "meta": {"name": "Ada"}, "tabs": 2}
BOB: Final = {"user": "bob", "meta": None, "tabs": 1}


def house() -> tuple[Server, list[Socket]]:
    """Make a server that tells everybody who joins a room that Ada is there, and the list of its sockets."""
    io = open_server()
    here: list[Socket] = []

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        here.append(socket)

    @io.on("join")
    async def join(socket: Socket, room: str) -> None:
        await socket.emit("presence", {"room": room, "members": [ADA]})
        await socket.join(room)

    @io.on("say")
    async def say(socket: Socket, text: str) -> None:
        """Tell of Bob what he does, and then what he says."""
        member = {"room": "den", "user": "bob", "meta": None}
        await io.emit("presence_join", member)
        await io.emit("said", text)
        await io.emit("presence_update", {**member, "meta": {"typing": True}})
        await io.emit("presence_leave", member)

    return io, here


@pytest.mark.parametrize("place", PLACES)
async def test_who_is_in_a_room(serve: Serve, browser: Pages, place: str) -> None:
    """A page would show people who have left, or a message by somebody who is not in its list."""
    io, _ = house()
    server = await serve(io)
    client = ClientPage(await browser.open())
    await client.load((await serve(client_page())).url)
    await client.start({"hosts": server.url, "runIn": place})
    await client.run(
        """(() => {
          window.lists = [];
          window.den = presence(socket, "den");
          window.stop = den.subscribe((members) => lists.push(members));
          socket.on("said", () => lists.push(den.get().map(({ user }) => user)));
          socket.emit("join", "den");
          socket.emit("join", "attic");
          socket.emit("say", "hello");
        })()"""
    )
    await client.until("lists.length === 6")
    assert await client.run("lists") == [
        [],
        [ADA],
        [ADA, BOB],
        ["ada", "bob"],
        [ADA, {**BOB, "meta": {"typing": True}}],
        [ADA],
    ]
    # Asked for when the server has told already.
    assert await client.run("presence(socket, 'attic').get()") == [ADA]
    await client.run("stop()")
    await client.run("socket.emitWithAck('say', 'again')")
    assert await client.run("[lists.length, den.get().length]") == [7, 1]


async def test_a_tab_that_comes_later(serve: Serve, browser: Pages) -> None:
    """A second tab would show an empty room: the server has told of it when the first one joined."""
    io, here = house()
    server = await serve(io)
    pages = await serve(client_page())
    first = ClientPage(await browser.open())
    second = ClientPage(await first.page.context.new_page())
    for each in (first, second):
        await each.load(pages.url)
    await first.start({"hosts": server.url, "runIn": "shared-worker"})
    await first.run("socket.emitWithAck('join', 'den')")
    await second.start({"hosts": server.url, "runIn": "shared-worker"})
    await second.until("presence(socket, 'den').get().length === 1")
    assert len(here) == 1


async def test_the_stock_clients_socket(serve: Serve, browser: Pages) -> None:
    """The helper would be of use only to those who use the rest of the package."""
    io, _ = house()
    server = await serve(io)
    client = ClientPage(await browser.open())
    await client.load((await serve(client_page())).url)
    await client.run(
        f"""import("socket.io-client").then(async ({{ io }}) => {{
          window.stock = io("{server.url}");
          window.den = presence(stock, "den");
          await stock.emitWithAck("join", "den");
        }})"""
    )
    assert await client.run("den.get()") == [ADA]


# --- frameworks -------------------------------------------------------------------------------------------------------

REACT: Final = """
import { StrictMode, createElement, useState } from "react";
import { createRoot } from "react-dom/client";
import { connect } from "@rtframework/client";
import { usePresence, useStatus } from "@rtframework/client/react";

const connection = connect();
const { socket } = connection;

function People({ room }) {
  const status = useStatus(connection);
  const members = usePresence(socket, room);
  return createElement("p", null, `${status.state} ${room}: ${members.map(({ user }) => user).join(" ")}`);
}
function App() {
  const [room, setRoom] = useState("den");
  window.setRoom = setRoom;
  return createElement(People, { room });
}
const root = createRoot(document.getElementById("root"));
root.render(createElement(StrictMode, null, createElement(App)));
window.unmount = () => root.unmount();
window.socket = socket;
"""

VUE: Final = """
import { createApp, h, ref } from "vue";
import { connect } from "@rtframework/client";
import { usePresence, useStatus } from "@rtframework/client/vue";

const connection = connect();
const { socket } = connection;
const room = ref("den");
const app = createApp({
  setup() {
    const status = useStatus(connection);
    const members = usePresence(socket, room);
    return () => h("p", `${status.value.state} ${room.value}: ${members.value.map(({ user }) => user).join(" ")}`);
  },
});
app.mount("#root");
Object.assign(window, { socket, setRoom: (name) => (room.value = name), unmount: () => app.unmount() });
"""


async def shows_who_is_there(browser: Pages, server: RunningServer) -> None:
    """Follow a page of a framework as people come and go, and as it changes the room."""
    client = ClientPage(await browser.open(server.url))

    async def shows(text: str) -> None:
        await client.until(f"document.querySelector('p')?.textContent === '{text}'")

    await shows("connected den: ")
    await client.run("socket.emitWithAck('join', 'den')")
    await shows("connected den: ada")
    await client.run("setRoom('attic'), undefined")
    await shows("connected attic: ")
    await client.run("socket.emitWithAck('join', 'attic')")
    await shows("connected attic: ada")
    await client.run("setRoom('den'), undefined")
    await shows("connected den: ada")
    await client.run("socket.disconnect(), undefined")
    await shows("idle den: ada")
    await client.run("unmount()")
    assert await client.run("document.getElementById('root').textContent") == ""


@pytest.mark.skipif(not has_react(), reason="React is missing: `make test` installs it")
async def test_react(serve: Serve, browser: Pages) -> None:
    """In React a list would not be shown when it changes, or warn of endless renders."""
    io, _ = house()
    app = web.Application()
    io.attach(app)
    package = {name: path for name, path in IMPORTS.items() if name.startswith("@rtframework")}
    add_page(app, {"main.js": REACT}, package)
    app.router.add_static("/package", PACKAGE)
    await shows_who_is_there(browser, await serve(app))


@pytest.mark.skipif(not has_vue(), reason="Vue is missing: `make test` installs it")
async def test_vue(serve: Serve, browser: Pages) -> None:
    """In Vue a list would not be shown when it changes, or listen for ever to a room that is not shown."""
    io, _ = house()
    app = client_page({"main.js": VUE}, main=True)
    io.attach(app)
    await shows_who_is_there(browser, await serve(app))
