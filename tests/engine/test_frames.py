"""EncodedFrames: RFC 6455 and Engine.IO payloads, to the byte."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from aiohttp import WSMsgType, web

from rtframework.engine.frames import CLOSE, NOOP, PING, EncodedFrames, JoinedFrames, PlainFrames, websocket_frame
from tests.conftest import Serve
from tests.engine import raw_client
from tests.support.raw import decode_payload


@pytest.mark.parametrize(
    ("length", "head"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65_535, b"\x81\x7e\xff\xff"),
        (65_536, b"\x81\x7f" + (65_536).to_bytes(8, "big")),
        (1_000_000, b"\x81\x7f" + (1_000_000).to_bytes(8, "big")),
    ],
)
def test_websocket_frames_at_the_edges_of_each_length(length: int, head: bytes) -> None:
    """A message of just the wrong length would break the connection of everybody in the room."""
    assert websocket_frame(1, b"x" * length) == head + b"x" * length


def test_messages_get_their_type_and_binary_goes_as_it_is() -> None:
    """Engine.IO v4 marks text messages with a 4, and binary ones not at all."""
    frames = EncodedFrames.of_messages(['51-["a"]', b"\x00\xff"])
    assert (
        frames.websocket == b'\x81\x0951-["a"]'.replace(b"51-", b"451-").replace(b"\x09", b"\x09") + b"\x82\x02\x00\xff"
    )
    assert frames.polling == '451-["a"]\x1ebAP8='
    assert frames.size == len(frames.websocket)


@pytest.mark.parametrize("length", [1, 120, 125, 126, 127, 65_535, 65_536, 70_000])
def test_text_gets_the_same_frame_by_the_short_way(length: int) -> None:
    """What other servers emit would be closed connections for clients here."""
    message = "é" + "x" * (length - 2)
    one, other = EncodedFrames.of_messages([message], True), EncodedFrames.of_text(f"4{message}", True)
    assert one.websocket == other.websocket
    assert (one.polling, one.packets, one.size, one.droppable) == (
        other.polling,
        other.packets,
        other.size,
        other.droppable,
    )
    assert one.deflated(15, 0, 6) == other.deflated(15, 0, 6)


@pytest.mark.parametrize("make", [EncodedFrames.of_messages, PlainFrames.of_messages])
def test_the_form_of_another_protocol_is_made_once(make: Callable[[Sequence[str | bytes]], EncodedFrames]) -> None:
    """A broadcast to a thousand clients of another protocol would be encoded a thousand times."""
    frames = make(['51-["a",{"_placeholder":true,"num":0}]', b"\x00"])
    seen: list[Sequence[str | bytes]] = []

    def form(messages: Sequence[str | bytes]) -> int:
        seen.append(messages)
        return len(seen)

    assert [frames.form("one", form), frames.form("two", form), frames.form("one", form)] == [1, 2, 1]
    assert seen[0] == seen[1] == ['51-["a",{"_placeholder":true,"num":0}]', b"\x00"]


def test_the_form_is_that_of_all_messages_and_of_nothing_else() -> None:
    """What a client has missed would be lost, or a ping of Engine.IO be taken for an event."""
    joined = JoinedFrames([EncodedFrames.of_text('42["a"]', True), EncodedFrames.of_messages(['0{"sid":"x"}'])])
    assert joined.form(1, list) == ['2["a"]', '0{"sid":"x"}']
    assert PING.form("a test", list) == []


def test_frames_can_be_joined() -> None:
    """What a client has missed would be sent in a form of its own, or dropped on the way because it is slow."""
    one, two = (
        EncodedFrames.of_messages(['2["a"]'], droppable=True),
        EncodedFrames.of_messages(['51-["b"]', b"\x00"], droppable=True),
    )
    joined = JoinedFrames([one, two])
    assert joined.websocket == one.websocket + two.websocket
    assert joined.polling == one.polling + "\x1e" + two.polling
    assert joined.size == one.size + two.size
    assert joined.deflated(15, 0, 6) == one.deflated(15, 0, 6) + two.deflated(15, 0, 6)
    assert not joined.droppable
    picture = PlainFrames.of_messages(["x" * 1000])
    mixed = JoinedFrames([one, picture])
    assert mixed.compress
    assert mixed.deflated(15, 0, 6) == one.deflated(15, 0, 6) + picture.websocket
    assert not JoinedFrames([picture]).compress


def test_each_form_is_made_once() -> None:
    """A broadcast to a thousand polling clients would be encoded a thousand times."""
    frames = EncodedFrames.of_messages(["é" * 10, b"x"])
    assert frames.websocket is frames.websocket
    assert frames.polling is frames.polling


def test_lengths_are_counted_in_bytes() -> None:
    """Text that is not English would break the websocket."""
    assert EncodedFrames(["é" * 63]).websocket == b"\x81\x7e\x00\x7e" + "é".encode() * 63
    assert EncodedFrames(["\U0001f600"]).size == 6


def test_the_packets_of_the_protocol() -> None:
    """Clients would not know a ping from a close."""
    assert [frames.polling for frames in (CLOSE, PING, NOOP)] == ["1", "2", "6"]
    assert [frames.websocket for frames in (CLOSE, PING, NOOP)] == [b"\x81\x011", b"\x81\x012", b"\x81\x016"]


async def test_another_implementation_reads_them(serve: Serve) -> None:
    """The frames would be right in our own eyes only."""
    messages: list[str | bytes] = ["", "é" * 200, b"", b"\xff" * 70_000, "x" * 70_000, b"\x00"]

    async def handle(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        assert request.transport is not None
        request.transport.write(EncodedFrames(messages).websocket)
        await socket.close()
        return socket

    app = web.Application()
    app.router.add_get("/socket.io/", handle)
    server = await serve(app)
    async with raw_client(server.url) as raw:
        websocket = await raw.websocket()
        received = [await websocket.ws.receive() for _ in messages]
        assert [message.data for message in received] == messages
        assert {message.type for message in received} == {WSMsgType.TEXT, WSMsgType.BINARY}
    assert decode_payload(EncodedFrames(["4a", b"\xff"]).polling) == ["4a", b"\xff"]
