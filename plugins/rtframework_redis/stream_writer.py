"""Writing to the stream, and everything else that is sent: commands, subscriptions, what is published to channels."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final

from rtframework.cluster.messages import MessageType, message_ids
from rtframework.cluster.pending import PendingLimits, PendingMessage, PendingMessages
from rtframework.cluster.streams_wire import fields_of
from rtframework.exceptions import ClusterUnavailable
from rtframework.logs import ThrottledLog

from .commands import Argument
from .entries import EntryPacker, marked_again
from .errors import LinkError, LinkLost, LinkRefused, ReplyError
from .keeper import Keeper, Opened
from .link import STALE, Link, LinkOptions, wall_time
from .stream_reader import StreamReader, run_id_of
from .topology import Topology

log: Final = logging.getLogger("rtframework.cluster")

_failed: Final = ThrottledLog(log, logging.ERROR, "a message of another server was not handled")

_TICK: Final = 0.1
"""Seconds between two looks at what has waited too long."""

_GRACE: Final = 1.0
"""Seconds that are waited before the stream's end is read if the former connection may still be executing."""

_PATIENCE: Final = 3.0
"""Seconds without progress after which a reader at another server than the writer's is sent to look for the master."""

_SUBSCRIBE_AT_ONCE: Final = 512
"""Channels of one SUBSCRIBE when a connection is opened."""


class StreamWriter:
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
        self._ids = message_ids()
        self._packer = EntryPacker(stream, max_len, self._uid)
        self._timeout = limits.timeout
        self._reader = reader
        self._on_message = on_message
        self._on_state = on_state
        self._on_up = on_up
        self.pending = PendingMessages(asyncio.get_running_loop().create_future, limits)
        self.keeper = Keeper(
            topology,
            key=stream.encode(),
            name="rtframework-writer",
            on_up=self._up,
            on_push=self._push,
            options=LinkOptions(max_pending=8 * limits.max_bytes),
        )
        self._link: Link | None = None
        """The connection, once everything before it is settled."""
        self._settling: asyncio.Task[None] | None = None
        self._server: str | None = None
        self._channels: dict[bytes, str] = {}
        """Channels and patterns that are subscribed to, with the command for each."""
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
        await self.keeper.close()
        self.pending.close()

    # --- messages for the stream --------------------------------------------------------------------------------------

    def publish(
        self, nsp: bytes, kind: int, data: bytes, own: Any = None, *, room: bytes | None = None
    ) -> Awaitable[str | None]:
        """Add a message to the stream; return its id when it has been read back, ``None`` if a gap covers it.

        Await it at once. ``own``: what the reader gets back with it. Raises
        :class:`~rtframework.ClusterUnavailable`: nobody has it.
        """
        if self._is_closed:
            raise ClusterUnavailable("the message has reached nobody: the server is not connected to Redis")
        size, now = 256 + len(data), wall_time()
        if self._timer is None:
            self._arm()
        waiter = self.pending.reserve(size, now)
        if waiter is not None:
            return self._publish_later(waiter, size, nsp, kind, data, own, room)
        m = next(self._ids)
        message = self.pending.add(m, self._packer.pack(nsp, kind, data, m, room), own, size, now)
        if not self._is_scheduled:
            self._wake()
        return message.future

    async def _publish_later(
        self,
        waiter: asyncio.Future[None],
        size: int,
        nsp: bytes,
        kind: int,
        data: bytes,
        own: Any,
        room: bytes | None,
    ) -> str | None:
        await self.pending.admitted(waiter, size)
        m = next(self._ids)
        message = self.pending.add(m, self._packer.pack(nsp, kind, data, m, room), own, size, wall_time())
        self._wake()
        return await message.future

    def tell_gap(self, notice: str) -> None:
        """Add a notice of a gap: servers that have not noticed it hear of it. It waits as long as it takes."""
        m = next(self._ids)
        fields = fields_of(self._uid, b"/", MessageType.HEARTBEAT, None, m)
        command = self._packer.pack_fields([*fields, b"gap", notice.encode()])
        self.pending.reserve(0, 0)
        message = self.pending.add(m, command, None, 0, math.inf)
        message.future.add_done_callback(_ignore)
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
        messages = self.pending.take(wall_time())
        if messages:
            commands = [marked_again(each.command) if each.again else each.command for each in messages]
            try:
                link.send_all(commands, partial(self._replied, link, iter(messages)))
            except LinkLost:
                return  # what was not sent counts as doubtful, like the rest
            except LinkError as error:
                link.fail(str(error))

    def _replied(self, link: Link, messages: Iterator[PendingMessage], replies: Sequence[Any]) -> None:
        """Take the next replies to messages that were sent together."""
        if link is not self._link:
            return
        pending = self.pending
        for reply, message in zip(replies, messages, strict=False):
            if type(reply) is bytes:
                pending.added(message.m, reply.decode())
            elif isinstance(reply, ReplyError) and reply.code not in STALE:
                why = f"the message has reached nobody: Redis refused it: {reply}"
                pending.refused(message.m, ClusterUnavailable(why))
        self._wake_waiting()

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
        known: set[bytes] = set()
        while missing := [each for each in self._channels if each not in known][:_SUBSCRIBE_AT_ONCE]:
            known.update(missing)
            for command in ("SUBSCRIBE", "PSUBSCRIBE"):
                channels = [each for each in missing if self._channels.get(each) == command]
                if channels:
                    await link.subscribe(command, *channels)
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

    async def link(self) -> Link:
        """Return the connection, waiting for it a while. Raises :class:`~rtframework.ClusterUnavailable`."""
        found = self.keeper.link
        if found is not None:
            return found
        try:
            return await self.keeper.up(self._timeout)
        except LinkError as error:
            raise ClusterUnavailable(f"Redis cannot be reached: {error}") from error

    async def command(self, *args: Argument) -> Any:
        """Send a command and return its reply. Raises :class:`~rtframework.ClusterUnavailable`."""
        link = await self.link()
        try:
            async with asyncio.timeout(self._timeout):
                return await link.send(*args)
        except (LinkError, TimeoutError) as error:
            raise ClusterUnavailable(f"Redis did not answer: {error}") from error

    def send(self, *args: Argument) -> asyncio.Future[Any] | None:
        """Send a command whose reply nobody needs; return its future, ``None`` if there is no connection."""
        link = self.keeper.link
        if link is None:
            return None
        try:
            reply = link.send(*args)
        except LinkError:
            return None
        reply.add_done_callback(_ignore)
        return reply

    async def subscribe(self, *channels: str, pattern: bool = False) -> None:
        """Subscribe to channels, also on connections to come."""
        command = "PSUBSCRIBE" if pattern else "SUBSCRIBE"
        self._channels.update((each.encode(), command) for each in channels)
        await self._apply(command, channels)

    async def unsubscribe(self, *channels: str) -> None:
        """End subscriptions."""
        for each in channels:
            self._channels.pop(each.encode(), None)
        await self._apply("UNSUBSCRIBE", channels)

    async def _apply(self, command: str, channels: tuple[str, ...]) -> None:
        link = self.keeper.link
        if link is not None:
            try:
                async with asyncio.timeout(self._timeout):
                    await link.subscribe(command, *channels)
            except (LinkError, TimeoutError):
                pass  # the next connection subscribes to what there is then

    def _push(self, push: list[Any]) -> None:
        if push[0] in (b"message", b"pmessage"):
            try:
                self._on_message(push[-2], push[-1], push[0] == b"pmessage")
            except Exception as error:  # noqa: BLE001 - a message of somebody else's must not end the connection
                _failed(error=error)


def _ignore(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
