"""Pub/sub of the classic adapter and its emitter: the bytes of Node both ways."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from rtframework.cluster.classic_wire import (
    Request,
    Response,
    Selection,
    broadcast_channel,
    decode_broadcast,
    decode_request,
    decode_response,
    encode_broadcast,
    encode_request,
    encode_response,
    own_start,
    read_packet,
    read_splice,
    request_channel,
    response_channel,
)
from rtframework.cluster.messages import EventPacket, Options, SocketRecord
from rtframework.exceptions import DecodeError
from tests.support.cluster_peer import UID, ask_node, names, sent


@pytest.mark.parametrize("name", names("classic"))
def test_messages_of_node_are_read_and_written_byte_for_byte(name: str) -> None:
    """A fleet of servers with the classic adapter would not hear ours, or ours not it."""
    for command in sent(name):
        if command.to.startswith("socket.io#"):
            found = decode_broadcast(command.payload)
            assert (found.uid, found.packet.nsp) == (UID, "/")
            assert command.to == broadcast_channel("/", found.opts)
            if "date" not in name:  # text from here on
                assert encode_broadcast(UID, "/", found.packet.data, found.opts) == command.payload
        elif command.to.startswith("socket.io-request#"):
            assert command.to == request_channel("/")
            assert encode_request(decode_request(command.payload)) == command.payload
        else:
            assert command.to == response_channel("/")
            assert encode_response(decode_response(command.payload)) == command.payload


def test_the_emitter_is_understood() -> None:
    """Workers with @socket.io/redis-emitter would emit to nobody."""
    moment = "2026-01-01T00:00:00.123Z"
    expected: dict[str, tuple[list[Any], Options, str]] = {
        "all": (["hi", 1], Options(), "/"),
        "room": (["hi", "there"], Options(["r1"]), "/"),
        "rooms": (["hi"], Options(["r1", "r2"], ["r3"]), "/"),
        "volatile": (["hi"], Options(flags={"volatile": True}), "/"),
        "uncompressed": (["hi"], Options(flags={"compress": False}), "/"),
        "bytes": (["hi", b"\x00\x01\xff", {"deep": [b"xy"]}], Options(), "/"),
        "buffer": (["hi", b"\x01\x02\x03"], Options(), "/"),
        "date": (["hi", moment, None, None], Options(), "/"),
        "namespace": (["hi"], Options(), "/chat"),
    }
    for name, (args, opts, nsp) in expected.items():
        (command,) = sent(f"emitter {name}")
        found = decode_broadcast(command.payload)
        assert (found.uid, found.packet, found.opts) == ("emitter", EventPacket(2, args, nsp), opts)
        assert command.to == broadcast_channel(nsp, opts)
    requests = {
        "join": Request(2, opts=Selection(["r1"]), rooms=["a", "b"]),
        "leave": Request(3, opts=Selection(["r1"], ["r2"]), rooms=["a"]),
        "disconnect": Request(4, opts=Selection(["r1"]), close=True),
        "server_side": Request(6, "emitter", data=["sync", {"a": 1}]),
    }
    for name, request in requests.items():
        (command,) = sent(f"emitter {name}")
        assert decode_request(command.payload) == request
        assert encode_request(request) == command.payload


def test_node_understands_our_messages() -> None:
    """Clients of the fleet's servers would get nothing."""
    opts = Options(["r1"], ["r2"], {"volatile": True})
    other = "ffffff"
    sends = [
        (broadcast_channel("/", Options()), encode_broadcast(other, "/", ["hi", b"x", {"a": [b"y"]}, None], Options())),
        (broadcast_channel("/", Options([], ["r"])), encode_broadcast("emitter", "/", ["hi"], Options([], ["r"]))),
        (request_channel("/"), encode_request(Request(2, other, opts=Selection(["r1"], ["r2"]), rooms=["a"]))),
        (request_channel("/"), encode_request(Request(3, opts=Selection(["r1"], ["r2"]), rooms=["a"]))),
        (request_channel("/"), encode_request(Request(4, opts=Selection(["r1"], ["r2"]), close=False))),
        (request_channel("/"), encode_request(Request(5, other, "aa", Selection(["r1"])))),
        (request_channel("/"), encode_request(Request(6, other, data=["sync", 1]))),
        (
            request_channel("/"),
            encode_request(Request(7, other, "aa", Selection([], [], {}), packet=EventPacket(2, ["q", b"x"], "/"))),
        ),
    ]
    questions = [
        {"adapter": "classic", "channel": channel, "payload": payload.hex(), "nsp": "/"} for channel, payload in sends
    ]
    seen = ask_node(pubsub=questions)["pubsub"]
    hexed = [{"$hex": "78"}, {"a": [{"$hex": "79"}]}, None]
    packet = {"type": 2, "data": ["hi"], "nsp": "/"}
    shown = {"rooms": ["r1"], "except": ["r2"]}
    flagless = {"$undefined": True}
    assert seen == [
        [{"broadcast": {**packet, "data": ["hi", *hexed]}, "opts": {"rooms": [], "except": [], "flags": {}}}],
        [{"broadcast": packet, "opts": {"rooms": [], "except": ["r"], "flags": {}}}],
        [{"join": ["a"], "opts": {**shown, "flags": flagless}}],
        [{"leave": ["a"], "opts": {**shown, "flags": flagless}}],
        [{"disconnect": False, "opts": {**shown, "flags": flagless}}],
        [{"fetch": {"rooms": ["r1"], "except": [], "flags": flagless}}],
        [{"serverSideEmit": ["sync", 1]}],
        [{"ask": {**packet, "data": ["q", {"$hex": "78"}]}, "opts": {"rooms": [], "except": [], "flags": flagless}}],
    ]
    assert opts.flags


def test_older_notepack_is_understood() -> None:
    """An emitter of an older version would reach nobody as soon as it sends a date."""
    head = b"\x93\xa7emitter\x83\xa4type\x02\xa4data"
    tail = b"\xa3nsp\xa1/\x83\xa5rooms\x90\xa6except\x90\xa5flags\x80"
    undefined, date, buffer = b"\xd4\x00\x00", b"\xd7\x00" + (1000).to_bytes(8, "big"), b"\xc7\x03\x00abc"
    found = decode_broadcast(head + b"\x94\xa2hi" + undefined + date + buffer + tail)
    assert found.packet.data == ["hi", None, "1970-01-01T00:00:01.000Z", b"abc"]
    with pytest.raises(DecodeError, match="Date"):
        decode_broadcast(head + b"\x92\xa2hi\xd7\x00\x7f" + b"\xff" * 7 + tail)
    with pytest.raises(DecodeError, match="unknown type"):
        decode_broadcast(head + b"\x92\xa2hi\xd4\x05\x00" + tail)


def test_nil_is_taken_for_absent() -> None:
    """A request of an emitter in another language would be refused for a key that says nothing."""
    request = decode_request(b'{"type":2,"uid":null,"requestId":null,"opts":{"rooms":[1],"except":null},"rooms":[2]}')
    assert request == Request(2, opts=Selection(["1"]), rooms=["2"])
    assert request.uid is UNSET


def test_answers_are_told_apart() -> None:
    """The answer to a vote would be counted as a number of clients."""
    for response in (
        Response("aa", sockets=[SocketRecord("s", {}, ["s"], {"a": 1})]),
        Response("aa", sockets=["s1", "s2"]),
        Response("aa", rooms=["r"]),
        Response("aa", 6, data={"x": 1}),
        Response("aa", 8, clientCount=0),
        Response("aa", 9, packet=b"x"),
        Response("aa", 9, packet=None),
        Response("aa"),
    ):
        assert decode_response(encode_response(response)) == response
    assert response_channel("/", uid="abc") == "socket.io-response#/#abc#"


@pytest.mark.parametrize(
    "payload",
    [b'{"type":0}', b'{"type":5,"requestId":"a"}', b'{"type":6,"uid":"u","data":[]}', b'{"type":7,"uid":"u"}', b"{}"],
)
def test_requests_that_lack_something_are_refused(payload: bytes) -> None:
    """A handler would run into a value that is not there."""
    with pytest.raises(DecodeError):
        decode_request(payload)


@given(
    st.binary() | st.binary().map(lambda rest: b"{" + rest) | st.binary().map(lambda rest: b"\x93\xa1u" + rest),
    st.sampled_from([decode_broadcast, decode_request, decode_response]),
)
def test_rubbish_is_refused(payload: bytes, decode: Any) -> None:
    """One rubbish message would end the subscription, and with it everything that the fleet sends."""
    with contextlib.suppress(DecodeError):
        decode(payload)


@given(
    st.sampled_from([*names("classic"), *names("emitter")]),
    st.sampled_from([decode_broadcast, decode_request, decode_response]),
    st.data(),
)
def test_damaged_messages_are_refused(name: str, decode: Any, data: Any) -> None:
    """One damaged message would end the subscription, and with it everything that the fleet sends."""
    for command in sent(name):
        damaged = bytearray(command.payload)
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        with contextlib.suppress(DecodeError):
            decode(bytes(damaged))


def test_an_event_is_decoded_as_far_as_it_is_needed() -> None:
    """Servers would spend their time on events for clients of others, or miss those for their own."""
    payload = encode_broadcast(UID, "/", ["hi", b"x", {"deep": [1.5]}], Options(["r1"], ["r2"], {"volatile": True}))
    assert payload.startswith(own_start(UID))
    splice = read_splice(payload)
    assert splice is not None
    assert (splice.uid, splice.opts) == (UID, Options(["r1"], ["r2"], {"volatile": True}))
    assert read_packet(splice) == EventPacket(2, ["hi", b"x", {"deep": [1.5]}], "/")
    assert read_splice(payload[:-1]) is None
    assert read_splice(b"{}") is None
    reserved = read_splice(encode_broadcast(UID, "/", ["connect"], Options()))
    assert reserved is not None
    with pytest.raises(DecodeError):
        read_packet(reserved)


def test_bytes_in_requests_and_answers_stay_bytes() -> None:
    """Servers would tell each other rubbish."""
    request = Request(6, UID, data=["sync", b"\x00\xff"])
    assert decode_request(encode_request(request)) == request
    response = Response("aa", 6, data=b"\x00\xff")
    assert decode_response(encode_response(response)) == response
