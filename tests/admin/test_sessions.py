"""How long who has logged in may come back."""

from __future__ import annotations

from rtframework.admin.sessions import LIFETIME, MAX_SESSIONS, Sessions


class Clock:
    """A time that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_sessions_end() -> None:
    """Somebody who has once logged in could come back for ever, whatever happened to the password."""
    clock = Clock()
    sessions = Sessions(clock)
    one = sessions.new()
    assert one in sessions
    assert one[:-1] not in sessions
    for wrong in (None, "", 5, [one], "x" * 10_000, "\ud800"):
        assert wrong not in sessions
    clock.now += LIFETIME
    assert one not in sessions
    assert not sessions._ends


def test_sessions_are_bounded() -> None:
    """Logins in a loop would fill the memory."""
    sessions = Sessions(Clock())
    first = sessions.new()
    ids = [sessions.new() for _ in range(MAX_SESSIONS)]
    assert len(set(ids)) == MAX_SESSIONS
    assert first not in sessions
    assert all(each in sessions for each in ids)
