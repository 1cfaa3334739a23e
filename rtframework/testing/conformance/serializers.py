"""The conformance suite of serializers."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ...exceptions import DecodeError, EncodeError
from ...packets import MAX_ID
from ...types import RESERVED_EVENTS, Packet, PacketType
from .suites import check

if TYPE_CHECKING:
    from ...protocols import Decoder, Serializer

_Frame: TypeAlias = str | bytes

_MAX_FRAMES: Final = 12


class SerializerConformance:
    """Tests of a :class:`~rtframework.protocols.Serializer`.

    Implement :meth:`serializer`. Set ``supports_binary = False`` if it cannot encode bytes: it must then refuse them.
    ``rubbish``: further frames that are not packets, besides those of the suite.
    """

    supports_binary: bool = True
    rubbish: Sequence[str | bytes] = ()

    def serializer(self) -> Serializer:
        """Return a new serializer, as a program would make it."""
        raise NotImplementedError("give the suite a serializer()")

    def test_every_packet_type_round_trips(self) -> None:
        """Clients can connect, talk, answer, be refused and leave."""
        for packet in (
            Packet(PacketType.CONNECT),
            Packet(PacketType.CONNECT, data={"token": "x"}),
            Packet(PacketType.CONNECT, data={"sid": "abc", "pid": "def"}),
            Packet(PacketType.DISCONNECT),
            Packet(PacketType.EVENT, data=["hello"]),
            Packet(PacketType.ACK, data=[], id=0),
            Packet(PacketType.ACK, data=[1, "two"], id=7),
            Packet(PacketType.CONNECT_ERROR, data={"message": "no", "data": {"code": "expired"}}),
        ):
            self._round_trip(packet)

    def test_arguments_round_trip(self) -> None:
        """A handler gets the arguments that the other side emits: any number, any JSON value, any depth."""
        for arguments in (
            [],
            [None],
            [True, False, None],
            [0, 1, -1, 127, 128, 255, 256, 65535, 65536, 2**31, -(2**31), 2**53 - 1, -(2**53) + 1],
            [0.5, -1.25, 1e300, 5e-324],
            ["", "a", "0", "/", ",", '"', "\\", "\n\x00\x7f", "[1]", "-", "x" * 70_000],
            ["ü", "日本語", "\U0001f600", "e\u0301", "\u2028", "\ufeff", "\uffff"],
            [[], {}, [[]], [{}], {"": {}}],
            [{"a": [1, {"b": [None, {"c": "d"}]}], "ü": 1, "_placeholder": False, "num": 0}],
            [list(range(70_000)), {str(number): number for number in range(1_000)}],
        ):
            self._round_trip(Packet(PacketType.EVENT, data=["event", *arguments]))
            self._round_trip(Packet(PacketType.ACK, data=arguments, id=1))
        nested: Any = "leaf"
        for _ in range(50):
            nested = [{"in": nested}]
        self._round_trip(Packet(PacketType.EVENT, data=["deep", nested]))

    def test_event_names_round_trip(self) -> None:
        """Any name that is not reserved can be used for an event."""
        for name in ("", "a", "event name", "1", "été", "\U0001f600", "Connect", "disconnected", "x" * 1_000):
            self._round_trip(Packet(PacketType.EVENT, data=[name, 1]))

    def test_integers_as_event_names_round_trip(self) -> None:
        """A client may name its events by numbers, such as the members of an enum."""
        for name in (0, 1, -1, 255, 65_536, -(2**31), MAX_ID, -MAX_ID):
            self._round_trip(Packet(PacketType.EVENT, data=[name, 1]))
            self._round_trip(Packet(PacketType.EVENT, "/admin", [name], 7))

    def test_namespaces_and_ids_round_trip(self) -> None:
        """A packet arrives in its namespace, and an acknowledgement at the emit that requested it."""
        for nsp in ("/", "/admin", "/chat/1", "/1", "/é", "/a-b_c.d"):
            for id in (None, 0, 1, 9, 10, 12_345, 2**31, 2**53 - 1):
                for arguments in ([], [1], ["1"], [{"a": 1}]):
                    self._round_trip(Packet(PacketType.EVENT, nsp, ["e", *arguments], id))
                    if id is not None:
                        self._round_trip(Packet(PacketType.ACK, nsp, arguments, id))
            self._round_trip(Packet(PacketType.CONNECT, nsp))
            self._round_trip(Packet(PacketType.CONNECT, nsp, {"a": 1}))
            self._round_trip(Packet(PacketType.DISCONNECT, nsp))

    def test_binary_round_trips_at_any_depth(self) -> None:
        """Bytes arrive unchanged at any depth; a serializer that cannot encode them raises ``EncodeError``."""
        blob = bytes(range(256))
        payloads: tuple[list[Any], ...] = (
            [b""],
            [b"\x00"],
            [b"12345678"],
            [blob * 300],
            [1, blob, "between", b"two"],
            [{"a": {"b": [blob, {"c": b"\xff"}]}}, [[b"x"]]],
            [blob, blob],
        )
        for arguments in payloads:
            for packet in (
                Packet(PacketType.EVENT, data=["file", *arguments]),
                Packet(PacketType.EVENT, "/files", ["file", *arguments], 3),
                Packet(PacketType.ACK, "/files", arguments, 4),
            ):
                if self.supports_binary:
                    self._round_trip(packet)
                else:
                    self._refuses_to_encode(packet)
        if self.supports_binary:
            for like_bytes in (bytearray(blob), memoryview(blob)):
                frames = self._encode(self.serializer(), Packet(PacketType.EVENT, data=["file", like_bytes]))
                decoded = self._decode(self.serializer().decoder(), frames)
                check(decoded.data == ["file", blob], f"{type(like_bytes).__name__} did not arrive as bytes")

    def test_encoding_leaves_its_input_alone(self) -> None:
        """A program may keep the data that it has emitted and emit them again, e.g. in another namespace."""
        data: list[Any] = ["e", {"a": [1, {"b": None}]}, "text"]
        if self.supports_binary:
            data += [b"bytes", {"c": bytearray(b"more")}]
        packet = Packet(PacketType.EVENT, "/n", data, 5)
        before = copy.deepcopy(packet)
        serializer = self.serializer()
        first = self._encode(serializer, packet)
        check(packet == before, f"encode() changed its packet to {packet!r}")
        check(packet.data is data, "encode() replaced the packet's data")
        check(self._encode(serializer, packet) == first, "encoding the same packet again gave other frames")

    def test_decoders_are_independent(self) -> None:
        """Clients that send at the same time do not get parts of each other's packets."""
        serializer = self.serializer()
        one: list[Any] = ["one", {"n": 1}, "a"]
        two: list[Any] = ["two", {"n": 2}, "b"]
        if self.supports_binary:
            one += [b"1", {"x": b"11"}]
            two += [b"2", {"x": b"22"}]
        frames = [self._encode(serializer, Packet(PacketType.EVENT, data=data)) for data in (one, two)]
        decoders = [serializer.decoder(), serializer.decoder()]
        for _ in range(2):
            got: list[list[Packet]] = [[], []]
            for position in range(max(map(len, frames))):
                for index, decoder in enumerate(decoders):
                    if position < len(frames[index]):
                        packet = decoder.decode(frames[index][position])
                        if packet is not None:
                            got[index].append(packet)
            for packets, data in zip(got, (one, two), strict=True):
                check([packet.data for packet in packets] == [data], f"expected {data!r}, got {packets!r}")

    def test_reserved_events_are_refused(self) -> None:
        """No client can make a server's connection or disconnect handler run by sending an event of that name."""
        for name in sorted(RESERVED_EVENTS):
            packet = Packet(PacketType.EVENT, data=[name, "forged"])
            try:
                frames = self._encode(self.serializer(), packet)
            except EncodeError:
                continue
            self._refuses_to_decode(frames, f"an event named {name!r}")

    def test_malformed_packets_are_refused(self) -> None:
        """A packet with valid syntax but wrong content never reaches the framework."""
        for packet in (
            Packet(PacketType.EVENT),
            Packet(PacketType.EVENT, data=[]),
            Packet(PacketType.EVENT, data={"not": "a list"}),
            Packet(PacketType.EVENT, data="text"),
            Packet(PacketType.EVENT, data=[None]),
            Packet(PacketType.EVENT, data=[1.5]),
            Packet(PacketType.EVENT, data=[True]),
            Packet(PacketType.EVENT, data=[MAX_ID + 1]),
            Packet(PacketType.EVENT, data=[-MAX_ID - 1]),
            Packet(PacketType.EVENT, data=[["name"]]),
            Packet(PacketType.ACK, data=[1]),
            Packet(PacketType.ACK, data={"not": "a list"}, id=1),
            Packet(PacketType.CONNECT, data=["a list"]),
            Packet(PacketType.CONNECT, data="text"),
            Packet(PacketType.DISCONNECT, data={"anything": 1}),
            Packet(7, data=["e"]),
        ):
            try:
                frames = self._encode(self.serializer(), packet)
            except EncodeError:
                continue
            self._refuses_to_decode(frames, repr(packet))

    def test_rubbish_is_a_decode_error(self) -> None:
        """Invalid frames of a client only close its own connection."""
        made_up: tuple[_Frame, ...] = (
            *(
                "",
                " ",
                "x",
                "{}",
                "[]",
                "null",
                "2",
                "2[",
                '2["e"',
                '2["e"]]',
                "5",
                "51-",
                "9",
                "-1",
                "²",
                "2²",
                "\ud800",
            ),
            *("2" + "[" * 100_000, "2[" + '{"a":' * 100_000, '2["e",' + "9" * 10_000 + "]", "5" + "9" * 400 + '-["e"]'),
            *(b"", b"\x00", b"\xc1", b"\xff" * 9, b"\x80", b"\x90", b"\xc0", b"\x00" * 10_000),
            *(
                b"\x91" * 100_000,
                b"\x81\xa1a" * 100_000,
                b"\xdd\xff\xff\xff\xff",
                b"\xdf\xff\xff\xff\xff",
                b"\xc6\xff\xff\xff\xff",
            ),
        )
        for frame in (*made_up, *self.rubbish):
            self._survives(frame)
        for frame in self.rubbish:
            self._refuses_to_decode([frame], repr(frame[:100]))

    def test_damaged_packets_are_decode_errors(self) -> None:
        """A packet with parts cut off, doubled or changed is refused, or decoded as a valid packet."""
        chance = random.Random(20240229)
        data: list[Any] = ["event", {"a": [1, -2.5, None, True], "ü": "\U0001f600"}, 2**40]
        packets = [
            Packet(PacketType.EVENT, "/n", data, 12),
            Packet(PacketType.ACK, "/", data, 3),
            Packet(PacketType.CONNECT, "/n", {"token": "x"}),
        ]
        if self.supports_binary:
            packets.append(Packet(PacketType.EVENT, "/n", [*data, b"12345678", {"b": b""}], 1))
        serializer = self.serializer()
        for packet in packets:
            frames = self._encode(serializer, packet)
            for frame in frames:
                for cut in range(len(frame)):
                    self._survives(frame[:cut])
                    self._survives(frame[cut:])
                for _ in range(500):
                    self._survives(_damaged(frame, chance))
                self._survives(frame + frame)  # type: ignore[operator]

    def test_what_cannot_be_sent_is_an_encode_error(self) -> None:
        """Emitting an object that cannot be encoded raises ``EncodeError`` in the caller, and no other error."""
        endless: list[Any] = []
        endless.append(endless)
        deep: list[Any] = []
        for _ in range(100_000):
            deep = [deep]
        for value in (object(), object, endless, deep, {"in": [object()]}, "\ud800", {"\udfff": 1}):
            self._refuses_to_encode(Packet(PacketType.EVENT, data=["e", value]))

    # --- helpers ----------------------------------------------------------------------------------------------------

    def _encode(self, serializer: Serializer, packet: Packet) -> list[_Frame]:
        frames = list(serializer.encode(packet))
        check(0 < len(frames) <= _MAX_FRAMES, f"{len(frames)} frames for {packet!r:.200}")
        for frame in frames:
            check(type(frame) in (str, bytes), f"a frame is str or bytes, not {type(frame).__name__}")
        return frames

    def _decode(self, decoder: Decoder, frames: Sequence[_Frame]) -> Packet:
        for frame in frames[:-1]:
            early = decoder.decode(frame)
            check(early is None, f"a packet before its last frame: {early!r:.200}")
        packet = decoder.decode(frames[-1])
        if packet is None:
            raise AssertionError("no packet after its last frame")
        return packet

    def _round_trip(self, packet: Packet) -> None:
        serializer = self.serializer()
        decoder = serializer.decoder()
        for attempt in ("", " the second time"):
            decoded = self._decode(decoder, self._encode(serializer, packet))
            _check_sense(decoded)
            check(
                (decoded.type, decoded.nsp, decoded.id) == (packet.type, packet.nsp, packet.id)
                and _same(decoded.data, packet.data),
                f"{packet!r:.300} came back as {decoded!r:.300}{attempt}",
            )

    def _survives(self, frame: _Frame) -> None:
        try:
            packet = self.serializer().decoder().decode(frame)
        except DecodeError:
            return
        except Exception as error:
            raise AssertionError(f"{type(error).__name__} instead of DecodeError for {frame[:100]!r}") from error
        if packet is not None:
            _check_sense(packet)

    def _refuses_to_decode(self, frames: Sequence[_Frame], what: str) -> None:
        decoder = self.serializer().decoder()
        try:
            packets = [decoder.decode(frame) for frame in frames]
        except DecodeError:
            return
        raise AssertionError(f"{what} was taken for {packets!r:.200}")

    def _refuses_to_encode(self, packet: Packet) -> None:
        try:
            self.serializer().encode(packet)
        except EncodeError:
            return
        except Exception as error:
            raise AssertionError(f"{type(error).__name__} instead of EncodeError") from error
        raise AssertionError("what cannot be sent was encoded")


def _same(one: Any, other: Any) -> bool:
    """Tell whether two values and all their parts are equal and of equal types: ``1``, ``1.0`` and ``True`` differ."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    return type(one) is type(other) and bool(one == other)


def _check_sense(packet: Packet) -> None:
    """Check that the content of a packet is valid for its type, see ``types.Packet``."""
    data, id = packet.data, packet.id
    check(type(packet.nsp) is str, f"the namespace of {packet!r:.200} is no string")
    check(id is None or (type(id) is int and id >= 0), f"the id of {packet!r:.200} is no id")
    match packet.type:
        case PacketType.EVENT:
            sensible = type(data) is list and bool(data) and _is_name(data[0])
        case PacketType.ACK:
            sensible = type(data) is list and id is not None
        case PacketType.CONNECT:
            sensible = data is None or isinstance(data, dict)
        case PacketType.DISCONNECT:
            sensible = data is None
        case PacketType.CONNECT_ERROR:
            sensible = isinstance(data, dict | str)
        case _:
            sensible = False
    check(sensible, f"{packet!r:.200} makes no sense")


def _is_name(name: Any) -> bool:
    if type(name) is int:
        return -MAX_ID <= name <= MAX_ID
    return type(name) is str and name not in RESERVED_EVENTS


def _damaged(frame: _Frame, chance: random.Random) -> _Frame:
    characters: list[Any] = list(frame)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(characters) + 1)
        new: Any = (
            chance.choice('0129-,/[]{}":\\ue\ud800\U0001f600') if isinstance(frame, str) else chance.randrange(256)
        )
        match chance.randrange(3):
            case 0:
                characters.insert(at, new)
            case 1:
                characters[at : at + 1] = [new]
            case _:
                del characters[at : at + chance.randint(1, 3)]
    return "".join(characters) if isinstance(frame, str) else bytes(characters)
