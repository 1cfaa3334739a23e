"""The base of gateways: another protocol to the same rooms, with a small one of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import aiohttp
from aiohttp import web

from rtframework import ConnectionRefused, DecodeError, Packet, PacketType, Server, Socket
from rtframework.engine.frames import EncodedFrames
from rtframework.gateways.base import BaseGateway
from rtframework.gateways.client import GatewayClient
from rtframework.gateways.packets import Outgoing
from rtframework.gateways.websocket import GatewayWebSocket, own_message
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
