"""Events that a client of the command line has received."""

from __future__ import annotations

import dataclasses

import pytest

from rtframework.cli.received import Place, Received


def test_an_event_is_what_it_was() -> None:
    """What is printed could be another event than the one that came."""
    received = Received("a", [1], None)
    assert received == Received("a", [1], None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        received.event = "b"  # type: ignore[misc]


def test_a_place_is_the_beginning_at_first() -> None:
    """A first connection would ask for what it has missed."""
    assert Place() == Place(last_id="", retry=None)
