"""The frames about rooms."""

from __future__ import annotations

import msgspec
import pytest

from rtframework.types import KeptRoom
from rtframework.workers import wire, wire_rooms


def test_structs_there_and_back() -> None:
    """A worker and its broker would not understand each other."""
    enter = wire_rooms.EnterPresence(1, "/", "r\0é", "s", "u", '{"a":1}', 0.5, 1, b"\x00join", b"leave")
    frame = wire_rooms.frame_of(enter)
    (found,) = wire.FrameReader().feed(frame)
    assert found[0] == wire.ROOMS
    assert wire_rooms.read_by_broker(found) == enter
    answer = wire_rooms.PresenceList(2, [("u", "null", 0, 1.5)])
    read = wire_rooms.read_by_worker(wire_rooms.frame_of(answer)[4:])
    assert (read.request, read.found) == (2, [("u", "null", 0, 1.5)])
    with pytest.raises(msgspec.ValidationError):
        wire_rooms.read_by_worker(found)


def test_what_is_kept_of_a_message_is_in_front_of_it() -> None:
    """The broker would keep an event in another room, or send to others what is for itself."""
    rooms = [KeptRoom("r\0é", 500), KeptRoom("s", 1, 0.5)]
    payload = wire.encode_kept(1_700_000_000_123, b"payload")
    for buckets in ((), (7,), (1, 65_535)):
        frame = wire_rooms.publish_kept(wire.KEEP | wire.READ_BACK, buckets, "/a", rooms, payload)
        (found,) = wire.FrameReader().feed(frame)
        assert found[0] == wire.KEPT
        key, kept_by, message = wire_rooms.read_kept(found)
        assert (key, kept_by) == ("/a", rooms)
        assert message == wire.publish(wire.KEEP | wire.READ_BACK, buckets, payload)[4:]
    assert wire.kept_at(payload) == 1_700_000_000_123
