"""The scripts by which history is kept in Redis: what they add and read, also against a model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis

from rtframework.cluster.messages import Broadcast, EventPacket, Options
from rtframework.cluster.streams_wire import encode_data, encode_text, fields_of
from rtframework.types import HistoryPage, HistoryQuery, KeptRoom, Target
from rtframework_redis.history_scripts import append_command, key_of, read_command, read_reply, room_key
from tests.plugins.rtframework_redis.conftest import RedisServer
from tests.support.thorough import examples
from tests.support.until import until

STREAM = "socket.io"
Start = Callable[..., Awaitable[RedisServer]]


class Rooms:
    """The history of rooms on a real Redis, as the scripts keep it."""

    def __init__(self, redis: RedisServer) -> None:
        self.redis: Any = Redis(port=redis.port)

    def add(self, number: Any, *rooms: KeptRoom, data: bytes | None = None) -> str:
        """Say something in rooms; return the id of the entry."""
        data = encode_text(f'["said",{number}]', Target(frozenset("a"), frozenset("x"))) if data is None else data
        keys = [room_key(STREAM, "/", room) for room in rooms]
        fields = [*fields_of(b"me", b"/", 3, data, b"%d" % number, b"a"), b"h", b"1"]
        id: bytes = self.redis.execute_command(*append_command(STREAM, 1000, keys, fields))
        return id.decode()

    def page(self, room: KeptRoom, **query: Any) -> HistoryPage:
        """Read a page."""
        asked = HistoryQuery(**query)
        command = read_command(STREAM, "/", room, asked)
        assert command is not None
        return read_reply(self.redis.execute_command(*command), asked)

    def close(self) -> None:
        """Disconnect."""
        self.redis.close()


@pytest.fixture
async def rooms(redis_server: Start) -> Any:
    """A Redis of the test's own."""
    found = Rooms(await redis_server())
    yield found
    found.close()


def numbers(page: HistoryPage) -> list[Any]:
    """Return what was said."""
    return [entry.args[0] for entry in page.entries]


ROOM, OTHER = KeptRoom("a", 3), KeptRoom("b", 10)


async def test_what_is_added(rooms: Rooms) -> None:
    """Servers would read one thing from the stream, and clients another from the history."""
    ids = [rooms.add(number, ROOM, OTHER) for number in range(6)]
    assert [id.decode() for id, _ in rooms.redis.xrange(STREAM)] == ids
    assert rooms.redis.xrange(STREAM)[0][1][b"h"] == b"1"
    page = rooms.page(ROOM)
    assert (numbers(page), page.more, page.gap) == ([3, 4, 5], False, False)
    assert [entry.id for entry in page.entries] == ids[3:]
    assert page.entries[0].at == int(ids[3].split("-")[0])
    assert page.entries[0].except_ == {"x"}
    assert numbers(rooms.page(OTHER)) == list(range(6))
    assert rooms.redis.ttl(key_of(STREAM, "/", "a")) == -1
    assert {key_of("{x}y", "/n", "r"), key_of("s", "/", "r")} == {b"sio:h:{x}y:/n#r", b"sio:h:{s}:/#r"}


async def test_after_and_before(rooms: Rooms) -> None:
    """A client that comes back would not be told of a gap, or be told of one in vain."""
    ids = [rooms.add(number, ROOM) for number in range(6)]

    def after(id: str, **more: Any) -> tuple[list[Any], bool, bool]:
        page = rooms.page(ROOM, after=id, **more)
        return numbers(page), page.gap, page.more

    assert after(ids[5]) == ([], False, False)
    assert after(ids[3]) == ([4, 5], False, False)
    assert after(ids[2]) == ([3, 4, 5], False, False)
    assert after(ids[1]) == ([3, 4, 5], True, False)
    assert after(ids[2], limit=2, oldest=True) == ([3, 4], False, True)
    assert after(ids[2], limit=2) == ([4, 5], False, True)
    for strange in ("0-0", "x", "99999999999999-0", ids[5] + "1"):
        assert after(strange) == ([3, 4, 5], True, False), strange
    assert numbers(rooms.page(ROOM, before=ids[5])) == [3, 4]
    assert numbers(rooms.page(ROOM, before=ids[4], limit=1)) == [3]
    assert numbers(rooms.page(ROOM, before=ids[0])) == []
    assert numbers(rooms.page(ROOM, upto=ids[4])) == [3, 4]
    assert read_command(STREAM, "/", ROOM, HistoryQuery(before="x")) is None
    assert rooms.page(KeptRoom("never", 5), after=ids[5]) == HistoryPage(gap=True)
    smaller = rooms.page(KeptRoom("a", 2), after=ids[2])
    assert (numbers(smaller), smaller.gap) == ([4, 5], True)
    rooms.redis.delete(key_of(STREAM, "/", "a"))
    assert after(ids[5]) == ([], True, False)


async def test_a_long_page_and_a_heavy_one(rooms: Rooms) -> None:
    """A page would end after a part of what was asked for, or be larger than a client may get."""
    room = KeptRoom("long", 500)
    for number in range(120):
        rooms.add(number, room)
    for query in ({"limit": 100}, {"limit": 100, "oldest": True}, {"limit": 120}, {"limit": 500}):
        page = rooms.page(room, **query)
        assert len(page.entries) == min(120, int(query["limit"]))
        assert page.more == (len(page.entries) < 120)
        assert numbers(page) == sorted(numbers(page))
    assert len(rooms.page(room, max_bytes=1).entries) == 1
    heavy = rooms.page(room, limit=100, max_bytes=1000)
    assert 5 < len(heavy.entries) < 20
    assert heavy.more
    assert rooms.page(room, limit=0) == HistoryPage(more=True)


async def test_what_is_older_is_forgotten(rooms: Rooms) -> None:
    """A promise that nothing is kept for longer than a time would not hold."""
    room = KeptRoom("a", 10, ttl=0.3)
    first = rooms.add(1, room)
    second = rooms.add(2, room)
    assert not rooms.page(room, after=first).gap
    await until(lambda: numbers(rooms.page(KeptRoom("a", 10, ttl=60))) == [])
    assert rooms.page(room, after=second) == HistoryPage(gap=True)
    rooms.add(3, KeptRoom("a", 10, ttl=1000))
    assert 900 < rooms.redis.ttl(key_of(STREAM, "/", "a")) <= 1000
    # Still there, and too old for the rule of now.
    await until(lambda: numbers(rooms.page(KeptRoom("a", 10, ttl=0.05))) == [])
    third = rooms.add(4, KeptRoom("a", 10, ttl=1000))
    assert numbers(rooms.page(KeptRoom("a", 10, ttl=1000))) == [3, 4]
    page = rooms.page(KeptRoom("a", 10, ttl=0.05), before=third)
    assert numbers(page) == []


async def test_bytes_and_rubbish(rooms: Rooms) -> None:
    """A picture would be lost, or one broken entry would hide all others."""
    bytes_ = encode_data(3, Broadcast(EventPacket(2, ["picture", b"\x00\xff"]), opts=Options(["a"], ["x"])))
    rooms.add(1, OTHER, data=bytes_)
    rooms.add(2, OTHER, data=b"rubbish")
    rooms.add(3, OTHER)
    page = rooms.page(OTHER)
    assert [entry.args for entry in page.entries] == [(b"\x00\xff",), (3,)]
    assert page.entries[0].except_ == {"x"}


async def test_a_key_that_is_no_history(rooms: Rooms) -> None:
    """An event would be in the stream, and its emitter be told that nobody has it."""
    rooms.redis.set(key_of(STREAM, "/", "a"), "text")
    rooms.redis.xadd(key_of(STREAM, "/", "b"), {"d": "x"}, id="99999999999999-0")
    rooms.add(1, ROOM, OTHER)
    assert numbers(rooms.page(ROOM)) == numbers(rooms.page(OTHER)) == [1]


_ROOMS = (KeptRoom("a", 4), KeptRoom("b", 2), KeptRoom("c", 40))
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.sets(st.sampled_from(_ROOMS), min_size=1)),
        st.tuples(st.just("clear"), st.sampled_from(_ROOMS)),
        st.tuples(
            st.just("page"),
            st.sampled_from(_ROOMS),
            st.integers(0, 5),
            st.booleans(),
            st.integers(0, 60),
            st.booleans(),
        ),
    ),
    max_size=80,
)


async def test_against_a_model(rooms: Rooms) -> None:
    """Some order of emits and pages would hide an entry, show it twice, or not tell of a gap."""

    @settings(max_examples=examples(400))
    @given(_STEPS)
    def check(steps: list[Any]) -> None:
        rooms.redis.flushall()
        said: list[tuple[str, int, set[str]]] = []
        cleared: dict[str, int] = {}
        for kind, *rest in steps:
            if kind == "say":
                number = len(said)
                said.append((rooms.add(number, *rest[0]), number, {room.name for room in rest[0]}))
            elif kind == "clear":
                rooms.redis.delete(key_of(STREAM, "/", rest[0].name))
                cleared[rest[0].name] = len(said)
            else:
                room, limit, oldest, which, is_before = rest
                ever = [each for each in said if room.name in each[2]]
                kept = [each for each in said[cleared.get(room.name, 0) :] if room.name in each[2]][-room.size :]
                chosen = ever[which % len(ever)] if ever and which < 45 else None
                if chosen is None:
                    query, wanted = {}, kept
                elif is_before:
                    query, wanted = {"before": chosen[0]}, [each for each in kept if each[1] < chosen[1]]
                else:
                    query, wanted = {"after": chosen[0]}, [each for each in kept if each[1] > chosen[1]]
                page = rooms.page(room, limit=limit, oldest=oldest, **query)
                shown = wanted[:limit] if oldest else wanted[max(0, len(wanted) - limit) :]
                assert numbers(page) == [each[1] for each in shown]
                assert page.more == (len(shown) < len(wanted))
                if chosen is not None and not is_before:
                    missing = [each for each in ever if each[1] > chosen[1] and each not in wanted]
                    assert page.gap or not missing, "something is missing, and nobody was told"
                    assert not page.gap or missing or chosen not in kept

    check()
