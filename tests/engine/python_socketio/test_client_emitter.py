"""What an adapter may ask of a python-socketio program, where no other test of a cluster comes by."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Iterable
from typing import Any

import pytest

from rtframework import ClusterUnavailable, Disconnected, EventError, Limits, MemoryAdapter, Packet, PacketType, Target
from rtframework.engine import AsyncServer
from rtframework.engine.python_socketio.client_emitter import ClientEmitter
from rtframework.testing import TestClient, TestServer
from tests.support.in_process import NOT_ON_UVLOOP

pytestmark = NOT_ON_UVLOOP


class Slow(MemoryAdapter):
    """An adapter whose subscriptions the test ends."""

    def __init__(self, nsp: str, emitter: Any) -> None:
        super().__init__(nsp, emitter)
        self.emitter: ClientEmitter = emitter
        self.waiting: list[asyncio.Future[None]] = []
        self.waits = False

    def _wait(self) -> Awaitable[None] | None:
        if not self.waits:
            return None
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        return future

    def add(self, sid: str, rooms: Iterable[str]) -> Awaitable[None] | None:
        """Put a socket into rooms."""
        super().add(sid, rooms)
        return self._wait()

    def remove(self, sid: str, rooms: Iterable[str]) -> Awaitable[None] | None:
        """Take a socket out of rooms."""
        super().remove(sid, rooms)
        return self._wait()


@contextlib.asynccontextmanager
async def served(**options: Any) -> AsyncIterator[tuple[AsyncServer, Slow, TestServer]]:
    """A program that runs, and the adapter of its main namespace."""
    sio = AsyncServer(adapter=Slow, **options)
    async with TestServer(sio) as server:
        yield sio, sio.manager._adapters["/"], server


def event(*args: Any) -> Packet:
    """An event."""
    return Packet(PacketType.EVENT, "/", list(args))


async def test_what_it_is() -> None:
    """An adapter would wait too long, or not long enough, for a client that has gone; or keep sessions for nobody."""
    async with served(ping_interval=3, ping_timeout=2) as (_, adapter, _server):
        emitter = adapter.emitter
        assert (emitter.recovery, emitter.linger, emitter.node, emitter.session("x")) == (None, 5.0, "", None)


async def test_every_way_to_send() -> None:
    """An adapter would have no way to send what it has read, or would encode it for each client."""
    async with served() as (_, adapter, server):
        emitter, client = adapter.emitter, await server.connect()
        emitter.send([client.id, "gone"], lambda: event("a", 1), volatile=True, compress=False)
        emitter.send([client.id, "gone"], event("b", 2))
        frames = emitter.splice('["c",3]', "the offset")
        assert frames is not None
        emitter.send([client.id], event("not this one"), frames=frames)
        emitter.send([client.id], event("d"), frames=emitter.encode(event("d", 4), compress=False))
        got = [await client.receive_event() for _ in range(4)]
        assert [(each.event, *each.args) for each in got] == [("a", 1), ("b", 2), ("c", 3, "the offset"), ("d", 4)]
        assert emitter.text(event("e", "é")) == '["e","é"]'
        assert emitter.text(event("e", b"\x00")) is None


async def test_an_answer_that_nobody_waits_for_is_forgotten() -> None:
    """Each question without an answer would stay in memory."""
    async with served() as (sio, adapter, server):
        client = await server.connect()
        asked = adapter.emitter.ask([client.id, "gone"], event("question"))
        await client.receive("question")
        assert asked.keys() == {client.id}
        assert sio.manager.callbacks
        asked[client.id].cancel()
        await asyncio.sleep(0)
        assert not sio.manager.callbacks
        asked = adapter.emitter.ask([client.id], event("question"))
        await client.receive("question")
        await client.disconnect()
        with pytest.raises(Disconnected):
            await asked[client.id]
        assert not sio.manager.callbacks


async def joined(work: Awaitable[None] | None) -> None:
    """Wait for what an emitter returns."""
    if work is not None:
        await work


async def test_joining_and_leaving_wait_for_the_adapter() -> None:
    """What is emitted right after a join would not reach the room."""
    async with served() as (sio, adapter, server):
        clients = [await server.connect() for _ in range(2)]
        sids = [client.id for client in clients]
        adapter.waits = True
        for change in (adapter.emitter.join, adapter.emitter.leave):
            task = asyncio.ensure_future(joined(change([*sids, "gone"], ["x"])))
            await asyncio.sleep(0)
            assert not task.done()
            assert len(adapter.waiting) == 2
            for each in adapter.waiting:
                each.set_result(None)
            adapter.waiting.clear()
            await task
        entering = asyncio.create_task(sio.enter_room(sids[0], "y"))
        await asyncio.sleep(0)
        adapter.waiting.pop().set_exception(ClusterUnavailable("away"))
        with pytest.raises(ClusterUnavailable):
            await entering
        assert sio.rooms(sids[0]) == [sids[0], "y"]  # it is in the room all the same
        leaving = asyncio.create_task(sio.leave_room(sids[0], "y"))
        await asyncio.sleep(0)
        adapter.waiting.pop().set_result(None)
        await leaving
        refused = adapter.emitter.join(sids, ["z", sids[0]])
        for each in adapter.waiting:
            each.set_exception(ClusterUnavailable("away"))
        with pytest.raises(ClusterUnavailable):
            await joined(refused)
        adapter.waits = False


async def test_a_client_whose_subscription_fails_is_not_let_in() -> None:
    """It would be there, and hear nothing of the other servers."""
    async with served() as (sio, adapter, server):
        adapter.waits = True
        connecting = asyncio.create_task(server.connect())
        async with asyncio.timeout(5):
            while not adapter.waiting:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0)
        adapter.waiting.pop().set_exception(ClusterUnavailable("away"))
        with pytest.raises(Exception, match="Unable to connect"):
            await connecting
        assert not list(sio.manager.get_namespaces())
        assert adapter.sockets(Target()) == []
        adapter.waits = False


async def test_a_client_beyond_its_limits_does_not_keep_the_others_out() -> None:
    """One client in too many rooms would keep all after it out of the new one."""
    async with served(limits=Limits(max_rooms=2)) as (sio, adapter, server):
        full, other = await server.connect(), await server.connect()
        await sio.enter_room(full.id, "x")
        with pytest.raises(EventError, match="at most 2 rooms"):
            adapter.emitter.join([full.id, other.id], ["y"])
        assert sio.rooms(other.id) == [other.id, "y"]
        adapter.waits = True
        refused = adapter.emitter.join([full.id, other.id], ["z", "y"])
        for each in adapter.waiting:
            each.set_result(None)
        with pytest.raises(EventError):
            await joined(refused)
        adapter.waits = False


async def test_every_way_to_send_away() -> None:
    """A disconnect handler would hear nothing, or something else than what the other server has said."""
    async with served() as (sio, adapter, server):
        heard: list[str] = []

        @sio.event
        async def disconnect(sid: str, reason: str) -> None:
            heard.append(reason)

        async def gone(client: TestClient) -> str:
            reason = await client.receive_disconnect()
            async with asyncio.timeout(5):
                while list(sio.manager.get_namespaces()):  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0)
            return reason

        client = await server.connect()
        adapter.emitter.disconnect([client.id, "gone"], False, reason="banned")
        adapter.emitter.disconnect([client.id], False)
        assert await gone(client) == "io server disconnect"
        client = await server.connect()
        adapter.emitter.disconnect([client.id], True)
        assert await gone(client) == "io server disconnect"
        client = await server.connect()
        adapter.emitter.disconnect([client.id], True, persist=False)
        assert await gone(client) == "transport close"
        assert heard == ["banned", "server disconnect", "transport close"]
