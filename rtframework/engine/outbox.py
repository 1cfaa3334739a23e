"""Frames that wait to be sent to one client: corked, in order, and never more than its bound."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from ..counters import Counters, add
from ..logs import ThrottledLog

if TYPE_CHECKING:
    from collections.abc import Callable

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

SOON: Final = 1
LATER: Final = 2
"""The lanes of a cork."""
_VOLATILE: Final = 4
"""Among the lanes of an outbox: a volatile event waits in it."""
_LONGEST: Final = 0.005
"""Seconds for which a flush holds up the event loop."""
_PER_LOOK: Final = 16
"""Outboxes that are flushed between two looks at the clock."""
_AT_LEAST: Final = 16
"""Outboxes of the second lane that are flushed in a turn, however long the first one has taken."""


class Cork:
    """Flushes, once per turn of the event loop, the outboxes into which frames were put.

    Frames that one turn puts into an outbox leave in one write: one system call for a burst. One callback serves all
    outboxes, so that a broadcast to a thousand clients schedules one callback, not a thousand.

    A flush ends after some 5 ms, and goes on after the event loop has had its turn: others have to be read, and to get
    their acknowledgements. So outboxes wait in two lanes: what is put into few of them leaves first, and a broadcast to
    many behind it. An outbox that waits in the second lane enters the first one, too, when something of the first kind
    is put into it, and then takes with it what has waited: each client gets everything in order.
    """

    __slots__ = (
        "_clock",
        "_held",
        "_later",
        "_loop",
        "_scheduled",
        "_soon",
        "congested",
        "counts",
        "lane",
        "lanes",
        "meters",
    )

    def __init__(self, counts: Counters | None = None, clock: Callable[[], float] = time.perf_counter) -> None:
        self.counts = counts or Counters()
        """The server's counters, which count drops."""
        self.congested: set[Outbox] = set()
        """The outboxes for which emitters wait, with the policy "wait"."""
        self.meters: tuple[Meter, ...] = ()
        """The meters that are told what passes on the connections."""
        self.lane = SOON
        """The lane into which outboxes are put."""
        self.lanes = SOON
        """The lanes in which an outbox may be that need not be put there: this one, and those before it."""
        self._soon: list[Outbox] = []
        self._later: deque[Outbox] = deque()
        self._clock = clock
        self._held = False
        self._scheduled = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, outbox: Outbox) -> None:
        """Have an outbox flushed at the end of this turn, or after those before it."""
        lane = self.lane
        outbox.corked |= lane
        if lane == SOON:
            self._soon.append(outbox)
        else:
            self._later.append(outbox)
        if not (self._scheduled or self._held):
            self._schedule()

    def broadcast(self) -> None:
        """Put outboxes into the second lane until :meth:`end_broadcast`: there are many of them."""
        self.lane = LATER
        self.lanes = SOON | LATER

    def end_broadcast(self) -> None:
        """Put outboxes into the first lane again."""
        self.lane = self.lanes = SOON

    def hold(self) -> None:
        """Leave it to the caller to call :meth:`flush`, before it lets the event loop have its turn."""
        self._held = True

    @property
    def is_held(self) -> bool:
        """True while :meth:`hold` is not taken back."""
        return self._held

    def release(self) -> None:
        """Take back :meth:`hold`: flush in the next turn of the event loop."""
        self._held = False
        if (self._soon or self._later) and not self._scheduled:
            self._schedule()

    def flush(self) -> None:
        """Take back :meth:`hold`, and flush now what would be flushed in the next turn of the event loop."""
        self._held = False
        if self._soon or (self._later and not self._scheduled):
            self._flush_some(0 if self._scheduled else _AT_LEAST)

    def _schedule(self) -> None:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        self._scheduled = True
        self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._scheduled = False
        self._flush_some(_AT_LEAST)

    def _flush_some(self, of_later: int) -> None:
        """Flush the first lane, then the second one: at least so many of it, and none if that is 0."""
        soon, later = self._soon, self._later
        self._soon = []
        end = self._clock() + _LONGEST if len(soon) + len(later) > _PER_LOOK else math.inf
        count = 0
        for outbox in soon:
            count += 1
            outbox.corked &= ~SOON
            self._flush_one(outbox)
            if not count % _PER_LOOK and self._clock() >= end:
                break
        for outbox in soon[count:]:
            outbox.corked &= ~SOON
            if not outbox.corked & LATER:
                outbox.corked |= LATER
                later.append(outbox)
        if of_later:
            is_late = count < len(soon)
            count = 0
            while later and not (is_late and count >= of_later):
                count += 1
                outbox = later.popleft()
                outbox.corked &= ~LATER
                self._flush_one(outbox)
                if not count % _PER_LOOK:
                    is_late = self._clock() >= end
        if (self._soon or later) and not (self._scheduled or self._held):
            self._schedule()

    def _flush_one(self, outbox: Outbox) -> None:
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
        "_frames",
        "_limit",
        "_owner",
        "_policy",
        "closed",
        "corked",
        "dropped",
        "has_gap",
        "sink",
    )

    def __init__(self, cork: Cork, sink: Sink, limit: int, owner: Owner, policy: SlowConsumer = "disconnect") -> None:
        self._cork = cork
        self._frames: list[Frames] = []
        self._bytes = 0
        self.corked = 0
        """The lanes of the cork in which it waits."""
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
        if volatile and not self._takes_volatile():
            self._lose("volatile", 1)
            return
        waiting = self._bytes
        if waiting and waiting + frames.size > self._limit and not self._find_room(frames):
            self._lose(self._reason, 1)
            return
        self._frames.append(frames)
        self._bytes += frames.size
        if not self.corked & self._cork.lanes:
            self._cork.add(self)

    def put_last(self, frames: Frames) -> None:
        """Add frames that wait to be fetched, whatever the bound says, and take nothing more."""
        self._frames.append(frames)
        self.closed = True

    def flush(self) -> None:
        """Hand what waits to the transport, if it takes it."""
        frames = self._frames
        if frames:
            self.corked &= ~_VOLATILE
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

    def _takes_volatile(self) -> bool:
        """Return whether a volatile event is taken: one, behind others only if these wait for a broadcast's turn."""
        if not self.sink.writable or (self._frames and self.corked & (LATER | _VOLATILE) != LATER):
            return False
        self.corked |= _VOLATILE
        return True

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
