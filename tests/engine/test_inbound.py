"""The memory that messages take: it is counted, it comes back, and who has too much of it waits, not the others."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import itertools
import json
import sys
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtframework import Limits, Packet, Socket
from rtframework.engine.connection import Connection
from rtframework.engine.inbound import LARGE, Inbound, count_and_estimate, estimate
from rtframework.types import DisconnectReason
from rtframework_msgpack import MsgpackSerializer
from tests.conftest import Serve
from tests.engine import Witness, eventually, join, join_websocket, raw_client, turns_until
from tests.support.raw import RawClient, RawWebSocket
from tests.support.thorough import examples
from tests.support.websocket import TEXT, frame, tcp

LISTS = '["hold",[' + "[]," * 30_000 + "0]]"
"""A message of 90 KB that takes 2 MB when it is decoded."""


def held_by(value: Any) -> int:
    """The bytes of a value and of all that is in it, one by one."""
    size = sys.getsizeof(value)
    if isinstance(value, dict):
        return size + sum(sys.getsizeof(key) + held_by(each) for key, each in value.items())
    return size + sum(map(held_by, value)) if isinstance(value, list) else size


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(), inner, max_size=20),
    max_leaves=60,
)


@given(VALUES)
@settings(max_examples=examples(400))
def test_an_estimate_is_never_too_low_by_much(value: Any) -> None:
    """A client would find the shape of message that takes more memory than is counted."""
    text = json.dumps(value, separators=(",", ":"))
    assert held_by(json.loads(text)) <= 2 * estimate(text) + 256


@pytest.mark.parametrize("inner", ["{}", "[]", '{"a":1}', '{"a":{}}', "[[]]", '"ab"', "1e9", "[1]", "[0,[0]]"])
def test_an_estimate_holds_for_the_heaviest(inner: str) -> None:
    """The same, for those that are made for it."""
    text = "[" + ",".join([inner] * 5_000) + "]"
    assert held_by(json.loads(text)) <= estimate(text) * 1.3


def test_binary_messages_are_estimated_as_messagepack() -> None:
    """The same, for lists of one byte each."""
    assert estimate(b"\x90" * 1_000) >= 1_000 * (56 + 8)
    assert estimate(lambda: None) == 0
    assert count_and_estimate('[1,[2,3],"a"]')[0] >= 5


class Waiter:
    """A connection that waits for room, as the account sees it."""

    def __init__(self, held: int) -> None:
        self.held = held
        self.retried = 0
        self.aborted: str | None = None

    def retry(self) -> None:
        self.retried += 1

    def abort(self, reason: str) -> None:
        self.aborted = reason


async def test_who_holds_much_waits_first() -> None:
    """A few clients with large messages would stop everybody."""
    account = Inbound(most=32_000, most_each=10_000, timeout=30)
    account.held = 25_000
    assert not account.has_room(500, held=5_000), "three quarters are taken"
    assert account.has_room(500, held=0), "a light one may have the rest"
    assert not account.has_room(7_500, held=0)
    account.held = 40_000
    assert not account.has_room(1, held=0)
    assert account.has_room(10**9, held=40_000), "nobody else holds anything"


async def test_the_lightest_goes_on_first() -> None:
    """Whoever wants most would have what becomes free, again and again."""
    account = Inbound(most=32_000, most_each=10_000, timeout=30)
    account.held = 30_000
    heavy, light = Waiter(9_000), Waiter(100)
    account.wait(heavy, 9_000)
    account.wait(light, 400)
    account.release(1_000)
    await asyncio.sleep(0)  # what it is released by may have more to do
    assert (light.retried, heavy.retried) == (1, 0)
    account.forget(light)
    account.release(20_000)
    await asyncio.sleep(0)
    assert heavy.retried == 1
    account.forget(heavy)
    account.forget(heavy)
    assert account._timer is None


async def test_nobody_waits_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    """A client would hang because of others that never end what they have begun."""
    account = Inbound(most=1_000, most_each=1_000, timeout=0.02)
    account.held = 5_000
    first, second = Waiter(10), Waiter(10)
    account.wait(first, 900)
    await asyncio.sleep(0.01)
    account.wait(second, 900)
    await eventually(lambda: second.aborted)
    assert (first.aborted, second.aborted) == ("transport error", "transport error")
    assert "Limits.max_inbound" in caplog.text


# -- on the wire


async def hold_messages(raw: RawClient, websocket: RawWebSocket | None, count: int) -> asyncio.Task[None]:
    """Send messages whose handlers wait, for as long as the server reads them."""

    async def send() -> None:
        for _ in range(count):
            if websocket is None:
                await raw.request("POST", body="42" + LISTS, timeout=60)
            else:
                await websocket.send("42" + LISTS)

    return asyncio.create_task(send())


async def stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize("by", ["polling", "websocket"])
async def test_handlers_that_wait_hold_no_more_than_the_bound(serve: Serve, by: str) -> None:
    """70 messages of a megabyte to a handler that waits took 1.9 GB, and kept it after the client had left."""
    witness = Witness(limits=Limits(max_inbox=10_000_000))
    server = await serve(witness.io)
    async with raw_client(server.url) as raw, raw_client(server.url) as other:
        bystander = await join_websocket(other)
        websocket = None
        if by == "polling":
            await join(raw)
        else:
            websocket = await join_websocket(raw)
        sending = await hold_messages(raw, websocket, 70)
        await eventually(lambda: witness.holding == 3)
        for number in range(20):
            await bystander.send(f'42{number}["echo"]')
            assert await bystander.receive() == f"43{number}[]"
        assert witness.holding == 3
        assert 5_000_000 < witness.io.stats().inbound_bytes < 10_000_000
        witness.gate.set()
        await asyncio.wait_for(sending, 10)
        await eventually(lambda: not witness.holding)
    await eventually(lambda: witness.io.stats().inbound_bytes == 0)


@pytest.mark.parametrize("by", ["polling", "websocket"])
async def test_what_a_client_that_left_has_sent_is_counted_until_it_is_served(serve: Serve, by: str) -> None:
    """A client that comes, sends and goes, again and again, would have no bound."""
    witness = Witness(limits=Limits(max_inbox=10_000_000))
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        websocket = None
        if by == "polling":
            await join(raw)
        else:
            websocket = await join_websocket(raw)
        sending = await hold_messages(raw, websocket, 70)
        await eventually(lambda: witness.holding == 3)
        await stopped(sending)
        for connection in list(witness.engine.connections.values()):
            connection.abort(DisconnectReason.TRANSPORT_CLOSE)
    await eventually(lambda: not witness.engine.connections)
    assert witness.io.stats().inbound_bytes > 5_000_000
    witness.gate.set()
    await eventually(lambda: not witness.holding)
    await eventually(lambda: witness.io.stats().inbound_bytes == 0)


async def test_the_server_has_a_bound_and_the_heaviest_wait(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """A hundred clients within their bounds would use up the memory together."""
    witness = Witness(limits=Limits(max_inbox=10_000_000, max_inbound=8_000_000, body_timeout=0.5))
    server = await serve(witness.io)
    async with raw_client(server.url) as one, raw_client(server.url) as two, raw_client(server.url) as three:
        first, second, third = await join_websocket(one), await join_websocket(two), await join_websocket(three)
        for _ in range(2):
            await first.send("42" + LISTS)
        await eventually(lambda: witness.holding == 2)
        await second.send("42" + LISTS)
        await second.send('421["echo"]')
        await third.send('422["echo","' + "x" * 2 * LARGE + '"]')
        assert str(await third.receive()).startswith("432["), "who holds little is served"
        assert witness.holding == 2
        _, code = await second.closed()
        assert code == 1006, "it found no room in time"
        assert "Limits.max_inbound" in caplog.text
        witness.gate.set()
    await eventually(lambda: witness.io.stats().inbound_bytes == 0)


async def test_who_waited_for_room_goes_on(serve: Serve) -> None:
    """A message would be lost because it came at a bad moment."""
    witness = Witness(limits=Limits(max_inbox=10_000_000, max_inbound=8_000_000))
    server = await serve(witness.io)
    async with raw_client(server.url) as one, raw_client(server.url) as two:
        first, second = await join_websocket(one), await join_websocket(two)
        for _ in range(2):
            await first.send("42" + LISTS)
        await eventually(lambda: witness.holding == 2)
        await second.send("421" + LISTS)
        await second.send('422["echo"]')
        await eventually(lambda: witness.engine.table.inbound._waiting)
        witness.gate.set()
        assert {str(await second.receive())[:3], str(await second.receive())[:3]} == {"431", "432"}
    await eventually(lambda: witness.io.stats().inbound_bytes == 0)


async def test_the_parts_of_one_packet_are_counted_together(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """A packet of ten attachments, each just small enough, whose last byte never comes, would take 10 MB."""
    witness = Witness(max_http_buffer_size=100_000)
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        websocket = await join_websocket(raw)
        await websocket.send('453-["note",' + ",".join(f'{{"_placeholder":true,"num":{n}}}' for n in range(3)) + "]")
        await websocket.send(b"x" * 60_000)
        await eventually(lambda: witness.io.stats().inbound_bytes > 60_000)
        await websocket.send(b"x" * 60_000)
        assert (await websocket.closed())[1] == 1000
    assert await witness.reason() == "transport error"
    assert "Limits.max_http_buffer_size" in caplog.text
    assert witness.io.stats().inbound_bytes == 0


async def test_a_packet_with_attachments_is_counted_until_it_is_served(serve: Serve) -> None:
    """Pictures for a handler that waits would be counted as nothing."""
    witness = Witness()
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        websocket = await join_websocket(raw)
        await websocket.send('451-["hold",{"_placeholder":true,"num":0}]')
        await websocket.send(b"x" * 200_000)
        await eventually(lambda: witness.holding)
        assert witness.io.stats().inbound_bytes > 200_000
        witness.gate.set()
        await eventually(lambda: witness.io.stats().inbound_bytes == 0)


async def test_handlers_that_wait_are_counted_as_what_they_take(serve: Serve) -> None:
    """A hundred clients with a thousand small events each would take three times the bound of all."""
    witness = Witness()
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        websocket = await join_websocket(raw)
        await websocket.send('42["hold"]')
        await eventually(lambda: witness.holding == 1)
        counted = witness.io.stats().inbound_bytes
        tracemalloc.start()
        try:
            for _ in range(500):
                await websocket.send('42["hold"]')
            await eventually(lambda: witness.holding == 501, 20)
            gc.collect()
            taken = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert taken < 1.2 * (witness.io.stats().inbound_bytes - counted)
        witness.gate.set()


async def test_a_message_of_just_the_size_that_is_weighed_first_is_counted(serve: Serve) -> None:
    """A thousand messages of one certain length, for handlers that wait, would take 1.5 GB and count as nothing."""
    witness = Witness()
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        websocket = await join_websocket(raw)
        for size in (LARGE, LARGE, LARGE):
            head = '2["hold",[' + "[]," * ((size - 20) // 3)
            await websocket.send(f"4{head}{'1' * (size - len(head) - 2)}]]")
        await eventually(lambda: witness.holding == 3)
        assert witness.io.stats().inbound_bytes > 3 * 10_000 * 64
        witness.gate.set()
        await eventually(lambda: witness.io.stats().inbound_bytes == 0)


async def test_base64_is_counted_as_what_is_in_it(serve: Serve) -> None:
    """The same, for MessagePack on websockets of clients without binary messages."""
    witness = Witness(serializer=MsgpackSerializer())
    server = await serve(witness.io)

    def text(packet: Packet) -> str:
        return "b" + base64.b64encode(bytes(MsgpackSerializer().encode(packet)[0])).decode()  # type: ignore[arg-type]

    async with raw_client(server.url) as raw:
        websocket, _ = await raw.open_websocket()
        await websocket.send(text(Packet(0, "/")))
        await websocket.receive()
        for count in (20_000, 30_000):
            await websocket.send(text(Packet(2, "/", ["hold", [[] for _ in range(count)]])))
        await eventually(lambda: witness.holding == 2)
        assert witness.io.stats().inbound_bytes > 50_000 * 64
        witness.gate.set()
        await eventually(lambda: witness.io.stats().inbound_bytes == 0)


@pytest.mark.parametrize("wide", ["\U0001f600", "\\ud83d\\ude00"])
async def test_a_wide_character_counts_for_its_whole_string(serve: Serve, wide: str) -> None:
    """An emoji in front would have the server take four times as much as it counts."""
    witness = Witness()
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        websocket = await join_websocket(raw)
        await websocket.send('42["hold","' + wide + "a" * 900_000 + '"]')
        await eventually(lambda: witness.holding)
        assert witness.io.stats().inbound_bytes > 3_600_000
        witness.gate.set()
        await eventually(lambda: witness.io.stats().inbound_bytes == 0)


async def test_a_large_message_is_counted_while_it_waits_to_be_served(serve: Serve) -> None:
    """Behind handlers that wait, each client would have 4 MB that count as nothing."""
    witness = Witness(limits=Limits(max_pending_events=3))
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        websocket = await join_websocket(raw)
        for _ in range(3):
            await websocket.send('42["hold"]')
        await eventually(lambda: witness.holding == 3)
        await websocket.send('42["hold","\U0001f600' + "a" * 900_000 + '"]')
        await eventually(lambda: witness.io.stats().inbound_bytes > 3_600_000)
        witness.gate.set()
        await eventually(lambda: witness.io.stats().inbound_bytes == 0)


async def test_small_messages_have_the_bound_of_all_too(serve: Serve) -> None:
    """Handlers that wait with a small message each would take as much as there are clients for."""
    witness = Witness(limits=Limits(max_inbound=3_000_000, max_inbox=2_000_000))
    server = await serve(witness.io)
    async with contextlib.AsyncExitStack() as stack:
        raws = [await stack.enter_async_context(raw_client(server.url)) for _ in range(6)]
        for raw in raws:
            websocket = await join_websocket(raw)
            for _ in range(10):
                await websocket.send('42["hold",[' + "[]," * 1_500 + "0]]")
        honest = await join_websocket(await stack.enter_async_context(raw_client(server.url)))
        await honest.send('421["echo"]')
        assert await honest.receive() == "431[]"
        assert witness.io.stats().inbound_bytes < 5_000_000
        witness.gate.set()
        await eventually(lambda: witness.io.stats().inbound_bytes == 0)


async def test_those_who_hold_much_keep_nobody_out(serve: Serve) -> None:
    """When others hold all that there is, everybody whose message comes in two pieces would be cut off."""
    witness = Witness(limits=Limits(body_timeout=0.2))
    server = await serve(witness.io)
    async with tcp(server.url) as peer, raw_client(server.url) as raw:
        await join(raw)
        await peer.open()
        await peer.receive()
        peer.send(frame(TEXT, b"40"))
        await peer.receive()
        witness.engine.table.inbound.held += 10**9
        event = frame(TEXT, b'421["echo","' + b"a" * 300 + b'"]')
        peer.send(event[:100])
        posting = asyncio.create_task(raw.post('42["note","' + "a" * 30_000 + '"]'))
        await asyncio.sleep(0.5)
        peer.send(event[100:])
        assert str(await peer.receive()).startswith("431[")
        assert (await posting).status == 200
        witness.engine.table.inbound.held -= 10**9
    await eventually(lambda: witness.io.stats().inbound_bytes == 0)


async def test_those_who_only_wait_do_not_hold_each_other_up(serve: Serve) -> None:
    """Many large messages at one time would wait for each other until their connections are cut off."""
    witness = Witness(limits=Limits(max_inbound=100_000))
    server = await serve(witness.io)
    async with contextlib.AsyncExitStack() as stack:
        raws = [await stack.enter_async_context(raw_client(server.url)) for _ in range(12)]
        websockets = [await join_websocket(raw) for raw in raws]
        for websocket in websockets:
            await websocket.send('42["hold",[' + "[]," * 30_000 + "0]]")
        await eventually(lambda: witness.engine.table.inbound._waiting)
        witness.gate.set()
        for websocket in websockets:
            await websocket.send('421["echo"]')
            assert await websocket.receive() == "431[]"
    await eventually(lambda: witness.io.stats().inbound_bytes == 0)


async def test_attachments_count_as_what_they_are(serve: Serve) -> None:
    """A picture would wait until nothing else of its client is at work, and too many of them would find no room."""
    witness = Witness()
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        websocket = await join_websocket(raw)
        await websocket.send('42["hold"]')
        await eventually(lambda: witness.holding)
        await websocket.send('451-["note",{"_placeholder":true,"num":0}]')
        await websocket.send(bytes(range(256)) * 2_000)
        await eventually(lambda: witness.notes)
        witness.gate.set()


async def test_a_handler_can_ask_the_client_that_sent_it_much(serve: Serve) -> None:
    """The answer would never be read: the server waits for the handler before it reads on."""
    witness = Witness()
    answers: list[Any] = []

    @witness.io.on("ask")
    async def ask(socket: Socket, value: Any) -> None:
        answers.append(await socket.emit_with_ack("sure?"))

    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        websocket = await join_websocket(raw)
        await websocket.send('42["ask",[' + "[]," * 200_000 + "0]]")
        number = str(await websocket.receive())[2:].partition("[")[0]
        await websocket.send(f"43{number}[1]")
        await eventually(lambda: answers == [1])


@pytest.mark.parametrize("packet", ['451-["note",{"_placeholder":true,"num":0}]', '42["note",1]', '43["x"]', "41"])
async def test_before_it_is_in_a_client_may_only_ask(serve: Serve, packet: str) -> None:
    """Somebody without a token would have the server keep what it sends."""
    witness = Witness()
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        websocket, _ = await raw.open_websocket()
        await websocket.send(packet)
        assert await websocket.closed() == ([], 1000)
    assert (witness.notes, witness.io.stats().inbound_bytes) == ([], 0)


@pytest.mark.parametrize("by", ["polling", "websocket"])
@pytest.mark.parametrize(("size", "allowed"), [(15_000, True), (17_000, False)])
async def test_before_it_is_in_messages_are_small(
    serve: Serve, by: str, size: int, allowed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A megabyte for everybody who opens a connection and never joins."""
    witness = Witness()
    server = await serve(witness.io)
    connect = "40" + json.dumps({"token": "x" * size})
    async with raw_client(server.url) as raw:
        if by == "polling":
            await raw.handshake()
            answer = await raw.post(connect)
            assert answer.status == (200 if allowed else 413)
        else:
            websocket, _ = await raw.open_websocket()
            await websocket.send(connect)
            assert allowed or (await websocket.closed())[1] == 1009
        if allowed:
            await eventually(lambda: witness.io.sockets)
            assert witness.io.stats().inbound_bytes > size, "the handshake is kept"
        else:
            assert "Limits.max_connect_size" in caplog.text
    await eventually(lambda: not witness.engine.connections or by == "polling")
    for connection in list(witness.engine.connections.values()):
        connection.abort(DisconnectReason.TRANSPORT_CLOSE)
    await eventually(lambda: witness.io.stats().inbound_bytes == 0)


async def test_a_large_message_after_the_answer_is_taken(serve: Serve) -> None:
    """The small bound would hold for clients that are in, on a websocket that was opened before."""
    witness = Witness()
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        websocket = await join_websocket(raw)
        await websocket.send('42["note","' + "x" * 500_000 + '"]')
        await eventually(lambda: witness.notes)


async def test_auth_of_many_namespaces_is_bounded(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """One connection would have the server keep 20 times a megabyte of what it calls its credentials."""
    witness = Witness(limits=Limits(max_inbox=1_000_000))
    for number in range(20):
        witness.io.of(f"/{number}")
    server = await serve(witness.io)
    auth = '{"a":[' + "{}," * 4_000 + "0]}"
    async with raw_client(server.url) as raw:
        websocket = await join_websocket(raw)
        await websocket.send("40/0," + '{"a":"' + "x" * 20_000 + '"}')
        assert (await websocket.closed())[1] == 1000
        assert "Limits.max_connect_size" in caplog.text
        raw.sid = None
        websocket = await join_websocket(raw)
        for number in range(3):
            for _ in range(5):  # what has left is counted no more
                await websocket.send(f"40/{number},{auth}")
                await websocket.receive()
                if number < 2:
                    await websocket.send(f"41/{number},")
        for number in range(3, 20):
            await websocket.send(f"40/{number},{auth}")
        await websocket.closed()
    await eventually(lambda: not witness.engine.connections)
    await eventually(lambda: witness.io.stats().inbound_bytes == 0)


async def test_a_client_that_joins_and_leaves_waits_for_its_disconnect_handlers(serve: Serve) -> None:
    """61,900 tasks for one client that sends CONNECT and DISCONNECT in turn."""
    witness = Witness(limits=Limits(max_pending_events=10))
    gate, running = asyncio.Event(), 0

    @witness.io.on("disconnect")
    async def slow(socket: Socket, reason: str) -> None:
        nonlocal running
        running += 1
        await gate.wait()
        running -= 1

    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        websocket = await join_websocket(raw)
        for _ in range(100):
            await websocket.send("41")
            await websocket.send("40")
        await eventually(lambda: running == 10)
        for _ in range(20):
            await asyncio.sleep(0)
        assert running == 10
        gate.set()
        await eventually(lambda: len(witness.reasons) == 100)


# -- turns


async def test_a_large_message_is_decoded_without_the_collector(serve: Serve) -> None:
    """A megabyte of small lists held everybody up for 0.3 s, most of it for garbage that was none."""
    witness = Witness(serializer=MsgpackSerializer())
    server = await serve(witness.io)
    collections: list[str] = []
    decoding = False

    def collected(phase: str, info: object) -> None:
        if decoding:
            collections.append(phase)

    encode = MsgpackSerializer().encode
    decode = MsgpackSerializer.decode

    def watched(self: MsgpackSerializer, frame: str | bytes) -> Any:
        nonlocal decoding
        decoding = len(frame) > LARGE
        try:
            return decode(self, frame)
        finally:
            decoding = False

    async with raw_client(server.url) as raw:
        websocket, _ = await raw.open_websocket()
        await websocket.send(encode(Packet(0, "/"))[0])
        await websocket.receive()
        gc.callbacks.append(collected)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(MsgpackSerializer, "decode", watched)
            connection = next(iter(witness.engine.connections.values()))
            connection._handler._decoder = MsgpackSerializer()  # type: ignore[attr-defined]
            await websocket.send(encode(Packet(2, "/", ["note", [[] for _ in range(50_000)]]))[0])
            await eventually(lambda: witness.notes)
        gc.callbacks.remove(collected)
    assert collections == []
    assert gc.isenabled()


async def test_the_collector_is_on_again_after_what_cannot_be_decoded(serve: Serve) -> None:
    """One malformed message would let the server grow with every cycle from then on."""
    witness = Witness()
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        websocket = await join_websocket(raw)
        await websocket.send('42["note",' + "[]," * 50_000)
        await websocket.closed()
    assert gc.isenabled()
    assert witness.reasons == ["parse error"]


@pytest.mark.parametrize("payload", ["[" + "0," * 60_000 + "0]", "[" * 900 + "]" * 900])
async def test_values_are_bounded(serve: Serve, payload: str, caplog: pytest.LogCaptureFixture) -> None:
    """A server with a large max_http_buffer_size would be held up for seconds by one message."""
    witness = Witness(limits=Limits(max_items=50_000))
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        websocket = await join_websocket(raw)
        await websocket.send(f'42["note",{payload}]')
        if len(payload) > LARGE:
            await websocket.closed()
            assert witness.reasons == ["parse error"]
            assert "Limits.max_items" in caplog.text
        else:
            await eventually(lambda: witness.notes)


async def test_a_binary_message_has_no_more_values_either(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """The same, for MessagePack, whose values are counted when they are there."""
    witness = Witness(serializer=MsgpackSerializer(), limits=Limits(max_items=50_000))
    server = await serve(witness.io)
    encode = MsgpackSerializer().encode
    async with raw_client(server.url) as raw:
        websocket, _ = await raw.open_websocket()
        await websocket.send(encode(Packet(0, "/"))[0])
        await websocket.receive()
        await websocket.send(encode(Packet(2, "/", ["note", [[] for _ in range(90_000)]]))[0])
        await websocket.closed()
    assert witness.reasons == ["parse error"]
    assert "Limits.max_items" in caplog.text
    assert witness.io.stats().inbound_bytes == 0


async def test_large_messages_take_turns(serve: Serve) -> None:
    """One client's large messages would be served one after another, and everybody else would wait for all of them."""
    witness = Witness()
    server = await serve(witness.io)
    ticks: list[int] = []

    async with raw_client(server.url) as raw:
        websocket = await join_websocket(raw)
        connection: Connection = next(iter(witness.engine.connections.values()))
        loop = asyncio.get_running_loop()

        def tick() -> None:
            ticks.append(len(witness.notes))
            if len(witness.notes) < 20:
                loop.call_soon(tick)

        tick()
        for number in range(20):  # they come in one read of the network
            connection.receive('42["note","' + str(number) + "x" * LARGE + '"]')
        await turns_until(lambda: len(witness.notes) == 20)
        assert websocket is not None
    assert len(set(ticks)) >= 1
    assert max(after - before for before, after in itertools.pairwise(ticks)) <= 32


async def test_new_clients_wait_while_much_is_on_its_way(serve: Serve) -> None:
    """A flood of new connections, each with a piece as large as is read at once, would go beyond every bound."""
    witness = Witness()
    server = await serve(witness.io)
    account = witness.engine.table.inbound
    async with raw_client(server.url) as raw, tcp(server.url) as gone:
        account.idle += account.most
        websocket, _ = await raw.open_websocket()
        await websocket.send("40")
        await gone.open()
        await eventually(lambda: len(account._doors) == 2)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not witness.io.sockets, "it is not read yet"
        gone.transport.abort()
        await eventually(lambda: len(account._doors) == 1)
        account.idle -= account.most
        account.release(0)
        assert str(await websocket.receive()).startswith('40{"sid"')
        assert not account._doors
