"""A worker's connection to its broker."""

from __future__ import annotations

import asyncio
import tempfile

import pytest

from rtframework.exceptions import ClusterUnavailable
from rtframework.workers import wire, wire_rooms
from rtframework.workers.group import join
from tests.support.until import until
from tests.support.workers import running_broker


async def test_without_a_broker_a_worker_does_not_start() -> None:
    """It would serve clients that nobody else reaches."""
    with tempfile.TemporaryDirectory() as directory, pytest.raises(ClusterUnavailable, match="cannot be reached"):
        await join(directory)


async def test_what_is_sent_in_one_turn_leaves_in_one_piece() -> None:
    """Each message would cost a system call."""
    async with running_broker() as broker, await join(broker.directory) as group:
        written: list[int] = []
        write = group.link._transport.write  # type: ignore[union-attr]
        group.link._transport = _Counting(group.link._transport, written, write)  # type: ignore[assignment]
        for _ in range(5):
            group.send_to_all(b"\x09")
        assert group.link.pending > 0
        await until(lambda: broker.published == 5)
        assert len(written) == 1
        assert group.link.pending == 0


async def test_a_request_ends_with_the_connection() -> None:
    """A client that joins a room would wait for its page as long as it lives."""
    async with running_broker() as broker:
        group = await join(broker.directory)
        answer = await group.link.request(lambda id: wire_rooms.frame_of(wire_rooms.ClearHistory(id, "/", "r")))
        assert isinstance(answer, wire_rooms.Changed)
        for connection in broker._connections:
            connection._transport.pause_reading()
        asking = asyncio.create_task(group.link.request(lambda id: wire.control(wire.ReadPackets(id, []))))
        await until(lambda: len(group.link._requests) == 1)
        await broker.stop()
        with pytest.raises(ClusterUnavailable):
            await asking
        with pytest.raises(ClusterUnavailable):
            await group.link.request(lambda id: b"")
        await group.leave()


class _Counting:
    """A transport that counts what is written."""

    def __init__(self, transport: object, written: list[int], write: object) -> None:
        self._transport, self._written, self._write = transport, written, write

    def write(self, data: bytes) -> None:
        """Write and count."""
        self._written.append(len(data))
        self._write(data)  # type: ignore[operator]

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)


async def test_a_worker_whose_broker_has_gone_says_so() -> None:
    """It would go on alone, and its clients would miss everything without a word."""
    lost = asyncio.Event()
    async with running_broker() as broker:
        group = await join(broker.directory, on_lost=lost.set)
        answers: list[object] = []
        group.link.ask(answers.append)
        assert group.link.problem == ""
        await broker.stop()
        await asyncio.wait_for(lost.wait(), 10)
    assert answers == [None]
    assert group.link.problem == "the broker has gone"
    assert not group.link.is_ready
    with pytest.raises(ClusterUnavailable):
        await group.link.ready(1)
    await group.leave()


async def test_emits_wait_while_the_broker_does_not_read() -> None:
    """A worker would fill its memory with what the broker does not take."""
    async with running_broker() as broker:
        group = await join(broker.directory, max_pending=10_000)
        connection = broker._workers[0]._transport
        connection.pause_reading()
        while group.link.is_ready:
            group.send_to_all(bytes([9]) + bytes(50_000))
            await asyncio.sleep(0)
        with pytest.raises(ClusterUnavailable, match="has taken nothing"):
            await group.link.ready(0.01)
        connection.resume_reading()
        await asyncio.wait_for(group.link.ready(10), 20)
        assert group.link.is_ready
        await group.leave()


def test_a_sign_of_life_is_a_frame() -> None:
    """The broker would take a worker that has nothing to say for one that hangs."""
    assert wire.read_by_broker(wire.control(wire.Alive())[4:]) == wire.Alive()
