"""The garbage collector: no client waits for it, and nothing stays for good."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from aiohttp import web

from rtframework import Server, Socket
from rtframework.engine import collector as module
from rtframework.engine import tune_gc
from rtframework.engine.collector import Collector, clients, no_collections
from rtframework.engine.connection import Connection
from tests.conftest import Serve
from tests.engine import Witness, eventually, join, join_websocket, raw_client
from tests.support import heap


class Cycle:
    """Garbage once nobody knows it."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    """One that has started, and has left nothing behind after the test."""
    before = (gc.get_threshold(), gc.callbacks[:])
    collector = Collector()
    collector.start()
    yield collector
    collector.stop()
    assert (gc.get_threshold(), gc.callbacks) == before
    assert gc.get_freeze_count() == 0


@contextlib.contextmanager
def disabled() -> Iterator[None]:
    """No collections but those that the test asks for."""
    with no_collections():
        yield


def known(kind: type) -> int:
    """Count the objects of a kind through which the collector looks."""
    return sum(isinstance(each, kind) for each in gc.get_objects())


def test_collections_are_put_off_and_go_on() -> None:
    """A program that has switched them off would find them on, or one that has not would grow for ever."""
    with no_collections():
        assert not gc.isenabled()
        with no_collections():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(RuntimeError), no_collections():
        raise RuntimeError
    assert gc.isenabled()


async def test_what_survives_is_looked_through_once(collector: Collector) -> None:
    """Everybody would wait while the collector looks through all clients, again and again."""
    with disabled():
        kept = [Cycle() for _ in range(100)]
        assert known(Cycle) == 100
        gc.collect(1)
        assert known(Cycle) == 100, "they may be garbage soon"
        gc.collect()
        assert known(Cycle) == 0
        assert len(kept) == 100


async def test_garbage_is_collected_before_anything_is_frozen(collector: Collector) -> None:
    """What became garbage since the last collection would stay for good."""
    with disabled():
        gone = weakref.ref(Cycle())
        assert gone() is not None
        gc.collect()
        assert gone() is None


async def test_what_becomes_garbage_when_it_is_frozen_goes_when_too_much_is(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler that leaves cycles behind would take the server's memory."""
    monkeypatch.setattr(module, "_FEW", 0)
    monkeypatch.setattr(module, "_PER_COUNT", 1)
    with disabled():
        kept = [Cycle()]
        gone = weakref.ref(kept[0])
        gc.collect()
        kept.clear()
        gc.collect()
        await asyncio.sleep(0)
        assert gone() is not None, "not so much was frozen"
        collector.frozen //= 4
        gc.collect()
        await asyncio.sleep(0)
        assert gone() is None
        assert collector.frozen > gc.get_freeze_count() // 2


async def test_more_clients_are_no_garbage(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """While clients come, everybody would wait for a search for garbage that is none."""
    monkeypatch.setattr(module, "_FEW", 0)
    monkeypatch.setattr(module, "_PER_COUNT", 1)
    searches: list[int] = []
    monkeypatch.setattr(collector, "look_through", lambda: searches.append(1))
    with disabled():
        collector.frozen //= 4
        monkeypatch.setattr(module, "clients", lambda: collector.frozen)  # 40 objects each
        gc.collect()
        await asyncio.sleep(0)
        assert not searches
        monkeypatch.setattr(module, "clients", lambda: 0)
        gc.collect()
        gc.collect()
        await asyncio.sleep(0)
        assert searches == [1], "once, however often it is found"


async def test_it_is_set_for_as_long_as_an_application_wants_it() -> None:
    """The first of two servers that stops would take it from the other; or the program would keep it for good."""
    before = (gc.get_threshold(), gc.callbacks[:])
    apps = [web.Application(), web.Application()]
    for app in apps:
        Server().attach(app)
        tune_gc(app)
    runners = [web.AppRunner(app) for app in apps]
    for runner in runners:
        await runner.setup()
    assert gc.get_freeze_count() > 10_000
    assert gc.get_threshold()[2] < before[0][2]
    assert len(gc.callbacks) == len(before[1]) + 1
    await runners[0].cleanup()
    assert gc.get_freeze_count() > 10_000
    await runners[1].cleanup()
    assert (gc.get_threshold(), gc.callbacks) == before
    assert gc.get_freeze_count() == 0


async def test_nobody_else_s_collector_is_set(serve: Serve) -> None:
    """A library that changes the collector of the whole process would surprise its programmer."""
    before = (gc.get_threshold(), gc.get_freeze_count(), list(gc.callbacks))
    server = await serve(Witness().io)
    async with raw_client(server.url) as raw:
        await join_websocket(raw)
    assert (gc.get_threshold(), gc.get_freeze_count(), gc.callbacks) == before


async def test_clients_that_came_are_not_looked_through(collector: Collector, serve: Serve) -> None:
    """With 10,000 clients, each full collection takes a tenth of a second."""
    witness = Witness()
    server = await serve(witness.io)
    before = clients()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(10):
            await join_websocket(await stack.enter_async_context(raw_client(server.url)))
        assert clients() == before + 10
        gc.collect()
        with disabled():
            assert known(Connection) == known(Socket) == 0
    await eventually(lambda: clients() == before)


@pytest.mark.parametrize("way", ["websocket", "polling", "upgrade", "refused", "cut off"])
async def test_a_visit_leaves_no_garbage(serve: Serve, way: str) -> None:
    """Memory would grow until the collector comes, and it would have something to do."""
    io = Server()

    @io.on("connection")
    def connection(socket: Socket) -> None:
        if way == "refused":
            raise ConnectionRefusedError

    @io.on("say")
    async def say(socket: Socket, text: str) -> str:
        await socket.join("room")
        await io.to("room").emit("said", text)
        await asyncio.sleep(0)
        return text

    server = await serve(io)

    async def visit() -> None:
        async with raw_client(server.url) as raw:
            if way == "polling":
                await join(raw)
                await raw.post('420["say","hello"]')
                assert await raw.receive() == '42["said","hello"]'
                await raw.post("1")
                return
            if way == "upgrade":
                await join(raw)
                websocket = await raw.upgrade()
            else:
                websocket, _ = await raw.open_websocket()
                await websocket.send("40")
                await websocket.receive()
            if way != "refused":
                await websocket.send('420["say","hello"]')
                assert [await websocket.receive() for _ in range(2)] == ['42["said","hello"]', '430["hello"]']
            if way != "cut off":
                await websocket.send("41")
        await eventually(lambda: not io.sockets)

    await visit()  # what is made once for all
    heap.leave_out()  # to look through what all tests are takes long
    with disabled():
        for _ in range(5):
            await visit()
        await eventually(lambda: not clients() or way == "polling")
        left = garbage()
    assert not [each for each in left if is_ours(each)], left


def garbage() -> list[Any]:
    """Return what a collection finds."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        return gc.garbage[:]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


def is_ours(thing: Any) -> bool:
    """Tell whether a server has made it: all else in this process is the clients'."""
    kind = type(thing)
    return kind.__module__.startswith(("rtframework", "socketio", "engineio")) or kind in (
        web.Request,
        web.Response,
        web.RequestHandler,
    )
