"""What a client says of its device: checked, clamped, and compared with what the server knows."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from rtframework import MemoryStore
from rtframework.namespaces import devices as module
from rtframework.namespaces.devices import look_at, read_device
from rtframework.namespaces.sightings import Sightings
from rtframework.types import Device

ID = "0123456789abcdef"


def none(*args: Any) -> None:
    """Run nothing in the background."""


def test_what_a_client_says() -> None:
    """A device that was here yesterday would be new, or one that comes from the future be trusted."""
    assert read_device({}) is None
    assert read_device({"device": None}) is None
    assert read_device({"device": {"id": ID}}) == Device(ID, is_new=True)
    seen = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)
    found = read_device({"device": {"id": ID, "seen": 1_767_323_045_678}})
    assert found == Device(ID, is_new=False, seen=seen)
    for future in (time.time() * 1000 + 1e9, 10**400):
        before = datetime.now(UTC)
        found = read_device({"device": {"id": ID, "seen": future}})
        assert found is not None
        assert found.seen is not None
        assert before <= found.seen <= datetime.now(UTC)


@pytest.mark.parametrize("seen", [None, True, "yesterday", 0, -1, float("nan"), float("inf"), [], {}], ids=repr)
def test_what_is_no_time(seen: Any) -> None:
    """A client could end the way in with an exception."""
    assert read_device({"device": {"id": ID, "seen": seen}}) == Device(ID, is_new=True)


NO_IDS = ("x" * 15, "x" * 129, ID + " ", ID + "\n", "ü" * 16, 1, None)


@pytest.mark.parametrize("device", ["x" * 16, 1, [], {}, *({"id": id} for id in NO_IDS)])
@pytest.mark.usefixtures("throttled")
def test_what_is_no_device(device: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A client could write megabytes into the store, or lines into the log."""
    assert read_device({"device": device}) is None
    assert read_device({"device": device}) is None
    assert caplog.text.count("the device of a client is left out") == 1


async def test_what_the_server_knows() -> None:
    """A device that a user has never had would pass for an old one, because it says so."""
    store = MemoryStore()

    def at_once(key: str, value: bytes, seconds: float) -> bool:
        store.table.set(key, value, seconds)
        return True

    sightings = Sightings(lambda: store, none, at_once, lambda: 1000.0)
    told = Device(ID, is_new=False, seen=datetime.now(UTC))
    first = await look_at(told, "key", sightings, 60)
    assert first == Device(ID, is_new=True, seen=told.seen)
    second = await look_at(told, "key", sightings, 60)
    assert second == Device(ID, is_new=False, seen=told.seen, last_seen=datetime.fromtimestamp(1000, UTC))
    assert (await look_at(told, "another", sightings, 60)).is_new


class Hanging(MemoryStore):
    """A store that does not answer."""

    async def get(self, key: str) -> bytes | None:
        await asyncio.Event().wait()
        return None


@pytest.mark.usefixtures("throttled")
async def test_a_store_that_hangs(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody would get in while Redis is away."""
    monkeypatch.setattr(module, "_LOOK_TIMEOUT", 0.001)
    sightings = Sightings(Hanging, none)
    told = Device(ID, is_new=False, seen=datetime.now(UTC))
    assert await look_at(told, "key", sightings, 60) is told
    assert "what clients say decides which devices are new" in caplog.text
