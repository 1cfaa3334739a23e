"""Servers of this framework on one Redis, in the test's loop, each with a client."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from rtframework import Recovery, Server, Socket
from rtframework_redis import RedisStreams
from tests.support.cluster.clients import LightClient, LightClients
from tests.support.server import RunningServer


@dataclass
class Member:
    """One server of the cluster, in the test's loop, with a client."""

    io: Server
    streams: RedisStreams
    running: RunningServer
    client: LightClient

    @property
    def socket(self) -> Socket:
        """The client's socket."""
        return self.io.sockets[self.client.sid]


@contextlib.asynccontextmanager
async def members(
    url: str, clients: LightClients, *, count: int = 2, recovery: bool = True, **options: Any
) -> AsyncIterator[list[Member]]:
    """Servers on one Redis, each with a client."""
    async with contextlib.AsyncExitStack() as stack:
        found = []
        for _ in range(count):
            streams = RedisStreams(url, **options)
            io = Server(
                adapter=streams, connection_state_recovery=Recovery(skip_middlewares=True) if recovery else None
            )
            running = RunningServer(io)
            await running.start()
            stack.push_async_callback(running.stop)
            found.append(Member(io, streams, running, await clients.connect(running.url)))
        yield found
