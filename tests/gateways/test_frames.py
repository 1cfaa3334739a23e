"""Frames that are a gateway's own."""

from __future__ import annotations

import asyncio

from rtframework.counters import Counters
from rtframework.engine.outbox import Cork, Outbox
from rtframework.gateways.frames import OwnFrames
from rtframework.protocols import Frames


def test_the_form_is_what_was_given() -> None:
    """A pong would be taken for a packet."""
    frames: Frames = OwnFrames(b"pong", 4)
    assert frames.form("any", lambda messages: b"?") == b"pong"
    assert (frames.size, frames.droppable, frames.compress) == (4, False, True)
    assert (frames.websocket, frames.polling, frames.deflated(15, 0, 6)) == (b"", "", b"")


async def test_they_count_as_others_in_an_outbox() -> None:
    """A client that asks for pongs and reads none would fill the memory."""

    class Full:
        writable = False
        overflown = 0

        def write(self, frames: list[Frames]) -> bool:
            return False

        def buffered(self) -> int:
            return 0

        def overflow(self) -> None:
            self.overflown += 1

    sink = Full()
    counts = Counters()
    outbox = Outbox(Cork(counts), sink, 10, sink)
    for _ in range(4):
        outbox.put(OwnFrames(b"pong", 4))
    await asyncio.sleep(0)
    assert sink.overflown == 1
    assert counts.dropped["slow_consumer"] == 3
