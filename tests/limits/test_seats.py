"""Places for a bounded number of each."""

from __future__ import annotations

from rtframework.limits.seats import Seats


def test_each_key_has_so_many_places() -> None:
    """A user would have more connections than allowed, or be kept out for good."""
    seats = Seats(2)
    assert [seats.take("ada", number) for number in range(3)] == [True, True, False]
    assert seats.take("bob", 3)
    seats.free(2)  # it got none
    assert not seats.take("ada", 2)
    seats.free(0)
    seats.free(0)
    assert seats.take("ada", 2)
    assert not seats.take("ada", 4)
    for number in range(5):
        seats.free(number)
    assert (len(seats), seats._count) == (0, {})
