"""Two servers in this process that are one: joined in memory, as workers, or by Redis."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, Final, Literal

import pytest

from rtframework import Server
from rtframework_redis import RedisStreams
from tests.support.backbone import Broker, FakeBackbone
from tests.support.cluster.needs import needs
from tests.support.cluster.redis_server import running_redis
from tests.support.server import RunningServer
from tests.support.workers import WorkersBroker

Kind = Literal["memory", "workers", "redis"]

KINDS: Final = ["memory", "workers", pytest.param("redis", marks=needs("redis-server"))]
"""For ``pytest.mark.parametrize``."""


@contextlib.asynccontextmanager
async def running_pair(
    kind: Kind, prepare: Callable[[Server], object] | None = None, **options: Any
) -> AsyncIterator[tuple[tuple[Server, str], tuple[Server, str]]]:
    """Run two servers; for each, the server and its URL. ``options``: of ``Server``."""
    async with contextlib.AsyncExitStack() as stack:
        make: Callable[[str], Any]
        if kind == "memory":
            memory = Broker()
            make = partial(FakeBackbone, memory)
        elif kind == "workers":
            broker = WorkersBroker()
            await broker.start()
            stack.push_async_callback(broker.stop)
            make = broker.backbone
        else:
            redis = await stack.enter_async_context(running_redis())

            def make(name: str) -> RedisStreams:
                return RedisStreams(redis.url, name=name)

        pair = []
        for name in ("one", "two"):
            io = Server(adapter=make(name), **options)
            if prepare is not None:
                prepare(io)
            running = RunningServer(io)
            await running.start()
            stack.push_async_callback(running.stop)
            pair.append((io, running.url))
        yield pair[0], pair[1]
