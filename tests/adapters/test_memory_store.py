"""Values in memory: how long they are kept, how many, and what becomes of the oldest."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rtframework import ConfigurationError, MemoryStore
from rtframework.adapters.memory_store import ValueTable
from rtframework.protocols import KeyValueStore
from rtframework.testing import KeyValueStoreConformance


class TestConformance(KeyValueStoreConformance):
    """The store of a server that is alone."""

    @contextlib.asynccontextmanager
    async def stores(self) -> AsyncIterator[tuple[KeyValueStore, KeyValueStore]]:
        """Make one."""
        store = MemoryStore()
        yield store, store


class Clock:
    """A time that the test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def table(clock: Clock, **bounds: int) -> ValueTable:
    """A table with room for much."""
    return ValueTable(**{"max_values": 1000, "max_bytes": 1_000_000, **bounds}, clock=clock)


def test_values_whose_time_is_over_leave_the_memory() -> None:
    """A server that runs for months would keep each value that it has ever had."""
    clock = Clock()
    values = table(clock)
    for number in range(100):
        clock.now = float(number)
        values.set(f"short {number}", b"1", 10)
        values.set(f"long {number}", b"1", 50)
    assert len(values) == 10 + 50
    clock.now = 1000.0
    assert values.get("long 99") is None
    values.set("last", b"1", 10)
    assert len(values) == 1
    assert values.remove("last")
    assert (len(values), values.size, values.discarded) == (0, 0, 0)
    assert not values._queues


@pytest.mark.usefixtures("throttled")
def test_the_oldest_go_first(caplog: pytest.LogCaptureFixture) -> None:
    """A busy server would use all memory; and nobody learn that values are lost before their time."""
    clock = Clock()
    values = table(clock, max_values=5)
    values.set("rare", b"1", 99)
    for number in range(10):
        values.set(str(number), b"1", 10)
    assert len(values) == 5
    assert values.discarded == 6
    assert values.get("rare") == b"1"
    assert [values.get(str(number)) for number in range(5, 10)] == [None, *[b"1"] * 4]
    assert "the store is full" in caplog.text


def test_large_values_take_the_place_of_many() -> None:
    """A few large answers would take more memory than was allowed."""
    values = table(Clock(), max_bytes=10_000)
    for number in range(20):
        values.set(str(number), b"x" * 800, 10)
    assert values.size <= 10_000
    assert values.get("19") is not None
    values.set("large", b"x" * 20_000, 10)
    assert len(values) == 1


@pytest.mark.parametrize("name", ["max_values", "max_bytes"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "many", None])
def test_bounds_are_whole_numbers(name: str, value: Any) -> None:
    """A mistake in an option would show when the memory is full."""
    with pytest.raises(ConfigurationError, match=name):
        MemoryStore(**{name: value})
