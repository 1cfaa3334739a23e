"""The adapter of a single process: rooms in memory, deliveries to sockets of this process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..types import AckResponses
from .ack_collector import AckCollector
from .rooms import RoomIndex

if TYPE_CHECKING:
    from ..protocols import Emitter, Session
    from ..types import Packet, SocketDetails, Target

log: Final = logging.getLogger("rtframework.adapter")

F = TypeVar("F", bound=Callable[..., Any])


class MemoryAdapter:
    """Keeps the rooms of one namespace in memory.

    It is made by the namespace, ``MemoryAdapter(name, emitter)``; pass another class or factory of the same shape as
    ``Server(adapter=...)`` to reach the sockets of other processes.
    """

    __slots__ = ("_emitter", "_warned", "index", "nsp")

    def __init__(self, nsp: str, emitter: Emitter) -> None:
        self.nsp = nsp
        self.index = RoomIndex()
        self._emitter = emitter
        self._warned = False

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

    def room_count(self) -> int:
        """Rooms that somebody is in."""
        return self.index.room_count

    def sockets(self, target: Target) -> list[str]:
        """The ids of the sockets that a target selects."""
        return self.index.select(target.rooms, target.except_)

    async def broadcast(self, packet: Packet, target: Target) -> None:
        """Deliver a packet to the sockets that a target selects."""
        sids = self.index.select(target.rooms, target.except_)
        slow = self._emitter.send(sids, packet, volatile=target.volatile, compress=target.compress)
        if slow is not None:
            await slow

    async def broadcast_with_ack(self, packet: Packet, target: Target, timeout: float | None) -> AckResponses:
        """Deliver a packet and collect the answers."""
        sids = self.index.select(target.rooms, target.except_)
        tally = AckCollector()
        tally.ask(self._emitter.ask(sids, packet, volatile=target.volatile, compress=target.compress))
        return await tally.result(timeout)

    async def fetch_sockets(self, target: Target) -> list[SocketDetails]:
        """Describe the sockets that a target selects."""
        return self._emitter.describe(self.sockets(target))

    async def add_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        """Make the sockets that a target selects join rooms."""
        self._emitter.join(self.sockets(target), rooms)

    async def del_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        """Make the sockets that a target selects leave rooms."""
        self._emitter.leave(self.sockets(target), rooms)

    async def disconnect_sockets(self, target: Target, close: bool) -> None:
        """Disconnect the sockets that a target selects."""
        self._emitter.disconnect(self.sockets(target), close)

    async def server_side_emit(self, args: Sequence[Any]) -> None:
        """There is no other server: the log says so, once."""
        if not self._warned:
            self._warned = True
            log.warning(
                "server_side_emit in %s reaches nobody: this adapter knows no other server",
                self.nsp,
                extra={"nsp": self.nsp},
            )

    async def server_side_emit_with_ack(self, args: Sequence[Any], timeout: float) -> AckResponses:
        """There is no other server, so nobody answers: the log says so, once."""
        await self.server_side_emit(args)
        return AckResponses({})

    def persist_session(self, session: Session) -> None:
        """Nothing is kept: see ``Server(connection_state_recovery=...)``."""

    async def restore_session(self, pid: str, offset: str | None) -> Session | None:
        """Nothing is kept."""
        return None

    def session_time(self) -> float:
        """Nothing is kept."""
        return 0.0

    async def start(self) -> None:
        """Nothing to start."""

    async def close(self) -> None:
        """Nothing to close."""

    def on(self, event: str) -> Callable[[F], F]:
        """Register the decorated function for ``create_room``, ``join_room``, ``leave_room`` or ``delete_room``."""
        return self.index.events.on(event)

    def off(self, event: str, function: Callable[..., Any]) -> None:
        """Forget a function that was registered."""
        self.index.events.off(event, function)
