"""Clients of Socket.IO 2: the stock socket.io-client 2.5, in Node and in a browser."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web

from rtframework import (
    ConnectionRefused,
    Deflate,
    Disconnected,
    Identity,
    Limits,
    Server,
    Socket,
    StaticTokenAuth,
    TokenSources,
)
from rtframework.protocols import CallNext
from tests.conftest import Serve
from tests.support.browser import Pages
from tests.support.js import JS_FOLDER, JSClient, JSClients
from tests.support.proxy import running_proxy
from tests.support.raw import raw_client
from tests.support.transports import Transport
from tests.support.until import until

BLOB: Final = bytes(range(256))
BUNDLE: Final = JS_FOLDER / "node_modules" / "socket.io-client-v2" / "dist"


def talking(**options: Any) -> tuple[Server, asyncio.Queue[str]]:
    """A server that echoes, and the reasons for which its clients have left."""
    io = Server(allow_eio3=True, **options)
    reasons: asyncio.Queue[str] = asyncio.Queue()

    @io.on("echo")
    async def echo(socket: Socket, *args: object) -> tuple[object, ...]:
        return args

    @io.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        reasons.put_nowait(reason)

    return io, reasons


async def soon(queue: asyncio.Queue[str]) -> str:
    """The next of a queue, within a bound."""
    return await asyncio.wait_for(queue.get(), 5)


async def test_they_are_refused_by_default(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Who has not asked for old clients would serve an old protocol, with what it lacks."""
    server = await serve(Server())
    client = await js.connect(server.url, via=transport, v2=True, wait=False)
    error = await client.refused()
    if transport.transports[0] == "polling":
        assert (error["message"], error["status"]) == ("xhr poll error", 400)
    else:
        assert "websocket error" in error["message"]
    async with raw_client(server.url) as raw:
        for query in ({"EIO": "3"}, {"EIO": "2"}, {}):
            answer = await raw.request("GET", query={**query, "transport": "polling"})
            assert answer.status == 400
            assert answer.text == '{"code":5,"message":"Unsupported protocol version"}'


async def test_events_and_acknowledgements_both_ways(serve: Serve, js: JSClients, transport: Transport) -> None:
    """An old page would be connected and of no use."""
    io, _ = talking()
    client = await js.connect((await serve(io)).url, via=transport, v2=True)
    assert await client.transport() == transport.final
    for args in (
        [],
        [1, -2.5, True, None, "grüße 😀", {"list": [1, [2]], "": {}}],
        [BLOB],
        ["text", BLOB, {"deep": [b"", {"er": b"\xff"}]}, "日本😀"],
    ):
        assert await client.ack_args("echo", *args) == args
    (socket,) = io.sockets.values()
    assert socket.transport == transport.final
    assert socket.conn.protocol == 3
    for _ in range(2):
        await socket.emit("text", "grüße 😀", {"a": 1})
        await socket.emit("binary", BLOB, {"again": [b"", BLOB]}, "😀")
    assert await client.wait_for("text") == ["grüße 😀", {"a": 1}]
    assert await client.wait_for("binary") == [BLOB, {"again": [b"", BLOB]}, "😀"]
    await client.barrier()
    assert [item.name for item in client.inbox.log if not item.life] == ["text", "binary"] * 2
    await client.echo("question")
    assert await socket.emit_with_ack("question", "a", BLOB) == ("a", BLOB)
    assert await socket.timeout(5).emit_with_ack("question", {"b": [b"\x00"]}) == {"b": [b"\x00"]}


async def test_base64_for_clients_that_cannot_read_binary(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Browsers and networks that spoil binary messages, for which the client has an option, would be left out."""
    io, _ = talking()
    client = await js.connect((await serve(io)).url, via=transport, v2=True, forceBase64=True)
    assert await client.ack_args("echo", BLOB, "é", [b"x"]) == [BLOB, "é", [b"x"]]
    await io.emit("news", {"blob": BLOB})
    assert await client.wait_for("news") == [{"blob": BLOB}]


async def test_the_order_holds_across_the_upgrade(serve: Serve, js: JSClients, transport: Transport) -> None:
    """What was said while a client changes its transport would be lost, doubled or out of order."""
    io, _ = talking()
    came: list[int] = []

    @io.on("number")
    async def number(socket: Socket, value: int, blob: bytes) -> int:
        came.append(value)
        await socket.emit("number", value, blob)
        return value

    server = await serve(io)
    client = await js.connect(server.url, transports=list(transport.transports), v2=True)
    await asyncio.gather(*(client.ack_args("number", value, b"x") for value in range(100)))
    if transport.upgrades:
        await client.upgraded()
    await client.barrier()
    assert came == list(range(100))
    assert client.received("number") == [[value, b"x"] for value in range(100)]


async def test_large_messages(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A picture or a long text would be cut on its way through many segments."""
    io, _ = talking(max_http_buffer_size=2_000_000)
    client = await js.connect((await serve(io)).url, via=transport, v2=True)
    blob, text = BLOB * 2000, "grüße 😀" * 30_000
    assert await client.ack_args("echo", blob, text, timeout=15) == [blob, text]


async def test_ids_are_those_that_the_client_computes(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A page of version 2 that compares ids with its own would find itself nowhere."""
    io, _ = talking()
    io.of("/admin")
    client = await js.connect((await serve(io)).url, via=transport, v2=True)
    admin = await client.of("/admin")
    state = await client.state()
    assert list(io.sockets) == [state.id] == [state.engine_id]
    assert list(io.of("/admin").sockets) == [await admin.id()] == [f"/admin#{state.id}"]
    await io.to(str(state.id)).emit("to you")
    assert await client.wait_for("to you") == []


async def test_rooms_that_old_and_new_clients_share(serve: Serve, js: JSClients) -> None:
    """Old and new pages of one application would not see each other, or spoil each other's messages."""
    io, _ = talking(per_message_deflate=Deflate(threshold=0))
    encoded = 0
    encode = io._server._encode

    def counting(packet: Any) -> Any:
        nonlocal encoded
        encoded += 1
        return encode(packet)

    io._server._encode = counting

    @io.on("join")
    async def join(socket: Socket, room: str) -> None:
        await socket.join(room)

    @io.on("say")
    async def say(socket: Socket, room: str, *what: object) -> None:
        await socket.to(room).emit("said", *what)

    url = (await serve(io)).url
    clients: list[JSClient] = []
    for name in ("polling", "websocket"):
        clients.append(await js.connect(url, transports=[name]))
        clients.append(await js.connect(url, transports=[name], v2=True))
        clients.append(await js.connect(url, transports=[name], v2=True, forceBase64=True))
        clients.append(await js.connect(url, transports=[name], v2=True, perMessageDeflate=True))
    outsiders = [await js.connect(url, v2=True), await js.connect(url)]
    for client in clients:
        await client.ack_args("join", "mixed")
    for what in (["text é 😀"], [BLOB, {"more": [b"", BLOB * 10]}, "é"]):
        encoded = 0
        await io.to("mixed").emit("news", *what)
        assert encoded == 1
        for client in clients:
            assert await client.wait_for("news") == what
        for talker in clients:
            await talker.emit("say", "mixed", *what)
            for client in clients:
                if client is not talker:
                    assert await client.wait_for("said") == what
            await talker.expect_nothing("said")
    for outsider in outsiders:
        await outsider.expect_nothing("news")
        await outsider.expect_nothing("said")
    for client in clients:
        await client.echo("vote")
    answers = await io.to("mixed").timeout(5).emit_with_ack("vote", BLOB)
    assert sorted(answers) == sorted([await client.id() for client in clients])
    assert list(answers.values()) == [BLOB] * len(clients)


async def test_volatile(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Positions and typing hints for a client that cannot keep up would pile up instead of being dropped."""
    io, _ = talking()
    client = await js.connect((await serve(io)).url, via=transport, v2=True)
    (socket,) = io.sockets.values()
    if transport.final == "websocket":
        await socket.volatile.emit("hint", BLOB)
        assert await client.wait_for("hint") == [BLOB]
    await io.emit("first")
    await io.volatile.emit("late")
    await io.emit("last")
    assert await client.wait_for("last") == []
    await client.expect_nothing("late")


async def test_namespaces_and_their_query(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A namespace would be out of reach, or not know the token that old clients give in its query."""
    io, reasons = talking()
    admin = io.of("/admin")
    auth: list[Any] = []

    @admin.use
    async def sign_in(socket: Socket, call_next: CallNext) -> None:
        auth.append(dict(socket.handshake.auth))
        if socket.handshake.auth.get("token") != "secret, é&=":
            raise ConnectionRefused("Who are you?")
        await call_next()

    @admin.on("echo")
    async def echo(socket: Socket, *args: object) -> tuple[object, ...]:
        return (socket.nsp, *args)

    server = await serve(io)
    client = await js.connect(server.url, via=transport, v2=True, query={"who": "Ada"})
    (main,) = io.sockets.values()
    assert (dict(main.handshake.auth), main.handshake.query["who"]) == ({}, "Ada")
    inside = await client.of("/admin", query={"token": "secret, é&=", "more": ""})
    assert auth == [{"token": "secret, é&=", "more": ""}]
    assert await inside.ack_args("echo", BLOB) == ["/admin", BLOB]
    await admin.emit("news")
    assert await inside.wait_for("news") == []
    await client.expect_nothing("news")
    straight = await js.connect(server.url + "/admin?token=no", via=transport, v2=True, wait=False)
    assert await straight.life("error") == ["Who are you?"]
    elsewhere = await client.of("/elsewhere", wait=False)
    assert await elsewhere.life("error") == ["Invalid namespace"]
    assert await client.ack_args("echo", 1) == [1]
    await inside.disconnect()
    await until(lambda: not admin.sockets)
    assert await client.ack_args("echo", 2) == [2]
    assert reasons.empty()


async def test_refusals(serve: Serve, js: JSClients, transport: Transport) -> None:
    """People would not be told why they are kept out, or worse, not be kept out."""
    auth = StaticTokenAuth({"secret": Identity("1", name="Ada")}, sources=TokenSources(query="token"))
    io = Server(allow_eio3=True, auth=auth, connect_timeout=0.3)
    bare = io.of("/bare")

    @bare.use
    async def refuse(socket: Socket, call_next: CallNext) -> None:
        raise ConnectionRefused("No", object())

    server = await serve(io)
    client = await js.connect(server.url, via=transport, v2=True, query={"token": "secret"})
    (socket,) = io.sockets.values()
    assert socket.user.name == "Ada"
    refused = await js.connect(server.url, transports=list(transport.transports), v2=True, wait=False)
    assert (await refused.life("error"))[0]["code"] == "missing"
    assert list(io.sockets.values()) == [socket]
    # It is in no namespace, so it may not stay.
    await refused.life("engine_close")
    # What cannot be sent is not said, but refused it is.
    assert await (await client.of("/bare", wait=False)).life("error") == [ConnectionRefused().message]
    assert not bare.sockets


async def test_leaving_and_its_reasons(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Both sides would be told something else than has happened."""
    io, reasons = talking()
    server = await serve(io)

    async def arrive() -> tuple[JSClient, Socket]:
        client = await js.connect(server.url, via=transport, v2=True)
        (socket,) = io.sockets.values()
        return client, socket

    client, _ = await arrive()
    await client.disconnect()
    assert await client.disconnected() == "io client disconnect"
    assert await soon(reasons) in ("client namespace disconnect", "transport close")

    client, socket = await arrive()
    pending = asyncio.create_task(socket.emit_with_ack("never answered"))
    await client.wait_for("never answered")
    await socket.disconnect()
    assert await client.disconnected() == "io server disconnect"
    assert await soon(reasons) == "server namespace disconnect"
    with pytest.raises(Disconnected):
        await pending

    client, socket = await arrive()
    await socket.emit("last words", BLOB)
    await socket.disconnect(close=True)
    assert await client.wait_for("last words") == [BLOB]
    assert await client.disconnected() == "io server disconnect"
    assert await soon(reasons) == "server namespace disconnect"

    client, _ = await arrive()
    await client.close_engine()
    assert await client.disconnected() == "forced close"
    assert await soon(reasons) == "transport close"

    client, _ = await arrive()
    connections = io._server.eio.connections  # a client between two GETs cannot be seen to leave
    await until(lambda: all(each.has_poll for each in connections.values() if each.polling))
    await client.kill()
    assert await soon(reasons) in ("transport close", "transport error")
    await until(lambda: not connections)


async def test_heartbeats(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Old clients, who ping themselves, would be thrown out one after another, or never."""
    io, reasons = talking(ping_interval=0.15, ping_timeout=0.35)
    server = await serve(io)
    async with running_proxy(server.url) as proxy:
        client = await js.connect(proxy.url, via=transport, v2=True)
        for _ in range(6):
            await client.life("ping")
        assert reasons.empty()
        assert await client.ack_args("echo", 1) == [1]
        proxy.freeze()
        assert await soon(reasons) == "ping timeout"
        assert not io.sockets
        assert await client.disconnected() in ("ping timeout", "transport close", "transport error")


async def test_a_client_with_much_to_do_is_kept(serve: Serve, js: JSClients, transport: Transport) -> None:
    """An old client whose handlers are all at work would give up, because nobody reads its pings."""
    io, reasons = talking(ping_interval=0.2, ping_timeout=0.6, limits=Limits(max_pending_events=1))
    gate = asyncio.Event()

    @io.on("hold")
    async def hold(socket: Socket) -> str:
        await gate.wait()
        return "done"

    client = await js.connect((await serve(io)).url, via=transport, v2=True)
    held = [asyncio.create_task(client.ack_args("hold")) for _ in range(2)]
    for _ in range(5):
        await client.life("pong")
    # None was the answer to a ping that had been read: without them it would have given up.
    assert not any(task.done() for task in held)
    assert client.received("disconnect") == []
    gate.set()
    assert await asyncio.gather(*held) == [["done"], ["done"]]
    await client.life("ping")
    assert await client.ack_args("echo", 1) == [1]
    assert reasons.empty()


async def test_reconnection_after_the_server_was_killed(serve: Serve, js: JSClients, transport: Transport) -> None:
    """After a crash people would have to reload the page, or lose what they sent meanwhile."""
    io, _ = talking()
    server = await serve(io)
    client = await js.connect(
        server.url, via=transport, v2=True, reconnection=True, reconnectionDelay=20, reconnectionDelayMax=100
    )
    before = await client.id()
    await server.kill()
    await client.disconnected()
    pending = [asyncio.create_task(client.ack_args("echo", value, BLOB)) for value in range(5)]
    again, _ = talking()
    await serve(again, port=server.port)
    await client.reconnected()
    assert await asyncio.gather(*pending) == [[value, BLOB] for value in range(5)]
    assert list(again.sockets) == [await client.id()] != [before]


async def test_stopping_the_server_lets_clients_reconnect(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A restart for a new version would throw old pages out for good."""
    io, reasons = talking()
    server = await serve(io)
    client = await js.connect(server.url, via=transport, v2=True, reconnection=True, reconnectionDelay=20)
    await io.emit("last words", BLOB)
    assert await client.wait_for("last words") == [BLOB]
    async with asyncio.timeout(3):
        await server.stop()
    assert await soon(reasons) == "server shutting down"
    assert await client.disconnected() in ("transport close", "transport error")
    again, _ = talking()
    await serve(again, port=server.port)
    await client.reconnected()
    assert await client.ack_args("echo", 1) == [1]


async def test_a_message_beyond_the_limit_closes_that_connection_only(
    serve: Serve, js: JSClients, transport: Transport
) -> None:
    """One old client could fill the memory, or take others down with it."""
    io, reasons = talking(max_http_buffer_size=1000)
    server = await serve(io)
    bad = await js.connect(server.url, via=transport, v2=True)
    good = await js.connect(server.url, via=transport, v2=True)
    await bad.emit("big", b"x" * 2000)
    assert await soon(reasons) == "transport error"
    await bad.disconnected()
    assert await good.ack_args("echo", 1) == [1]
    assert len(io.sockets) == 1


async def test_upgrades_that_fail_leave_polling(serve: Serve, js: JSClients) -> None:
    """Behind a proxy that knows no websockets no old client could connect."""
    io, _ = talking()
    server = await serve(io)
    async with running_proxy(server.url, refuse_upgrades=403) as proxy:
        client = await js.connect(proxy.url, transports=["polling", "websocket"], v2=True)
        await client.life("upgrade_error")
        assert await client.ack_args("echo", BLOB) == [BLOB]
        assert await client.transport() == "polling"
        await client.disconnect()


PAGE: Final = """<!doctype html><title>v2</title><link rel="icon" href="data:,">
<script src="socket.io.js"></script>
<script>
const got = [];
const socket = io({ transports: TRANSPORTS });
socket.on("news", (blob, text) => got.push([[...new Uint8Array(blob)], text]));
const echo = (...args) => new Promise((resolve) => socket.emit("echo", ...args, (...answer) => resolve(answer)));
</script>"""


async def test_in_a_browser(serve: Serve, browser: Pages, transport: Transport) -> None:
    """Browsers, unlike Node, get and send binary payloads by polling: pictures would be broken there alone."""
    io, _ = talking()

    def application() -> web.Application:
        app = web.Application()
        io.attach(app)

        async def page(request: web.Request) -> web.Response:
            text = PAGE.replace("TRANSPORTS", str(list(transport.transports)))
            return web.Response(text=text, content_type="text/html")

        async def script(request: web.Request) -> web.FileResponse:
            return web.FileResponse(Path(BUNDLE / "socket.io.js"))

        app.router.add_get("/", page)
        app.router.add_get("/socket.io.js", script)
        return app

    server = await serve(application)
    page = await browser.open(server.url)
    await page.wait_for_function(f"socket.connected && socket.io.engine.transport.name === '{transport.final}'")
    answer = await page.evaluate(
        "echo(new Uint8Array([0, 52, 255]).buffer, 'grüße 😀', {x: [1]})"
        ".then(([blob, ...rest]) => [[...new Uint8Array(blob)], ...rest])"
    )
    assert answer == [[0, 52, 255], "grüße 😀", {"x": [1]}]
    await io.emit("news", b"\x00\x04\xff", "é😀")
    await io.emit("news", b"", "")
    await page.wait_for_function("got.length === 2")
    assert await page.evaluate("got") == [[[0, 4, 255], "é😀"], [[], ""]]
    await page.evaluate("socket.close()")
    await until(lambda: not io.sockets)
