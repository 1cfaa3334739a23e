"""Replies that a connection waits for when several commands were sent together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from .errors import ReplyError

OnReplies: TypeAlias = Callable[[Sequence[Any]], None]
"""Called with the next replies to commands that were sent together; errors are ``ReplyError`` values."""


class Batch:
    """The replies that commands which were sent together wait for."""

    __slots__ = ("left", "on_replies", "replies")

    def __init__(self, count: int, on_replies: OnReplies) -> None:
        self.left = count
        self.replies: list[Any] = []
        """Replies that have come and were not taken yet."""
        self.on_replies = on_replies

    def take(self) -> list[Any]:
        """Return the replies that are there to be given on."""
        replies, self.replies = self.replies, []
        return replies


class Transaction(Batch):
    """The replies to MULTI, commands and EXEC, which are given on as if the commands had been sent without these."""

    __slots__ = ("_count", "_is_queued", "_on_refused")

    def __init__(self, count: int, on_replies: OnReplies, on_refused: Callable[[], None]) -> None:
        super().__init__(count + 2, on_replies)
        self._count = count
        self._on_refused = on_refused
        self._is_queued = False
        """True if the replies before the last one were skipped."""

    def skip(self, data: bytes) -> bytes:
        """Take bytes that begin with the first reply: leave out those that only say that all is queued, if all do.

        To read each of them costs as much as to read what EXEC returns for it.
        """
        queued = _BEGUN + _QUEUED * self._count
        if not self.replies and not self._is_queued and data.startswith(queued):
            self._is_queued = True
            self.left = 1
            return data[len(queued) :]
        return data

    def take(self) -> list[Any]:
        """Return the replies when all have come."""
        if self.left:
            return []
        found: list[Any]
        if self._is_queued:
            (done,) = super().take()
            found = [done] * self._count if type(done) is ReplyError else done
            return found
        begun, *queued, done = super().take()
        if type(begun) is ReplyError:
            self._on_refused()
            return queued
        if type(done) is ReplyError:  # one was refused, so none is executed
            return [each if type(each) is ReplyError else done for each in queued]
        found = done
        return found


_BEGUN: Final = b"+OK\r\n"
_QUEUED: Final = b"+QUEUED\r\n"


class Confirmation:
    """The confirmations that a command for subscriptions waits for, one for each channel."""

    __slots__ = ("channels", "kind", "left")

    def __init__(self, kind: bytes, channels: Sequence[bytes]) -> None:
        self.kind = kind
        self.channels = frozenset(channels)
        self.left = len(channels)
