"""Messages between servers, from and to the framework's own values."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtframework.cluster.messages import (
    Broadcast,
    DisconnectSockets,
    EventPacket,
    Options,
    SocketRecord,
    details_of,
    message_ids,
    new_id,
    options_of,
    packet_of,
    read_json,
    record_of,
    room_name,
    target_of,
    timeout_of,
)
from rtframework.cluster.payloads import to_json, to_plain
from rtframework.exceptions import DecodeError
from rtframework.types import Handshake, Packet, SocketDetails, Target

rooms = st.frozensets(st.text(min_size=1), max_size=3)


@given(rooms, rooms, st.booleans(), st.booleans())
def test_a_target_comes_back(to: frozenset[str], but: frozenset[str], volatile: bool, compress: bool) -> None:
    """A message would reach other sockets on other servers."""
    target = Target(to or None, but, volatile=volatile, compress=compress)
    assert target_of(options_of(target)) == target


def test_nobody_is_not_everybody() -> None:
    """An emit to an empty set of rooms would reach all clients of all other servers."""
    with pytest.raises(ValueError, match="nobody"):
        options_of(Target(frozenset()))


def test_flags_are_absent_rather_than_false() -> None:
    """Node takes ``volatile: false`` for volatile, and a client would get no offset."""
    assert to_json(options_of(Target())) == b'{"rooms":[],"except":[],"flags":{}}'
    opts = options_of(Target(), 1.5)
    assert opts.flags == {"timeout": 1500}
    assert timeout_of(opts) == 1.5
    assert timeout_of(Options(flags={"timeout": True})) is None
    assert not target_of(Options(flags={"volatile": None})).volatile
    assert to_json(DisconnectSockets(Options())) == b'{"opts":{"rooms":[],"except":[],"flags":{}},"close":false}'


def test_a_socket_comes_back() -> None:
    """A program would see less of a socket of another server than of its own."""
    handshake = Handshake(
        {"token": "t"},
        {"Host": "x"},
        {"q": "1"},
        address="::1",
        secure=True,
        xdomain=True,
        time=1767225600.5,
        url="/?q=1",
    )
    details = SocketDetails("sid", handshake, frozenset({"sid", "r"}), {"raw": b"x"})
    record = record_of(details, to_plain)
    assert record.handshake["time"] == "Thu Jan 01 2026 00:00:00 GMT+0000 (Coordinated Universal Time)"
    assert record.handshake["headers"] == {"host": "x"}
    back = details_of(record, "/chat")
    assert (back.id, back.rooms, back.data) == (details.id, details.rooms, details.data)
    assert (back.handshake.nsp, back.handshake.time) == ("/chat", 1767225600.5)
    assert (back.handshake.auth, back.handshake.query) == ({"token": "t"}, {"q": "1"})
    assert (back.handshake.address, back.handshake.secure, back.handshake.xdomain) == ("::1", True, True)


handshakes = st.dictionaries(
    st.sampled_from(["auth", "headers", "query", "address", "issued", "url", "secure"]),
    st.none()
    | st.integers()
    | st.text()
    | st.lists(st.text())
    | st.dictionaries(st.text(), st.text() | st.lists(st.text())),
)


@given(handshakes, st.none() | st.integers() | st.dictionaries(st.text(), st.integers()))
def test_a_strange_handshake_is_read_as_far_as_it_goes(handshake: dict[str, Any], data: Any) -> None:
    """One strange socket would take away the list of all others."""
    details = details_of(SocketRecord("sid", handshake, [], data), "/")
    assert details.id == "sid"
    assert all(isinstance(each, str) for each in details.handshake.headers.values())


def test_a_packet_has_this_servers_namespace() -> None:
    """A client would get a packet of a namespace that it has not joined, or with another server's id."""
    assert packet_of(Broadcast(EventPacket(2, ["x"], "/other", 7)), "/chat") == Packet(2, "/chat", ["x"])


@pytest.mark.parametrize(
    "text",
    [
        b'{"packet":{"type":2,"data":[]},"opts":{}}',
        b'{"packet":{"type":2,"data":["connect"]},"opts":{}}',
        b'{"packet":{"type":3,"data":["x"]},"opts":{}}',
        b'{"opts":{}}',
    ],
)
def test_what_is_no_event_is_refused(text: bytes) -> None:
    """A client would be sent a packet for which it closes the connection."""
    with pytest.raises(DecodeError):
        read_json(3, text)
    with pytest.raises(DecodeError):
        read_json(9, b'{"packet":[]}')
    assert read_json(99, text) is None


def test_numbers_name_rooms_as_in_javascript() -> None:
    """The room 7 of a Node server would be another room than ``"7"`` here."""
    assert [room_name(each) for each in (7, 7.0, 1.5, "7", True, None)] == ["7", "7", "1.5", "7", True, None]


def test_ids_are_nodes() -> None:
    """Node's tools would not find them in their logs."""
    assert len(new_id()) == 16
    assert int(new_id(), 16) != int(new_id(), 16)


def test_no_two_messages_have_one_id() -> None:
    """A message would be taken for another one, which was read already, and be dropped."""
    first, second = message_ids(), message_ids()
    ids = [next(each) for _ in range(1000) for each in (first, second)]
    assert len(set(ids)) == 2000
    assert all(len(each) == 16 and int(each, 16) >= 0 for each in ids)
