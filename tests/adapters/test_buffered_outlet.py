"""Frames for a client that is not let in yet: in order, bounded, and gone with it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from rtframework.adapters.buffered_outlet import BufferedOutlet
from rtframework.protocols import Connection, Frames
from rtframework.types import DisconnectReason
from tests.support.thorough import examples


class Sized:
    """Frames of which only the size matters."""

    def __init__(self, size: int) -> None:
        self.size = size


class Line:
    """A connection that writes down what it is asked for."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.dropped: dict[str, int] = {}
        self.closed: list[str] = []

    def send(self, frames: Any, *, volatile: bool = False) -> None:
        self.sent.append(frames)

    def count_dropped(self, reason: str, packets: int) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + packets

    def close(self, reason: str) -> None:
        self.closed.append(reason)


def outlet(line: Line, limit: int = 100) -> BufferedOutlet:
    return BufferedOutlet(cast("Connection", line), limit)


def frames(size: int) -> Frames:
    return cast("Frames", Sized(size))


async def test_what_has_waited_is_sent_in_order_and_once() -> None:
    """A client would miss what was emitted while its connection handler ran, or see it twice or mixed up."""
    line = Line()
    held = outlet(line)
    packets = [frames(10) for _ in range(5)]
    for each in packets:
        held.send(each)
    assert line.sent == []
    held.open()
    assert line.sent == packets
    held.open()
    assert line.sent == packets


async def test_one_buffer_may_be_above_another() -> None:
    """What has to come first, such as a room's history, would come after what was said meanwhile."""
    line = Line()
    lower = outlet(line)
    upper = BufferedOutlet(cast("Connection", line), 100, lower)
    early, late, first = frames(10), frames(10), frames(10)
    lower.send(early)
    upper.send(late)
    upper.below.send(first)
    upper.open()
    assert line.sent == []
    lower.open()
    assert line.sent == [early, first, late]


async def test_who_is_refused_hears_nothing() -> None:
    """A client without a right to it would get what was emitted to a room."""
    line = Line()
    held = outlet(line)
    held.send(frames(10))
    del held
    assert (line.sent, line.closed) == ([], [])


async def test_volatile_packets_are_not_held() -> None:
    """A client would begin with positions of a cursor that are long over."""
    line = Line()
    held = outlet(line)
    held.send(frames(10), volatile=True)
    held.send(frames(10), volatile=True)
    held.open()
    assert (line.sent, line.dropped) == ([], {"volatile": 2})


async def test_a_client_that_takes_too_long_is_cut_off() -> None:
    """A connection handler that hangs would fill the memory, at the pace of all other clients."""
    line = Line()
    held = outlet(line, limit=100)
    for _ in range(10):
        held.send(frames(10))
    assert line.dropped == {}
    held.send(frames(1))
    assert line.dropped == {"not_admitted": 11}
    assert line.closed == [], "whoever broadcasts goes through the members of a room at this moment"
    await asyncio.sleep(0)
    assert line.closed == [DisconnectReason.SLOW_CONSUMER]
    held.open()
    assert line.sent == []


async def test_one_packet_may_be_larger_than_the_limit() -> None:
    """One large answer of a connection handler would disconnect every client that asks for it."""
    line = Line()
    held = outlet(line, limit=100)
    large = frames(1_000)
    held.send(large)
    held.open()
    assert (line.sent, line.dropped) == ([large], {})


@settings(max_examples=examples(400))
@given(st.lists(st.tuples(st.integers(1, 60), st.booleans()), max_size=30))
def test_every_packet_is_sent_or_counted(packets: list[tuple[int, bool]]) -> None:
    """Packets would be lost that no statistics know of."""

    async def scenario() -> None:
        line = Line()
        held = outlet(line)
        for size, volatile in packets:
            held.send(frames(size), volatile=volatile)
        held.open()
        await asyncio.sleep(0)
        assert len(line.sent) + sum(line.dropped.values()) == len(packets)
        assert bool(line.closed) is ("not_admitted" in line.dropped)

    asyncio.run(scenario())
