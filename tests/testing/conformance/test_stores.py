"""The conformance suite of stores: good ones pass it, and broken ones do not."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from rtframework import MemoryStore
from rtframework.testing import KeyValueStoreConformance, run_suite


def suite_of(kind: type[MemoryStore]) -> type[KeyValueStoreConformance]:
    """The suite of a store."""

    class Suite(KeyValueStoreConformance):
        @contextlib.asynccontextmanager
        async def stores(self) -> AsyncIterator[tuple[MemoryStore, MemoryStore]]:
            store = kind()
            yield store, store

    return Suite


class _Overwrites(MemoryStore):
    async def add(self, key: str, value: bytes, seconds: float) -> bytes | None:
        await self.set(key, value, seconds)
        return None


class _IsAlwaysReplaced(MemoryStore):
    async def replace(self, key: str, old: bytes, value: bytes, seconds: float) -> bool:
        await self.set(key, value, seconds)
        return True


class _IsAlwaysRemoved(MemoryStore):
    async def remove(self, key: str, old: bytes | None = None) -> bool:
        return await super().remove(key)


class _Strips(MemoryStore):
    async def set(self, key: str, value: bytes, seconds: float) -> None:
        await super().set(key, value.strip(), seconds)


class _ForgetsTime(MemoryStore):
    async def set(self, key: str, value: bytes, seconds: float) -> None:
        before = self.table._values.get(key)
        await super().set(key, value, seconds if before is None else before.seconds)


class _KnowsNoOwn(MemoryStore):
    async def add(self, key: str, value: bytes, seconds: float) -> bytes | None:
        return await self.get(key) or await super().add(key, value, seconds)


def test_a_good_store_passes() -> None:
    """Nobody could release a store."""
    assert len(run_suite(suite_of(MemoryStore))) == 5


@pytest.mark.parametrize("kind", [_Overwrites, _IsAlwaysReplaced, _IsAlwaysRemoved, _Strips, _ForgetsTime, _KnowsNoOwn])
def test_a_broken_store_does_not(kind: type[MemoryStore]) -> None:
    """The author of a store would learn from lost orders what is wrong with it."""
    with pytest.raises(ExceptionGroup):
        run_suite(suite_of(kind))


def test_a_suite_without_a_store() -> None:
    """Its author would not know what to write."""
    with pytest.raises(ExceptionGroup) as caught:
        run_suite(KeyValueStoreConformance)
    assert "stores()" in str(caught.value.exceptions[0])
