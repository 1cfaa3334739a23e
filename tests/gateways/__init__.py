"""Gateways, piece by piece, and what their tests share: an application in memory, and JSON both ways."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from aiohttp import ClientWebSocketResponse, web

from rtframework import Packet, PacketType, Reply, Server, WebSocketCodec
from rtframework.testing import Clock, TestServer


def application(io: Server, codec: WebSocketCodec | None = None, *, alone: bool = False) -> web.Application:
    """Make an application with a server's plain websockets under ``/ws``, and its Socket.IO unless they are alone."""
    app = web.Application()
    io.attach_websocket(app, "/ws", codec=codec)
    if not alone:
        io.attach(app)
    return app


@contextlib.asynccontextmanager
async def in_memory(
    io: Server, codec: WebSocketCodec | None = None, *, clock: Clock | None = None
) -> AsyncIterator[TestServer]:
    """Serve plain websockets, and Socket.IO, without a network."""
    async with TestServer(application(io, codec), clock=clock, serializer=io.serializer) as server:
        yield server


class Talk:
    """A plain websocket that speaks ``rtframework.v1``."""

    def __init__(self, websocket: ClientWebSocketResponse) -> None:
        self.websocket = websocket

    async def say(self, **message: Any) -> None:
        """Send a message."""
        await self.websocket.send_json(message)

    async def emit(self, event: str, *args: Any, **more: Any) -> None:
        """Send an event."""
        await self.say(type="event", event=event, args=list(args), **more)

    async def hear(self) -> Any:
        """Receive a message of text."""
        return json.loads(await self.websocket.receive_str(timeout=60))

    async def close_code(self) -> tuple[int, str]:
        """Receive the close frame: its code, and what it says."""
        message = await self.websocket.receive(timeout=60)
        assert message.type is aiohttp.WSMsgType.CLOSE, message
        return message.data, message.extra or ""


@contextlib.asynccontextmanager
async def talk(server: TestServer, query: str = "", *, joins: bool = True, **options: Any) -> AsyncIterator[Talk]:
    """Open a plain websocket; it is let in, unless ``joins`` is ``False``."""
    options.setdefault("autoping", True)
    async with server.http.ws_connect(f"/ws{query}", **options) as websocket:
        talk = Talk(websocket)
        if joins:
            assert (await talk.hear())["type"] == "connected"
        yield talk


class Numbered(WebSocketCodec):
    """An old wire: ``{"type": 2, "usr": …, "data": …}``."""

    subprotocols = ("numbered",)

    def decode(self, message: str | bytes) -> Packet | Reply | None:
        if message == "ping":
            return Reply("pong")
        if message == "":
            return None
        content = json.loads(message)
        if content["type"] == 0:
            return Packet(PacketType.CONNECT, data={"token": content["data"]})
        return Packet(PacketType.EVENT, data=["message", content])

    def encode(self, packet: Packet) -> str | bytes | None:
        match packet.type:
            case PacketType.EVENT:
                if packet.data[1] == "unforeseen":
                    raise RuntimeError("unforeseen")
                content = packet.data[1]
                return content if isinstance(content, bytes) else json.dumps(content)
            case PacketType.CONNECT_ERROR:
                return json.dumps({"type": 9, "data": packet.data["message"]})
        return None

    def error(self, message: str, packet: Packet | None = None) -> str:
        return json.dumps({"type": 8, "data": message})
