"""Serializers through real clients."""

from __future__ import annotations

import base64
import datetime
import json
from collections.abc import Sequence
from typing import Any

from rtframework import DecodeError, Packet, Server, Socket
from rtframework_msgpack import MsgpackSerializer
from tests.conftest import Serve
from tests.support.js import JSClients
from tests.support.transports import Transport


def echoing(serializer: Any = None) -> Server:
    """Answers with what it got."""
    io = Server(serializer=serializer)

    @io.on("echo")
    async def echo(socket: Socket, *args: Any) -> tuple[Any, ...]:
        return args

    return io


async def test_msgpack_in_rooms_that_mix_transports(serve: Serve, js: JSClients) -> None:
    """A picture sent by a websocket client would be broken for a polling client, or the other way round."""
    io = echoing(MsgpackSerializer())
    url = (await serve(io)).url
    clients = [await js.connect(url, transports=[name], parser="msgpack") for name in ("polling", "websocket") * 2]
    for socket in io.sockets.values():
        await socket.join("room")
    when = datetime.datetime(2026, 1, 2, 3, 4, 5, 678000, datetime.UTC)
    data = {"name": "grüße", "when": when, "bytes": [b"\x00\xff" * 200, b""], "numbers": [1, -1, 2**40, 1.5, None]}
    await io.to("room").emit("picture", data, b"top")
    for client in clients:
        assert await client.wait_for("picture") == [data, b"top"]
        assert await client.ack_args("echo", data, b"top") == [data, b"top"]


async def test_clients_of_the_wrong_serializer_harm_nobody(serve: Serve, js: JSClients, transport: Transport) -> None:
    """One page with the wrong parser would disturb those with the right one."""
    io = echoing(MsgpackSerializer())
    url = (await serve(io)).url
    good = await js.connect(url, via=transport, parser="msgpack")
    bad = await js.connect(url, via=transport, wait=False)
    await bad.life("engine_close")
    assert await good.emit_with_ack("echo", 1) == 1
    assert len(io.sockets) == 1


class Reversed:
    """JSON written backwards: a serializer of one's own, in a dozen lines."""

    def encode(self, packet: Packet) -> Sequence[str | bytes]:
        """One text frame."""
        return [json.dumps([packet.type, packet.nsp, packet.data, packet.id])[::-1]]

    def decoder(self) -> Reversed:
        """A packet is one frame, so one decoder serves all."""
        return self

    def decode(self, frame: str | bytes) -> Packet:
        """The packet."""
        try:
            kind, nsp, data, number = json.loads(frame[::-1])
        except ValueError as error:
            raise DecodeError(str(error)) from None
        return Packet(kind, nsp, data, number)


async def test_a_serializer_of_ones_own(serve: Serve) -> None:
    """Programs with a format of their own could not use it."""
    from tests.support.raw import raw_client

    async with raw_client((await serve(echoing(Reversed()))).url) as client:
        await client.handshake()
        await client.post("4" + '[0, "/", null, null]'[::-1])
        (answer,) = await client.poll()
        assert isinstance(answer, str)
        kind, nsp, data, _ = json.loads(answer[1:][::-1])
        assert (kind, nsp, list(data)) == (0, "/", ["sid"])
        await client.post("4" + '[2, "/", ["echo", 1, "two"], 7]'[::-1])
        (answer,) = await client.poll()
        assert isinstance(answer, str)
        assert json.loads(answer[1:][::-1]) == [3, "/", [1, "two"], 7]


async def test_binary_over_polling_is_base64(serve: Serve, js: JSClients) -> None:
    """The payload of the protocol would be one that only our own tests can read."""
    from tests.support.raw import raw_client

    io = echoing()
    async with raw_client((await serve(io)).url) as client:
        await client.handshake()
        await client.post("40")
        await client.poll()
        blob = b"\x00\x01\x02"
        await client.post('451-1["echo",{"_placeholder":true,"num":0}]', blob)
        answer = await client.poll()
        assert answer == ['461-1[{"_placeholder":true,"num":0}]', blob]
        assert base64.b64encode(blob) == b"AAEC"
