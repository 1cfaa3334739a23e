"""The two wires of programs that are no servers."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from rtframework import ConfigurationError, EncodeError, JSONSerializer, Target
from rtframework.cluster import classic_wire
from rtframework.cluster.messages import DisconnectSockets, MessageType, Options, SocketsRooms, options_of
from rtframework.types import EVERYBODY
from rtframework_redis.publication import ChannelMessage, EventData, PubSubWire, StreamMessage, StreamsWire


def event(*args: Any, serializer: JSONSerializer | None = None) -> EventData:
    """Encode an event named "e"."""
    return EventData(serializer or JSONSerializer(), "e", args)


class Point(BaseModel):
    """A model of pydantic."""

    x: int


@dataclasses.dataclass
class Size:
    """A dataclass."""

    width: int


def test_values_are_sent_as_a_server_sends_them() -> None:
    """The same object would arrive in two forms, or not at all from a worker."""
    data = event(Point(x=1), Size(2), {3}, b"\x00", (4, None))
    assert data.text is None
    assert data.plain == ["e", {"x": 1}, {"width": 2}, [3], b"\x00", [4, None]]
    assert event(Point(x=1), "ü").text == '["e",{"x":1},"ü"]'
    assert event(1 + 2j, serializer=JSONSerializer(enc_hook=str)).plain == ["e", "(1+2j)"]


def test_a_hook_that_fails_is_an_encode_error() -> None:
    """Programs that handle what cannot be encoded would miss it."""

    def fail(value: Any) -> Any:
        raise KeyError(value)

    with pytest.raises(EncodeError, match="KeyError"):
        event(1 + 2j, serializer=JSONSerializer(enc_hook=fail))


def test_entries_are_those_of_servers() -> None:
    """Servers could not read them, or not send them on without decoding them."""
    wire = StreamsWire()
    red = Target(frozenset(["red"]), frozenset(["blue"]), volatile=True, compress=False)
    assert wire.event("/chat", red, event("ü")) == StreamMessage(
        b"/chat",
        3,
        '{"packet":{"type":2,"data":["e","ü"]},"opts":{"rooms":["red"],"except":["blue"],'
        '"flags":{"volatile":true,"compress":false}}}'.encode(),
        b"red",
    )
    packed = wire.event("/", EVERYBODY, event(b"\x00"))
    assert (packed.data[:1], packed.room) == (b"g", None)  # base64
    order = DisconnectSockets(options_of(EVERYBODY), True, {"reason": "why"})
    assert wire.order("/", MessageType.DISCONNECT_SOCKETS, order).data == (
        b'{"opts":{"rooms":[],"except":[],"flags":{}},"close":true,"x":{"reason":"why"}}'
    )
    assert wire.server_side("/", event(1)) == StreamMessage(b"/", 9, b'{"packet":["e",1]}')


def test_messages_of_channels_are_those_of_node_s_emitter() -> None:
    """Fleets with Node's classic adapter would not hear them."""
    wire = PubSubWire("io")
    red = Target(frozenset(["red"]))
    sent = wire.event("/chat", red, event(b"\x00"))
    assert sent.channel == "io#/chat#red#"
    assert msgspec.msgpack.decode(sent.payload) == [
        "emitter",
        {"type": 2, "data": ["e", b"\x00"], "nsp": "/chat"},
        {"rooms": ["red"], "except": [], "flags": {}},
    ]
    assert wire.event("/", EVERYBODY, event()).channel == "io#/#"
    opts = b'"opts":{"rooms":["red"],"except":[]}'
    join = wire.order("/", MessageType.SOCKETS_JOIN, SocketsRooms(options_of(red), ["blue"]))
    assert join == ChannelMessage("io-request#/#", b'{"type":2,' + opts + b',"rooms":["blue"]}')
    leave = wire.order("/", MessageType.SOCKETS_LEAVE, SocketsRooms(options_of(red), ["blue"]))
    assert classic_wire.decode_request(leave.payload).type == 3
    end = wire.order("/", MessageType.DISCONNECT_SOCKETS, DisconnectSockets(options_of(red), False))
    assert end.payload == b'{"type":4,' + opts + b',"close":false}'
    assert wire.server_side("/", event(1)).payload == b'{"uid":"emitter","type":6,"data":["e",1]}'


def test_what_a_wire_cannot_carry_is_refused() -> None:
    """A reason or a picture would be lost without a word."""
    wire = PubSubWire("socket.io")
    with pytest.raises(ConfigurationError, match="reason is for"):
        wire.order("/", MessageType.DISCONNECT_SOCKETS, DisconnectSockets(Options(), False, {"reason": "why"}))
    with pytest.raises(EncodeError, match="bytes"):
        wire.server_side("/", event(b"\x00"))
    with pytest.raises(EncodeError, match="64 bits"):
        wire.event("/", EVERYBODY, event(2**70))
