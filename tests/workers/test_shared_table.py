"""What workers see of one another without asking."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from rtframework.workers.shared_table import SLOTS, SharedTable, SlotState, bucket_of, make_file


@pytest.fixture
def tables() -> Iterator[tuple[SharedTable, SharedTable]]:
    """The memory of two processes."""
    fd = make_file()
    ours, theirs = SharedTable(fd), SharedTable(fd)
    os.close(fd)
    yield ours, theirs
    ours.close()
    theirs.close()


def test_what_one_process_writes_the_others_read(tables: tuple[SharedTable, SharedTable]) -> None:
    """Else a request would go to a worker that has gone, or nobody would be found for a handshake."""
    ours, theirs = tables
    assert theirs.workers() == []
    ours.set_state(3, SlotState.SERVING)
    ours.set_state(SLOTS - 1, SlotState.DRAINING)
    ours.set_clients(3, 70_000)
    assert theirs.workers() == [3, SLOTS - 1]
    assert theirs.workers(SlotState.SERVING) == [3]
    assert theirs.state(SLOTS - 1) is SlotState.DRAINING
    assert theirs.clients(3) == 70_000


def test_a_room_counts_until_all_that_share_its_bucket_are_gone(tables: tuple[SharedTable, SharedTable]) -> None:
    """Else the end of one room would cut off another that has the same hash."""
    ours, theirs = tables
    bucket = bucket_of("/", "lobby")
    ours.add(0, bucket)
    ours.add(0, bucket)
    ours.remove(0, bucket)
    assert theirs.has(0, [bucket_of("/", "other"), bucket])
    ours.remove(0, bucket)
    assert not theirs.has(0, [bucket])
    assert not theirs.has(1, [bucket])


def test_a_worker_that_has_died_leaves_nothing(tables: tuple[SharedTable, SharedTable]) -> None:
    """Else its successor would be sent everything for rooms that only the dead one had."""
    ours, theirs = tables
    bucket = bucket_of("/", "lobby")
    for slot in (4, 5):
        ours.set_state(slot, SlotState.SERVING)
        ours.set_clients(slot, 9)
        ours.add(slot, bucket)
    theirs.clear(4)
    assert (ours.state(4), ours.clients(4), ours.has(4, [bucket])) == (SlotState.EMPTY, 0, False)
    assert (ours.state(5), ours.clients(5), ours.has(5, [bucket])) == (SlotState.SERVING, 9, True)


@pytest.mark.parametrize("room", ["lobby", "", "é", "\ud800"])
def test_a_room_is_another_in_each_namespace(room: str) -> None:
    """Else a message to a room would reach workers that have one of its name in another namespace alone."""
    assert bucket_of("/", room) != bucket_of("/chat", room)
    assert bucket_of("/", room) != bucket_of("/")


def test_connections_that_were_taken_are_counted_beyond_the_end_of_a_worker(
    tables: tuple[SharedTable, SharedTable],
) -> None:
    """A connection would be served twice, or never."""
    ours, theirs = tables
    for sender in (-1, 0, SLOTS - 1):
        ours.add_taken(sender, 0)
        ours.add_taken(sender, SLOTS - 1)
    ours.add_taken(5, 7)
    ours.clear(7)
    ours.add_taken(5, 7)
    assert theirs.taken(5, 7) == 2
    assert theirs.taken(7, 5) == 0
    assert [theirs.taken(sender, slot) for sender in (-1, 0, SLOTS - 1) for slot in (0, SLOTS - 1)] == [1] * 6
    assert not any(theirs.rooms(SLOTS - 1))
