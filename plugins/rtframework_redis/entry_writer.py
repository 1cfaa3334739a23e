"""Adding entries to a stream over one kept connection: in the order of the calls, each once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from rtframework.cluster.messages import new_id
from rtframework.cluster.pending import PendingLimits, PendingMessages
from rtframework.cluster.streams_wire import fields_of
from rtframework.exceptions import ClusterUnavailable

from .commands import begin, bulk
from .errors import LinkError, LinkLost, ReplyError
from .keeper import Keeper, Opened
from .link import STALE, Link, LinkOptions, OnPush, wall_time
from .topology import Topology

TICK: Final = 0.1
"""Seconds between two looks at what has waited too long."""

GRACE: Final = 1.0
"""Seconds that are waited before the stream's end is read if the former connection may still be executing."""


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
        self._max_len = max_len
        self._timeout = limits.timeout
        self.pending = PendingMessages(asyncio.get_running_loop().create_future, limits)
        self.keeper = Keeper(
            topology,
            key=stream.encode(),
            name=name,
            on_up=self._up,
            on_push=on_push,
            on_failure=on_failure,
            options=LinkOptions(max_pending=8 * limits.max_bytes),
        )
        self._prefixes: dict[int, bytes] = {}
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
        self, nsp: bytes, kind: int, data: bytes | None, own: Any = None, *, room: bytes | None = None
    ) -> str | None:
        """Add a message to the stream, and return the id of its entry when it is settled; ``None`` if a gap covers it.

        ``own``: what a reader gets back with it. Raises :class:`~rtframework.ClusterUnavailable`: nobody has it, unless
        the error is ``uncertain``.
        """
        if self._is_closed:
            raise ClusterUnavailable("the message has reached nobody: the server is not connected to Redis")
        size = 256 + (len(data) if data is not None else 0)
        pending = self.pending
        self._arm()
        await pending.admit(size, wall_time())
        m = new_id().encode()
        message = pending.add(m, fields_of(self._uid, nsp, kind, data, m, room), own, size, wall_time())
        self._wake()
        return await message.future

    def _wake(self) -> None:
        if not self._is_scheduled and self._link is not None:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._is_scheduled = False
        link = self._link
        if link is None:
            return
        try:
            for message in self.pending.take(wall_time()):
                fields = [*message.fields, b"a", b"1"] if message.again else message.fields
                command = self._prefix(len(fields)) + b"".join(map(bulk, fields))
                link.send_packed(command).add_done_callback(partial(self._replied, link, message.m))
        except LinkLost:
            return  # what was not sent counts as doubtful, like the rest
        except LinkError as error:
            link.fail(str(error))

    def _prefix(self, count: int) -> bytes:
        found = self._prefixes.get(count)
        if found is None:
            start = ("XADD", self._stream, "MAXLEN", "~", self._max_len, "*")
            found = self._prefixes[count] = begin(len(start) + count, *start)
        return found

    def _replied(self, link: Link, m: bytes, reply: asyncio.Future[Any]) -> None:
        if reply.cancelled() or link is not self._link:
            return
        error = reply.exception()
        if error is None:
            self._added(m, reply.result().decode())
            self._wake_waiting()
        elif isinstance(error, ReplyError) and error.code not in STALE:
            why = f"the message has reached nobody: Redis refused it: {error}"
            self.pending.refused(m, ClusterUnavailable(why))

    def _wake_waiting(self) -> None:
        if self._is_stalled:
            self._is_stalled = False
            self._wake()

    _is_stalled = False
    """True if the last look found messages that wait because a reply is overdue."""

    def _arm(self) -> None:
        if self._timer is None and not self._is_closed:
            self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)
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
