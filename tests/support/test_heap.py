"""The objects of the tests: one test that has them looked through slows down none but its own module."""

from __future__ import annotations

import gc
import weakref

from tests.support import heap


class Cycle:
    """Garbage once nobody knows it."""

    def __init__(self) -> None:
        self.me = self


def test_what_a_server_has_taken_in_is_left_out_again() -> None:
    """Every test that collects garbage would look through all tests, each time."""
    made = [[number] for number in range(200_000)]
    gc.unfreeze()
    gc.collect()
    assert heap.is_taken_in()
    heap.leave_out()
    assert not heap.is_taken_in()
    assert gc.get_freeze_count() > len(made)


def test_garbage_is_not_left_out() -> None:
    """What a test has left behind would stay, and its warning be heard of by nobody."""
    gone = weakref.ref(Cycle())
    heap.leave_out()
    assert gone() is None
