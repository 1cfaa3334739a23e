"""Adding entries to a stream over one kept connection: in the order of the calls, each once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final

from rtframework.cluster.messages import message_ids
from rtframework.cluster.pending import Emit, PendingLimits, PendingMessage, PendingMessages
from rtframework.exceptions import ClusterUnavailable

from .entries import EntryPacker, EventPacker, marked_again
from .errors import LinkError, LinkLost, ReplyError
from .history_scripts import RoomKey
from .keeper import Keeper, Opened
from .link import STALE, Link, LinkOptions, OnPush, wall_time
from .topology import Topology

TICK: Final = 0.1
"""Seconds between two looks at what has waited too long."""

GRACE: Final = 1.0
"""Seconds that are waited before the stream's end is read if the former connection may still be executing."""


_TOGETHER: Final = 256
"""Messages of one transaction: Redis does nothing else meanwhile."""

_IDS: Final = frozenset({bytes})
"""The types of replies of which none is an error."""


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
        self.added = 0
        """Messages that Redis has added."""

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

    def publish(
        self,
        nsp: bytes,
        kind: int,
        data: bytes,
        own: Any = None,
        *,
        room: bytes | None = None,
        emit: Emit | None = None,
    ) -> Awaitable[str | None]:
        """Add a message to the stream, and return the id of its entry when it is settled; ``None`` if a gap covers it.

        ``own``: what a reader gets back with it. ``emit``: is told if the message is lost after its emitter was
        cancelled. Raises :class:`~rtframework.ClusterUnavailable`: nobody has it, unless
        the error is ``uncertain``.
        """
        m = next(self._ids)
        return self._add(m, self._packer.pack(nsp, kind, data, m, room), own, emit)

    def publish_event(
        self, packer: EventPacker, args: bytes, opts: bytes, own: Any, room: bytes | None, emit: Emit
    ) -> Awaitable[str | None]:
        """Add an event as :meth:`publish` does. ``packer``: that of its namespace, which has the rest."""
        m = next(self._ids)
        command = packer.pack(args, opts, m, room)
        if self._timer is None or self._is_closed:
            return self._add(m, command, own, emit)
        future = self.pending.offer(m, command, own, wall_time(), emit)  # as ``_add`` does: the way of nearly all
        if future is None:
            return self._add(m, command, own, emit)
        if not self._is_scheduled:
            self._wake()
        return future

    def publish_kept(
        self, nsp: bytes, data: bytes, rooms: Sequence[RoomKey], own: Any, *, room: bytes | None, emit: Emit | None
    ) -> Awaitable[str | None]:
        """Add an event as :meth:`publish` does, and in the same step to the history of rooms."""
        m = next(self._ids)
        return self._add(m, self._packer.pack_kept(nsp, data, m, room, rooms), own, emit)

    def flush(self) -> None:
        """Send now what would be sent in this turn of the event loop, so that a command can come behind it."""
        if self._is_scheduled:
            self._flush()

    def events_of(self, nsp: bytes) -> EventPacker:
        """Return what packs the events of a namespace."""
        return self._packer.of_namespace(nsp)

    def _add(self, m: bytes, command: bytes, own: Any, emit: Emit | None) -> Awaitable[str | None]:
        """Add a message in the order of the calls, and return what its emitter awaits."""
        if self._is_closed:
            return self._refuse(emit)
        if self._timer is None:
            self._arm()
        future = self.pending.offer(m, command, own, wall_time(), emit)
        if future is None:
            waiter = self.pending.reserve(len(command), wall_time())
            return self._add_later(waiter, m, command, own, emit)
        if not self._is_scheduled:
            self._wake()
        return future

    async def _refuse(self, emit: Emit | None) -> str | None:
        why = "the message has reached nobody: the server is not connected to Redis"
        raise ClusterUnavailable(why, local=emit is not None and emit.local)

    async def _add_later(
        self, waiter: asyncio.Future[None] | None, m: bytes, command: bytes, own: Any, emit: Emit | None
    ) -> str | None:
        pending, size = self.pending, len(command)
        try:
            if waiter is not None:
                await pending.admitted(waiter, size)
        except asyncio.CancelledError:
            if emit is not None:
                emit.lost(ClusterUnavailable("the emitter was cancelled while it waited for room"))
            raise
        except ClusterUnavailable as error:
            if emit is not None:
                error.local = emit.local
            raise
        message = pending.add(m, command, own, size, wall_time(), emit)
        self._wake()
        return await message.future

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
        some = list(islice(messages, len(replies)))
        if _IDS.issuperset(map(type, replies)):
            self.added += len(replies)
            self._added_all(some, replies)
        else:
            for reply, message in zip(replies, some, strict=False):
                if type(reply) is bytes:
                    self.added += 1
                    self._added_all([message], [reply])
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

    def _added_all(self, messages: Sequence[PendingMessage], ids: Sequence[bytes]) -> None:
        """Handle that Redis has added messages, with the ids of their entries."""
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
