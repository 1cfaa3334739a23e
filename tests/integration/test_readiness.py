"""What a load balancer sees of a real server whose Redis is killed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from aiohttp import web

from rtframework import Readiness, Server
from rtframework_redis import RedisStreams
from tests.support.cluster.needs import needs
from tests.support.cluster.redis_server import RedisServer, running_redis
from tests.support.server import RunningServer
from tests.support.until import until

pytestmark = needs("redis-server")

Status = tuple[int, dict[str, Any]]


@contextlib.asynccontextmanager
async def serving(redis: RedisServer, **options: Any) -> AsyncIterator[tuple[RunningServer, Server, Readiness]]:
    """A server with a route for load balancers."""
    io = Server(adapter=RedisStreams(redis.url))
    readiness = Readiness(io, **options)
    app = web.Application()
    app.router.add_get("/ready", readiness.handler)
    io.attach(app)
    running = RunningServer(app)
    await running.start()
    try:
        yield running, io, readiness
    finally:
        await running.stop()


async def ask(url: str) -> Status:
    """Ask as a load balancer does."""
    async with aiohttp.ClientSession() as http, http.get(f"{url}/ready") as response:
        return response.status, await response.json()


async def until_answered(url: str, *expected: Status) -> None:
    """Ask until these answers have come, one after the other, and no others."""
    async with asyncio.timeout(10):
        for each in expected:
            while (found := await ask(url)) != each:
                assert found in expected, found
                await asyncio.sleep(0.02)


CUT_OFF: Status = (503, {"ready": False, "reason": "cluster"})
READY: Status = (200, {"ready": True})


async def test_a_server_without_redis_is_taken_out_after_a_while() -> None:
    """Clients would be sent to a server that cannot reach the others, or all servers be out for a short restart."""
    async with (
        running_redis() as redis,
        serving(redis, cluster_timeout=0.5) as (first, io, _),
        serving(redis, cluster_timeout=None) as (second, _, _),
        serving(redis) as (third, _, _),
    ):
        assert [await ask(each.url) for each in (first, second, third)] == [READY] * 3
        redis.kill()
        await until(lambda: not io.cluster.health.up)
        await until_answered(first.url, READY, CUT_OFF)
        assert io.cluster.down_for > 0.5
        assert [await ask(each.url) for each in (second, third)] == [READY] * 2
        await redis.start()
        await until_answered(first.url, CUT_OFF, READY)


async def test_a_server_that_drains_is_taken_out() -> None:
    """Clients would be sent to a server that is about to close."""
    async with running_redis() as redis, serving(redis) as (running, _, readiness):
        assert await ask(running.url) == READY
        readiness.drain()
        assert await ask(running.url) == (503, {"ready": False, "reason": "draining"})
