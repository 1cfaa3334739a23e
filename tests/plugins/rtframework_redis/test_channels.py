"""Pub/Sub at one server of Redis: two connections, and a probe of both."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from rtframework import ClusterUnavailable
from rtframework_redis import channels as module
from rtframework_redis.address import Address
from rtframework_redis.channels import Channels
from rtframework_redis.errors import LinkError
from rtframework_redis.topology import SingleServer
from tests.plugins.rtframework_redis.conftest import Fake, RedisServer
from tests.support.cluster.proxy import Direction, running_network
from tests.support.until import until

Redis = Callable[..., Awaitable[RedisServer]]


class Heard:
    """Channels, and what they have told."""

    def __init__(self, url: str, *, sharded: bool = False) -> None:
        self.messages: list[tuple[bytes, bytes]] = []
        self.gaps: list[float] = []
        self.states: list[bool] = []
        self.channels = Channels(
            lambda: SingleServer(Address.from_url(url)),
            sharded=sharded,
            key=b"",
            probe=b"probe",
            timeout=5.0,
            max_pending=1_000_000,
            on_message=lambda channel, payload, by_pattern: self.messages.append((channel, payload)),
            on_gap=lambda since, channels: self.gaps.append(since),
            on_state=lambda: self.states.append(self.channels.is_up),
        )


@contextlib.asynccontextmanager
async def listening(url: str, *names: bytes, patience: float = 5.0, **options: Any) -> AsyncIterator[Heard]:
    """Channels that are connected and subscribed."""
    heard = Heard(url, **options)
    heard.channels.subscribe("SSUBSCRIBE" if options.get("sharded") else "SUBSCRIBE", *names)
    try:
        await heard.channels.start(patience)
        yield heard
    finally:
        await heard.channels.close()


@pytest.mark.parametrize("sharded", [False, True])
async def test_servers_hear_and_count_each_other(redis_server: Redis, sharded: bool) -> None:
    """Servers would not be one, or wait for servers that are not there."""
    redis = await redis_server()
    async with listening(redis.url, b"a", sharded=sharded) as one, listening(redis.url, b"a", sharded=sharded) as two:
        assert await one.channels.count(b"a") == 2
        await one.channels.publish(b"a", b"1")
        one.channels.post(b"a", b"2")
        for each in (one, two):
            await until(lambda each=each: len(each.messages) == 2)  # type: ignore[misc]
            assert each.messages == [(b"a", b"1"), (b"a", b"2")]
        two.channels.drop(b"a")
        async with asyncio.timeout(5):
            while await one.channels.count(b"a") != 1:  # noqa: ASYNC110 - no event tells it
                await asyncio.sleep(0.01)
        assert one.channels.is_up
        assert (one.gaps, two.gaps) == ([], [])
        assert one.states[-1]


async def test_a_connection_that_ends_is_a_gap(redis_server: Redis) -> None:
    """What was published meanwhile is lost for ever, and nobody would know."""
    redis = await redis_server()
    async with listening(redis.url, b"a") as heard:
        start = time.time()
        link = heard.channels.subscriber.link
        assert link is not None
        link.fail("cut")
        assert not heard.channels.is_up
        assert heard.channels.problem
        await until(lambda: heard.channels.is_up)
        assert len(heard.gaps) == 1
        assert start - 5 <= heard.gaps[0] <= time.time()
        await heard.channels.publish(b"a", b"1")
        await until(lambda: heard.messages == [(b"a", b"1")])
        await until(lambda: heard.states[-2:] == [False, True])
        publisher = heard.channels.publisher.keeper.link
        assert publisher is not None
        publisher.fail("cut")
        await heard.channels.publish(b"a", b"2")
        assert len(heard.gaps) == 1  # nothing was missed


async def test_a_subscription_that_is_dead_is_found(redis_server: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server would be deaf for days, on a connection that looks well."""
    monkeypatch.setattr(module, "PROBE", 0.1)
    redis = await redis_server()
    async with listening(redis.url, b"a") as heard:
        link = heard.channels.subscriber.link
        assert link is not None
        await asyncio.sleep(0.3)  # several probes arrive
        assert heard.channels.subscriber.link is link
        await link.subscribe("UNSUBSCRIBE", b"a", b"probe")
        await until(lambda: len(heard.gaps) == 1)
        await heard.channels.publish(b"a", b"1")
        await until(lambda: heard.messages == [(b"a", b"1")])


@pytest.mark.parametrize("direction", ["to_redis", "to_server"])
async def test_a_connection_that_is_half_dead_is_found(
    redis_server: Redis, monkeypatch: pytest.MonkeyPatch, direction: Direction
) -> None:
    """A server would hear nothing, or no room that it has just joined, on a connection that looks well."""
    monkeypatch.setattr(module, "PROBE", 0.1)
    redis = await redis_server()
    async with running_network(redis.port) as network, listening(await network.url("it"), b"a") as heard:
        link = heard.channels.subscriber.link
        assert link is not None
        assert network["it"].drop(direction, "SUBSCRIBE") == 1
        late = heard.channels.subscribe("SUBSCRIBE", b"late")
        await until(lambda: heard.channels.subscriber.link not in (link, None))
        assert late is not None
        await late
        await heard.channels.publish(b"late", b"1")
        await until(lambda: heard.messages == [(b"late", b"1")])


async def test_a_redis_that_is_slow_is_not_deaf(redis_server: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pause of Redis would cost all connections, and messages that were on their way."""
    monkeypatch.setattr(module, "PROBE", 0.1)
    redis = await redis_server()
    async with listening(redis.url, b"a") as heard:
        await heard.channels.publish(b"a", b"1")
        redis.freeze()
        await asyncio.sleep(0.5)
        redis.thaw()
        await heard.channels.publish(b"a", b"2")
        await until(lambda: len(heard.messages) == 2)
        assert (heard.gaps, heard.channels.subscriber.health.losses) == ([], 0)


async def test_another_channel_for_the_probe(redis_server: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a Redis Cluster the probe would follow its slot to another node, and say nothing of this one."""
    monkeypatch.setattr(module, "PROBE", 0.05)
    redis = await redis_server()
    async with listening(redis.url, b"a") as heard:
        heard.channels.move_probe(b"other")
        before = heard.channels.whole_at
        await until(lambda: heard.channels.whole_at > before)
        assert heard.channels.subscriptions.is_active(b"other")
        assert not heard.channels.subscriptions.is_active(b"probe")


@pytest.mark.parametrize("rights", ["-subscribe", "-publish", "resetchannels"])
async def test_a_user_without_rights_is_refused_at_the_start(redis_server: Redis, rights: str) -> None:
    """A server would start, and be alone."""
    redis = await redis_server()
    async with listening(redis.url) as heard:
        settings = ("on", "nopass", "allkeys", "allchannels", "+@all", rights)
        await heard.channels.publisher.command("ACL", "SETUSER", "guest", *settings)
    said = ""
    for patience in (0.3, 3.0, 10.0):  # it is told when the patience has ended: try whether it takes long
        with pytest.raises((LinkError, ClusterUnavailable)) as caught:
            async with listening(redis.url.replace("redis://", "redis://guest:x@"), patience=patience):
                pass
        said = str(caught.value)
        if "NOPERM" in said:
            break
    assert "NOPERM" in said


async def test_one_node_of_a_cluster_is_not_enough(redis_server: Redis) -> None:
    """A program would get an error that it does not know, on the day that Redis becomes a Redis Cluster."""
    redis = await redis_server("--cluster-enabled", "yes", "--cluster-require-full-coverage", "no")
    heard = Heard(redis.url, sharded=True)
    heard.channels.publisher.keeper.start()
    try:
        with pytest.raises(ClusterUnavailable, match=r"redis\+cluster"):
            await heard.channels.publish(b"a", b"1")
    finally:
        await heard.channels.close()


async def test_an_old_redis_is_refused(fake_server: Fake) -> None:
    """Messages and replies would be mixed up."""
    server = await fake_server({b"HELLO": b"-ERR unknown command\r\n"})
    heard = Heard(server.url)
    heard.channels.begin()
    await until(lambda: "Redis 6" in heard.channels.problem)
    await heard.channels.close()
