"""Lists of who is in a room: how often they are read, and what is in them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from rtframework import ClusterUnavailable, Presence
from rtframework.adapters.presence import LARGEST_LIST
from rtframework.adapters.presence_memory import MemoryPresence
from rtframework.namespaces.presence_lists import AT_ONCE, list_text
from rtframework.protocols import StoredMember
from tests.namespaces.test_server_presence import Keeping, Store, lists
from tests.support.clients import FakeClient, idle, make_host, turn
from tests.support.until import until


def members(count: int, meta: str = "null") -> list[StoredMember]:
    return [StoredMember(f"u{number}", meta, 1, 0.0) for number in range(count)]


def test_a_list_is_cut_where_it_is_too_long() -> None:
    """One client that joins would be sent megabytes, or be told that nobody else is there."""
    name, data = json.loads(list_text('r"', members(4), 3))
    assert (name, data["room"], data["more"]) == ("presence", 'r"', True)
    assert [each["user"] for each in data["members"]] == ["u0", "u1", "u2"]
    assert json.loads(list_text("r", members(3), 3))[1]["more"] is False
    assert json.loads(list_text("r", [], 3))[1] == {"room": "r", "members": [], "more": False}
    text = list_text("r", members(1_000, f'"{"x" * 2_000}"'), 1_000)
    assert len(text) < LARGEST_LIST + 3_000
    assert json.loads(text)[1]["more"] is True
    assert 480 < len(json.loads(text)[1]["members"]) < 500


class Counting(Store):
    """A store that counts how often lists are read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []
        self.fails: Exception | None = None

    async def members(self, nsp: str, room: str, limit: int, after: str | None) -> Sequence[StoredMember]:  # type: ignore[override]
        self.reads.append(room)
        if self.fails is not None:
            raise self.fails
        found = await super().members(nsp, room, limit, after)
        await asyncio.sleep(0)
        return found


def counting() -> tuple[Any, Counting]:
    backbone = Keeping()
    backbone.store = store = Counting()
    return make_host(adapter=backbone, presence=(Presence("{room}"),)), store


async def test_who_joins_together_shares_a_list() -> None:
    """After a restart, a thousand clients would read a thousand lists of a thousand users."""
    host, store = counting()
    clients = [FakeClient(host, f"c{number}") for number in range(50)]
    for each in clients:
        await each.connect()
    await asyncio.gather(*(each.socket().join("r", "s") for each in clients))
    await idle(host)
    assert len(store.reads) <= 6
    for each in clients:
        assert [len(found) for found in lists(each)] == [50, 50], "everybody is in the list that comes last"
    await clients[0].socket().join("r")
    assert len(lists(clients[0])) == 3
    assert host.namespaces["/"]._presence._lists._readings == {}


async def test_nobody_shares_an_older_list() -> None:
    """Somebody would get a list without himself, and without those who came just before."""
    host, store = counting()
    one, two = FakeClient(host, "one"), FakeClient(host, "two")
    await one.connect()
    await two.connect()
    first = asyncio.ensure_future(one.socket().join("r"))
    await until(lambda: store.reads)
    await two.socket().join("r")
    await first
    assert lists(two) == [["one1", "two1"]]
    assert len(lists(one)) == 1


async def test_a_list_that_cannot_be_read() -> None:
    """All who join after it would wait for ever."""
    host, store = counting()
    one, two = FakeClient(host, "one"), FakeClient(host, "two")
    await one.connect()
    await two.connect()
    store.fails = ClusterUnavailable("away")
    outcomes = await asyncio.gather(*(each.socket().join("r") for each in (one, two)), return_exceptions=True)
    assert [type(each) for each in outcomes] == [ClusterUnavailable, ClusterUnavailable]
    store.fails = None
    await two.socket().join("r")
    assert lists(two) == [["one1", "two1"]]
    joining = asyncio.ensure_future(one.socket().join("r"))
    await asyncio.sleep(0)
    joining.cancel()
    with pytest.raises(asyncio.CancelledError):
        await joining
    await two.socket().join("r")
    await idle(host)
    assert len(lists(two)) == 2, "who gives up takes nobody along"


@pytest.mark.parametrize("count", [AT_ONCE, AT_ONCE + 1])
async def test_long_lists_in_memory_are_shared_too(count: int) -> None:
    """A server alone would stand still while thousands come back to a large room."""
    host = make_host(presence=(Presence("r"),))
    seen: list[str] = []
    host.namespaces["/"].on_any_outgoing(lambda socket, event, *args: seen.append(event))
    clients = [FakeClient(host, f"c{number}") for number in range(count)]
    for each in clients:
        await each.connect()
        await each.socket().join("r")
    assert len(lists(clients[-1])[0]) == count
    assert seen.count("presence") == count, "catch-alls see what is sent"


class Slow(MemoryPresence):
    """A store in memory with so many users that making a list of them takes a second."""

    def __init__(self) -> None:
        super().__init__(lambda *args: None)
        self.time = 0.0
        self.reads = 0

    def members(self, nsp: str, room: str, limit: int, after: str | None) -> Sequence[StoredMember]:
        """Return them, a second later."""
        if limit > AT_ONCE + 1:
            self.reads += 1
            self.time += 1
        return [*super().members(nsp, room, limit, after), *members(AT_ONCE + 1)]


async def test_who_joins_one_after_another_shares_the_next_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """When hundreds come back after a restart, their server would do nothing but make lists."""
    backbone: Any = Keeping()
    backbone.store = store = Slow()
    host = make_host(adapter=backbone, presence=(Presence("r"),))
    clients = [FakeClient(host, f"c{number}") for number in range(4)]
    for each in clients:
        await each.connect()
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: store.time)
    await clients[0].socket().join("r")
    joining = []
    for each in clients[1:]:
        joining.append(asyncio.ensure_future(each.socket().join("r")))
        await turn(10)
    assert store.reads == 1
    store.time += 1
    await asyncio.gather(*joining)
    assert store.reads == 2
    store.time += 1
    await turn()
    monkeypatch.undo()
    await idle(host)
    assert all(len(lists(each)) == 1 for each in clients)
