"""The counters of a server: what is rare, under names that are bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rtframework.counters import CLOSED, MOST, OTHER, Counters, add
from rtframework.types import DisconnectReason

TABLES = ("closed", "connects", "dropped", "events_refused", "recoveries", "requests_refused")


def test_names_that_a_program_makes_up_are_bounded() -> None:
    """A code with an id in it would be a series of its own for each id, until memory is full."""
    counts = Counters()
    for number in range(MOST * 2):
        add(counts.events_refused, f"no such order: {number}")
    assert len(counts.events_refused) == MOST + 1
    assert sum(counts.events_refused.values()) == MOST * 2
    assert counts.events_refused[OTHER] > MOST // 2


def test_everything_that_is_known_begins_with_zero() -> None:
    """A graph of a failure would begin with the first one, and an alarm on its rise never ring for it."""
    counts = Counters()
    assert (counts.opened, counts.upgrades) == (0, 0)
    for name in TABLES:
        table = getattr(counts, name)
        assert table, name
        assert set(table.values()) == {0}, name


def test_a_connection_ends_for_every_reason_but_leaving_a_namespace() -> None:
    """A reason that the engine knows would be missing from the table, or one that ends no connection be in it."""
    assert set(CLOSED) == {str(each) for each in DisconnectReason} - {"client namespace disconnect"}


def test_two_servers_count_for_themselves() -> None:
    """The clients of one server would show up in the figures of another in the same process."""
    one, other = Counters(), Counters()
    for name in TABLES:
        table = getattr(one, name)
        add(table, next(iter(table)))
    for name in TABLES:
        assert set(getattr(other, name).values()) == {0}, name


def test_a_name_that_has_its_place_keeps_it() -> None:
    """As soon as the table is full, the codes that were there first would not be counted any more."""
    table: dict[str, int] = {}
    for number in range(MOST):
        add(table, str(number))
    add(table, "one too many")
    add(table, "0", 5)
    assert (table["0"], table[OTHER], len(table)) == (6, 1, MOST + 1)


@given(st.lists(st.tuples(st.integers(0, MOST * 2), st.integers(1, 5)), max_size=MOST * 3))
def test_nothing_is_lost_in_the_sum(added: list[tuple[int, int]]) -> None:
    """The total of a table would be wrong, whatever the names are."""
    table: dict[str, int] = {}
    for name, count in added:
        add(table, str(name), count)
    assert sum(table.values()) == sum(count for _, count in added)
    assert len(table) <= MOST + 1
