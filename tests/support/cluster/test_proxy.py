"""The network between servers and Redis: each fault does what it says, and to whom it says."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as NotConnected
from redis.exceptions import TimeoutError as NoAnswer

from tests.support.cluster.needs import needs
from tests.support.cluster.proxy import Network, running_network
from tests.support.cluster.redis_server import STREAM, RedisServer, running_redis
from tests.support.until import until

pytestmark = needs("redis-server")


@pytest.fixture
async def redis() -> AsyncIterator[RedisServer]:
    """A Redis without persistence."""
    async with running_redis() as server:
        yield server


@pytest.fixture
async def network(redis: RedisServer) -> AsyncIterator[Network]:
    """A network in front of it."""
    async with running_network(redis.port) as found:
        yield found


@contextlib.asynccontextmanager
async def client_of(network: Network, name: str = "a", *, timeout: float = 5.0) -> AsyncIterator[Redis]:
    """A client behind the proxy of that name, with one connection; it tries once."""
    url = await network.url(name)
    client = Redis.from_url(
        url, retry=Retry(NoBackoff(), 0), socket_timeout=timeout, single_connection_client=True, protocol=2
    )
    try:
        yield client
    finally:
        await client.aclose()


async def test_commands_pass_and_are_known(network: Network) -> None:
    """Faults that concern one connection would concern another."""
    async with client_of(network) as client, client_of(network) as reader:
        await client.xadd(STREAM, {"n": 1})
        await reader.xread({STREAM: "0"})
        proxy = network["a"]
        assert len(proxy.doing()) == 2
        (connection,) = proxy.doing("xread")
        assert "XADD" not in connection.commands
        assert proxy.accepted == 2


async def test_cut_now(network: Network) -> None:
    """A connection that should break would live on."""
    async with client_of(network) as client, client_of(network) as reader:
        await client.ping()
        await reader.xread({STREAM: "0"})
        assert network["a"].cut("XREAD") == 1
        with pytest.raises(NotConnected):
            await reader.xread({STREAM: "0"})
        assert await client.ping()
        assert network["a"].cut() >= 1
        with pytest.raises(NotConnected):
            await client.ping()
        assert await client.ping(), "a new connection passes"


async def test_the_reply_is_lost_and_the_command_is_not(network: Network, redis: RedisServer) -> None:
    """That a message was added, and nobody was told, is the case in which others send it twice."""
    async with client_of(network) as client:
        await client.ping()
        assert network["a"].lose_next_reply("PING") == 1
        with pytest.raises(NotConnected):
            await client.xadd(STREAM, {"n": 1})
        await network["a"].reply_lost()
        assert network["a"].lost_replies == 1
        assert len(await redis.entries()) == 1


async def test_a_client_that_repeats_adds_twice(network: Network, redis: RedisServer) -> None:
    """The fault would not show what is wrong with redis-py's own retries, which it is made for."""
    client = Redis.from_url(await network.url("a"), retry=Retry(NoBackoff(), 3), single_connection_client=True)
    await client.ping()
    network["a"].lose_next_reply()
    await client.xadd(STREAM, {"n": 1})
    await client.aclose()
    assert len(await redis.entries()) == 2


async def test_frozen_is_silent_and_alive(network: Network) -> None:
    """Servers would be told what no network tells."""
    async with client_of(network, timeout=0.2) as client:
        await client.ping()
        network["a"].freeze()
        with pytest.raises(NoAnswer):
            await client.ping()
        with pytest.raises(NoAnswer):
            await client.ping()  # a new connection starves, too
        network["a"].thaw()
        assert await client.ping()


async def test_what_was_frozen_passes_later(network: Network, redis: RedisServer) -> None:
    """A frozen network would be one that loses."""
    async with client_of(network) as client:
        await client.ping()
        network["a"].freeze(None, "to_redis")
        asked = asyncio.ensure_future(client.xadd(STREAM, {"n": 1}))
        await until(lambda: network["a"].doing("XADD"))
        assert await redis.entries() == []
        network["a"].thaw()
        await asked
        assert len(await redis.entries()) == 1


async def test_delay_makes_late_and_not_slow(network: Network) -> None:
    """A slow network would look like a narrow one."""
    async with client_of(network) as client:
        await client.ping()
        network["a"].delay = 0.1
        start = time.monotonic()
        pipeline = client.pipeline(transaction=False)
        for number in range(50):
            pipeline.xadd(STREAM, {"n": number})
        assert len(await pipeline.execute()) == 50
        assert 0.2 <= time.monotonic() - start < 1.0


async def test_a_rate_is_kept(network: Network) -> None:
    """A narrow network would be as wide as any."""
    async with client_of(network) as client:
        await client.set("key", b"x" * 20_000)
        network["a"].rate = 100_000.0
        start = time.monotonic()
        await client.get("key")
        await client.get("key")
        assert time.monotonic() - start >= 0.15


async def test_new_connections_are_refused(network: Network) -> None:
    """Connections that exist would be refused, or new ones pass."""
    async with client_of(network) as client, client_of(network) as late:
        await client.ping()
        network["a"].refusing = True
        with pytest.raises(NotConnected):
            await late.ping()
        assert await client.ping()
        assert network["a"].refused == 1
        network["a"].refusing = False
        assert await late.ping()


async def test_one_direction_is_dropped(network: Network, redis: RedisServer) -> None:
    """A subscription that is dead on a live connection could not be tested."""
    async with client_of(network, timeout=0.2) as client:
        await client.ping()
        assert network["a"].drop("to_server") == 1
        with pytest.raises(NoAnswer):
            await client.xadd(STREAM, {"n": 1})
        assert len(await redis.entries()) == 1
        assert await client.ping(), "a new connection passes"
        assert network["a"].drop("to_redis", "PING") >= 1
        with pytest.raises(NoAnswer):
            await client.xadd(STREAM, {"n": 2})
        assert len(await redis.entries()) == 1


async def test_a_partition_concerns_one_server(network: Network) -> None:
    """Both sides of a partition would be cut off."""
    async with client_of(network, "a", timeout=0.2) as cut_off, client_of(network, "b") as other:
        await cut_off.ping()
        await other.ping()
        network.partition("a")
        with pytest.raises(NoAnswer):
            await cut_off.ping()
        assert await other.ping()
        network.heal()
        assert await cut_off.ping()


async def test_stopped_refuses_and_comes_back_on_its_port(network: Network) -> None:
    """A Redis that is away would accept connections."""
    async with client_of(network) as client:
        await client.ping()
        url = network["a"].url
        await network["a"].stop()
        with pytest.raises((NotConnected, RuntimeError)):  # redis-py passes on what uvloop says of a closed transport
            await client.ping()
        await network["a"].start()
        assert network["a"].url == url
        assert await client.ping()
