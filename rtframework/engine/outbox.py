"""Frames that wait to be sent to one client: corked, in order, and never more than its bound."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, Protocol

from ..counters import Counters, add
from ..logs import ThrottledLog

if TYPE_CHECKING:
    from ..options import SlowConsumer
    from ..protocols import Frames, Meter
    from .interfaces import Sink

log: Final = logging.getLogger("rtframework.engine")

_not_written: Final = ThrottledLog(log, logging.ERROR, "unhandled error while writing to a client")
_dropping: Final = ThrottledLog(
    log, logging.WARNING, "dropping events for a slow consumer: more than %d bytes wait (Limits.max_outbox)"
)

_OVERDRAFT: Final = 4
"""With the policy "wait", how many times its bound an outbox may hold when emitters do not wait for each other."""


class Cork:
    """Flushes, once per turn of the event loop, the outboxes into which frames were put.

    Frames that one turn puts into an outbox leave in one write: one system call for a burst. One callback serves all
    outboxes, so that a broadcast to a thousand clients schedules one callback, not a thousand.
    """

    __slots__ = ("_dirty", "_loop", "congested", "counts", "meters")

    def __init__(self, counts: Counters | None = None) -> None:
        self.counts = counts or Counters()
        """The server's counters, which count drops."""
        self.congested: set[Outbox] = set()
        """The outboxes for which emitters wait, with the policy "wait"."""
        self.meters: tuple[Meter, ...] = ()
        """The meters that are told what passes on the connections."""
        self._dirty: list[Outbox] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, outbox: Outbox) -> None:
        """Have an outbox flushed at the end of this turn."""
        self._dirty.append(outbox)
        if len(self._dirty) == 1:
            if self._loop is None:
                self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        dirty = self._dirty
        self._dirty = []
        for outbox in dirty:
            try:
                outbox.flush()
            except Exception as error:  # noqa: BLE001 - logged; one broken transport must not keep the others waiting
                _not_written(error=error)
                outbox.fail()


class Owner(Protocol):
    """The connection of an outbox."""

    def overflow(self) -> None:
        """Cut off the client: too much waits for it, or it cannot be written to."""


class Outbox:
    """The frames that wait for one client, whatever its transport is at the moment.

    When more than ``limit`` bytes would wait (the transport's own buffer included) the policy decides, see
    ``rtframework.Limits.slow_consumer``; ``owner`` is told, once, when the client is to be cut off. One packet of any
    size is taken while nothing else waits.
    """

    __slots__ = (
        "_bytes",
        "_cork",
        "_corked",
        "_frames",
        "_limit",
        "_owner",
        "_policy",
        "closed",
        "dropped",
        "has_gap",
        "sink",
    )

    def __init__(self, cork: Cork, sink: Sink, limit: int, owner: Owner, policy: SlowConsumer = "disconnect") -> None:
        self._cork = cork
        self._frames: list[Frames] = []
        self._bytes = 0
        self._corked = False
        self._limit = limit
        self._owner: Owner | None = owner
        self._policy = policy
        self.sink = sink
        self.closed = False
        self.dropped = 0
        self.has_gap = False
        """True when something was dropped to make room, and the client goes on without it."""

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, frames: Frames, volatile: bool = False) -> None:
        """Add frames; they leave at the end of this turn of the event loop, or when the transport can take them."""
        if self.closed:
            self._lose("closed", 1)
            return
        if volatile and (self._frames or not self.sink.writable):
            self._lose("volatile", 1)
            return
        waiting = self._bytes
        if waiting and waiting + frames.size > self._limit and not self._find_room(frames):
            self._lose(self._reason, 1)
            return
        self._frames.append(frames)
        self._bytes += frames.size
        if not self._corked:
            self._corked = True
            self._cork.add(self)

    def put_last(self, frames: Frames) -> None:
        """Add frames that wait to be fetched, whatever the bound says, and take nothing more."""
        self._frames.append(frames)
        self.closed = True

    def flush(self) -> None:
        """Hand what waits to the transport, if it takes it."""
        self._corked = False
        frames = self._frames
        if frames:
            self._frames = []  # before they are written: the transport may hear of it and add the last ones
            count = len(frames)
            if self.sink.write(frames):
                self._bytes = self.sink.buffered()
            else:
                self._frames = frames
                if len(frames) < count:
                    self._bytes = sum(each.size for each in frames) + self.sink.buffered()

    def clear(self) -> int:
        """Drop what waits and everything that is put from now on. Return how many were dropped."""
        self.closed = True
        self._owner = None  # so that the client it belongs to is not kept by it
        dropped = len(self._frames)
        self._frames.clear()
        self._bytes = 0
        self._lose("closed", dropped)
        return dropped

    def fail(self) -> None:
        """Give up on this client."""
        if not self.closed:
            owner = self._owner
            self.clear()
            if owner is not None:
                owner.overflow()

    def give_up(self) -> None:
        """Drop what waits, and have the client cut off as one that does not read."""
        if not self.closed:
            self._lose(self._reason, len(self._frames))
            self.closed = True
            self._frames.clear()
            if self._owner is not None:
                self._owner.overflow()

    def holds(self, frames: Frames) -> bool:
        """Tell whether these frames wait, and the transport has not taken them."""
        return any(each is frames for each in self._frames)

    @property
    def counts(self) -> Counters:
        """The server's counters."""
        return self._cork.counts

    @property
    def meters(self) -> tuple[Meter, ...]:
        """The meters that are told what passes on the server's connections."""
        return self._cork.meters

    @property
    def waiting(self) -> int:
        """Bytes that have not left the process at this moment."""
        return sum(frames.size for frames in self._frames) + self.sink.buffered()

    @property
    def full(self) -> bool:
        """True while emitters should wait."""
        if self._bytes <= self._limit or self.closed:
            return False
        return not self._make_room(0)

    def _find_room(self, frames: Frames) -> bool:
        """Return whether frames beyond the bound are taken: something has left meanwhile, or the policy says so."""
        if self._make_room(frames.size):
            return True
        if self._policy == "drop_oldest":
            self.has_gap = True
            if not self.dropped:
                _dropping(self._limit, extra={"limit": self._limit})
            self._drop_oldest(frames.size)
            return not frames.droppable or not self._bytes or self._bytes + frames.size <= self._limit
        if self._policy == "wait" and self._bytes + frames.size <= _OVERDRAFT * self._limit:
            self._cork.congested.add(self)
            return True
        self.give_up()
        return False

    @property
    def _reason(self) -> str:
        """The reason why something beyond the bound is dropped."""
        return "drop_oldest" if self._policy == "drop_oldest" else "slow_consumer"

    def _lose(self, reason: str, count: int) -> None:
        self.dropped += count
        add(self._cork.counts.dropped, reason, count)

    def _drop_oldest(self, size: int) -> None:
        too_much = self._bytes + size - self._limit
        kept: list[Frames] = []
        for frames in self._frames:
            if too_much > 0 and frames.droppable:
                too_much -= frames.size
                self._bytes -= frames.size
                self._lose(self._reason, 1)
            else:
                kept.append(frames)
        self._frames = kept

    def _make_room(self, size: int) -> bool:
        """Return whether there is room by now: the figure in ``_bytes`` ages, as what the transport held leaves."""
        if self._frames:
            self.flush()
        if not self._frames:
            self._bytes = self.sink.buffered()
        return not self._bytes or self._bytes + size <= self._limit
