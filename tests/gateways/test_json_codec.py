"""The protocol ``rtframework.v1``, message by message."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtframework import DecodeError, Handshake, JSONSerializer, Packet, PacketType, Reply
from rtframework.gateways.json_codec import SUBPROTOCOL, JSONCodec
from rtframework.gateways.packets import read

CODEC = JSONCodec()
JSON = JSONSerializer()


def binary(content: Any, *attachments: bytes, length: int | None = None) -> bytes:
    """Make a binary message."""
    head = json.dumps(content).encode()
    return (len(head) if length is None else length).to_bytes(4, "big") + head + b"".join(attachments)


PLACE = {"_placeholder": True, "num": 0}


@pytest.mark.parametrize(
    ("message", "packet"),
    [
        ('{"type":"event","event":"say","args":["hi",2]}', Packet(PacketType.EVENT, "", ["say", "hi", 2])),
        ('{"event":"say"}', Packet(PacketType.EVENT, "", ["say"])),
        ('{"event":7,"id":0}', Packet(PacketType.EVENT, "", [7], 0)),
        ('{"event":"a","nsp":"/admin","id":9007199254740991}', Packet(PacketType.EVENT, "/admin", ["a"], 2**53 - 1)),
        ('{"type":"ack","id":3,"args":[true]}', Packet(PacketType.ACK, "", [True], 3)),
        ('{"type":"ack","id":3}', Packet(PacketType.ACK, "", [], 3)),
        ('{"type":"connect"}', Packet(PacketType.CONNECT, "", None)),
        ('{"type":"connect","nsp":"/a","auth":{"token":"x"}}', Packet(PacketType.CONNECT, "/a", {"token": "x"})),
        ('{"type":"disconnect","nsp":"/a"}', Packet(PacketType.DISCONNECT, "/a")),
        ('{"event":"a","other":1}', Packet(PacketType.EVENT, "", ["a"])),
        (r'{"event":"a","args":["\ud83d"]}', Packet(PacketType.EVENT, "", ["a", "\ufffd"])),
        ('{"event":"a","args":[1e400]}', Packet(PacketType.EVENT, "", ["a", float("inf")])),
        (binary({"event": "a"}), Packet(PacketType.EVENT, "", ["a"])),
        (
            binary(
                {"event": "a", "args": [PLACE, [{"b": {"_placeholder": True, "num": 1}}]], "attachments": [2, 0]},
                b"\x00\xff",
            ),
            Packet(PacketType.EVENT, "", ["a", b"\x00\xff", [{"b": b""}]]),
        ),
        (binary({"event": "a", "args": [PLACE]}), Packet(PacketType.EVENT, "", ["a", PLACE])),
    ],
    ids=repr,
)
def test_messages_are_packets(message: str | bytes, packet: Packet) -> None:
    """A client that follows the documentation would not be understood."""
    assert CODEC.decode(message) == packet


@pytest.mark.parametrize(
    ("message", "answer"),
    [('{"type":"ping"}', '{"type":"pong"}'), ('{"type":"ping","data":[1]}', '{"type":"pong","data":[1]}')],
)
def test_pings_are_answered(message: str, answer: str) -> None:
    """A page could not tell whether its connection still works: browsers let no page send pings."""
    assert CODEC.decode(message) == Reply(answer)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "{",
        "null",
        "[]",
        '"event"',
        "{}",
        '{"type":"event"}',
        '{"type":"shout","event":"a"}',
        '{"type":1}',
        '{"event":"a","args":{}}',
        '{"event":"a","id":-1}',
        '{"event":"a","id":9007199254740992}',
        '{"event":"a","id":"1"}',
        '{"event":1.5}',
        '{"event":"disconnect"}',
        '{"event":9007199254740992}',
        '{"type":"ack"}',
        '{"type":"connect","auth":"x"}',
        '{"event":"a","nsp":1}',
        '{"event":"a","args":' + "[" * 10_000 + "]" * 10_000 + "}",
        b"",
        b"\x00\x00",
        binary({"event": "a"}, length=400),
        b"\x00\x00\x00\x02\xff\xfe",
        binary({"event": "a"}, b"more"),
        binary({"event": "a", "attachments": [3]}, b"more"),
        binary({"event": "a", "attachments": [-1, 5]}, b"more"),
        binary({"event": "a", "attachments": [1] * 11}, b"x" * 11),
        binary({"event": "a", "args": [{"_placeholder": True, "num": 1}], "attachments": [4]}, b"more"),
        binary({"event": "a", "args": [{"_placeholder": True, "num": "0"}], "attachments": [4]}, b"more"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_no_message_is_refused(message: str | bytes) -> None:
    """What a broken client means would be guessed at."""
    with pytest.raises(DecodeError):
        CODEC.decode(message)


@pytest.mark.parametrize(
    ("packet", "message"),
    [
        (Packet(PacketType.EVENT, "/", ["say", "hi", None]), '{"type":"event","event":"say","args":["hi",null]}'),
        (Packet(PacketType.EVENT, "/", ["say"], 0), '{"type":"event","event":"say","args":[],"id":0}'),
        (Packet(PacketType.EVENT, "/a", [5, "é"]), '{"type":"event","event":5,"args":["é"],"nsp":"/a"}'),
        (Packet(PacketType.ACK, "/a", [], 12), '{"type":"ack","args":[],"id":12,"nsp":"/a"}'),
        (Packet(PacketType.CONNECT, "/", {"sid": "x"}), '{"type":"connected","sid":"x"}'),
        (Packet(PacketType.CONNECT, "/a", {"sid": "x"}), '{"type":"connected","sid":"x","nsp":"/a"}'),
        (Packet(PacketType.CONNECT_ERROR, "/", {"message": "no"}), '{"type":"refused","message":"no"}'),
        (Packet(PacketType.DISCONNECT, "/a"), '{"type":"disconnected","nsp":"/a"}'),
    ],
    ids=repr,
)
def test_packets_are_messages(packet: Packet, message: str) -> None:
    """A client that follows the documentation would not understand the server."""
    assert CODEC.encode(packet) == message
    (outgoing,) = read(JSON.encode(packet), JSON)
    assert json.loads(str(CODEC.encode_outgoing(outgoing))) == json.loads(message)


def test_bytes_are_attachments() -> None:
    """A picture would be text."""
    message = CODEC.encode(Packet(PacketType.EVENT, "/", ["p", {"a": [b"12", "t"]}, b"3"], 1))
    assert isinstance(message, bytes)
    head = int.from_bytes(message[:4], "big")
    assert json.loads(message[4 : 4 + head]) == {
        "type": "event",
        "event": "p",
        "args": [{"a": [PLACE, "t"]}, {"_placeholder": True, "num": 1}],
        "id": 1,
        "attachments": [2, 1],
    }
    assert message[4 + head :] == b"123"


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.text().filter(
        lambda name: (
            name not in ("connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener")
        )
    ),
    st.lists(values, max_size=3),
    st.none() | st.integers(0, 2**53 - 1),
    st.sampled_from(["/", "/admin"]),
)
def test_what_is_sent_can_be_sent_back(name: str, args: list[Any], id: int | None, nsp: str) -> None:
    """An echo would not be one."""
    codec = JSONCodec(max_attachments=10_000)
    packet = Packet(PacketType.EVENT, nsp, [name, *args], id)
    (outgoing,) = read(JSONSerializer(max_attachments=10_000).encode(packet), JSONSerializer(max_attachments=10_000))
    message = codec.encode_outgoing(outgoing)
    assert message is not None
    found = codec.decode(message)
    assert isinstance(found, Packet)
    assert Packet(found.type, found.nsp or "/", found.data, found.id) == packet


def test_errors_name_what_they_are_about() -> None:
    """A program could not tell which of its messages was wrong."""
    assert CODEC.error("no") == '{"type":"error","message":"no"}'
    packet = Packet(PacketType.EVENT, "/a", ["x"], 3)
    assert json.loads(str(CODEC.error("no", packet))) == {"type": "error", "message": "no", "id": 3, "nsp": "/a"}


def test_the_query_says_who_asks() -> None:
    """A client that can send no headers could not be let in."""
    assert SUBPROTOCOL in CODEC.subprotocols
    assert CODEC.auth(Handshake(query={"token": "x", "nsp": "/a"})) == {"token": "x"}
    assert CODEC.auth(Handshake(query={"pid": "p", "offset": "o"})) == {"pid": "p", "offset": "o"}
    assert CODEC.auth(Handshake()) == {}
    assert CODEC.auth(Handshake(query={"auth": "message", "token": "x"})) is None
