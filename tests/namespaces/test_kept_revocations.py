"""What is not accepted any more, written down: by several servers at once, for as long as it is needed."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from rtframework import ClusterUnavailable
from rtframework.adapters.memory_store import MemoryStore
from rtframework.namespaces import kept_revocations as module
from rtframework.namespaces.kept_revocations import KEY, KeptRevocations
from rtframework.namespaces.revocations import Revocation

NOW = 1_000_000.0


def revocation(key: str, *, before: float = NOW, until: float = NOW + 100) -> Revocation:
    """Make an entry."""
    return Revocation(key, before, until, "kicked")


def kept_in(store: Any, now: float = NOW) -> KeptRevocations:
    """Make what is written down, for one server."""
    return KeptRevocations(store, lambda: now)


async def test_another_server_reads_them() -> None:
    """Who was thrown out would be let in when all servers had ended meanwhile."""
    store = MemoryStore()
    await kept_in(store).add(revocation("$user:1"), revocation("$token:a"))
    await kept_in(store).add(revocation("$user:2"))
    assert [each.key for each in await kept_in(store).all()] == ["$user:1", "$token:a", "$user:2"]


async def test_servers_that_write_at_once() -> None:
    """One of two orders that are given at the same moment would be lost."""

    class Slow(MemoryStore):
        async def get(self, key: str) -> bytes | None:
            found = await super().get(key)
            await asyncio.sleep(0)  # the others read the same
            return found

    store = Slow()
    keys = [f"$user:{number}" for number in range(20)]
    await asyncio.gather(*(kept_in(store).add(revocation(key)) for key in keys))
    assert sorted(each.key for each in await kept_in(store).all()) == sorted(keys)


async def test_the_later_one_counts() -> None:
    """A message that is late would let in who was thrown out again meanwhile."""
    store = MemoryStore()
    await kept_in(store).add(revocation("$user:1", before=NOW))
    await kept_in(store).add(revocation("$user:1", before=NOW - 10))
    (found,) = await kept_in(store).all()
    assert found.before == NOW


async def test_what_is_over_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list would grow for ever, and each order take longer than the one before."""
    store = MemoryStore()
    await kept_in(store).add(revocation("$user:1", until=NOW + 1))
    await kept_in(store, NOW + 2).add(revocation("$user:2"))
    assert [each.key for each in await kept_in(store).all()] == ["$user:2"]
    await kept_in(store, NOW + 200).add(revocation("$user:3", until=NOW + 150))
    assert [each.key for each in await kept_in(store).all()] == ["$user:2"]
    monkeypatch.setattr(module, "MOST_TOLD", 2)
    await kept_in(store).add(*(revocation(f"$user:{number}") for number in range(5, 9)))
    assert [each.key for each in await kept_in(store).all()] == ["$user:7", "$user:8"]


async def test_rubbish_under_the_key(caplog: pytest.LogCaptureFixture) -> None:
    """One wrong value would keep a server from starting, or from ever throwing somebody out."""
    store = MemoryStore()
    await store.set(KEY, b"rubbish", 100.0)
    with caplog.at_level(logging.ERROR, "rtframework.namespace"):
        assert await kept_in(store).all() == []
        await kept_in(store).add(revocation("$user:1"))
    assert [each.key for each in await kept_in(store).all()] == ["$user:1"]
    assert "the store cannot tell" in caplog.text


async def test_a_store_that_is_away_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that starts while Redis is away would let in whoever was thrown out, for ever."""
    monkeypatch.setattr(module, "_AGAIN", 0.0)
    store = MemoryStore()
    await kept_in(store).add(revocation("$user:1"))
    tries = 0

    class Away(MemoryStore):
        async def get(self, key: str) -> bytes | None:
            nonlocal tries
            tries += 1
            if tries < 3:
                raise ClusterUnavailable("away")
            return await store.get(key)

    with pytest.raises(ClusterUnavailable):
        await kept_in(Away()).all()
    assert [each.key for each in await kept_in(Away()).wait_for_all()] == ["$user:1"]


async def test_a_value_that_never_stands_still() -> None:
    """An order would be tried for ever."""

    class Busy(MemoryStore):
        async def replace(self, key: str, old: bytes, value: bytes, seconds: float) -> bool:
            return False

    store = Busy()
    await kept_in(store).add(revocation("$user:1"))
    with pytest.raises(ClusterUnavailable):
        await kept_in(store).add(revocation("$user:2"))
