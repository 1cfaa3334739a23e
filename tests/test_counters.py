"""The counters of a server: what is rare, under names that are bounded."""

from __future__ import annotations

from rtframework.counters import MOST, OTHER, Counters, add


def test_names_that_a_program_makes_up_are_bounded() -> None:
    """A code with an id in it would be a series of its own for each id, until memory is full."""
    counts = Counters()
    for number in range(MOST * 2):
        add(counts.events_refused, f"no such order: {number}")
    assert len(counts.events_refused) == MOST + 1
    assert sum(counts.events_refused.values()) == MOST * 2
    assert counts.events_refused[OTHER] > MOST // 2
