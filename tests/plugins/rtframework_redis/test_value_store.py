"""Values in Redis: what all servers see, replies that are lost, and Redis away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import pytest

from rtframework import ClusterUnavailable, Server
from rtframework.protocols import KeyValueStore
from rtframework.testing import KeyValueStoreConformance
from rtframework_redis import RedisPubSub, RedisStreams
from rtframework_redis.errors import LinkLost
from rtframework_redis.value_store import RedisStore
from tests.plugins.rtframework_redis.conftest import RedisServer
from tests.support.cluster.needs import needs
from tests.support.cluster.proxy import running_network
from tests.support.cluster.redis_fleets import running_cluster
from tests.support.cluster.redis_server import running_redis

pytestmark = needs("redis-server")

ADAPTERS: Final[list[Callable[..., Any]]] = [
    RedisStreams,
    RedisPubSub,
    lambda url, **options: RedisPubSub(url, sharded=True, **options),
]


@contextlib.asynccontextmanager
async def started(make: Callable[..., Any], url: str, **options: Any) -> AsyncIterator[KeyValueStore]:
    """The store of an adapter that is connected."""
    backbone = make(url, **options)
    Server(adapter=backbone)
    await backbone.start()
    try:
        yield backbone.store
    finally:
        await backbone.stop()


class OfAdapter(KeyValueStoreConformance):
    """The stores of two servers on one Redis."""

    make: Callable[..., Any]

    @contextlib.asynccontextmanager
    async def stores(self) -> AsyncIterator[tuple[KeyValueStore, KeyValueStore]]:
        """Start Redis, and connect twice."""
        make = type(self).make
        async with running_redis() as redis, started(make, redis.url) as one, started(make, redis.url) as two:
            yield one, two


class TestStreams(OfAdapter):
    """With the adapter of streams."""

    make = RedisStreams


class TestPubSub(OfAdapter):
    """With the adapter of Pub/Sub."""

    make = RedisPubSub


@pytest.mark.parametrize("make", ADAPTERS, ids=["streams", "classic", "sharded"])
async def test_on_a_redis_cluster(make: Callable[..., Any]) -> None:
    """The keys would be in slots that the adapter's connections do not reach."""
    async with running_cluster() as cluster:
        url = cluster.url.replace("redis://", "redis+cluster://")
        async with started(make, url) as one, started(make, url) as two:
            assert await one.add("key", b"1", 60) is None
            assert await two.add("key", b"2", 60) == b"1"
            assert await two.replace("key", b"1", b"2", 60)
            assert await one.get("key") == b"2"
            assert await one.remove("key", b"2")


@pytest.mark.parametrize("make", ADAPTERS[:2], ids=["streams", "pubsub"])
async def test_replies_that_are_lost(make: Callable[..., Any]) -> None:
    """A server that has claimed an event would take its own claim for another's, and nobody serve the event."""
    async with (
        running_redis() as redis,
        running_network(redis.port) as network,
        started(make, await network.url("one")) as store,
    ):
        for number in range(3):
            network["one"].lose_next_reply()
            assert await store.add(f"add {number}", b"1", 60) is None
        await store.set("key", b"old", 60)
        network["one"].lose_next_reply()
        assert await store.replace("key", b"old", b"new", 60)
        network["one"].lose_next_reply()
        assert await store.get("key") == b"new"


@pytest.mark.parametrize("make", ADAPTERS[:2], ids=["streams", "pubsub"])
async def test_redis_away(make: Callable[..., Any], redis_server: Callable[..., Awaitable[RedisServer]]) -> None:
    """An event would wait for ever, instead of being sent again."""
    redis = await redis_server()
    async with started(make, redis.url, publish_timeout=0.3) as store:
        await store.set("key", b"1", 60)
        await redis.kill()
        for work in (store.get("key"), store.set("key", b"2", 60), store.add("key", b"2", 60), store.remove("key")):
            with pytest.raises(ClusterUnavailable):
                await work
        waiting = asyncio.create_task(store.add("another", b"1", 60))
        await asyncio.sleep(0)
        await redis.start()
        with contextlib.suppress(ClusterUnavailable):  # if the start has taken longer than it waits
            await waiting
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(ClusterUnavailable):
                    await store.set("key", b"3", 60)
                    break
        assert await store.get("key") == b"3"


class Lost:
    """A connection that has ended, and is not known as lost yet."""

    async def link(self) -> Any:
        return self

    def send(self, *args: Any) -> Any:
        raise LinkLost("gone")


async def test_a_connection_that_has_just_ended() -> None:
    """The event loop would stand still: nothing could find out that the connection is lost."""
    store = RedisStore(Lost, "tag", 0.1)
    with pytest.raises(ClusterUnavailable):
        await store.get("key")


async def test_before_the_start() -> None:
    """A program that asks too early would wait for nothing."""
    with pytest.raises(ClusterUnavailable):
        await RedisStreams("redis://127.0.0.1:1").store.get("key")
