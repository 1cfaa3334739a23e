"""The broker: who gets what, in which order, and what happens to workers that do not read."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import struct
from pathlib import Path

import pytest

from rtframework.workers import broker as module
from rtframework.workers import wire
from rtframework.workers.broker import Broker
from rtframework.workers.group import join
from rtframework.workers.shared_table import SlotState
from tests.support.until import until
from tests.support.workers import running_broker


async def test_workers_get_the_smallest_free_slot() -> None:
    """A session id would name a worker that is not there, while a slot is free."""
    async with running_broker() as broker:
        one, two = await join(broker.directory), await join(broker.directory)
        assert (one.slot, two.slot) == (0, 1)
        assert one.table.workers(SlotState.STARTING) == [0, 1]
        await one.leave()
        await until(lambda: list(broker.members) == [1])
        assert two.table.state(0) is SlotState.EMPTY
        async with await join(broker.directory) as three:
            assert three.slot == 0
        await two.leave()


async def test_the_supervisor_hears_of_workers() -> None:
    """A worker that hangs, or has died, would never be replaced."""
    came: list[str] = []
    left: list[str] = []
    async with running_broker(
        on_join=lambda member: came.append(member.name), on_leave=lambda member: left.append(member.name)
    ) as broker:
        async with await join(broker.directory, name="w") as group:
            group.answer("double", lambda data: 2 * data)
            assert came == ["w"]
            silent = broker.silent(os.getpid())
            assert silent is not None
            assert silent < 60
            assert broker.slot_of(os.getpid()) == 0
            assert (await broker.gather("double", b"x", 10.0)).answers == {"w": b"xx"}
        await until(lambda: left == ["w"])
        assert broker.silent(os.getpid()) is None


async def test_a_message_goes_to_those_who_have_the_room() -> None:
    """Each worker would pay for every message of every room."""
    async with running_broker() as broker:
        groups = [await join(broker.directory) for _ in range(3)]
        groups[1].rooms[7] += 1
        groups[0].publish(0, (7,), b"\x09not understood by anybody")
        groups[0].publish(wire.TO_ALL, (), b"\x09for all")
        await until(lambda: [group.received for group in groups] == [0, 2, 1])
        assert [group.at for group in groups[1:]] == [2, 2]
        assert groups[0].table.head == 2
        for group in groups:
            await group.leave()


async def test_who_is_about_to_join_a_room_counts_as_there() -> None:
    """An event right after a remote join would be lost on the worker that has not handled the join yet."""
    async with running_broker() as broker:
        one, two = await join(broker.directory), await join(broker.directory)
        two.rooms[1] += 1
        two.link.freeze()
        one.publish(wire.JOINS, (1,), wire.encode_join([2], b"\x80"))
        one.publish(0, (2,), b"\x09after the join")
        await until(lambda: broker.published == 2)
        two.link.thaw()
        await until(lambda: two.received == 2)
        await until(lambda: not broker._workers[1].expected)
        await one.leave()
        await two.leave()


async def test_who_does_not_read_is_waited_for_and_then_told() -> None:
    """One worker that hangs would fill the broker's memory, or stop all others for good."""
    async with running_broker(max_behind=100_000, patience=0.05) as broker:
        one, two = await join(broker.directory), await join(broker.directory)
        missed: list[float] = []

        class Adapter:
            def missed(self, since: float) -> None:
                missed.append(since)

        two.adapters["/"] = Adapter()  # type: ignore[assignment]
        two.link.freeze()
        for _ in range(300):
            one.publish(wire.TO_ALL, (), b"\x09" + bytes(10_000))
            await asyncio.sleep(0)
        await until(lambda: broker.published == 300)
        assert broker.dropped > 0
        two.link.thaw()
        await until(lambda: len(missed) == 1)
        received = two.received
        assert received + broker.dropped == 300
        one.publish(wire.TO_ALL, (), b"\x09again")
        await until(lambda: two.received == received + 1)
        two.adapters.clear()
        await one.leave()
        await two.leave()


async def test_rubbish_costs_that_message() -> None:
    """A mistake in one worker would end the connections of all."""
    async with running_broker() as broker:
        one, two = await join(broker.directory), await join(broker.directory)
        one.link.send(b"\x02\x00\x00\x00\x00\xc1")
        one.link.send(b"\x01\x00\x00\x00\x01")
        one.publish(wire.TO_ALL, (), b"\x09")
        await until(lambda: two.received == 1)
        await one.leave()
        await two.leave()


@pytest.mark.parametrize(
    "data",
    [
        bytes(4),
        struct.pack("<IB", 1, wire.CONTROL),
        struct.pack("<IBB", 2, wire.CONTROL, 0xC1),
        struct.pack("<I", 0xFFFF_FFFF) + b"x" * 70_000,
        b"GET / HTTP/1.1\r\n\r\n" * 4_000,
        bytes(range(7, 250)) * 400,
    ],
    ids=["nothing", "no struct", "no MessagePack", "a giant", "HTTP", "made up"],
)
async def test_who_does_not_say_who_it_is_is_cut_off(data: bytes) -> None:
    """What is no worker could take all the memory of the command, and would hold its end up."""
    async with running_broker() as broker, await join(broker.directory) as worker:
        reader, writer = await asyncio.open_unix_connection(str(broker.directory / wire.SOCKET))
        writer.write(data)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
        await until(lambda: len(broker._connections) == 1)
        assert worker.up


async def test_who_says_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that nobody uses would keep a broker without a supervisor for ever."""
    monkeypatch.setattr(module, "_PATIENCE", 0.0)
    monkeypatch.setattr(module, "_SWEEP", 0.01)
    async with running_broker() as broker, await join(broker.directory) as worker:
        reader, writer = await asyncio.open_unix_connection(str(broker.directory / wire.SOCKET))
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
        assert worker.up


async def test_a_directory_that_is_removed_is_made_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What tidies up temporary files would let no worker join any more."""
    monkeypatch.setattr(module, "_SWEEP", 0.01)
    async with running_broker() as broker, await join(broker.directory) as one:
        shutil.rmtree(broker.directory)
        await until(lambda: (broker.directory / wire.SOCKET).exists())
        assert broker.directory.stat().st_mode & 0o777 == 0o700
        async with await join(broker.directory) as two:
            one.publish(wire.TO_ALL, (), b"\x09")
            await until(lambda: two.received == 1)
        assert "was removed: it is made again" in caplog.text


async def test_a_directory_that_somebody_else_has_made(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Another user could make the directory when it is gone, and be in the group."""
    monkeypatch.setattr(module, "_SWEEP", 0.01)
    broker = Broker(tmp_path / "workers")
    await broker.start()
    try:
        shutil.rmtree(broker.directory)
        broker.directory.mkdir()
        broker.directory.chmod(0o755)
        await until(lambda: "cannot be made again" in caplog.text)
        assert list(broker.directory.iterdir()) == []
        broker.directory.chmod(0o700)
        await until(lambda: (broker.directory / wire.SOCKET).exists())
    finally:
        await broker.stop()
