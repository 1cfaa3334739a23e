"""The page on front ends: what it says about tokens and about proxies that change the host."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from typing import Final

import jwt
import pytest
from aiohttp import web

from rtframework import Handshake, Server, Socket
from rtframework_jwt import JWTAuth
from tests.conftest import Serve
from tests.support.browser import Pages
from tests.support.contract import TypeScript
from tests.support.front import block_of
from tests.support.raw import raw_client
from tests.support.react import add_page, has_react
from tests.support.until import until

PAGE: Final = "../how-to/front-ends.md"
KEY: Final = secrets.token_urlsafe(32)

SIGN_IN: Final = """
const tokens = JSON.parse(process.argv[2]);
export const newToken = async () => tokens.shift();
export const showSignIn = (message) => {
  console.log(JSON.stringify(["sign in", message]));
  process.exit(0);
};
"""
WELCOME: Final = """
socket.on("welcome", (id) => {
  console.log(JSON.stringify(["connected", id]));
  process.exit(0);
});
"""


def token(expires_in: float) -> str:
    """A token of somebody, which expires in so many seconds."""
    return jwt.encode({"sub": "ada", "name": "Ada", "exp": int(time.time() + expires_in)}, KEY, algorithm="HS256")


@pytest.mark.parametrize(
    ("lifetimes", "ends"),
    [
        ((60,), ["connected", "ada"]),
        ((-60, 60), ["connected", "ada"]),
        ((-60, -60, 60), ["sign in", "The token has expired"]),
    ],
    ids=["good", "refreshed", "always expired"],
)
async def test_a_token_is_refreshed(
    lifetimes: tuple[float, ...], ends: list[str], serve: Serve, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """People would be thrown out each hour, or a page ask for tokens in an endless circle."""
    io = Server(auth=JWTAuth(key=KEY, algorithms=["HS256"]))

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.emit("welcome", socket.user.id)

    server = await serve(io)
    page = block_of(PAGE, "js", "token")
    assert '"https://chat.example.org"' in page
    folder = TypeScript(tmp_path_factory.mktemp("page"))
    folder.write("sign-in.js", SIGN_IN)
    folder.write("socket.js", page.replace('"https://chat.example.org"', json.dumps(server.url)))
    folder.write("main.js", 'import { socket } from "./socket.js";\n' + WELCOME)
    printed = await folder.run("main.js", json.dumps([token(each) for each in lifetimes]))
    assert json.loads(printed) == ends


@pytest.mark.parametrize(
    ("host", "named", "status"),
    [
        ("localhost:5173", None, 200),  # changeOrigin: false
        ("localhost:8080", None, 403),  # changeOrigin: true
        ("localhost:8080", ["http://localhost:5173"], 200),
    ],
)
async def test_what_change_origin_changes(host: str, named: list[str] | None, status: int, serve: Serve) -> None:
    """A page would be refused in development, and the option that is blamed be the wrong one."""
    server = await serve(Server(cors_allowed_origins=named))
    headers = {"Origin": "http://localhost:5173", "Host": host}
    async with raw_client(server.url) as raw, asyncio.timeout(5):
        answer = await raw.request("GET", query={"EIO": "4", "transport": "polling"}, headers=headers)
        assert answer.status == status


# --- React ------------------------------------------------------------------------------------------------------------

HOOKS: Final = """
import { StrictMode, createElement } from "react";
import { createRoot } from "react-dom/client";
import { socket } from "./socket.js";
import { useConnected, useMessages } from "./chat.js";

function Chat() {
  const connected = useConnected();
  const messages = useMessages("den");
  return createElement("p", null, `${connected ? "here" : "away"}: ${messages.join(" ")}`);
}
const show = createElement(StrictMode, null, createElement(Chat));
const root = createRoot(document.getElementById("root"));
root.render(show);
window.hide = () => root.render(createElement(StrictMode, null, null));
window.socket = socket;
socket.connect(); // when somebody has signed in
"""

EFFECT: Final = """
import { StrictMode, createElement, useEffect } from "react";
import { createRoot } from "react-dom/client";
import { Manager } from "socket.io-client";

const manager = new Manager({ autoConnect: false, transports: TRANSPORTS });
const main = PLACE === "/" ? null : manager.socket("/", {});
const socket = manager.socket(PLACE, { auth: { tab: "one" } });
window.got = [];
window.effects = [];
socket.on("news", (text) => window.got.push(text));
window.mount = () =>
  createRoot(document.getElementById("root")).render(createElement(StrictMode, null, createElement(Connects)));
function Connects() {
  useEffect(() => {
    window.effects.push("connect");
    socket.connect();
    return () => {
      window.effects.push("disconnect");
      socket.disconnect();
    };
  }, []);
  return null;
}
window.socket = socket;
window.main = main;
window.roundTrip = () => main.emitWithAck("echo");
main?.connect();
"""

needs_react = pytest.mark.skipif(not has_react(), reason="React is missing: `make test` installs it")


class Slow:
    """An authenticator that takes until ``gate`` is set; ``asked`` has what each of its questions was about."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.asked: list[str] = []

    async def authenticate(self, handshake: Handshake) -> str:
        """Let everybody in, in time."""
        self.asked.append(handshake.auth.get("tab", ""))
        await self.gate.wait()
        return "ada"


def page_server(auth: Slow) -> tuple[Server, list[str]]:
    """Make a server of rooms, and the list of what it hears of sockets that join, leave, come and go."""
    io = Server(auth=auth)
    heard: list[str] = []

    @io.on("join")
    async def join(socket: Socket, room: str) -> None:
        heard.append("join")
        await socket.join(room)

    @io.on("leave")
    async def leave(socket: Socket, room: str) -> None:
        heard.append("leave")
        await socket.leave(room)

    @io.on("echo")
    async def echo(socket: Socket) -> str:
        return "echo"

    for nsp in (io.of("/"), io.of("/den")):

        @nsp.on("connection")
        async def connection(socket: Socket) -> None:
            heard.append(f"came to {socket.nsp}")

        @nsp.on("disconnect")
        async def disconnect(socket: Socket, reason: str) -> None:
            heard.append(f"left {socket.nsp}")

    return io, heard


@needs_react
@pytest.mark.parametrize("slow", [False, True], ids=["at once", "slow"])
async def test_the_hooks_in_strict_mode(serve: Serve, browser: Pages, slow: bool) -> None:
    """Each message would be shown twice in development, or a user would be in a room twice, or in none."""
    auth = Slow()
    io, heard = page_server(auth)
    app = web.Application()
    io.attach(app)
    url = "https://chat.example.org"
    socket_js = block_of(PAGE, "js", "socket")
    assert f'"{url}"' in socket_js
    files = {"socket.js": socket_js.replace(f'"{url}"', "location.origin"), "chat.js": block_of(PAGE, "js", "react")}
    add_page(app, {**files, "main.js": HOOKS})
    if not slow:
        auth.gate.set()
    server = await serve(app)
    page = await browser.open(server.url)
    if slow:
        await until(lambda: auth.asked)
        assert await page.text_content("p") == "away: "
        auth.gate.set()
    await page.wait_for_function("document.querySelector('p').textContent === 'here: '")
    await until(lambda: heard[-1:] == ["join"])
    (socket,) = io.sockets.values()
    assert io.engine.clients_count == 1
    assert len(auth.asked) == 1
    await io.to("den").emit("message", "one")
    await io.to("den").emit("message", "two")
    await page.wait_for_function("document.querySelector('p').textContent.endsWith('two')")
    assert await page.text_content("p") == "here: one two"
    before = len(heard)
    await page.evaluate("hide()")
    await until(lambda: heard[before:] == ["leave"])
    assert await page.evaluate("socket.listeners('message').length + socket.listeners('connect').length") == 0
    assert (list(io.sockets.values()), "den" in socket.rooms) == ([socket], False)


@needs_react
@pytest.mark.parametrize("slow", [False, True], ids=["at once", "slow"])
@pytest.mark.parametrize("transports", [["websocket"], ["polling", "websocket"]], ids="+".join)
@pytest.mark.parametrize("nsp", ["/", "/den"])
async def test_an_effect_that_connects_in_strict_mode(
    serve: Serve, browser: Pages, nsp: str, transports: list[str], slow: bool
) -> None:
    """A page in development would lose its connection, or leave a socket behind that no client knows of."""
    auth = Slow()
    io, heard = page_server(auth)
    app = web.Application()
    io.attach(app)
    main = EFFECT.replace("PLACE", json.dumps(nsp)).replace("TRANSPORTS", json.dumps(transports))
    add_page(app, {"main.js": main})
    auth.gate.set()
    server = await serve(app)
    page = await browser.open(server.url)
    if nsp != "/":
        await page.wait_for_function("main.connected")
    if slow:
        auth.gate.clear()
    await page.evaluate("mount()")
    await page.wait_for_function("effects.length === 3")
    assert await page.evaluate("effects") == ["connect", "disconnect", "connect"]
    if nsp != "/":
        await page.evaluate("roundTrip()")  # so both CONNECTs have arrived
    await until(lambda: "one" in auth.asked)
    auth.gate.set()
    await page.wait_for_function("socket.connected")
    namespace = io.of(nsp)
    # By polling the first handshake was answered to nobody: its session, without a socket, lasts until connect_timeout.
    most = 2 if nsp == "/" and transports[0] == "polling" else 1
    await until(lambda: len(namespace.sockets) == 1 and io.engine.clients_count <= most)
    assert list(namespace.sockets) == [await page.evaluate("socket.id")]
    if nsp != "/":
        assert list(io.sockets) == [await page.evaluate("main.id")]
        assert "left /" not in heard
    assert heard.count(f"came to {nsp}") - heard.count(f"left {nsp}") == 1
    await namespace.emit("news", "one")
    await namespace.emit("news", "two")
    await page.wait_for_function("got.includes('two')")
    assert await page.evaluate("got") == ["one", "two"]
