"""The base class of adapters: the rooms of this server, and defaults for an adapter without other servers."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..types import AckResponses
from .rooms import RoomIndex

if TYPE_CHECKING:
    from ..protocols import Emitter, Session
    from ..types import Packet, SocketDetails, Target

log: Final = logging.getLogger("rtframework.adapter")

F = TypeVar("F", bound=Callable[..., Any])


class BaseAdapter(ABC):
    """Base class for adapters: keeps the rooms of this server, knows no other server, and keeps no sessions.

    A subclass implements the six abstract methods, which deliver packets and act on the sockets of all servers. It
    overrides ``server_side_emit`` and ``server_side_emit_with_ack`` if there are other servers, ``start`` and
    ``close`` if it opens a connection, ``persist_session``, ``restore_session``, ``forget_sessions`` and
    ``session_time``, and for sessions that outlive the process also ``keep_session`` and ``forget_session``, if it
    supports connection state recovery. :class:`rtframework.protocols.Adapter` describes each method.

    ``index``: the rooms. ``nsp``: the name of the namespace.
    """

    __slots__ = ("_emitter", "_warned", "index", "nsp")

    def __init__(self, nsp: str, emitter: Emitter) -> None:
        self.nsp = nsp
        self.index = RoomIndex()
        self._emitter = emitter
        self._warned = False

    # --- rooms of this server ---------------------------------------------------------------------------------------

    def add(self, sid: str, rooms: Iterable[str]) -> Awaitable[None] | None:
        """Put a socket into rooms."""
        self.index.add(sid, rooms)
        return None

    def remove(self, sid: str, rooms: Iterable[str]) -> Awaitable[None] | None:
        """Take a socket out of rooms."""
        self.index.remove(sid, rooms)
        return None

    def remove_all(self, sid: str) -> frozenset[str]:
        """Forget a socket. Return the rooms that it was in."""
        return self.index.remove_all(sid)

    def rooms(self, sid: str) -> frozenset[str]:
        """Return the rooms that a socket is in."""
        return self.index.rooms(sid)

    def room_count(self) -> int:
        """Count the rooms that have a socket in them."""
        return self.index.room_count

    def member_count(self, room: str) -> int:
        """Count the sockets in a room."""
        return len(self.index.members(room))

    def sockets(self, target: Target) -> list[str]:
        """Return the ids of this server's sockets that a target selects."""
        return self.index.select(target.rooms, target.except_)

    def on(self, event: str) -> Callable[[F], F]:
        """Register the decorated function for ``create_room``, ``join_room``, ``leave_room`` or ``delete_room``."""
        return self.index.events.on(event)

    def off(self, event: str, function: Callable[..., Any]) -> None:
        """Forget a function that was registered."""
        self.index.events.off(event, function)

    # --- to be implemented by each adapter --------------------------------------------------------------------------

    @abstractmethod
    def broadcast(self, packet: Packet, target: Target) -> Awaitable[None]:
        """Deliver a packet to the sockets that a target selects."""

    @abstractmethod
    async def broadcast_with_ack(self, packet: Packet, target: Target, timeout: float | None) -> AckResponses:
        """Deliver a packet and collect the answers."""

    @abstractmethod
    async def fetch_sockets(self, target: Target, timeout: float | None) -> list[SocketDetails]:
        """Describe the sockets that a target selects."""

    @abstractmethod
    async def add_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        """Make the sockets that a target selects join rooms."""

    @abstractmethod
    async def del_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        """Make the sockets that a target selects leave rooms."""

    @abstractmethod
    async def disconnect_sockets(self, target: Target, close: bool, reason: str | None) -> None:
        """Disconnect the sockets that a target selects."""

    # --- no other servers -------------------------------------------------------------------------------------------

    async def server_side_emit(self, args: Sequence[Any]) -> None:
        """Log a warning, once: there is no other server."""
        if not self._warned:
            self._warned = True
            log.warning(
                "server_side_emit in %s reaches nobody: this adapter knows no other server",
                self.nsp,
                extra={"nsp": self.nsp},
            )

    async def server_side_emit_with_ack(self, args: Sequence[Any], timeout: float) -> AckResponses:
        """Log a warning, once, and return no answers: there is no other server."""
        await self.server_side_emit(args)
        return AckResponses({})

    # --- no sessions ------------------------------------------------------------------------------------------------

    def keep_session(self, session: Session) -> None:  # noqa: B027 - a default that does nothing, on purpose
        """Keep nothing."""

    def persist_session(self, session: Session) -> None:  # noqa: B027
        """Keep nothing."""

    def forget_session(self, pid: str) -> None:  # noqa: B027
        """Do nothing: nothing is kept."""

    async def restore_session(self, pid: str, offset: str | None, accept: Callable[[Session], bool]) -> Session | None:
        """Return ``None``: nothing is kept."""
        return None

    async def forget_sessions(self, belongs: Callable[[Session], bool]) -> int:
        """Return 0: nothing is kept."""
        return 0

    def session_time(self) -> float:
        """Return 0.0: nothing is kept."""
        return 0.0

    # --- nothing to open or close -----------------------------------------------------------------------------------

    async def start(self) -> None:  # noqa: B027
        """Do nothing."""

    async def close(self) -> None:  # noqa: B027
        """Do nothing."""
