"""The JSON serializer: exactly the frames of the Socket.IO protocol v5, both ways."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import enum
import json
import math
import uuid
from collections import OrderedDict, UserDict, deque
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtframework.exceptions import DecodeError, EncodeError
from rtframework.packets import explain_failure
from rtframework.protocols import Serializer
from rtframework.serializers import JSONDecoder, JSONSerializer
from rtframework.types import RESERVED_EVENTS, Handshake, Packet, PacketType
from rtframework_msgpack import MsgpackSerializer
from tests.support.thorough import examples
from tests.support.values import PLAIN, SERIALIZER, VALUES, as_received

CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR = (
    PacketType.CONNECT,
    PacketType.DISCONNECT,
    PacketType.EVENT,
    PacketType.ACK,
    PacketType.CONNECT_ERROR,
)


def encode(packet: Packet) -> list[str | bytes]:
    return list(JSONSerializer().encode(packet))


def decode(*frames: str | bytes, max_attachments: int = 10) -> Packet:
    decoder = JSONDecoder(max_attachments)
    packets = [decoder.decode(frame) for frame in frames]
    assert packets[:-1] == [None] * (len(frames) - 1)
    packet = packets[-1]
    assert packet is not None
    return packet


def event(*args: Any) -> Packet:
    return Packet(EVENT, data=list(args))


@pytest.mark.parametrize(
    ("packet", "frames"),
    [
        (Packet(CONNECT), ["0"]),
        (Packet(CONNECT, "/admin"), ["0/admin,"]),
        (Packet(CONNECT, "/admin", {"sid": "x"}), ['0/admin,{"sid":"x"}']),
        (Packet(DISCONNECT, "/admin"), ["1/admin,"]),
        (Packet(EVENT, data=["foo"]), ['2["foo"]']),
        (Packet(EVENT, "/admin", ["bar"]), ['2/admin,["bar"]']),
        (Packet(EVENT, data=["foo"], id=12), ['212["foo"]']),
        (Packet(ACK, "/admin", [], 13), ["3/admin,13[]"]),
        (Packet(CONNECT_ERROR, "/", {"message": "Not authorized"}), ['4{"message":"Not authorized"}']),
        (Packet(EVENT, data=["baz", b"\x01"]), ['51-["baz",{"_placeholder":true,"num":0}]', b"\x01"]),
        (
            Packet(EVENT, "/admin", ["baz", b"\x01", [b"\x02"]], 1),
            ['52-/admin,1["baz",{"_placeholder":true,"num":0},[{"_placeholder":true,"num":1}]]', b"\x01", b"\x02"],
        ),
        (Packet(ACK, "/admin", [b"\x03"], 15), ['61-/admin,15[{"_placeholder":true,"num":0}]', b"\x03"]),
    ],
)
def test_the_frames_of_the_protocol(packet: Packet, frames: list[str | bytes]) -> None:
    """The examples of the protocol's document: no client would understand anything else."""
    assert encode(packet) == frames
    assert decode(*frames) == packet


@pytest.mark.parametrize(
    "frame",
    [
        *("", "a", "7", "-", " 2[]", "é", "\x00", "1{}", "1/a,[]", "4", "4[]", "45", "0[]", '0"x"', "0null,"),
        *(
            "2",
            "2{}",
            "2[]",
            "2[null]",
            "2[true]",
            "2[1.5]",
            "2[1.0]",
            "2[1e400]",
            "2[9007199254740992]",
            "2[-9007199254740992]",
            "2[" + "9" * 400 + "]",
            "2[" + "9" * 5000 + "]",
            "2/a,[1.5]",
            '2[["a"]]',
            '2"a"',
            '2["a"',
            '2["a"]x',
            "2/a",
            "2/a,",
            "2/a,1",
            '2/a["x"]',
        ),
        *("3", "3[]", "31{}", "3/a,[]", '3["a"]', "31null", "39007199254740992[]", '2123456789012345678["a"]'),
        *("5", "5-", '5["a"]', '5-["a"]', '5x-["a"]', '5-1-["a"]', '5²-["a"]', '511-["a"]', '59999999999-["a"]'),
        *('50-["connect"]', "50-", "50-{}", "60-[]", "60-1{}", '2["a",NaN]', '2["a",Infinity]', '2["a",-Infinity]'),
        *('50-["a",NaN]', "2[" * 5000, "2" + "[" * 100_000, '2["a",' + "9" * 5000 + "e]", "2['a']", '2["a",]'),
    ],
)
def test_malformed_text_is_refused(frame: str) -> None:
    """A client could make handlers run with nonsense, or make the server stumble."""
    with pytest.raises(DecodeError):
        JSONDecoder().decode(frame)


@pytest.mark.parametrize(
    "frames",
    [
        (b"\x00",),
        ('51-["a",{"_placeholder":true,"num":0}]', "text"),
        ('51-["a",{"_placeholder":true,"num":1}]', b""),
        ('51-["a",{"_placeholder":true,"num":-1}]', b""),
        ('51-["a",{"_placeholder":true,"num":true}]', b""),
        ('51-["a",{"_placeholder":true,"num":"0"}]', b""),
        ('51-["a",{"_placeholder":true,"num":0.0}]', b""),
        ('51-["a",{"_placeholder":true}]', b""),
        ('51-[{"_placeholder":true,"num":0}]', b"connect"),
        ('51-["connect",{"_placeholder":true,"num":0}]', b""),
        ('51-{"_placeholder":true,"num":0}', b""),
        ("51-", b""),
        ('51-["a"', b""),
        ("51-" + "[" * 100_000, b""),
        ('61-["a",{"_placeholder":true,"num":0}]', b""),
    ],
)
def test_malformed_binary_is_refused(frames: tuple[str | bytes, ...]) -> None:
    """Attachments that do not fit would reach a handler as objects it did not expect, or raise in the server."""
    decoder = JSONDecoder()
    for frame in frames[:-1]:
        with contextlib.suppress(DecodeError):
            assert decoder.decode(frame) is None
            continue
        return
    with pytest.raises(DecodeError):
        decoder.decode(frames[-1])


def test_the_number_of_attachments_is_bounded() -> None:
    """One client could make the server keep any number of messages in memory."""
    assert JSONDecoder().decode('510-["a"]') is None
    with pytest.raises(DecodeError, match="attachments"):
        JSONDecoder().decode('511-["a"]')
    assert JSONDecoder(11).decode('511-["a"]') is None
    with pytest.raises(DecodeError, match="attachments"):
        JSONSerializer(max_attachments=0).decoder().decode('51-["a"]')


@pytest.mark.parametrize("name", sorted(RESERVED_EVENTS))
def test_reserved_names_are_refused(name: str) -> None:
    """A client could make the connection handler run again by sending an event of its name."""
    for text in (f'2["{name}"]', f'2/a,1["{name}",1]', f'50-["{name}"]'):
        with pytest.raises(DecodeError, match="reserved"):
            JSONDecoder().decode(text)
    escaped = "".join(f"\\u{ord(character):04x}" for character in name)
    with pytest.raises(DecodeError, match="reserved"):
        JSONDecoder().decode(f'2["{escaped}"]')


def test_an_unknown_placeholder_in_text_is_a_plain_object() -> None:
    """Users who send an object with that key would lose their connection."""
    assert decode('2["a",{"_placeholder":true,"num":0}]').data == ["a", {"_placeholder": True, "num": 0}]
    assert decode('51-["a",{"_placeholder":false},{"num":1}]', b"").data == ["a", {"_placeholder": False}, {"num": 1}]


def test_one_attachment_may_stand_in_several_places() -> None:
    """A client that sends the same buffer twice may send it once."""
    place = '{"_placeholder":true,"num":0}'
    assert decode(f'51-["a",{place},[{place}]]', b"x").data == ["a", b"x", [b"x"]]


def test_attachments_are_bytes_that_nobody_changes() -> None:
    """A handler would see its data change when the transport reuses its buffer."""
    buffer = bytearray(b"abc")
    packet = decode('51-["a",{"_placeholder":true,"num":0}]', buffer)  # type: ignore[arg-type]
    buffer[:] = b"xyz"
    assert packet.data[1] == b"abc"


def test_a_decoder_goes_on_after_a_packet() -> None:
    """The second picture of a client would be mixed with the first."""
    decoder = JSONDecoder()
    for number in (b"1", b"2", b"3"):
        assert decoder.decode('51-["a",{"_placeholder":true,"num":0}]') is None
        packet = decoder.decode(number)
        assert packet is not None
        assert packet.data == ["a", number]
        plain = decoder.decode('2["b"]')
        assert plain is not None
        assert plain.data == ["b"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"\ud83d", "\ufffd"),
        (r"\uDE00", "\ufffd"),
        (r"a\ud83dz", "a\ufffdz"),
        (r"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (r"\ud83d\ude00\ude00", "\U0001f600\ufffd"),
        (r"\\ud83d", r"\ud83d"),
        (r"\\\ud83d", "\\\ufffd"),
        (r"\ud83d\n", "\ufffd\n"),
        (r"\ud83d\u0041", "\ufffdA"),
        (r"\\ud83d\ude00", "\\ud83d\ufffd"),
        (r"\\\\ud83d\ud83d", "\\\\ud83d\ufffd"),
        (r"\\\ud83d\ude00", "\\\U0001f600"),
    ],
)
def test_half_an_emoji_does_no_harm(text: str, value: str) -> None:
    """A text that JavaScript cut in the middle of an emoji would disconnect whoever wrote it."""
    assert decode(f'2["a","{text}"]').data == ["a", value]
    assert decode(f'50-["a",["{text}"]]').data == ["a", [value]]
    assert decode(f'2["{text}"]').data == [value]


def test_what_python_has_and_json_has_not() -> None:
    """Everybody would write the same conversions around every emit."""

    class Colour(enum.Enum):
        RED = "red"

    class Struct(msgspec.Struct):
        text: str
        blob: bytes

    @dataclass
    class Data:
        when: datetime.date

    when = datetime.datetime(2024, 2, 3, 4, 5, 6, tzinfo=datetime.UTC)
    (text,) = encode(
        event(
            "e", when, uuid.UUID(int=1), Colour.RED, Data(when.date()), decimal.Decimal("1.50"), {3}, (1, 2), {1: "a"}
        )
    )
    assert json.loads(str(text)[1:]) == [
        "e",
        "2024-02-03T04:05:06Z",
        "00000000-0000-0000-0000-000000000001",
        "red",
        {"when": "2024-02-03"},
        "1.50",
        [3],
        [1, 2],
        {"1": "a"},
    ]
    head, blob = encode(event("e", Struct("x", b"\xff")))
    assert head == '51-["e",{"text":"x","blob":{"_placeholder":true,"num":0}}]'
    assert blob == b"\xff"


@pytest.mark.parametrize(
    "data",
    [
        ["a"],
        ["a", {"b": 1, "c": None}],
        ["a", {"b": [1, {"c": 1.5}]}, [True], (1, 2)],
        ["a", {str(number): number for number in range(150)}],
        ["a", *range(150)],
        ["a", {"at": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)}],
    ],
)
def test_text_is_what_stands_in_a_packet(data: list[Any]) -> None:
    """Clients of other servers would get something else than those of this one."""
    serializer = JSONSerializer()
    assert [f"2{serializer.text(data)}"] == serializer.encode(Packet(EVENT, data=data))


def test_text_has_no_bytes_and_no_nan() -> None:
    """Bytes would arrive at other servers as their base64, and NaN as null."""
    serializer = JSONSerializer()
    for value in (b"x", {"a": b"x"}, {"a": {"b": [b"x"]}}):
        assert serializer.text(["a", value]) is None
    for wrong in (math.nan, {"a": math.nan}, [{"a": [math.inf]}], object(), [b"x"] * 11):
        with pytest.raises(EncodeError):
            serializer.text(["a", wrong])


def test_the_hook_is_for_the_rest() -> None:
    """Objects of a library could not be sent without being converted by hand."""

    class Money:
        def __str__(self) -> str:
            return "5 EUR"

    assert list(JSONSerializer(enc_hook=str).encode(event("e", [Money()]))) == ['2["e",["5 EUR"]]']
    with pytest.raises(EncodeError, match="Money"):
        encode(event("e", Money()))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("many", [0, 200])
def test_numbers_that_json_lacks_are_refused(number: float, many: int) -> None:
    """NaN would arrive as null, or as text that is no JSON and breaks every client in the room."""
    for data in (["e", number], ["e", *[0] * many, {"a": [number]}], ["e", b"", number], ["e", {1, 2}, {"n": number}]):
        with pytest.raises(EncodeError, match="NaN and infinities"):
            encode(Packet(EVENT, data=data))


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, 2**200, 1e308, 5e-324, -0.0])
def test_numbers_of_every_size(value: float) -> None:
    """An emit would fail for a number that the client can read."""
    (text,) = encode(event("e", value))
    assert json.loads(str(text)[1:]) == ["e", value]
    assert (
        encode(event("e", value, b""))[0] == f'51-["e",{json.loads(str(text)[1:])[1]},{{"_placeholder":true,"num":0}}]'
    )


def test_data_is_made_plain_as_it_is_encoded() -> None:
    """Clients of another server would get something else than those of this one."""
    assert as_received(SERIALIZER.plain([*VALUES, b"x"])) == [*PLAIN, b"x"]
    encoded = SERIALIZER.encode(Packet(EVENT, "/", ["e", *VALUES]))
    assert json.loads(str(encoded[0])[1:]) == ["e", *PLAIN]
    endless: list[Any] = []
    endless.append(endless)
    for value in (object(), endless):
        with pytest.raises(EncodeError, match="cannot be sent"):
            SERIALIZER.plain([value])


def test_what_cannot_be_sent_names_the_reason() -> None:
    """A developer would not know which of the arguments is wrong."""
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(EncodeError, match="nested too deeply"):
        encode(event("e", endless))
    with pytest.raises(EncodeError, match="object"):
        encode(event("e", object()))
    with pytest.raises(EncodeError, match="surrogates"):
        encode(event("e", "\ud83d"))
    with pytest.raises(EncodeError, match="surrogates"):
        encode(event("e", "\ud83d", b""))
    with pytest.raises(EncodeError, match="CONNECT packet cannot carry bytes"):
        encode(Packet(CONNECT, data={"a": b""}))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.binary(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), inner, max_size=4)
    ),
    max_leaves=10,
)


@settings(max_examples=examples(200))
@given(st.lists(JSON, max_size=4), st.none() | st.integers(0, 2**53 - 1), st.sampled_from(["/", "/admin", "/é 1"]))
def test_whatever_is_sent_arrives(args: list[Any], id: int | None, nsp: str) -> None:
    """Some combination of text, numbers and binary would arrive changed."""
    packet = Packet(EVENT, nsp, ["e", *args], id)
    assert decode(*encode(packet), max_attachments=100) == packet


@settings(max_examples=examples(400))
@given(
    st.lists(st.text('0123456789-,/[]{}":\\udDaen_placeholdrum²\x1e', max_size=30) | st.binary(max_size=4), max_size=3)
)
def test_rubbish_is_a_decode_error_and_nothing_else(frames: list[str | bytes]) -> None:
    """An exception that nobody expects would end more than the connection of whoever sent it."""
    decoder = JSONDecoder()
    try:
        for frame in frames:
            packet = decoder.decode(frame)
            if packet is not None and packet.type == EVENT:
                assert type(packet.data[0]) in (str, int)
                assert packet.data[0] not in RESERVED_EVENTS
    except DecodeError:
        pass


@pytest.mark.parametrize(
    "body",
    [
        '2["a",' + "[" * 500_000,
        '2["a","' + "\\ud800" * 160_000 + '"]',
        '2["a","' + "\\\\" * 450_000 + '\\ud800"]',
        "2/" + "a" * 999_990,
        "2" + "1" * 999_990,
        '2["a",' + "1" * 999_990 + "]",
        '2["a",' + "{" * 999_990,
    ],
    ids=["nesting", "surrogates", "backslashes", "namespace", "id", "number", "braces"],
)
def test_a_hostile_megabyte_costs_little(body: str) -> None:
    """One client could stall everybody by sending what is slow to refuse."""
    with contextlib.suppress(DecodeError):
        JSONDecoder().decode(body)  # what is slow to refuse would run into the test's own time limit


class Text(str):
    """A string with methods of its own, as Markup of markupsafe."""

    __slots__ = ()


class Listed(list[Any]):
    """A list with methods of its own."""


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        (MappingProxyType({"token": "x"}), {"token": "x"}),
        (Handshake(nsp="/", auth=MappingProxyType({"a": MappingProxyType({"b": b"x"})})).auth, {"a": {"b": b"x"}}),
        (UserDict(a=1), {"a": 1}),
        (OrderedDict(a=1), {"a": 1}),
        (deque([1, 2]), [1, 2]),
        (range(3), [0, 1, 2]),
        (Listed([1]), [1]),
        (Text("x"), "x"),
        ([Text("x"), {Text("y"): Text("z")}], ["x", {"y": "z"}]),
    ],
)
@pytest.mark.parametrize("serializer", [JSONSerializer(), MsgpackSerializer()], ids=lambda each: type(each).__name__)
def test_mappings_and_sequences_of_any_kind_are_sent(serializer: Serializer, value: Any, arrives: Any) -> None:
    """A handler that returns ``socket.handshake.auth`` would fail."""
    decoder = serializer.decoder()
    packets = [decoder.decode(frame) for frame in serializer.encode(Packet(2, "/", ["e", value]))]
    assert packets[-1] is not None
    assert packets[-1].data == ["e", arrives]


def test_the_hook_is_asked_before_a_mapping_is_taken_as_it_is() -> None:
    """A program could not say how a class of its own goes over the wire when that is a mapping as well."""
    assert JSONSerializer(enc_hook=repr).encode(Packet(2, "/", ["e", UserDict(a=1)])) == ['2["e","{\'a\': 1}"]']


@dataclass
class Author:
    """A value with a value in it."""

    avatar: Any


class Avatar(msgspec.Struct):
    """A value of msgspec."""

    picture: Any


@pytest.mark.parametrize(
    ("args", "path"),
    [
        ([{"author": {"avatar": object()}}], "$[0].author.avatar"),
        ([1, [2, {"a-b": object()}]], "$[1][1]['a-b']"),
        ([Author(avatar=Avatar(picture=object()))], "$[0].avatar.picture"),
        ([[0] * 999 + [float("nan")]], "$[0][999]"),
        ([{"a": {("b",): 1}}], "$[0].a"),
    ],
)
def test_a_failure_names_the_event_and_the_value(args: list[Any], path: str) -> None:
    """A programmer would look for one wrong value in a large object."""
    serializer = JSONSerializer()
    packet = Packet(2, "/", ["message", *args])
    with pytest.raises(EncodeError) as caught:
        serializer.encode(packet)
    explained = str(explain_failure(packet, caught.value, serializer.encode))
    assert explained.startswith(f"'message': {path}: cannot be sent as JSON: ")


def test_a_value_that_contains_itself_is_not_searched_for_ever() -> None:
    """The search for what cannot be sent would hang the server."""
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(EncodeError) as caught:
        JSONSerializer().encode(Packet(3, "/", [loop], 1))
    explained = str(explain_failure(Packet(3, "/", [loop], 1), caught.value, JSONSerializer().encode))
    assert explained.startswith("the acknowledgement: $[0][0]")
    assert "contains itself" in explained


@pytest.mark.parametrize("number", ["1e400", "-1e400", "123456789e999"])
def test_numbers_beyond_floats_are_infinite(number: str) -> None:
    """A client that sends valid JSON would be disconnected, as Node does not."""
    packet = decode(f'2["e",{number},{{"deep":[{number}]}}]')
    infinite = math.inf if number[0] != "-" else -math.inf
    assert packet.data == ["e", infinite, {"deep": [infinite]}]
    with pytest.raises(DecodeError):
        decode(f'2["e",{number},NaN]')


def test_an_acknowledgement_without_a_payload() -> None:
    """Clients that answer with nothing at all would be disconnected."""
    assert decode("43"[1:] + "7") == Packet(ACK, "/", [], 7)
    assert decode("3/admin,7") == Packet(ACK, "/admin", [], 7)
    with pytest.raises(DecodeError):
        decode("3")
