"""What a client has missed that comes back to a worker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from rtframework.adapters.packet_log import Attendance
from rtframework.cluster.messages import Broadcast, EventPacket, Message, Options
from rtframework.cluster.pubsub_wire import encode_ephemeral
from rtframework.protocols import Session
from rtframework.types import Packet
from rtframework.workers import wire
from rtframework.workers.recovery import Returning, missed_frames, shelves_of
from rtframework.workers.sessions import KeptSession
from rtframework.workers.shared_table import bucket_of


def adapter() -> Any:
    """What is needed of an adapter; frames are the number, and the text or the arguments."""

    def frames(text: str | None, packet: Any, number: int, compress: bool) -> Any:
        made = packet() if callable(packet) else packet
        return number, text if text is not None else made.data

    return SimpleNamespace(
        key="/", nsp="/", bucket=bucket_of("/"), numbered_frames=frames, decoded=lambda text: Packet(2, "/", [text])
    )


def kept() -> KeptSession:
    """The session of a client that came at 10, joined ``a`` at 10, and was in ``b`` from 11 to 20."""
    attendance = Attendance(10)
    attendance.join(["a", "b"], 10)
    attendance.since["b"] = 11
    attendance.leave(["b"], 20)
    return KeptSession(Session("s", "p", frozenset("a"), {}), attendance, 1)


def event(key: str, rooms: list[str], except_: list[str], text: str) -> bytes:
    """Encode an event."""
    return wire.encode_event(key, rooms, except_, 0, text)


def test_the_log_is_asked_for_the_rooms_of_the_client() -> None:
    """A client would be refused because of rooms that it has never been in, or get less than it has missed."""
    shelves = shelves_of(adapter(), kept().attendance, 15)
    assert shelves is not None
    assert sorted(shelves) == sorted([(bucket_of("/"), 15), (bucket_of("/", "a"), 15), (bucket_of("/", "b"), 15)])
    late = dict(shelves_of(adapter(), kept().attendance, 20) or ())
    assert late == {bucket_of("/"): 20, bucket_of("/", "a"): 20}
    forgotten = kept().attendance
    forgotten.known_from = 16
    assert shelves_of(adapter(), forgotten, 15) is None


def test_only_what_was_for_the_client_is_sent_again() -> None:
    """Who comes back would get the events of others that share a bucket, or of before it had joined."""
    binary = Broadcast(EventPacket(2, ["bytes", b"\x00"]), opts=Options(["a"]))
    found = [
        (14, event("/", ["a"], [], "has it")),
        (16, event("/", ["a"], [], "one")),
        (17, event("/other", ["a"], [], "another namespace")),
        (18, event("/", ["b"], [], "it was there")),
        (21, event("/", ["b"], [], "it had left")),
        (22, event("/", [], ["a"], "all but a")),
        (23, b"\x00\xc1 not understood"),
        (24, bytes([wire.IS_MESSAGE]) + encode_ephemeral(Message(3, binary, "w", "/"))),
        (25, event("/", [], [], "all")),
        (26, wire.encode_kept(7, event("/", ["a"], [], "in the history"))),
        (27, wire.encode_kept(7, event("/", ["c"], [], "in that of another room"))),
    ]
    missed: Any = missed_frames(adapter(), kept(), 15, found)
    expected = [(16, "one"), (18, "it was there"), (24, ["bytes", b"\x00"]), (25, "all"), (26, "in the history")]
    assert missed == expected
    assert missed_frames(adapter(), kept(), 15, None) is None


def test_what_comes_while_a_client_is_on_its_way_in_is_not_lost() -> None:
    """An event between the answer of the broker and the moment at which the client is in its rooms would be lost."""
    returning = Returning()
    returning.add(26, "text", lambda: Packet(2, "/", []), ["a"], (), True)
    returning.add(27, None, Packet(2, "/", ["n"]), None, (), True)
    returning.add(28, "no", lambda: Packet(2, "/", []), ["other"], (), True)
    frames: Any = returning.frames(adapter(), kept(), 15)
    assert frames == [(26, "text"), (27, ["n"])]
