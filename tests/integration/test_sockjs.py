"""SockJS with the stock client: in Node and in Chromium, also from a page of another origin; and on workers."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import pytest
from aiohttp import web

from rtframework import Server, Socket
from rtframework.gateways.plain_websocket import PlainClient
from rtframework.gateways.sockjs import SockJSGateway
from rtframework.gateways.sockjs_session import SockJSSession
from tests.conftest import Serve
from tests.engine import eventually
from tests.support.js import JSClients
from tests.support.port import Port
from tests.support.server import RunningServer

if TYPE_CHECKING:
    from tests.support.browser import Pages

JS: Final = Path(__file__).parent.parent / "js"
SCRIPT: Final = JS / "node_modules" / "sockjs-client" / "dist" / "sockjs.min.js"
SAID: Final = 'é 日本 😀 \u2028 </script> "quoted" \x00'
HTTP: Final = ("xhr-streaming", "eventsource", "htmlfile", "xhr-polling")
FROM_ELSEWHERE: Final = ("websocket", "xhr-streaming", "eventsource", "xhr-polling")
IFRAMES: Final = ("iframe-eventsource", "iframe-htmlfile", "iframe-xhr-polling")

TALK: Final = """([url, transport, said]) => new Promise((resolve) => {
    const seen = [];
    const socket = new SockJS(url, null, { transports: [transport], timeout: 10000 });
    const send = (content) => socket.send(JSON.stringify(content));
    socket.onopen = () => {
        seen.push(socket.transport);
        send({ event: "add", args: [1, 2], id: 1 });
        send({ event: "say", args: [said] });
    };
    socket.onmessage = ({ data }) => {
        const content = JSON.parse(data);
        seen.push(content.args ?? content.type);
        if (content.event === "said") send({ event: "send me away" });
    };
    socket.onclose = ({ code }) => { seen.push(code); resolve(seen); };
})"""


def program(**options: Any) -> Server:
    """Make a server whose clients add, talk and are sent away."""
    io = Server(**options)

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.join("lobby")

    io.on("add")(lambda socket, a, b: a + b)
    io.on("say")(lambda socket, text: io.to("lobby").emit("said", text))
    io.on("send me away")(lambda socket: socket.disconnect())
    return io


async def serve_sockjs(serve: Serve, io: Server, **options: Any) -> RunningServer:
    """Serve Socket.IO, SockJS, the client's script and an empty page."""
    app = web.Application()
    io.attach(app)
    io.attach_sockjs(app, client_url="/sockjs.min.js", **options)

    async def page(request: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><body><script src=/sockjs.min.js></script>", content_type="text/html")

    async def script(request: web.Request) -> web.FileResponse:
        return web.FileResponse(SCRIPT)

    app.router.add_get("/page", page)
    app.router.add_get("/favicon.ico", page)
    app.router.add_get("/sockjs.min.js", script)
    return await serve(app)


async def test_the_page_of_an_allowed_origin_uses_each_transport(serve: Serve, browser: Pages) -> None:
    """Pages behind a proxy that lets no websocket through would not connect."""
    other = await serve_sockjs(serve, program())
    io = program(cors_allowed_origins=[other.url])
    server = await serve_sockjs(serve, io)
    for url, transports in ((server.url, ("websocket", *HTTP)), (other.url, (*FROM_ELSEWHERE, *IFRAMES))):
        page = await browser.open(f"{url}/page")
        for transport in transports:
            seen = await page.evaluate(TALK, [f"{server.url}/sockjs", transport, SAID])
            assert seen == [transport, "connected", [3], [SAID], "disconnected", 4410], transport
    await eventually(lambda: not io.sockets)


async def test_a_stream_that_has_come_to_its_limit_goes_on_without_a_hole(serve: Serve, browser: Pages) -> None:
    """Whatever is said while the client comes again would be lost, or come twice."""
    io = program()

    @io.on("flood")
    async def flood(socket: Socket) -> None:
        for number in range(500):
            await socket.emit("n", number)
            if not number % 5:
                await asyncio.sleep(0)

    server = await serve_sockjs(serve, io, response_limit=2_000)
    page = await browser.open(f"{server.url}/page")
    count = """([url, transport]) => new Promise((resolve) => {
        const seen = [];
        const socket = new SockJS(url, null, { transports: [transport], timeout: 10000 });
        socket.onopen = () => socket.send(JSON.stringify({ event: "flood" }));
        socket.onmessage = ({ data }) => {
            const content = JSON.parse(data);
            if (content.event === "n") seen.push(content.args[0]);
            if (seen.length === 500) { resolve(seen); socket.close(); }
        };
        socket.onclose = () => resolve(seen);
    })"""
    for transport in HTTP:
        assert await page.evaluate(count, [f"{server.url}/sockjs", transport]) == list(range(500)), transport


async def test_a_rule_for_origins_that_is_a_function_lets_its_pages_embed(serve: Serve, browser: Pages) -> None:
    """Programs with such a rule would have no iframe transports."""
    other = await serve_sockjs(serve, program())
    server = await serve_sockjs(serve, program(cors_allowed_origins=lambda origin: origin == other.url))
    page = await browser.open(f"{other.url}/page")
    seen = await page.evaluate(TALK, [f"{server.url}/sockjs", "iframe-eventsource", SAID])
    assert seen[-1] == 4410


async def test_the_page_of_a_foreign_origin_gets_nothing_through_an_iframe(serve: Serve, browser: Pages) -> None:
    """Its visitors' cookies would open their sessions to it: the iframe is a page of ours."""
    other, server = await serve_sockjs(serve, program()), await serve_sockjs(serve, program())
    browser.expect_errors("frame-ancestors|CORS|Failed to load|ERR_")
    page = await browser.open(f"{other.url}/page")
    embedded = """(url) => new Promise((resolve) => {
        const frame = document.createElement("iframe");
        window.addEventListener("message", (event) => resolve(event.data));
        frame.addEventListener("load", () => setTimeout(() => resolve("nothing"), 300));
        frame.src = url;
        document.body.append(frame);
    })"""
    assert await page.evaluate(embedded, f"{server.url}/sockjs/iframe-1.6.1.html#x") == "nothing"
    assert (await page.evaluate(TALK, [f"{server.url}/sockjs", "iframe-eventsource", SAID]))[-1] == 1002
    own = await browser.open(f"{server.url}/page")
    assert "windowId" in await own.evaluate(embedded, f"{server.url}/sockjs/iframe-1.6.1.html#x")


@pytest.mark.parametrize("transport", ["websocket", "xhr-streaming", "eventsource", "xhr-polling"])
async def test_the_stock_client_in_node(serve: Serve, transport: str) -> None:
    """Programs in Node would not connect."""
    server = await serve_sockjs(serve, program())
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node")
    command = (node, str(JS / "sockjs.mjs"), f"{server.url}/sockjs", transport)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(60):
            printed, _ = await process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    opened, connected, answer, said, disconnected, closed = json.loads(printed)
    assert opened == {"transport": transport}
    assert connected["type"] == "connected"
    assert answer == {"type": "ack", "args": [3], "id": 1}
    assert said["args"] == [SAID]
    assert disconnected == {"type": "disconnected"}
    assert closed == {"code": 4410, "reason": "server namespace disconnect"}


async def test_one_emit_reaches_clients_of_all_protocols(serve: Serve, js: JSClients) -> None:
    """Clients of SockJS would be in rooms of their own."""
    io = program()
    server = await serve_sockjs(serve, io)
    node = await js.connect(server.url)
    async with aiohttp.ClientSession() as http, http.ws_connect(f"{server.url}/sockjs/0/x/websocket") as websocket:
        assert await websocket.receive_str(timeout=60) == "o"
        assert "connected" in await websocket.receive_str(timeout=60)
        async with http.post(f"{server.url}/sockjs/0/session1/xhr"):
            pass
        async with http.post(f"{server.url}/sockjs/0/session1/xhr") as response:
            assert "connected" in await response.text()
        await node.emit("say", "hi")
        assert await node.wait_for("said") == ["hi"]
        expected = r'a["{\"type\":\"event\",\"event\":\"said\",\"args\":[\"hi\"]}"]'
        assert await websocket.receive_str(timeout=60) == expected
        async with http.post(f"{server.url}/sockjs/0/session1/xhr") as response:
            assert await response.text() == expected + "\n"


async def test_a_thousand_visits_leave_nothing(serve: Serve) -> None:
    """Memory would grow with each page that is left."""

    def kept() -> list[Any]:
        gc.collect()
        return [each for each in gc.get_objects() if isinstance(each, PlainClient | SockJSSession)]

    of_others = kept()
    before = {id(each) for each in of_others}
    io = program()
    server = await serve_sockjs(serve, io, session_timeout=0.5)

    async def visit(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        kind, method = (("xhr_streaming", "POST"), ("xhr", "POST"), ("eventsource", "GET"))[number % 3]
        first = f"{method} /sockjs/0/visit{number}/{kind} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
        writer.write(first.encode())
        await reader.readuntil(b"o\n" if kind != "eventsource" else b"o\r\n\r\n")
        if number % 2:
            body = b'["{\\"event\\":\\"send me away\\"}"]'
            head = f"POST /sockjs/0/visit{number}/xhr_send HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            other, sending = await asyncio.open_connection("127.0.0.1", server.port)
            sending.write(head.encode() + body)
            await other.readuntil(b"\r\n\r\n")
            sending.close()
        writer.close()

    for number in range(0, 1000, 20):
        await asyncio.gather(*(visit(number + n) for n in range(20)))
    await eventually(lambda: not io._server.eio.connections)
    assert not io.sockets
    assert server.app is not None
    owners = [getattr(route.handler, "__self__", None) for route in server.app.router.routes()]
    gateway = next(each for each in owners if isinstance(each, SockJSGateway))
    await eventually(lambda: not gateway.sessions)
    assert not ({id(each) for each in kept()} - before)


async def test_the_requests_of_a_session_come_to_any_worker(port: Port) -> None:
    """With two workers, every second request would open a session of its own, or find none."""

    async def ask(path: str, body: str = "") -> str:
        async with aiohttp.ClientSession() as http, http.post(f"{port.url}/sockjs/0/{path}", data=body) as response:
            assert response.status in (200, 204), (path, response.status)
            return await response.text()

    pids: set[Any] = set()
    sessions = 0
    while sessions < 12 or len(pids) < 2:  # the kernel spreads connections by chance
        sessions += 1
        session = f"workers-{sessions}"
        assert await ask(f"{session}/xhr") == "o\n"
        got: list[Any] = []
        await ask(f"{session}/xhr_send", json.dumps([json.dumps({"event": "pid", "id": 1})]))
        while not got or got[-1]["type"] != "ack":
            got += map(json.loads, json.loads((await ask(f"{session}/xhr"))[1:]))
        pids.add(got[-1]["args"][0])
    async with (
        asyncio.timeout(60),
        aiohttp.ClientSession() as http,
        http.post(f"{port.url}/sockjs/0/workers-s/xhr_streaming") as stream,
    ):
        await stream.content.readuntil(b"o\n")
        assert b"connected" in await stream.content.readline()
        for number in range(8):
            await ask("workers-s/xhr_send", json.dumps([json.dumps({"event": "echo", "args": [number], "id": number})]))
            line = await stream.content.readline()
            assert json.loads(json.loads(line[1:])[0])["args"] == [number]
