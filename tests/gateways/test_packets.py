"""Packets on their way out, read from what a serializer has made."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtframework import JSONSerializer, Packet, PacketType
from rtframework.gateways.packets import Outgoing, form_maker, read
from rtframework_msgpack import MsgpackSerializer

JSON = JSONSerializer()

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
namespaces = st.sampled_from(["/", "/admin", "/chat/a-b", "/1"])
ids = st.none() | st.integers(0, 2**53 - 1)
packets = st.one_of(
    st.builds(
        lambda nsp, name, args, id: Packet(PacketType.EVENT, nsp, [name, *args], id),
        namespaces,
        st.text() | st.integers(-(2**53) + 1, 2**53 - 1),
        st.lists(values, max_size=3),
        ids,
    ),
    st.builds(
        lambda nsp, args, id: Packet(PacketType.ACK, nsp, args, id), namespaces, st.lists(values), st.integers(0, 99)
    ),
    st.builds(
        lambda kind, nsp, data: Packet(kind, nsp, data),
        st.sampled_from([PacketType.CONNECT, PacketType.CONNECT_ERROR]),
        namespaces,
        st.dictionaries(st.text(), values, max_size=3),
    ),
    st.builds(lambda nsp: Packet(PacketType.DISCONNECT, nsp), namespaces),
)


@given(st.lists(packets, min_size=1, max_size=3))
def test_what_was_encoded_is_read(sent: list[Packet]) -> None:
    """Clients of other protocols would get something else than those of Socket.IO."""
    found = read([message for packet in sent for message in JSON.encode(packet)], JSON)
    assert [each.packet for each in found] == sent
    assert all(each.text is not None for each in found)


@given(packets)
def test_names_and_arguments_are_json(packet: Packet) -> None:
    """An event whose name has a quote or a bracket in it would be garbled."""
    (found,) = read(JSON.encode(packet), JSON)
    if packet.type == PacketType.EVENT:
        parts = found.name_and_args()
        if type(packet.data[0]) is int:
            assert parts is None
        else:
            assert parts is not None
            assert json.loads(parts[0]) == packet.data[0]
            assert json.loads(parts[1]) == packet.data[1:]


def test_bytes_are_where_they_belong() -> None:
    """A picture would arrive as a placeholder."""
    sent = [
        Packet(PacketType.EVENT, "/a", ["picture", {"of": b"\x00\xff"}, b""], 3),
        Packet(PacketType.EVENT, "/", ["text"]),
        Packet(PacketType.ACK, "/", [b"1"], 0),
    ]
    found = read([message for packet in sent for message in JSON.encode(packet)], JSON)
    assert [each.packet for each in found] == sent
    assert [each.text is None for each in found] == [True, False, True]
    assert found[0].name_and_args() is None


@pytest.mark.parametrize("data", [["a", 1, {"b": [None]}], ["a", b"\x00"], [7]])
def test_packets_of_other_serializers_are_read(data: list[Any]) -> None:
    """A server with MessagePack would have no plain websockets."""
    serializer = MsgpackSerializer()
    packet = Packet(PacketType.EVENT, "/admin", data, 12)
    (found,) = read(serializer.encode(packet), serializer)
    assert found.packet == packet
    assert found.text is None


def test_types_of_the_program_are_what_they_are_in_json() -> None:
    """A date would be another one for clients of other protocols."""
    at = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    (found,) = read(JSON.encode(Packet(PacketType.EVENT, "/", ["at", at])), JSON)
    assert found.data == ["at", "2026-01-02T00:00:00Z"]


def test_a_form_is_made_of_all_packets() -> None:
    """Of the packets that a client has missed, only one would be sent."""
    seen: list[list[Outgoing]] = []

    def encode(packets: Any) -> str:
        seen.append(packets)
        return "form"

    make = form_maker(JSON, encode)
    assert make(['2["a"]', '2/b,["b"]', '0{"sid":"x"}']) == "form"
    assert [(each.type, each.nsp) for each in seen[0]] == [(2, "/"), (2, "/b"), (0, "/")]
