"""The adapter of a single process that recovers connections: sessions and missed packets in memory."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from ..exceptions import ConfigurationError
from ..types import Packet, PacketType
from .memory import MemoryAdapter
from .packet_log import Attendance, PacketLog

if TYPE_CHECKING:
    from ..options import Recovery
    from ..protocols import AdapterFactory, Emitter, Session
    from ..types import Target

_EVENT: Final = int(PacketType.EVENT)


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


class SessionAwareAdapter(MemoryAdapter):
    """The adapter of a server with ``connection_state_recovery``, in place of :class:`MemoryAdapter`.

    Packets are kept for ``max_disconnection_duration`` plus the time that the server may take to notice that a client
    has gone. ``clock``: returns the time in seconds, from any start; the event loop's time by default.
    """

    __slots__ = ("_clock", "_last_left_at", "_log", "_max_age", "_present", "_recovery", "_sessions", "_sweeper")

    def __init__(self, nsp: str, emitter: Emitter, *, clock: Callable[[], float] = _loop_time) -> None:
        super().__init__(nsp, emitter)
        recovery = emitter.recovery
        if recovery is None:
            raise ConfigurationError("SessionAwareAdapter needs Server(connection_state_recovery=Recovery(...))")
        self._recovery: Recovery = recovery
        self._clock = clock
        self._max_age = recovery.max_disconnection_duration + emitter.linger
        self._log = self._new_log()
        self._present: dict[str, Attendance] = {}
        self._sessions: dict[str, tuple[Session, Attendance, float]] = {}
        """By private id: the session, its rooms over time, and the time when it left; in the order of leaving."""
        self._last_left_at = -math.inf
        self._sweeper: asyncio.TimerHandle | None = None

    # --- rooms ------------------------------------------------------------------------------------------------------

    def add(self, sid: str, rooms: Iterable[str]) -> Awaitable[None] | None:
        """Put a socket into rooms."""
        rooms = tuple(rooms)
        super().add(sid, rooms)
        attendance = self._present.get(sid)
        if attendance is None:
            attendance = self._present[sid] = Attendance(self._log.head)
        attendance.join(rooms, self._log.head)
        return None

    def remove(self, sid: str, rooms: Iterable[str]) -> Awaitable[None] | None:
        """Take a socket out of rooms."""
        rooms = tuple(rooms)
        super().remove(sid, rooms)
        attendance = self._present.get(sid)
        if attendance is not None:
            attendance.leave(rooms, self._log.head)
        return None

    def remove_all(self, sid: str) -> frozenset[str]:
        """Forget a socket. Return the rooms that it was in."""
        if self._present.pop(sid, None) is not None:
            self._log.forget(sid)
        return super().remove_all(sid)

    # --- packets ----------------------------------------------------------------------------------------------------

    async def broadcast(self, packet: Packet, target: Target) -> None:
        """Deliver a packet to the sockets that a target selects, with its offset as the last argument.

        A packet that requests an acknowledgement has no offset and is not kept: its emitter gets ``Disconnected``.
        """
        if packet.type != _EVENT or packet.id is not None:
            await super().broadcast(packet, target)
            return
        log = self._log
        # The client takes the last argument of any event, if it is a string, for its offset. So a volatile packet has
        # an offset too: that of the packet before it.
        offset = log.offset(log.head if target.volatile else log.head + 1)
        frames = self._emitter.encode(
            Packet(packet.type, packet.nsp, [*packet.data, offset], None), compress=target.compress
        )
        frames.offset = offset
        sids = self.index.select(target.rooms, target.except_)
        if not target.volatile and (sids or self._sessions):
            log.append(frames, target.rooms, target.except_, self._clock())
            self._wake()
        slow = self._emitter.send(sids, packet, volatile=target.volatile, frames=frames, rooms=target.rooms)
        if slow is not None:
            await slow

    # --- sessions ---------------------------------------------------------------------------------------------------

    def persist_session(self, session: Session) -> None:
        """Keep the state of a socket that leaves; called while the socket is still in its rooms."""
        attendance = self._present.pop(session.sid, None)
        if attendance is None:
            return
        left_at = self._clock() if session.left_at is None else session.left_at
        kept = dataclasses.replace(session, left_at=left_at, missed=())
        self._sessions[session.pid] = (kept, attendance, left_at)
        self._last_left_at = max(self._last_left_at, left_at)
        if len(self._sessions) > self._recovery.max_sessions:
            self._forget(next(iter(self._sessions)))
        self._wake()

    def forget_session(self, pid: str) -> None:
        """Forget a session."""
        if pid in self._sessions:
            self._forget(pid)

    async def restore_session(self, pid: str, offset: str | None, accept: Callable[[Session], bool]) -> Session | None:
        """Remove a session and return it with all packets that its client has missed.

        Return ``None`` if the session is unknown or too old, if a missed packet has been discarded, or if ``accept``
        refuses it.
        """
        if pid not in self._sessions:
            return None
        session, attendance, left_at = self._sessions[pid]
        if self._is_over(left_at):
            self._forget(pid)
            return None
        position = self._log.position(offset)
        missed = None if position is None else self._log.missed(attendance, position)
        if missed is None:
            return None
        found = dataclasses.replace(session, missed=missed)
        if not accept(found):
            return None
        del self._sessions[pid]
        self._present[session.sid] = attendance
        return found

    async def forget_sessions(self, belongs: Callable[[Session], bool]) -> int:
        """Forget the sessions for which ``belongs`` returns true. Return their number."""
        theirs = [pid for pid, (session, _, _) in self._sessions.items() if belongs(session)]
        for pid in theirs:
            self._forget(pid)
        return len(theirs)

    def session_time(self) -> float:
        """Return the seconds until the last session expires; 0.0 without sessions."""
        if not self._sessions:
            return 0.0
        return max(0.0, self._last_left_at + self._recovery.max_disconnection_duration - self._clock())

    # --- expiry -----------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Forget all sessions and packets."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        self._sessions.clear()
        self._present.clear()
        self._last_left_at = -math.inf
        self._log = self._new_log()  # after the next start, the clock may be another event loop's
        await super().close()

    def _new_log(self) -> PacketLog:
        recovery = self._recovery
        return PacketLog(max_packets=recovery.max_packets, max_bytes=recovery.max_bytes, max_age=self._max_age)

    def _is_over(self, left_at: float) -> bool:
        return self._clock() - left_at > self._recovery.max_disconnection_duration

    def _forget(self, pid: str) -> None:
        session, _, _ = self._sessions.pop(pid)
        self._log.forget(session.sid)

    def _wake(self) -> None:
        """Schedule a sweep, which frees expired sessions and packets even if no packet is emitted."""
        if self._sweeper is None:
            pause = max(1.0, self._recovery.max_disconnection_duration / 4)
            self._sweeper = asyncio.get_running_loop().call_later(pause, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        for pid, (_, _, left_at) in list(self._sessions.items()):
            if self._is_over(left_at):
                self._forget(pid)
        self._log.trim(self._clock())
        if self._sessions or len(self._log):
            self._wake()


def in_memory(nsp: str, emitter: Emitter) -> MemoryAdapter:
    """Make the default adapter of a namespace: one that recovers connections, if the server does."""
    return MemoryAdapter(nsp, emitter) if emitter.recovery is None else SessionAwareAdapter(nsp, emitter)


instead_of_memory: Final[ContextVar[Callable[[], AdapterFactory] | None]] = ContextVar(
    "instead_of_memory", default=None
)
"""Makes the factory of adapters for a server that names none; set where a program is run as one of several workers."""


def default_factory() -> AdapterFactory:
    """Return what makes the adapters of a server that names none."""
    make = instead_of_memory.get()
    return in_memory if make is None else make()
