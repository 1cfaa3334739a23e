"""The books on clusters: a ledger that counts wrong would prove anything."""

from __future__ import annotations

import pytest

from tests.support.cluster.ledger import Ledger


def books(*numbers: int, emitted: int = 4, raised: tuple[int, ...] = (), uncertain: tuple[int, ...] = ()) -> Ledger:
    """Enter four emits, a second apart, and what one client got, each half a second after its emit."""
    ledger = Ledger()
    ledger.flood("a", [float(number) for number in range(emitted)], raised=raised, uncertain=uncertain)
    ledger.client("c")
    for number in numbers:
        ledger.deliver("c", "a", number, at=number + 0.5)
    return ledger


def test_nothing_is_wrong_when_everything_came_once() -> None:
    """Every run would be called a failure."""
    result = books(0, 1, 2, 3).result()
    assert result.is_clean
    assert (result.emitted, result.expected, result.lost) == (4, 4, 0)
    assert result.longest_wait == 0.5


def test_a_loss_is_unsignalled_unless_a_gap_covers_it() -> None:
    """Losses that nobody was told of would look like those that were told."""
    ledger = books(0, 3)
    assert ledger.missing("c") == [("a", 1), ("a", 2)]
    result = ledger.result()
    assert (result.lost, result.unsignalled, result.is_clean) == (2, 2, False)
    ledger.gap(0.9, 1.1)
    assert ledger.result().unsignalled == 1
    ledger.gap(2, 2, clients=["another"])
    assert ledger.result().unsignalled == 1
    ledger.gap(2, 2, clients=["c"])
    result = ledger.result()
    assert (result.lost, result.unsignalled, result.is_clean) == (2, 0, True)


def test_doubles_count_each_time() -> None:
    """A message that comes three times would look like one that comes twice."""
    result = books(0, 1, 1, 1, 2, 3).result()
    assert (result.doubled, result.reordered, result.lost) == (2, 0, 0)
    assert not result.is_clean


def test_order_is_that_of_each_origin() -> None:
    """Messages of two servers may cross; those of one may not."""
    ledger = books(0, 2, 1, 3)
    ledger.flood("b", [0.0, 1.0])
    ledger.deliver("c", "b", 0, at=9.0)
    ledger.deliver("c", "b", 1, at=9.0)
    result = ledger.result()
    assert (result.reordered, result.is_clean) == (1, False)
    assert result.longest_wait == 9.0


def test_clients_disagree_when_origins_cross() -> None:
    """Two clients of one room would see a conversation in different orders."""
    ledger = books(0, 1, emitted=2)
    ledger.flood("b", [0.0])
    ledger.client("d")
    ledger.deliver("c", "b", 0, at=2.0)
    for origin, number in (("a", 0), ("b", 0), ("a", 1)):
        ledger.deliver("d", origin, number, at=2.0)
    result = ledger.result()
    assert (result.disagreeing, result.is_clean) == (1, True)


def test_an_emit_that_raised_is_owed_to_nobody() -> None:
    """A refused emit would count as lost, and one that came all the same as right."""
    assert books(0, 1, 3, raised=(2,)).result().is_clean
    result = books(0, 1, 2, 3, raised=(2,)).result()
    assert (result.contradicted, result.raised, result.is_clean) == (1, 1, False)


def test_of_an_emit_that_is_uncertain_both_is_right() -> None:
    """What nobody can know would look like a fault, whichever way it went."""
    for numbers in ((0, 1, 3), (0, 1, 2, 3)):
        ledger = books(*numbers, raised=(2,), uncertain=(2,))
        assert ledger.result().is_clean
        assert ledger.result().raised == 1


def test_rooms_select() -> None:
    """What a client must not get would pass for what it must."""
    ledger = Ledger()
    ledger.client("red", rooms=["red"])
    ledger.client("both", rooms=["red", "blue"])
    ledger.emit("a", 0, at=1, rooms=["red"], excluded=["blue"])
    ledger.emit("a", 1, at=2, excluded=["red"])
    assert ledger.missing("red") == [("a", 0)]
    assert ledger.missing("both") == []
    ledger.deliver("red", "a", 0, at=1)
    ledger.deliver("both", "a", 0, at=1)
    ledger.deliver("both", "unknown", 7, at=1)
    result = ledger.result()
    assert (result.stray, result.lost, result.expected) == (2, 0, 1)


def test_only_those_who_were_there_are_owed() -> None:
    """A client that came late would seem to have lost everything."""
    ledger = books(emitted=4)
    ledger.client("late", since=1.5, until=2.5)
    assert ledger.missing("late") == [("a", 2)]


def test_offsets_that_go_backwards() -> None:
    """The next recovery would replay what the client has; numbers are compared as numbers."""
    ledger = books(emitted=4)
    for number, offset in enumerate(("9-9", "10-1", "10-0", "10-2")):
        ledger.deliver("c", "a", number, at=number, offset=offset)
    result = ledger.result()
    assert (result.backwards, result.is_clean) == (1, True)
    assert "1 offsets backwards" in str(result)


def test_entering_twice_is_an_error() -> None:
    """A scenario with two floods of one name would count half of the losses."""
    ledger = books()
    with pytest.raises(ValueError, match="emitted already"):
        ledger.emit("a", 0, at=0)
    with pytest.raises(ValueError, match="entered already"):
        ledger.client("c")
