"""The index of rooms and their members, without I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from .room_events import CREATE_ROOM, DELETE_ROOM, JOIN_ROOM, LEAVE_ROOM, RoomEvents


class RoomIndex:
    """Index of rooms in both directions: the rooms of each socket id, and the members of each room.

    So leaving takes time for the socket's own rooms only. A room exists while it has members; they are in the order of
    joining.
    """

    __slots__ = ("_events", "_members", "_rooms")

    def __init__(self) -> None:
        self._events: RoomEvents | None = None
        self._rooms: dict[str, set[str]] = {}
        self._members: dict[str, dict[str, None]] = {}

    def __len__(self) -> int:
        """Number of socket ids known."""
        return len(self._rooms)

    @property
    def room_count(self) -> int:
        """Number of rooms with members."""
        return len(self._members)

    def __contains__(self, sid: str) -> bool:
        return sid in self._rooms

    @property
    def events(self) -> RoomEvents:
        """The listeners for changes, made on first access: without them, a change has no overhead."""
        if self._events is None:
            self._events = RoomEvents()
        return self._events

    def add(self, sid: str, rooms: Iterable[str]) -> None:
        """Put a socket id into rooms; a new id becomes known even if ``rooms`` is empty."""
        if self._events is not None:
            self._add_and_tell(self._events, sid, rooms)
            return
        joined = self._rooms.setdefault(sid, set())
        for room in rooms:
            joined.add(room)
            self._members.setdefault(room, {})[sid] = None

    def remove(self, sid: str, rooms: Iterable[str]) -> None:
        """Take a socket id out of rooms; rooms that it is not in are ignored."""
        joined = self._rooms.get(sid)
        if joined is None:
            return
        left: list[str] | None = [] if self._events is not None else None
        for room in rooms:
            if room in joined:
                joined.discard(room)
                self._drop(sid, room)
                if left is not None:
                    left.append(room)
        if left:
            self._tell_left(sid, left)

    def remove_all(self, sid: str) -> frozenset[str]:
        """Forget a socket id. Return the rooms that it was in."""
        joined = self._rooms.pop(sid, None)
        if joined is None:
            return frozenset()
        for room in joined:
            self._drop(sid, room)
        if self._events is not None:
            self._tell_left(sid, joined)
        return frozenset(joined)

    def rooms(self, sid: str) -> frozenset[str]:
        """Return the rooms of a socket id; empty if it is unknown."""
        return frozenset(self._rooms.get(sid, ()))

    def members(self, room: str) -> Collection[str]:
        """Return a live view of the members of a room."""
        members = self._members.get(room)
        return () if members is None else members.keys()

    def all_rooms(self) -> Collection[str]:
        """Return a live view of all rooms."""
        return self._members.keys()

    def select(self, rooms: Collection[str] | None, except_: Collection[str]) -> list[str]:
        """Return the socket ids in any of the rooms (``None``: all ids) and in none of ``except_``, each once."""
        if rooms is None:
            selected: Iterable[str] = self._rooms
        elif len(rooms) == 1:
            (room,) = rooms
            selected = self._members.get(room, ())
        else:
            union: dict[str, None] = {}
            selected = union
            for room in rooms:
                members = self._members.get(room)
                if members is not None:
                    union.update(members)
        if not except_:
            return list(selected)
        if len(except_) == 1:
            (room,) = except_
            excluded: Collection[str] = self._members.get(room, ())
        else:
            excluded = {sid for room in except_ for sid in self._members.get(room, ())}
        if not excluded:
            return list(selected)
        return [sid for sid in selected if sid not in excluded]

    def _drop(self, sid: str, room: str) -> None:
        members = self._members[room]
        del members[sid]
        if not members:
            del self._members[room]

    # Listeners are called after all changes are made: they may read rooms, and may change them.

    def _add_and_tell(self, events: RoomEvents, sid: str, rooms: Iterable[str]) -> None:
        joined = self._rooms.setdefault(sid, set())
        told: list[tuple[str, ...]] = []
        for room in rooms:
            if room in joined:
                continue
            if room not in self._members:
                told.append((CREATE_ROOM, room))
            joined.add(room)
            self._members.setdefault(room, {})[sid] = None
            told.append((JOIN_ROOM, room, sid))
        for event, *args in told:
            events.tell(event, *args)

    def _tell_left(self, sid: str, rooms: Iterable[str]) -> None:
        assert self._events is not None
        for room, gone in [(room, room not in self._members) for room in rooms]:
            self._events.tell(LEAVE_ROOM, room, sid)
            if gone:
                self._events.tell(DELETE_ROOM, room)
