"""Messages on their way into the stream: in order, sent again only if they were not added. Without I/O.

A message is settled when it is read back from the stream: then every live server has it or will read it. Of a broken
connection nobody knows which of its messages were added. So the writer kills that connection (CLIENT KILL ID), reads
the stream's end, waits until the reader has passed it, and calls ``settle``: what is still pending was not added.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Protocol

import msgspec

from ..exceptions import ClusterUnavailable
from .stream_ids import parse_id


class State(Enum):
    """The way of a message into the stream."""

    WAITING = "waiting"
    """Not sent, or known not to have been added."""
    SENT = "sent"
    """Sent on the current connection."""
    ADDED = "added"
    """Added, as the reply says; not read back yet."""
    DOUBTFUL = "doubtful"
    """Sent on a connection that has broken: added or not."""
    SETTLED = "settled"
    """Over: read back, covered by a gap, or failed."""


# Members of an enum are slow to look up before Python 3.12.
_WAITING: Final = State.WAITING
_SENT: Final = State.SENT
_ADDED: Final = State.ADDED
_DOUBTFUL: Final = State.DOUBTFUL
_SETTLED: Final = State.SETTLED


class Emit(Protocol):
    """An event of a program, whose emitter may be cancelled while it is on its way."""

    @property
    def local(self) -> bool:
        """True if this server's clients have got it, whatever becomes of it."""

    def lost(self, error: ClusterUnavailable) -> None:
        """Handle that the other servers do not get it, though nobody waits for it any longer. Must not raise."""


class PendingMessage(msgspec.Struct, eq=False):
    """A message that has not been read back. ``future``: its entry's id, ``None`` if a gap covers it; or an error."""

    m: bytes
    command: bytes
    """What is sent for it."""
    frames: Any
    """What this server's clients get when the message is read back."""
    size: int
    deadline: float
    future: asyncio.Future[str | None]
    emit: Emit | None = None
    """What is told if the message is lost after its emitter was cancelled."""
    state: State = _WAITING
    id: str | None = None
    """Id of the entry, once the reply has told it."""
    sent_at: float = 0.0
    again: bool = False
    """True if it has been sent before: other servers then drop it if they know it."""
    may_be_known: bool = False
    """True if others may have read it before the stream lost it: nobody can say then that nobody has it."""
    is_given_up: bool = False
    """True if its emitter was told that nobody knows: it is delivered if it is read back, and not sent again."""


@dataclass(slots=True)
class _Waiter:
    future: asyncio.Future[None]
    size: int
    deadline: float


@dataclass(frozen=True, slots=True)
class PendingLimits:
    """Bounds of what is pending.

    ``max_bytes``: bytes pending before emitters wait. ``timeout``: seconds after which an emitter is told that the
    cluster is unavailable. ``stall``: seconds without a reply after which nothing more is sent: what was not sent
    can still be taken back. ``forgets``: nobody reads the stream, so that what may have been added is forgotten after
    the time-out, and not kept until it is read back. The time-out then begins anew whenever ``found`` settles a
    message: many that wait for each other do not fail.
    """

    max_bytes: int = 8 * 1024 * 1024
    timeout: float = 5.0
    stall: float = 1.0
    forgets: bool = False


class PendingMessages:
    """The pending messages of one writer, in the order of the emits. Times are seconds of one clock, given as ``now``.

    After the time-out, a message that was never sent, or was found not to have been added, raises
    ``ClusterUnavailable``: nobody has it, and nobody will. If it may have been added, the error is ``uncertain``: it is
    not sent again, and delivered if it is read back. If it has been added, its emitter is told so without waiting on.
    """

    __slots__ = (
        "_bytes",
        "_create_future",
        "_cut_before",
        "_has_moved",
        "_limits",
        "_max_bytes",
        "_messages",
        "_moved_at",
        "_sent",
        "_timeout",
        "_unsent",
        "_waiters",
        "is_connected",
        "problem",
    )

    def __init__(self, create_future: Callable[[], asyncio.Future[Any]], limits: PendingLimits | None = None) -> None:
        self._create_future = create_future
        self._limits = limits = limits or PendingLimits()
        self._max_bytes, self._timeout = limits.max_bytes, limits.timeout
        self._messages: OrderedDict[bytes, PendingMessage] = OrderedDict()  # a dict is slow to tell its first
        self._unsent: list[PendingMessage] = []
        """Messages that wait, in their order, and some that have failed since."""
        self._sent: deque[PendingMessage] = deque()
        """Messages without a reply, in their order, and some that have got one since."""
        self._cut_before: tuple[int, int] | None = None
        self._waiters: deque[_Waiter] = deque()
        self._bytes = 0
        self._has_moved = False
        self._moved_at = -math.inf
        """The last look at the time before which a message was found."""
        self.is_connected = False
        """True while messages may be sent: after ``settle``, until ``lost``."""
        self.problem: Callable[[], str] = str
        """Returns what is wrong with the broker, for errors; an empty string if that is not known."""

    def __len__(self) -> int:
        return len(self._messages)

    def __iter__(self) -> Iterator[PendingMessage]:
        return iter(self._messages.values())

    def __contains__(self, m: bytes) -> bool:
        return m in self._messages

    @property
    def size(self) -> int:
        """Bytes that are pending, and those that emitters have reserved."""
        return self._bytes

    # --- emitters -----------------------------------------------------------------------------------------------------

    async def admit(self, size: int, now: float) -> None:
        """Reserve bytes for a message, which ``add`` then takes; wait while too many are pending, in order.

        Raises :class:`~rtframework.ClusterUnavailable` when ``expire`` finds that this took too long.
        """
        waiter = self.reserve(size, now)
        if waiter is not None:
            await self.admitted(waiter, size)

    async def admitted(self, waiter: asyncio.Future[None], size: int) -> None:
        """Wait for the future that ``reserve`` has returned. Raises as ``admit`` does."""
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._free(size)
            raise

    def reserve(self, size: int, now: float) -> asyncio.Future[None] | None:
        """Reserve bytes at once and return ``None``, or return a future that ends when they are reserved."""
        taken = self._bytes
        if not self._waiters and (not taken or taken + size <= self._max_bytes):
            self._bytes = taken + size
            return None
        future = self._create_future()
        self._waiters.append(_Waiter(future, size, now + self._timeout))
        return future

    def add(
        self, m: bytes, command: bytes, frames: Any, size: int, now: float, emit: Emit | None = None
    ) -> PendingMessage:
        """Add a message whose bytes are reserved. With ``math.inf`` for ``now`` it never fails."""
        message = PendingMessage(m, command, frames, size, now + self._timeout, self._create_future(), emit)
        self._messages[m] = message
        self._unsent.append(message)
        return message

    def offer(
        self, m: bytes, command: bytes, frames: Any, now: float, emit: Emit | None = None
    ) -> asyncio.Future[str | None] | None:
        """Reserve the bytes of a command, add the message and return its future; ``None`` if there is no room now."""
        size = len(command)
        taken = self._bytes
        if self._waiters or (taken and taken + size > self._max_bytes):
            return None
        self._bytes = taken + size
        future = self._create_future()
        message = PendingMessage(m, command, frames, size, now + self._timeout, future, emit)
        self._messages[m] = message
        self._unsent.append(message)
        return future

    # --- the writer ---------------------------------------------------------------------------------------------------

    def take(self, now: float) -> list[PendingMessage]:
        """Return the messages to send now, in order; they count as sent.

        None are returned without a connection, and while the oldest reply is overdue.
        """
        if not self.is_connected or self.is_stalled(now):
            return []
        taken = [message for message in self._unsent if message.state is _WAITING]
        self._unsent.clear()
        for message in taken:
            message.state = _SENT
            message.sent_at = now
        self._sent += taken
        return taken

    def is_stalled(self, now: float) -> bool:
        """Tell whether a reply is overdue, as from a server that is frozen or very slow."""
        sent = self._sent
        while sent and sent[0].state is not _SENT:
            sent.popleft()
        return bool(sent) and now - sent[0].sent_at > self._limits.stall

    def added(self, m: bytes, id: str) -> None:
        """Take the reply to a message: it has been added."""
        message = self._messages.get(m)
        if message is not None and message.state is _SENT:
            message.state = _ADDED
            message.id = id
            if self._cut_before is not None and parse_id(id) < self._cut_before:
                self._cover(message)

    def added_all(self, messages: Sequence[PendingMessage], ids: Sequence[bytes]) -> None:
        """Take the replies to messages, in their order: they have been added. ``ids``: as Redis sends them."""
        if self._cut_before is not None:
            for message, id in zip(messages, ids, strict=True):
                self.added(message.m, id.decode())
            return
        for message, id in zip(messages, ids, strict=True):
            if message.state is _SENT:
                message.state = _ADDED
                message.id = id.decode()

    def found(self, ids: Mapping[bytes, str]) -> None:
        """Settle the messages that are in the stream, with the ids of their entries, for a writer without a reader."""
        self._has_moved = True
        for m, id in ids.items():
            message = self._messages.pop(m, None)
            if message is not None:
                self._end(message, id)

    def refused(self, m: bytes, error: ClusterUnavailable) -> None:
        """Take an error as the reply to a message: it has not been added, and nobody has it."""
        message = self._messages.get(m)
        if message is not None and message.state is _SENT:
            self._fail(message, error)

    def lost(self) -> None:
        """Take the end of the connection: of what was sent without a reply nobody knows whether it was added."""
        self.is_connected = False
        for message in self._sent:
            if message.state is _SENT:
                message.state = _DOUBTFUL
        self._sent.clear()

    def settle(self, now: float, *, same_server: bool = True) -> None:
        """Begin a connection: the old one is dead, and the reader has passed the end that the stream had then.

        Doubtful messages were not added: they will be sent again, or fail if their time is over. So will those that the
        stream has lost after it had replied. Those that were given up end here. ``same_server``: false if another
        process answers now (``run_id`` of INFO). Then others may have read what is lost here, and drop it if it is sent
        again.
        """
        self.is_connected = True
        if not same_server:
            self._cut_before = None
        for message in list(self._messages.values()):
            if message.is_given_up:
                self._fail(message, ClusterUnavailable(_UNAVAILABLE, uncertain=True))
            elif message.state is not _WAITING:
                message.again = True
                message.may_be_known |= not same_server
                message.state = _WAITING
                message.id = None
        self._unsent = list(self._messages.values())
        if not self._moves(now):
            self._expire_messages(now)

    # --- the reader ---------------------------------------------------------------------------------------------------

    def read(self, m: bytes, id: str) -> PendingMessage | None:
        """Settle a message that was read back; ``None`` if it is not pending (any more), and not to be delivered.

        The caller delivers ``frames``. The future ends with the id. Messages sent before this one were added before it:
        one of them that has not been read was cut off, and the reader has told of a gap.
        """
        messages = self._messages
        message = messages.get(m)
        if message is None:
            return None
        if next(iter(messages)) is not message.m:
            self._cover_before(message)
        del messages[m]
        message.state = _SETTLED  # as ``_end`` does: this is the way of nearly all
        future = message.future
        if not future.done():
            future.set_result(id)
        self._bytes -= message.size
        if self._waiters:
            self._wake()
        return message

    def cover(self, first: str) -> list[PendingMessage]:
        """Settle the messages that were trimmed before they were read back: the gap before ``first`` covers them.

        Others may have read a message whose reply has not come, before it was trimmed: it does not fail any more.
        """
        self._cut_before = parse_id(first)
        for message in self:
            message.may_be_known |= message.state in (State.SENT, State.DOUBTFUL)
        covered = [each for each in self if each.id is not None and parse_id(each.id) < self._cut_before]
        for message in covered:
            self._cover(message)
        return covered

    def _cover_before(self, message: PendingMessage) -> None:
        earlier = []
        for each in self._messages.values():
            if each is message:
                break
            if each.state is not _WAITING:
                earlier.append(each)
        for each in earlier:
            self._cover(each)

    def _cover(self, message: PendingMessage) -> None:
        del self._messages[message.m]
        self._end(message, None)

    # --- time ---------------------------------------------------------------------------------------------------------

    def expire(self, now: float) -> None:
        """Tell the emitters of what has waited too long, and those that wait for room."""
        if self._has_moved:
            self._has_moved, self._moved_at = False, now
        if self._moves(now):
            self._wake()
            return
        waiters = self._waiters
        for waiter in [each for each in waiters if each.deadline <= now or each.future.done()]:
            waiters.remove(waiter)
            if not waiter.future.done():
                waiter.future.set_exception(self._unavailable(_FULL))
        self._expire_messages(now)
        self._wake()

    def close(self) -> None:
        """Fail everything: the server stops. Wait before for what is on its way, of which the outcome is not known."""
        self.is_connected = False
        waiters, self._waiters = self._waiters, deque()
        for waiter in waiters:
            if not waiter.future.done():
                waiter.future.set_exception(ClusterUnavailable(_STOPPING))
        for message in list(self._messages.values()):
            is_known = message.state is _WAITING and not message.may_be_known
            why = _STOPPING if is_known else f"the server is stopping, and {_UNKNOWN}"
            self._fail(message, ClusterUnavailable(why, uncertain=not is_known))

    def _moves(self, now: float) -> bool:
        return self._limits.forgets and now - self._moved_at < self._limits.timeout

    def _expire_messages(self, now: float) -> None:
        late = [each for each in self._messages.values() if each.deadline <= now]
        for message in late:
            message.deadline = math.inf
            if message.state is _WAITING and not message.may_be_known:
                self._fail(message, self._unavailable(_UNAVAILABLE))
                continue
            unknown = self._unavailable(f"no answer in time, and {_UNKNOWN}", uncertain=True)
            if self._limits.forgets or message.state is _WAITING:
                self._fail(message, unknown)
            elif message.state is _ADDED:  # all servers will read it, this one too
                message.emit = None
                if not message.future.done():
                    message.future.set_result(message.id)
            else:
                message.is_given_up = True
                self._tell(message, unknown)
        if late:
            self._unsent = [each for each in self._unsent if each.state is _WAITING]

    def _unavailable(self, why: str, *, uncertain: bool = False) -> ClusterUnavailable:
        problem = self.problem()
        return ClusterUnavailable(f"{why} ({problem})" if problem else why, uncertain=uncertain)

    def _fail(self, message: PendingMessage, error: ClusterUnavailable) -> None:
        del self._messages[message.m]
        message.state = _SETTLED
        self._tell(message, error)
        self._free(message.size)

    def _tell(self, message: PendingMessage, error: ClusterUnavailable) -> None:
        """Raise an error in the emitter of a message, or tell that there is none any more; once."""
        emit, message.emit = message.emit, None
        future = message.future
        if emit is not None:
            error.local = emit.local
        if not future.done():
            future.set_exception(error)
        elif emit is not None and future.cancelled():
            emit.lost(error)

    def _end(self, message: PendingMessage, id: str | None) -> None:
        message.state = _SETTLED
        if not message.future.done():
            message.future.set_result(id)
        self._free(message.size)

    def _free(self, size: int) -> None:
        self._bytes -= size
        if self._waiters:
            self._wake()

    def _wake(self) -> None:
        waiters = self._waiters
        while waiters and (waiters[0].future.done() or self._fits(waiters[0].size)):
            waiter = waiters.popleft()
            if not waiter.future.done():
                self._bytes += waiter.size
                waiter.future.set_result(None)

    def _fits(self, size: int) -> bool:
        return not self._bytes or self._bytes + size <= self._limits.max_bytes


_UNAVAILABLE: Final = "the message has reached nobody: the broker did not take it in time"
_STOPPING: Final = "the message has reached nobody: the server is stopping"
_UNKNOWN: Final = "it is not known whether the broker has taken the message"
_FULL: Final = "the message has reached nobody: too many wait for the broker already"
