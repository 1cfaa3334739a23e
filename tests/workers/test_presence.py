"""Who is in the rooms of all workers: the conformance suite, and a broker that does not answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from rtframework import ClusterUnavailable
from rtframework.protocols import PresenceTab
from rtframework.testing import ClusterBroker
from rtframework.testing.conformance.presence import PresenceConformance
from rtframework.workers import wire_rooms
from rtframework.workers.link import Link
from rtframework.workers.presence import WorkersPresence
from tests.support.until import until
from tests.support.workers import JoiningWorkers, WorkersBroker


class TestPresence(PresenceConformance):
    """Three workers."""

    patience = 10.0
    notice = 10.0

    def broker(self) -> ClusterBroker:
        """Make a broker."""
        return WorkersBroker()


class TestRecoveringPresence(TestPresence):
    """Three workers whose clients are recovered at any of them."""

    recovers = True


TAB = PresenceTab("/", "r", "s", "u")


@contextlib.asynccontextmanager
async def started(broker: WorkersBroker) -> AsyncIterator[tuple[JoiningWorkers, WorkersPresence, Link]]:
    """Start one worker, without a server."""
    await broker.start()
    backbone = broker.backbone("n0")
    store = backbone.presence_store()
    await backbone.start()
    await store.start()
    assert backbone.joined is not None
    try:
        yield backbone, store, backbone.joined.link
    finally:
        await store.close()
        await backbone.stop()
        await broker.stop()


async def test_calls_wait_behind_emits_while_too_much_is_on_its_way() -> None:
    """Somebody would be gone before its last words, or come before what was said earlier."""
    async with started(WorkersBroker()) as (_, store, link):
        sent: list[bytes] = []
        send, link.send = link.send, sent.append  # type: ignore[assignment,method-assign]
        link.pause_writing()

        async def emit() -> None:
            await link.ready(60.0)
            link.send(b"last words")

        emitting = asyncio.create_task(emit())
        await asyncio.sleep(0)
        entering, leaving = store.enter(TAB, "null", 1.0), store.leave(TAB)
        store.away(TAB, 1.0)
        assert not sent
        link.resume_writing()
        again = store.enter(TAB, "null", 1.0)  # nothing overtakes those that wait
        await until(lambda: len(sent) == 5)
        kinds = [type(wire_rooms.read_by_broker(frame[4:])).__name__ for frame in sent[1:]]
        assert sent[0] == b"last words"
        assert kinds == ["EnterPresence", "LeavePresence", "AwayPresence", "EnterPresence"]
        for frame in sent[1:]:
            send(frame)
        await asyncio.gather(entering, leaving, again)
        await emitting


async def test_a_broker_that_does_not_answer() -> None:
    """A join would hang, a change that was refused would be made after all, or somebody would be a ghost later."""
    broker = WorkersBroker()
    async with started(broker) as (_, store, link):
        link.pause_writing()
        entering, updating = store.enter(TAB, "1", 1.0), store.update("/", "r", "u", "2")
        with pytest.raises(ClusterUnavailable) as failed:
            await updating
        assert not failed.value.uncertain
        with pytest.raises(ClusterUnavailable):
            await entering
        link.resume_writing()
        (member,) = await store.members("/", "r", 10, None)
        assert (member.user, member.meta, member.tabs) == ("u", "1", 1)
        await broker.freeze()
        with pytest.raises(ClusterUnavailable) as failed:
            await store.update("/", "r", "u", "3")
        assert failed.value.uncertain
        with pytest.raises(ClusterUnavailable):
            await store.members("/", "r", 10, None)
        await broker.thaw()
        await store.leave(TAB)
        assert await store.members("/", "r", 10, None) == []


async def test_a_broker_that_has_gone() -> None:
    """A join would hang until the worker has ended."""
    broker = WorkersBroker()
    async with started(broker) as (_, store, link):
        await broker.freeze()
        entering = store.enter(TAB, "1", 1.0)
        await broker.broker.stop()
        with pytest.raises(ClusterUnavailable):
            await entering
        with pytest.raises(ClusterUnavailable):
            await store.enter(TAB, "1", 1.0)
        with pytest.raises(ClusterUnavailable):
            await store.members("/", "r", 10, None)
        assert not link.is_open


async def test_who_has_come_before_the_start_is_told_then() -> None:
    """A socket of a server that has not started yet would never be seen by others."""
    broker = WorkersBroker()
    await broker.start()
    backbone = broker.backbone("n0")
    store = backbone.presence_store()
    entering = store.enter(TAB, "1", 1.0)
    await backbone.start()
    await store.start()
    await entering
    assert len(await store.members("/", "r", 10, None)) == 1
    await store.close()
    await backbone.stop()
    await broker.stop()
