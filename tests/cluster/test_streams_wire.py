"""Entries of the stream: the bytes of Node's adapter both ways, and frames made without decoding."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtframework.cluster.messages import (
    Broadcast,
    DisconnectSockets,
    EventPacket,
    Options,
    SocketsRooms,
    options_of,
    target_of,
)
from rtframework.cluster.payloads import to_plain
from rtframework.cluster.streams_wire import (
    Entry,
    encode_data,
    encode_text,
    fields_of,
    frame_of,
    hash_of,
    is_for,
    is_of_room,
    message_id,
    read_event,
    read_fields,
    read_message,
    read_splice,
    read_text,
    room_of,
    stream_of,
    streams_to_read,
    text_with_offset,
)
from rtframework.exceptions import DecodeError
from rtframework.serializers import JSONSerializer
from rtframework.types import Packet, Target
from tests.support.cluster_peer import RECORDED, UID, ask_node, names, sent

ENTRIES = [name for name in names("streams") for command in sent(name) if command.command == "XADD"]

LOSSY = {"streams surrogate": "half of an emoji becomes U+FFFD"}


@pytest.mark.parametrize("name", ENTRIES)
def test_entries_of_node_are_read_and_written_byte_for_byte(name: str) -> None:
    """A Node server would not understand what ours sends, or ours not what it sends."""
    for command in sent(name):
        entry = read_fields(command.fields)
        message = read_message(entry)
        assert (message.uid, message.nsp) == (UID, "/")
        assert message.data is not None
        written = fields_of(UID.encode(), b"/", message.type, encode_data(message.type, message.data), b"m" * 16)
        if name not in LOSSY:
            assert written[:8] == command.fields


TARGETS = [
    Target(),
    Target(frozenset({"r1"})),
    Target(frozenset({"r1"}), frozenset({"r2"})),
    Target(volatile=True),
    Target(compress=False),
]
EVENTS: list[list[Any]] = [
    ["hi", 1],
    ["hi", b"\x00\x01\xff", {"deep": [b"xy", bytearray(b"z")]}],
    ["Grüße", "\u2028 é 😀 \x00\x08\x0c\x1f\x7f/"],
    ["hi", 2**53 - 1, -(2**31), 1.5, None, [], {}],
    [7, "numbered"],
]


def test_node_understands_our_entries() -> None:
    """Clients of a Node server in the cluster would get nothing, or something else."""
    entries, expected = [], []
    for target in TARGETS:
        for args in EVENTS:
            data = encode_data(3, Broadcast(EventPacket(2, to_plain(args)), opts=options_of(target)))
            fields = fields_of(b"ffffffffffffffff", b"/", 3, data, b"0" * 16, room_of(target))
            entries.append([each.decode() for each in fields])
            offset = [] if target.volatile else ["5-0"]
            expected.append(
                [{"broadcast": {"type": 2, "data": [*shown(args), *offset]}, "opts": shown_options(target)}]
            )
    opts = Options(["r1"], ["r2"])
    commands: list[tuple[int, SocketsRooms | DisconnectSockets, dict[str, Any]]] = [
        (4, SocketsRooms(opts, ["a"]), {"join": ["a"]}),
        (5, SocketsRooms(opts, ["a"]), {"leave": ["a"]}),
        (6, DisconnectSockets(opts, True, {"reason": "kicked"}), {"disconnect": True}),
    ]
    for kind, command, seen in commands:
        fields = fields_of(b"ffffffffffffffff", b"/", kind, encode_data(kind, command), b"0" * 16, again=True)
        entries.append([each.decode() for each in fields])
        expected.append([{**seen, "opts": {"rooms": ["r1"], "except": ["r2"], "flags": {}}}])
    assert ask_node(streams=entries)["streams"] == expected


def test_what_node_sends_is_what_was_recorded() -> None:
    """The recorded bytes would be those of a version that nobody runs any more."""
    assert ask_node(encode=True)["sent"] == RECORDED


def shown(value: Any) -> Any:
    """Show a value as ``cluster_peer.cjs`` does."""
    if isinstance(value, bytes | bytearray):
        return {"$hex": value.hex()}
    if isinstance(value, list):
        return [shown(each) for each in value]
    return {key: shown(each) for key, each in value.items()} if isinstance(value, dict) else value


def shown_options(target: Target) -> dict[str, Any]:
    """Show a target as Node sees it."""
    flags = {**({"volatile": True} if target.volatile else {}), **({} if target.compress else {"compress": False})}
    return {"rooms": sorted(target.rooms or ()), "except": sorted(target.except_), "flags": flags}


@pytest.mark.parametrize("nsp", ["/", "/notifications", "/chat", "/😀"])
@pytest.mark.parametrize("count", [2, 4, 7])
def test_a_namespace_has_nodes_stream(nsp: str, count: int) -> None:
    """Servers would read and write different streams. JavaScript's remainder keeps the sign."""
    (command,) = sent(f"stream {count} {nsp}")
    assert stream_of(nsp, count=count) == command.to
    assert command.to in streams_to_read(count=count)
    assert stream_of(nsp) == "socket.io"
    assert streams_to_read() == ["socket.io"]


@given(st.text(), st.integers(2, 9))
def test_every_stream_that_is_written_is_read(nsp: str, count: int) -> None:
    """A namespace with an unlucky name would get nothing."""
    assert stream_of(nsp, "s", count) in streams_to_read("s", count)
    assert -(2**31) <= hash_of(nsp) < 2**31


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
rooms = st.lists(st.text(min_size=1), max_size=3, unique=True)


@given(st.text(min_size=1), st.lists(json_values, max_size=3), rooms, rooms, st.booleans())
def test_a_spliced_frame_is_the_serializers(
    name: str, args: list[Any], to: list[str], but: list[str], volatile: bool
) -> None:
    """A client would get another packet from a far server than from its own."""
    serializer = JSONSerializer()
    event = [name, *args]
    (frame,) = serializer.encode(Packet(2, "/", event))
    assert isinstance(frame, str)
    target = Target(frozenset(to) or None, frozenset(but), volatile=volatile)
    data = encode_text(frame[1:], target)
    assert json.loads(data)["packet"] == {"type": 2, "data": json.loads(frame[1:])}
    splice = read_splice(data)
    assert splice is not None
    text = splice.args()
    assert text is not None
    assert frame_of(text, "/") == frame
    assert [frame_of(text, "/chat", "5-1")] == serializer.encode(Packet(2, "/chat", [*event, "5-1"]))
    assert text_with_offset(text, "5-1") == frame_of(text, "/", "5-1")[1:]
    assert splice.offset_wanted is not volatile
    assert set(splice.opts.rooms) == set(to)
    entry = read_fields(fields_of(b"u", b"/", 3, data, b"m", room_of(target)))
    assert entry.room == (to[0].encode() if len(to) == 1 else None)
    message = read_message(entry)
    assert isinstance(message.data, Broadcast)
    assert target_of(message.data.opts) == target


@pytest.mark.parametrize(
    ("data", "args"),
    [
        (
            b'{ "opts" : {"except":[], "x":1, "rooms":[]}, "packet": {"data" : [ "hi" , 1 ] , "type":2, "nsp":"/"} }',
            '[ "hi" , 1 ]',
        ),
        (b'{"packet":{"type":2,"data":["connect", 1]},"opts":{"rooms":[],"except":[],"flags":{}}}', None),
        (b'{"packet":{"type":2,"data":[ "connect", 1]},"opts":{"rooms":[],"except":[],"flags":{}}}', None),
        (
            b'{"packet":{"type":2,"data":["connect\\"", 1]},"opts":{"rooms":[],"except":[],"flags":{}}}',
            '["connect\\"", 1]',
        ),
        (b'{"packet":{"type":2,"data":[-7]},"opts":{"rooms":[],"except":[],"flags":{}}}', "[-7]"),
        (b'{"packet":{"type":2,"data":[]},"opts":{"rooms":[],"except":[],"flags":{}}}', None),
        (b'{"packet":{"type":2,"data":{}},"opts":{"rooms":[],"except":[],"flags":{}}}', None),
        (b'{"packet":{"type":2,"data":[null]},"opts":{"rooms":[],"except":[],"flags":{}}}', None),
        (b'{"packet":{"type":2,"data":["\xff"]},"opts":{"rooms":[],"except":[],"flags":{}}}', None),
        (b'{"packet":{"type":3,"data":["hi"]},"opts":{"rooms":[],"except":[],"flags":{}}}', None),
    ],
)
def test_foreign_json_is_spliced_or_refused(data: bytes, args: str | None) -> None:
    """An emitter that writes spaces would reach nobody, or a client would get a frame that it closes for."""
    splice = read_splice(data)
    assert splice is not None
    assert splice.args() == args


@pytest.mark.parametrize(
    "data", [b"", b"gqA=", b'{"packet":1}', b'{"packet":{"type":2,"data":["x"]},"opts":{"rooms":[1],"except":[]}}']
)
def test_what_cannot_be_spliced_is_left_to_the_decoder(data: bytes) -> None:
    """Bytes and rooms that are numbers would get lost."""
    assert read_splice(data) is None


def test_rooms_that_are_numbers_have_their_names() -> None:
    """``io.to(42)`` of a Node server would reach nobody here."""
    data = b'{"packet":{"type":2,"data":["x"]},"opts":{"rooms":[42,1.5,"r",7.0],"except":[1],"flags":{}}}'
    message = read_message(read_fields([b"uid", b"u", b"nsp", b"/", b"type", b"3", b"data", data]))
    assert isinstance(message.data, Broadcast)
    assert message.data.opts == Options(["42", "1.5", "r", "7"], ["1"])


def test_entries_for_nobody_here_are_dropped_by_their_fields() -> None:
    """Every message of a large cluster would be decoded by every server."""
    here = {b"/": {"r1"}}
    fields = fields_of(b"u", b"/", 3, b"{}", b"m", b"r1")
    assert is_for(fields, {b"me"}, here)
    assert not is_for(fields, {b"me"}, {b"/": {"r2"}})
    assert not is_for(fields, {b"me"}, {b"/chat": {"r1"}})
    assert is_for(fields, {b"u"}, {})
    assert is_for(fields_of(b"u", b"/", 4, b"{}", b"m", b"r9"), {b"me"}, here)
    assert is_for([b"type", b"3", b"uid", b"u", b"nsp", b"/"], {b"me"}, here)
    assert is_for([b"x", b"y"], {b"me"}, here)


def test_a_gap_concerns_servers_of_all_namespaces() -> None:
    """A server without the main namespace would not hear that its stream has lost entries."""
    fields = [*fields_of(b"u", b"/", 2, None, b"m"), b"gap", b"1-0@a"]
    assert is_for(fields, {b"me"}, {b"/chat": {"r1"}})
    assert is_for([*fields, b"a", b"1"], {b"me"}, {})
    assert not is_for(fields_of(b"u", b"/", 2, None, b"m", again=True), {b"me"}, {b"/chat": {"r1"}})


def test_entries_are_read_in_any_order() -> None:
    """A server in another language that writes its fields in another order would not be heard."""
    fields = fields_of(b"u", b"/", 3, b"{}", b"m", b"r1", again=True)
    pairs = [fields[at : at + 2] for at in range(0, len(fields), 2)]
    turned = [part for pair in reversed(pairs) for part in pair]
    for each in (fields, turned):
        assert read_fields([*each, b"x", b"y"]) == Entry("u", "/", 3, b"{}", b"m", b"r1", True, None)
    assert read_fields(fields[:10]) == Entry("u", "/", 3, b"{}", b"m", None, False, None)
    assert read_fields(fields[:12]) == Entry("u", "/", 3, b"{}", b"m", b"r1", False, None)
    assert read_fields([*fields[:10], b"gap", b"1-0@a"]).gap == "1-0@a"
    for each in (fields, turned, fields[:10], [*fields[:6], *fields[8:10]]):
        assert message_id(each) == b"m"
    assert message_id(fields[:8]) is None
    with pytest.raises(DecodeError):
        read_fields([*fields[:4], b"type", b"x", *fields[6:10]])


def test_events_in_the_usual_order_are_told_from_everything_else() -> None:
    """An order to join would be taken for an event, or each event would be decoded in full."""
    data = encode_text('["x"]', Target(frozenset(["r1"])))
    usual = fields_of(b"u", b"/", 3, data, b"m", b"r1")
    for fields in (usual, usual[:10], usual[:8]):
        found = read_event(fields)
        assert found is not None
        assert (found.args(), found.opts.rooms) == ('["x"]', ["r1"])
    others = [
        [*usual, b"a", b"1"],
        [*usual[:10], b"a", b"1"],
        [*usual[2:], b"uid", b"u"],
        fields_of(b"u", b"/", 3, b'{"requestId":"1",' + data[1:], b"m"),
        fields_of(b"u", b"/", 3, b"{}", b"m"),
        fields_of(b"u", b"/", 4, b'{"opts":{"rooms":[],"except":[]},"rooms":["a"]}', b"m"),
        [b"uid", b"u"],
    ]
    assert [read_event(each) for each in others] == [None] * len(others)


event_names = st.sampled_from(["news", "connect", "disconnecting", 'disconnect"', "", "[", "Ω"]) | st.text(max_size=9)


@given(
    event_names | st.integers(-9, 9), st.lists(json_values, max_size=3), st.none() | st.text(max_size=9), st.booleans()
)
def test_an_event_for_one_room_is_told_from_its_bytes(
    name: str | int, args: list[Any], room: str | None, flagged: bool
) -> None:
    """Clients would get another text than the one that was emitted, or an event of a room that they are not in."""
    target = Target(None if room is None else frozenset([room]), volatile=flagged)
    data = encode_text(msgspec.json.encode([name, *args]).decode(), target)
    fields = fields_of(b"u", b"/", 3, data, b"m", room_of(target))
    field = None if room is None else fields[-1]
    text, found = read_text(data, field), read_event(fields)
    assert found is not None
    assert is_of_room(fields) == (room is not None)
    if text is not None:
        assert text == found.args()
        assert found.opts.rooms == ([] if room is None else [room])
        assert not found.opts.flags
    elif name == "news":
        assert flagged or (room is not None and msgspec.json.encode(room) != f'"{room}"'.encode())


def test_bytes_that_only_look_like_an_event_are_decoded() -> None:
    """A client would be sent what is no valid packet, and close the connection."""
    data = encode_text('["x"]', Target(frozenset(["r"])))
    assert read_text(data, b"r") == '["x"]'
    for args in (b'["x"],"nsp":"/"', b'["x"', b"[]", b'["\xff"]', b'["connect"]', b'{"a":1}', b"[1]"):
        assert read_text(data.replace(b'["x"]', args), b"r") is None
    assert read_text(data, b"other") is None
    assert read_text(data, None) is None
    usual = fields_of(b"u", b"/", 3, data, b"m", b"r")
    others = [[*usual[2:4], *usual[:2], *usual[4:]], [*usual, b"a", b"1"], [*usual[:5], b"4", *usual[6:]], usual[:10]]
    assert [is_of_room(each) for each in (usual, *others)] == [True, False, False, False, False]


@given(st.lists(st.binary(max_size=30), max_size=12))
def test_rubbish_fields_are_refused(fields: list[bytes]) -> None:
    """One rubbish entry would end the reader, and with it everything."""
    with contextlib.suppress(DecodeError):
        read_message(read_fields(fields))


@given(st.integers(0, 14), st.binary() | json_values.map(msgspec.json.encode))
def test_rubbish_data_are_refused(kind: int, data: bytes) -> None:
    """One rubbish entry would end the reader, and with it everything."""
    with contextlib.suppress(DecodeError):
        read_message(read_fields(fields_of(b"u", b"/", kind, data, b"m")))
    splice = read_splice(data)
    assert splice is None or splice.args() is None or splice.packet.type == 2


shapes = st.fixed_dictionaries(
    {
        "packet": st.fixed_dictionaries({"type": json_values | st.just(2), "data": json_values | st.just(["x"])})
        | json_values,
        "opts": st.fixed_dictionaries(
            {"rooms": json_values | st.just([]), "except": json_values | st.just([]), "flags": json_values}
        )
        | json_values,
        "rooms": json_values,
        "requestId": json_values | st.just("r"),
        "sockets": json_values,
        "clientCount": json_values,
    }
)


@given(st.integers(3, 12), shapes)
def test_almost_valid_data_are_refused(kind: int, value: Any) -> None:
    """One rubbish entry would end the reader, and with it everything."""
    with contextlib.suppress(DecodeError):
        read_message(read_fields(fields_of(b"u", b"/", kind, msgspec.json.encode(value), b"m")))
