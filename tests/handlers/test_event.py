"""An event on its way, and what answers it."""

from __future__ import annotations

from rtframework.handlers.event import Event


def test_printing_an_event_gives_nothing_away() -> None:
    """Logged events would fill logs with what people wrote."""
    assert repr(Event("login", ["password"])) == "<Event 'login' with 1 argument(s)>"
