"""The history in memory: sizes, times, positions and bounds, also against a model."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtframework import HistoryEntry, HistoryPage, MemoryHistory
from rtframework.adapters.memory_history import take_page
from rtframework.protocols import HistoryStore
from rtframework.testing import HistoryConformance
from rtframework.types import HistoryQuery, KeptRoom
from tests.support.thorough import examples


class TestConformance(HistoryConformance):
    """It is a store as any other."""

    def store(self) -> HistoryStore:
        """Make one."""
        return MemoryHistory()


class Ticking:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def entry(number: Any, at: float = 0.0) -> HistoryEntry:
    """Make an entry."""
    return HistoryEntry("", round(at * 1000), text=f'["said",{number}]')


def numbers(page: HistoryPage) -> list[Any]:
    """Return what was said."""
    return [each.args[0] for each in page.entries]


ROOM = KeptRoom("a", 3)


def test_the_newest_are_kept() -> None:
    """A room would grow for ever, or forget what was just said."""
    store = MemoryHistory()
    ids = [store.add("/", [ROOM], entry(number)) for number in range(5)]
    page = store.find("/", ROOM, HistoryQuery())
    assert numbers(page) == [2, 3, 4]
    assert [each.id for each in page.entries] == ids[2:]
    assert (page.gap, page.more) == (False, False)
    page = store.find("/", ROOM, HistoryQuery(limit=2))
    assert (numbers(page), page.more) == ([3, 4], True)
    assert numbers(store.find("/", ROOM, HistoryQuery(limit=2, before=page.entries[0].id))) == [2]


def test_after_an_entry() -> None:
    """A client that comes back would not be told that something is missing, or be told so in vain."""
    store = MemoryHistory()
    ids = [store.add("/", [ROOM], entry(number)) for number in range(5)]

    def after(id: str, **more: Any) -> tuple[list[Any], bool, bool]:
        page = store.find("/", ROOM, HistoryQuery(after=id, **more))
        return numbers(page), page.gap, page.more

    assert after(ids[4]) == ([], False, False)
    assert after(ids[2]) == ([3, 4], False, False)
    assert after(ids[1]) == ([2, 3, 4], False, False)
    assert after(ids[0]) == ([2, 3, 4], True, False)
    assert after(ids[1], limit=1, oldest=True) == ([2], False, True)
    assert after(ids[1], limit=1) == ([4], False, True)
    for strange in ("", "x", "1-0", ids[0].replace(".", ","), ids[4] + "0", MemoryHistory().position):
        assert after(strange) == ([2, 3, 4], True, False), strange
    assert store.find("/", KeptRoom("b", 3), HistoryQuery(after=ids[4])) == HistoryPage(gap=True)
    assert numbers(store.find("/", ROOM, HistoryQuery(before="x"))) == []


async def test_what_is_older_is_forgotten() -> None:
    """A promise that nothing is kept for longer than a day would not hold."""
    clock = Ticking()
    store = MemoryHistory(clock=clock)
    room = KeptRoom("a", 10, ttl=60)
    first = store.add("/", [room], entry(1, clock.now))
    clock.now += 40
    second = store.add("/", [room], entry(2, clock.now))
    clock.now += 20
    assert numbers(store.find("/", room, HistoryQuery())) == [1, 2]
    clock.now += 1
    page = store.find("/", room, HistoryQuery(after=first))
    assert (numbers(page), page.gap) == ([2], False)
    assert numbers(store.find("/", room, HistoryQuery(before=second))) == []
    clock.now += 40
    assert store.find("/", room, HistoryQuery(after=first)) == HistoryPage(gap=True)
    assert store.find("/", room, HistoryQuery(after=second)) == HistoryPage()
    assert store.bytes == 0


async def test_cleared_and_closed() -> None:
    """What was deleted would come back, or a client would take what it has for complete."""
    store = MemoryHistory()
    first = store.add("/", [ROOM, KeptRoom("b", 3)], entry(1))
    await store.clear("/", "a")
    assert store.find("/", ROOM, HistoryQuery(after=first)) == HistoryPage(gap=True)
    assert numbers(store.find("/", KeptRoom("b", 3), HistoryQuery())) == [1]
    store.add("/", [ROOM], entry(2))
    assert numbers(store.find("/", ROOM, HistoryQuery())) == [2]
    await store.close()
    assert (len(store), store.bytes) == (0, 0)
    assert store.find("/", ROOM, HistoryQuery(after=first)) == HistoryPage(gap=True)
    store.add("/", [ROOM], entry(3))
    assert store.find("/", ROOM, HistoryQuery(after=first)).gap


def test_bounds_over_all_rooms(caplog: pytest.LogCaptureFixture) -> None:
    """Clients that name rooms would fill the memory of the server."""
    store = MemoryHistory(max_rooms=2)
    rooms = [KeptRoom(name, 3) for name in "abc"]
    ids = [store.add("/", [room], entry(room.name == "a")) for room in rooms[:2]]
    store.find("/", rooms[0], HistoryQuery())  # used: b has waited longer now
    store.add("/", [rooms[2]], entry(3))
    assert (len(store), store.forgotten) == (2, 1)
    assert [record.getMessage() for record in caplog.records] == [
        "the history of a room is forgotten: more than 2 rooms or 67108864 bytes are kept in memory"
    ]
    assert store.find("/", rooms[1], HistoryQuery(after=ids[1])) == HistoryPage(gap=True)
    assert not store.find("/", rooms[0], HistoryQuery(after=ids[0])).gap

    small = MemoryHistory(max_bytes=3000)
    for number in range(100):
        small.add("/", [KeptRoom(f"{number % 7}", 1000)], entry(number))
        assert small.bytes <= 3000
    alone = MemoryHistory(max_bytes=3000)
    for number in range(100):
        alone.add("/", [KeptRoom("a", 1000)], entry(number))
    assert alone.bytes <= 3000
    assert numbers(alone.find("/", KeptRoom("a", 1000), HistoryQuery()))[-1] == 99
    alone.add("/", [KeptRoom("a", 1000)], HistoryEntry("", 0, data=["picture", b"x" * 9000]))
    assert len(alone.find("/", KeptRoom("a", 1000), HistoryQuery()).entries) == 1


def test_a_page_is_bounded_in_bytes() -> None:
    """One page of pictures would overflow the client's outbox, and disconnect it."""
    found = [HistoryEntry(str(number), 0, data=["picture", b"x" * 100]) for number in range(9)]
    assert [each.id for each in take_page(found, HistoryQuery(max_bytes=350)).entries] == ["6", "7", "8"]
    page = take_page(found, HistoryQuery(max_bytes=350, oldest=True))
    assert ([each.id for each in page.entries], page.more) == (["0", "1", "2"], True)
    assert len(take_page(found, HistoryQuery(max_bytes=1)).entries) == 1
    assert take_page(found, HistoryQuery(limit=0)) == HistoryPage(more=True)


@dataclass
class Said:
    """One event, as the model has it."""

    id: str
    number: int
    at: float
    room: str


@dataclass
class Model:
    """All that was ever said, and which rooms were cleared when."""

    said: list[Said] = field(default_factory=list)
    cleared: dict[str, int] = field(default_factory=dict)

    def kept(self, room: KeptRoom, now: float) -> list[Said]:
        """Return what a room still has."""
        ever = [each for each in self.said[self.cleared.get(room.name, 0) :] if each.room == room.name]
        return [each for each in ever[-room.size :] if room.ttl is None or now - each.at <= room.ttl]


_ROOMS = (KeptRoom("a", 4), KeptRoom("b", 2, ttl=30), KeptRoom("c", 3, ttl=10))
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.sampled_from(_ROOMS)),
        st.tuples(st.just("wait"), st.integers(1, 12)),
        st.tuples(st.just("clear"), st.sampled_from(_ROOMS)),
        st.tuples(st.just("page"), st.sampled_from(_ROOMS), st.integers(0, 5), st.booleans(), st.integers(0, 60)),
    ),
    max_size=60,
)


@settings(max_examples=examples(800))
@given(_STEPS)
def test_against_a_model(steps: list[Any]) -> None:
    """Some order of emits, waiting and paging would hide an entry, show it twice, or not tell of a gap."""
    clock = Ticking()
    store = MemoryHistory(clock=clock)
    model = Model()
    for kind, *rest in steps:
        if kind == "wait":
            clock.now += rest[0]
        elif kind == "say":
            number = len(model.said)
            id = store.add("/", [rest[0]], entry(number, clock.now))
            model.said.append(Said(id, number, clock.now, rest[0].name))
        elif kind == "clear":
            asyncio.run(store.clear("/", rest[0].name))
            model.cleared[rest[0].name] = len(model.said)
        else:
            room, limit, oldest, which = rest
            kept = model.kept(room, clock.now)
            ever = [each for each in model.said if each.room == room.name]
            since = ever[which % len(ever)] if ever and which < 40 else None
            query = HistoryQuery(after=None if since is None else since.id, limit=limit, oldest=oldest)
            page = store.find("/", room, query)
            wanted = [each for each in kept if since is None or each.number > since.number]
            shown = wanted[:limit] if oldest else wanted[max(0, len(wanted) - limit) :]
            assert numbers(page) == [each.number for each in shown]
            assert page.more == (len(shown) < len(wanted))
            if since is not None:
                missing = [each for each in ever if each.number > since.number and each not in wanted]
                assert page.gap or not missing, "something is missing, and nobody was told"
                if not missing and since in kept:
                    assert not page.gap
