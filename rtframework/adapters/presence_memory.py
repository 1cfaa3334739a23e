"""Who is in the rooms of one server, in memory."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right, insort
from collections.abc import Callable, Sequence
from typing import TypeAlias

from ..protocols import PresenceTab, StoredMember
from .presence import JOIN, LEAVE, UPDATE

Publish: TypeAlias = Callable[[str, str, str, str, str, str | None], None]
"""``(nsp, room, event, user, meta, except_sid)``: tells a room of a change, at once. It must not raise."""


class _Person:
    """A user in a room. ``tabs``: the socket ids, with the timer of each that is away. ``here``: those that are not."""

    __slots__ = ("here", "meta", "since", "tabs")

    def __init__(self, meta: str, since: float) -> None:
        self.meta = meta
        self.since = since
        self.here = 0
        self.tabs: dict[str, asyncio.TimerHandle | None] = {}


class _Room:
    """A room. ``ids``: the users in the order of their ids."""

    __slots__ = ("ids", "people", "users")

    def __init__(self) -> None:
        self.people: dict[str, _Person] = {}
        self.ids: list[str] = []
        self.users: dict[str, str] = {}
        """By socket id: the user."""


class MemoryPresence:
    """Keeps who is in the rooms of one server; see :class:`rtframework.protocols.PresenceStore`.

    Nothing waits: each change is published before the method returns.
    """

    def __init__(self, publish: Publish, *, now: Callable[[], float] = time.time) -> None:
        self._publish = publish
        self._now = now
        self._rooms: dict[tuple[str, str], _Room] = {}

    def enter(self, tab: PresenceTab, meta: str, grace: float) -> None:
        """Add a tab; it is not away any more."""
        room = self._rooms.get((tab.nsp, tab.room))
        if room is None:
            room = self._rooms[tab.nsp, tab.room] = _Room()
        elif room.users.get(tab.sid, tab.user) != tab.user:
            self._remove(tab, room)
        person = room.people.get(tab.user)
        is_first = person is None
        if person is None:
            person = room.people[tab.user] = _Person(meta, self._now())
            insort(room.ids, tab.user)
        if tab.sid not in person.tabs:
            person.here += 1
        elif (timer := person.tabs[tab.sid]) is not None:
            timer.cancel()
            person.here += 1
        person.tabs[tab.sid] = None
        room.users[tab.sid] = tab.user
        if is_first:
            self._publish(tab.nsp, tab.room, JOIN, tab.user, meta, tab.sid)

    def leave(self, tab: PresenceTab) -> None:
        """Remove a tab."""
        room = self._rooms.get((tab.nsp, tab.room))
        if room is not None and tab.sid in room.users:
            self._remove(tab, room)
            if not room.users:
                del self._rooms[tab.nsp, tab.room]

    def away(self, tab: PresenceTab, seconds: float) -> None:
        """Remove a tab after a while, unless it is entered again."""
        if seconds <= 0:
            self.leave(tab)
            return
        room = self._rooms.get((tab.nsp, tab.room))
        user = None if room is None else room.users.get(tab.sid)
        if room is None or user is None:
            return
        person = room.people[user]
        timer = person.tabs[tab.sid]
        if timer is None:
            person.here -= 1
        else:
            timer.cancel()
        person.tabs[tab.sid] = asyncio.get_running_loop().call_later(seconds, self.leave, tab)

    def update(self, nsp: str, room: str, user: str, meta: str) -> None:
        """Replace the ``meta`` of a user."""
        found = self._rooms.get((nsp, room))
        person = None if found is None else found.people.get(user)
        if person is not None:
            person.meta = meta
            self._publish(nsp, room, UPDATE, user, meta, None)

    def members(self, nsp: str, room: str, limit: int, after: str | None) -> Sequence[StoredMember]:
        """Return the users in a room, in the order of their ids."""
        found = self._rooms.get((nsp, room))
        if found is None:
            return []
        start = 0 if after is None else bisect_right(found.ids, after)
        members = []
        for user in found.ids[start : start + limit]:
            person = found.people[user]
            members.append(StoredMember(user, person.meta, person.here, person.since))
        return members

    async def start(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Forget everybody: nobody is left to be told."""
        for room in self._rooms.values():
            for person in room.people.values():
                for timer in person.tabs.values():
                    if timer is not None:
                        timer.cancel()
        self._rooms.clear()

    def _remove(self, tab: PresenceTab, room: _Room) -> None:
        user = room.users.pop(tab.sid)
        person = room.people[user]
        timer = person.tabs.pop(tab.sid)
        if timer is None:
            person.here -= 1
        else:
            timer.cancel()
        if not person.tabs:
            del room.people[user]
            del room.ids[bisect_right(room.ids, user) - 1]
            self._publish(tab.nsp, tab.room, LEAVE, user, person.meta, None)
