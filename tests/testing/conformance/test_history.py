"""The conformance suite of stores: good ones pass it, and broken ones do not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from rtframework import HistoryEntry, HistoryPage, MemoryHistory
from rtframework.protocols import HistoryStore
from rtframework.testing import HistoryConformance, run_suite
from rtframework.types import HistoryQuery, KeptRoom


class _Store(MemoryHistory):
    """A good store, to be broken in one place."""


class _KeepsAll(_Store):
    def add(self, nsp: str, rooms: Sequence[KeptRoom], entry: HistoryEntry) -> str:
        return super().add(nsp, [dataclasses.replace(room, size=10_000) for room in rooms], entry)

    def find(self, nsp: str, room: KeptRoom, query: HistoryQuery) -> HistoryPage:
        return super().find(nsp, dataclasses.replace(room, size=10_000), query)


class _KeepsForEver(_Store):
    def add(self, nsp: str, rooms: Sequence[KeptRoom], entry: HistoryEntry) -> str:
        return super().add(nsp, [dataclasses.replace(room, ttl=None) for room in rooms], entry)

    def find(self, nsp: str, room: KeptRoom, query: HistoryQuery) -> HistoryPage:
        return super().find(nsp, dataclasses.replace(room, ttl=None), query)


class _TellsOfNoGap(_Store):
    def find(self, nsp: str, room: KeptRoom, query: HistoryQuery) -> HistoryPage:
        return dataclasses.replace(super().find(nsp, room, query), gap=False)


class _TellsOfGaps(_Store):
    def find(self, nsp: str, room: KeptRoom, query: HistoryQuery) -> HistoryPage:
        return dataclasses.replace(super().find(nsp, room, query), gap=query.after is not None)


class _NewestFirst(_Store):
    def find(self, nsp: str, room: KeptRoom, query: HistoryQuery) -> HistoryPage:
        page = super().find(nsp, room, query)
        return dataclasses.replace(page, entries=page.entries[::-1])


class _ForgetsWhoWasLeftOut(_Store):
    def add(self, nsp: str, rooms: Sequence[KeptRoom], entry: HistoryEntry) -> str:
        return super().add(nsp, rooms, HistoryEntry("", entry.at, text=entry.text, data=entry.data))


class _MixesNamespaces(_Store):
    def add(self, nsp: str, rooms: Sequence[KeptRoom], entry: HistoryEntry) -> str:
        return super().add("", rooms, entry)

    def find(self, nsp: str, room: KeptRoom, query: HistoryQuery) -> HistoryPage:
        return super().find("", room, query)


class _UsesIdsAgain(_Store):
    async def close(self) -> None:
        prefix = self._prefix
        await super().close()
        self._prefix = prefix


class _IgnoresBytes(_Store):
    def find(self, nsp: str, room: KeptRoom, query: HistoryQuery) -> HistoryPage:
        return super().find(nsp, room, dataclasses.replace(query, max_bytes=10**9))


class _ClearsNothing(_Store):
    async def clear(self, nsp: str, room: str) -> None:
        """Do nothing."""


class _HasLongIds(_Store):
    def add(self, nsp: str, rooms: Sequence[KeptRoom], entry: HistoryEntry) -> str:
        return super().add(nsp, rooms, entry) + " " * 100


def suite(make: Callable[[], HistoryStore]) -> type[HistoryConformance]:
    """Make a suite for a store."""

    class Suite(HistoryConformance):
        def store(self) -> HistoryStore:
            return make()

    return Suite


def test_a_good_one_passes() -> None:
    """The suite would refuse stores that work."""
    assert len(run_suite(suite(_Store))) == 10


@pytest.mark.parametrize(
    "broken",
    [
        _KeepsAll,
        _KeepsForEver,
        _TellsOfNoGap,
        _TellsOfGaps,
        _NewestFirst,
        _ForgetsWhoWasLeftOut,
        _MixesNamespaces,
        _UsesIdsAgain,
        _IgnoresBytes,
        _ClearsNothing,
        _HasLongIds,
    ],
)
def test_a_broken_one_does_not(broken: Any) -> None:
    """A store with this fault would be shipped."""
    with pytest.raises(ExceptionGroup) as caught:
        run_suite(suite(broken))
    assert all(isinstance(error, AssertionError) for error in caught.value.exceptions)


def test_without_a_store() -> None:
    """A suite that tests nothing would look like one that passes."""
    with pytest.raises(ExceptionGroup):
        run_suite(HistoryConformance)
