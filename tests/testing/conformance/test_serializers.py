"""The conformance suite of serializers: good ones pass it, and broken ones do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from rtframework.exceptions import DecodeError, EncodeError
from rtframework.serializers import JSONSerializer
from rtframework.testing import SerializerConformance
from rtframework.types import Packet, PacketType
from rtframework_msgpack import MsgpackSerializer
from tests.support.conformance import failures, serializer_suite


class TestJSON(SerializerConformance):
    """The default serializer passes the suite."""

    def serializer(self) -> JSONSerializer:
        return JSONSerializer()


class _Wrapped:
    """A good serializer, to be broken in one place."""

    def __init__(self) -> None:
        self.good = MsgpackSerializer()

    def encode(self, packet: Packet) -> Sequence[str | bytes]:
        return self.good.encode(packet)

    def decoder(self) -> Any:
        return self

    def decode(self, frame: str | bytes) -> Packet | None:
        return self.good.decode(frame)


class _LosesIds(_Wrapped):
    def encode(self, packet: Packet) -> Sequence[str | bytes]:
        return self.good.encode(Packet(packet.type, packet.nsp, packet.data, packet.id or None))


class _LosesNamespaces(_Wrapped):
    def decode(self, frame: str | bytes) -> Packet | None:
        packet = self.good.decode(frame)
        return Packet(packet.type, "/", packet.data, packet.id)


class _TurnsTuples(_Wrapped):
    def decode(self, frame: str | bytes) -> Packet | None:
        packet = self.good.decode(frame)
        if packet.type == PacketType.EVENT:
            packet.data = [packet.data[0], *(float(v) if type(v) is int else v for v in packet.data[1:])]
        return packet


class _ChangesItsInput(_Wrapped):
    def encode(self, packet: Packet) -> Sequence[str | bytes]:
        if packet.type == PacketType.EVENT and isinstance(packet.data, list) and len(packet.data) > 2:
            packet.data[1] = "changed"
        return self.good.encode(packet)


class _LetsErrorsEscape(_Wrapped):
    def decode(self, frame: str | bytes) -> Packet | None:
        try:
            return self.good.decode(frame)
        except DecodeError:
            raise KeyError("type") from None


class _LetsEncodeErrorsEscape(_Wrapped):
    def encode(self, packet: Packet) -> Sequence[str | bytes]:
        try:
            return self.good.encode(packet)
        except EncodeError:
            raise TypeError("no") from None


class _TakesReservedNames(_Wrapped):
    def encode(self, packet: Packet) -> Sequence[str | bytes]:
        if packet.type == PacketType.EVENT and packet.data and packet.data[0] == "disconnect":
            return self.good.encode(Packet(packet.type, packet.nsp, ["!", *packet.data[1:]], packet.id))
        return self.good.encode(packet)

    def decode(self, frame: str | bytes) -> Packet | None:
        packet = self.good.decode(frame)
        if packet.type == PacketType.EVENT and packet.data[0] == "!":
            packet.data[0] = "disconnect"
        return packet


class _TakesAnything(_Wrapped):
    def decode(self, frame: str | bytes) -> Packet | None:
        try:
            return self.good.decode(frame)
        except DecodeError:
            return Packet(PacketType.EVENT, "/", ["rubbish"])


class _AcksWithoutId(_Wrapped):
    def decode(self, frame: str | bytes) -> Packet | None:
        packet = self.good.decode(frame)
        return Packet(packet.type, packet.nsp, packet.data, None if packet.type == PacketType.ACK else packet.id)


class _SwallowsBytes(_Wrapped):
    def decode(self, frame: str | bytes) -> Packet | None:
        packet = self.good.decode(frame)
        if packet.type == PacketType.EVENT:
            packet.data = [item for item in packet.data if not isinstance(item, bytes)]
        return packet


class _SharesADecoder(_Wrapped):
    """Two frames a packet, collected in one place for all connections."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[bytes] = []

    def encode(self, packet: Packet) -> Sequence[str | bytes]:
        (frame,) = self.good.encode(packet)
        assert isinstance(frame, bytes)
        return [frame[:1], frame[1:]]

    def decode(self, frame: str | bytes) -> Packet | None:
        if not isinstance(frame, bytes):
            raise DecodeError("text")
        self.waiting.append(frame)
        if len(self.waiting) < 2:
            return None
        whole = b"".join(self.waiting)
        self.waiting.clear()
        return self.good.decode(whole)


class _MakesMutableFrames(_Wrapped):
    def encode(self, packet: Packet) -> Sequence[str | bytes]:
        return [bytearray(frame) for frame in self.good.encode(packet) if isinstance(frame, bytes)]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("broken", "caught_by"),
    [
        (_LosesIds, "test_namespaces_and_ids_round_trip"),
        (_LosesNamespaces, "test_namespaces_and_ids_round_trip"),
        (_TurnsTuples, "test_arguments_round_trip"),
        (_ChangesItsInput, "test_encoding_leaves_its_input_alone"),
        (_LetsErrorsEscape, "test_rubbish_is_a_decode_error"),
        (_LetsErrorsEscape, "test_damaged_packets_are_decode_errors"),
        (_LetsEncodeErrorsEscape, "test_what_cannot_be_sent_is_an_encode_error"),
        (_TakesReservedNames, "test_reserved_events_are_refused"),
        (_TakesAnything, "test_malformed_packets_are_refused"),
        (_AcksWithoutId, "test_every_packet_type_round_trips"),
        (_SwallowsBytes, "test_binary_round_trips_at_any_depth"),
        (_SharesADecoder, "test_decoders_are_independent"),
        (_MakesMutableFrames, "test_every_packet_type_round_trips"),
    ],
)
def test_a_broken_serializer_is_found_out(broken: Callable[[], Any], caught_by: str) -> None:
    """A plugin author learns of the mistake from the suite, not from users."""
    assert caught_by in failures(serializer_suite(broken))


def test_a_good_serializer_wrapped_is_still_good() -> None:
    """The broken ones above are broken by what each of them does, not by how they are made."""
    assert failures(serializer_suite(_Wrapped)) == set()


def test_own_rubbish_must_be_refused() -> None:
    """Frames that an author knows to be wrong are tried as well."""
    good_frame = MsgpackSerializer().encode(Packet(PacketType.EVENT, data=["e"]))[0]
    assert failures(serializer_suite(MsgpackSerializer, rubbish=[good_frame])) == {"test_rubbish_is_a_decode_error"}


def test_a_serializer_without_binary_says_so() -> None:
    """A text-only serializer conforms when it refuses bytes, and does not when it mangles them."""

    class TextOnly(_Wrapped):
        def encode(self, packet: Packet) -> Sequence[str | bytes]:
            frames = JSONSerializer().encode(packet)
            if len(frames) > 1:
                raise EncodeError("bytes are not supported")
            return frames

        def decode(self, frame: str | bytes) -> Packet | None:
            return JSONSerializer().decoder().decode(frame)

    assert failures(serializer_suite(TextOnly, supports_binary=False)) == set()
    assert "test_binary_round_trips_at_any_depth" in failures(serializer_suite(TextOnly))
    assert "test_binary_round_trips_at_any_depth" in failures(serializer_suite(_Wrapped, supports_binary=False))
