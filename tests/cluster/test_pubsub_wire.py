"""Pub/sub of the streams and the sharded adapter: the bytes of Node both ways."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtframework.cluster.messages import (
    Answer,
    Broadcast,
    ClientCount,
    EventPacket,
    FetchedSockets,
    FetchSockets,
    Message,
    Options,
    ServerSideEmit,
    SocketRecord,
    options_of,
)
from rtframework.cluster.payloads import JSONReader
from rtframework.cluster.pubsub_wire import (
    decode,
    encode_ephemeral,
    encode_sharded,
    encode_text,
    escape_pattern,
    is_ephemeral,
    own_end,
    private_channel,
    public_channel,
    read_splice,
    room_channel,
    room_has_channel,
    sharded_channel,
)
from rtframework.exceptions import DecodeError
from rtframework.types import Target
from tests.support.cluster_peer import UID, ask_node, names, sent

LOSSY = {"sharded surrogate": "half of an emoji becomes U+FFFD"}


@pytest.mark.parametrize("name", [*names("streams"), *names("sharded")])
def test_messages_of_node_are_read_and_written_byte_for_byte(name: str) -> None:
    """Requests of a Node server would stay without an answer, or ours."""
    for command in sent(name):
        if command.command == "XADD":
            continue
        message = decode(command.payload)
        assert (message.uid, message.nsp) == (UID, "/")
        if command.command == "PUBLISH":
            assert is_ephemeral(message) is (" answer " not in name)
            assert encode_ephemeral(message) == command.payload
        elif name not in LOSSY:
            assert encode_sharded(message) == command.payload
        if " answer " in name:
            assert command.to == private_channel("/", "ffff")
        elif command.command == "SPUBLISH":
            assert command.to == sharded_channel(message)
        else:
            assert command.to == public_channel("/")


OPTS = Options(["r1"], [], {"timeout": 1000})
PACKET = EventPacket(2, ["vote?", b"x"])


@pytest.mark.parametrize("adapter", ["streams", "sharded"])
def test_node_understands_our_messages(adapter: str) -> None:
    """Node's servers would not answer, and every request would run into its time limit."""
    other = "ffffffffffffffff"
    messages = [
        Message(3, Broadcast(PACKET, "aa", OPTS), other, "/"),
        Message(7, FetchSockets(OPTS, "aa"), other, "/"),
        Message(9, ServerSideEmit(packet=["sync", {"a": b"x"}]), other, "/"),
        Message(9, ServerSideEmit("aa", ["sync"]), other, "/"),
    ]
    encode = encode_ephemeral if adapter == "streams" else encode_sharded
    questions = [
        {"adapter": adapter, "channel": public_channel("/"), "payload": encode(each).hex(), "nsp": "/"}
        for each in messages
    ]
    shown = {"rooms": ["r1"], "except": [], "flags": {"timeout": 1000}}
    assert ask_node(pubsub=questions)["pubsub"] == [
        [{"ask": {"type": 2, "data": ["vote?", {"$hex": "78"}]}, "opts": shown}],
        [{"fetch": shown}],
        [{"serverSideEmit": ["sync", {"a": {"$hex": "78"}}]}],
        [{"serverSideEmit": ["sync"]}],
    ]


@pytest.mark.parametrize(
    "message",
    [
        Message(8, FetchedSockets("aa", [SocketRecord("sid", {"url": "/"}, ["sid"], {"a": b"x"})]), "u", "/"),
        Message(10, Answer("aa", {"deep": [b"x"]}, {"args": [1, 2]}), "u", "/"),
        Message(11, ClientCount("aa", 0), "u", "/"),
        Message(12, Answer("aa"), "u", "/"),
        Message(13, None, "u", "/"),
    ],
)
def test_answers_come_back(message: Message) -> None:
    """The answers of our own servers would get lost."""
    if message.data is not None:
        assert decode(encode_ephemeral(message)) == message
        assert decode(encode_sharded(message)) == message
    assert decode(b'{"type":13,"uid":"u","nsp":"/"}') == Message(13, None, "u", "/")


def test_keys_that_are_absent_stay_absent() -> None:
    """Node tests for ``undefined``: a ``requestId`` that is null would make a request of every event."""
    message = Message(3, Broadcast(EventPacket(2, ["x"])), "u", "/")
    assert encode_sharded(message) == (
        b'{"type":3,"data":{"packet":{"type":2,"data":["x"]},"opts":{"rooms":[],"except":[],"flags":{}}},'
        b'"uid":"u","nsp":"/"}'
    )


def test_rooms_have_their_channels() -> None:
    """A room's message would be sent where nobody listens, or a whole cluster would hear it."""
    assert room_has_channel("room", "dynamic")
    assert not room_has_channel("room", "static")
    assert not room_has_channel("a" * 20, "dynamic")
    assert not room_has_channel("😀" * 10, "dynamic")  # JavaScript counts UTF-16 code units
    assert room_has_channel("a" * 20, "dynamic-private")
    message = Message(3, Broadcast(PACKET, "aa", OPTS), "u", "/")
    assert sharded_channel(message) == public_channel("/")
    assert room_channel("/chat", "r") == "socket.io#/chat#r#"
    assert escape_pattern("socket.io#/a[b]*?\\#") == "socket.io#/a\\[b\\]\\*\\?\\\\#"


@given(
    st.binary() | st.binary().map(lambda rest: b"{" + rest) | st.binary().map(lambda rest: b"\x84\xa4type\x03" + rest)
)
def test_rubbish_is_refused(payload: bytes) -> None:
    """One rubbish message would end the subscription, and with it every answer."""
    with contextlib.suppress(DecodeError):
        decode(payload)


@given(st.sampled_from([*names("streams"), *names("sharded")]), st.data())
def test_damaged_messages_are_refused(name: str, data: Any) -> None:
    """One damaged message would end the subscription, and with it every answer."""
    for command in sent(name):
        damaged = bytearray(command.payload)
        if damaged:
            at = data.draw(st.integers(0, len(damaged) - 1))
            damaged[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
            with contextlib.suppress(DecodeError):
                decode(bytes(damaged))


@pytest.mark.parametrize("nsp", ["/", '/a"b'])
def test_an_event_is_written_and_read_without_its_arguments(nsp: str) -> None:
    """Each event would be decoded and encoded again by each server."""
    target = Target(frozenset(["r1"]), volatile=True)
    payload = encode_text("u", nsp, '["hi",{"n":1.50}]', target)
    message = Message(3, Broadcast(EventPacket(2, ["hi", {"n": 1.5}]), opts=options_of(target)), "u", nsp)
    assert payload == encode_sharded(message).replace(b"1.5", b"1.50")
    assert decode(payload) == message
    assert payload.endswith(own_end("u", nsp))
    splice = read_splice(payload)
    assert splice is not None
    assert (splice.uid, splice.nsp, splice.data.args()) == ("u", nsp, '["hi",{"n":1.50}]')
    assert read_splice(payload[:-1]) is None
    assert read_splice(encode_sharded(Message(7, FetchSockets(OPTS, "aa"), "u", nsp))) is None
    assert read_splice(encode_sharded(Message(3, Broadcast(PACKET), "u", nsp))) is None


@pytest.mark.parametrize("name", [name for name in names("sharded") if " answer " not in name])
def test_events_of_node_are_read_without_their_arguments(name: str) -> None:
    """Clients would get something else than those of Node's servers."""
    for command in sent(name):
        splice, message = read_splice(command.payload), decode(command.payload)
        if splice is None or not isinstance(message.data, Broadcast):
            continue
        text = splice.data.args()
        assert text is not None
        assert JSONReader()(text) == message.data.packet.data
        assert (splice.uid, splice.nsp, splice.data.requestId) == (message.uid, message.nsp, message.data.requestId)
