"""Reading a stream: every entry once and in order, and a gap where one is missing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from rtframework.cluster.cursor import Gap
from rtframework_redis.keeper import Keeper
from rtframework_redis.link import Link
from rtframework_redis.stream_reader import StreamReader, run_id_of
from rtframework_redis.topology import make_topology
from tests.plugins.rtframework_redis.conftest import RedisServer
from tests.support.cluster.proxy import running_network
from tests.support.until import until

Start = Callable[..., Awaitable[RedisServer]]


class Reading:
    """A reader, what it has read, and a connection beside it."""

    def __init__(self, redis: RedisServer, url: str | None = None) -> None:
        self.values: list[bytes] = []
        self.gaps: list[tuple[Gap, str | None]] = []
        self.states: list[bool] = []
        self.reader = StreamReader(
            make_topology(url or redis.url),
            "s",
            uid="0123456789abcdef",
            max_len=1000,
            count=3,
            take=self._take,
            on_gap=lambda gap, first: self.gaps.append((gap, first)),
            on_state=lambda: self.states.append(self.reader.is_reading),
        )
        self.keeper = Keeper(make_topology(redis.url))
        self.link: Link

    def _take(self, id: str, fields: Sequence[bytes]) -> None:
        assert id == self.reader.at
        if fields[0] == b"n":
            self.values.append(fields[1])
            if fields[1] == b"bad":
                raise RuntimeError("an entry that cannot be handled")

    async def link_in_use(self) -> Link:
        """Wait until entries are read from a connection that is up."""
        await until(lambda: self.reader.is_reading and self.reader.keeper.link is not None)
        link = self.reader.keeper.link
        assert link is not None
        return link

    async def add(self, *values: object) -> None:
        """Add entries."""
        await asyncio.gather(*(self.link.send("XADD", "s", "*", "n", str(each)) for each in values))


@contextlib.asynccontextmanager
async def reading(redis: RedisServer, *before: object, url: str | None = None) -> AsyncIterator[Reading]:
    """Read a stream that has some entries already; ``url``: by way of a proxy."""
    it = Reading(redis, url)
    it.keeper.start()
    it.link = await it.keeper.up(5)
    await it.add(*before)
    await it.reader.start(5)
    try:
        yield it
    finally:
        await it.reader.close()
        await it.keeper.close()


async def test_entries_are_read_once_from_the_end_on(redis_server: Start) -> None:
    """A server that starts would deliver what others have had long ago, or miss what comes in the same moment."""
    async with reading(await redis_server(), "old") as it:
        await it.add(*range(10))
        await until(lambda: len(it.values) == 10)
        await it.add("bad", "after")
        await until(lambda: b"after" in it.values)
        assert it.values == [*(b"%d" % each for each in range(10)), b"bad", b"after"]
        assert it.gaps == []


async def test_an_empty_stream_gets_an_entry(redis_server: Start) -> None:
    """What is lost before the first entry was read could not be noticed."""
    async with reading(await redis_server()) as it:
        assert await it.link.send("XLEN", "s") == 1
        ((_, fields),) = await it.link.send("XRANGE", "s", "-", "+")
        assert fields[:6] == [b"uid", b"0123456789abcdef", b"nsp", b"/", b"type", b"2"]
        await it.add("first")
        await until(lambda: it.values == [b"first"])
    assert it.gaps == []


async def test_a_connection_that_ends_loses_nothing(redis_server: Start) -> None:
    """A firewall that ends connections would lose messages."""
    async with reading(await redis_server()) as it:
        for number in range(4):
            link = await it.link_in_use()
            await it.add(number)
            link.fail("cut")
        await it.link_in_use()
        await until(lambda: len(it.values) == 4)
        assert it.values == [b"0", b"1", b"2", b"3"]
        assert (it.gaps, it.states) == ([], [True, False, True, False, True, False, True, False, True])


async def test_a_stream_that_is_cut_under_a_slow_reader_is_a_gap(redis_server: Start) -> None:
    """Messages would be lost, and nobody would know."""
    redis = await redis_server()
    async with reading(redis) as it:
        await it.add("first")
        await until(lambda: it.values == [b"first"])
        seen = it.reader.at
        link = it.reader.keeper.link
        assert link is not None
        link.fail("away")
        await it.add(*range(5))
        await it.link.send("XTRIM", "s", "MAXLEN", 2)
        await until(lambda: it.values[-1] == b"4")
        assert it.values == [b"first", b"3", b"4"]
        ((gap, first),) = it.gaps
        assert (gap.kind, gap.since) == ("trimmed", seen)
        assert first is not None


@pytest.mark.parametrize("kept", [1, 3], ids=["one entry is left", "a whole batch is left"])
async def test_a_stream_that_is_cut_while_a_batch_is_on_its_way_is_a_gap(redis_server: Start, kept: int) -> None:
    """A server that was stopped for a while, or whose network was, would pass over what was cut off meanwhile."""
    redis = await redis_server()
    async with running_network(redis.port) as network, reading(redis, url=await network.url("reader")) as it:
        await it.add("first")
        await until(lambda: it.values == [b"first"])
        network["reader"].freeze()
        await it.add("read")
        await until(lambda: any(each.lines["to_server"].held for each in network["reader"].doing("XREAD")))
        await it.add(*range(10))
        await it.link.send("XTRIM", "s", "MAXLEN", kept)
        network["reader"].thaw()
        await until(lambda: it.values[-1] == b"9")
        assert it.values == [b"first", b"read", *(b"%d" % each for each in range(10 - kept, 10))]
        assert [gap.kind for gap, _ in it.gaps] == ["trimmed"]


async def test_another_history_is_read_from_its_beginning(redis_server: Start) -> None:
    """After a failover to an older copy, servers would wait for entries that never come."""
    redis = await redis_server()
    async with reading(redis) as it:
        await it.add("lost")
        await until(lambda: it.values == [b"lost"])
        before = await run_id_of(it.link)
        await redis.kill()
        await redis.start()
        it.link = await it.keeper.up(5)
        assert await run_id_of(it.link) != before
        await it.add("new")
        await until(lambda: it.values == [b"lost", b"new"])
        assert [gap.kind for gap, _ in it.gaps] == ["history"]


async def test_a_key_of_another_type_is_told(redis_server: Start) -> None:
    """A server would try again as fast as it can, for ever."""
    redis = await redis_server()
    async with reading(redis) as it:
        await it.link.send("DEL", "s")
        await it.link.send("SET", "s", "no stream")
        await until(lambda: it.reader.keeper.health.losses > 0)
        await it.link.send("DEL", "s")
        await it.add("well")
        await until(lambda: it.values == [b"well"])
