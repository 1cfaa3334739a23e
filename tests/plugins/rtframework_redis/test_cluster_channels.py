"""Channels in a Redis Cluster: where they are, and where they go."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from redis.crc import key_slot

from rtframework import ClusterUnavailable, Server
from rtframework_redis import RedisPubSub
from rtframework_redis.address import Address
from rtframework_redis.channels import CountingChannels
from rtframework_redis.cluster_channels import ClusterChannels
from rtframework_redis.errors import LinkRefused, ReplyError
from rtframework_redis.handshake import connect
from rtframework_redis.link import Link
from rtframework_redis.topology import ClusterTopology
from tests.plugins.rtframework_redis.conftest import RedisServer, free_port
from tests.support.server import RunningServer
from tests.support.until import until

Redis = Callable[..., Awaitable[RedisServer]]

HALF = 8191
LOW, HIGH = b"b", b"a"
"""Names in the lower and in the upper half of the slots."""


class Nodes:
    """Masters of a Redis Cluster, and connections to them."""

    def __init__(self) -> None:
        self.servers: list[RedisServer] = []
        self.links: list[Link] = []

    async def ok(self) -> None:
        """Wait until the nodes agree."""
        async with asyncio.timeout(20):
            for link in self.links:
                while b"cluster_state:ok" not in await link.send("CLUSTER", "INFO"):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)

    async def move(self, slot: int, to: int) -> None:
        """Move a slot without keys to a node, as resharding does."""
        id = (await self.links[to].send("CLUSTER", "MYID")).decode()
        for link in [self.links[to], *self.links]:
            await link.send("CLUSTER", "SETSLOT", slot, "NODE", id)


@contextlib.asynccontextmanager
async def nodes(redis_server: Redis) -> AsyncIterator[Nodes]:
    """Two masters: one with the lower half of the slots, one with the upper half."""
    found = Nodes()
    for _ in range(2):
        server = await redis_server("--cluster-enabled", "yes", "--cluster-node-timeout", "1000")
        found.servers.append(server)
        found.links.append(await connect(Address.from_url(server.url)))
    await found.links[0].send("CLUSTER", "ADDSLOTSRANGE", 0, HALF)
    await found.links[1].send("CLUSTER", "ADDSLOTSRANGE", HALF + 1, 16383)
    await found.links[0].send("CLUSTER", "MEET", "127.0.0.1", found.servers[1].port)
    await found.ok()
    try:
        yield found
    finally:
        for link in found.links:
            await link.close()


class Heard:
    """Channels in a cluster, and what they have told."""

    def __init__(self, port: int, *, sharded: bool = True, timeout: float = 5.0) -> None:
        self.messages: list[tuple[bytes, bytes]] = []
        self.gaps: list[float] = []

        def topology() -> ClusterTopology:
            return ClusterTopology([("127.0.0.1", port)])

        options: dict[str, Any] = {
            "probe": b"probe#",
            "timeout": timeout,
            "max_pending": 1_000_000,
            "on_message": lambda channel, payload, by_pattern: self.messages.append((channel, payload)),
            "on_gap": lambda since, channels: self.gaps.append(since),
            "on_state": lambda: None,
        }
        self.channels: Any = (
            ClusterChannels(topology(), **options)
            if sharded
            else CountingChannels(topology(), topology, sharded=False, key=b"", **options)
        )


@contextlib.asynccontextmanager
async def listening(port: int, *names: bytes, sharded: bool = True, timeout: float = 5.0) -> AsyncIterator[Heard]:
    """Channels that are connected and subscribed."""
    heard = Heard(port, sharded=sharded, timeout=timeout)
    heard.channels.subscribe("SSUBSCRIBE" if sharded else "SUBSCRIBE", *names)
    try:
        await heard.channels.start(5)
        yield heard
    finally:
        await heard.channels.close()


def test_the_names_are_in_both_halves() -> None:
    """The tests below would say nothing."""
    assert key_slot(LOW) <= HALF < key_slot(HIGH)


async def test_channels_are_where_their_slots_are(redis_server: Redis) -> None:
    """Servers would subscribe where nobody publishes, and count nobody."""
    async with nodes(redis_server) as found:
        port = found.servers[0].port
        async with listening(port, LOW, HIGH) as one, listening(port, LOW, HIGH) as two:
            for each in (LOW, HIGH):
                assert await one.channels.count(each) == 2
                await one.channels.publish(each, b"1")
                one.channels.post(each, b"2")
                await until(lambda: len([m for m in two.messages if m[0] == each]) == 2)  # noqa: B023
            assert one.channels.is_up
            one.channels.drop(LOW)
            async with asyncio.timeout(5):
                while await two.channels.count(LOW) != 1:  # noqa: ASYNC110 - no event tells it
                    await asyncio.sleep(0.01)
            assert (one.gaps, two.gaps) == ([], [])


async def test_a_cluster_that_comes_later_is_waited_for(redis_server: Redis) -> None:
    """Servers that start together with a Redis Cluster would fail, and have to be started again."""
    server = await redis_server("--cluster-enabled", "yes")
    link = await connect(Address.from_url(server.url))
    heard = Heard(server.port, sharded=True, timeout=5)
    try:
        starting = asyncio.create_task(heard.channels.start(10))
        await until(lambda: "no node has any slot" in heard.channels.problem)
        await link.send("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        await starting
        assert heard.channels.is_up
    finally:
        await heard.channels.close()
        await link.close()


async def test_channels_move_with_their_slots(redis_server: Redis) -> None:
    """Whoever adds a node would cut servers off, and not know it."""
    async with nodes(redis_server) as found:
        port = found.servers[0].port
        async with listening(port, LOW, HIGH) as one, listening(port) as other:
            await found.move(key_slot(LOW), to=1)
            await until(lambda: len(one.gaps) >= 1)
            await until(lambda: one.channels.is_up)
            assert await one.channels.count(LOW) == 1
            await other.channels.publish(LOW, b"1")
            await until(lambda: one.messages == [(LOW, b"1")])
            await found.move(key_slot(LOW), to=0)
            later = asyncio.ensure_future(other.channels.publish(LOW, b"2"))
            await until(lambda: len(one.gaps) >= 2)
            await later
            waiting = one.channels.subscribe("SSUBSCRIBE", LOW)
            if waiting is not None:
                await waiting
            await other.channels.publish(LOW, b"3")
            await until(lambda: one.messages[-1:] == [(LOW, b"3")])
            assert not other.gaps  # it listens to nothing that has moved


async def test_the_channels_of_a_node_that_has_died_move_to_another(redis_server: Redis) -> None:
    """A failover would leave servers deaf."""
    async with nodes(redis_server) as found, listening(found.servers[0].port, LOW, HIGH) as one:
        await found.servers[1].kill()
        await until(lambda: not one.channels.is_up)
        publishing = asyncio.ensure_future(one.channels.publish(HIGH, b"1"))
        link = found.links[0]
        for slot in range(HALF + 1, 16384):
            link.send("CLUSTER", "DELSLOTS", slot)
        await link.send("CLUSTER", "ADDSLOTSRANGE", HALF + 1, 16383)
        await publishing
        await until(lambda: len(one.gaps) >= 1)
        await one.channels.publish(HIGH, b"2")
        await until(lambda: one.messages[-1:] == [(HIGH, b"2")])
        await until(lambda: one.channels.is_up)
        assert list(one.channels._shards) == [("127.0.0.1", found.servers[0].port)]


async def test_a_slot_that_nobody_has_is_told(redis_server: Redis) -> None:
    """A program would wait for ever, or take a message for published."""
    server = await redis_server("--cluster-enabled", "yes", "--cluster-require-full-coverage", "no")
    link = await connect(Address.from_url(server.url))
    await link.send("CLUSTER", "ADDSLOTSRANGE", 0, HALF)
    async with listening(server.port, timeout=0.3) as one:
        waiting = one.channels.subscribe("SSUBSCRIBE", HIGH)
        with pytest.raises(ClusterUnavailable, match="slot"):
            await waiting
        assert not one.channels.is_up
        assert "have no node" in one.channels.problem
        with pytest.raises(ClusterUnavailable, match="no node"):
            await one.channels.publish(HIGH, b"1")
        with pytest.raises(ClusterUnavailable, match="slot"):
            await one.channels.count(HIGH)
        one.channels.post(HIGH, b"1")
        await link.send("CLUSTER", "ADDSLOTSRANGE", HALF + 1, 16383)
        await until(lambda: one.channels.is_up)
        await one.channels.publish(HIGH, b"2")
        await until(lambda: one.messages == [(HIGH, b"2")])
        one.channels.leave(HIGH)
    await link.close()


async def test_a_cluster_that_cannot_be_reached() -> None:
    """An application would start, and be alone."""
    heard = Heard(free_port())
    with pytest.raises(LinkRefused, match="127"):
        await heard.channels.start(0.5)
    assert not heard.channels.is_up
    await heard.channels.close()


async def test_ordinary_channels_are_counted_at_all_nodes(redis_server: Redis) -> None:
    """Servers that have subscribed at another node would not be asked."""
    async with nodes(redis_server) as found, listening(found.servers[0].port, b"a", sharded=False) as one:
        elsewhere = [await connect(Address.from_url(server.url), on_push=lambda push: None) for server in found.servers]
        for link in elsewhere:
            await link.subscribe("SUBSCRIBE", b"a")
        assert await one.channels.count(b"a") == 3
        await found.links[1].send("PUBLISH", "a", "1")
        await until(lambda: one.messages == [(b"a", b"1")])
        for link in elsewhere:
            await link.close()


async def test_a_connection_for_a_key_follows_its_slot(redis_server: Redis) -> None:
    """A server would lose its name for good when the slot of the leases has moved."""
    async with nodes(redis_server) as found, listening(found.servers[0].port, LOW) as one:
        connection = one.channels.connection(LOW)
        assert await connection.send("GET", LOW) is None
        before = await connection.link()
        await found.move(key_slot(LOW), 1)
        with pytest.raises(ReplyError):
            await connection.send("GET", LOW)
        async with asyncio.timeout(10):
            while (link := await connection.link()) is before:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert await link.send("GET", LOW) is None


@pytest.mark.parametrize("sharded", [False, True])
async def test_servers_of_a_redis_cluster_have_names(redis_server: Redis, sharded: bool) -> None:
    """Leases would be refused by a node that has not their slot, or servers counted at one node alone."""
    async with nodes(redis_server) as found, contextlib.AsyncExitStack() as stack:
        url = f"redis+cluster://127.0.0.1:{found.servers[0].port}"
        started = [Server(adapter=RedisPubSub(url, name=name, sharded=sharded)) for name in ("one", "two")]
        for io in started:
            running = RunningServer(io)
            await running.start()
            stack.push_async_callback(running.stop)
        assert [each.name for each in await started[0].cluster.nodes()] == ["one", "two"]
        assert dict(await started[0].server_side_emit_with_ack("who?", timeout=5)) == {"two": None}
