"""Stock websocket clients, of Node, of a browser and of Python, beside clients of Socket.IO."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import websocket as websocket_client
from aiohttp import ClientSession, web
from prometheus_client import CollectorRegistry

from rtframework import Deflate, Server, Socket, StaticTokenAuth
from rtframework_prometheus import Metrics
from tests.conftest import Serve
from tests.engine import eventually
from tests.gateways import application
from tests.support.browser import Pages
from tests.support.js import JS_FOLDER, JSClients


def serving(**options: Any) -> tuple[Server, list[str]]:
    """Make a server for all clients, and the list of the reasons with which they leave."""
    io = Server(auth=StaticTokenAuth({"right": "ada"}), **options)
    reasons: list[str] = []
    io.on("disconnect")(lambda socket, reason: reasons.append(reason))

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.join("lobby")

    @io.on("add")
    def add(socket: Socket, one: int, two: int) -> int:
        return one + two

    @io.on("picture")
    def picture(socket: Socket, content: bytes) -> bytes:
        return content[::-1]

    @io.on("ask me")
    async def ask(socket: Socket) -> None:
        await socket.emit("thanks", await socket.emit_with_ack("who?"))

    @io.on("say")
    async def say(socket: Socket, text: str) -> None:
        await io.to("lobby").emit("said", text)

    return io, reasons


async def test_node_s_ws(serve: Serve) -> None:
    """Services in Node would have to speak Socket.IO."""
    io, reasons = serving(per_message_deflate=Deflate(threshold=0))
    server = await serve(application(io))
    process = await asyncio.create_subprocess_exec(
        *("node", "plain_websocket.mjs", f"{server.url}/ws?auth=message"),
        cwd=JS_FOLDER,
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(20):
        output, _ = await process.communicate()
    seen = json.loads(output)
    assert seen[1].pop("sid")
    assert seen == [
        {"protocol": "rtframework.v1"},
        {"type": "connected"},
        {"type": "ack", "args": [3], "id": 1},
        {
            "type": "ack",
            "args": [{"_placeholder": True, "num": 0}],
            "id": 2,
            "attachments": [2],
            "bytes": "ff00",
        },
        {"type": "event", "event": "who?", "args": [], "id": seen[4]["id"]},
        {"type": "event", "event": "thanks", "args": ["node"]},
        {"pong": "are you there?"},
        {"code": 4999, "reason": ""},
    ]
    await eventually(lambda: reasons == ["transport close"])


async def test_a_browser(serve: Serve, browser: Pages) -> None:
    """Pages would have to load a library."""
    io, reasons = serving(per_message_deflate=Deflate(threshold=0))
    app = application(io)

    async def page_of(request: web.Request) -> web.Response:
        return web.Response(
            text="<!doctype html><title>A page</title><link rel=icon href='data:'>", content_type="text/html"
        )

    app.router.add_get("/", page_of)
    server = await serve(app)
    page = await browser.open(server.url)
    seen = await page.evaluate(
        """() => new Promise((resolve) => {
            const seen = [];
            const socket = new WebSocket(location.origin.replace("http", "ws") + "/ws?token=right", "rtframework.v1");
            socket.binaryType = "arraybuffer";
            socket.onopen = () => socket.send(JSON.stringify({ event: "add", args: [1, 2], id: 1 }));
            socket.onmessage = ({ data }) => {
                if (data instanceof ArrayBuffer) {
                    const end = 4 + new DataView(data).getUint32(0);
                    const content = JSON.parse(new TextDecoder().decode(data.slice(4, end)));
                    seen.push(content.id, [...new Uint8Array(data, end)]);
                    socket.send(JSON.stringify({ type: "disconnect" }));
                    return;
                }
                const content = JSON.parse(data);
                seen.push(content.type);
                if (content.type === "ack") {
                    const head = new TextEncoder().encode(JSON.stringify({
                        event: "picture", args: [{ _placeholder: true, num: 0 }], id: 2, attachments: [3] }));
                    const message = new Uint8Array(4 + head.length + 3);
                    new DataView(message.buffer).setUint32(0, head.length);
                    message.set(head, 4);
                    message.set([1, 2, 3], 4 + head.length);
                    socket.send(message);
                }
            };
            socket.onclose = ({ code, wasClean }) => resolve([socket.protocol, ...seen, code, wasClean]);
        })"""
    )
    assert seen == ["rtframework.v1", "connected", "ack", 2, [3, 2, 1], 1000, True]
    assert reasons == ["client namespace disconnect"]
    refused = await page.evaluate(
        """() => new Promise((resolve) => {
            const socket = new WebSocket(location.origin.replace("http", "ws") + "/ws?token=wrong");
            socket.onmessage = ({ data }) => socket.said = JSON.parse(data);
            socket.onclose = ({ code, reason }) => resolve([socket.said.data.code, code, reason]);
        })"""
    )
    assert refused == ["unknown_token", 4401, "Unknown token"]
    async with asyncio.timeout(10):
        leaving = asyncio.create_task(
            page.evaluate(
                """() => new Promise((resolve) => {
                    const socket = new WebSocket(location.origin.replace("http", "ws") + "/ws?token=right");
                    socket.onclose = ({ code, reason }) => resolve([code, reason]);
                })"""
            )
        )
        await eventually(lambda: len(io.sockets) == 1)
        await io.drain(0.0)
        assert await leaving == [1001, "server shutting down"]


async def test_python_s_websocket_client(serve: Serve) -> None:
    """Scripts would need a client of Socket.IO."""
    io, reasons = serving()
    server = await serve(application(io))
    url = server.url.replace("http", "ws") + "/ws"

    def talk() -> list[Any]:
        socket = websocket_client.create_connection(
            url, header=["Authorization: Bearer right"], subprotocols=["rtframework.v1"], timeout=10
        )
        seen = [socket.subprotocol, json.loads(socket.recv())["type"]]
        socket.send(json.dumps({"event": "add", "args": [2, 3], "id": 7}))
        seen.append(json.loads(socket.recv()))
        socket.ping("x")
        opcode, data = socket.recv_data(control_frame=True)
        seen.append((opcode, data))
        socket.close()
        return seen

    assert await asyncio.to_thread(talk) == [
        "rtframework.v1",
        "connected",
        {"type": "ack", "args": [5], "id": 7},
        (10, b"x"),
    ]
    await eventually(lambda: reasons == ["transport close"])


async def test_one_room_of_all_kinds(serve: Serve, js: JSClients) -> None:
    """A message by one kind of client would be seen by its own kind alone."""
    io = Server(allow_eio3=True)

    @io.on("say")
    async def say(socket: Socket, text: str) -> None:
        await io.emit("said", text)

    server = await serve(application(io))
    four = await js.connect(server.url)
    two = await js.connect(server.url, v2=True)
    async with ClientSession() as http, http.ws_connect(f"{server.url}/ws") as plain:
        await plain.receive()
        for number, sender in enumerate((four, two, None)):
            if sender is None:
                await plain.send_json({"event": "say", "args": [f"{number}"]})
            else:
                await sender.emit("say", f"{number}")
            assert (await plain.receive_json())["args"] == [f"{number}"]
            assert await four.wait_for("said") == await two.wait_for("said") == [f"{number}"]


async def test_operators_see_them(serve: Serve) -> None:
    """An Admin UI, or a dashboard, would show half of the clients, or the wrong transport."""
    io = Server()
    io.instrument(auth=False, mode="development")
    metrics = Metrics(io, CollectorRegistry())
    server = await serve(application(io))
    async with ClientSession() as http, http.ws_connect(f"{server.url}/ws") as plain:
        await plain.receive()
        async with http.ws_connect(f"{server.url}/ws?nsp=/admin") as admin:  # by plain websocket, too
            seen = {}
            while "all_sockets" not in seen or "server_stats" not in seen:
                content = await admin.receive_json(timeout=10)
                seen[content.get("event")] = content.get("args")
            (shown,) = [each for each in seen["all_sockets"][0] if each["nsp"] == "/"]
            assert shown["transport"] == "plain websocket"
            assert (seen["server_stats"][0]["clientsCount"], seen["server_stats"][0]["pollingClientsCount"]) == (2, 0)
            labels = {"transport": "plain websocket"}
            assert metrics.registry.get_sample_value("rtframework_connections", labels) == 2
