"""Commands over a kept connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from rtframework import ClusterUnavailable
from rtframework_redis.address import Address
from rtframework_redis.commander import Commander
from rtframework_redis.keeper import Keeper
from rtframework_redis.topology import SingleServer
from tests.plugins.rtframework_redis.conftest import RedisServer, free_port


@contextlib.asynccontextmanager
async def commander(url: str) -> AsyncIterator[Commander]:
    """A commander that waits 0.2 seconds."""
    made = Commander()
    made.keeper = Keeper(SingleServer(Address.from_url(url)))
    made._timeout = 0.2
    made.keeper.start()
    try:
        yield made
    finally:
        await made.keeper.close()


async def test_commands_wait_for_the_connection(redis_server: Callable[..., Awaitable[RedisServer]]) -> None:
    """The first command after a start would fail, or be sent twice."""
    redis = await redis_server()
    async with commander(redis.url) as found:
        assert found.send("PING") is None
        assert await found.command("INCR", "n") == 1
        reply = found.send("INCR", "n")
        assert reply is not None
        assert await reply == 2
        refused = found.send("LPUSH", "n", "x")
        assert refused is not None
        await asyncio.wait([refused])
        with pytest.raises(ClusterUnavailable, match="WRONGTYPE"):
            await found.command("LPUSH", "n", "x")
        redis.freeze()
        with pytest.raises(ClusterUnavailable):
            await found.command("INCR", "n")
        redis.thaw()


async def test_it_says_that_there_is_no_redis() -> None:
    """A program would wait for ever, or get an error that it does not know."""
    async with commander(f"redis://127.0.0.1:{free_port()}") as found:
        with pytest.raises(ClusterUnavailable, match="cannot be reached"):
            await found.command("PING")
