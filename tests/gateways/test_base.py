"""The base of gateways: another protocol to the same rooms, with a small one of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
from aiohttp import web

from rtframework import ConnectionRefused, DecodeError, Limits, Packet, PacketType, Server, Socket
from rtframework.engine.frames import EncodedFrames
from rtframework.gateways.base import BaseGateway
from rtframework.gateways.client import GatewayClient
from rtframework.gateways.connection import GatewayConnection
from rtframework.gateways.packets import Outgoing
from rtframework.gateways.websocket import GatewayWebSocket, own_message
from rtframework.protocols import Frames
from rtframework.types import Handshake
from tests.conftest import Serve
from tests.engine import eventually
from tests.support.js import JSClients


class Lines(BaseGateway):
    """A protocol of arrays: ``["chat", "hi"]`` is an event, both ways."""

    made = 0

    def add_routes(self, app: web.Application, path: str) -> None:
        app.router.add_get(path, self.handler(self.answer))

    async def answer(self, request: web.Request, headers: dict[str, str]) -> Any:
        refusal = await self.check(request, headers)
        if refusal is not None:
            return refusal
        return await self.switch(
            request,
            headers,
            choose_protocol=lambda offered: None,
            make=lambda transport, window: LinesSocket(self, transport, window),
            opened=lambda connection: connection.client.join("/", {"token": request.query.get("token")}),
        )

    def make_client(self, connection: Any, handshake: Handshake) -> GatewayClient:
        return LinesClient(
            connection, handshake, application=self.application, decoder=LinesDecoder(), limits=self.limits
        )

    def encode(self, packets: Sequence[Outgoing]) -> EncodedFrames:
        self.made += 1
        return EncodedFrames([str(each.text) for each in packets if each.type == PacketType.EVENT])


class LinesSocket(GatewayWebSocket):
    """Its websocket."""

    name = "lines"


class LinesDecoder:
    """Its messages."""

    def decode(self, frame: str | bytes) -> Packet:
        try:
            return Packet(PacketType.EVENT, "/", json.loads(frame))
        except ValueError as error:
            raise DecodeError(str(error)) from None


class LinesClient(GatewayClient):
    """Its client."""

    def joined(self, nsp: str) -> None:
        self.conn.send(own_message("welcome"))

    def refused(self, nsp: str, message: str, data: Any) -> None:
        self.conn.close_with("forced close", own_message(f"refused: {message}"))


def lines_of(io: Server, app: web.Application) -> Lines:
    """Attach the protocol to an application."""
    lines = Lines(*io._serve_beside(app))
    lines.attach(app, "/lines")
    return lines


async def test_one_emit_reaches_clients_of_all_protocols(serve: Serve, js: JSClients) -> None:
    """A gateway's clients would be in rooms of their own."""
    io = Server()
    gone: list[str] = []

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        if socket.handshake.auth.get("token") == "wrong":
            raise ConnectionRefused("not for you")
        await socket.join("lobby")

    @io.on("say")
    async def say(socket: Socket, text: str) -> None:
        await io.to("lobby").emit("said", text, socket.conn.transport, socket.conn.protocol)

    io.on("disconnect")(lambda socket, reason: gone.append(reason))
    app = web.Application()
    lines = lines_of(io, app)
    io.attach(app)
    server = await serve(app)
    node = await js.connect(server.url)
    async with aiohttp.ClientSession() as http:
        async with http.ws_connect(f"{server.url}/lines?token=wrong") as refused:
            assert await refused.receive_str() == "refused: not for you"
            assert (await refused.receive()).type is aiohttp.WSMsgType.CLOSE
        async with (
            http.ws_connect(f"{server.url}/lines?token=right") as one,
            http.ws_connect(f"{server.url}/lines?token=right") as two,
        ):
            assert await one.receive_str() == await two.receive_str() == "welcome"
            await one.send_str('["say","hi"]')
            expected = ["said", "hi", "lines", 0]
            made = lines.made
            for each in (one, two):
                assert json.loads(await each.receive_str()) == expected
            assert lines.made <= made + 1
            assert await node.wait_for("said") == expected[1:]
            await node.emit("say", "ho")
            assert json.loads(await one.receive_str())[1] == "ho"
            assert {each.transport for each in io._server.eio.connections.values()} >= {"lines"}
            await two.send_str("{")
            assert (await two.receive_str())[1:9] == '"said","'
            assert (await two.receive()).data == 4400
        await eventually(lambda: sorted(gone) == ["parse error", "transport close"])
    assert [each.transport for each in io._server.eio.connections.values()] == ["websocket"]


class Stream:
    """A transport that is no websocket: what is written stays here until somebody takes it."""

    name = "stream"
    abandoned = False
    received = 0

    def __init__(self, gateway: BaseGateway) -> None:
        self.gateway = gateway
        self.connection: Any = None
        self.is_open = False
        self.written: list[str] = []
        self.ends: list[str] = []
        self.pings = 0

    def serve(self, connection: Any) -> None:
        self.connection = connection

    @property
    def writable(self) -> bool:
        return self.is_open

    def write(self, frames: list[Frames]) -> bool:
        if not self.is_open:
            return False
        self.written += [self.gateway.form(each) for each in frames]
        return True

    def buffered(self) -> int:
        return 0

    def release(self, frames: Frames) -> None:
        """Do nothing."""

    resume_reading = abort = lambda self: None

    def close(self) -> None:
        self.ends.append(self.connection.end_reason)

    def ping(self) -> None:
        self.pings += 1


class Posts(Lines):
    """The same protocol, with a POST for what clients say, and a stream for what they hear."""

    def add_routes(self, app: web.Application, path: str) -> None:
        self.streams: list[Stream] = []
        app.router.add_get(path, self.handler(self.answer))
        app.router.add_post(path, self.handler(self.take))

    def make_client(self, connection: Any, handshake: Handshake) -> GatewayClient:
        return GatewayClient(
            connection, handshake, application=self.application, decoder=LinesDecoder(), limits=self.limits
        )

    async def answer(self, request: web.Request, headers: dict[str, str]) -> Any:
        refusal = await self.check(request, headers)
        if refusal is not None:
            return refusal
        stream = Stream(self)
        self.streams.append(stream)
        connection = self.open(request, stream)
        connection.answers = False
        connection.client.join("/")
        return web.Response(text=connection.sid, headers=headers)

    async def take(self, request: web.Request, headers: dict[str, str]) -> Any:
        connection = self.entrance.table.find(request.query["sid"])
        assert isinstance(connection, GatewayConnection)
        try:
            body = await self.read_body(request, connection)
        except TimeoutError:
            return web.Response(status=408, headers=headers)
        if body is None:
            return web.Response(status=413, headers=headers)
        connection.receive(body.decode())
        return web.Response(status=204, headers=headers)

    def encode(self, packets: Sequence[Outgoing]) -> Any:
        return "".join(str(each.text) for each in packets if each.type == PacketType.EVENT)


async def test_a_gateway_need_not_be_a_websocket(serve: Serve) -> None:
    """Server-sent events, and protocols over POST, would need a server of their own."""
    limits = Limits(max_http_buffer_size=1_000, body_timeout=0.3)
    io = Server(limits=limits, cors_allowed_origins=["https://app.example"], ping_interval=0.2, ping_timeout=0.1)
    reasons: list[str] = []
    io.on("disconnect")(lambda socket, reason: reasons.append(reason))

    @io.on("say")
    async def say(socket: Socket, text: str) -> None:
        await io.emit("said", text)

    app = web.Application()
    posts = Posts(*io._serve_beside(app))
    posts.attach(app, "/posts")
    server = await serve(app)
    url = f"{server.url}/posts"
    page = {"Origin": "https://app.example"}
    async with aiohttp.ClientSession() as http:
        async with http.get(url, headers={"Origin": "https://evil.example"}) as answer:
            assert answer.status == 403
        async with http.get(url, headers=page) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
            sid = await answer.text()
        await eventually(lambda: len(io.sockets) == 1)
        (stream,) = posts.streams
        async with http.post(f"{url}?sid={sid}", data='["say","hi"]') as answer:
            assert answer.status == 204
        async with http.post(f"{url}?sid={sid}", data="x" * 2_000) as answer:
            assert answer.status == 413

        async def slowly() -> AsyncIterator[bytes]:
            yield b"x" * 10
            await asyncio.sleep(20)

        async with http.post(f"{url}?sid={sid}", data=slowly()) as answer:
            assert answer.status == 408
        assert stream.written == []
        stream.is_open = True
        stream.connection.outbox.flush()
        assert [each for each in stream.written if each] == ['["said","hi"]']
        await io.emit("said", "more")
        await eventually(lambda: stream.written[-1] == '["said","more"]')
        await eventually(lambda: stream.pings > 2)
        assert (reasons, io.stats().inbound_bytes) == ([], 0)
        await io.disconnect_sockets(close=True)
        await eventually(lambda: bool(reasons))  # the handlers run in the background
        assert (reasons, stream.ends) == (["server namespace disconnect"], ["server namespace disconnect"])
        stream.connection.lost("transport close")
        await eventually(lambda: not io._server.eio.connections)
