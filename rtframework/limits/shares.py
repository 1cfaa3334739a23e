"""Members by key, and the key that has the most of them."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

M = TypeVar("M", bound=Hashable)


class Shares(Generic[M]):
    """Members by key. Each operation takes the same time on average, however many there are.

    ``oldest_of_heaviest``: the member that has to give way, when there is no room for all. Members are counted by their
    key when somebody asks: most have gone by then.
    """

    __slots__ = ("_by_count", "_heaviest", "_members", "_new", "_size")

    def __init__(self) -> None:
        self._new: dict[tuple[str, M], None] = {}
        """Members that are not counted by their key yet, in the order in which they came."""
        self._members: dict[str, dict[M, None]] = {}
        self._by_count: dict[int, dict[str, None]] = {}
        """The keys with so many members; the key that has had them the longest comes first."""
        self._heaviest = 0
        self._size = 0

    def __len__(self) -> int:
        """Count all members."""
        return self._size + len(self._new)

    def count(self, key: str) -> int:
        """Count the members of a key."""
        self._sort()
        return len(self._members.get(key, ()))

    def add(self, key: str, member: M) -> None:
        """Add a member."""
        self._new[key, member] = None

    def _sort(self) -> None:
        """Count the members by their keys that have come since the last time."""
        if self._new:
            new, self._new = self._new, {}
            for key, member in new:
                self._count(key, member)

    def _count(self, key: str, member: M) -> None:
        members = self._members.setdefault(key, {})
        members[member] = None
        self._size += 1
        self._move(key, len(members) - 1, len(members))

    def remove(self, key: str, member: M) -> None:
        """Remove a member; nothing happens if it is not there."""
        if self._new.pop((key, member), self) is None:
            return
        members = self._members.get(key)
        if members is None or member not in members:
            return
        del members[member]
        self._size -= 1
        self._move(key, len(members) + 1, len(members))
        if not members:
            del self._members[key]

    def oldest_of_heaviest(self) -> M | None:
        """Return the oldest member of the key that has the most; ``None`` if there is none."""
        self._sort()
        if not self._heaviest:
            return None
        return next(iter(self._members[next(iter(self._by_count[self._heaviest]))]))

    def _move(self, key: str, before: int, now: int) -> None:
        if before:
            keys = self._by_count[before]
            del keys[key]
            if not keys:
                del self._by_count[before]
        if now:
            self._by_count.setdefault(now, {})[key] = None
        if now > self._heaviest or self._heaviest not in self._by_count:
            self._heaviest = now  # one more or one less than before: no other key is between
