"""Messages of threads that wait: once, or an error that says who has them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from redis.asyncio import Redis

from rtframework import ClusterUnavailable
from rtframework_redis.blocking_link import BlockingLink
from rtframework_redis.blocking_writer import BlockingWriter
from rtframework_redis.publication import ChannelMessage, Publication, StreamMessage
from tests.plugins.rtframework_redis.conftest import Cluster, Fake, Peer, RedisServer
from tests.support.cluster.proxy import RedisProxy, running_network
from tests.support.until import until

Found = tuple[Cluster, RedisServer]

MESSAGE = StreamMessage(b"/", 3, b'{"packet":{"type":2,"data":["news"]},"opts":{"rooms":[],"except":[],"flags":{}}}')


@contextlib.contextmanager
def writing(url: str, *, timeout: float = 5.0, stream: str = "socket.io") -> Iterator[BlockingWriter]:
    """A writer that leaves no connection behind."""
    writer = BlockingWriter(url, stream, max_len=1000, timeout=timeout)
    try:
        yield writer
    finally:
        writer.close()


async def send(writer: BlockingWriter, message: Publication = MESSAGE) -> None:
    """Send, in a thread."""
    await asyncio.to_thread(writer.send, message)


async def entries_of(redis: RedisServer) -> list[Any]:
    """Return the fields of the entries of the stream."""
    async with Redis.from_url(redis.url) as client:
        return [fields for _, fields in await client.xrange("socket.io") or ()]


def at_each_xadd(monkeypatch: pytest.MonkeyPatch, act: Any) -> None:
    """Do something just before each XADD is sent."""
    command = BlockingLink.command

    def watched(link: BlockingLink, deadline: float, *args: Any) -> Any:
        if args[0] == "XADD":
            act()
        return command(link, deadline, *args)

    monkeypatch.setattr(BlockingLink, "command", watched)


async def test_a_lost_reply_costs_nothing(cluster: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event would come twice, or the program be told that it has not come."""
    _, redis = cluster
    async with running_network(redis.port) as network:
        with writing(await network.url("writer")) as writer:
            proxy = network["writer"]
            at_each_xadd(monkeypatch, proxy.lose_next_reply)
            for _ in range(3):
                await send(writer)
            assert proxy.lost_replies == 3
    assert [b"a" in fields for fields in await entries_of(redis)] == [False] * 3


async def test_what_was_not_added_is_sent_again(cluster: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event would be lost, and the program not told."""
    _, redis = cluster
    async with running_network(redis.port) as network:
        with writing(await network.url("writer"), timeout=3.0) as writer:
            faults = [lambda: network["writer"].drop("to_redis")]
            at_each_xadd(monkeypatch, lambda: faults.pop()() if faults else None)
            await send(writer)
            await send(writer)
    assert [b"a" in fields for fields in await entries_of(redis)] == [True, False]


async def test_what_may_be_known_is_marked(cluster: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the stream has lost what was added, servers would deliver it twice, or nobody would know of it."""
    servers, redis = cluster
    _, running, _ = await servers.server()
    client = await servers.clients.connect(running.url)
    async with running_network(redis.port) as network:
        with writing(await network.url("writer")) as writer:
            await send(writer)
            proxy: RedisProxy = network["writer"]
            faults = [proxy.lose_next_reply]
            at_each_xadd(monkeypatch, lambda: faults.pop()() if faults else None)
            proxy.refusing = True
            task = asyncio.create_task(send(writer))
            await client.wait_for("news", 2)
            async with Redis.from_url(redis.url) as admin:
                await admin.xtrim("socket.io", 0)
            proxy.refusing = False
            await task
            await send(writer)
    await client.wait_for("news", 3)
    await client.barrier()
    assert len(client.received("news")) == 3


async def test_what_cannot_be_known_is_said(fake_server: Fake) -> None:
    """A program that sends again after an error would send twice."""
    server = await fake_server({b"XREVRANGE": b"*0\r\n"})
    with writing(server.url, timeout=1.0) as writer:
        with pytest.raises(ClusterUnavailable, match="not known") as caught:
            await send(writer)
        assert caught.value.uncertain
        with pytest.raises(ClusterUnavailable) as caught:
            await send(writer, ChannelMessage("x", b""))
        assert caught.value.uncertain
    assert sum(command[0] == b"PUBLISH" for peer in server.peers for command in peer.received) == 1


async def test_the_last_reason_is_told(fake_server: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has a wrong password would read that Redis is slow: each attempt but the last one says what is wrong."""
    monkeypatch.setattr("rtframework_redis.blocking_writer.Pauses.take", lambda self: 1.0)
    server = await fake_server({b"AUTH": b"-WRONGPASS invalid\r\n"})
    with (
        writing(server.url.replace("redis://", "redis://:secret@"), timeout=0.3) as writer,
        pytest.raises(ClusterUnavailable, match="WRONGPASS"),
    ):
        await send(writer)


async def test_what_was_not_written_is_tried_again(fake_server: Fake) -> None:
    """A Redis that loads its data, or is to be found elsewhere, would cost events."""
    states = [b"-LOADING wait\r\n", b"-READONLY no\r\n", None]

    def add(peer: Peer, command: list[bytes]) -> bytes:
        return states.pop(0) or b"$3\r\n1-0\r\n"

    server = await fake_server({b"XREVRANGE": b"*0\r\n", b"XADD": add})
    with writing(server.url) as writer:
        await send(writer)
    assert states == []


async def test_a_redirection_is_followed(fake_server: Fake) -> None:
    """In a Cluster, a worker would be told to go elsewhere until it gives up."""
    target = await fake_server({b"ASKING": b"+OK\r\n", b"XREVRANGE": b"*0\r\n", b"XADD": b"$3\r\n1-0\r\n"})
    moved = b"-ASK 1 127.0.0.1:%d\r\n" % target.port
    server = await fake_server({b"XREVRANGE": moved})
    with writing(server.url) as writer:
        await send(writer)
    assert [b"ASKING"] in target.peers[0].received


async def test_connections_are_kept_and_replaced(cluster: Found) -> None:
    """Each event would open a connection; or the first one after Redis was restarted would be late or lost."""
    _, redis = cluster
    with writing(redis.url) as writer:
        for _ in range(3):
            await send(writer)
        await asyncio.gather(*(send(writer) for _ in range(4)))
        async with Redis.from_url(redis.url) as client:
            names = [each["name"] for each in await client.client_list()]
            assert 1 <= sum(name.startswith("rtframework-publisher#") for name in names) <= 4
            await client.client_kill_filter(_type="normal", skipme=True)
        for message in (MESSAGE, ChannelMessage("x", b"")):
            await send(writer, message)
    assert len(await entries_of(redis)) == 8


async def test_what_is_given_back_after_the_end_is_closed(cluster: Found) -> None:
    """A thread that is late would leave a connection behind."""
    _, redis = cluster
    with writing(redis.url) as writer:
        await asyncio.to_thread(writer.open)
        redis.freeze()
        task = asyncio.create_task(send(writer))
        await until(lambda: not any(writer._idle.values()))
        writer.close()
        redis.thaw()
        await task
        assert not any(writer._idle.values())
        with pytest.raises(ClusterUnavailable, match="the publisher is closed"):
            await send(writer)
