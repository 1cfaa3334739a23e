"""Emitting from other processes, to the stock JavaScript client."""

from __future__ import annotations

import asyncio

from rtframework import Recovery, Server, Socket
from rtframework_redis import Publisher, RedisStreams, SyncPublisher
from tests.conftest import Serve
from tests.support.cluster.needs import needs
from tests.support.cluster.redis_server import running_redis
from tests.support.js import JSClients
from tests.support.transports import Transport
from tests.support.until import until

pytestmark = needs("redis-server")


async def test_what_is_published_arrives_and_is_recovered(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A page would not hear of what a worker has done, or not while it was away for a moment."""
    async with running_redis() as redis:
        io = Server(adapter=RedisStreams(redis.url), connection_state_recovery=Recovery())

        @io.on("connection")
        async def connection(socket: Socket) -> None:
            await socket.join("lobby")

        server = await serve(io)
        client = await js.connect(server.url, via=transport)
        async with Publisher(redis.url) as publisher:
            await publisher.to("lobby").emit("news", "ü😀", {"deep": [b"\x00\xff"]}, None)
            assert (await client.wait_for("news"))[:3] == ["ü😀", {"deep": [b"\x00\xff"]}, None]
            await until(lambda: all(each.has_poll for each in io._server.eio.connections.values() if each.polling))
            await client.kill()
            await client.disconnected()
            await until(lambda: not io.sockets)
            await publisher.to("lobby").emit("missed", b"\x01")
        with SyncPublisher(redis.url) as sync_publisher:
            await asyncio.to_thread(sync_publisher.emit, "missed too", 1)
        await client.open()
        assert (await client.reconnected())["recovered"]
        assert (await client.wait_for("missed"))[:1] == [b"\x01"]
        assert (await client.wait_for("missed too"))[:1] == [1]
        await client.barrier()
        assert len(client.received("missed")) == 1
        await server.stop()
