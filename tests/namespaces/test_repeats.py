"""Events that are served once: claims, waiting, and what becomes of them when something fails."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from rtframework import ClusterUnavailable, EventError, Idempotency, MemoryStore, RateLimited
from rtframework.counters import Counters
from rtframework.handlers.event import DEFERRED
from rtframework.handlers.kept_answers import encode_answer, is_answer
from rtframework.namespaces import repeats as module
from rtframework.namespaces.repeats import Repeats, key_of
from tests.support.until import until

EVENT = ("buy", "/", "0", "$1")
KEY = key_of("ada", EVENT)


class Host:
    """One server: its repeats, and what it runs in the background."""

    def __init__(self, store: MemoryStore, **settings: Any) -> None:
        self.counts = Counters()
        self.tasks: list[asyncio.Task[None]] = []
        engine: Any = SimpleNamespace(plain=list)
        spawn = self.tasks.append
        settings_of = Idempotency(**settings)
        self.repeats = Repeats(
            store, settings_of, engine, self.counts, lambda work: spawn(asyncio.get_running_loop().create_task(work))
        )
        self.calls: list[Any] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def buy(self) -> int:
        """The handler."""
        self.calls.append(1)
        await self.gate.wait()
        return len(self.calls)

    async def serve(self, call: Any = None, *, connected: bool = True, refused: RateLimited | None = None) -> Any:
        """Serve the event."""
        socket: Any = SimpleNamespace(connected=connected)
        return await self.repeats.serve(socket, "ada", EVENT, call or self.buy, lambda: refused)


class Failing(MemoryStore):
    """A store that raises for some methods."""

    fails: tuple[str, ...] = ()

    def _check(self, method: str) -> None:
        if method in self.fails:
            raise ClusterUnavailable("away")

    async def add(self, key: str, value: bytes, seconds: float) -> bytes | None:
        self._check("add")
        return await super().add(key, value, seconds)

    async def replace(self, key: str, old: bytes, value: bytes, seconds: float) -> bool:
        self._check("replace")
        return await super().replace(key, old, value, seconds)

    async def remove(self, key: str, old: bytes | None = None) -> bool:
        self._check("remove")
        return await super().remove(key, old)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look soon, and renew often."""
    monkeypatch.setattr(module, "_FIRST_LOOK", 0.001)
    monkeypatch.setattr(module, "_LONGEST_LOOK", 0.002)
    monkeypatch.setattr(module, "RENEW", 0.01)


def test_no_two_events_have_one_key() -> None:
    """A client would get the answer of another, by an id that has a name in it."""
    events = [
        ("ada", ("buy", "/", "0", "$1")),
        ("ad", ("abuy", "/", "0", "$1")),
        ("ada", ("buy", "/0", "", "$1")),
        ("ada", ("buy", "/", "0$", "1")),
        ("ada", ("buy", "/", "0", "#1")),
        ("ada", ("buy", "/", "0", "$\ud800")),
        ("ada", ("buy", "/", "0", "$?")),
    ]
    assert len({key_of(*each) for each in events}) == len(events)
    assert all(key_of(*each).isascii() and len(key_of(*each)) < 100 for each in events)


async def test_many_at_once_on_two_servers() -> None:
    """One of many tries that come together would be served besides the first."""
    store = MemoryStore()
    one, two = Host(store), Host(store)
    one.gate.clear()
    first = asyncio.create_task(one.serve())
    await until(lambda: one.calls)
    others = [asyncio.create_task(each.serve()) for each in (one, two) * 5]
    await until(lambda: two.counts.repeats["waited"] == 5)
    one.gate.set()
    assert await asyncio.gather(first, *others) == [1] * 11
    assert one.calls == [1]
    assert not two.calls
    assert not one.repeats._running


async def test_a_claim_lasts_as_long_as_its_handler() -> None:
    """A handler that takes long would be started once more by another server."""
    now = 0.0
    store = MemoryStore(clock=lambda: now)
    one, two = Host(store), Host(store)
    one.gate.clear()
    first = asyncio.create_task(one.serve())
    await until(lambda: one.calls)
    second = asyncio.create_task(two.serve())
    for _ in range(5):
        now += 0.9 * module.CLAIM
        renewals = len(one.tasks)
        await until(lambda: len(one.tasks) > renewals + 1)  # noqa: B023
    assert not two.calls
    one.gate.set()
    assert (await first, await second) == (1, 1)
    one.repeats.stop()


async def test_a_server_that_has_died() -> None:
    """What a server was doing when it was killed would never be done."""
    now = 0.0
    store = MemoryStore(clock=lambda: now)
    await store.add(KEY, b"c another server", module.CLAIM)
    two = Host(store)
    task = asyncio.create_task(two.serve())
    await until(lambda: two.counts.repeats["waited"])
    assert not two.calls
    now = module.CLAIM
    assert await task == 1


async def test_a_client_that_has_gone_is_not_waited_for() -> None:
    """A handler would wait for another server though nobody wants its answer."""
    store = MemoryStore()
    await store.add(KEY, b"c another server", 60)
    assert await Host(store).serve(connected=False) is DEFERRED


async def test_a_handler_that_fails_or_is_cancelled_may_run_again() -> None:
    """An order would be lost because a database was away for a moment."""
    host = Host(MemoryStore())

    async def fail() -> None:
        raise ValueError("away")

    with pytest.raises(ValueError, match="away"):
        await host.serve(fail)
    await asyncio.gather(*host.tasks)
    host.gate.clear()
    task = asyncio.create_task(host.serve())
    await until(lambda: host.calls)
    waiting = asyncio.create_task(host.serve())
    await until(lambda: host.counts.repeats["waited"])
    task.cancel()
    await asyncio.wait([task])
    host.gate.set()
    assert await waiting == 2


async def test_beyond_a_rate() -> None:
    """A repeat of what was served would be told that it was not."""
    store = MemoryStore()
    host = Host(store)
    with pytest.raises(RateLimited):
        await host.serve(refused=RateLimited(1))
    assert await host.serve() == 1
    assert await host.serve(refused=RateLimited(1)) == 1
    await store.set(KEY, b"c another server", 60)
    with pytest.raises(RateLimited):
        await host.serve(refused=RateLimited(1))

    async def limited() -> None:
        raise RateLimited(1)

    await store.remove(KEY)
    with pytest.raises(RateLimited):
        await host.serve(limited)
    await asyncio.gather(*host.tasks)
    assert await store.get(KEY) is None


async def test_answers_are_saved_later() -> None:
    """An answer that could not be saved for a second would never be known to other servers."""
    store = Failing()
    one, two = Host(store), Host(store)
    store.fails = ("replace",)
    assert await one.serve() == 1
    assert await one.serve() == 1
    assert one.counts.repeats["not_saved"] == 1
    store.fails = ()
    await until(lambda: not one.repeats._unsaved)
    assert await two.serve() == 1
    one.repeats.stop()


async def test_answers_that_cannot_be_saved_are_forgotten() -> None:
    """A server without its store would keep answers for ever."""
    store = Failing()
    host = Host(store, seconds=0.02)
    store.fails = ("replace", "remove")
    assert await host.serve() == 1
    store.fails = ("remove",)
    real = store.replace

    async def replace(key: str, old: bytes, value: bytes, seconds: float) -> bool:
        if is_answer(value):
            raise ClusterUnavailable("away")
        return await real(key, old, value, seconds)

    store.replace = replace  # type: ignore[method-assign]
    await until(lambda: not host.repeats._unsaved)
    assert not is_answer(await store.get(KEY) or b"")


async def test_a_claim_that_was_lost_is_answered_all_the_same() -> None:
    """Redis is emptied while a handler runs: the next server would serve the event again."""
    store = MemoryStore()
    host = Host(store)
    host.gate.clear()
    task = asyncio.create_task(host.serve())
    await until(lambda: host.calls)
    await store.remove(KEY)
    host.gate.set()
    assert await task == 1
    assert await store.get(KEY) == encode_answer([1])


async def test_errors_are_answers() -> None:
    """What the program has refused would be tried again and again."""
    host = Host(MemoryStore())

    async def refuse() -> None:
        host.calls.append(1)
        raise EventError("no", details={"calls": len(host.calls)})

    for _ in range(2):
        with pytest.raises(EventError) as caught:
            await host.serve(refuse)
        assert caught.value.details == {"calls": 1}


async def test_clients_that_have_gone_leave_nothing() -> None:
    """The list of each client's ids would grow for as long as the server runs."""
    host = Host(MemoryStore(), seconds=0.01)
    for number in range(50):
        socket: Any = SimpleNamespace(connected=True)
        await host.repeats.serve(socket, f"client {number}", EVENT, host.buy, lambda: None)
    await asyncio.sleep(0.02)
    await host.serve()
    assert list(host.repeats._clients) == ["ada"]
    host.repeats.stop()
    assert not host.repeats._clients
