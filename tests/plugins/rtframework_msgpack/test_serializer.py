"""MsgpackSerializer: the same bytes as the JavaScript parser, and no surprise from rubbish."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import decimal
import enum
import json
import math
import random
import shutil
import struct
import subprocess
import types
import uuid
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtframework.exceptions import ConfigurationError, DecodeError, EncodeError
from rtframework.testing import SerializerConformance
from rtframework.types import RESERVED_EVENTS, Packet, PacketType
from rtframework_msgpack import MsgpackSerializer
from tests.support.thorough import examples

_JS = Path(__file__).parents[2] / "js"
_PEER = _JS / "msgpack_peer.cjs"
_NODE_MODULES = _JS / "node_modules"
_UTC = datetime.UTC


class TestConformance(SerializerConformance):
    """The suite that every serializer must pass."""

    rubbish = (
        "text",
        msgpack.packb({"type": 2, "nsp": "/", "data": ["e"]}) + b"\x00",
        msgpack.packb({"type": True, "nsp": "/", "data": ["e"]}),
        msgpack.packb({"type": 2.0, "nsp": "/", "data": ["e"]}),
        msgpack.packb({"type": "2", "nsp": "/", "data": ["e"]}),
        msgpack.packb({"type": 5, "nsp": "/", "data": ["e"]}),
        msgpack.packb({"type": -1, "nsp": "/", "data": ["e"]}),
        msgpack.packb({"nsp": "/", "data": ["e"]}),
        msgpack.packb({"type": 2, "data": ["e"]}),
        msgpack.packb({"type": 2, "nsp": b"/", "data": ["e"]}),
        msgpack.packb({"type": 2, "nsp": "/", "data": [b"e"]}),
        msgpack.packb({"type": 2, "nsp": "/", "data": ["e"], "id": -1}),
        msgpack.packb({"type": 2, "nsp": "/", "data": ["e"], "id": 2**53}),
        msgpack.packb({"type": 2, "nsp": "/", "data": ["e"], "id": "1"}),
        msgpack.packb({"type": 2, "nsp": "/", "data": ["e"], "id": False}),
        msgpack.packb({"type": 2, "nsp": "/", "data": ["e"], b"id": 1}),
        msgpack.packb({"type": 2, "nsp": "/", "data": ["e"], 1: 1}),
        msgpack.packb({"type": 2, "nsp": "/", "data": ["e", {1: 1}]}),
        msgpack.packb({"type": 2, "nsp": "/", "data": ["e", msgpack.ExtType(5, b"x")]}),
        msgpack.packb({"type": 2, "nsp": "/", "data": ["e", msgpack.ExtType(0, b"\x7f" + b"\xff" * 7)]}),
        b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa1e\xc7\x0c\xff\x00\x00\x00\x00\x7f" + b"\xff" * 7,
        b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa1e\xc7\x0c\xff" + b"\xff" * 12,
        msgpack.packb({"type": 2, "nsp": "/", "data": {"0": "e"}}),
        msgpack.packb([2, "/", ["e"]]),
        b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa1e\xa2\xff\xff",
        b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa1e\x81\x90\x01",
    )

    def serializer(self) -> MsgpackSerializer:
        return MsgpackSerializer()


class TestConformanceWithISO(SerializerConformance):
    """The suite again, for the other way to send datetimes."""

    def serializer(self) -> MsgpackSerializer:
        return MsgpackSerializer(datetimes="iso")


def encode(data: Any, serializer: MsgpackSerializer | None = None) -> bytes:
    """The frame of an event with one argument."""
    (frame,) = (serializer or MsgpackSerializer()).encode(Packet(PacketType.EVENT, data=["e", data]))
    assert isinstance(frame, bytes)
    return frame


def sent(data: Any, serializer: MsgpackSerializer | None = None) -> Any:
    """What the other side reads as an event's only argument."""
    return MsgpackSerializer().decode(encode(data, serializer)).data[1]


def frame_with(argument: bytes, *, name: bytes = b"\xa1e") -> bytes:
    """A hand-made event with one argument that is MessagePack already."""
    return b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92" + name + argument


# -- what Python objects become


class Colour(enum.Enum):
    RED = "red"


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Real(float):
    pass


class Blob(bytes):
    pass


class Moment(datetime.datetime):
    pass


class Point(msgspec.Struct):
    x: int
    blob: bytes


@dataclasses.dataclass
class Line:
    points: list[Point]
    at: datetime.datetime


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Point(1, b"\x00"), {"x": 1, "blob": b"\x00"}),
        (
            Line([Point(2, b"z")], datetime.datetime(2024, 2, 29, tzinfo=_UTC)),
            {"points": [{"x": 2, "blob": b"z"}], "at": datetime.datetime(2024, 2, 29, tzinfo=_UTC)},
        ),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (decimal.Decimal("1.10"), "1.10"),
        (Colour.RED, "red"),
        ({1}, [1]),
        ((1, (2,)), [1, [2]]),
        (datetime.date(2024, 2, 29), "2024-02-29"),
        (datetime.timedelta(seconds=90), "PT90S"),
        ({1: "a", uuid.UUID(int=1): "b"}, {"1": "a", "00000000-0000-0000-0000-000000000001": "b"}),
        (types.MappingProxyType({"a": types.MappingProxyType({})}), {"a": {}}),
        ([Text("a"), Number(3), Real(1.5), Blob(b"b")], ["a", 3, 1.5, b"b"]),
        (Moment(2024, 1, 1, tzinfo=_UTC), datetime.datetime(2024, 1, 1, tzinfo=_UTC)),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"abcd")[1:3], b"bc"),
        ([2**64 - 1, -(2**63)], [2**64 - 1, -(2**63)]),
        (math.inf, math.inf),
    ],
)
def test_python_objects_go_as_one_expects(value: Any, expected: Any) -> None:
    """Without this a program would have to turn its Structs, UUIDs, sets and dataclasses into plain data by hand."""
    assert sent(value) == expected


def test_nan_is_carried() -> None:
    """Sensor readings that are NaN arrive as NaN, which JSON could not do."""
    assert math.isnan(sent(math.nan))


def test_an_own_type_goes_through_the_hook() -> None:
    """A program's own types can be emitted without being wrapped at every emit."""

    def hook(value: Any) -> Any:
        if isinstance(value, complex):
            return {"re": value.real, "im": value.imag, "raw": b"\x01"}
        raise NotImplementedError(f"no {type(value).__name__}")

    serializer = MsgpackSerializer(enc_hook=hook)
    assert sent([1j], serializer) == [{"re": 0.0, "im": 1.0, "raw": b"\x01"}]
    with pytest.raises(EncodeError, match="no object"):
        sent(object(), serializer)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), "object"),
        ([{"a": 1j}], "complex"),
        (2**64, "64 bits"),
        (-(2**63) - 1, "64 bits"),
        ({(1, 2): 3}, "keys"),
        (datetime.datetime(2024, 1, 1), "time zone"),
        (memoryview(b"abcd")[::2], "contiguous"),
    ],
)
def test_what_cannot_be_sent_names_what_it_is(value: Any, message: str) -> None:
    """An emit that fails says which type was at fault."""
    with pytest.raises(EncodeError, match=message):
        encode(value)


def test_only_the_five_packet_types_are_sent() -> None:
    """BINARY_EVENT has no meaning here: a client would drop the connection over it."""
    with pytest.raises(EncodeError, match="packet type 5"):
        MsgpackSerializer().encode(Packet(PacketType.BINARY_EVENT, data=["e"]))


def test_absent_data_and_id_are_left_out() -> None:
    """The JavaScript parser refuses a DISCONNECT whose data is null, and closes the connection."""
    (frame,) = MsgpackSerializer().encode(Packet(PacketType.DISCONNECT, "/n"))
    assert msgpack.unpackb(frame) == {"type": 1, "nsp": "/n"}


# -- dates, undefined and ArrayBuffers: extensions of type 0


@pytest.mark.parametrize(
    "moment",
    [
        datetime.datetime(1970, 1, 1, tzinfo=_UTC),
        datetime.datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=_UTC),
        datetime.datetime(2024, 2, 29, 12, 30, 15, 123000, tzinfo=_UTC),
        datetime.datetime(1, 1, 1, tzinfo=_UTC),
        datetime.datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=_UTC),
        datetime.datetime(2024, 6, 1, 12, tzinfo=datetime.timezone(datetime.timedelta(hours=5, minutes=30))),
    ],
)
def test_datetimes_round_trip_as_dates(moment: datetime.datetime) -> None:
    """A datetime arrives as the same moment, before 1970 and in other time zones too."""
    received = sent(moment)
    assert received == moment
    assert received.tzinfo is _UTC


def test_a_date_has_milliseconds() -> None:
    """Microseconds are cut, not rounded into the next second."""
    assert sent(datetime.datetime(2024, 1, 1, 0, 0, 0, 999999, tzinfo=_UTC)).microsecond == 999000


def test_datetimes_go_as_iso_strings_when_asked() -> None:
    """A server whose clients speak both JSON and msgpack sends the same to all of them."""
    serializer = MsgpackSerializer(datetimes="iso")
    moment = datetime.datetime(2024, 2, 29, 12, 0, 0, 5, tzinfo=_UTC)
    assert sent(moment, serializer) == msgspec.to_builtins(moment) == "2024-02-29T12:00:00.000005Z"
    assert sent(Moment(2024, 2, 29), serializer) == "2024-02-29T00:00:00"
    with pytest.raises(ConfigurationError):
        MsgpackSerializer(datetimes="unix")  # type: ignore[arg-type]


def test_python_timestamps_are_understood() -> None:
    """A Python client that sends MessagePack's own timestamps is not thrown out."""
    moment = datetime.datetime(2024, 2, 29, 1, 2, 3, 456789, tzinfo=_UTC)
    assert MsgpackSerializer().decode(frame_with(msgpack.packb(moment, datetime=True))).data == ["e", moment]


def date(milliseconds: int) -> bytes:
    return b"\xd7\x00" + struct.pack(">q", milliseconds)


def array_buffer(data: bytes) -> bytes:
    return bytes([0xC7, len(data), 0]) + data


_UNDEFINED = b"\xd4\x00\x00"
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=_UTC)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([date(0), array_buffer(bytes(8))], [_EPOCH, bytes(8)]),
        ([array_buffer(bytes(8)), date(0)], [bytes(8), _EPOCH]),
        ([array_buffer(bytes(8)), array_buffer(bytes(8)), date(0), date(0)], [bytes(8), bytes(8), _EPOCH, _EPOCH]),
        ([_UNDEFINED, array_buffer(b"\x00"), _UNDEFINED], [None, b"\x00", None]),
        ([array_buffer(b"\x00"), _UNDEFINED, array_buffer(b"\x01")], [b"\x00", None, b"\x01"]),
        ([array_buffer(b"\x00"), date(0), _UNDEFINED, array_buffer(bytes(8))], [b"\x00", _EPOCH, None, bytes(8)]),
        ([array_buffer(b""), array_buffer(b"1234567"), array_buffer(b"123456789")], [b"", b"1234567", b"123456789"]),
        # What looks like a head in the data before it belongs to the data.
        ([b"\xc4\x03\xc7\x08\x00", date(1)], [b"\xc7\x08\x00", _EPOCH + datetime.timedelta(milliseconds=1)]),
        (
            [array_buffer(b"\xd7\x00\xd7\x00\xc7\x08\x00\x00"), date(0)],
            [b"\xd7\x00\xd7\x00\xc7\x08\x00\x00", _EPOCH],
        ),
    ],
)
def test_short_array_buffers_are_no_dates(parts: list[bytes], expected: list[Any]) -> None:
    """Eight bytes that a Node client sends arrive as eight bytes, not as a date in the year 40,000."""
    frame = frame_with(bytes([0x90 + len(parts)]) + b"".join(parts))
    assert MsgpackSerializer().decode(frame).data == ["e", expected]


@given(
    st.lists(
        st.one_of(
            st.integers(-(10**12), 10**12).map(lambda ms: (date(ms), _EPOCH + datetime.timedelta(milliseconds=ms))),
            st.just((_UNDEFINED, None)),
            st.binary(max_size=12).map(lambda data: (array_buffer(data), data)),
            st.integers(0, 127).map(lambda number: (bytes([number]), number)),
        ),
        max_size=15,
    )
)
@settings(max_examples=examples(300))
def test_extensions_are_told_apart_in_any_mixture(parts: list[tuple[bytes, Any]]) -> None:
    """No order of dates, undefined and buffers makes one be taken for another."""
    frame = frame_with(bytes([0x90 + len(parts)]) + b"".join(part for part, _ in parts))
    assert MsgpackSerializer().decode(frame).data == ["e", [value for _, value in parts]]


def test_a_lying_frame_costs_nothing() -> None:
    """Lists that announce more than the frame holds do not make the server fill its memory or stall."""
    frame = b"\xdd\x00\x0d\xbb\xa0" * 900 + b"\x00" * 900_000
    with pytest.raises(DecodeError, match="truncated"):
        MsgpackSerializer().decode(frame)


def test_a_big_honest_frame_passes() -> None:
    """A large list is refused only by the server's size limit."""
    data = list(range(100_000))
    assert sent([data, {"blob": bytes(200_000)}]) == [data, {"blob": bytes(200_000)}]


# -- rubbish


@given(st.binary(max_size=200))
@settings(max_examples=examples(2_000))
def test_random_bytes_are_packets_or_decode_errors(frame: bytes) -> None:
    """No bytes of a client make anything but its own connection fail."""
    _decode_safely(frame)


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=15,
)


@given(
    st.dictionaries(st.sampled_from(["type", "nsp", "data", "id", "options", "x"]), _json, max_size=6),
    st.booleans(),
    st.data(),
)
@settings(max_examples=examples(500))
def test_odd_packets_are_packets_or_decode_errors(message: dict[str, Any], mend: bool, data: st.DataObject) -> None:
    """A packet of which any part is wrong is refused as a whole."""
    if mend:
        message |= {"type": data.draw(st.integers(-1, 6)), "nsp": "/"}
    frame: bytes = msgpack.packb(message)
    _decode_safely(frame)
    at = data.draw(st.integers(0, len(frame) - 1))
    _decode_safely(frame[:at] + data.draw(st.binary(max_size=3)) + frame[at + data.draw(st.integers(0, 3)) :])


@given(_json)
@settings(max_examples=examples(500))
def test_whatever_can_be_said_round_trips(value: Any) -> None:
    """Data arrives as it was emitted."""
    frame = encode(value)
    assert encode(MsgpackSerializer().decode(frame).data[1]) == frame


def _decode_safely(frame: bytes) -> None:
    try:
        packet = MsgpackSerializer().decode(frame)
    except DecodeError:
        return
    assert type(packet.type) is int
    assert type(packet.nsp) is str
    if packet.type == PacketType.EVENT:
        assert type(packet.data[0]) in (str, int)
        assert packet.data[0] not in RESERVED_EVENTS


# -- the JavaScript parser


def _peer(**request: list[Any]) -> dict[str, Any]:
    node = shutil.which("node")
    if node is None or not (_NODE_MODULES / "socket.io-msgpack-parser").is_dir():
        pytest.skip("needs node, and npm install in tests/js")
    body = {"encode": [], "decode": [], "expressions": [], **request}
    done = subprocess.run([node, str(_PEER)], input=json.dumps(body), capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _tag(value: Any) -> Any:
    if isinstance(value, list):
        return [_tag(item) for item in value]
    if isinstance(value, dict):
        return {key: _tag(item) for key, item in value.items()}
    if isinstance(value, bytes):
        return {"$bytes": value.hex()}
    if isinstance(value, datetime.datetime):
        return {"$date": (value - _EPOCH) // datetime.timedelta(milliseconds=1)}
    if isinstance(value, float) and not math.isfinite(value):
        return {"$number": {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")}
    return value


def _packets() -> list[Packet]:
    """A few hundred packets that use every head of the format."""
    chance = random.Random(1)
    letters = 'aZ0 ,/"\\\n\x00\x7f\x80ßé€日\uffff\U0001f600\U0010ffff'

    def text(length: int) -> str:
        return "k" + "".join(chance.choice(letters) for _ in range(length))

    def value(depth: int) -> Any:
        match chance.randrange(12 if depth else 9):
            case 0:
                return chance.choice([None, True, False])
            case 1:
                return chance.choice([1, -1]) * chance.randrange(2 ** chance.randrange(1, 54))
            case 2:
                return chance.choice([0, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**53 - 1])
            case 3:
                return -chance.choice([1, 32, 33, 128, 129, 32768, 32769, 2**31, 2**31 + 1, 2**53 - 1])
            case 4:
                return chance.choice([0.5, -1.25e-7, 1e-300, math.inf, -math.inf])
            case 5:
                return text(chance.choice([0, 3, 30, 31, 32, 33, 70, 300, 70_000] if depth == 1 else [0, 5, 40]))
            case 6:
                return chance.randbytes(chance.choice([0, 1, 8, 9, 255, 256, 65_536] if depth == 1 else [0, 1, 8, 20]))
            case 7:
                return _EPOCH + datetime.timedelta(milliseconds=chance.randrange(-(10**13), 10**14))
            case 8:
                return chance.choice([[], {}, ""])
            case 9 | 10:
                return [value(depth - 1) for _ in range(chance.choice([1, 3, 15, 16]))]
            case _:
                return {text(4) + str(key): value(depth - 1) for key in range(chance.choice([1, 3, 15, 16]))}

    packets = [
        Packet(PacketType.CONNECT),
        Packet(PacketType.CONNECT, "/admin", {"token": "x"}),
        Packet(PacketType.DISCONNECT, "/admin"),
        Packet(PacketType.CONNECT_ERROR, "/", {"message": "no", "data": {"code": "expired"}}),
        Packet(
            PacketType.EVENT, data=["many", list(range(70_000)), {f"k{number}": number for number in range(66_000)}]
        ),
    ]
    for number in range(300):
        if chance.random() < 0.7:
            packets.append(
                Packet(PacketType.EVENT, "/n", ["e", *(value(2) for _ in range(3))], chance.choice([None, 0]))
            )
        else:
            packets.append(Packet(PacketType.ACK, "/", [value(2)], number * 500))
    return packets


def _as_message(packet: Packet) -> dict[str, Any]:
    message = {"type": int(packet.type), "data": _tag(packet.data), "nsp": packet.nsp, "id": packet.id}
    return {key: value for key, value in message.items() if value is not None}


def test_frames_are_those_of_the_javascript_parser() -> None:
    """A stock JS client or server with socket.io-msgpack-parser reads and writes exactly our frames."""
    serializer = MsgpackSerializer()
    packets = _packets()
    frames: list[bytes] = []
    for packet in packets:
        (frame,) = serializer.encode(copy.deepcopy(packet))
        assert isinstance(frame, bytes)
        frames.append(frame)
    messages = [_as_message(packet) for packet in packets]
    answer = _peer(encode=messages, decode=[frame.hex() for frame in frames])
    for packet, frame, message, encoded, decoded in zip(
        packets, frames, messages, answer["encode"], answer["decode"], strict=True
    ):
        assert encoded == {"node": frame.hex(), "browser": frame.hex()}
        assert decoded == {"node": message, "browser": message}
        assert serializer.decode(frame) == packet


@pytest.mark.parametrize("whole", [[1.0, -2.0, 1e15, {"a": 3.0}]])
def test_javascript_reads_whole_floats_as_the_same_numbers(whole: Any) -> None:
    """JS has one kind of number: 1.0 is 1 there, however it was written."""
    (answer,) = _peer(decode=[encode(whole).hex()])["decode"]
    assert answer["node"]["data"] == answer["browser"]["data"] == ["e", whole]


def test_what_only_javascript_has_is_understood() -> None:
    """undefined, ArrayBuffers, typed arrays, Buffers and dates of a Node client arrive as what they are."""
    cases: list[tuple[str, Any]] = [
        ("undefined", None),
        ("{a: undefined, b: null}", {"a": None, "b": None}),
        ("new Date(1709210096123)", datetime.datetime(2024, 2, 29, 12, 34, 56, 123000, tzinfo=_UTC)),
        ("new Date(-1)", _EPOCH - datetime.timedelta(milliseconds=1)),
        ("[new Date(0), new ArrayBuffer(8), new Date(0)]", [_EPOCH, bytes(8), _EPOCH]),
        ("[new ArrayBuffer(1), undefined, new Uint8Array([0]), new Uint8Array([7])]", [b"\0", None, b"\0", b"\x07"]),
        ("Buffer.from('0102030405060708', 'hex')", bytes(range(1, 9))),
        ("new Uint8Array([1, 2, 3])", b"\x01\x02\x03"),
        ("new Uint16Array([1, 256]).buffer", b"\x01\x00\x00\x01"),
        ("new ArrayBuffer(0)", b""),
        ("new ArrayBuffer(300)", bytes(300)),
        ("new ArrayBuffer(70000)", bytes(70_000)),
        ("[NaN].map(String)", ["NaN"]),
        ("[1.0, -0, 2 ** 53, 0.5]", [1, 0, 2**53, 0.5]),
        ("'\\ud83d'", "\U0001f400"),  # half a pair: notepack writes some other character, but a valid one
    ]
    expressions = [f"{{type: 2, data: ['e', {expression}], nsp: '/', id: undefined}}" for expression, _ in cases]
    packets = ["{type: 0, data: undefined, nsp: '/', options: {compress: true}}", "{type: 1, nsp: '/a'}"]
    *frames, connect, disconnect = _peer(expressions=[*expressions, *packets])["expressions"]
    decode = MsgpackSerializer().decode
    for (expression, expected), frame in zip(cases, frames, strict=True):
        assert decode(bytes.fromhex(frame)) == Packet(PacketType.EVENT, "/", ["e", expected]), expression
    assert decode(bytes.fromhex(connect)) == Packet(PacketType.CONNECT)
    assert decode(bytes.fromhex(disconnect)) == Packet(PacketType.DISCONNECT, "/a")


@pytest.mark.parametrize("key", [b"\xc4\x01a", b"\xc5\x00\x01a", b"\xc6\x00\x00\x00\x01a"])
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_bytes_as_keys_are_refused(key: bytes, depth: int) -> None:
    """A handler that takes a dict would get keys that no JSON has, and fail where the client chooses."""
    serializer = MsgpackSerializer()
    good = b"\x91" * depth + b"\x81\xa1a\xc4\x01b"
    assert serializer.decode(frame_with(good)).data[1] is not None
    with pytest.raises(DecodeError, match="bytes for keys"):
        serializer.decode(frame_with(b"\x91" * depth + b"\x81" + key + b"\x01"))
