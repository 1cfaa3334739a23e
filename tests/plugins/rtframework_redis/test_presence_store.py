"""Who is in rooms, in Redis: what each call changes and publishes, and what becomes of calls that get lost."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from rtframework import ClusterUnavailable
from rtframework.protocols import PresenceTab
from rtframework_redis import presence_store as module
from rtframework_redis.errors import LinkLost
from rtframework_redis.keeper import Keeper
from rtframework_redis.link import Link
from rtframework_redis.presence_store import RedisPresence
from rtframework_redis.topology import make_topology
from tests.plugins.rtframework_redis.conftest import RedisServer
from tests.support.inbox import DEFAULT_TIMEOUT
from tests.support.thorough import is_thorough
from tests.support.until import until

Start = Callable[..., Awaitable[RedisServer]]

_uids = itertools.count()


class Carrier:
    """A connection of a test, by which a store publishes to a stream that nobody reads."""

    keys = ("sio:presence:{s}", "s")
    command = "XADD"
    target = 1_000_000
    timeout = 5.0

    def __init__(self, redis: RedisServer) -> None:
        self.uid = f"u{next(_uids)}"
        self.keeper = Keeper(make_topology(redis.url), on_up=self._up)
        self.store = RedisPresence(self)
        self.link: Link | None = None
        self.calls: list[str] = []

    async def _up(self, opened: Any) -> None:
        self.link = opened.link
        asyncio.get_running_loop().call_soon(self.store.connected)

    @property
    def is_ready(self) -> bool:
        """True while there is a connection."""
        return self.link is not None and self.link.is_usable

    def send(self, *args: Any) -> asyncio.Future[Any] | None:
        """Send a command."""
        if self.link is None or not self.link.is_usable:
            return None
        if args[0] == "EVALSHA":
            self.calls.append(args[5])
        reply = self.link.send(*args)
        reply.add_done_callback(lambda reply: reply.cancelled() or reply.exception())
        return reply

    def message(self, nsp: str, room: str, text: str, but: str | None) -> tuple[bytes, bytes]:
        """Return the arguments alone."""
        return b"", text.encode()

    def delivered(self, number: int, position: bytes) -> None:
        """Let nobody wait."""

    def cut(self) -> None:
        """End the connection."""
        if self.link is not None:
            self.link.fail("cut")

    async def die(self) -> None:
        """Do nothing any more, as a process that was killed."""
        self.store._is_open = False
        if self.store._timer is not None:
            self.store._timer.cancel()
        self.store._waiting.clear()
        self.link = None
        await self.keeper.close()


@contextlib.asynccontextmanager
async def stores(redis: RedisServer, count: int = 1) -> AsyncIterator[list[Carrier]]:
    """Return stores of several servers."""
    carriers = [Carrier(redis) for _ in range(count)]
    try:
        for each in carriers:
            await start(each)
        yield carriers
    finally:
        for each in carriers:
            await each.store.close()
            await each.keeper.close()


async def start(carrier: Carrier) -> None:
    carrier.keeper.start()
    await carrier.keeper.up(5)
    await carrier.store.start()


async def published(carrier: Carrier) -> list[tuple[str, str, str, Any]]:
    """Return everything that was published: kind, room, user, meta."""
    assert carrier.link is not None
    found = []
    for _, fields in await carrier.link.send("XRANGE", "s", "-", "+"):
        values = dict(zip(fields[::2], fields[1::2], strict=True))
        name, data = json.loads(values[b"data"])
        assert (values[b"uid"], values[b"nsp"], values[b"type"]) == (b"emitter", b"/", b"3")
        assert values[b"r"].decode() == data["room"]
        found.append((name.removeprefix("presence_"), data["room"], data["user"], data["meta"]))
    return found


def tab(sid: str, user: str, room: str = "r") -> PresenceTab:
    return PresenceTab("/", room, sid, user)


async def test_what_is_published_and_when(redis_server: Start) -> None:
    """A list of users would be wrong from the first change on."""
    async with stores(await redis_server(), 2) as (one, two):
        await one.store.enter(tab("a", "ada"), "1", 10)
        await two.store.enter(tab("b", "ada"), "2", 10)
        await one.store.update("/", "r", "ada", "3")
        await one.store.update("/", "r", "nobody", "4")
        await two.store.leave(tab("a", "ada"))  # it is not his
        await one.store.leave(tab("a", "ada"))
        await one.store.leave(tab("a", "ada"))
        (ada,) = await one.store.members("/", "r", 10, None)
        assert (ada.user, ada.meta, ada.tabs) == ("ada", "3", 1)
        await two.store.leave(tab("b", "ada"))
        assert await published(one) == [
            ("join", "r", "ada", 1),
            ("update", "r", "ada", 3),
            ("leave", "r", "ada", 3),
        ]
        assert await one.store.members("/", "r", 10, None) == []
        assert one.link is not None
        keys = [b"sio:presence:{s}:calls", b"sio:presence:{s}:nodes"]
        assert sorted(await one.link.send("KEYS", "sio:presence*")) == keys, "nothing is left"


async def test_a_tab_belongs_to_the_server_that_entered_it_last(redis_server: Start) -> None:
    """A client that is recovered on another server would leave when its old one notices that it has gone."""
    async with stores(await redis_server(), 2) as (one, two):
        await one.store.enter(tab("a", "ada"), "null", 0.05)
        await two.store.enter(tab("a", "ada"), "null", 0.05)
        one.store.away(tab("a", "ada"), 0)
        await one.store.leave(tab("a", "ada"))
        await one.store.close()
        assert [each.tabs for each in await two.store.members("/", "r", 9, None)] == [1]
        await two.store.leave(tab("a", "ada"))
        assert [kind for kind, *_ in await published(two)] == ["join", "leave"]


async def test_another_user_with_the_same_socket(redis_server: Start) -> None:
    """Somebody who has gone would stay in the list for good."""
    async with stores(await redis_server()) as (one,):
        await one.store.enter(tab("a", "ada"), "1", 10)
        await one.store.enter(tab("a", "bob"), "2", 10)
        assert await published(one) == [("join", "r", "ada", 1), ("leave", "r", "ada", 1), ("join", "r", "bob", 2)]


async def test_a_tab_that_is_away(redis_server: Start) -> None:
    """It would leave too early, twice or never."""
    async with stores(await redis_server(), 3) as (one, two, three):
        for sid in ("a", "b"):
            await one.store.enter(tab(sid, sid), "null", 0.05)
            one.store.away(tab(sid, sid), 0.05)
        await one.store.enter(tab("b", "b"), "null", 0.05)
        found = await two.store.members("/", "r", 9, None)
        assert [(each.user, each.tabs) for each in found] == [("a", 0), ("b", 1)]
        await users_are(three, "r", {"b"})
        assert [each[0:3:2] for each in await published(one)] == [("join", "a"), ("join", "b"), ("leave", "a")]


async def users_are(carrier: Carrier, room: str, expected: set[str]) -> None:
    """Wait until these users are in a room."""
    await people_are(carrier, room, lambda found: set(found) == expected)


async def tabs_are(carrier: Carrier, room: str, expected: dict[str, int]) -> None:
    """Wait until these users are in a room, each with so many tabs."""
    await people_are(carrier, room, lambda found: found == expected)


async def people_are(carrier: Carrier, room: str, condition: Callable[[dict[str, int]], bool]) -> None:
    found: dict[str, int] = {}
    try:
        async with asyncio.timeout(DEFAULT_TIMEOUT):
            while True:
                with contextlib.suppress(ClusterUnavailable):  # it connects again
                    found = {each.user: each.tabs for each in await carrier.store.members("/", room, 10_000, None)}
                if condition(found):
                    return
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"it is {found}") from None


async def test_a_server_that_stops_or_dies(redis_server: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its people would be ghosts, or leave before they could come back elsewhere."""
    monkeypatch.setattr(module, "LEASE", 0.3)
    monkeypatch.setattr(module, "RENEW", 0.1)
    monkeypatch.setattr(module, "_JITTER", 0.01)
    monkeypatch.setattr(module, "AT_ONCE", 3)
    async with stores(await redis_server(), 3) as (one, two, three):
        for number in range(10):
            await one.store.enter(tab(f"a{number}", f"a{number}"), "null", 0.1)
            await two.store.enter(tab(f"b{number}", f"b{number}"), "null", 0.1)
        await one.die()
        await two.store.close()
        back = [each for number in range(5) for each in (f"a{number}", f"b{number}")]
        for name in back:
            await three.store.enter(tab(f"{name} again", name), "null", 0.1)
        await users_are(three, "r", set(back))
        left = [user for kind, _, user, _ in await published(three) if kind == "leave"]
        assert sorted(left) == sorted(f"{each}{number}" for each in "ab" for number in range(5, 10))


async def test_calls_while_redis_is_away(redis_server: Start) -> None:
    """What happens meanwhile would never be told, or a program would wait for it."""
    redis = await redis_server()
    async with stores(redis, 2) as (one, two):
        await one.store.enter(tab("a", "ada"), "null", 10)
        await one.store.enter(tab("b", "bob"), "null", 10)
        await redis.kill()
        await until(lambda: not one.is_ready and not two.is_ready)
        for call in (
            one.store.enter(tab("c", "cleo"), "null", 10),
            one.store.leave(tab("a", "ada")),
            one.store.update("/", "r", "bob", "1"),
            one.store.members("/", "r", 9, None),
        ):
            with pytest.raises(ClusterUnavailable):
                await call
        for number in range(3_000):  # clients that come and go
            one.store.enter(tab(f"x{number}", "x"), "null", 10)
            one.store.leave(tab(f"x{number}", "x"))
        assert len(one.store._waiting) < 8_000
        await redis.start()
        await until(lambda: one.is_ready and two.is_ready)
        await users_are(two, "r", {"bob", "cleo"})


async def test_a_redis_that_has_forgotten_everything(redis_server: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists would be short by everybody who was there before."""
    monkeypatch.setattr(module, "RENEW", 0.05)
    async with stores(await redis_server(), 2) as (one, two):
        await one.store.enter(tab("a", "ada"), "null", 10)
        await one.store.update("/", "r", "ada", "7")
        await one.store.enter(tab("b", "bob"), "null", 0.2)
        one.store.away(tab("b", "bob"), 0.2)
        assert two.link is not None
        await two.link.send("FLUSHALL")
        await users_are(two, "r", {"ada"})
        assert ("leave", "r", "bob", None) in await published(two), "clients have him in their lists"
        assert [each.meta for each in await two.store.members("/", "r", 9, None)] == ["7"]
        await two.link.send("SCRIPT", "FLUSH")
        await one.store.enter(tab("c", "cleo"), "null", 10)
        await users_are(two, "r", {"ada", "cleo"})


async def test_a_server_that_stood_still_takes_back_nobody(redis_server: Start) -> None:
    """Who had gone on elsewhere meanwhile would leave all lists when the first server notices, though being there."""
    async with stores(await redis_server(), 2) as (one, two):
        await one.store.enter(tab("a", "ada"), "null", 10)
        await one.store.enter(tab("b", "bob"), "null", 10)
        await two.store.enter(tab("a", "ada"), "null", 10)  # recovered there
        assert two.link is not None
        await two.link.send("ZREM", "sio:presence:{s}:nodes", one.uid)  # it counts as dead
        one.store.connected()
        await until(lambda: one.calls.count("enter") == 4)
        await one.store.enter(tab("c", "cleo"), "null", 10)
        one.store.away(tab("a", "ada"), 0)  # it hears who has gone on
        await one.store.leave(tab("c", "cleo"))
        assert [each.user for each in await two.store.members("/", "r", 9, None)] == ["ada", "bob"]
        await two.store.leave(tab("a", "ada"))
        assert [each.user for each in await two.store.members("/", "r", 9, None)] == ["bob"]


async def test_a_server_that_was_taken_for_dead_and_is_not_told(
    redis_server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People would be missing from all lists for good, if the one answer that says so is lost."""
    monkeypatch.setattr(module, "_JITTER", 0.01)
    async with stores(await redis_server(), 2) as (one, two):
        await one.store.enter(tab("a", "ada"), "null", 0)
        assert two.link is not None
        await two.link.send("ZADD", "sio:presence:{s}:nodes", 1, one.uid)
        two.store._sweep()
        await users_are(two, "r", set())
        send = one.send

        def lose(*args: Any) -> asyncio.Future[Any]:
            """Send, and never get the answer."""
            monkeypatch.setattr(one, "send", send)
            sent = send(*args)
            assert sent is not None
            lost: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            sent.add_done_callback(lambda _: lost.set_exception(LinkLost("cut")))
            return lost

        monkeypatch.setattr(one, "send", lose)
        bob = one.store.enter(tab("b", "bob"), "null", 10)
        await until(lambda: bool(one.store._waiting))
        one.store._flush()
        await bob
        await users_are(two, "r", {"ada", "bob"})


async def test_a_replica_that_lagged_and_a_call_before_the_next_sign_of_life(redis_server: Start) -> None:
    """Somebody would be missing after a failover, because a call that comes first hides that others are lost."""
    async with stores(await redis_server(), 2) as (one, two):
        await one.store.enter(tab("a", "ada"), "null", 10)
        assert two.link is not None
        before = await two.link.send("DUMP", "sio:presence:{s}:calls")
        await one.store.enter(tab("b", "bob"), "null", 10)
        await two.link.send("RESTORE", "sio:presence:{s}:calls", 0, before, "REPLACE")
        for field in ("tb", "nbob", "lbob", "mbob", "dbob", "sbob"):
            await two.link.send("HDEL", "sio:presence:{s}:r:/,r", field)
        await two.link.send("ZREM", "sio:presence:{s}:i:/,r", "bob")
        await one.store.enter(tab("c", "cleo"), "null", 10)
        await users_are(two, "r", {"ada", "bob", "cleo"})


async def test_a_redis_that_refuses(
    redis_server: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program would wait for ever, and nobody would know why; or people would be missing for good."""
    monkeypatch.setattr(module, "RENEW", 0.05)
    monkeypatch.setattr(module, "_AGAIN", 0.1)
    redis = await redis_server()
    async with stores(redis) as (one,):
        assert one.link is not None
        await one.link.send("SET", "sio:presence:{s}:r:/,r", "a string")
        with pytest.raises(ClusterUnavailable, match="refuses"):
            await one.store.enter(tab("a", "ada"), "null", 10)
        assert "Redis refuses presence" in caplog.text
        assert one.store._latest == {}
        await one.link.send("DEL", "sio:presence:{s}:r:/,r")
        await users_are(one, "r", {"ada"})


async def test_a_long_list_is_read_in_pages(redis_server: Start) -> None:
    """A room with very many people could not be shown at all."""
    async with stores(await redis_server()) as (one,):
        names = sorted(f"user {number}" for number in range(2_500))
        for name in names:
            one.store.enter(tab(name, name), "null", 10)
        found: list[str] = []
        while True:
            page = await one.store.members("/", "r", 1_000, found[-1] if found else None)
            found += [each.user for each in page]
            if len(page) < 1_000:
                break
        assert found == names


@pytest.mark.parametrize("seed", range(20 if is_thorough() else 3))
async def test_no_ghost_after_anything(redis_server: Start, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Somebody would stay in a list for good, or be missing, after one of all the things that can happen."""
    monkeypatch.setattr(module, "LEASE", 0.4)
    monkeypatch.setattr(module, "RENEW", 0.1)
    monkeypatch.setattr(module, "_JITTER", 0.05)
    redis = await redis_server()
    chosen = random.Random(seed)
    async with stores(redis, 3) as carriers:
        there: dict[tuple[str, str], tuple[Carrier, PresenceTab]] = {}
        """The model: by room and socket, the server that a tab is at."""
        numbers = itertools.count()
        for step in range(3_400):
            carrier = chosen.choice(carriers)
            roll = chosen.random()
            mine = [each for at, each in there.values() if at is carrier]
            if roll < 0.4:
                each = tab(f"s{next(numbers)}", chosen.choice("abcdefgh"), chosen.choice(["r1", "r2"]))
                carrier.store.enter(each, "null", chosen.choice([0.05, 0.2]))
                there[each.room, each.sid] = carrier, each
            elif roll < 0.62 and mine:
                each = chosen.choice(mine)
                carrier.store.leave(each)
                del there[each.room, each.sid]
            elif roll < 0.8 and mine:
                each = chosen.choice(mine)
                is_known = ("/", each.room, each.sid) not in carrier.store._latest  # so that it may be taken over
                carrier.store.away(each, chosen.choice([0, 0.02, 0.1]))
                del there[each.room, each.sid]
                if chosen.random() < 0.3:  # back at once, here or elsewhere
                    other = chosen.choice(carriers) if is_known else carrier
                    other.store.enter(each, "null", 0.1)
                    there[each.room, each.sid] = other, each
            elif roll < 0.85:
                carrier.store.update("/", chosen.choice(["r1", "r2"]), chosen.choice("abcdefgh"), str(step))
            elif roll < 0.853:
                carrier.cut()
            elif roll < 0.854:
                await carrier.die()
                there = {key: (at, each) for key, (at, each) in there.items() if at is not carrier}
                carriers[carriers.index(carrier)] = fresh = Carrier(redis)
                await start(fresh)
            if not step % 20:
                await asyncio.sleep(0)
            if not step % 200:
                await asyncio.sleep(0.02)
        for room in ("r1", "r2"):
            expected = {each.user for _, each in there.values() if each.room == room}
            tabs = {user: sum(e.user == user and e.room == room for _, e in there.values()) for user in expected}
            await tabs_are(carriers[0], room, tabs)
        state: dict[tuple[str, str], bool] = {}
        for kind, room, user, _ in await published(carriers[0]):
            if kind != "update":
                assert state.get((room, user), False) is (kind == "leave"), "told twice"
                state[room, user] = kind == "join"
        assert {key for key, is_there in state.items() if is_there} == {(e.room, e.user) for _, e in there.values()}


async def test_a_redis_that_stands_still(redis_server: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody would leave and come after each pause that is longer than a lease."""
    monkeypatch.setattr(module, "LEASE", 0.3)
    monkeypatch.setattr(module, "RENEW", 0.1)
    monkeypatch.setattr(module, "_JITTER", 0.01)
    redis = await redis_server()
    async with stores(redis, 3) as carriers:
        for each in carriers:
            await each.store.enter(tab(each.uid, each.uid), "null", 0.05)
        redis.freeze()
        await asyncio.sleep(0.6)
        redis.thaw()
        users = {each.uid for each in carriers}
        calls = [len(each.calls) for each in carriers]
        await until(lambda: all(len(each.calls) > before + 5 for each, before in zip(carriers, calls, strict=True)))
        await users_are(carriers[0], "r", users)
        assert {kind for kind, *_ in await published(carriers[0])} == {"join"}
        await carriers[2].die()
        await users_are(carriers[0], "r", users - {carriers[2].uid})


async def test_a_call_is_done_when_its_change_was_delivered(redis_server: Start) -> None:
    """What the joiner says next would come before it is in the lists of the same server."""
    async with stores(await redis_server()) as (one,):
        delivered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asked = []

        def wait(number: int, position: bytes) -> asyncio.Future[None]:
            asked.append(position)
            return delivered

        one.delivered = wait  # type: ignore[assignment, method-assign]
        entering = asyncio.ensure_future(one.store.enter(tab("a", "ada"), "null", 10))
        again = asyncio.ensure_future(one.store.enter(tab("b", "ada"), "null", 10))
        await until(lambda: len(asked) == 2)
        assert asked[0] == asked[1] != b"", "the second tab waits for what the first has published"
        assert not entering.done()
        assert not again.done()
        delivered.set_result(None)
        await asyncio.gather(entering, again)
        del one.delivered
