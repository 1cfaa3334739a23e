"""Clients of other languages, as their sources say that they speak: what docs/other-clients.md calls emulated.

Each function says where in the client's source its bytes and their order come from. Python's client is run.
"""

from __future__ import annotations

import asyncio
import base64
import json
import textwrap
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import pytest
import socketio

from rtframework import Server, Socket
from tests.conftest import Serve
from tests.support.markdown import read_page
from tests.support.preload import ROOT
from tests.support.raw import PING, PONG, SEPARATOR, RawClient, RawWebSocket, raw_client
from tests.support.until import until

PAGE: Final = ROOT / "docs" / "other-clients.md"
AUTH: Final = '{"token":"t"}'
CONNECT: Final = f"40{AUTH}"
PLACEHOLDER: Final = '{"_placeholder":true,"num":0}'
DATA: Final = bytes(range(100))  # more than one line of Base64
Connect: TypeAlias = Callable[[RawClient], Awaitable[RawWebSocket]]


def serving(ended: list[str], **options: Any) -> Server:
    """Make a server for all of it; ``ended``: the reasons with which clients leave are added here."""
    io = Server(ping_interval=0.2, **options)

    @io.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        ended.append(reason)

    @io.on("who")
    async def who(socket: Socket) -> str:
        return str(socket.handshake.auth["token"])

    @io.on("echo")
    async def echo(socket: Socket, value: Any) -> Any:
        return value

    @io.on("picture")
    async def picture(socket: Socket, data: bytes) -> None:
        await socket.emit("picture", data)

    @io.on("ask")
    async def ask(socket: Socket) -> None:
        await socket.emit("heard", await socket.emit_with_ack("name"))

    return io


# --- on a websocket ---------------------------------------------------------------------------------------------------


async def probe(raw: RawClient, headers: Mapping[str, str] | None = None) -> RawWebSocket:
    """Move to a websocket without a poll that waits, as several of them do."""
    websocket = await raw.websocket(headers=headers)
    await websocket.send("2probe")
    assert await websocket.receive() == "3probe"
    await websocket.send("5")
    return websocket


async def cpp(raw: RawClient) -> RawWebSocket:
    """socket.io-client-cpp 3.1.0, internal/sio_client_impl.cpp, connect_impl: a websocket and nothing else."""
    websocket, _ = await raw.open_websocket(query={"t": "1796027144"})
    await websocket.send(CONNECT)
    return websocket


async def rust(raw: RawClient) -> RawWebSocket:
    """rust_socketio 0.6.0, engineio, build_websocket_with_upgrade: a handshake by polling, and no poll after it."""
    opened = await raw.handshake()
    assert "websocket" in opened["upgrades"]
    websocket = await probe(raw)
    await websocket.send(CONNECT)
    return websocket


async def arduino(raw: RawClient) -> RawWebSocket:
    """WebSockets 2.7.3, SocketIOclient.cpp, runCbEvent: "5" right behind "2probe", and headers of its own."""
    headers = {"Origin": "file://", "User-Agent": "arduino-WebSocket-Client"}
    await raw.handshake(headers=headers)
    websocket = await raw.websocket(headers={**headers, "Sec-WebSocket-Protocol": "arduino"})
    await websocket.send("2probe")
    await websocket.send("5")
    assert await websocket.receive() == "3probe"
    await websocket.send(CONNECT)  # the program's own, which is given the bytes
    return websocket


async def java(raw: RawClient) -> RawWebSocket:
    """socket.io-client-java 2.1.2, engine.io-client-java 2.1.0, Socket.probe: CONNECT by polling, then the upgrade."""
    await raw.handshake(headers={"Accept": "*/*"})
    headers = {"Content-type": "text/plain;charset=UTF-8", "Accept": "*/*"}
    assert (await raw.request("POST", body=CONNECT, headers=headers)).status == 200
    return await raw.upgrade()


async def swift(raw: RawClient) -> RawWebSocket:
    """socket.io-client-swift 16.1.1, SocketEngine.upgradeTransport: NOOP by polling, "5" when the poll has ended.

    SocketManager.connectSocket names the main namespace. Starscream sends an ``Origin`` of its own.
    """
    await raw.handshake(query={"b64": "1"})
    assert (await raw.request("POST", body=f"40/,{AUTH}")).status == 200
    websocket = await raw.websocket(headers={"Origin": raw.endpoint.removesuffix("/socket.io/").replace("http", "ws")})
    poll = asyncio.create_task(raw.request("GET", query=raw.query("polling", {"b64": "1"})))
    await websocket.send("2probe")
    assert await websocket.receive() == "3probe"
    await raw.request("POST", body="6")
    websocket.waiting.extend(packet for packet in (await poll).packets() if packet not in ("6", PING))
    await websocket.send("5")
    return websocket


async def csharp(raw: RawClient) -> RawWebSocket:
    """SocketIOClient 4.0.2, HttpSession and WebSocketSession: no probe, no poll, a content type even on a GET."""
    headers = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": "0"}
    await raw.handshake(headers=headers)
    headers = {"Content-Type": "text/plain; charset=utf-8"}
    assert (await raw.request("POST", body=CONNECT, headers=headers)).text == "ok"
    websocket = await raw.websocket()
    await websocket.send("5")
    return websocket


async def php(raw: RawClient) -> RawWebSocket:
    """elephant.io 5.1.0, Version1X.doHandshake, doAfterHandshake, doUpgrade: joined by polling, then no probe.

    Transport.getDefaultHeaders: the URL that it was given is its ``Origin``.
    """
    headers = php_headers(raw)
    await raw.handshake(headers=headers, query={"t": "Pcd8Jh0"})
    assert (await raw.request("POST", body=CONNECT, headers=headers)).text == "ok"
    (joined,) = (await raw.request("GET", headers=headers)).packets()
    websocket = await raw.websocket(headers=headers)
    websocket.waiting.append(joined)
    await websocket.send("5")
    return websocket


async def go(raw: RawClient) -> RawWebSocket:
    """go.socket.io 0.1.1, engine.io/v4/client: an empty ``sid``; x/net/websocket sends a whole URL as ``Origin``."""
    raw.sid = ""
    await raw.handshake()
    websocket = await probe(raw, {"Origin": f"{raw.endpoint}?eio=4"})
    await websocket.send(CONNECT)
    return websocket


async def zishang520(raw: RawClient) -> RawWebSocket:
    """zishang520/socket.io 3.0.2, clients/engine/socket-with-upgrade.go, _probe: as the JavaScript client."""
    await raw.handshake()
    headers = {"Content-Type": "text/plain;charset=UTF-8"}
    assert (await raw.request("POST", body=CONNECT, headers=headers)).text == "ok"
    return await raw.upgrade()


async def dart(raw: RawClient) -> RawWebSocket:
    """socket_io_client 3.1.6, websocket_transport.dart, with setForceBase64: outside of browsers no polling."""
    websocket, _ = await raw.open_websocket(query={"b64": "1"})
    await websocket.send(CONNECT)
    return websocket


def php_headers(raw: RawClient) -> dict[str, str]:
    """Headers of elephant.io."""
    url = raw.endpoint.removesuffix("socket.io/")
    return {"Accept": "*/*", "Origin": url, "Referer": url, "User-Agent": "Elephant.io/5.1.0"}


@dataclass(frozen=True, slots=True)
class OnWebSocket:
    """What a client does on a websocket.

    ``leaves``: its packets when its program disconnects, after which it closes the websocket. ``binary``: it can send
    bytes; ``asks_with_bytes``: and ask for an answer to them. ``as_text``: its bytes are text, both ways.
    """

    connect: Connect
    leaves: tuple[str, ...] = ("41",)
    binary: bool = True
    asks_with_bytes: bool = True
    as_text: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


EMULATED: Final = {
    "socket.io-client-cpp": OnWebSocket(cpp),
    # It makes an ack of an event with bytes that asks for an answer: packet.rs, new_from_payload.
    "rust_socketio": OnWebSocket(rust, leaves=("41", "1"), asks_with_bytes=False),
    "WebSockets": OnWebSocket(arduino, leaves=(), binary=False, options={"cors_allowed_origins": "file://"}),
    "socket.io-client-java": OnWebSocket(java),
    "socket.io-client-swift": OnWebSocket(swift, leaves=("41/,",)),
    "SocketIOClient": OnWebSocket(csharp),
    "elephant.io": OnWebSocket(php, leaves=("1",)),
    "go.socket.io": OnWebSocket(go, leaves=(), binary=False),
    "zishang520/socket.io": OnWebSocket(zishang520),
    "socket_io_client": OnWebSocket(dart, as_text=True),
}


@pytest.mark.parametrize("name", EMULATED)
async def test_it_gets_in(name: str, serve: Serve) -> None:
    """An app that works with a server in Node would not work with this one."""
    client = EMULATED[name]
    data = "b" + base64.b64encode(DATA).decode() if client.as_text else DATA
    ended: list[str] = []
    server = await serve(serving(ended, **client.options))
    async with raw_client(server.url) as raw:
        websocket = await client.connect(raw)
        connected = await websocket.receive()
        assert isinstance(connected, str)
        assert json.loads(connected.removeprefix("40"))["sid"]
        await websocket.send('427["who"]')
        assert await websocket.receive() == '437["t"]'
        if client.binary:
            await websocket.send(f'451-["picture",{PLACEHOLDER}]')
            await websocket.send(data)
            assert await websocket.receive() == f'451-["picture",{PLACEHOLDER}]'
            assert await websocket.receive() == data
        if client.binary and client.asks_with_bytes:
            await websocket.send(f'451-0["echo",{PLACEHOLDER}]')
            await websocket.send(data)
            assert await websocket.receive() == f"461-0[{PLACEHOLDER}]"
            assert await websocket.receive() == data
        await websocket.send('42["ask"]')
        await websocket.send(answer_to(await websocket.receive()))
        assert await websocket.receive() == '42["heard","fine"]'
        websocket.answer_pings = False
        async with asyncio.timeout(5):
            assert await websocket.ws.receive_str() == PING
            await websocket.send(PONG)
            assert await websocket.ws.receive_str() == PING  # so it is still alive
        for packet in client.leaves:
            await websocket.send(packet)
        if not client.leaves or "1" not in client.leaves:
            await websocket.close()
        await until(lambda: ended)
    namespace_left = bool(client.leaves) and client.leaves[0].startswith("41")
    assert ended == ["client namespace disconnect" if namespace_left else "transport close"]


def answer_to(question: object) -> str:
    """Make the ack of an event of the server's that asks for a name."""
    assert isinstance(question, str)
    assert question.endswith('["name"]')
    number = question.removeprefix("42").removesuffix('["name"]')
    return f'43{number}["fine"]'


# --- by polling -------------------------------------------------------------------------------------------------------


def plain(data: bytes) -> str:
    """Write Base64 in one line."""
    return base64.b64encode(data).decode()


def in_lines(data: bytes) -> str:
    """Write Base64 as engine.io-client-java's Base64.DEFAULT does: lines of 76 characters, each with its end."""
    return "".join(f"{line}\n" for line in textwrap.wrap(plain(data), 76))


@dataclass(frozen=True, slots=True)
class ByPolling:
    """What a client does that stays on polling. ``apart``: its attachments come in a POST of their own."""

    base64: Callable[[bytes], str] = plain
    joins: str = CONNECT
    leaves: str = "41"
    apart: bool = False
    query: Mapping[str, str] = field(default_factory=dict)
    get: Callable[[RawClient], dict[str, str]] = lambda raw: {}
    """Headers of its GETs."""
    post: Callable[[RawClient], dict[str, str]] = lambda raw: {}


TEXT: Final = {"Content-Type": "text/plain; charset=utf-8"}

POLLING: Final = {
    # engine.io-client-java, PollingXHR
    "socket.io-client-java": ByPolling(
        in_lines, post=lambda raw: {"Content-type": "text/plain;charset=UTF-8", "Accept": "*/*"}
    ),
    # SocketEnginePollable.swift, createRequestForPostWithPostWait
    "socket.io-client-swift": ByPolling(joins=f"40/,{AUTH}", leaves="41/,", query={"b64": "1"}, post=lambda raw: TEXT),
    # SystemHttpClient.cs: there is a content even in a GET; HttpSession.cs, SendProtocolMessagesAsync
    "SocketIOClient": ByPolling(apart=True, get=lambda raw: {**TEXT, "Content-Length": "0"}, post=lambda raw: TEXT),
    # Transport/Polling.php; Version1X.php, createEvent
    "elephant.io": ByPolling(
        leaves="1", query={"t": "Pcd8Jh0"}, get=php_headers, post=lambda raw: {**php_headers(raw), **TEXT}
    ),
    # engine.io/v4/client/transport/polling/transport.go: no content type
    "go.socket.io": ByPolling(leaves=""),
}


class Poller:
    """A session by polling, in a client's own words."""

    def __init__(self, raw: RawClient, client: ByPolling) -> None:
        self._raw = raw
        self._client = client
        self._came: deque[str | bytes] = deque()
        self.pings = 0

    async def send(self, text: str, *attachments: bytes) -> None:
        """POST a packet."""
        packets = [text, *(f"b{self._client.base64(each)}" for each in attachments)]
        bodies = packets if self._client.apart else [SEPARATOR.join(packets)]
        for body in bodies:
            answer = await self._raw.request(
                "POST", query=self._raw.query("polling", self._client.query), body=body, headers=self._posts()
            )
            assert (answer.status, answer.text) == (200, "ok")

    async def receive(self) -> str | bytes:
        """Return the next packet that is no ping; pings are answered."""
        while not self._came:
            query = self._raw.query("polling", self._client.query)
            answer = await self._raw.request("GET", query=query, headers=self._client.get(self._raw))
            assert answer.status == 200, answer.text
            for packet in answer.packets():
                if packet == PING:
                    self.pings += 1
                    await self.send(PONG)
                else:
                    self._came.append(packet)
        return self._came.popleft()

    def _posts(self) -> dict[str, str]:
        return self._client.post(self._raw)


@pytest.mark.parametrize("name", POLLING)
async def test_it_gets_in_by_polling(name: str, serve: Serve) -> None:
    """Where a network refuses websockets, the client would be lost."""
    client = POLLING[name]
    ended: list[str] = []
    server = await serve(serving(ended))
    async with raw_client(server.url) as raw:
        raw.sid = "" if name == "go.socket.io" else None
        await raw.handshake(query=client.query, headers=client.get(raw))
        session = Poller(raw, client)
        await session.send(client.joins)
        assert str(await session.receive()).startswith('40{"sid"')
        await session.send('427["who"]')
        assert await session.receive() == '437["t"]'
        if name != "go.socket.io":
            await session.send(f'451-0["echo",{PLACEHOLDER}]', DATA)
            assert await session.receive() == f"461-0[{PLACEHOLDER}]"
            assert await session.receive() == DATA
        await session.send('42["ask"]')
        await session.send(answer_to(await session.receive()))
        assert await session.receive() == '42["heard","fine"]'
        before = session.pings
        quiet = asyncio.create_task(session.receive())
        await until(lambda: session.pings > before + 1)
        if client.leaves:
            await session.send(client.leaves)
        else:
            await session.send("1")  # its program only stops polling: spare the test the ping timeout
        await until(lambda: ended)
        quiet.cancel()
    assert ended == ["client namespace disconnect" if client.leaves.startswith("41") else "transport close"]


# --- Socket.IO 2 ------------------------------------------------------------------------------------------------------

OLD: Final = ("googollee/go-socket.io",)


def old_payload(packet: str) -> bytes:
    """Write a payload of bytes with one packet (Engine.IO v3, "Payload")."""
    return b"\x00" + bytes(int(digit) for digit in str(len(packet))) + b"\xff" + packet.encode()


def old_packets(text: str) -> list[str]:
    """List the packets of a payload of text (Engine.IO v3, "Payload")."""
    packets = []
    while text:
        length, _, rest = text.partition(":")
        packets.append(rest[: int(length)])
        text = rest[int(length) :]
    return packets


async def test_an_old_client_for_go(serve: Serve) -> None:
    """googollee/go-socket.io 1.8.0-rc.1: polling alone, bytes as payloads even of text, and CONNECT without need.

    engineio/transport/polling/connect.go: the content type of its POSTs is on its GETs, too, and POSTs are chunked.
    client.go: the namespace stands behind the path. engineio/client.go, serve: the client pings.
    """
    ended: list[str] = []
    io = serving(ended, allow_eio3=True)
    server = await serve(io)
    headers = {"Content-Type": "application/octet-stream"}

    async def chunks(body: bytes) -> AsyncIterator[bytes]:
        yield body

    async with raw_client(server.url, path="/socket.io/chat") as raw:
        query = {"EIO": "3", "transport": "polling", "t": "Pcd8Jh0"}

        async def get() -> list[str]:
            answer = await raw.request("GET", query=query, headers=headers)
            assert (answer.status, answer.headers["Content-Type"]) == (200, "text/plain; charset=UTF-8")
            return old_packets(answer.text)

        async def post(packet: str) -> None:
            answer = await raw.request("POST", query=query, body=chunks(old_payload(packet)), headers=headers)
            assert (answer.status, answer.text) == (200, "ok")

        opened, *joined = await get()
        query["sid"] = json.loads(opened.removeprefix("0"))["sid"]
        joined = joined or await get()
        assert joined == ["40"]
        await post("40")
        assert await get() == ["40"]
        assert ended == ["client namespace disconnect"]  # and it has joined anew
        await post('427["echo","hi"]')
        assert await get() == ['437["hi"]']
        await post('42["ask"]')
        (question,) = await get()
        await post(answer_to(question))
        assert await get() == ['42["heard","fine"]']
        await post(PING)
        assert await get() == [PONG]
        await post("1")
        await until(lambda: len(ended) == 2)
    assert ended[1] == "transport close"


# --- Python's own, which is run ---------------------------------------------------------------------------------------

AT_ITS_END: Final = ("client namespace disconnect", "transport close")
"""python-engineio closes a websocket at once, while another task, or thread, may still have to write that it leaves."""


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_python_s_asynchronous_client(transport: str, serve: Serve) -> None:
    """Programs that move to this server would have to change their clients."""
    ended: list[str] = []
    server = await serve(serving(ended))
    client = socketio.AsyncClient(reconnection=False)
    client.on("name", lambda: "fine")
    heard: asyncio.Queue[Any] = asyncio.Queue()
    client.on("heard", heard.put)
    await client.connect(server.url, auth=json.loads(AUTH), transports=[transport])
    assert client.transport() == transport
    assert await client.call("who") == "t"
    assert await client.call("echo", DATA) == DATA
    await client.emit("ask")
    async with asyncio.timeout(5):
        assert await heard.get() == "fine"
    await client.disconnect()
    await until(lambda: ended)
    assert ended[0] in AT_ITS_END


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_python_s_synchronous_client(transport: str, serve: Serve) -> None:
    """Scripts and workers, which are seldom asynchronous, would not get in."""
    if transport == "websocket":
        pytest.importorskip("websocket")  # websocket-client, without which it stays with polling
    ended: list[str] = []
    # By polling it ends without a word if its last POST has no answer yet: then a ping finds out that it has gone.
    server = await serve(serving(ended, ping_timeout=3.0))

    def talk() -> None:
        client = socketio.SimpleClient(reconnection=False)
        client.connect(server.url, auth=json.loads(AUTH), transports=[transport])
        assert client.transport == transport
        assert client.call("who") == "t"
        assert client.call("echo", DATA) == DATA
        client.emit("picture", DATA)
        assert client.receive(timeout=5) == ["picture", DATA]
        client.disconnect()

    await asyncio.to_thread(talk)
    await until(lambda: ended)
    assert ended[0] in AT_ITS_END


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_names_what_is_emulated() -> None:
    """A client would be said to be tested that nobody has tested."""
    rows = [row.cells for row in read_page(PAGE).rows if len(row.cells) == 4]
    emulated = {cells[0].partition("`")[2].rstrip("`") for cells in rows if "emulated" in cells[2]}
    assert emulated == {*EMULATED, *OLD}
    assert {cells[2].split(",")[0] for cells in rows} == {"run", "emulated"}
    assert POLLING.keys() <= EMULATED.keys()
