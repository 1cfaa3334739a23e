"""The memory that the messages of clients take, for all connections of a server together."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from typing import Any, Final, Protocol

from ..logs import ThrottledLog
from ..types import DisconnectReason

log: Final = logging.getLogger("rtframework.engine")

LARGE: Final = 32_768
"""Characters or bytes from which a message is weighed before it is decoded; a smaller one, while its handler waits."""
HANDLER: Final = 3_072
"""Bytes that a handler that waits takes, besides its arguments: its task, coroutines and context."""

_CONTAINER: Final = 64
"""Bytes of an empty list or dict, the garbage collector's part included."""
_ITEM: Final = 72
"""Bytes of a small value in a list: the value, and the list's pointer to it."""
_MEMBER: Final = 128
"""Bytes of a small value in a dict, with its key."""
_PIECE: Final = 262_144
"""Bytes that asyncio and uvloop read from a connection at once."""
_BLOCK: Final = 64
"""Bytes of an average small object."""
_MSGPACK_CONTAINERS: Final = bytes(range(0x80, 0xA0)) + bytes(range(0xDC, 0xE0))
"""Bytes that begin a list or a map in MessagePack."""

_too_much: Final = ThrottledLog(
    log,
    logging.WARNING,
    "closing a connection whose message found no room for %g s: messages of all clients take %d bytes "
    "(Limits.max_inbound)",
)


_LEADS: Final = [bytes((lead,)) for lead in range(0xF0, 0xF5)]
"""Bytes that begin a character beyond U+FFFF in UTF-8."""


def widest(message: str | bytes) -> int:
    """Return the bytes of memory that the strings in a message take at most, when they are decoded.

    One character beyond U+00FF or U+FFFF, escaped or not, has all characters of its string take 2 or 4 bytes.
    """
    if not isinstance(message, str):
        return (4 if any(lead in message for lead in _LEADS) else 2) * len(message)
    width = 1
    if "\\u" in message:
        width = 4 if "\\ud" in message or "\\uD" in message else 2
    return max(sys.getsizeof(message), width * len(message))


def estimate(message: str | bytes | Callable[[], Any] | None) -> int:
    """Estimate, from above, the bytes of memory that a message takes when it is decoded."""
    return count_and_estimate(message)[1] if isinstance(message, str | bytes) else 0


def count_and_estimate(message: str | bytes) -> tuple[int, int]:
    """Count the values of a message, and estimate the bytes of memory that it takes when it is decoded.

    Both from above. The values of a binary message are not counted: 0.
    """
    if isinstance(message, str):
        count = message.count
        containers, commas = count("[") + count("{"), count(",")
        size = widest(message) + _CONTAINER * containers + _ITEM * commas + _MEMBER * count(":")
        return containers + commas, size
    containers = len(message) - len(message.translate(None, _MSGPACK_CONTAINERS))
    return 0, 8 * len(message) + _CONTAINER * containers


class Weighed:
    """Weighs what is made within a ``with`` block: ``weight`` bytes, in ``blocks`` small objects.

    ``size``: bytes that large objects take at most. CPython counts its small objects; others are not counted.
    """

    __slots__ = ("_before", "_size", "blocks", "weight")

    def __init__(self, size: int) -> None:
        self._size = size
        self.blocks = 0
        self.weight = size

    def __enter__(self) -> Weighed:
        self._before = sys.getallocatedblocks()
        return self

    def __exit__(self, *_: object) -> None:
        self.blocks = max(0, sys.getallocatedblocks() - self._before)
        self.weight = self._size + _BLOCK * self.blocks


class Waiting(Protocol):
    """A connection that waits for room."""

    @property
    def held(self) -> int:
        """Bytes that its messages take."""

    def retry(self) -> None:
        """Try again: there may be room now."""

    def abort(self, reason: str) -> None:
        """Cut the connection off."""


class Inbound:
    """The account of all that clients have sent and the server still holds, and its bound.

    ``most``: ``Limits.max_inbound``. ``most_each``: the bound of one connection. ``timeout``: seconds that a message
    waits for room at most. Connections that hold much wait first: they may fill three quarters of the bound, and only
    those that hold less than a 32nd of it may fill the rest. If next to nothing is served, everything is decoded.
    """

    __slots__ = (
        "_ahead",
        "_doors",
        "_light",
        "_loop",
        "_most_of_heavy",
        "_timeout",
        "_timer",
        "_waiting",
        "_wakes",
        "held",
        "idle",
        "most",
        "most_each",
    )

    def __init__(self, most: int, most_each: int, timeout: float) -> None:
        self.most = most
        self.most_each = most_each
        self.held = 0
        self.idle = 0
        """Bytes of it that are on their way, or wait to be decoded: a half of the bound at most."""
        self._light = most // 32
        self._most_of_heavy = most * 3 // 4
        self._timeout = timeout
        self._waiting: dict[Waiting, tuple[int, float]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._doors: dict[Waiting, None] = {}
        """New connections that are not read yet."""
        self._ahead: Waiting | None = None
        """The connection that is read though there is no room, so that not all wait for each other."""
        self._loop: asyncio.AbstractEventLoop | None = None
        """The event loop of those that wait."""
        self._wakes = False
        """True if those that wait are to try again in this turn of the event loop."""

    def has_room(self, size: int, held: int) -> bool:
        """Tell whether a message of a connection that holds ``held`` bytes may be decoded, which takes ``size`` more.

        What is on its way may fill a half of the bound at most, and is never what all wait for.
        """
        served = self.held - self.idle
        if served <= held or served + size <= self.most // 2:
            return True
        return self.held + size <= (self.most if held + size <= self._light else self._most_of_heavy)

    def may_read(self, one: Waiting) -> bool:
        """Tell whether a connection may be read. One at a time may even if there is no room."""
        held = one.held
        if self.held <= held or one is self._ahead:
            return True
        if self._ahead is None and self.idle > self.held // 2:
            self._ahead = one
            return True
        return self.idle <= self.most // 2 and self.held <= (self.most if held <= self._light else self._most_of_heavy)

    def wait(self, one: Waiting, size: int) -> None:
        """Have a connection try again when there is room for ``size`` bytes."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._timer, self._wakes = loop, None, False
        before, since = self._waiting.get(one, (size, loop.time()))
        self._waiting[one] = max(size, before), since
        if self._timer is None:
            self._timer = loop.call_later(self._timeout, self._give_up)

    @property
    def is_full(self) -> bool:
        """True while new connections wait: much is on its way already, and each may send as much as is read at once.

        What handlers hold keeps nobody out.
        """
        return self.idle > self.most // 4

    def queue(self, one: Waiting) -> None:
        """Have a new connection begin to read when less is on its way; first come, first served."""
        self._loop = asyncio.get_running_loop()
        self._doors[one] = None

    def is_queued(self, one: Waiting) -> bool:
        """Tell whether a new connection is not read yet."""
        return one in self._doors

    def forget(self, one: Waiting) -> None:
        """Hear that a connection waits no more."""
        self._doors.pop(one, None)
        if one not in self._waiting:
            return
        del self._waiting[one]
        if not self._waiting and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def settle(self, one: Waiting) -> None:
        """Hear that a connection has nothing on its way."""
        if one is self._ahead:
            self._ahead = None

    def release(self, size: int) -> None:
        """Take bytes off the account, and let those try again for which there is room: the lightest first.

        They do so at the end of this turn of the event loop: to try may release more.
        """
        self.held -= size
        if not (self._waiting or self._doors) or self._wakes:
            return
        if self._loop is not None and not self._loop.is_closed():
            self._wakes = True
            self._loop.call_soon(self._wake)

    def _wake(self) -> None:
        self._wakes = False
        promised = 0
        for one, (size, _) in sorted(self._waiting.items(), key=lambda each: each[0].held + each[1][0]):
            if self.has_room(size + promised, one.held) if size else self.may_read(one):
                promised += size
                one.retry()
        while self._doors and self.idle + promised + _PIECE <= self.most // 4:
            promised += _PIECE
            next(iter(self._doors)).retry()

    def _give_up(self) -> None:
        """Cut off those that have waited too long, the heavier half of them first: it may be what the others wait for.

        What is held otherwise may never be released.
        """
        loop = asyncio.get_running_loop()
        self._timer = self._ahead = None
        now = loop.time()
        late = [one for one, (_, since) in self._waiting.items() if since + self._timeout <= now + 0.001]
        late.sort(key=lambda one: one.held + self._waiting[one][0], reverse=True)
        for one in late[: (len(late) + 1) // 2]:
            _too_much(self._timeout, self.held, extra={"limit": self.most})
            self._waiting.pop(one, None)
            one.abort(DisconnectReason.TRANSPORT_ERROR)
        if self._waiting:
            oldest = min(since for _, since in self._waiting.values())
            self._timer = loop.call_at(max(oldest + self._timeout, now + self._timeout / 20), self._give_up)
