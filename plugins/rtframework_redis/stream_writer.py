"""Writing to the stream, and everything else that is sent: commands, subscriptions, what is published to channels."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable
from typing import Any, Final

from rtframework.cluster.messages import MessageType
from rtframework.cluster.pending import PendingLimits
from rtframework.cluster.streams_wire import fields_of
from rtframework.exceptions import ClusterUnavailable
from rtframework.logs import ThrottledLog

from .commands import Argument
from .entry_writer import GRACE, TICK, EntryWriter
from .errors import LinkError, LinkRefused
from .keeper import Opened
from .link import Link
from .stream_reader import StreamReader, run_id_of
from .topology import Topology

log: Final = logging.getLogger("rtframework.cluster")

_failed: Final = ThrottledLog(log, logging.ERROR, "a message of another server was not handled")

_PATIENCE: Final = 3.0
"""Seconds without progress after which a reader at another server than the writer's is sent to look for the master."""

_SUBSCRIBE_AT_ONCE: Final = 512
"""Channels of one SUBSCRIBE when a connection is opened."""


class StreamWriter(EntryWriter):
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
        super().__init__(
            topology, stream, uid=uid, name="rtframework-writer", max_len=max_len, limits=limits, on_push=self._push
        )
        self._reader = reader
        self._on_message = on_message
        self._on_state = on_state
        self._on_up = on_up
        self._settling: asyncio.Task[None] | None = None
        self._server: str | None = None
        self._channels: dict[bytes, str] = {}
        """Channels and patterns that are subscribed to, with the command for each."""

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
        await self._end_settling()
        await super().close()

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
                await asyncio.sleep(TICK)
        if not link.is_usable:
            return
        is_same = self._server is None or server == self._server
        self._server = server
        self._begin(link, same_server=is_same)
        self._on_state()
        self._on_up(link)

    def _added(self, m: bytes, id: str) -> None:
        self.pending.added(m, id)

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
        except TimeoutError as error:
            raise ClusterUnavailable(f"Redis did not answer within {self._timeout:g} s") from error
        except LinkError as error:
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
        """End subscriptions, without waiting for Redis: it may hang while the server stops."""
        for each in channels:
            self._channels.pop(each.encode(), None)
        link = self.keeper.link
        if link is not None:
            with contextlib.suppress(LinkError):  # the next connection does not subscribe to them
                link.subscribe("UNSUBSCRIBE", *channels).add_done_callback(_ignore)

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
