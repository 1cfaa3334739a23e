"""Who is in the rooms of one server: no ghost after anything, against a model."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from rtframework import MemoryAdapter
from rtframework.adapters.presence_memory import MemoryPresence
from rtframework.protocols import PresenceTab
from rtframework.testing import ClusterBroker
from rtframework.testing.conformance import PresenceConformance
from tests.support.simulation import SimulatedLoop
from tests.support.thorough import is_thorough


class Alone(ClusterBroker):
    """A server without others."""

    def backbone(self, name: str) -> Any:
        """Return what makes its adapters."""
        return MemoryAdapter


class TestConformance(PresenceConformance):
    """A server in memory would do something else than those on a broker."""

    servers = 1

    def broker(self) -> ClusterBroker:
        """Return what joins nothing."""
        return Alone()


@pytest.mark.parametrize("seed", range(8 if is_thorough() else 1))
def test_no_ghost_after_anything(seed: int) -> None:
    """Somebody would stay in a list for good, or be missing."""
    loop = SimulatedLoop()
    try:
        loop.run_until_complete(_go_on(random.Random(seed)))
    finally:
        loop.close()


async def _go_on(chosen: random.Random) -> None:
    loop = asyncio.get_running_loop()
    told: dict[tuple[str, str], str] = {}
    wrong: list[tuple[str, ...]] = []

    def publish(nsp: str, room: str, event: str, user: str, meta: str, but: str | None) -> None:
        if ((room, user) in told) is (event == "presence_join"):
            wrong.append((event, room, user))
        if event == "presence_leave":
            del told[room, user]
        else:
            told[room, user] = meta

    store = MemoryPresence(publish, now=loop.time)
    there: dict[tuple[str, str], tuple[str, float | None]] = {}
    """The model: by room and socket, the user, and the time until when it is away."""
    for step in range(10_000):
        roll = chosen.random()
        room, sid = chosen.choice("rst"), str(chosen.randrange(12))
        user = there[room, sid][0] if (room, sid) in there else chosen.choice("abcd")
        tab = PresenceTab("/", room, sid, user)
        if roll < 0.35:
            store.enter(tab, str(step), 10)
            there[room, sid] = user, None
        elif roll < 0.5:
            store.leave(tab)
            there.pop((room, sid), None)
        elif roll < 0.75:
            seconds = chosen.choice([0, 1, 5, 10])
            store.away(tab, seconds)
            if (room, sid) in there:
                there[room, sid] = user, loop.time() + seconds
        elif roll < 0.8:
            store.update("/", room, user, str(step))
        else:
            await asyncio.sleep(chosen.choice([0.5, 2, 7]))
        now = loop.time()
        there = {key: (each, until) for key, (each, until) in there.items() if until is None or until > now}
        expected: dict[tuple[str, str], int] = {}
        for (in_room, _), (each, until) in there.items():
            expected[in_room, each] = expected.get((in_room, each), 0) + (until is None)
        found = {(in_room, each.user): each.tabs for in_room in "rst" for each in store.members("/", in_room, 99, None)}
        assert found == expected
        assert set(told) == set(expected)
        assert all(told[room, each.user] == each.meta for room in "rst" for each in store.members("/", room, 99, None))
        assert not wrong, "told twice"
    await store.close()
    assert not loop.timers()  # type: ignore[attr-defined]


def test_pages_and_since() -> None:
    """A program that reads page by page would miss somebody, or meet them twice."""
    times = iter(range(1, 6))
    store = MemoryPresence(lambda *args: None, now=lambda: next(times))
    for user in ("b", "é", "a", "\U0001f600", "B"):
        store.enter(PresenceTab("/", "r", f"{user} tab", user), "null", 10)
    everybody = store.members("/", "r", 99, None)
    assert [(each.user, each.since) for each in everybody] == [
        ("B", 5),
        ("a", 3),
        ("b", 1),
        ("é", 2),
        ("\U0001f600", 4),
    ]
    assert store.members("/", "r", 2, "a") == everybody[2:4]
    assert store.members("/", "r", 2, "aa") == everybody[2:4]
    assert store.members("/", "r", 2, "\U0001f600") == []


def test_another_user_with_the_same_socket() -> None:
    """Somebody who has gone would stay in the list for good."""
    told = []
    store = MemoryPresence(lambda *args: told.append((args[2], args[3])))
    store.enter(PresenceTab("/", "r", "s", "ada"), "null", 10)
    store.enter(PresenceTab("/", "r", "s", "bob"), "null", 10)
    assert told == [("presence_join", "ada"), ("presence_leave", "ada"), ("presence_join", "bob")]
    store.leave(PresenceTab("/", "r", "s", "ada"))
    assert store.members("/", "r", 9, None) == []
