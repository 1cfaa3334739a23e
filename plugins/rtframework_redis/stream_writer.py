"""Writing to the stream, and everything else that is sent: commands, subscriptions, what is published to channels."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from rtframework.cluster.messages import MessageType, new_id
from rtframework.cluster.pending import PendingLimits, PendingMessages
from rtframework.cluster.streams_wire import fields_of
from rtframework.exceptions import ClusterUnavailable

from .commander import Commander, ignore
from .commands import begin, bulk
from .errors import LinkError, LinkLost, LinkRefused, ReplyError
from .keeper import Keeper, Opened
from .link import STALE, Link, LinkOptions, wall_time
from .stream_reader import StreamReader, run_id_of
from .subscriptions import Command, Subscriptions
from .topology import Topology

_TICK: Final = 0.1
"""Seconds between two looks at what has waited too long."""

_GRACE: Final = 1.0
"""Seconds that are waited before the stream's end is read if the former connection may still be executing."""

_PATIENCE: Final = 3.0
"""Seconds without progress after which a reader at another server than the writer's is sent to look for the master."""


class StreamWriter(Commander):
    """Adds messages to the stream in the order of the emits, and takes what arrives by subscriptions.

    ``on_message``: called with the channel, the message, and whether it came by a pattern. ``on_up``: called when
    messages are sent. A broken connection is settled before anything more is sent: see ``PendingMessages``.
    """

    def __init__(
        self,
        topology: Topology,
        stream: str,
        *,
        uid: str,
        max_len: int,
        limits: PendingLimits,
        reader: StreamReader,
        on_message: Callable[[bytes, bytes, bool], None],
        on_state: Callable[[], None],
        on_up: Callable[[Link], None],
    ) -> None:
        self._stream = stream
        self._uid = uid.encode()
        self._max_len = max_len
        self._timeout = limits.timeout
        self._reader = reader
        self.subscriptions = Subscriptions(on_message, timeout=limits.timeout)
        self._on_state = on_state
        self._on_up = on_up
        self.pending = PendingMessages(asyncio.get_running_loop().create_future, limits)
        self.keeper = Keeper(
            topology,
            key=stream.encode(),
            name="rtframework-writer",
            on_up=self._up,
            on_push=self.subscriptions.push,
            options=LinkOptions(max_pending=8 * limits.max_bytes),
        )
        self._prefixes: dict[int, bytes] = {}
        self._link: Link | None = None
        """The connection, once everything before it is settled."""
        self._settling: asyncio.Task[None] | None = None
        self._server: str | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_scheduled = False
        self._is_closed = False

    @property
    def is_writing(self) -> bool:
        """True while messages are sent."""
        return self._link is not None

    async def start(self, timeout: float) -> None:
        """Connect. Raises ``LinkError``."""
        self.keeper.start()
        await self.keeper.up(timeout)

    async def close(self) -> None:
        """Stop: wait a moment for what is on its way, then fail what is left."""
        waiting = [message.future for message in self.pending if not message.future.done()]
        if waiting and self._link is not None:
            self._flush()
            await asyncio.wait(waiting, timeout=1.0)
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._end_settling()
        self._link = None
        self.subscriptions.close()
        await self.keeper.close()
        self.pending.close()

    # --- messages for the stream --------------------------------------------------------------------------------------

    async def publish(
        self, nsp: bytes, kind: int, data: bytes | None, own: Any = None, *, room: bytes | None = None
    ) -> str | None:
        """Add a message to the stream, and return its id when it has been read back; ``None`` if a gap covers it.

        ``own``: what the reader gets back with it. Raises :class:`~rtframework.ClusterUnavailable`: nobody has it.
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

    def tell_gap(self, notice: str) -> None:
        """Add a notice of a gap: servers that have not noticed it hear of it. It waits as long as it takes."""
        m = new_id().encode()
        fields = fields_of(self._uid, b"/", MessageType.HEARTBEAT, None, m)
        self.pending.reserve(0, 0)
        message = self.pending.add(m, [*fields, b"gap", notice.encode()], None, 0, math.inf)
        message.future.add_done_callback(ignore)
        self._arm()
        self._wake()

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
            self.pending.added(m, reply.result().decode())
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
            self._timer = asyncio.get_running_loop().call_later(_TICK, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = wall_time()
        self.pending.expire(now)
        self._is_stalled = self.pending.is_stalled(now)
        if len(self.pending) or self.pending.size:
            self._wake()
            self._arm()

    # --- the connection -----------------------------------------------------------------------------------------------

    async def _up(self, opened: Opened) -> None:
        link = opened.link
        if not link.resp3:
            raise LinkRefused("Redis 6 or newer is needed: this one does not speak RESP3")
        await self._end_settling()
        if not opened.former_ended:
            await asyncio.sleep(_GRACE)
        server = await run_id_of(link)
        last = await link.send("XREVRANGE", self._stream, "+", "-", "COUNT", 1)
        end = last[0][0].decode() if last else None
        await self.subscriptions.restore(link)
        link.lost.add_done_callback(lambda _: self._lost(link))
        self._settling = asyncio.get_running_loop().create_task(self._settle(link, server, end))

    async def _settle(self, link: Link, server: str, end: str | None) -> None:
        """Wait until everything that was added before is known, then begin to send."""
        cursor = self._reader.cursor
        while not cursor.has_passed(end, server):
            try:
                async with asyncio.timeout(_PATIENCE):
                    await self._reader.progress()
            except TimeoutError:
                self._reader.keeper.suspect("nothing was read, though the writer is connected")
                continue
            if not cursor.has_passed(None, server):  # perhaps it reads from a server that is no master any more
                await asyncio.sleep(_TICK)
        if not link.is_usable:
            return
        is_same = self._server is None or server == self._server
        self._server = server
        self._link = link
        self.pending.settle(wall_time(), same_server=is_same)
        self._wake()
        self._on_state()
        self._on_up(link)

    def _lost(self, link: Link) -> None:
        if self._settling is not None and self._link is None:
            self._settling.cancel()
        if self._link is link:
            self._link = None
            self.pending.lost()
            self._on_state()

    async def _end_settling(self) -> None:
        task, self._settling = self._settling, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    # --- other commands -----------------------------------------------------------------------------------------------

    async def subscribe(self, *channels: str, pattern: bool = False) -> None:
        """Subscribe to channels, also on connections to come."""
        command: Command = "PSUBSCRIBE" if pattern else "SUBSCRIBE"
        waiting = self.subscriptions.subscribe(command, *(each.encode() for each in channels))
        if waiting is not None and self.keeper.link is not None:
            with contextlib.suppress(ClusterUnavailable):  # the next connection subscribes to what there is then
                await waiting

    async def unsubscribe(self, *channels: str) -> None:
        """End subscriptions."""
        await self.subscriptions.unsubscribe(*(each.encode() for each in channels))
