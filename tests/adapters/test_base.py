"""The base class of adapters: what a plugin's adapter has without writing it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from rtframework import AckResponses, BaseAdapter, MemoryAdapter, Packet, Target
from rtframework.protocols import Emitter
from rtframework.testing import AdapterConformance
from rtframework.testing.conformance.deliveries import Deliveries
from rtframework.types import SocketDetails

DELIVERIES = {
    "add_sockets",
    "broadcast",
    "broadcast_with_ack",
    "del_sockets",
    "disconnect_sockets",
    "fetch_sockets",
}


class Delegating(BaseAdapter):
    """Writes the deliveries alone, as a plugin would: those of another adapter that shares its rooms."""

    def __init__(self, nsp: str, emitter: Emitter) -> None:
        super().__init__(nsp, emitter)
        self.local = MemoryAdapter(nsp, emitter)
        self.local.index = self.index

    async def broadcast(self, packet: Packet, target: Target) -> None:
        await self.local.broadcast(packet, target)

    async def broadcast_with_ack(self, packet: Packet, target: Target, timeout: float | None) -> AckResponses:
        return await self.local.broadcast_with_ack(packet, target, timeout)

    async def fetch_sockets(self, target: Target, timeout: float | None) -> list[SocketDetails]:
        return await self.local.fetch_sockets(target, timeout)

    async def add_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        await self.local.add_sockets(target, rooms)

    async def del_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        await self.local.del_sockets(target, rooms)

    async def disconnect_sockets(self, target: Target, close: bool, reason: str | None) -> None:
        await self.local.disconnect_sockets(target, close, reason)


class TestConformance(AdapterConformance):
    """An adapter that writes its deliveries alone passes the suite."""

    def adapter(self, nsp: str, emitter: Emitter) -> Delegating:
        return Delegating(nsp, emitter)


def test_a_delivery_that_is_missing_is_found_at_once() -> None:
    """It would be found when somebody first calls it, in production."""
    assert BaseAdapter.__abstractmethods__ == DELIVERIES
    for name in DELIVERIES:
        incomplete: Any = type("Incomplete", (Delegating,), {name: getattr(BaseAdapter, name)})
        with pytest.raises(TypeError, match=name):
            incomplete("/", Deliveries())
