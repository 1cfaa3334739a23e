"""Subscriptions: asked for together, confirmed, given up late, kept over reconnects."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest

from rtframework import ClusterUnavailable
from rtframework.exceptions import DecodeError
from rtframework_redis import subscriptions as module
from rtframework_redis.address import Address
from rtframework_redis.errors import ReplyError
from rtframework_redis.handshake import connect
from rtframework_redis.link import Link
from rtframework_redis.subscriptions import Subscriptions, all_of
from tests.plugins.rtframework_redis.conftest import RedisServer
from tests.support.until import until

Redis = Callable[..., Awaitable[RedisServer]]


class Subscriber:
    """Subscriptions on real connections, and another connection to publish."""

    def __init__(self, url: str, **options: Any) -> None:
        self.url = url
        self.heard: list[tuple[bytes, bytes, bool]] = []
        self.late: list[tuple[Sequence[bytes], float]] = []
        self.subscriptions = Subscriptions(
            lambda *message: self.heard.append(message),
            on_late=lambda *late: self.late.append(late),
            **{"timeout": 5.0, **options},
        )
        self.links: list[Link] = []
        self.other: Link

    async def open(self) -> Link:
        """Open a connection, and subscribe to everything."""
        link = await connect(Address.from_url(self.url), on_push=self.subscriptions.push)
        self.links.append(link)
        await self.subscriptions.restore(link)
        return link

    async def count(self, channel: str) -> int:
        """Return how many subscribe to a channel."""
        found = await self.other.send("PUBSUB", "NUMSUB", channel)
        return int(found[1])


@contextlib.asynccontextmanager
async def subscriber(url: str, **options: Any) -> AsyncIterator[Subscriber]:
    """A subscriber with a connection."""
    made = Subscriber(url, **options)
    made.other = await connect(Address.from_url(url))
    await made.open()
    try:
        yield made
    finally:
        made.subscriptions.close()
        for link in [*made.links, made.other]:
            await link.close()


async def test_a_subscription_is_there_when_it_is_said_to_be(redis_server: Redis) -> None:
    """A client would be told that it is in a room, and miss the first message."""
    redis = await redis_server()
    async with subscriber(redis.url) as found:
        waiting = found.subscriptions.subscribe("SUBSCRIBE", b"a", b"b")
        assert waiting is not None
        assert not found.subscriptions.is_active(b"a")
        await waiting
        assert found.subscriptions.subscribe("SUBSCRIBE", b"a") is None
        patterns = found.subscriptions.subscribe("PSUBSCRIBE", b"p*")
        assert patterns is not None
        await patterns
        for channel in ("a", "b", "c", "pq"):
            await found.other.send("PUBLISH", channel, "x")
        await until(lambda: len(found.heard) == 3)
        assert found.heard == [(b"a", b"x", False), (b"b", b"x", False), (b"pq", b"x", True)]
        found.subscriptions.drop(b"a", b"p*")
        async with asyncio.timeout(5):
            while await found.count("a"):  # noqa: ASYNC110 - no event tells it
                await asyncio.sleep(0.01)
        assert (len(found.subscriptions), b"b" in found.subscriptions) == (1, True)


async def test_what_is_asked_for_in_one_turn_is_one_command(redis_server: Redis) -> None:
    """A thousand clients that come together would cost a thousand commands."""
    redis = await redis_server()
    async with subscriber(redis.url) as found:
        link = found.links[0]
        before = link.traffic.commands
        waiting = [found.subscriptions.subscribe("SUBSCRIBE", b"%d" % number) for number in range(300)]
        await asyncio.gather(*(each for each in waiting if each is not None))
        assert link.traffic.commands == before + 1


async def test_a_room_that_flaps_costs_nothing(redis_server: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that joins and leaves all the time would keep Redis busy."""
    monkeypatch.setattr(module, "_TICK", 0.02)
    redis = await redis_server()
    async with subscriber(redis.url, grace=0.1) as found:
        waiting = found.subscriptions.subscribe("SUBSCRIBE", b"room")
        assert waiting is not None
        await waiting
        before = found.links[0].traffic.commands
        for _ in range(5):
            found.subscriptions.leave(b"room")
            assert found.subscriptions.subscribe("SUBSCRIBE", b"room") is None
            await asyncio.sleep(0)
        assert found.links[0].traffic.commands == before
        found.subscriptions.leave(b"room", b"unknown")
        assert found.subscriptions.wanted == {}
        await until(lambda: not found.subscriptions.is_active(b"room"))
        again = found.subscriptions.subscribe("SUBSCRIBE", b"room")
        assert again is not None
        await again
        await found.other.send("PUBLISH", "room", "x")
        await until(lambda: found.heard == [(b"room", b"x", False)])


async def test_in_and_out_in_one_turn_is_nothing(redis_server: Redis) -> None:
    """Subscriptions would stay for rooms that nobody is in."""
    redis = await redis_server()
    async with subscriber(redis.url) as found:
        waiting = found.subscriptions.subscribe("SUBSCRIBE", b"room")
        found.subscriptions.leave(b"room")
        assert waiting is not None
        await waiting  # nobody waits for what is not wanted any more
        await asyncio.sleep(0)
        assert await found.count("room") == 0


async def test_subscriptions_outlive_a_connection(redis_server: Redis) -> None:
    """After each reconnect a server would be deaf."""
    redis = await redis_server()
    async with subscriber(redis.url, grace=60) as found:
        names = [b"%d" % number for number in range(1200)]
        waiting = found.subscriptions.subscribe("SUBSCRIBE", *names)
        assert waiting is not None
        await waiting
        found.subscriptions.leave(names[0])
        await found.links[0].close()
        assert not found.subscriptions.is_restored
        late = found.subscriptions.subscribe("SUBSCRIBE", b"late")
        assert late is not None
        await found.open()
        await late
        assert found.subscriptions.is_restored
        assert [await found.count(each) for each in ("0", "1", "1199", "late")] == [0, 1, 1, 1]


async def test_who_waits_too_long_is_told_and_so_is_that_it_came_later(
    redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client would believe to be in a room whose messages it does not get, and nobody would know."""
    monkeypatch.setattr(module, "_TICK", 0.02)
    redis = await redis_server()
    async with subscriber(redis.url, timeout=0.1) as found:
        redis.freeze()
        waiting = found.subscriptions.subscribe("SUBSCRIBE", b"room")
        assert waiting is not None
        with pytest.raises(ClusterUnavailable, match="in time"):
            await waiting
        redis.thaw()
        await until(lambda: found.subscriptions.is_active(b"room"))
        assert [channels for channels, _ in found.late] == [[b"room"]]


async def test_what_redis_refuses_is_told(redis_server: Redis) -> None:
    """A user without rights would have servers that do not hear each other, and no error."""
    redis = await redis_server()
    refused: list[tuple[Sequence[bytes], ReplyError | None]] = []
    mine = False

    def refuse(channels: Sequence[bytes], error: ReplyError | None) -> bool:
        refused.append((channels, error))
        return mine

    async with subscriber(redis.url, on_refused=refuse) as found:
        await found.other.send("ACL", "SETUSER", "default", "resetchannels", "&open*")
        waiting = found.subscriptions.subscribe("SUBSCRIBE", b"closed")
        assert waiting is not None
        with pytest.raises(ClusterUnavailable, match="NOPERM"):
            await waiting
        mine = True
        assert found.subscriptions.subscribe("SUBSCRIBE", b"other") is not None
        await until(lambda: len(refused) == 2)
        assert found.subscriptions.take_waiting(b"other") is not None
        await found.other.send("ACL", "SETUSER", "default", "allchannels")
        found.subscriptions.retry()
        await until(lambda: found.subscriptions.is_active(b"closed"))
        assert [channels for channels, _ in refused] == [[b"closed"], [b"other"]]
        found.subscriptions.push([b"unsubscribe", b"closed", 0])  # as Redis ends one by itself
        assert refused[-1] == ([b"closed"], None)
        assert not found.subscriptions.is_active(b"closed")


async def test_channels_with_a_taker_of_their_own(redis_server: Redis, caplog: pytest.LogCaptureFixture) -> None:
    """Each message would be looked at several times before its namespace is known."""
    redis = await redis_server()
    taken: list[bytes] = []

    def take(payload: bytes) -> None:
        if payload == b"rubbish":
            raise DecodeError("rubbish")
        taken.append(payload)

    async with subscriber(redis.url, takes={b"a": take}) as found:
        waiting = found.subscriptions.subscribe("SUBSCRIBE", b"a", b"b")
        assert waiting is not None
        await waiting
        for channel, payload in (("a", "1"), ("b", "2"), ("a", "rubbish"), ("a", "3")):
            await found.other.send("PUBLISH", channel, payload)
        await until(lambda: taken == [b"1", b"3"])
        assert found.heard == [(b"b", b"2", False)]
    assert "is not understood" in caplog.text


async def test_a_message_that_fails_does_not_end_the_connection(redis_server: Redis) -> None:
    """One message of somebody else's would make a server deaf."""
    redis = await redis_server()
    async with subscriber(redis.url) as found:
        found.subscriptions._on_message = lambda *message: 1 / 0  # type: ignore[assignment]
        waiting = found.subscriptions.subscribe("SUBSCRIBE", b"a")
        assert waiting is not None
        await waiting
        await found.other.send("PUBLISH", "a", "x")
        await found.other.send("PUBLISH", "a", "x")
        assert found.links[0].is_usable


async def test_the_end_is_told_to_those_who_wait() -> None:
    """A server that stops would hang."""
    subscriptions = Subscriptions(lambda *message: None, timeout=60)
    waiting = subscriptions.subscribe("SUBSCRIBE", b"a")
    subscriptions.close()
    assert waiting is not None
    with pytest.raises(ClusterUnavailable):
        await waiting


async def test_one_future_of_several() -> None:
    """A join of two rooms would return when the first of them is there."""
    loop = asyncio.get_running_loop()
    futures: list[asyncio.Future[None]] = [loop.create_future() for _ in range(2)]
    both, dropped = all_of(futures), all_of(futures)
    dropped.cancel()
    futures[0].set_result(None)
    await asyncio.sleep(0)
    assert not both.done()
    futures[1].set_exception(ClusterUnavailable())
    with pytest.raises(ClusterUnavailable):
        await both
