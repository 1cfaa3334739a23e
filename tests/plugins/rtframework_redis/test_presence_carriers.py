"""Presence over the stream and over channels: the whole suite with a real Redis, and what its carriers promise."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, cast

import pytest

from rtframework import ConfigurationError, Packet, PacketType, Presence, Server, Target
from rtframework.testing import ClusterBroker, PresenceConformance
from rtframework_redis import RedisPubSub, RedisStreams
from rtframework_redis import presence_store as store
from rtframework_redis.presence_carriers import ChannelCarrier, StreamCarrier
from tests.support.clients import FakeClient, make_host
from tests.support.cluster.needs import needs
from tests.support.cluster.redis_broker import RedisBroker
from tests.support.cluster.redis_fleets import running_cluster
from tests.support.cluster.redis_server import running_redis
from tests.support.server import HOST
from tests.support.until import until

pytestmark = needs("redis-server")


@pytest.fixture(autouse=True)
def shorter_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let servers that were killed be noticed sooner; the times are those of a fleet with a faster clock."""
    monkeypatch.setattr(store, "LEASE", 1.5)
    monkeypatch.setattr(store, "RENEW", 0.5)
    monkeypatch.setattr(store, "_JITTER", 0.1)


class TestStreams(PresenceConformance):
    """People on servers that a stream joins."""

    def broker(self) -> ClusterBroker:
        """Return a Redis."""
        return RedisBroker(lambda url, name: RedisStreams(url, name=name))


class TestStreamsWithRecovery(PresenceConformance):
    """People on servers that recover clients, and deliver what they read back."""

    recovers = True

    def broker(self) -> ClusterBroker:
        """Return a Redis."""
        return RedisBroker(lambda url, name: RedisStreams(url, name=name, delivery="stream"))


class TestClassic(PresenceConformance):
    """People on servers that channels join."""

    def broker(self) -> ClusterBroker:
        """Return a Redis."""
        return RedisBroker(lambda url, name: RedisPubSub(url, name=name), publishes="PUBLISH", listens="SUBSCRIBE")


class TestSharded(PresenceConformance):
    """People on servers that sharded channels join."""

    def broker(self) -> ClusterBroker:
        """Return a Redis."""
        return RedisBroker(lambda url, name: RedisPubSub(url, name=name, sharded=True))


async def test_a_thousand_join_together() -> None:
    """A large room that comes back after a restart would overflow what Redis holds for a server, and cut it off."""
    async with running_redis() as redis:
        host = Server(adapter=RedisStreams(redis.url), presence=Presence("r"))._host
        await host.start()
        try:
            clients = [FakeClient(host, f"c{number}") for number in range(1_000)]
            for each in clients:
                await each.connect()
            await asyncio.gather(*(each.socket().join("r") for each in clients))
            assert len(await host.server.presence("r", limit=2_000)) == 1_000
            assert host.server.cluster.health.up
        finally:
            await host.close()
            host.stop()


async def test_a_leave_does_not_overtake_a_message() -> None:
    """A page would show the last words of somebody who is not in its list any more."""
    async with running_redis() as redis, contextlib.AsyncExitStack() as stack:
        clients = []
        for name in ("one", "two"):
            host = make_host(adapter=RedisStreams(redis.url), presence=(Presence("r"),))
            await host.start()
            stack.callback(host.stop)
            stack.push_async_callback(host.close)
            clients.append(FakeClient(host, name))
            await clients[-1].connect()
            await clients[-1].socket().join("r")
        one, two = clients
        adapter = one.socket().namespace.adapter
        telling = adapter.broadcast(Packet(PacketType.EVENT, "/", ["bye"]), Target(frozenset({"r"})))
        leaving = one.socket()._leave_rooms(("r",))  # in the same turn of the event loop
        assert leaving is not None
        await leaving
        await telling
        await until(lambda: len(two.heard()) == 4)
        assert [line[1] for line in two.heard()[1:]] == ["presence", "bye", "presence_leave"]


@pytest.mark.parametrize("make", [RedisStreams, RedisPubSub])
async def test_in_a_redis_cluster(make: Any) -> None:
    """Keys of presence would lie at several nodes, and the script be refused."""
    async with running_cluster() as cluster, contextlib.AsyncExitStack() as stack:
        url = "redis+cluster://" + ",".join(f"{HOST}:{each.port}" for each in cluster.servers)
        clients = []
        for name in ("one", "two"):
            host = make_host(adapter=make(url), presence=(Presence("r", grace=0.05),))
            await host.start()
            stack.callback(host.stop)
            stack.push_async_callback(host.close)
            clients.append(FakeClient(host, name))
            await clients[-1].connect()
            await clients[-1].socket().join("r")
        one, two = clients
        told = [line[1:] for line in one.heard() if line[0] == "event" and line[1] != "presence"]
        assert [(name, told["user"]) for name, told in told] == [("presence_join", "two1")]
        assert [each.user for each in await one.socket().namespace.presence("r")] == ["one1", "two1"]
        two.drop()
        await until(lambda: any(line[1:2] == ("presence_leave",) for line in one.heard()))


def test_sharded_channels_of_a_redis_cluster_are_refused() -> None:
    """A change and its publication could be torn apart: a ghost in every list of a server."""
    sharded = RedisPubSub("redis+cluster://localhost", sharded=True)
    with pytest.raises(ConfigurationError, match="use RedisStreams"):
        sharded.presence_store()
    RedisPubSub("redis+cluster://localhost").presence_store()


class Backbone:
    """What a carrier asks of a backbone with a stream."""

    stream = "s"
    uid = "u"
    position = "5-0"
    is_writing = False

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[Any]] = []
        self.read = asyncio.Event()

    async def progress(self) -> None:
        """Wait until the test says that something was read."""
        await self.read.wait()
        self.read.clear()

    def spawn(self, work: Any) -> None:
        """Run it."""
        self.tasks.append(asyncio.ensure_future(work))


async def test_a_join_waits_until_the_reader_has_passed_it() -> None:
    """What the joiner says next would come before it is in the list."""
    backbone = Backbone()
    carrier = StreamCarrier(cast(RedisStreams, backbone), max_len=10, timeout=5)
    assert carrier.send("PING") is None
    assert carrier.delivered(1, b"") is None
    assert carrier.delivered(1, b"5-0") is None
    first, later, dropped = [carrier.delivered(1, each) for each in (b"6-0", b"7-1", b"7-0")]
    assert first is not None
    assert later is not None
    assert dropped is not None
    dropped.cancel()
    backbone.position = "6-0"
    backbone.read.set()
    await first
    assert not later.done()
    backbone.position = "8-0"
    backbone.read.set()
    await later
    unread = carrier.delivered(1, b"9-0")
    assert unread is not None
    await asyncio.sleep(0)
    for task in backbone.tasks:
        task.cancel()
    await asyncio.gather(*backbone.tasks, return_exceptions=True)
    assert unread.cancelled(), "nobody waits when the server stops"


async def test_a_mark_tells_that_everything_before_it_has_come() -> None:
    """What the joiner says next would come before it is in the list."""
    backbone = RedisPubSub("redis://localhost")
    carrier = ChannelCarrier(backbone, command="PUBLISH", tag="t", timeout=5)
    assert (carrier.keys, carrier.is_ready) == (("sio:presence:{t}",), False)
    assert carrier.target == f"socket.io-presence#{backbone.uid}#".encode()
    waiting = [carrier.delivered(number, b"") for number in (1, 2, 3)]
    carrier.hear(b"2")
    assert [each is not None and each.done() for each in waiting] == [True, True, False]
    assert carrier.delivered(2, b"") is None
