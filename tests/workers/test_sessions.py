"""Sessions between workers."""

from __future__ import annotations

import pytest

from rtframework.adapters.packet_log import Attendance
from rtframework.exceptions import EncodeError
from rtframework.protocols import Session
from rtframework.workers.sessions import encode_change, encode_session, read_session, was_for


def test_a_session_comes_as_it_was_written_with_its_changes() -> None:
    """A client would come back without its data, or into rooms that it has left."""
    attendance = Attendance(5)
    attendance.join(["s", "a"], 5)
    session = Session(
        "s", "p", frozenset(["s", "a"]), {"n": b"\x00", "d": {"é": None}}, identity=["u", 1], replaced=True
    )
    value = encode_session(session, attendance, "w1", has_left=False)
    changes = [encode_change(True, ["b"], 7), encode_change(False, ["a"], 9)]
    kept = read_session("p", 3, value, changes)
    assert kept.version == 3
    assert kept.session.rooms == {"s", "b"}
    assert kept.session.data == {"n": b"\x00", "d": {"é": None}}
    assert (kept.session.identity, kept.session.replaced, kept.session.origin) == (["u", 1], True, "w1")
    assert kept.attendance.since == {"s": 5, "b": 7}
    assert list(kept.attendance.past) == [("a", 5, 9)]
    assert kept.session.left_at is None
    assert read_session("p", 1, encode_session(session, attendance, "w1", has_left=True), ()).session.left_at


def test_an_identity_that_cannot_be_read_back_is_refused() -> None:
    """Another user could get the session, or nobody."""
    with pytest.raises(EncodeError):
        encode_session(Session("s", "p", frozenset(), {}, identity=("tuple",)), Attendance(0), "w", has_left=False)


def test_a_message_is_for_who_was_in_the_room() -> None:
    """Who comes back would read what was said before it had joined."""
    attendance = Attendance(0)
    attendance.join(["a"], 5)
    assert was_for(attendance, ["a"], [], 6, 0)
    assert not was_for(attendance, ["a"], [], 5, 0)
    assert not was_for(attendance, ["a"], [], 6, 6)
    assert not was_for(attendance, ["b"], [], 6, 0)
    assert was_for(attendance, None, ["b"], 6, 0)
    assert not was_for(attendance, None, ["a"], 6, 0)
    assert was_for(attendance, None, ["a"], 3, 0)
