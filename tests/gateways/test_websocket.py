"""Websockets of gateways: stricter than RFC 6455 asks, and the codes with which they are closed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rtframework import (
    DecodeError,
    Deflate,
    DisconnectReason,
    Limits,
    Packet,
    PacketType,
    Server,
    Socket,
    WebSocketCodec,
)
from rtframework.gateways.websocket import CLOSE_CODES, Uncompressed, own_message, refusal_code
from tests.conftest import Serve
from tests.engine import eventually
from tests.gateways import application
from tests.support.server import RunningServer
from tests.support.websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    RSV2,
    TEXT,
    Peer,
    fragments,
    frame,
    tcp,
)


class Echo(WebSocketCodec):
    """Messages as they are."""

    def decode(self, message: str | bytes) -> Packet:
        if message == "wrong":
            raise DecodeError("wrong")
        return Packet(PacketType.EVENT, data=["echo", message])

    def encode(self, packet: Packet) -> str | bytes | None:
        return packet.data[1] if packet.type == PacketType.EVENT else None


class Party:
    """A server that echoes, and one client."""

    def __init__(self, io: Server, server: RunningServer, peer: Peer, reasons: list[str]) -> None:
        self.io = io
        self.server = server
        self.peer = peer
        self.reasons = reasons

    async def assert_gone(self, reason: str) -> None:
        """Everything of the client has gone, for this reason."""
        await eventually(lambda: self.reasons == [reason])
        await eventually(lambda: not self.io._server.eio.connections and not self.io._server.eio.table.leaving)
        assert self.io.stats().inbound_bytes == 0


@contextlib.asynccontextmanager
async def party(serve: Serve, *headers: str, **options: Any) -> AsyncIterator[Party]:
    """A server with these options, and a client with these headers."""
    io = Server(**options)
    reasons: list[str] = []
    io.on("disconnect")(lambda socket, reason: reasons.append(reason))

    @io.on("echo")
    async def echo(socket: Socket, message: Any) -> None:
        if message == "slowly":
            await asyncio.sleep(0.01)
        await socket.emit("echo", message)

    server = await serve(application(io, Echo()))
    async with tcp(server.url) as peer:
        await peer.open(*headers, path="/ws")
        await eventually(lambda: len(io.sockets) == 1)
        yield Party(io, server, peer, reasons)


async def test_each_ping_has_its_pong(serve: Serve) -> None:
    """A client that counts its pings would take some for lost."""
    async with party(serve) as one:
        pings = [b"%d" % number for number in range(10)]
        one.peer.send(b"".join(frame(PING, each) for each in pings), frame(TEXT, b"x"))
        assert await one.peer.receive() == "x"
        assert one.peer.pongs == pings


async def test_pings_between_fragments_are_answered_at_once(serve: Serve) -> None:
    """The other side would take a long message for a dead connection."""
    async with party(serve) as one:
        one.peer.send(frame(TEXT, b"a", fin=False) + frame(PING, b"1"))
        found = await one.peer.next_frame()
        assert found is not None
        assert (found.opcode, found.payload) == (PONG, b"1")
        one.peer.send(frame(PING, b"2") + frame(CONTINUATION, b"b"))
        assert await one.peer.receive() == "ab"
        assert one.peer.pongs == [b"2"]


async def test_what_comes_before_a_mistake_is_answered(serve: Serve) -> None:
    """The answers to what was right would be lost with it."""
    async with party(serve) as one:
        one.peer.send(frame(TEXT, b"one") + frame(BINARY, b"two") + frame(TEXT, b"three", rsv=RSV2))
        end = await one.peer.end()
        assert (end.code, end.messages) == (1002, ["one", b"two"])
        await one.assert_gone("transport error")


async def test_what_comes_before_a_close_is_answered(serve: Serve) -> None:
    """A client that asks, and closes, would not get its answer."""
    async with party(serve) as one:
        one.peer.send(frame(TEXT, b"one") + frame(CLOSE, (3000).to_bytes(2, "big") + b"bye") + frame(TEXT, b"late"))
        end = await one.peer.end(answer=False)
        assert (end.code, end.messages) == (3000, ["one"])
        await one.assert_gone("transport close")


async def test_a_close_behind_what_is_wrong_ends_the_server_s_own(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection of a client that has said all that it has to say would stay until the server loses patience."""
    monkeypatch.setattr("rtframework.engine.transports.websocket._CLOSE_TIMEOUT", 3_600.0)
    async with party(serve, limits=Limits(max_pending_events=1)) as one:
        one.peer.send(frame(TEXT, b"slowly") + frame(TEXT, b"wrong") + frame(CLOSE, (1000).to_bytes(2, "big")))
        end = await one.peer.end(answer=False)
        assert (end.code, end.messages) == (4400, ["slowly"])
        await one.assert_gone("parse error")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, "é".encode()[:1], fin=False) + frame(CONTINUATION, b"x", fin=False), 1007),
        (frame(TEXT, b"a\xed\xa0\x80", fin=False), 1007),
        (frame(TEXT, b"\xf4\x90" + b"x" * 1_000)[:10], 1007),
        (frame(CONTINUATION, b"x"), 1002),
        (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002),
        (frame(3), 1002),
        (frame(11), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(PING, b"x", fin=False), 1002),
        (frame(TEXT, b"x", mask=None), 1002),
        (frame(CLOSE, b"\x03"), 1002),
        (frame(CLOSE, (1005).to_bytes(2, "big")), 1002),
        (frame(CLOSE, (1000).to_bytes(2, "big") + b"\xff"), 1007),
        (frame(BINARY, b"x" * 60_000, fin=False) + frame(CONTINUATION, b"x" * 60_000), 1009),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_what_breaks_the_protocol_ends_it_at_once(serve: Serve, data: bytes, code: int) -> None:
    """A client that is broken, or an attacker, would be read on."""
    async with party(serve, max_http_buffer_size=100_000) as one:
        one.peer.send(data)
        end = await one.peer.end()
        assert (end.code, end.messages) == (code, [])
        await one.assert_gone("transport error")


async def test_a_close_without_a_code_is_answered_so(serve: Serve) -> None:
    """A browser's ``close()`` would be answered with a code that it has not sent."""
    async with party(serve) as one:
        one.peer.send(frame(CLOSE))
        end = await one.peer.end(answer=False)
        assert (end.code, end.clean) == (None, True)
        await one.assert_gone("transport close")


async def test_a_client_that_closes_while_handlers_run_is_not_waited_for_ever(serve: Serve) -> None:
    """A handler that hangs would keep its client for ever."""
    io = Server(ping_timeout=0.3, limits=Limits(max_pending_events=1))
    gate = asyncio.Event()
    reasons: list[str] = []
    io.on("disconnect")(lambda socket, reason: reasons.append(reason))

    @io.on("echo")
    async def echo(socket: Socket, message: str) -> None:
        await gate.wait()

    server = await serve(application(io, Echo()))
    async with tcp(server.url) as peer:
        await peer.open(path="/ws")
        await eventually(lambda: len(io.sockets) == 1)
        peer.send(frame(TEXT, b"1") + frame(TEXT, b"2") + frame(CLOSE))
        await eventually(lambda: reasons == ["transport close"])
        await eventually(lambda: not io._server.eio.connections)
    gate.set()


async def test_messages_are_compressed_if_that_was_agreed(serve: Serve) -> None:
    """Mobile clients would pay for each byte of JSON."""
    offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
    async with party(serve, offer, per_message_deflate=Deflate(threshold=100)) as one:
        one.peer.decompress = lambda data: zlib.decompressobj(-15).decompress(data + b"\x00\x00\xff\xff")
        compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
        packed = (compressor.compress(b"x" * 5_000) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
        one.peer.send(fragments(TEXT, [packed[:10], packed[10:]], rsv=0x40))
        assert await one.peer.receive() == "x" * 5_000
        assert (one.peer.frames[-1].rsv, len(one.peer.frames[-1].payload) < 100) == (0x40, True)
        one.peer.send(frame(TEXT, b"short"))
        assert await one.peer.receive() == "short"
        assert one.peer.frames[-1].rsv == 0
        await one.io.compress(False).emit("echo", "y" * 5_000)
        assert await one.peer.receive() == "y" * 5_000
        assert one.peer.frames[-1].rsv == 0


@pytest.mark.parametrize("policy", ["disconnect", "drop_oldest"])
async def test_a_client_that_does_not_read_is_bounded(
    serve: Serve, policy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """One phone in a tunnel would fill the memory of the server."""
    caplog.set_level(logging.WARNING)
    limits = Limits(max_outbox=200_000, slow_consumer=policy)
    async with party(serve, limits=limits) as one:
        one.peer.transport.pause_reading()
        sent = 0
        while not sum(one.io.stats().dropped.values()):
            await one.io.emit("echo", f"{sent}:" + "x" * 50_000)
            sent += 1
            await asyncio.sleep(0)
        assert one.io._server.eio.waiting_bytes() < 20_000_000
        if policy == "disconnect":
            await one.assert_gone("slow consumer")
            return
        one.peer.transport.resume_reading()
        await one.io.emit("echo", "last")
        seen = []
        while (message := await one.peer.receive()) != "last":
            seen.append(int(str(message).partition(":")[0]))
        assert seen == sorted(seen)
        assert len(seen) < sent
        assert one.reasons == []
        one.peer.transport.abort()
    assert [each.levelname for each in caplog.records] == ["WARNING"]


async def test_a_client_that_does_not_read_gets_no_more_pongs(serve: Serve) -> None:
    """A client could have the server hold gigabytes of pongs."""
    async with party(serve) as one:
        one.peer.transport.pause_reading()
        (connection,) = one.io._server.eio.connections.values()
        for _ in range(3_000):
            one.peer.send(frame(PING, b"x" * 125) * 20)
            await asyncio.sleep(0)
            if connection.outbox.sink.buffered() >= 65_536:
                break
        before = connection.outbox.sink.buffered()
        one.peer.send(frame(PING, b"x" * 125) * 2_000)
        received = connection.websocket.received if connection.websocket is not None else 0
        await eventually(lambda: connection.websocket is None or connection.websocket.received > received)
        assert connection.outbox.sink.buffered() <= before + 127 * 40
        one.peer.transport.abort()


async def test_what_the_server_says_at_the_end_fits(serve: Serve) -> None:
    """A long refusal would break the websocket instead of saying why."""
    io = Server()

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        raise Refused("é" * 100)

    from rtframework import ConnectionRefused as Refused

    server = await serve(application(io))
    async with tcp(server.url) as peer:
        await peer.open(path="/ws")
        assert json.loads(str(await peer.receive()))["message"] == "é" * 100
        found = await peer.next_frame()
        assert found is not None
        assert found.payload == (4401).to_bytes(2, "big") + ("é" * 61).encode()


@pytest.mark.parametrize("last", [frame(CLOSE, b"\x03\xe8"), frame(TEXT, b"x", rsv=RSV2)], ids=["close", "mistake"])
async def test_a_wrong_message_and_the_end_behind_it(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, last: bytes
) -> None:
    """The connection would stay open until a timeout: the answer to the close frame has come before it was sent."""
    monkeypatch.setattr("rtframework.engine.transports.websocket._CLOSE_TIMEOUT", 3600.0)
    io = Server()
    server = await serve(application(io))
    async with tcp(server.url) as peer:
        await peer.open(path="/ws")
        await eventually(lambda: len(io.sockets) == 1)
        peer.send(frame(TEXT, b"no JSON") + last)
        end = await peer.end()
        assert end.code == 4400
        assert json.loads(str(end.messages[-1]))["type"] == "error"
    await eventually(lambda: not io._server.eio.table.leaving)


@pytest.mark.parametrize(
    ("message", "data", "code"),
    [
        ("Invalid namespace", None, 4404),
        ("no", None, 4401),
        ("no", "rate_limited", 4401),
        ("no", {"code": "expired"}, 4401),
        ("no", {"code": ["rate_limited"]}, 4401),
        ("no", {"code": "rate_limited"}, 4429),
        ("no", {"code": "too_many_connections"}, 4429),
    ],
)
def test_a_refusal_has_a_code(message: str, data: Any, code: int) -> None:
    """A client that only came too often would ask its user for another password."""
    assert refusal_code(message, data) == code


def test_every_reason_has_a_code() -> None:
    """A client could not tell whether to come back."""
    by_the_client = {DisconnectReason.CLIENT_NAMESPACE_DISCONNECT, DisconnectReason.TRANSPORT_CLOSE}
    cut_off = {DisconnectReason.PING_TIMEOUT, DisconnectReason.TRANSPORT_ERROR}
    plain = {DisconnectReason.FORCED_CLOSE}
    assert set(CLOSE_CODES) == set(DisconnectReason) - by_the_client - cut_off - plain
    assert all(code in (1001, 1008) or 4400 <= code < 4500 for code in CLOSE_CODES.values())


def test_own_messages_and_what_is_not_compressed() -> None:
    """A pong would be compressed, or counted with no size."""
    frames = own_message("pong", droppable=True)
    form = frames.form(None, lambda messages: None)
    assert (form.websocket, frames.size, frames.droppable) == (b"\x81\x04pong", 6, True)
    plain = Uncompressed(form)
    assert plain.deflated(15, 0, 9) == plain.websocket == b"\x81\x04pong"
    assert (plain.size, plain.form(None, lambda messages: None)) == (6, plain)
