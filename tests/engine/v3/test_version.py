"""Engine.IO 3 packet by packet, as clients of Socket.IO 2 speak it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rtframework import Limits, Packet, PacketType, Server
from rtframework.engine.v3.connection import Connection3
from rtframework.engine.v3.payload import decode_binary, decode_text, encode_binary, encode_text
from rtframework.engine.v3.transports import WebSocketTransport3
from rtframework_msgpack import MsgpackSerializer
from tests.conftest import Serve
from tests.engine import Witness, eventually, raw_client
from tests.support.raw import Answer, RawClient, RawWebSocket

V3 = {"EIO": "3"}
OCTETS = {"Content-Type": "application/octet-stream"}
TEXT = {"Content-Type": "text/plain;charset=UTF-8"}


class OldClient:
    """One session of an old client."""

    def __init__(self, raw: RawClient, witness: Witness) -> None:
        self.raw = raw
        self.witness = witness

    def query(self, more: dict[str, str] | None = None) -> dict[str, str]:
        """The query of a poll."""
        return self.raw.query("polling", {**V3, **(more or {})})

    async def get(self, more: dict[str, str] | None = None) -> Answer:
        """One GET of text."""
        return await self.raw.request("GET", query=self.query(more))

    async def get_bytes(self) -> tuple[str, bytes]:
        """One GET: its content type, and the body as it is."""
        async with self.raw._session.get(self.raw.endpoint, params=self.query()) as response:
            return response.headers["Content-Type"], await response.read()

    async def post(self, *packets: str | bytes, binary: bool = False) -> Answer:
        """One POST."""
        body = encode_binary(packets) if binary else encode_text(packets).encode()
        return await self.raw.request("POST", query=self.query(), body=body, headers=OCTETS if binary else TEXT)

    async def open(self, more: dict[str, str] | None = None) -> dict[str, Any]:
        """Open a session by polling, and take the CONNECT."""
        answer = await self.get(more)
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/plain; charset=UTF-8")
        (packet,) = decode_text(answer.text.encode())
        assert isinstance(packet, str)
        opened: dict[str, Any] = json.loads(packet.removeprefix("0"))
        self.raw.sid = opened["sid"]
        assert (await self.get()).text == "2:40"
        return opened

    async def websocket(self, more: dict[str, str] | None = None) -> RawWebSocket:
        """Open a session by websocket, and take the CONNECT."""
        websocket, _ = await self.raw.open_websocket(query={**V3, **(more or {})})
        assert await websocket.receive() == "40"
        return websocket


@pytest.fixture
async def old(serve: Serve) -> AsyncIterator[OldClient]:
    """An old client, of a server that remembers what it heard."""
    witness = Witness(allow_eio3=True, limits=Limits(max_namespaces=2))
    witness.io.of("/admin")
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        yield OldClient(raw, witness)
    witness.gate.set()
    for connection in list(witness.engine.connections.values()):
        connection.abort("test over")
    await eventually(lambda: not witness.engine.tasks)
    witness.assert_nothing_left()


async def test_a_session_by_polling(old: OldClient) -> None:
    """An old client would not understand the first thing that it is told."""
    opened = await old.open()
    assert opened["upgrades"] == ["websocket"]
    assert (opened["pingInterval"], opened["pingTimeout"]) == (25_000, 20_000)
    answer = await old.post('420["echo","é😀",1]', '42["note",1]')
    assert (answer.status, answer.text) == (200, "ok")
    assert (await old.get()).text == '12:430["é😀",1]'
    assert (await old.post("2")).text == "ok"
    assert (await old.get()).text == "1:3"
    await old.witness.noted(1)
    assert (await old.post("1")).text == "ok"
    assert await old.witness.reason() == "transport close"


async def test_binary_by_polling(old: OldClient) -> None:
    """Pictures would come as text, or not at all."""
    await old.open()
    await old.post('450-["note",2]', '451-1["echo",{"_placeholder":true,"num":0},"é"]', b"\x04\x00\xff", binary=True)
    content_type, body = await old.get_bytes()
    assert content_type == "application/octet-stream"
    assert list(decode_binary(body)) == ['461-1[{"_placeholder":true,"num":0},"é"]', b"\x04\x00\xff"]
    # Text among it is in bytes, too; alone it is text.
    await old.witness.io.emit("a", "é")
    await old.witness.io.emit("b", b"\x01")
    assert next(decode_binary((await old.get_bytes())[1])) == '42["a","é"]'
    await old.witness.io.emit("a", "é")
    assert await old.get_bytes() == ("text/plain; charset=UTF-8", '11:42["a","é"]'.encode())
    await old.witness.noted(2)


async def test_large_binary_answers_are_compressed(old: OldClient) -> None:
    """The answer would say that it is text."""
    await old.open()
    await old.witness.io.emit("a", b"x" * 5000)
    content_type, body = await old.get_bytes()
    assert content_type == "application/octet-stream"
    assert list(decode_binary(body))[1] == b"\x04" + b"x" * 5000


async def test_base64_by_polling(old: OldClient) -> None:
    """Clients without binary requests, which say so once, would get what they cannot read."""
    await old.open({"b64": "1"})
    await old.post('451-1["echo",{"_placeholder":true,"num":0}]', b"\x04\x00\xff")
    answer = await old.get()
    assert answer.headers["Content-Type"] == "text/plain; charset=UTF-8"
    assert answer.text == '36:461-1[{"_placeholder":true,"num":0}]6:b4AP8='


@pytest.mark.parametrize("b64", [False, True])
async def test_a_session_by_websocket(old: OldClient, b64: bool) -> None:
    """A binary message would lack its first byte, or have one too many."""
    websocket = await old.websocket({"b64": "1"} if b64 else None)
    (connection,) = old.witness.engine.connections.values()
    assert isinstance(connection, Connection3)
    assert isinstance(connection.websocket, WebSocketTransport3)
    assert connection.protocol == 3
    for blob in (b"\x04\x00\xff", "b4AP8="):
        await websocket.send('451-1["echo",{"_placeholder":true,"num":0}]')
        await websocket.send(blob)
        assert await websocket.receive() == '461-1[{"_placeholder":true,"num":0}]'
        assert await websocket.receive() == ("b4AP8=" if b64 else b"\x04\x00\xff")
    await websocket.send("2")
    assert await websocket.receive() == "3"
    await websocket.send("6")
    await websocket.send('420["echo"]')
    assert await websocket.receive() == "430[]"


async def test_an_upgrade(old: OldClient) -> None:
    """Every old client would stay with polling, or lose what it is sent while it moves."""
    await old.open()
    poll = asyncio.create_task(old.get())
    await eventually(lambda: next(iter(old.witness.engine.connections.values())).has_poll)
    # What the upgrade says of its version does not count: the session has one.
    websocket = await old.raw.websocket(query={"EIO": "4"})
    await websocket.send("2probe")
    assert await websocket.receive() == "3probe"
    assert (await poll).text == "1:6"
    await old.witness.io.emit("a", b"\x01")
    await websocket.send("5")
    assert await websocket.receive() == '451-["a",{"_placeholder":true,"num":0}]'
    assert await websocket.receive() == b"\x04\x01"
    assert (await old.get()).status == 400


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ("3", "transport error"),
        ("", "parse error"),
        ("7", "parse error"),
        ("b", "parse error"),
        ("b4A", "parse error"),
        ("b2AAAA", "parse error"),
        (b"", "parse error"),
        (b"\x02", "parse error"),
        (b"4abc", "parse error"),
        (b"\x04attachment of nothing", "parse error"),
        ("4", "parse error"),
        ("42/admin,[1.5]", "parse error"),
        ('42/admin,["note",1]', "forced server close"),
        ("40/admin?" + "a=1&" * 1001 + ",", "parse error"),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_what_is_no_packet_closes_the_connection(old: OldClient, frame: str | bytes, reason: str) -> None:
    """A client that breaks the rules would go on, in a state that nobody has thought of."""
    websocket = await old.websocket()
    await websocket.send(frame)
    assert await old.witness.reason() == reason
    await websocket.closed()


async def test_a_client_that_asks_for_the_main_namespace_starts_anew(old: OldClient) -> None:
    """A client that was written by hand, and asks for what it is in already, would be closed each time."""
    websocket = await old.websocket()
    await websocket.send("40")
    assert await websocket.receive() == "40"
    assert await old.witness.reason() == "client namespace disconnect"
    await websocket.send('420["echo"]')
    assert await websocket.receive() == "430[]"


@pytest.mark.parametrize("body", [b"", b"2:4", b"7:1", b"1:4\x1e1:4", b"4hello", b"\x00\x01\xff2"], ids=repr)
async def test_a_malformed_payload_closes_the_session(old: OldClient, body: bytes) -> None:
    """Some of what a client meant to send would be lost, and nobody would know."""
    await old.open()
    answer = await old.raw.request("POST", query=old.query(), body=body, headers={"Content-Type": "text/plain"})
    assert answer.status == 400
    assert await old.witness.reason() == "parse error"


async def test_a_namespace_with_a_query(old: OldClient) -> None:
    """The token that an old client gives would be taken for a part of the name."""
    websocket = await old.websocket()
    await websocket.send('40/admin?token=a%26b&x=&token=c,{"ignored":true}')
    assert await websocket.receive() == "40/admin,"
    (socket,) = old.witness.io.of("/admin").sockets.values()
    assert dict(socket.handshake.auth) == {"token": "c", "x": ""}
    assert socket.id == f"/admin#{old.raw.sid}"
    await websocket.send('42/admin?token=c,1["nothing"]')
    assert (
        await websocket.receive()
        == '43/admin,1[{"error":{"code":"unknown_event","message":"no handler for \'nothing\'"}}]'
    )
    await websocket.send("40/elsewhere,")
    assert await old.witness.reason() == "forced server close"  # beyond max_namespaces


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_a_client_that_does_not_ping_is_gone(serve: Serve, transport: str) -> None:
    """Clients that died without a word would stay in the list of who is here."""
    witness = Witness(allow_eio3=True, ping_interval=0.1, ping_timeout=0.2)
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        old = OldClient(raw, witness)
        if transport == "polling":
            await old.open()
            poll = asyncio.create_task(old.get())
            assert await witness.reason() == "ping timeout"
            assert (await poll).text == "1:1"
        else:
            websocket = await old.websocket()
            assert await witness.reason() == "ping timeout"
            packets, _ = await websocket.closed()
            assert packets == []  # it was asked for nothing
    witness.assert_nothing_left()


async def test_who_is_served(old: OldClient) -> None:
    """Clients of a protocol that is not spoken would wait for an answer that they understand."""
    for query in ({"EIO": "2"}, {"EIO": "5"}, {"EIO": ""}, {"EIO": "33"}):
        answer = await old.raw.request("GET", query={"transport": "polling", **query})
        assert (answer.status, json.loads(answer.text)["code"]) == (400, 5)
    answer = await old.raw.request("GET", query={"transport": "polling", "EIO": "3", "j": "0"})
    assert (answer.status, json.loads(answer.text)["code"]) == (400, 3)
    assert not old.witness.engine.connections
    answer = await old.raw.request("GET", query={"transport": "polling"})
    assert answer.text.partition(":")[2].startswith('0{"sid":')
    answer = await old.raw.request("GET", query={"transport": "polling", "EIO": "4"})
    assert answer.text.startswith('0{"sid":')


async def test_an_old_client_that_is_gone_before_it_is_in(old: OldClient) -> None:
    """Its socket would be made after its end, and stay for ever."""
    await old.get()
    (connection,) = old.witness.engine.connections.values()
    connection.abort("transport close")
    websocket, _ = await old.raw.open_websocket(query=V3)
    await websocket.close()
    await eventually(lambda: not old.witness.engine.connections)
    await eventually(lambda: not old.witness.io.sockets)


async def test_other_serializers(serve: Serve) -> None:
    """With another serializer old clients could not be let in: there is no CONNECT of theirs to decode."""
    serializer = MsgpackSerializer()
    io = Server(allow_eio3=True, serializer=serializer)
    server = await serve(io)
    async with raw_client(server.url) as raw:
        websocket, _ = await raw.open_websocket(query=V3)
        frame = await websocket.receive()
        assert isinstance(frame, bytes)
        assert frame[:1] == b"\x04"
        packet = serializer.decoder().decode(frame[1:])
        assert packet == Packet(PacketType.CONNECT, "/")
        assert list(io.sockets) == [raw.sid]
