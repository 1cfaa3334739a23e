"""The gateway: packets encoded once, handed to many, and a client for each connection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from rtframework import EncodeError, Limits, Packet, PacketType
from rtframework.engine import Gateway
from rtframework.engine.client import Client
from rtframework.engine.frames import JoinedFrames, PlainFrames
from rtframework.engine.outbox import LATER, SOON
from rtframework.engine.v3.client import Client3
from rtframework.options import EngineOptions
from rtframework.protocols import Frames, Serializer
from rtframework.serializers import JSONSerializer
from rtframework_msgpack import MsgpackSerializer
from tests.conftest import Serve
from tests.engine import Witness, raw_client
from tests.support.stream import JSON, Doorman
from tests.support.values import PLAIN, SERIALIZER, VALUES, as_received, hook

EVENT = Packet(PacketType.EVENT, "/", ["a"])


def gateway(serializer: Any = JSON) -> Gateway:
    """A gateway of an application that lets everybody in."""
    return Gateway(Doorman(), serializer=serializer, options=EngineOptions(limits=Limits()))


class Outlet:
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[Frames, bool]] = []

    def send(self, frames: Frames, *, volatile: bool = False) -> None:
        self.sent.append((frames, volatile))


@pytest.mark.parametrize(
    ("packet", "droppable"),
    [
        (EVENT, True),
        (Packet(PacketType.EVENT, "/", ["a"], 1), False),
        (Packet(PacketType.ACK, "/", [], 1), False),
        (Packet(PacketType.CONNECT, "/", {}), False),
    ],
)
def test_what_a_slow_client_can_do_without(packet: Packet, droppable: bool) -> None:
    """An answer that somebody waits for would be dropped."""
    assert gateway().encode(packet).droppable is droppable


def test_what_is_not_worth_compressing() -> None:
    """Pictures would be compressed again for nothing."""
    assert gateway().encode(EVENT).compress
    assert isinstance(gateway().encode(EVENT, compress=False), PlainFrames)


def test_whatever_a_serializer_raises_is_an_encode_error() -> None:
    """A program that catches ``EncodeError`` would be stopped by something else."""

    class Broken:
        def encode(self, packet: Packet) -> Sequence[str | bytes]:
            raise ZeroDivisionError

        def decoder(self) -> Any:
            raise NotImplementedError

    with pytest.raises(EncodeError, match="ZeroDivisionError"):
        gateway(Broken()).encode(EVENT)


def test_packets_are_joined_to_one() -> None:
    """What a client has missed would be torn apart by what is new."""
    engine = gateway()
    joined = engine.join([engine.encode(EVENT), engine.encode(Packet(PacketType.CONNECT, "/", {}))])
    assert isinstance(joined, JoinedFrames)
    assert joined.polling == '42["a"]\x1e40{}'


@pytest.mark.parametrize("volatile", [False, True])
def test_all_outlets_get_the_same_frames(volatile: bool) -> None:
    """A broadcast to a thousand clients would be encoded a thousand times."""
    engine = gateway()
    outlets = [Outlet() for _ in range(3)]
    frames = engine.encode(EVENT)
    assert engine.deliver(outlets, frames, volatile=volatile) is None
    assert [each.sent for each in outlets] == [[(frames, volatile)]] * 3


@pytest.mark.parametrize(("eio", "kind"), [("4", Client), ("3", Client3)])
async def test_each_connection_has_a_client_of_its_version(serve: Serve, eio: str, kind: type[Client]) -> None:
    """Old clients would be greeted in words that they do not know."""
    witness = Witness(allow_eio3=True)
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        await raw.request("GET", query={"EIO": eio, "transport": "polling"})
    (connection,) = witness.engine.connections.values()
    assert type(connection._handler) is kind


@pytest.mark.parametrize("nsp", ["/", "/chat"])
@pytest.mark.parametrize("args", [["e"], ["e", 1, "é\U0001f600", {"a": [None, 1.5]}], ['with "quotes" \u2028', []]])
def test_what_is_spliced_is_what_is_encoded(nsp: str, args: list[Any]) -> None:
    """A client would be sent something else by another server than by its own."""
    line = gateway()
    text = line.text(Packet(PacketType.EVENT, nsp, args, 7))
    assert text is not None
    for tail in (None, 'off"set'):
        encoded = line.encode(Packet(PacketType.EVENT, nsp, args if tail is None else [*args, tail]))
        spliced = line.splice(nsp, text, tail)
        assert spliced is not None
        assert (spliced.websocket, spliced.polling) == (encoded.websocket, encoded.polling)
        assert spliced.droppable
        assert spliced.compress
        plain = line.splice(nsp, text, tail, compress=False)
        assert plain is not None
        assert not plain.compress


@pytest.mark.parametrize("serializer", [SERIALIZER, MsgpackSerializer(enc_hook=hook)])
def test_arguments_are_made_plain_as_the_serializer_would(serializer: Serializer) -> None:
    """Clients of another server would get something else, or the emit would fail there alone."""
    line = gateway(serializer)
    found = line.plain([*VALUES, b"x", {"deep": VALUES[:4]}])
    assert as_received(found) == [*PLAIN, b"x", {"deep": PLAIN[:4]}]
    assert line.plain([]) == []
    endless: list[Any] = []
    endless.append(endless)
    for value in (object(), endless):
        with pytest.raises(EncodeError, match="cannot be sent"):
            line.plain(["e", value])


def test_a_serializer_that_fails_is_an_encode_error() -> None:
    """A program could not tell a mistake in its values from one in the cluster."""

    class Mute(JSONSerializer):
        def encode(self, packet: Packet) -> Sequence[str | bytes]:
            return []

    class Broken(JSONSerializer):
        def encode(self, packet: Packet) -> Sequence[str | bytes]:
            raise KeyError("broken")

    for serializer in (Mute(), Broken()):
        with pytest.raises(EncodeError, match="cannot be sent"):
            gateway(serializer).plain(["e"])


def test_what_cannot_be_spliced() -> None:
    """Bytes would be lost on the way to another server, and clients of another serializer get JSON."""
    assert gateway().text(Packet(PacketType.EVENT, "/", ["e", b"bytes"])) is None
    with pytest.raises(EncodeError):
        gateway().text(Packet(PacketType.EVENT, "/", ["e", object()]))

    class Other(JSONSerializer):
        def encode(self, packet: Packet) -> Sequence[str | bytes]:
            return ["other", *super().encode(packet)]

    other = gateway(Other())
    assert other.text(EVENT) is None
    assert other.splice("/", '["a"]') is None
    with pytest.raises(EncodeError):
        other.text(Packet(PacketType.EVENT, "/", ["e", object()]))


@pytest.mark.parametrize("volatile", [False, True])
def test_a_broadcast_to_many_is_told_from_what_is_for_few(volatile: bool) -> None:
    """What is sent to one client would wait until an event has been written to thousands."""
    line = gateway()
    cork = line.eio.table.cork
    lanes: list[int] = []

    class Looking(Outlet):
        def send(self, frames: Frames, *, volatile: bool = False) -> None:
            lanes.append(cork.lane)

    frames = line.encode(EVENT)
    for count in (1, 63, 64):
        line.deliver([Looking()] * count, frames, volatile=volatile)
        assert set(lanes) == {LATER if count == 64 else SOON}
        assert cork.lane == SOON
        lanes.clear()

    class Broken(Outlet):
        def send(self, frames: Frames, *, volatile: bool = False) -> None:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        line.deliver([Broken()] * 64, frames, volatile=volatile)
    assert cork.lane == SOON
