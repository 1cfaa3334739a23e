"""The memory adapter passes the suite for adapters."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from rtframework import MemoryAdapter, Packet, PacketType, Target
from rtframework.protocols import Emitter
from rtframework.testing import AdapterConformance
from rtframework.testing.conformance.deliveries import Deliveries


class TestMemoryAdapter(AdapterConformance):
    """The adapter that every server has unless it is given another one."""

    def adapter(self, nsp: str, emitter: Emitter) -> MemoryAdapter:
        return MemoryAdapter(nsp, emitter)


async def test_a_broadcast_is_encoded_once_and_to_nobody_too() -> None:
    """A room of a thousand would cost a thousand encodings; a mistake would show only when somebody is there."""
    calls: list[list[str]] = []

    class Counters(Deliveries):
        def send(self, sids: Collection[str], packet: Any, **options: Any) -> None:
            calls.append(list(sids))

    adapter = MemoryAdapter("/", Counters())
    for number in range(3):
        adapter.add(f"s{number}", ["x"])
    packet = Packet(PacketType.EVENT, "/", ["e"])
    await adapter.broadcast(packet, Target(frozenset("x")))
    await adapter.broadcast(packet, Target(frozenset()))
    assert calls == [["s0", "s1", "s2"], []]
