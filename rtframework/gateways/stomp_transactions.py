"""The transactions of one STOMP client: frames that are held until COMMIT, bounded."""

from __future__ import annotations

from typing import Final

from .stomp_frames import Frame, StompError

MAX_TRANSACTIONS: Final = 16
"""Transactions that a client may have open."""
MAX_HELD: Final = 1_000
"""Frames in all of them."""


class Transactions:
    """Transactions by name; ``limit``: the bytes of all frames in them."""

    __slots__ = ("_by_name", "limit", "size")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        """Bytes of all frames."""
        self._by_name: dict[str, list[Frame]] = {}

    def begin(self, name: str) -> None:
        """Begin a transaction. Raises ``StompError``."""
        if not name:
            raise StompError("BEGIN names a transaction")
        if name in self._by_name:
            raise StompError("this transaction has begun already")
        if len(self._by_name) >= MAX_TRANSACTIONS:
            raise StompError(f"a client has at most {MAX_TRANSACTIONS} transactions")
        self._by_name[name] = []

    def hold(self, name: str, frame: Frame) -> None:
        """Keep a frame until COMMIT. Raises ``StompError``."""
        held = self._by_name.get(name)
        if held is None:
            raise StompError("a transaction that has not begun")
        if sum(map(len, self._by_name.values())) >= MAX_HELD:
            raise StompError(f"a client has at most {MAX_HELD} frames in transactions")
        if self.size + frame.size > self.limit:
            raise StompError(f"transactions have at most {self.limit} bytes (Limits.max_http_buffer_size)")
        held.append(frame)
        self.size += frame.size

    def end(self, name: str) -> list[Frame]:
        """End a transaction and return its frames. Raises ``StompError``."""
        if name not in self._by_name:
            raise StompError("a transaction that has not begun")
        frames = self._by_name.pop(name)
        self.size -= sum(each.size for each in frames)
        return frames

    def clear(self) -> None:
        """Drop all."""
        self._by_name.clear()
        self.size = 0
