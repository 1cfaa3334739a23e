"""When somebody was there last: written in the background, and again if it could not be."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from rtframework import ClusterUnavailable, MemoryStore
from rtframework.namespaces import sightings as module
from rtframework.namespaces.sightings import Sightings, key_of_device, key_of_user
from tests.support.until import until


class Remote(MemoryStore):
    """A store that is somewhere else."""

    def __init__(self) -> None:
        super().__init__()
        self.is_away = False
        self.writes = 0

    async def set(self, key: str, value: bytes, seconds: float) -> None:
        await asyncio.sleep(0)
        self.writes += 1
        if self.is_away:
            raise ClusterUnavailable("away")
        await super().set(key, value, seconds)


class Server:
    """One server's sightings, at a time that the test moves."""

    def __init__(self, store: MemoryStore) -> None:
        self.now = 1000.0
        self.tasks: list[asyncio.Task[None]] = []
        self.kept: list[str] = []
        self.sightings = Sightings(lambda: store, self.spawn, self.at_once, lambda: self.now)

    def at_once(self, key: str, value: bytes, seconds: float) -> bool:
        """Keep a value if the key says so."""
        if key.startswith("quick"):
            self.kept.append(key)
        return key.startswith("quick")

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something in the background."""
        self.tasks.append(asyncio.get_running_loop().create_task(work))


async def test_in_memory_it_is_there_at_once() -> None:
    """A server that is alone would start a task for each user that leaves."""
    server = Server(MemoryStore())
    server.sightings.note("quick", 60)
    assert server.kept == ["quick"]
    assert not server.tasks
    assert not server.sightings._waiting


async def test_many_are_written_by_one_task() -> None:
    """Ten thousand users that leave at once would be ten thousand tasks."""
    store = Remote()
    one, two = Server(store), Server(store)
    for number in range(250):
        one.sightings.note(str(number), 60)
    one.now = 1001.0
    one.sightings.note("0", 60)
    assert await one.sightings.find("0") == 1001.0
    assert await two.sightings.find("0") is None
    assert len(one.tasks) == 1
    await one.tasks[0]
    assert [await two.sightings.find(key) for key in ("0", "249")] == [1001.0, 1000.0]
    assert store.writes == 250


async def test_somebody_who_is_seen_again_while_it_is_written() -> None:
    """The later time would be lost."""
    store = Remote()
    one, two = Server(store), Server(store)
    one.sightings.note("ada", 60)
    await asyncio.sleep(0)
    one.now = 1001.0
    one.sightings.note("ada", 60)
    await asyncio.gather(*one.tasks)
    assert await two.sightings.find("ada") == 1001.0
    assert not one.sightings._waiting


@pytest.mark.usefixtures("throttled")
async def test_a_store_that_is_away(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Who leaves during an outage would not have been there; or the memory be filled by it."""
    monkeypatch.setattr(module, "_AGAIN", 0.001)
    monkeypatch.setattr(module, "_MOST", 5)
    store = Remote()
    server = Server(store)
    store.is_away = True
    for number in range(8):
        server.sightings.note(str(number), 60)
    await until(lambda: store.writes > 12)
    assert len(server.sightings._waiting) == 5
    store.is_away = False
    await until(lambda: not server.sightings._waiting)
    assert await store.get("2") is None
    assert await Server(store).sightings.find("7") == 1000.0
    assert caplog.text.count("it cannot be written when users and devices were seen") == 1
    assert "the store was away for too long" in caplog.text


async def test_nothing_is_left_when_the_server_stops() -> None:
    """A server that serves again would begin with a timer of a loop that has ended."""
    store = Remote()
    store.is_away = True
    server = Server(store)
    server.sightings.note("ada", 60)
    await asyncio.gather(*server.tasks)
    assert server.sightings._timer is not None
    server.sightings.stop()
    assert server.sightings._timer is None
    store.is_away = False
    server.sightings.note("bob", 60)
    await asyncio.gather(*server.tasks)
    assert await store.get("bob") is not None


def test_no_two_have_one_key() -> None:
    """A user could be taken for another, or for a device."""
    keys = [
        key_of_user("/", "$user:a"),
        key_of_user("/$", "user:a"),
        key_of_device("/", "$user:a", ""),
        key_of_device("/", "", "$user:a"),
        key_of_user("/", "$user:\ud800"),
    ]
    assert len(set(keys)) == 5
    assert all(key.isascii() for key in keys)
