"""The adapter of a single process: rooms in memory, deliveries to sockets of this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .ack_collector import AckCollector
from .base import BaseAdapter

if TYPE_CHECKING:
    from ..types import AckResponses, Packet, SocketDetails, Target


class MemoryAdapter(BaseAdapter):
    """Keeps the rooms of one namespace in memory; the default adapter.

    The namespace makes it by ``MemoryAdapter(name, emitter)``. To reach the sockets of other processes, pass another
    class or factory with these parameters as ``Server(adapter=...)``.
    """

    __slots__ = ()

    async def broadcast(self, packet: Packet, target: Target) -> None:
        """Deliver a packet to the sockets that a target selects."""
        sids = self.index.select(target.rooms, target.except_)
        slow = self._emitter.send(sids, packet, volatile=target.volatile, compress=target.compress, rooms=target.rooms)
        if slow is not None:
            await slow

    async def broadcast_with_ack(self, packet: Packet, target: Target, timeout: float | None) -> AckResponses:
        """Deliver a packet and collect the answers."""
        sids = self.index.select(target.rooms, target.except_)
        collector = AckCollector()
        asked = self._emitter.ask(sids, packet, volatile=target.volatile, compress=target.compress, rooms=target.rooms)
        collector.ask(asked)
        return await collector.result(timeout)

    async def fetch_sockets(self, target: Target, timeout: float | None) -> list[SocketDetails]:
        """Describe the sockets that a target selects."""
        return self._emitter.describe(self.sockets(target))

    async def add_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        """Make the sockets that a target selects join rooms."""
        entering = self._emitter.join(self.sockets(target), rooms)
        if entering is not None:
            await entering

    async def del_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        """Make the sockets that a target selects leave rooms."""
        leaving = self._emitter.leave(self.sockets(target), rooms)
        if leaving is not None:
            await leaving

    async def disconnect_sockets(self, target: Target, close: bool, reason: str | None) -> None:
        """Disconnect the sockets that a target selects."""
        self._emitter.disconnect(self.sockets(target), close, reason=reason)
