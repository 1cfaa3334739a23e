"""The conformance suite of stores for the history of rooms."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from ...types import HistoryEntry, HistoryPage, HistoryQuery, KeptRoom
from .suites import check

if TYPE_CHECKING:
    from ...protocols import HistoryStore

_ROOM: Final = KeptRoom("room", 3)
_LARGE: Final = KeptRoom("large", 1000)
_LONGEST_ID: Final = 64
_STRANGE: Final = ("", "x", "0", "-1", "0-0", "1.1", "9" * 64, "a" * 64, "'; --", "%", "null")


class HistoryConformance:
    """Tests of a :class:`~rtframework.protocols.HistoryStore`. Implement :meth:`store`."""

    def store(self) -> HistoryStore:
        """Return a new store without entries, which was not started."""
        raise NotImplementedError("give the suite a store()")

    def test_the_newest_are_kept(self) -> None:
        """A room has its newest entries, the oldest first, and no more of them than it keeps."""

        async def run(store: HistoryStore) -> None:
            ids = [await _add(store, number, _ROOM) for number in range(6)]
            page = await store.read("/", _ROOM, HistoryQuery())
            _expect(page, [3, 4, 5])
            check([entry.id for entry in page.entries] == ids[3:], "an entry has another id than append() returned")
            check(len(set(ids)) == 6, "two entries have one id")
            for id in ids:
                check(0 < len(id) <= _LONGEST_ID and id.isascii() and id.isprintable(), f"{id!r} is no id")
            _expect(await store.read("/", KeptRoom("room", 2), HistoryQuery()), [4, 5])

        self._run(run)

    def test_an_entry_is_read_as_it_was_added(self) -> None:
        """Arguments of any kind, bytes among them, and the rooms that an event was not for."""

        async def run(store: HistoryStore) -> None:
            at = round(time.time() * 1000)
            for entry in (
                HistoryEntry("", at, text='["said",null,{"ä":["\U0001f600",1.5]}]', except_=frozenset(("x", "ü"))),
                HistoryEntry("", at, data=["said", b"\x00\xff", {"deep": [b"", None, -1, True]}]),
                HistoryEntry("", at, text="[7]"),
                HistoryEntry("", at, data=["large", b"x" * 300_000]),
            ):
                id = await store.append("/", [_LARGE], entry)
                (found,) = (await store.read("/", _LARGE, HistoryQuery(limit=1))).entries
                check(found == entry.with_id(id), f"{entry!r} was read as {found!r}")
                check(found.text == entry.text, "an entry with JSON has lost it: pages have to be encoded again")

        self._run(run)

    def test_paging_back(self) -> None:
        """Each entry is found once by the ids of those after it."""

        async def run(store: HistoryStore) -> None:
            for number in range(10):
                await _add(store, number, _LARGE)
            found: list[Any] = []
            page = await store.read("/", _LARGE, HistoryQuery(limit=3))
            while True:
                found = [*_numbers(page), *found]
                if not page.more:
                    break
                page = await store.read("/", _LARGE, HistoryQuery(limit=3, before=page.entries[0].id))
            check(found == list(range(10)), f"paging back found {found}")
            check(not page.gap, "a gap without after")
            _expect(await store.read("/", _LARGE, HistoryQuery(limit=0)), [], more=True)

        self._run(run)

    def test_catching_up(self) -> None:
        """What came after an entry is found, the newest or the oldest of it."""

        async def run(store: HistoryStore) -> None:
            ids = [await _add(store, number, _LARGE) for number in range(6)]
            _expect(await store.read("/", _LARGE, HistoryQuery(after=ids[5])), [])
            _expect(await store.read("/", _LARGE, HistoryQuery(after=ids[1])), [2, 3, 4, 5])
            _expect(await store.read("/", _LARGE, HistoryQuery(after=ids[1], limit=2)), [4, 5], more=True)
            oldest = HistoryQuery(after=ids[1], limit=2, oldest=True)
            _expect(await store.read("/", _LARGE, oldest), [2, 3], more=True)
            between = HistoryQuery(after=ids[1], before=ids[4])
            _expect(await store.read("/", _LARGE, between), [2, 3])

        self._run(run)

    def test_gaps_are_told(self) -> None:
        """A client that has missed entries which are gone is told so, and so is one with an id that nobody knows."""

        async def run(store: HistoryStore) -> None:
            ids = [await _add(store, number, _ROOM) for number in range(6)]
            _expect(await store.read("/", _ROOM, HistoryQuery(after=ids[2])), [3, 4, 5])
            _expect(await store.read("/", _ROOM, HistoryQuery(after=ids[1])), [3, 4, 5], gap=True)
            for id in _STRANGE:
                _expect(await store.read("/", _ROOM, HistoryQuery(after=id)), [3, 4, 5], gap=True)
                page = await store.read("/", _ROOM, HistoryQuery(before=id))
                check(not page.entries, f"something is before {id!r}, which is no id")
            _expect(await store.read("/", KeptRoom("other", 3), HistoryQuery(after=ids[5])), [], gap=True)
            await store.clear("/", "room")
            _expect(await store.read("/", _ROOM, HistoryQuery(after=ids[5])), [], gap=True)
            id = await _add(store, 6, _ROOM)
            check(id not in ids, "an id was given out again after clear()")
            page = await store.read("/", _ROOM, HistoryQuery(after=ids[3]))
            check(page.gap, "what was cleared is no gap")
            check(_numbers(page)[-1:] == [6], "an entry that came after clear() is missing")

        self._run(run)

    def test_what_is_too_old_is_gone(self) -> None:
        """Entries are shown for their time, and no longer."""

        async def run(store: HistoryStore) -> None:
            room = KeptRoom("room", 10, ttl=60.0)
            first = await _add(store, 1, room, age=61)
            _expect(await store.read("/", room, HistoryQuery()), [])
            second = await _add(store, 2, room, age=50)
            third = await _add(store, 3, room, age=1)
            _expect(await store.read("/", room, HistoryQuery()), [2, 3])
            _expect(await store.read("/", room, HistoryQuery(after=second)), [3])
            _expect(await store.read("/", room, HistoryQuery(before=second)), [])
            _expect(await store.read("/", KeptRoom("room", 10, ttl=10.0), HistoryQuery()), [3])
            page = await store.read("/", KeptRoom("room", 10, ttl=0.5), HistoryQuery(after=first))
            _expect(page, [], gap=True)
            _expect(await store.read("/", KeptRoom("room", 10, ttl=0.5), HistoryQuery(after=third)), [])

        self._run(run)

    def test_pages_are_bounded_in_bytes(self) -> None:
        """A page of pictures is no larger than a client may get; one entry it has at least."""

        async def run(store: HistoryStore) -> None:
            for number in range(6):
                entry = HistoryEntry("", round(time.time() * 1000), data=["picture", number, b"x" * 1000])
                await store.append("/", [_LARGE], entry)
            page = await store.read("/", _LARGE, HistoryQuery(max_bytes=3500))
            _expect(page, [3, 4, 5], more=True)
            page = await store.read("/", _LARGE, HistoryQuery(max_bytes=3500, oldest=True))
            _expect(page, [0, 1, 2], more=True)
            _expect(await store.read("/", _LARGE, HistoryQuery(max_bytes=1)), [5], more=True)

        self._run(run)

    def test_rooms_do_not_mix(self) -> None:
        """Names of any kind; an entry of several rooms has one id, and is in each of them."""

        async def run(store: HistoryStore) -> None:
            places = [(nsp, name) for nsp in ("/", "/a", "/a#b") for name in ("b", "a#b", "#b", "'", "ü\n", "x" * 900)]
            for number, (nsp, name) in enumerate(places):
                await _add(store, number, KeptRoom(name, 5), nsp=nsp)
            for number, (nsp, name) in enumerate(places):
                _expect(await store.read(nsp, KeptRoom(name, 5), HistoryQuery()), [number])
            one, two = KeptRoom("one", 1), KeptRoom("two", 5)
            before = await _add(store, 1, two)
            id = await _add(store, 2, one, two)
            for room in (one, two):
                page = await store.read("/", room, HistoryQuery(limit=1))
                check([entry.id for entry in page.entries] == [id], "the id of an entry differs from room to room")
            _expect(await store.read("/", two, HistoryQuery(after=before)), [2])
            await store.clear("/", "one")
            _expect(await store.read("/", two, HistoryQuery()), [1, 2])

        self._run(run)

    def test_many_at_once(self) -> None:
        """Rooms that are written at the same time lose nothing, and ids grow in each."""

        async def run(store: HistoryStore) -> None:
            async def fill(name: str) -> list[str]:
                return [await _add(store, number, KeptRoom(name, 100)) for number in range(20)]

            found = await asyncio.gather(*(fill(f"room {number}") for number in range(10)))
            for number, ids in enumerate(found):
                page = await store.read("/", KeptRoom(f"room {number}", 100), HistoryQuery(limit=100))
                _expect(page, list(range(20)))
                check([entry.id for entry in page.entries] == ids, "ids are not in the order of append()")

        self._run(run)

    def test_started_again(self) -> None:
        """After a restart, entries are there as before, or their ids lead to a gap; never to a hole."""

        async def run() -> None:
            store = self.store()
            await store.start()
            ids = [await _add(store, number, _ROOM) for number in range(3)]
            await store.close()
            await store.start()
            try:
                new = [await _add(store, number, _ROOM) for number in (3, 4)]
                check(not set(ids) & set(new), "an id was given out again after a restart")
                page = await store.read("/", _ROOM, HistoryQuery(after=ids[1]))
                if not page.gap:
                    check(_numbers(page) == [2, 3, 4], f"a hole after a restart: {_numbers(page)}")
                check(_numbers(page)[-2:] == [3, 4], "new entries are missing after a restart")
            finally:
                await store.close()

        asyncio.run(run())

    def _run(self, test: Callable[[HistoryStore], Awaitable[None]]) -> None:
        async def run() -> None:
            store = self.store()
            await store.start()
            try:
                await test(store)
            finally:
                await store.close()

        asyncio.run(run())


async def _add(store: HistoryStore, number: int, *rooms: KeptRoom, nsp: str = "/", age: float = 0.0) -> str:
    at = round((time.time() - age) * 1000)
    return await store.append(nsp, rooms, HistoryEntry("", at, text=f'["said",{number}]'))


def _numbers(page: HistoryPage) -> list[Any]:
    return [entry.args[0] for entry in page.entries]


def _expect(page: HistoryPage, numbers: list[Any], *, gap: bool = False, more: bool = False) -> None:
    check(_numbers(page) == numbers, f"a page has {_numbers(page)} in place of {numbers}")
    check(page.gap == gap, f"gap is {page.gap}")
    check(page.more == more, f"more is {page.more}")
