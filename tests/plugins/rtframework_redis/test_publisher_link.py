"""The connection of a publisher: what was on its way when it broke."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from rtframework import ClusterUnavailable
from rtframework_redis.address import Address
from rtframework_redis.publication import ChannelMessage, StreamMessage
from rtframework_redis.publisher_link import PAGE, PublisherLink
from rtframework_redis.topology import SingleServer
from tests.plugins.rtframework_redis.conftest import Cluster, Fake, Peer, RedisServer
from tests.support.cluster.proxy import RedisProxy, running_network
from tests.support.until import until

Found = tuple[Cluster, RedisServer]


def message(text: str = "news") -> StreamMessage:
    """Make an event for everybody."""
    data = f'{{"packet":{{"type":2,"data":["{text}"]}},"opts":{{"rooms":[],"except":[],"flags":{{}}}}}}'
    return StreamMessage(b"/", 3, data.encode())


@contextlib.asynccontextmanager
async def behind_proxy(redis: RedisServer, *, user: str = "", timeout: float = 5.0) -> AsyncIterator[Any]:
    """A connection through a proxy, and the proxy."""
    async with running_network(redis.port) as network:
        await network.url("publisher")
        proxy = network["publisher"]
        topology = SingleServer(Address.from_url(proxy.url.replace("//", f"//{user}")))
        link = PublisherLink(topology, "socket.io", max_len=10_000, timeout=timeout)
        await link.open()
        try:
            yield link, proxy
        finally:
            await link.close()


async def entries_of(redis: RedisServer) -> list[Any]:
    """Return the fields of the entries of the stream."""
    async with Redis.from_url(redis.url) as client:
        return [fields for _, fields in await client.xrange("socket.io") or ()]


async def run(redis: RedisServer, *command: str | int) -> None:
    """Run a command."""
    async with Redis.from_url(redis.url) as client:
        await client.execute_command(*command)  # type: ignore[no-untyped-call]


async def lose(link: PublisherLink, proxy: RedisProxy) -> asyncio.Task[None]:
    """Send a message, lose its reply and let nobody connect; return what waits for it."""
    assert proxy.lose_next_reply() == 1
    proxy.refusing = True
    task = asyncio.create_task(link.send(message()))
    await proxy.reply_lost()
    return task


async def test_what_was_added_is_found_among_others(cluster: Found) -> None:
    """In a fleet that emits much, the event would come twice."""
    _, redis = cluster
    async with behind_proxy(redis) as (link, proxy):
        task = await lose(link, proxy)
        async with Redis.from_url(redis.url) as client:
            pipeline = client.pipeline()
            for number in range(3 * PAGE):
                pipeline.xadd("socket.io", {"uid": "x", "nsp": "/", "type": "2", "m": str(number)})
            await pipeline.execute()
        proxy.refusing = False
        await task
    assert len(await entries_of(redis)) == 3 * PAGE + 1


async def test_what_was_not_added_is_sent_again(cluster: Found) -> None:
    """The event would be lost, and the program not told."""
    _, redis = cluster
    async with behind_proxy(redis, timeout=3.0) as (link, proxy):
        await link.send(message("before"))
        assert proxy.drop("to_redis") == 1
        await link.send(message())
    assert [fields[b"data"].count(b"news") for fields in await entries_of(redis)] == [0, 1]


async def test_what_may_be_known_is_marked(cluster: Found) -> None:
    """Where the stream has lost what was added, servers would deliver it twice, or nobody would know of it."""
    servers, redis = cluster
    _, running, _ = await servers.server()
    client = await servers.clients.connect(running.url)
    async with behind_proxy(redis) as (link, proxy):
        await link.send(message("before"))
        task = await lose(link, proxy)
        await client.wait_for("news")
        await run(redis, "XTRIM", "socket.io", "MAXLEN", 0)
        proxy.refusing = False
        await task
        await link.send(message("after"))
    await client.wait_for("after")
    assert [each.name for each in client.events] == ["before", "news", "after"]
    assert [b"a" in fields for fields in await entries_of(redis)] == [True, False]


async def test_a_connection_that_cannot_be_ended_is_waited_for(cluster: Found) -> None:
    """Where users may not kill clients, Redis could execute later what was sent again already."""
    _, redis = cluster
    await run(redis, "ACL", "SETUSER", "worker", "on", ">secret", "~*", "&*", "+@all", "-client|kill", "-client|list")
    async with behind_proxy(redis, user="worker:secret@") as (link, proxy):
        assert proxy.lose_next_reply() == 1
        await link.send(message())
    assert len(await entries_of(redis)) == 1


async def test_who_publishes_needs_no_right_to_the_stream(cluster: Found) -> None:
    """Emitters of a classic fleet would need the rights of a server."""
    _, redis = cluster
    await run(redis, "ACL", "SETUSER", "worker", "on", ">secret", "&*", "+publish", "+hello", "+auth", "+ping")
    topology = SingleServer(Address.from_url(redis.url.replace("//", "//worker:secret@")))
    link = PublisherLink(topology, "", max_len=1, timeout=5)
    await link.open()
    await link.send(ChannelMessage("x", b""))
    await link.close()
    link = PublisherLink(topology, "socket.io", max_len=1, timeout=5)
    with pytest.raises(ClusterUnavailable, match="NOPERM"):
        await link.open()
    await link.close()


async def test_what_was_not_sent_is_published_later(cluster: Found) -> None:
    """A restart of Redis would lose the events of classic fleets."""
    _, redis = cluster
    link = PublisherLink(SingleServer(Address.from_url(redis.url)), "", max_len=1, timeout=10)
    await link.open()
    await redis.kill()
    await until(lambda: link.keeper.link is None)
    task = asyncio.create_task(link.send(ChannelMessage("x", b"")))
    await redis.start()
    await task
    assert link.keeper.health.connects == 2
    await link.close()


async def test_a_silent_connection_costs_one_message_of_a_channel(cluster: Found) -> None:
    """Where a firewall forgets connections, a worker of a classic fleet would lose all events of a quarter minute."""
    _, redis = cluster
    async with running_network(redis.port) as network:
        url = await network.url("publisher")
        link = PublisherLink(SingleServer(Address.from_url(url)), "", max_len=1, timeout=2.0)
        await link.open()
        assert network["publisher"].drop("to_server") == 1
        with pytest.raises(ClusterUnavailable, match="not known") as caught:
            await link.send(ChannelMessage("x", b""))
        assert caught.value.uncertain
        await link.send(ChannelMessage("x", b""))
        await link.close()


async def test_who_waits_when_it_is_closed_is_told(fake_server: Fake) -> None:
    """A program would not end, or spin."""
    for stream, sent in (("socket.io", message()), ("", ChannelMessage("x", b""))):
        server = await fake_server({b"HELLO": None})
        link = PublisherLink(SingleServer(Address.from_url(server.url)), stream, max_len=1, timeout=0.5)
        task = asyncio.create_task(link.send(sent))
        await until(lambda server=server: len(server.peers) == 1)  # type: ignore[misc]
        await link.close()
        with pytest.raises(ClusterUnavailable, match="reached nobody"):
            await task


async def test_silence_while_connecting_is_noticed(fake_server: Fake) -> None:
    """An emit would wait for a connection that answers nothing, though another would do."""
    answers: Callable[..., bytes | None] = lambda peer, command: b"*0\r\n" if len(server.peers) > 1 else None  # noqa: E731
    server = await fake_server({b"XREVRANGE": answers, b"XADD": b"$3\r\n1-0\r\n"})
    link = PublisherLink(SingleServer(Address.from_url(server.url)), "s", max_len=1, timeout=2.0)
    await link.send(message())
    assert len(server.peers) == 2
    await link.close()


async def test_a_program_that_stands_still_loses_nothing(fake_server: Fake) -> None:
    """Who computes for a while between two events would be told that it is not known who has the first."""

    def add(peer: Peer, command: list[bytes]) -> bytes:
        time.sleep(1.2)  # in the event loop of the publisher
        return b"$3\r\n1-0\r\n"

    server = await fake_server({b"XREVRANGE": b"*0\r\n", b"XADD": add})
    link = PublisherLink(SingleServer(Address.from_url(server.url)), "socket.io", max_len=1000, timeout=0.8)
    await link.open()
    await link.send(message())
    assert len(server.peers) == 1
    await link.close()
