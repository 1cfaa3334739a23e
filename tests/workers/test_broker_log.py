"""What the broker keeps for clients that may come back, and what it no longer has."""

from __future__ import annotations

from rtframework.workers.broker_log import BrokerLog


def log(packets: int = 100, size: int = 1_000_000, seconds: float = 10.0) -> BrokerLog:
    """A log with bounds."""
    found = BrokerLog()
    found.keep(seconds, packets, size)
    return found


def test_packets_of_several_rooms_come_once_and_in_order() -> None:
    """Who comes back would get an event twice because it was in two rooms."""
    it = log()
    for number, buckets in enumerate([(1,), (2,), (1, 2), (3,), (2,)], start=1):
        it.append(number, buckets, b"%d" % number, 0.0)
    assert it.read([(1, 0), (2, 0)]) == [(1, b"1"), (2, b"2"), (3, b"3"), (5, b"5")]
    assert it.read([(1, 1), (2, 3)]) == [(3, b"3"), (5, b"5")]
    assert it.read([(9, 0)]) == []


def test_only_those_are_refused_who_may_have_missed_something() -> None:
    """A busy room would cost the clients of quiet ones their recovery."""
    it = log(packets=2)
    it.append(1, (1,), b"a", 0.0)
    for number in range(2, 5):
        it.append(number, (2,), b"b", 0.0)
    assert it.read([(1, 0)]) is None
    assert it.read([(1, 1)]) == []
    assert it.read([(2, 1)]) is None
    assert it.read([(2, 2)]) == [(3, b"b"), (4, b"b")]
    assert it.read([(3, 0)]) == []


def test_packets_are_bounded_by_age_and_bytes() -> None:
    """The broker would grow until the machine has no memory left."""
    it = log(size=1000)
    for number in range(1, 20):
        it.append(number, (1,), b"x" * 100, 0.0)
    assert it.size <= 1000
    assert len(it) == 3
    it.trim(11.0)
    assert (len(it), it.size) == (0, 0)
    assert it.read([(1, 18)]) is None
    assert it.read([(1, 19)]) == []


def test_nothing_is_kept_before_somebody_wants_it() -> None:
    """Programs without recovery would pay for its memory."""
    it = BrokerLog()
    it.append(1, (1,), b"x", 0.0)
    assert len(it) == 0


def test_the_longest_wish_counts() -> None:
    """A server of the same process with a short recovery would shorten that of another."""
    it = log(seconds=10.0)
    it.keep(5.0, 1, 1)
    it.append(1, (1,), b"x", 0.0)
    it.trim(9.0)
    assert it.read([(1, 0)]) == [(1, b"x")]


def test_a_long_log_keeps_nearly_what_it_may() -> None:
    """A client would be refused though its packets were within the bounds, or the broker would outgrow them."""
    it = log(packets=6400, size=100_000_000, seconds=64.0)
    for number in range(1, 20_001):
        it.append(number, (number % 7, 7), b"x", 0.0)
        assert len(it) <= 6400
    assert len(it) >= 6400 - 200
    first = 20_001 - len(it)
    assert it.read([(7, first - 2)]) is None
    found = it.read([(7, first - 1)])
    assert found is not None
    assert [number for number, _ in found] == list(range(first, 20_001))
    found = it.read([(3, 19_900)])
    assert found is not None
    assert [number for number, _ in found] == [each for each in range(19_901, 20_001) if each % 7 == 3]


def test_the_last_packets_grow_old_too() -> None:
    """A group in which nothing is sent any more would keep its last packets for ever."""
    it = log(packets=6400, size=100_000_000, seconds=64.0)
    it.append(1, (1,), b"x", 0.0)
    it.trim(64.0)
    assert len(it) == 1
    it.trim(64.1)
    assert (len(it), it.size) == (0, 0)
    assert it.read([(1, 0)]) is None
