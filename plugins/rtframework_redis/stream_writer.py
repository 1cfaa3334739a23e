"""Writing to the stream, and everything else that is sent: commands, subscriptions, what is published to channels."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Final

from rtframework.cluster.messages import MessageType
from rtframework.cluster.pending import PendingLimits, PendingMessage
from rtframework.cluster.streams_wire import fields_of
from rtframework.exceptions import ClusterUnavailable

from .commander import Commander, ignore
from .entry_writer import GRACE, TICK, EntryWriter
from .errors import LinkRefused
from .keeper import Opened
from .link import Link
from .stream_reader import StreamReader, run_id_of
from .subscriptions import Command, Subscriptions
from .topology import Topology

_PATIENCE: Final = 3.0
"""Seconds without progress after which a reader at another server than the writer's is sent to look for the master."""


class StreamWriter(EntryWriter, Commander):
    """Adds messages to the stream in the order of the emits, and takes what arrives by subscriptions.

    ``on_message``: called with the channel, the message, and whether it came by a pattern. ``on_up``: called when
    messages are sent. What is known of a broken connection is what the reader has read since.
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
        self.subscriptions = Subscriptions(on_message, timeout=limits.timeout)
        super().__init__(
            topology,
            stream,
            uid=uid,
            name="rtframework-writer",
            max_len=max_len,
            limits=limits,
            on_push=self.subscriptions.push,
        )
        self.pending.problem = lambda: self.keeper.health.problem
        self._reader = reader
        self._on_state = on_state
        self._on_up = on_up
        self._settling: asyncio.Task[None] | None = None
        self._server: str | None = None

    async def start(self, timeout: float) -> None:
        """Connect. Raises ``LinkError``."""
        self.keeper.start()
        await self.keeper.up(timeout)

    async def close(self) -> None:
        """Stop: wait a moment for what is on its way, then fail what is left."""
        abandoned = [message for message in self.pending if message.future.done()]  # their emitters were cancelled
        for message in abandoned:
            message.future = self._loop.create_future()
        waiting = [message.future for message in self.pending]
        if waiting and self._link is not None:
            self._flush()
            await asyncio.wait(waiting, timeout=1.0)
        for message in abandoned:
            message.future.cancel()
        await self._end_settling()
        self.subscriptions.close()
        await super().close()

    def tell_gap(self, notice: str) -> asyncio.Future[str | None]:
        """Add a notice of a gap: servers that have not noticed it hear of it. It waits as long as it takes.

        The result is done when the notice was read back: who reads on from there has read it.
        """
        m = next(self._ids)
        fields = fields_of(self._uid, b"/", MessageType.HEARTBEAT, None, m)
        command = self._packer.pack_fields([*fields, b"gap", notice.encode()])
        self.pending.reserve(0, 0)
        message = self.pending.add(m, command, None, 0, math.inf)
        message.future.add_done_callback(ignore)
        self._arm()
        self._wake()
        return message.future

    # --- the connection -----------------------------------------------------------------------------------------------

    async def _up(self, opened: Opened) -> None:
        link = opened.link
        if not link.resp3:
            raise LinkRefused("Redis 6 or newer is needed: this one does not speak RESP3")
        await self._end_settling()
        if not opened.former_ended:
            await asyncio.sleep(GRACE)
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
                await asyncio.sleep(TICK)
        if not link.is_usable:
            return
        is_same = self._server is None or server == self._server
        self._server = server
        self._begin(link, same_server=is_same)
        self._on_state()
        self._on_up(link)

    def _added_all(self, messages: Sequence[PendingMessage], ids: Sequence[bytes]) -> None:
        self.pending.added_all(messages, ids)

    def _lost(self, link: Link) -> bool:
        if self._settling is not None and self._link is None:
            self._settling.cancel()
        was_used = super()._lost(link)
        if was_used:
            self._on_state()
        return was_used

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
        """End subscriptions, without waiting for Redis: it may hang while the server stops."""
        self.subscriptions.drop(*(each.encode() for each in channels))
