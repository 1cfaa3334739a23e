"""Clients of other languages, as their sources say that they speak: what docs/other-clients.md calls emulated."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import pytest

from rtframework import Server, Socket
from tests.conftest import Serve
from tests.support.markdown import read_page
from tests.support.preload import ROOT
from tests.support.raw import PING, PONG, RawClient, RawWebSocket, raw_client

PAGE: Final = ROOT / "docs" / "other-clients.md"
Connect: TypeAlias = Callable[[RawClient], Awaitable[RawWebSocket]]


async def cpp(raw: RawClient) -> RawWebSocket:
    """socket.io-client-cpp 3.1.0, internal/sio_client_impl.cpp, connect_impl: a websocket and nothing else."""
    websocket, _ = await raw.open_websocket(query={"t": "1796027144"})
    return websocket


async def rust(raw: RawClient) -> RawWebSocket:
    """rust_socketio 0.6.0, engineio, build_websocket_with_upgrade: a handshake by polling, and no poll after it."""
    opened = await raw.handshake()
    assert "websocket" in opened["upgrades"]
    websocket = await raw.websocket()
    await websocket.send("2probe")
    assert await websocket.receive() == "3probe"
    await websocket.send("5")
    return websocket


async def arduino(raw: RawClient) -> RawWebSocket:
    """WebSockets 2.7.3, SocketIOclient.cpp, runCbEvent: "5" right behind "2probe", and headers of its own."""
    headers = {"Origin": "file://", "User-Agent": "arduino-WebSocket-Client"}
    await raw.handshake(headers=headers)
    websocket = await raw.websocket(headers={**headers, "Sec-WebSocket-Protocol": "arduino"})
    await websocket.send("2probe")
    await websocket.send("5")
    assert await websocket.receive() == "3probe"
    return websocket


EMULATED: Final = {"C++": cpp, "Rust": rust, "Arduino": arduino}


@pytest.mark.parametrize("name", EMULATED)
async def test_it_gets_in(name: str, serve: Serve) -> None:
    """An app that works with a server in Node would not work with this one."""
    io = Server(cors_allowed_origins="*", cors_credentials=False, ping_interval=0.2)

    @io.on("echo")
    async def echo(socket: Socket, text: str, data: bytes) -> tuple[str, bytes]:
        await socket.emit("news", text)
        return text, data

    server = await serve(io)
    async with raw_client(server.url) as raw:
        websocket = await EMULATED[name](raw)
        await websocket.send("40")
        connected = await websocket.receive()
        assert isinstance(connected, str)
        assert json.loads(connected.removeprefix("40"))["sid"]
        await websocket.send('451-7["echo","hi",{"_placeholder":true,"num":0}]')
        await websocket.send(b"\x01\x02")
        assert await websocket.receive() == '42["news","hi"]'
        assert await websocket.receive() == '461-7["hi",{"_placeholder":true,"num":0}]'
        assert await websocket.receive() == b"\x01\x02"
        websocket.answer_pings = False
        async with asyncio.timeout(5):
            assert await websocket.ws.receive_str() == PING
            await websocket.send(PONG)
            assert await websocket.ws.receive_str() == PING  # so it is still alive


def test_the_page_names_what_is_emulated() -> None:
    """A client would be said to be tested that nobody has tested."""
    rows = [row.cells for row in read_page(PAGE).rows if len(row.cells) == 4]
    assert {cells[0].split(",")[0].split()[0] for cells in rows if "emulated" in cells[2]} == set(EMULATED)
    assert {cells[2].split(",")[0] for cells in rows} == {"run", "emulated", "source"}
