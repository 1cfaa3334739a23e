"""Values that outlive the worker that has written them."""

from __future__ import annotations

import asyncio

import pytest

from rtframework import ClusterUnavailable
from rtframework.workers.group import join
from rtframework.workers.last_values import LastValues
from tests.support.until import until
from tests.support.workers import running_broker


async def test_the_value_of_a_worker_that_was_killed_is_there() -> None:
    """Counters would fall whenever a worker dies, and a graph of their growth show a peak that never was."""
    async with running_broker() as broker, await join(broker.directory) as here:
        mine = LastValues(here, "metrics")
        other = await join(broker.directory, name="other")
        theirs = LastValues(other, "metrics")
        theirs.write(b"old")
        theirs.write(b"new")
        assert await theirs.of_worker("other") == b"new"
        assert await mine.of_worker("other") == b"new"
        assert await mine.of_worker("nobody") is None
        assert await mine.of_those_gone() == []
        other.crash()
        await other.leave()
        await until(lambda: not here.members)
        (found,) = await mine.of_those_gone()
        assert found.value == b"new"
        assert await LastValues(here, "another topic").of_those_gone() == []


async def test_many_become_one() -> None:
    """A server that is replaced each hour would keep the values of all workers that it ever had."""
    async with running_broker() as broker, await join(broker.directory) as here:
        for number in range(3):
            async with await join(broker.directory, name=str(number)) as other:
                LastValues(other, "metrics").write(bytes([number]))
                await LastValues(other, "metrics").of_worker(str(number))  # it has arrived
        await until(lambda: not here.members)
        values = LastValues(here, "metrics")
        found = await values.of_those_gone()
        assert sorted(each.value for each in found) == [b"\x00", b"\x01", b"\x02"]
        await asyncio.gather(values.replace(found, b"all"), values.replace(found, b"all"))
        assert [each.value for each in await values.of_those_gone()] == [b"all"]


async def test_without_a_broker() -> None:
    """A scrape while the server ends would fail, or wait."""
    async with running_broker() as broker:
        group = await join(broker.directory)
        values = LastValues(group, "metrics")
    await until(lambda: not group.up)
    values.write(b"lost")
    with pytest.raises(ClusterUnavailable):
        await values.of_those_gone()
    await group.leave()
