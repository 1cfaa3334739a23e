"""Publishing: in order, once, and an error that says what is known."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from rtframework import ClusterUnavailable
from rtframework_redis import channel_publisher as module
from rtframework_redis.address import Address
from rtframework_redis.channel_publisher import ChannelPublisher
from rtframework_redis.errors import ReplyError
from rtframework_redis.handshake import connect
from rtframework_redis.link import STALE
from rtframework_redis.topology import SingleServer
from tests.plugins.rtframework_redis.conftest import Fake, RedisServer
from tests.support.until import until

Redis = Callable[..., Awaitable[RedisServer]]


@contextlib.asynccontextmanager
async def publisher(url: str, **options: Any) -> AsyncIterator[ChannelPublisher]:
    """A publisher, which connects."""
    given = {"timeout": 5.0, "max_pending": 1_000_000, "key": b"", "on_state": lambda: None, **options}
    made = ChannelPublisher(SingleServer(Address.from_url(url)), "PUBLISH", **given)
    made.keeper.start()
    try:
        yield made
    finally:
        await made.close()


@contextlib.asynccontextmanager
async def listener(url: str) -> AsyncIterator[list[int]]:
    """The numbers that are published to "news"."""
    heard: list[int] = []
    link = await connect(Address.from_url(url), on_push=lambda push: heard.append(int(push[-1])))
    await link.subscribe("SUBSCRIBE", "news")
    try:
        yield heard
    finally:
        await link.close()


async def test_messages_keep_their_order(redis_server: Redis) -> None:
    """A chat would be out of order."""
    redis = await redis_server()
    async with publisher(redis.url) as found, listener(redis.url) as heard:
        await asyncio.gather(*(found.publish(b"news", b"%d" % number) for number in range(100)))  # before it is up
        assert found.is_up
        await asyncio.gather(*(found.publish(b"news", b"%d" % number) for number in range(100, 200)))
        await until(lambda: len(heard) == 200)
        assert heard == list(range(200))


async def test_messages_wait_while_redis_is_away(redis_server: Redis) -> None:
    """A restart of Redis would cost messages that could have waited, or mix them up."""
    redis = await redis_server()
    states: list[bool] = []
    state: list[ChannelPublisher] = []
    async with publisher(redis.url, on_state=lambda: states.extend(each.is_up for each in state)) as found:
        state.append(found)
        await found.publish(b"news", b"0")
        await redis.kill()
        await until(lambda: not found.is_up)
        waiting = [asyncio.ensure_future(found.publish(b"news", b"%d" % number)) for number in range(10)]
        await redis.start()
        await asyncio.gather(*waiting)
        assert states[-2:] == [False, True]


async def test_the_others_get_time_to_subscribe_again(redis_server: Redis) -> None:
    """Whatever has waited for Redis would be published before anybody listens."""
    redis = await redis_server()
    begins = [0.0]
    async with publisher(redis.url, may_begin=lambda: begins[0]) as found:
        await found.publish(b"news", b"0")
        begins[0] = math.inf
        await found.publish(b"news", b"1")  # it concerns new connections
        await redis.kill()
        await until(lambda: not found.is_up)
        waiting = asyncio.ensure_future(found.publish(b"news", b"2"))
        await redis.start()
        await found.keeper.up(5)
        later = asyncio.ensure_future(found.publish(b"news", b"3"))
        assert await found.command("PING") is not None
        assert not waiting.done()
        async with listener(redis.url) as heard:
            begins[0] = 0.0
            await asyncio.gather(waiting, later)
            await until(lambda: len(heard) == 2)
            assert heard == [2, 3]


async def test_an_error_says_that_nobody_has_it(redis_server: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program could not know if it may publish again."""
    monkeypatch.setattr(module, "TICK", 0.02)
    redis = await redis_server()
    async with publisher(redis.url, timeout=0.1) as found:
        await found.publish(b"news", b"0")
        await redis.kill()
        await until(lambda: not found.is_up)
        with pytest.raises(ClusterUnavailable, match="was not published") as caught:
            await found.publish(b"news", b"1")
        assert not caught.value.uncertain
    with pytest.raises(ClusterUnavailable, match="not connected"):
        await found.publish(b"news", b"2")


async def test_a_doubt_is_told(redis_server: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program would take a message for lost that everybody has, and publish it twice."""
    monkeypatch.setattr(module, "TICK", 0.02)
    monkeypatch.setattr(module, "STALL", 0.1)
    redis = await redis_server()
    async with publisher(redis.url, timeout=0.3) as found, listener(redis.url) as heard:
        await found.publish(b"news", b"0")
        redis.freeze()
        doubtful = asyncio.ensure_future(found.publish(b"news", b"1"))
        await until(lambda: found._is_stalled)
        certain = asyncio.ensure_future(found.publish(b"news", b"2"))  # Redis owes a reply: it is not sent
        for task, uncertain in ((doubtful, True), (certain, False)):
            with pytest.raises(ClusterUnavailable) as caught:
                await task
            assert caught.value.uncertain is uncertain
        redis.thaw()
        await found.publish(b"news", b"3")
        await until(lambda: heard[-1:] == [3])
        assert heard == [0, 1, 3]


async def test_a_connection_that_ends_before_the_reply_is_a_doubt(fake_server: Fake) -> None:
    """A message would be sent twice, or be lost without a word."""
    server = await fake_server({b"PUBLISH": lambda peer, command: peer.writer.transport.abort()})
    async with publisher(server.url) as found:
        await found.keeper.up(5)
        with pytest.raises(ClusterUnavailable, match="not known") as caught:
            await found.publish(b"news", b"0")
        assert caught.value.uncertain
    assert [each for peer in server.peers for each in peer.received if each[0] == b"PUBLISH"] == [
        [b"PUBLISH", b"news", b"0"]
    ]


async def test_what_redis_refuses_raises_at_once(redis_server: Redis) -> None:
    """A mistake in the rights of the user would look like an outage."""
    redis = await redis_server()
    async with publisher(redis.url) as found:
        await found.command("ACL", "SETUSER", "default", "resetchannels")
        with pytest.raises(ClusterUnavailable, match="NOPERM") as caught:
            await found.publish(b"news", b"0")
        assert not caught.value.uncertain


async def test_a_former_master_is_left(fake_server: Fake) -> None:
    """After a failover, messages would go to a server that nobody listens to any more."""
    answers = [b"-LOADING soon\r\n", b":1\r\n"]
    server = await fake_server({b"PUBLISH": lambda peer, command: answers.pop(0)})
    async with publisher(server.url) as found:
        await found.publish(b"news", b"0")
    assert (answers, len(server.peers)) == ([], 2)


async def test_a_channel_of_another_node_is_told(fake_server: Fake) -> None:
    """In a Redis Cluster, nobody would learn where the channel has gone."""
    server = await fake_server({b"PUBLISH": b"-MOVED 5 127.0.0.1:7000\r\n"})
    async with publisher(server.url, stale=STALE - {"MOVED"}) as found:
        await found.keeper.up(5)
        with pytest.raises(ReplyError) as caught:
            await found.publish(b"news", b"0")
        assert caught.value.redirect is not None
        assert found.is_up


async def test_messages_that_wait_can_be_sent_elsewhere(redis_server: Redis) -> None:
    """Messages for a node that has died would wait for it in vain, though another one has its place."""
    redis = await redis_server()
    async with publisher(redis.url) as found, listener(redis.url) as heard:
        await found.publish(b"news", b"0")
        await until(lambda: heard == [0])
        await redis.kill()
        await until(lambda: not found.is_up)
        moved, stays = [asyncio.ensure_future(found.publish(each, b"1")) for each in (b"moved", b"stays")]
        await asyncio.sleep(0)
        found.give_up(lambda channel: channel == b"moved")
        with pytest.raises(ReplyError, match="MOVED"):
            await moved
        assert not stays.done()
        await redis.start()
        await stays
        assert heard == [0]


async def test_much_at_once_waits_for_its_turn(redis_server: Redis) -> None:
    """A burst would fill the memory, or fail though Redis works."""
    redis = await redis_server()
    async with publisher(redis.url, max_pending=2_000) as found, listener(redis.url) as heard:
        await found.publish(b"news", b"0")
        await asyncio.gather(*(found.publish(b"news", b"%0500d" % number) for number in range(1, 50)))
        await until(lambda: len(heard) == 50)
        assert heard == list(range(50))


async def test_one_that_is_cancelled_is_not_waited_for(redis_server: Redis) -> None:
    """A program's own time limit would leave messages that come later."""
    redis = await redis_server()
    async with publisher(redis.url) as found, listener(redis.url) as heard:
        await found.publish(b"news", b"0")
        found._is_stalled = True
        task = asyncio.ensure_future(found.publish(b"news", b"1"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        found._is_stalled = False
        await found.publish(b"news", b"2")
        await until(lambda: len(heard) == 2)
        assert heard == [0, 2]


async def test_what_waits_at_the_end_is_told(redis_server: Redis) -> None:
    """A server that stops would hang, or lose messages without a word."""
    redis = await redis_server()
    async with publisher(redis.url) as found:
        await found.publish(b"news", b"0")
        await redis.kill()
        await until(lambda: not found.is_up)
        waiting = asyncio.ensure_future(found.publish(b"news", b"1"))
        await asyncio.sleep(0)
    with pytest.raises(ClusterUnavailable, match="stopping"):
        await waiting


class Lost(list[ClusterUnavailable]):
    """What an emitter that was cancelled is told."""

    local = True

    def lost(self, error: ClusterUnavailable) -> None:
        self.append(error)


async def begin(work: Awaitable[None]) -> asyncio.Future[None]:
    """Start to publish, as far as it goes at once."""
    task = asyncio.ensure_future(work)
    await asyncio.sleep(0)
    return task


async def test_what_a_cancelled_publisher_has_sent_is_followed(redis_server: Redis, fake_server: Fake) -> None:
    """Nobody would hear that an event was lost whose handler had ended."""
    redis = await redis_server()
    emit = Lost()
    async with publisher(redis.url) as found, listener(redis.url) as heard:
        await found.publish(b"news", b"0")
        task = await begin(found.publish(b"news", b"1", emit=emit))
        task.cancel()
        await found.publish(b"news", b"2")
        await until(lambda: heard == [0, 1, 2])
        assert not emit
    server = await fake_server({b"PUBLISH": lambda peer, command: peer.writer.transport.abort()})
    async with publisher(server.url) as found:
        await found.link()
        task = await begin(found.publish(b"news", b"3", emit=emit))
        task.cancel()
        await until(lambda: emit)
    (error,) = emit
    assert error.uncertain
    assert "not known" in str(error)


async def test_what_a_cancelled_publisher_has_waiting_stays_in_its_place(redis_server: Redis) -> None:
    """Other servers would miss what this one's clients have, or get it out of order."""
    redis = await redis_server()
    emit = Lost()
    begins = [0.0]
    async with publisher(redis.url, may_begin=lambda: begins[0]) as found:
        await found.publish(b"news", b"0")
        begins[0] = math.inf
        await redis.kill()
        await until(lambda: not found.is_up)
        tasks = [await begin(found.publish(b"news", b"%d" % number, emit=emit)) for number in range(1, 4)]
        tasks[1].cancel()
        await asyncio.wait(tasks[1:2])
        await redis.start()
        async with listener(redis.url) as heard:
            begins[0] = 0.0
            await asyncio.gather(tasks[0], tasks[2])
            await until(lambda: len(heard) == 3)
            assert heard == [1, 2, 3]
    assert not emit


async def test_a_cancelled_publisher_is_told_at_the_end(redis_server: Redis) -> None:
    """Nobody would hear of what a server that stops has not sent."""
    redis = await redis_server()
    emit = Lost()
    async with publisher(redis.url, timeout=60) as found:
        await found.publish(b"news", b"0")
        await redis.kill()
        await until(lambda: not found.is_up)
        task = await begin(found.publish(b"news", b"1", emit=emit))
        task.cancel()
        await asyncio.wait([task])
    await until(lambda: emit)
    assert "stopping" in str(emit[0])


async def test_a_refusal_of_a_cancelled_publisher_is_told(fake_server: Fake) -> None:
    """A mistake in the rights of the user would show in no log."""
    emit = Lost()
    server = await fake_server({b"PUBLISH": b"-NOPERM no\r\n"})
    async with publisher(server.url) as found:
        await found.link()
        task = await begin(found.publish(b"news", b"0", emit=emit))
        task.cancel()
        await until(lambda: emit)
    assert "NOPERM" in str(emit[0])
    assert not emit[0].uncertain
