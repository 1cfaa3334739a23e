"""Adding entries to a stream over one kept connection: in the order of the calls, each once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final, Protocol

from rtframework.cluster.messages import message_ids
from rtframework.cluster.pending import PendingLimits, PendingMessage, PendingMessages
from rtframework.exceptions import ClusterUnavailable

from .entries import EntryPacker, marked_again
from .errors import LinkError, LinkLost, ReplyError
from .keeper import Keeper, Opened
from .link import STALE, Link, LinkOptions, OnPush, wall_time
from .topology import Topology

TICK: Final = 0.1
"""Seconds between two looks at what has waited too long."""

GRACE: Final = 1.0
"""Seconds that are waited before the stream's end is read if the former connection may still be executing."""


_TOGETHER: Final = 256
"""Messages of one transaction: Redis does nothing else meanwhile."""


class Emit(Protocol):
    """An event whose emitter may be cancelled while it is on its way."""

    def lost(self, error: ClusterUnavailable) -> None:
        """Handle that the other servers do not get it."""


class EntryWriter:
    """Adds messages to the stream in the order of the calls.

    A broken connection is settled before anything more is sent, see ``PendingMessages``. How that is done is for
    subclasses: ``_up`` gets each new connection and has ``_begin`` called when everything before it is known.
    """

    def __init__(
        self,
        topology: Topology,
        stream: str,
        *,
        uid: str,
        name: str,
        max_len: int,
        limits: PendingLimits,
        on_push: OnPush | None = None,
        on_failure: Callable[[Exception], None] | None = None,
    ) -> None:
        self._stream = stream
        self._uid = uid.encode()
        self._ids = message_ids()
        self._packer = EntryPacker(stream, max_len, self._uid)
        self._timeout = limits.timeout
        self._loop = asyncio.get_running_loop()
        self.pending = PendingMessages(self._loop.create_future, limits)
        self.keeper = Keeper(
            topology,
            key=stream.encode(),
            name=name,
            on_up=self._up,
            on_push=on_push,
            on_failure=on_failure,
            options=LinkOptions(max_pending=8 * limits.max_bytes),
        )
        self._link: Link | None = None
        """The connection, once everything before it is settled."""
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._is_late = False
        self._is_scheduled = False
        self._is_closed = False

    @property
    def is_writing(self) -> bool:
        """True while messages are sent."""
        return self._link is not None

    async def close(self) -> None:
        """End the connection, and fail what is on its way."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._link = None
        await self.keeper.close()
        self.pending.close()

    async def publish(
        self,
        nsp: bytes,
        kind: int,
        data: bytes,
        own: Any = None,
        *,
        room: bytes | None = None,
        emit: Emit | None = None,
    ) -> str | None:
        """Add a message to the stream, and return the id of its entry when it is settled; ``None`` if a gap covers it.

        ``own``: what a reader gets back with it. ``emit``: is told if the message is lost after its emitter was
        cancelled. Raises :class:`~rtframework.ClusterUnavailable`: nobody has it, unless
        the error is ``uncertain``.
        """
        if self._is_closed:
            raise ClusterUnavailable("the message has reached nobody: the server is not connected to Redis")
        size, pending = 256 + len(data), self.pending
        if self._timer is None:
            self._arm()
        waiter = pending.reserve(size, wall_time())
        if waiter is not None:
            try:
                await pending.admitted(waiter, size)
            except asyncio.CancelledError:
                if emit is not None:
                    emit.lost(ClusterUnavailable("the emitter was cancelled while it waited for room"))
                raise
        m = next(self._ids)
        message = pending.add(m, self._packer.pack(nsp, kind, data, m, room), own, size, wall_time())
        if not self._is_scheduled:
            self._wake()
        try:
            return await message.future
        except asyncio.CancelledError:
            if emit is not None:
                if m in pending:
                    message.future = self._loop.create_future()
                message.future.add_done_callback(partial(_abandoned, emit))
            raise

    def _wake(self) -> None:
        if not self._is_scheduled and self._link is not None:
            self._is_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_scheduled = False
        link = self._link
        if link is None:
            return
        messages = self.pending.take(wall_time())
        try:
            for start in range(0, len(messages), _TOGETHER):
                some = messages[start : start + _TOGETHER]
                commands = [marked_again(each.command) if each.again else each.command for each in some]
                link.send_all(commands, partial(self._replied, link, iter(some)))
        except LinkLost:
            return  # what was not sent counts as doubtful, like the rest
        except LinkError as error:
            link.fail(str(error))

    def _replied(self, link: Link, messages: Iterator[PendingMessage], replies: Sequence[Any]) -> None:
        """Take the next replies to messages that were sent together."""
        if link is not self._link:
            return
        for reply, message in zip(replies, messages, strict=False):
            if type(reply) is bytes:
                self._added(message.m, reply.decode())
            elif isinstance(reply, ReplyError) and reply.code not in STALE:
                why = f"the message has reached nobody: Redis refused it: {reply}"
                self.pending.refused(message.m, ClusterUnavailable(why))
        self._wake_waiting()

    def _wake_waiting(self) -> None:
        if self._is_stalled:
            self._is_stalled = False
            self._wake()

    _is_stalled = False
    """True if the last look found messages that wait because a reply is overdue."""

    def _arm(self) -> None:
        if self._timer is None and not self._is_closed:
            self._timer = self._loop.call_later(TICK, self._tick)
            self._due = wall_time() + TICK

    def _tick(self) -> None:
        self._timer = None
        now = wall_time()
        self._is_late = not self._is_late and now - self._due > TICK
        if self._is_late:  # this process stood still: perhaps the replies are there, and are read before the next look
            self._arm()
            return
        self._look(now)

    def _look(self, now: float) -> None:
        """Handle what has waited too long."""
        self.pending.expire(now)
        self._is_stalled = self.pending.is_stalled(now)
        if len(self.pending) or self.pending.size:
            self._wake()
            self._arm()

    # --- for subclasses -----------------------------------------------------------------------------------------------

    def _added(self, m: bytes, id: str) -> None:
        """Handle that Redis has added a message."""
        raise NotImplementedError

    async def _up(self, opened: Opened) -> None:
        """Settle what was sent on former connections. Raises ``LinkError``: then another one is opened."""
        raise NotImplementedError

    def _begin(self, link: Link, *, same_server: bool) -> None:
        """Begin to send: what was added before is known. ``same_server``: see ``PendingMessages.settle``."""
        self._link = link
        self.pending.settle(wall_time(), same_server=same_server)
        self._wake()

    def _lost(self, link: Link) -> bool:
        """Handle the end of a connection; false if nothing was sent on it."""
        if self._link is not link:
            return False
        self._link = None
        self.pending.lost()
        return True


def _abandoned(emit: Emit, future: asyncio.Future[str | None]) -> None:
    error = None if future.cancelled() else future.exception()
    if isinstance(error, ClusterUnavailable):
        emit.lost(error)
