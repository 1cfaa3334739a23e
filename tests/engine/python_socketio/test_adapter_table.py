"""The life of adapters: opened once, closed when nobody needs them, started and stopped with the application."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from rtframework import ClusterUnavailable, ConfigurationError, MemoryAdapter
from rtframework.engine.python_socketio.adapter_table import AdapterTable
from rtframework.types import Health


class Recorded(MemoryAdapter):
    """An adapter that waits in its start, or fails there or at its end."""

    def __init__(self, nsp: str, factory: Factory) -> None:
        super().__init__(nsp, factory)  # type: ignore[arg-type]  # it emits nothing
        self.factory = factory

    async def start(self) -> None:
        """Start."""
        await self.factory.may_start.wait()
        if self.nsp in self.factory.failing:
            raise ClusterUnavailable("no broker")
        self.factory.events.append(f"start {self.nsp}")

    async def close(self) -> None:
        """Close."""
        self.factory.events.append(f"close {self.nsp}")
        if self.nsp in self.factory.failing_to_close:
            raise RuntimeError("cannot close")


class Factory:
    """A backbone that notes what happens."""

    node = "one"
    health = Health(False, "no network")

    def __init__(self) -> None:
        self.events: list[str] = []
        self.failing: set[str] = set()
        self.failing_to_close: set[str] = set()
        self.may_start = asyncio.Event()
        self.may_start.set()
        self.fails_to_stop = False
        self.made = 0

    def __call__(self, nsp: str, emitter: Any) -> Recorded:
        self.made += 1
        return Recorded(nsp, self)

    async def start(self) -> None:
        """Start."""
        self.events.append("start")

    async def stop(self) -> None:
        """Stop."""
        self.events.append("stop")
        if self.fails_to_stop:
            raise RuntimeError("cannot stop")


def table_of(factory: Any) -> AdapterTable:
    """A table of adapters whose emitters are never asked."""
    return AdapterTable(factory, lambda nsp: None)  # type: ignore[arg-type,return-value]


async def until(condition: Callable[[], object]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)


async def test_the_backbone_is_there_before_the_adapters_and_after_them() -> None:
    """Adapters would send before there is a connection, and after it has gone."""
    factory = Factory()
    table = table_of(factory)
    assert not table.health.up
    await table.stop()
    await table.start(["/", "/chat"])
    await table.start(["/"])
    await table.stop()
    await table.stop()
    assert factory.events == ["start", "start /", "start /chat", "close /", "close /chat", "stop"]


async def test_a_namespace_is_opened_once() -> None:
    """Two adapters of one namespace would each have half of its clients."""
    factory = Factory()
    table = table_of(factory)
    early = await table.open("/early")
    await table.start(["/"])
    factory.may_start.clear()
    opening = [asyncio.create_task(table.open("/late")) for _ in range(3)]
    await asyncio.sleep(0)
    opening[0].cancel()
    factory.may_start.set()
    first, second = await asyncio.gather(*opening[1:])
    assert first is second is await table.open("/late")
    assert await table.open("/early") is early
    assert factory.events.count("start /late") == factory.events.count("start /early") == 1
    await table.stop()


async def test_what_cannot_be_opened_is_tried_again() -> None:
    """A namespace would be closed for ever after one bad moment."""
    factory = Factory()
    table = table_of(factory)
    await table.start(["/"])
    factory.failing.add("/chat")
    with pytest.raises(ClusterUnavailable):
        await table.open("/chat")
    factory.failing.clear()
    await table.open("/chat")
    assert factory.events[2:] == ["close /chat", "start /chat"]
    await table.stop()


async def test_a_start_that_fails_leaves_nothing_open() -> None:
    """The process would keep a connection, and be taken for a server of the cluster."""
    factory = Factory()
    factory.failing.add("/chat")
    table = table_of(factory)
    with pytest.raises(ClusterUnavailable):
        await table.start(["/", "/chat"])
    assert factory.events == ["start", "start /", "close /", "close /chat", "stop"]
    factory.failing.clear()
    await table.start(["/"])
    await table.stop()


async def test_what_fails_to_close_does_not_keep_the_others_open(caplog: pytest.LogCaptureFixture) -> None:
    """One error at the end would leave connections open."""
    factory = Factory()
    factory.failing_to_close.add("/")
    factory.fails_to_stop = True
    table = table_of(factory)
    await table.start(["/", "/chat"])
    await table.stop()
    assert factory.events[-3:] == ["close /", "close /chat", "stop"]
    assert "an adapter failed to close" in caplog.text
    assert "the backbone failed to stop" in caplog.text


async def test_a_stop_ends_what_is_being_opened() -> None:
    """A program would not end while the broker does not answer."""
    factory = Factory()
    table = table_of(factory)
    await table.start(["/"])
    factory.may_start.clear()
    opening = asyncio.create_task(table.open("/late"))
    await until(lambda: factory.made == 2)
    await table.stop()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert factory.events[-3:] == ["close /late", "close /", "stop"]
    factory.may_start.set()
    await table.start(["/"])
    opening = asyncio.create_task(table.open("/late"))
    await asyncio.sleep(0)  # it has not even begun
    await table.stop()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await table.start(["/"])
    await table.open("/late")
    await table.stop()


async def test_a_namespace_that_nobody_uses_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that clients make up would be kept for ever; one that is in use must stay."""
    monkeypatch.setattr("rtframework.engine.python_socketio.adapter_table._IDLE", 0.01)
    factory = Factory()
    table = table_of(factory)
    table.leave("/early", lambda: False)  # not started: nothing is closed later
    await table.start(["/"])
    await table.open("/a")
    asked: list[bool] = [False, True, True]
    table.leave("/a", lambda: asked.pop())
    table.leave("/a", lambda: pytest.fail("there is a timer already"))
    await until(lambda: "close /a" in factory.events)
    assert not asked
    first = await table.open("/a")
    table.leave("/a", lambda: False)
    assert await table.open("/a") is first  # it is used again, in time
    assert not table._timers
    table.leave("/a", lambda: False)
    await until(lambda: table._closing)
    assert await table.open("/a") is not first  # opened anew, when it has been closed
    assert factory.events[-3:] == ["start /a", "close /a", "start /a"]
    table.leave("/a", lambda: False)
    await table.stop()
    assert not table._timers


def test_what_is_no_adapter_is_refused() -> None:
    """The first client would fail, and not the start."""
    table = table_of(lambda nsp, emitter: object())
    assert table.backbone is None
    assert table.health.up
    with pytest.raises(ConfigurationError, match="is no adapter"):
        table.make("/")
