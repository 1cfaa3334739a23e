"""Sessions in Redis: what Node can read, and nobody gets twice."""

from __future__ import annotations

import asyncio
import contextlib
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import msgspec
import pytest

from rtframework import EncodeError
from rtframework.protocols import UNKNOWN, Session
from rtframework_redis.keeper import Keeper
from rtframework_redis.link import Link
from rtframework_redis.stream_sessions import Renewal, Sessions
from rtframework_redis.stream_writer import StreamWriter
from rtframework_redis.topology import make_topology
from tests.plugins.rtframework_redis.conftest import RedisServer
from tests.support.until import until

Start = Callable[..., Awaitable[RedisServer]]


class Writer:
    """What sessions need of a writer."""

    def __init__(self, link: Link) -> None:
        self.link: Link | None = link

    def send(self, *args: Any) -> asyncio.Future[Any] | None:
        """Send a command."""
        return None if self.link is None else self.link.send(*args)

    async def command(self, *args: Any) -> Any:
        """Send a command and wait."""
        assert self.link is not None
        return await self.link.send(*args)


@contextlib.asynccontextmanager
async def sessions_on(redis: RedisServer, node: str = "here") -> AsyncIterator[tuple[Sessions, Link, Writer]]:
    """Sessions of one server."""
    keeper = Keeper(make_topology(redis.url))
    keeper.start()
    link = await keeper.up(5)
    writer = Writer(link)
    try:
        yield Sessions(cast(StreamWriter, writer), "sio:session:", node), link, writer
    finally:
        await keeper.close()


def session(**changes: Any) -> Session:
    """Make a session."""
    known: dict[str, Any] = {"identity": "ada", "data": {"n": 1}, "rooms": frozenset({"sid", "room"})}
    return Session("sid", "pid", **{**known, **changes})


async def test_a_session_comes_back_as_it_was(redis_server: Start) -> None:
    """A client would be in other rooms than before, or be somebody else."""
    async with sessions_on(await redis_server()) as (sessions, link, writer):
        at = {None: "1-1", "room": "2-2"}
        sessions.persist(session(replaced=True, replayed="1-0"), "/", 60, at)
        await sessions.flush(1)
        assert 59_000 < await link.send("PTTL", "sio:session:pid") <= 60_000
        kept = await sessions.find(link, "pid", "/")
        assert kept is not None
        found = kept.session
        assert (found.sid, found.data, found.identity) == ("sid", {"n": 1}, "ada")
        assert found.rooms == {"sid", "room"}
        assert (found.origin, found.replaced, found.replayed) == ("here", True, "1-0")
        assert (kept.here, kept.at, kept.since) == (False, "1-1", {"room": "2-2"})
        assert await sessions.find(link, "pid", "/other") is None
        assert await sessions.find(link, "stranger", "/") is None
        assert await sessions.take(link, kept, "/") is not None
        other = Sessions(cast(StreamWriter, writer), "sio:session:", "there")
        assert await other.take(link, kept, "/") is None, "this server has it"
        assert await other.find(link, "pid", "/") is None
        again = await sessions.find(link, "pid", "/")
        assert again is not None, "the reply could have been lost"
        assert await sessions.take(link, again, "/") is not None
        sessions.use("pid")
        assert await sessions.find(link, "pid", "/") is None


async def test_node_can_read_it_and_is_read(redis_server: Start) -> None:
    """Clients could not move between servers of the two kinds."""
    async with sessions_on(await redis_server()) as (sessions, link, _):
        sessions.persist(session(), "/", 60, {})
        await sessions.flush(1)
        value = msgspec.msgpack.decode(b64decode(await link.send("GET", "sio:session:pid")))
        assert list(value)[:4] == ["sid", "pid", "rooms", "data"]
        theirs = {"sid": "s", "pid": "p", "rooms": ["s"], "data": {}}
        await link.send("SET", "sio:session:p", b64encode(msgspec.msgpack.encode(theirs)))
        kept = await sessions.find(link, "p", "/")
        assert kept is not None
        assert (kept.session.identity, kept.session.origin, kept.at) == (UNKNOWN, "node", None)
        for rubbish in (b"%", b64encode(b"\xc1"), b64encode(msgspec.msgpack.encode([])), b64encode(b"\x80")):
            await link.send("SET", "sio:session:p", rubbish)
            assert await sessions.find(link, "p", "/") is None


async def test_a_session_that_was_taken_is_not_written_again(redis_server: Start) -> None:
    """The server that a client has left would give an old session to whoever asks next."""
    async with sessions_on(await redis_server()) as (sessions, link, _):
        sessions.keep(session(), "/", 60, {})
        kept = await sessions.find(link, "pid", "/")
        assert kept is not None
        assert kept.here
        await sessions.take(link, kept, "/")
        sessions.keep(session(data={"n": 2}), "/", 60, {})
        sessions.persist(session(), "/", 60, {})
        await sessions.flush(1)
        assert await link.send("EXISTS", "sio:session:pid") == 0
        assert not sessions.has("pid")
        sessions.persist(session(), "/", 60, {})  # given back by one that had taken it
        assert await link.send("EXISTS", "sio:session:pid") == 1
        sessions.forget("pid")
        assert await link.send("EXISTS", "sio:session:pid") == 0


async def test_a_key_that_cannot_be_read_back_is_refused(redis_server: Start) -> None:
    """Another user would get the session."""
    async with sessions_on(await redis_server()) as (sessions, link, _):
        for identity in (object(), (1, 2), float("nan")):
            with pytest.raises(EncodeError):
                sessions.persist(session(identity=identity), "/", 60, {})
        with pytest.raises(EncodeError):
            sessions.persist(session(data={"socket": object()}), "/", 60, {})
        assert await link.send("EXISTS", "sio:session:pid") == 0


async def test_what_could_not_be_sent_is_sent_later(redis_server: Start) -> None:
    """Clients that leave during an outage of Redis would lose their sessions."""
    async with sessions_on(await redis_server()) as (sessions, link, writer):
        writer.link = None
        sessions.persist(session(), "/", 60, {})
        writer.link = link
        sessions.resend()
        await sessions.flush(1)
        assert await link.send("EXISTS", "sio:session:pid") == 1


async def test_all_sessions_of_a_user_can_be_forgotten(redis_server: Start) -> None:
    """Whoever has changed their password would still be in, on a device that was stolen."""
    async with sessions_on(await redis_server()) as (sessions, link, _):
        for number, identity in enumerate(["ada", "bob", "ada"]):
            one = Session("s", f"p{number}", frozenset(), {}, identity=identity)
            sessions.persist(one, "/" if number else "/other", 60, {})
        sessions.keep(session(), "/", 60, {})
        await sessions.flush(1)
        assert await sessions.forget_all("/", lambda session: session.identity == "ada") == 1
        assert await link.send("EXISTS", "sio:session:p2") == 0
        assert await link.send("DBSIZE") == 3


async def test_changes_are_written_down() -> None:
    """After a crash a client would be in the rooms that it had when it came."""
    written: list[str] = []
    renewal = Renewal(lambda: ["a", "b"], written.append, 0.6)
    renewal.start()
    renewal.change("c")
    renewal.change("c")
    await until(lambda: written.count("a") == 1)
    await until(lambda: written.count("a") == 2)
    assert written.count("c") == 1
    renewal.change("d")
    await renewal.close()
    count = len(written)
    await asyncio.sleep(0.25)
    assert len(written) == count
