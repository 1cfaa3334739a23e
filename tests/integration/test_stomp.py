"""STOMP with stock clients: ``@stomp/stompjs`` in Node and in a browser, and a room of all kinds of clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any, Final

import pytest
from aiohttp import ClientSession, web

from rtframework import Deflate, EventError, Server, Socket, StaticTokenAuth
from tests.conftest import Serve
from tests.engine import eventually
from tests.support.browser import Pages
from tests.support.js import JS_FOLDER, JSClients
from tests.support.stomp import StompPeer

STOMPJS: Final = JS_FOLDER / "node_modules" / "@stomp" / "stompjs"

needs_stompjs = pytest.mark.skipif(
    not STOMPJS.is_dir(), reason="@stomp/stompjs is not in tests/js/node_modules: run scripts/bootstrap test"
)

SEEN: Final[dict[str, Any]] = {
    "refused": ["Unknown token", "unknown_token"],
    "connected": ["1.2", "25000,25000", "ada"],
    "said": ["/topic/news:1", "said", True, {"text": "hé"}],
    "text": ["text/plain;charset=UTF-8", "plain: text"],
    "mail": ["/user/queue/mail", "mail", "2", [1, 2]],
    "reply": ["c:1", "application/octet-stream", [255, 0, 1]],
    "failed": ["c2", "no", "no"],
    "transaction": ["zero", "one", "two"],
    "acked": None,
    "nacked": {"error": {"code": "nack", "message": "no"}},
    "answered": {"sure": 1},
    "once": ["/app/state", {"ready": True}],
    "after": 0,
    "large": 50_000,
    "closed": [1000, True],
}


OVER_SOCKJS: Final = SEEN | {
    "reply": ["c:1", "text/plain;charset=UTF-8", "\u2028\0a"],
    "bytes": ["no frame, but what SockJS makes of bytes: it carries text, so send no binaryBody", 4400],
}
GONE: Final = ["client namespace disconnect", "parse error", "client namespace disconnect"]
"""The reasons for which its clients go."""


def serving(**options: Any) -> tuple[Server, list[str]]:
    """Make a server for the talk of ``stomp_talk.mjs``, and the reasons for which its clients have gone."""

    io = Server(auth=StaticTokenAuth({"right": "ada"}), **options)
    reasons: list[str] = []
    io.on("disconnect")(lambda socket, reason: reasons.append(reason))

    @io.on("say")
    async def say(socket: Socket, message: Any) -> None:
        await io.to("news:1").emit("said", message)

    @io.on("mail me")
    async def mail_me(socket: Socket, one: int, two: int) -> None:
        await io.user("ada").emit("mail", one, two)

    @io.on("ask me")
    async def ask_me(socket: Socket) -> None:
        await socket.emit("mail", await socket.emit_with_ack("sure?"))

    io.on("reverse")(lambda socket, data: data[::-1])
    io.on("count")(lambda socket, text: len(text))
    io.on("state")(lambda socket: {"ready": True})

    @io.on("fail")
    def fail(socket: Socket) -> None:
        raise EventError("no", "not this one")

    return io, reasons


def application(io: Server) -> web.Application:
    """Make an application with STOMP and Socket.IO."""
    app = web.Application()
    io.attach_stomp(app, "/stomp", topics="news:{id}")
    io.attach_sockjs(app, "/spring", carries="stomp", topics="news:{id}")
    io.attach(app)
    return app


@needs_stompjs
@pytest.mark.parametrize("version", ["1.2", "1.1"])
async def test_stompjs_in_node(serve: Serve, version: str) -> None:
    """Services that speak STOMP would have to be rewritten."""
    io, reasons = serving()
    server = await serve(application(io))
    output = await run_in_node(server.url.replace("http", "ws") + "/stomp", version)
    expected = SEEN | {"connected": [version, *SEEN["connected"][1:]]}
    if version == "1.1":  # stompjs leaves the escapes of 1.1 as they are
        expected |= {"reply": ["c:1", *SEEN["reply"][1:]]}
    assert output == expected
    await eventually(lambda: reasons == ["client namespace disconnect"] * 2)
    await eventually(lambda: not io._server.eio.connections)


@needs_stompjs
@pytest.mark.parametrize("transport", ["websocket", "xhr-streaming", "eventsource", "xhr-polling"])
async def test_stompjs_over_sockjs_in_node(serve: Serve, transport: str) -> None:
    """Programs that were written for Spring's SockJS would have to be rewritten."""
    io, reasons = serving()
    transports: list[str] = []
    io.on("connection")(lambda socket: transports.append(socket.conn.transport))
    server = await serve(application(io))
    assert await run_in_node(server.url + "/spring", "1.2", transport) == OVER_SOCKJS
    await eventually(lambda: reasons == GONE)
    assert set(transports) == {"sockjs " + transport.replace("xhr-polling", "xhr").replace("-", "_")}
    await eventually(lambda: not io._server.eio.connections)


async def run_in_node(*arguments: str) -> Any:
    """Run ``stomp.mjs``. Return what it has seen."""
    process = await asyncio.create_subprocess_exec(
        "node", "stomp.mjs", *arguments, cwd=JS_FOLDER, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(60):
            output, _ = await process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    return json.loads(output)


@needs_stompjs
async def test_stompjs_in_a_browser(serve: Serve, browser: Pages) -> None:
    """Pages written for Spring could not use the server."""
    io, reasons = serving(per_message_deflate=Deflate(threshold=0))
    server = await serve(with_page(application(io)))
    page = await browser.open(server.url)
    seen = await page.evaluate(
        """async () => {
            const { talk } = await import("/talk.mjs");
            return talk(StompJs, location.origin.replace("http", "ws") + "/stomp", "1.2");
        }"""
    )
    assert seen == SEEN
    await eventually(lambda: reasons == ["client namespace disconnect"] * 2)


@needs_stompjs
async def test_stompjs_over_sockjs_in_a_browser(serve: Serve, browser: Pages) -> None:
    """Pages of Spring's, old ones with ``Stomp.over`` as well, could not use the server."""
    io, reasons = serving()
    server = await serve(with_page(application(io)))
    page = await browser.open(server.url)
    for transport in ("websocket", "xhr-streaming"):
        seen = await page.evaluate(
            """async (transport) => {
                const { talk } = await import("/talk.mjs");
                return talk({ ...StompJs, SockJS, transport }, "/spring", "1.2");
            }""",
            transport,
        )
        assert seen == OVER_SOCKJS, transport
    await eventually(lambda: reasons == GONE * 2)
    old = """() => new Promise((resolve, reject) => {
        const client = StompJs.Stomp.over(new SockJS("/spring"));
        client.debug = () => {};
        client.connect({ token: "right" }, () => {
            client.subscribe("/topic/news:1", ({ body }) => client.disconnect(() => resolve(body)));
            client.send("/app/say", {}, JSON.stringify("as in 2013"));
        }, reject);
    })"""
    assert await page.evaluate(old) == "as in 2013"
    await eventually(lambda: not io._server.eio.connections)


def with_page(app: web.Application) -> web.Application:
    """Add a page with the stock libraries, and the talk."""

    async def page_of(request: web.Request) -> web.Response:
        head = "<!doctype html><title>A page</title><link rel=icon href='data:'>"
        scripts = "<script src=/stomp.js></script><script src=/sockjs.js></script>"
        return web.Response(text=head + scripts, content_type="text/html")

    def file_of(path: Any) -> Any:
        async def answer(request: web.Request) -> web.Response:
            return web.Response(text=path.read_text(), content_type="text/javascript")

        return answer

    app.router.add_get("/", page_of)
    app.router.add_get("/stomp.js", file_of(STOMPJS / "bundles" / "stomp.umd.js"))
    app.router.add_get("/sockjs.js", file_of(JS_FOLDER / "node_modules" / "sockjs-client" / "dist" / "sockjs.min.js"))
    app.router.add_get("/talk.mjs", file_of(JS_FOLDER / "stomp_talk.mjs"))
    return app


async def test_one_room_of_all_kinds(serve: Serve, js: JSClients) -> None:
    """A message by one kind of client would be seen by its own kind alone."""
    io = Server(allow_eio3=True)

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        if socket.conn.transport != "stomp":
            await socket.join("news:1")

    @io.on("say")
    async def say(socket: Socket, text: str) -> None:
        await io.to("news:1").emit("said", text)

    app = application(io)
    io.attach_websocket(app, "/ws")
    server = await serve(app)
    four = await js.connect(server.url)
    two = await js.connect(server.url, v2=True)
    stomp = await StompPeer.connect(server.url, "", {})
    stomp.say("SUBSCRIBE", id="news", destination="/topic/news:1", receipt="news")
    assert (await stomp.next()).headers == {"receipt-id": "news"}
    async with ClientSession() as http, http.ws_connect(f"{server.url}/ws") as plain:
        await plain.receive()
        for number in range(4):
            if number == 0:
                await four.emit("say", f"{number}")
            elif number == 1:
                await two.emit("say", f"{number}")
            elif number == 2:
                await plain.send_json({"event": "say", "args": [f"{number}"]})
            else:
                await stomp.emit("say", f"{number}")
            assert (await plain.receive_json())["args"] == [f"{number}"]
            assert await four.wait_for("said") == await two.wait_for("said") == [f"{number}"]
            got = await stomp.next()
            assert (got.headers["destination"], got.headers["subscription"], got.args) == (
                *("/topic/news:1", "news"),
                [f"{number}"],
            )
    stomp.drop()
