"""Places for a bounded number of members of each key."""

from __future__ import annotations

from collections.abc import Hashable


class Seats:
    """Places: ``most`` for each key. A member frees its place without saying whose it was."""

    __slots__ = ("_count", "_key_of", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self._count: dict[Hashable, int] = {}
        self._key_of: dict[Hashable, Hashable] = {}

    def __len__(self) -> int:
        """Count the places that are taken."""
        return len(self._key_of)

    def take(self, key: Hashable, member: Hashable) -> bool:
        """Take a place for a member. Return ``False`` if there is none."""
        count = self._count.get(key, 0)
        if count >= self.most:
            return False
        self._count[key] = count + 1
        self._key_of[member] = key
        return True

    def free(self, member: Hashable) -> None:
        """Free the place of a member; nothing happens if it has none."""
        if member not in self._key_of:
            return
        key = self._key_of.pop(member)
        count = self._count[key] - 1
        if count:
            self._count[key] = count
        else:
            del self._count[key]
