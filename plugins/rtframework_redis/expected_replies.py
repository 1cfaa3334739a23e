"""Replies that a connection waits for when several commands were sent together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

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

    __slots__ = ("_on_refused",)

    def __init__(self, count: int, on_replies: OnReplies, on_refused: Callable[[], None]) -> None:
        super().__init__(count + 2, on_replies)
        self._on_refused = on_refused

    def take(self) -> list[Any]:
        """Return the replies when all have come."""
        if self.left:
            return []
        begun, *queued, done = super().take()
        if type(begun) is ReplyError:
            self._on_refused()
            return queued
        if type(done) is ReplyError:  # one was refused, so none is executed
            return [each if type(each) is ReplyError else done for each in queued]
        found: list[Any] = done
        return found


class Confirmation:
    """The confirmations that a command for subscriptions waits for, one for each channel."""

    __slots__ = ("channels", "kind", "left")

    def __init__(self, kind: bytes, channels: Sequence[bytes]) -> None:
        self.kind = kind
        self.channels = frozenset(channels)
        self.left = len(channels)
