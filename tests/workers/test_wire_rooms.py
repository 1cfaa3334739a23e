"""The frames about rooms."""

from __future__ import annotations

import msgspec
import pytest

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
