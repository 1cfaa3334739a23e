"""Who is in the rooms of all workers, as the broker keeps it; without I/O."""

from __future__ import annotations

from bisect import bisect_right, insort
from heapq import heapify, heappop, heappush
from itertools import count
from typing import NamedTuple

from .wire_rooms import EnterPresence, UpdatePresence


class Told(NamedTuple):
    """What is to be published to a room."""

    key: str
    room: str
    flags: int
    payload: bytes


class _Room:
    """A room. ``ids``: its users in the order of their ids. ``tabs``: by socket id."""

    __slots__ = ("ids", "key", "name", "people", "tabs")

    def __init__(self, key: str, name: str) -> None:
        self.key = key
        self.name = name
        self.people: dict[str, _Person] = {}
        self.ids: list[str] = []
        self.tabs: dict[str, _Tab] = {}


class _Person:
    """A user in a room. ``leave``: what is published when the last tab goes."""

    __slots__ = ("flags", "leave", "meta", "room", "since", "tabs", "user")

    def __init__(self, room: _Room, it: EnterPresence, since: float) -> None:
        self.room = room
        self.user = it.user
        self.meta = it.meta
        self.flags = it.flags
        self.leave = it.leave
        self.since = since
        self.tabs: set[_Tab] = set()


class _Tab:
    """A socket in a room. ``owner``: the slot of its worker, ``None`` if that has gone. ``ends``: the time at which it
    is removed, if it is away."""

    __slots__ = ("ends", "grace", "owner", "person", "sid")

    def __init__(self, person: _Person, sid: str) -> None:
        self.person = person
        self.sid = sid
        self.owner: int | None = None
        self.grace = 0.0
        self.ends: float | None = None


class PresenceTable:
    """The users in rooms, by namespace and room, with the tabs of each.

    Methods that change something return what is to be published, in its order. ``now``: seconds of a clock that goes
    on.
    """

    def __init__(self) -> None:
        self._rooms: dict[tuple[str, str], _Room] = {}
        self._owned: dict[int, dict[_Tab, None]] = {}
        """By slot: the tabs of a worker."""
        self._late: list[tuple[float, int, _Tab]] = []
        """A heap: when tabs that are, or were, away are removed."""
        self._numbers = count()
        self._away = 0

    def __len__(self) -> int:
        """Number of tabs."""
        return sum(len(room.tabs) for room in self._rooms.values())

    @property
    def due(self) -> float | None:
        """The time at which :meth:`expire` may have something to do."""
        return self._late[0][0] if self._late else None

    def enter(self, owner: int, it: EnterPresence, since: float) -> list[Told]:
        """Add a tab of a worker, or give it to that one; it is not away any more. ``since``: of a new user."""
        told: list[Told] = []
        tab = self._find(it.key, it.room, it.sid)
        if tab is not None and tab.person.user != it.user:
            self._remove(tab, told)
            tab = None
        room = self._rooms.get((it.key, it.room))
        if room is None:
            room = self._rooms[it.key, it.room] = _Room(it.key, it.room)
        person = room.people.get(it.user)
        if person is None:
            person = room.people[it.user] = _Person(room, it, since)
            insort(room.ids, it.user)
            told.append(Told(it.key, it.room, it.flags, it.join))
        if tab is None:
            tab = room.tabs[it.sid] = _Tab(person, it.sid)
            person.tabs.add(tab)
        self._set(tab, owner, None)
        tab.grace = it.grace
        return told

    def leave(self, owner: int, key: str, room: str, sid: str) -> list[Told]:
        """Remove a tab of a worker."""
        told: list[Told] = []
        tab = self._find(key, room, sid)
        if tab is not None and tab.owner == owner:
            self._remove(tab, told)
        return told

    def away(self, owner: int, key: str, room: str, sid: str, seconds: float, now: float) -> list[Told]:
        """Remove a tab of a worker after a while, unless it is entered again."""
        if seconds <= 0:
            return self.leave(owner, key, room, sid)
        tab = self._find(key, room, sid)
        if tab is not None and tab.owner == owner:
            self._set(tab, owner, now + seconds)
        return []

    def update(self, it: UpdatePresence) -> list[Told]:
        """Replace what others are shown of a user who is in a room."""
        room = self._rooms.get((it.key, it.room))
        person = None if room is None else room.people.get(it.user)
        if person is None:
            return []
        person.meta, person.flags, person.leave = it.meta, it.flags, it.leave
        return [Told(it.key, it.room, it.flags, it.update)]

    def worker_gone(self, owner: int, now: float) -> None:
        """Let the tabs of a worker that has gone be away, each for its grace."""
        self._release(list(self._owned.get(owner, ())), now)

    def release(self, owner: int, prefix: str, now: float) -> None:
        """Let the tabs of one server of a worker be away, see ``ReleasePresence``."""
        self._release([tab for tab in self._owned.get(owner, ()) if _is_of(tab.person.room.key, prefix)], now)

    def _release(self, tabs: list[_Tab], now: float) -> None:
        for tab in tabs:
            self._set(tab, None, now + tab.grace if tab.ends is None else tab.ends)

    def expire(self, now: float, most: int) -> list[Told]:
        """Remove tabs that have been away for too long, at most so many of them: the others stay due."""
        told: list[Told] = []
        late = self._late
        while late and late[0][0] <= now and most:
            ends, _, tab = heappop(late)
            if tab.ends == ends:
                self._remove(tab, told)
                most -= 1
        return told

    def members(self, key: str, room: str, limit: int, after: str | None) -> list[tuple[str, str, int, float]]:
        """Return users in a room by their ids: id, meta, tabs that are not away, and time of the first tab."""
        found = self._rooms.get((key, room))
        if found is None:
            return []
        start = 0 if after is None else bisect_right(found.ids, after)
        people = [found.people[user] for user in found.ids[start : start + limit]]
        return [(each.user, each.meta, sum(tab.ends is None for tab in each.tabs), each.since) for each in people]

    # --- inside -------------------------------------------------------------------------------------------------------

    def _find(self, key: str, room: str, sid: str) -> _Tab | None:
        found = self._rooms.get((key, room))
        return None if found is None else found.tabs.get(sid)

    def _set(self, tab: _Tab, owner: int | None, ends: float | None) -> None:
        """Write who has a tab, and until when it is away."""
        if tab.owner != owner:
            if tab.owner is not None:
                self._disown(tab.owner, tab)
            if owner is not None:
                self._owned.setdefault(owner, {})[tab] = None
            tab.owner = owner
        if tab.ends == ends:
            return
        self._away += (ends is not None) - (tab.ends is not None)
        tab.ends = ends
        if ends is not None:
            heappush(self._late, (ends, next(self._numbers), tab))
            if len(self._late) > 2 * self._away + 100:  # most of them are back
                self._late = [each for each in self._late if each[2].ends == each[0]]
                heapify(self._late)

    def _disown(self, owner: int, tab: _Tab) -> None:
        owned = self._owned[owner]
        del owned[tab]
        if not owned:
            del self._owned[owner]

    def _remove(self, tab: _Tab, told: list[Told]) -> None:
        person = tab.person
        room = person.room
        self._set(tab, None, None)
        del room.tabs[tab.sid]
        person.tabs.discard(tab)
        if not person.tabs:
            del room.people[person.user]
            del room.ids[bisect_right(room.ids, person.user) - 1]
            told.append(Told(room.key, room.name, person.flags, person.leave))
            if not room.people:
                del self._rooms[room.key, room.name]


def _is_of(key: str, prefix: str) -> bool:
    return key.startswith(prefix) if prefix else "\0" not in key
