"""Pages that many sockets ask for at once: read a few times, right for each."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rtframework import ClusterUnavailable, HistoryEntry, HistoryPage
from rtframework.types import HistoryQuery, KeptRoom
from rtframework_redis.shared_pages import SharedPages, bounds_of
from tests.support.clients import turn
from tests.support.thorough import examples

ROOM, OTHER = KeptRoom("a", 1000), KeptRoom("b", 1000)


class Redis:
    """A room that grows while it is read; each read waits for the test."""

    def __init__(self) -> None:
        self.entries: list[HistoryEntry] = []
        self.reads: list[tuple[KeptRoom, HistoryQuery]] = []
        self.gates: list[asyncio.Future[None]] = []
        self.fails = False

    @property
    def at(self) -> str:
        """The position of the newest entry."""
        return self.entries[-1].id if self.entries else "0-0"

    def say(self, count: int = 1) -> None:
        """Add entries."""
        for _ in range(count):
            number = len(self.entries) + 1
            self.entries.append(HistoryEntry(f"1-{number}", 1, text=f'["said",{number}]'))

    async def read(self, room: KeptRoom, query: HistoryQuery) -> HistoryPage:
        """Return a page."""
        self.reads.append((room, query))
        self.gates.append(asyncio.get_running_loop().create_future())
        gate = self.gates[-1]
        found = self.find(query)
        await gate
        if self.fails:
            raise ClusterUnavailable
        return found

    def find(self, query: HistoryQuery) -> HistoryPage:
        """Return a page, without waiting."""
        last = len(self.entries) if query.upto is None else int(query.upto.partition("-")[2])
        first = max(0, last - query.limit)
        return HistoryPage(tuple(self.entries[first:last]), more=first > 0)

    def let(self) -> None:
        """Let all reads that wait go on."""
        gates, self.gates = self.gates, []
        for gate in gates:
            if not gate.done():
                gate.set_result(None)


async def test_many_at_once_are_two_reads() -> None:
    """After a restart, every client would have a page of its own read, and time out."""
    redis = Redis()
    redis.say(200)
    pages = SharedPages(redis.read)
    query = HistoryQuery(limit=50)
    joins = [asyncio.ensure_future(pages.read(ROOM, query, redis.at)) for _ in range(100)]
    await turn()
    assert len(redis.reads) == 1
    redis.say(3)
    redis.let()
    await turn()
    redis.let()
    found = await asyncio.gather(*joins)
    assert len(redis.reads) == 2
    wanted = HistoryPage(tuple(redis.entries[150:200]), more=True)
    assert found == [wanted] * 100
    assert len({id(page) for page in found[1:]}) == 1  # so that it is encoded once
    assert not pages._reading
    assert not pages._next


async def test_rooms_are_apart() -> None:
    """A client would get the page of another room, or of another length."""
    redis = Redis()
    redis.say(9)
    pages = SharedPages(redis.read)
    asked = [(ROOM, 5), (OTHER, 5), (ROOM, 6), (ROOM, 5)]
    joins = [asyncio.ensure_future(pages.read(room, HistoryQuery(limit=limit), redis.at)) for room, limit in asked]
    await turn()
    assert [(room, query.limit) for room, query in redis.reads] == asked[:3]
    redis.let()
    await turn()
    redis.let()
    found = await asyncio.gather(*joins)
    assert [len(page.entries) for page in found if page is not None] == [5, 5, 6, 5]


async def test_who_waits_is_not_lost() -> None:
    """When the first client leaves, or Redis fails, all others would wait for ever."""
    for fails in (False, True):
        redis = Redis()
        redis.say(9)
        pages = SharedPages(redis.read)
        first = asyncio.ensure_future(pages.read(ROOM, HistoryQuery(limit=5), redis.at))
        await turn()
        others = [asyncio.ensure_future(pages.read(ROOM, HistoryQuery(limit=5), redis.at)) for _ in range(3)]
        await turn()
        first.cancel()
        others[0].cancel()
        await turn()
        redis.fails = fails
        redis.let()
        await turn()
        assert [await each is None for each in others[1:]] == [fails] * 2  # each then reads its own
        assert not pages._reading
        assert not pages._next


_STEPS = st.lists(st.sampled_from(["say", "say much", "join", "join small", "let", "turn"]), max_size=40)


@settings(max_examples=examples(400))
@given(_STEPS)
def test_each_gets_what_it_would_get_alone(steps: list[str]) -> None:
    """A client would have a hole between its page and what comes live, or get something twice."""

    async def run() -> None:
        redis = Redis()
        pages = SharedPages(redis.read)
        joins: list[tuple[asyncio.Future[Any], HistoryPage]] = []
        for step in steps:
            if step.startswith("say"):
                redis.say(1 if step == "say" else 70)
            elif step.startswith("join"):
                limit = 60 if step == "join" else 2
                alone = redis.find(HistoryQuery(limit=limit, upto=redis.at))
                reading = pages.read(ROOM, HistoryQuery(limit=limit), redis.at)
                joins.append((asyncio.ensure_future(reading), alone))
                await turn(1)
            elif step == "let":
                redis.let()
            else:
                await turn(2)
        while not all(join.done() for join, _ in joins):
            redis.let()
            await turn(1)
        for join, alone in joins:
            assert join.result() in (alone, None)

    asyncio.run(run())


def test_bounds() -> None:
    """A page that was cut would lack what another read would have shown."""
    redis = Redis()
    redis.say(10)
    page = HistoryPage(tuple(redis.entries[4:]), more=True)
    assert bounds_of(page, 3, "1-10") == (3, 6)
    assert bounds_of(page, 3, "1-7") == (0, 3)
    assert bounds_of(page, 3, "1-6") is None
    assert bounds_of(HistoryPage(page.entries), 3, "1-6") == (0, 2)
    assert bounds_of(HistoryPage(page.entries), 3, "0-0") == (0, 0)
