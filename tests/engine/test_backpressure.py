"""Emitters that wait for slow clients; with real ones see ``engine/test_limits.py``."""

from __future__ import annotations

import asyncio

from rtframework.engine.backpressure import room_for, until_room
from rtframework.engine.frames import EncodedFrames
from rtframework.engine.outbox import Cork, Outbox
from rtframework.protocols import Frames
from tests.conftest import Serve
from tests.engine import Witness, join, raw_client
from tests.support.stream import Stream


class Kernel:
    """A transport that takes everything, and keeps it until somebody reads."""

    writable = False

    def __init__(self) -> None:
        self.kept = 0

    def write(self, frames: list[Frames]) -> bool:
        self.kept += sum(each.size for each in frames)
        return True

    def buffered(self) -> int:
        return self.kept


class Owner:
    """A connection that counts how often it was to cut its client off."""

    overflows = 0

    def overflow(self) -> None:
        self.overflows += 1


async def test_waiting_ends_when_there_is_room() -> None:
    """An emitter would go on into the memory of the server, or never again."""
    kernel, cork = Kernel(), Cork()
    outbox = Outbox(cork, kernel, 100, Owner(), "wait")
    for _ in range(3):
        outbox.put(EncodedFrames(["4" + "x" * 60]))
        await asyncio.sleep(0)
    assert cork.congested == {outbox}
    waiting = asyncio.create_task(until_room([outbox], cork.congested, 20))
    await asyncio.sleep(0)
    assert not waiting.done()
    kernel.kept = 10
    await asyncio.wait_for(waiting, 1)
    assert cork.congested == set()


async def test_only_slow_clients_are_waited_for(serve: Serve) -> None:
    """Everybody would wait for somebody in another room."""
    witness = Witness()
    server = await serve(witness.io)
    async with raw_client(server.url) as one, raw_client(server.url) as two:
        await join(one)
        await join(two)
        slow, quick = (witness.engine.connections[str(each.sid)] for each in (one, two))
        congested = {slow.outbox}
        assert room_for([quick], congested, 20) is None
        assert room_for([Stream()], congested, 20) is None, "only Engine.IO's connections can be asked"
        waiting = room_for([quick, slow, Stream()], congested, 20)
        assert waiting is not None
        await waiting
        assert congested == set()


async def test_nobody_is_waited_for_for_ever() -> None:
    """A client that reads nothing, and says that it is alive, would stop all broadcasts for good."""
    kernel, cork = Kernel(), Cork()
    owner = Owner()
    outbox = Outbox(cork, kernel, 100, owner, "wait")
    for _ in range(3):
        outbox.put(EncodedFrames(["4" + "x" * 60]))
        await asyncio.sleep(0)
    await asyncio.wait_for(until_room([outbox], cork.congested, 0.05), 1)
    assert (owner.overflows, cork.congested) == (1, set())
    assert cork.counts.dropped["slow_consumer"] == 0, "nothing had been kept back"
