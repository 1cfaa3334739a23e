"""Listeners for what happens to requests."""

from __future__ import annotations

import logging

import pytest

from rtframework.engine.http.listeners import EVENTS, Listeners


async def test_listeners_are_told_in_order() -> None:
    """A listener that adds to what another has done would find nothing."""
    listeners = Listeners()
    heard: list[object] = []

    async def later(value: int) -> None:
        heard.append(("later", value))

    listeners.add("headers", lambda value: heard.append(("at once", value)))
    listeners.add("headers", later)
    await listeners.tell("headers", 1)
    assert heard == [("at once", 1), ("later", 1)]


async def test_a_listener_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A mistake in a log line would refuse every client."""
    listeners = Listeners()
    heard: list[int] = []
    listeners.add("connection_error", lambda value: 1 / 0)
    listeners.add("connection_error", heard.append)
    await listeners.tell("connection_error", 7)
    assert heard == [7]
    (record,) = caplog.records
    assert (record.levelno, record.exc_info is not None) == (logging.ERROR, True)


def test_who_listens_can_be_asked() -> None:
    """Every request would pay for listeners that nobody has."""
    listeners = Listeners()
    assert not listeners.has(*EVENTS)
    listeners.add("headers", print)
    assert listeners.has("initial_headers", "headers")
    assert not listeners.has("connection_error")
