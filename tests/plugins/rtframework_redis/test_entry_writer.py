"""Entries of a stream: in order, once, and an error where nobody has it."""

from __future__ import annotations

import asyncio

import pytest

from rtframework import ClusterUnavailable
from tests.plugins.rtframework_redis.conftest import Cluster, RedisServer
from tests.support.until import until

Found = tuple[Cluster, RedisServer]


async def test_emits_keep_their_order(cluster: Found) -> None:
    """A chat would be out of order."""
    servers, _ = cluster
    io, running, streams = await servers.server()
    client = await servers.clients.connect(running.url)
    await asyncio.gather(*(io.emit("n", number) for number in range(50)))
    assert await client.wait_for("n", 50) == [[number] for number in range(50)]
    assert (len(streams.writer.pending), streams.writer.pending.size) == (0, 0)


async def test_who_may_not_use_transactions_emits_all_the_same(cluster: Found) -> None:
    """Where an administrator allows few commands, each burst of events would be lost."""
    servers, _ = cluster
    io, running, streams = await servers.server()
    client = await servers.clients.connect(running.url)
    link = await streams.writer.link()
    await link.send("ACL", "SETUSER", "default", "-multi", "-exec")
    await asyncio.gather(*(io.emit("n", number) for number in range(600)))
    assert await client.wait_for("n", 600) == [[number] for number in range(600)]
    assert await link.send("XLEN", streams.stream) == 601  # with the one at the start


async def test_what_redis_refuses_raises_at_once(cluster: Found) -> None:
    """A full Redis would look like one that is slow."""
    servers, _ = cluster
    io, _, streams = await servers.server()
    link = await streams.writer.link()
    await link.send("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(ClusterUnavailable, match="OOM"):
        await io.emit("news")
    refused = await asyncio.gather(*(io.emit("news") for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in refused] == [ClusterUnavailable] * 3
    await link.send("CONFIG", "SET", "maxmemory", "0")
    await io.emit("news")


async def test_emitters_wait_when_too_much_is_pending(cluster: Found) -> None:
    """A slow Redis would fill the memory of every server."""
    servers, redis = cluster
    io, _, streams = await servers.server(max_pending=2000, publish_timeout=0.3)
    redis.freeze()
    emits = [asyncio.ensure_future(io.emit("n", "x" * 500)) for _ in range(20)]
    await until(lambda: sum(each.done() for each in emits) >= 15)
    assert streams.writer.pending.size <= 2000
    redis.thaw()
    outcomes = await asyncio.gather(*emits, return_exceptions=True)
    assert [type(each) for each in outcomes] == [ClusterUnavailable] * 20
    sent = [each.uncertain for each in outcomes if isinstance(each, ClusterUnavailable)]
    assert sent == [number < 2 for number in range(20)]  # what was not sent is nowhere, and says so
    await until(lambda: streams.writer.pending.size == 0)


async def test_an_emit_that_is_cancelled_keeps_no_room(cluster: Found) -> None:
    """Each emit with a time limit that has passed would take a part of the memory for ever."""
    servers, redis = cluster
    io, _, streams = await servers.server(max_pending=2000)
    redis.freeze()
    emits = [asyncio.ensure_future(io.emit("n", "x" * 500)) for _ in range(6)]
    await asyncio.sleep(0.01)
    for each in emits:
        each.cancel()
    redis.thaw()
    await asyncio.gather(*emits, return_exceptions=True)
    await io.emit("after")
    assert streams.writer.pending.size == 0


async def test_a_connection_that_ends_doubles_nothing(cluster: Found) -> None:
    """A message would come twice when a connection ends at the wrong moment."""
    servers, _ = cluster
    io, running, streams = await servers.server()
    client = await servers.clients.connect(running.url)
    emits = []
    for number in range(40):
        emits.append(asyncio.ensure_future(io.emit("n", number)))
        await asyncio.sleep(0.001)
        link = streams.writer.keeper.link
        if number % 10 == 5 and link is not None:
            link.fail("cut")
    await asyncio.gather(*emits)
    assert await client.wait_for("n", 40) == [[number] for number in range(40)]
