"""The sessions that the broker keeps: whose client is where, and for how long those of others last; without I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

FOREVER = float("inf")


@dataclass(slots=True)
class StoredSession:
    """A session as its worker has written it.

    ``owner``: the slot of the worker that has the client, ``None`` if it has left. ``taken``: the owner has taken it
    for a client that is on its way in. ``ends``: time at which it is forgotten.
    """

    key: str
    sid: str
    value: bytes
    seconds: float
    owner: int | None
    version: int
    ends: float = FOREVER
    taken: bool = False
    changes: list[bytes] = field(default_factory=list)


class SessionStore:
    """The sessions of the clients of all workers, by private id.

    A session belongs to one worker while that has the client, and only that worker may change it. It outlives the
    worker by its ``seconds``.
    """

    def __init__(self) -> None:
        self._sessions: dict[str, StoredSession] = {}
        self._left: dict[str, dict[str, None]] = {}
        """By key of a namespace: the private ids of clients that have left, in their order."""
        self._version = 0

    def __len__(self) -> int:
        """Number of sessions."""
        return len(self._sessions)

    def keep(self, slot: int, pid: str, key: str, sid: str, value: bytes, seconds: float) -> None:
        """Keep the session of a client that a worker has; a client that comes belongs to the worker from now on."""
        before = self._sessions.get(pid)
        if before is not None and before.owner is not None and before.owner != slot:
            return  # another worker has taken it
        self._store(pid, StoredSession(key, sid, value, seconds, slot, self._next()))

    def note(self, slot: int, pid: str, change: bytes) -> None:
        """Remember a change of a session that belongs to a worker."""
        session = self._sessions.get(pid)
        if session is not None and session.owner == slot:
            session.changes.append(change)
            session.version = self._next()

    def leave(
        self, slot: int, pid: str, key: str, sid: str, value: bytes, seconds: float, most: int, now: float
    ) -> None:
        """Keep the session of a client that has left a worker, among at most so many of its namespace."""
        before = self._sessions.get(pid)
        if before is not None and before.owner != slot:
            return
        self._store(pid, StoredSession(key, sid, value, seconds, None, self._next(), now + seconds))
        left = self._left.setdefault(key, {})
        left[pid] = None
        while len(left) > most:
            self._remove(next(iter(left)))

    def forget(self, slot: int, pid: str) -> None:
        """Forget a session, if it belongs to this worker or to nobody."""
        session = self._sessions.get(pid)
        if session is not None and session.owner in (slot, None):
            self._remove(pid)

    def find(self, pid: str, now: float) -> StoredSession | None:
        """Return a session that may be taken."""
        session = self._sessions.get(pid)
        if session is None or session.taken or session.ends < now:
            return None
        return session

    def take(self, slot: int, pid: str, version: int, now: float) -> tuple[StoredSession, int | None] | None:
        """Give a session to a worker, if it is still of this version. Return it, and the slot that had the client."""
        session = self.find(pid, now)
        if session is None or session.version != version:
            return None
        before = session.owner
        self._unlist(pid, session)
        session.owner, session.taken, session.ends = slot, True, now + session.seconds
        session.version = self._next()
        return session, before

    def left(self, key: str, now: float) -> list[tuple[str, StoredSession]]:
        """Return the sessions of clients of a namespace that have left."""
        found = ((pid, self._sessions[pid]) for pid in self._left.get(key, ()))
        return [(pid, session) for pid, session in found if session.ends >= now]

    def drop(self, which: Sequence[tuple[str, int]]) -> int:
        """Forget sessions that are still of these versions. Return their number."""
        count = 0
        for pid, version in which:
            session = self._sessions.get(pid)
            if session is not None and session.version == version:
                self._remove(pid)
                count += 1
        return count

    def worker_gone(self, slot: int, now: float) -> None:
        """Let the sessions of a worker that has gone be taken by others, for their time."""
        for pid, session in self._sessions.items():
            if session.owner == slot:
                session.owner, session.taken = None, False
                session.ends = now + session.seconds
                self._left.setdefault(session.key, {})[pid] = None

    def trim(self, now: float) -> None:
        """Forget the sessions whose time is over."""
        for pid in [pid for pid, session in self._sessions.items() if session.ends < now]:
            self._remove(pid)

    def _next(self) -> int:
        self._version += 1
        return self._version

    def _store(self, pid: str, session: StoredSession) -> None:
        before = self._sessions.get(pid)
        if before is not None:
            self._unlist(pid, before)
        self._sessions[pid] = session

    def _remove(self, pid: str) -> None:
        self._unlist(pid, self._sessions.pop(pid))

    def _unlist(self, pid: str, session: StoredSession) -> None:
        left = self._left.get(session.key)
        if left is not None:
            left.pop(pid, None)
            if not left:
                del self._left[session.key]
