"""The adapter of a single process: rooms in memory, deliveries to sockets of this process."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .rooms import RoomIndex

if TYPE_CHECKING:
    from .protocols import Emitter
    from .recovery import Session
    from .types import Packet, Target


class MemoryAdapter:
    """Keeps the rooms of one namespace in memory.

    It is made by the namespace, ``MemoryAdapter(name, emitter)``; pass another class or factory of the same shape as
    ``Server(adapter=...)`` to reach the sockets of other processes.
    """

    __slots__ = ("_emitter", "index", "nsp")

    def __init__(self, nsp: str, emitter: Emitter) -> None:
        self.nsp = nsp
        self.index = RoomIndex()
        self._emitter = emitter

    def add(self, sid: str, rooms: Iterable[str]) -> None:
        """Put a socket into rooms."""
        self.index.add(sid, rooms)

    def remove(self, sid: str, rooms: Iterable[str]) -> None:
        """Take a socket out of rooms."""
        self.index.remove(sid, rooms)

    def remove_all(self, sid: str) -> frozenset[str]:
        """Forget a socket; the rooms it was in."""
        return self.index.remove_all(sid)

    def rooms(self, sid: str) -> frozenset[str]:
        """The rooms of a socket."""
        return self.index.rooms(sid)

    def sockets(self, target: Target) -> list[str]:
        """The ids of the sockets that a target selects."""
        return self.index.select(target.rooms, target.except_)

    async def broadcast(self, packet: Packet, target: Target) -> None:
        """Deliver a packet to the sockets that a target selects."""
        slow = self._emitter.send(self.index.select(target.rooms, target.except_), packet, volatile=target.volatile)
        if slow is not None:
            await slow

    def persist_session(self, session: Session) -> None:
        """Nothing is kept: see ``Server(connection_state_recovery=...)``."""

    async def restore_session(self, pid: str, offset: str | None) -> Session | None:
        """Nothing is kept."""
        return None

    async def start(self) -> None:
        """Nothing to start."""

    async def close(self) -> None:
        """Nothing to close."""
