"""Serializers over python-socketio's packet classes: what they let in, and that nothing else escapes from them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgpack
import pytest
import socketio
from hypothesis import given, settings
from hypothesis import strategies as st
from socketio import msgpack_packet, packet

from rtframework import DecodeError, EncodeError, Packet, PacketType
from rtframework.engine import AsyncServer
from rtframework.engine.python_socketio.packet_classes import (
    PacketClassSerializer,
    StandardSerializer,
    checked,
    packet_class_of,
)
from rtframework.testing import SerializerConformance
from tests.conftest import Serve
from tests.support.hostile import Attacker, as_in_javascript, collect, hostile_arguments
from tests.support.js import JSClients
from tests.support.thorough import examples

CLASSES = (packet.Packet, msgpack_packet.MsgPackPacket)


def msgpacked(**content: Any) -> bytes:
    """A packet as a client with the msgpack parser sends it."""
    encoded: bytes = msgpack.dumps(content)
    return encoded


@pytest.mark.parametrize("packet_class", CLASSES)
def test_packets_survive_the_way(packet_class: Any) -> None:
    """Data would be changed between a server and a client with the same class."""
    serializer = PacketClassSerializer(packet_class)
    for sent in (
        Packet(PacketType.CONNECT, "/", {"token": "t"}),
        Packet(PacketType.CONNECT, "/admin"),
        Packet(PacketType.DISCONNECT, "/admin"),
        Packet(PacketType.EVENT, "/", ["a", 1, {"b": [None, 1.5, "é"]}]),
        Packet(PacketType.EVENT, "/admin", ["a", b"\x00", {"deep": [b"\xff"]}], 7),
        Packet(PacketType.ACK, "/", [], 0),
        Packet(PacketType.ACK, "/", [b"x"], 12),
        Packet(PacketType.CONNECT_ERROR, "/", {"message": "no"}),
    ):
        decoder = serializer.decoder()
        frames = serializer.encode(sent)
        received = [decoder.decode(frame) for frame in frames]
        assert received[:-1] == [None] * (len(frames) - 1)
        assert received[-1] == sent


WRONG_JSON: tuple[str | bytes, ...] = (
    "",
    "x",
    "9",
    "5",
    "2",
    "2{}",
    "2[]",
    "2[1.5]",
    '2["connect"]',
    '2["disconnect"]',
    "2[",
    '0"auth"',
    "0[1]",
    "1{}",
    "3[]",
    "31{}",
    "4",
    '21-["a"]',
    '511-["a"]',
    '5999999-["a"]',
    '599999999999-["a"]',
    '2123456789012345678["a"]',
    "2" + "[" * 100_000,
    b"binary",
    b"",
    b'2["a"]',
)


@pytest.mark.parametrize("frame", WRONG_JSON, ids=lambda frame: repr(frame)[:24])
def test_what_is_no_packet(frame: str | bytes) -> None:
    """A client could crash its reader, forge lifecycle events or have the server wait for attachments without end."""
    with pytest.raises(DecodeError):
        PacketClassSerializer(packet.Packet).decoder().decode(frame)


WRONG_ATTACHMENTS: tuple[tuple[str | bytes, ...], ...] = (
    ('51-["a",{"_placeholder":true,"num":1}]', b"x"),
    ('51-["a",{"_placeholder":true,"num":"0"}]', b"x"),
    ('51-["a",{"_placeholder":true,"num":null}]', b"x"),
    ('51-["a"]', '2["b"]'),
    ("51-{}", b"x"),
)


@pytest.mark.parametrize("frames", WRONG_ATTACHMENTS)
def test_attachments_that_do_not_fit(frames: tuple[str | bytes, ...]) -> None:
    """An exception nobody expects would escape from the middle of a packet."""
    decoder = PacketClassSerializer(packet.Packet).decoder()
    assert decoder.decode(frames[0]) is None
    with pytest.raises(DecodeError):
        decoder.decode(frames[1])


WRONG_MSGPACK: tuple[str | bytes, ...] = (
    "text",
    b"\xc1",
    msgpacked(type=2),
    msgpacked(type="2", nsp="/", data=["a"]),
    msgpacked(type=True, nsp="/", data=["a"]),
    msgpacked(type=9, nsp="/", data=["a"]),
    msgpacked(type=2, nsp=1, data=["a"]),
    msgpacked(type=0, nsp="*"),
    msgpacked(type=2, nsp="/", data=[]),
    msgpacked(type=2, nsp="/", data=["connect"]),
    msgpacked(type=2, nsp="/", data=["a"], id="1"),
    msgpacked(type=2, nsp="/", data=["a"], id=-1),
    msgpacked(type=3, nsp="/", data=["a"]),
    b"\x91" * 100_000,
)


@pytest.mark.parametrize("frame", WRONG_MSGPACK, ids=lambda frame: repr(frame)[:40])
def test_what_is_no_msgpack_packet(frame: str | bytes) -> None:
    """The same with the other format."""
    with pytest.raises(DecodeError):
        PacketClassSerializer(msgpack_packet.MsgPackPacket).decoder().decode(frame)


@settings(max_examples=examples(1_000))
@given(
    st.sampled_from(CLASSES),
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.text(max_size=40),
            st.from_regex(r"\A[0-6](\d{1,3}-)?(/[a-z]*,)?\d{0,3}[\[{\"a-z0-9\]}:,]{0,20}\Z"),
        ),
        max_size=4,
    ),
)
def test_nothing_but_decode_errors_escapes(packet_class: Any, frames: list[str | bytes]) -> None:
    """An exception of another kind would be logged with a traceback for each of an attacker's packets."""
    decoder = PacketClassSerializer(packet_class).decoder()
    for frame in frames:
        try:
            decoder.decode(frame)
        except DecodeError:
            return


def test_json_is_set_for_one_server() -> None:
    """All servers and clients of the process would change their format."""
    derived = packet_class_of("default", json)
    assert derived.json is json
    assert packet.Packet.json is not json
    assert packet_class_of("msgpack") is msgpack_packet.MsgPackPacket


def test_data_that_a_class_cannot_encode() -> None:
    """``emit`` would raise whatever the class happens to raise."""
    for packet_class in CLASSES:
        with pytest.raises(EncodeError):
            PacketClassSerializer(packet_class).encode(Packet(PacketType.EVENT, "/", ["a", object()]))


def test_the_standard_serializer_takes_what_python_socketio_takes() -> None:
    """Programs would fail on data that they have always sent."""
    serializer = StandardSerializer()

    class Name(str):
        __slots__ = ()

    assert serializer.encode(Packet(PacketType.EVENT, "/", ["a", {None: 1, True: Name("é")}])) == [
        '2["a",{"null":1,"true":"\\u00e9"}]'
    ]
    assert serializer.encode(Packet(PacketType.EVENT, "/", ["a", {None: b"x"}])) == [
        '51-["a",{"null":{"_placeholder":true,"num":0}}]',
        b"x",
    ]
    for wrong in (float("nan"), {None: float("inf")}, object(), {("a", "b"): 1}):
        with pytest.raises(EncodeError):
            serializer.encode(Packet(PacketType.EVENT, "/", ["a", wrong]))


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": -float("inf"), "b": b"bytes"}])
def test_a_number_that_json_does_not_have(value: Any) -> None:
    """``json.dumps`` writes it, and every JavaScript client that receives it is disconnected."""
    for packet_class in (packet.Packet, packet_class_of("default", json)):
        for nsp in ("/", "/a[b"):
            for id in (None, 5):
                with pytest.raises(EncodeError, match=r"(NaN|-?Infinity) does not exist"):
                    PacketClassSerializer(packet_class).encode(Packet(PacketType.EVENT, nsp, ["a", value], id))
                with pytest.raises(EncodeError):
                    checked(packet_class, 10)(packet.EVENT, ["a", value], nsp, id).encode()
    text = ["a", "NaN Infinity", {"NaN": '"Infinity'}]
    assert len(PacketClassSerializer(packet.Packet).encode(Packet(PacketType.EVENT, "/", text))) == 1
    decoded = checked(packet.Packet, 10)(encoded_packet='2["a",NaN]')
    assert decoded.data[0] == "a"


def test_a_format_that_is_no_json_is_its_own_business() -> None:
    """A program whose clients read something else than JSON could not send what looks like a mistake in JSON."""

    class Upper:
        dumps = staticmethod(lambda data, **options: f"NaN {data!r} _placeholder")
        loads = staticmethod(lambda text: text)

    encoded = PacketClassSerializer(packet_class_of("default", Upper)).encode(
        Packet(PacketType.EVENT, "/", ["a", b"b"])
    )
    assert len(encoded) == 2


KINDS: Final[Mapping[str, tuple[str | None, Callable[[], AsyncServer]]]] = {
    "standard": (None, AsyncServer),
    "packet class": (None, lambda: AsyncServer(serializer=packet.Packet)),
    "json module": (None, lambda: AsyncServer(json=json)),
    "manager": (None, lambda: AsyncServer(client_manager=socketio.AsyncManager())),
    "msgpack": ("msgpack", lambda: AsyncServer(serializer="msgpack")),
    "msgpack and manager": (
        "msgpack",
        lambda: AsyncServer(serializer="msgpack", client_manager=socketio.AsyncManager()),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_whatever_a_client_sends_harms_nobody_else(serve: Serve, js: JSClients, kind: str) -> None:
    """A client that finds the right value would throw out everybody to whom a program passes it on."""
    parser, make = KINDS[kind]
    sio = make()
    relayed: list[Any] = []

    async def relay(*args: Any) -> None:
        try:
            await sio.emit("post", args)
        except EncodeError:
            return
        relayed.append(args)

    @sio.event
    async def post(sid: str, *args: Any) -> None:
        await relay(*args)

    @sio.event
    async def picture(sid: str, *args: Any) -> None:
        await relay(*args, b"picture")
        await relay({key: b"picture" for key in args if isinstance(key, str)})

    @sio.event
    async def ask(sid: str, *args: Any) -> None:
        await relay(await sio.call("question", to=sid, timeout=5))

    url = (await serve(sio)).url
    options: Any = {} if parser is None else {"parser": parser}
    victims = [await js.connect(url, transports=[transport], **options) for transport in ("polling", "websocket")]
    there = dict(sio.manager.get_participants("/", None))
    async with contextlib.AsyncExitStack() as stack:
        attacker = Attacker(url, parser, stack)
        for args in collect(hostile_arguments(parser), examples(200)):
            for event in ("post", "picture", "ask"):
                await attacker.send(event, args)
    for victim in victims:
        await victim.barrier()
        if parser is None:  # python-socketio's class sends extensions of MessagePack as they came
            assert as_in_javascript(victim.received("post")) == as_in_javascript(relayed)
    assert there.items() <= dict(sio.manager.get_participants("/", None)).items()
    assert len(relayed) > 20


class TestStandardSerializer(SerializerConformance):
    """What holds for every serializer holds for the one that programs get by default."""

    def serializer(self) -> StandardSerializer:
        """As ``AsyncServer`` makes it."""
        return StandardSerializer()

    def test_what_cannot_be_sent_is_an_encode_error(self) -> None:
        """As the suite says, but for halves of surrogate pairs: python-socketio sends them, e.g. in names of files."""
        for value in (object(), object, {"in": [object()]}):
            with pytest.raises(EncodeError):
                self.serializer().encode(Packet(PacketType.EVENT, "/", ["e", value]))
        assert self.serializer().encode(Packet(PacketType.EVENT, "/", ["e", "\udce9"])) == ['2["e","\\udce9"]']


class TestMsgPackPacket(SerializerConformance):
    """… and for the one that ``serializer="msgpack"`` gives."""

    def serializer(self) -> PacketClassSerializer:
        """As ``AsyncServer`` makes it."""
        return PacketClassSerializer(msgpack_packet.MsgPackPacket)
