"""Values with the broker of the workers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from rtframework import ClusterUnavailable
from rtframework.protocols import KeyValueStore
from rtframework.testing import KeyValueStoreConformance
from rtframework.workers.backbone import Workers
from rtframework.workers.group import Group, join
from rtframework.workers.store import WorkersStore
from tests.support.until import until
from tests.support.workers import WorkersBroker, running_broker


def store_of(group: Group, name: str = "", timeout: float = 5.0) -> WorkersStore:
    """The store of a worker."""
    return WorkersStore(lambda: group, lambda: name, timeout)


class TestConformance(KeyValueStoreConformance):
    """The stores of two workers."""

    @contextlib.asynccontextmanager
    async def stores(self) -> AsyncIterator[tuple[KeyValueStore, KeyValueStore]]:
        """Join twice."""
        async with (
            running_broker() as broker,
            await join(broker.directory, name="one") as one,
            await join(broker.directory, name="two") as two,
        ):
            yield store_of(one), store_of(two)


async def test_values_outlive_their_worker_and_are_those_of_a_server() -> None:
    """A worker that is replaced would take along what was served; or two servers of a process take each other's."""
    async with running_broker() as broker:
        async with await join(broker.directory, name="one") as one:
            await store_of(one, "/a").set("key", b"1", 60)
            assert await store_of(one, "/b").get("key") is None
        async with await join(broker.directory, name="two") as two:
            assert await store_of(two, "/a").get("key") == b"1"


async def test_a_broker_that_hangs_or_has_gone() -> None:
    """An event would wait for ever, and nobody hear of it."""
    broker = WorkersBroker()
    await broker.start()
    async with await join(broker.broker.directory, name="one") as group:
        store = store_of(group, timeout=0.05)
        await store.set("key", b"1", 60)
        await broker.freeze()
        with pytest.raises(ClusterUnavailable, match="did not answer"):
            await store.get("key")
        await broker.stop()
        await until(lambda: not group.up)
        with pytest.raises(ClusterUnavailable, match="gone"):
            await store.get("key")
    with pytest.raises(ClusterUnavailable):
        await Workers().store.get("key")


async def test_the_broker_keeps_a_bounded_number() -> None:
    """Workers could fill the memory of the process that keeps them all alive."""
    async with running_broker(max_values=3) as broker, await join(broker.directory) as group:
        store = store_of(group)
        for number in range(10):
            await store.set(str(number), b"1", 60)
        assert len(broker.values) == 3
        assert broker.values.discarded == 7
