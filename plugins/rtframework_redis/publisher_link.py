"""The connection of a publisher: adds entries to the stream, or publishes to channels, in the order of the calls."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any, Final

from rtframework.cluster.messages import EMITTER
from rtframework.cluster.pending import PendingLimits, PendingMessage, State
from rtframework.cluster.search import find
from rtframework.cluster.stream_ids import BEGINNING
from rtframework.exceptions import ClusterUnavailable

from .commands import Argument
from .entry_writer import GRACE, EntryWriter
from .errors import LinkError, LinkLost
from .keeper import Opened
from .link import Link
from .publication import Publication, StreamMessage
from .topology import Topology

PAGE: Final = 100
"""Entries that are read at once to find a message whose reply was lost."""


class PublisherLink(EntryWriter):
    """Sends messages of a program that is no server.

    Nothing of the stream is read, except when a connection has broken: then what was written on it is looked for.
    ``stream``: empty if messages are published only.
    """

    def __init__(self, topology: Topology, stream: str, *, max_len: int, timeout: float) -> None:
        super().__init__(
            topology,
            stream,
            uid=EMITTER,
            name="rtframework-publisher",
            max_len=max_len,
            limits=PendingLimits(timeout=timeout, stall=timeout / 10, forgets=True),
            on_failure=self._failed,
        )
        self._since = BEGINNING
        """An entry after which come all messages that are pending."""
        self._failure: asyncio.Future[Exception] | None = None
        self._replies: set[asyncio.Future[Any]] = set()
        """Replies to what was published that have not come yet."""

    async def open(self) -> None:
        """Connect. Raises :class:`~rtframework.ClusterUnavailable` if the first attempt fails."""
        self.keeper.start()
        failure = self._failure = asyncio.get_running_loop().create_future()
        up: asyncio.Future[Any] = asyncio.ensure_future(self.keeper.up(self._timeout))
        either: list[asyncio.Future[Any]] = [up, failure]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            error = up.exception() if up.done() else failure.result()
        finally:
            up.cancel()
            self._failure = None
        if error is not None:
            raise ClusterUnavailable(f"Redis cannot be reached: {error}") from error

    def _failed(self, error: Exception) -> None:
        if self._failure is not None and not self._failure.done():
            self._failure.set_result(error)

    async def close(self) -> None:
        """Wait for what is on its way, which takes at most the time-out, then end the connection."""
        waiting = {message.future for message in self.pending} | self._replies
        if waiting:
            await asyncio.wait(waiting, timeout=self._timeout + 1)
        await super().close()

    async def send(self, message: Publication) -> None:
        """Send a message. Raises :class:`~rtframework.ClusterUnavailable`."""
        self.keeper.start()
        if isinstance(message, StreamMessage):
            try:
                if message.kept:
                    rooms = message.kept
                    await self.publish_kept(message.nsp, message.data, rooms, None, room=message.room, emit=None)
                else:
                    await self.publish(message.nsp, message.kind, message.data, room=message.room)
            except ClusterUnavailable as error:
                raise self._explained(str(error), uncertain=error.uncertain) from error
        else:
            await self._publish(message.channel, message.payload)

    async def _publish(self, channel: str, payload: bytes) -> None:
        sent_on: Link | None = None
        try:
            async with asyncio.timeout(self._timeout):
                while True:
                    try:
                        link = await self.keeper.up()
                        await link.room()
                        reply = link.send("PUBLISH", channel, payload)
                        sent_on = link
                        self._replies.add(reply)
                        reply.add_done_callback(self._replies.discard)
                        await reply
                    except LinkLost as error:
                        if error.written:
                            raise self._explained(f"{error}, and {_UNKNOWN}", uncertain=True) from error
                        if self._is_closed:
                            raise self._explained("the message has reached nobody") from error
                        sent_on = None
                    else:
                        return
        except TimeoutError:
            if sent_on is None:
                raise self._explained("the message has reached nobody") from None
            sent_on.fail("Redis did not answer")  # the next message has another connection
            raise self._explained(f"no answer in time, and {_UNKNOWN}", uncertain=True) from None
        except LinkError as error:
            raise self._explained(f"the message has reached nobody: Redis refused it: {error}") from error

    def _explained(self, why: str, *, uncertain: bool = False) -> ClusterUnavailable:
        problem = self.keeper.health.problem
        return ClusterUnavailable(f"{why} ({problem})" if problem else why, uncertain=uncertain)

    def _look(self, now: float) -> None:
        super()._look(now)
        # Half of the time-out in silence is enough: there is time left to find out by another connection.
        if self._link is not None and self.pending.is_stalled(now - self._timeout / 2):
            self._link.fail("Redis did not answer")

    # --- the connection -----------------------------------------------------------------------------------------------

    def _added_all(self, messages: Sequence[PendingMessage], ids: Sequence[bytes]) -> None:
        found = {message.m: id.decode() for message, id in zip(messages, ids, strict=True)}
        self._since = found[messages[-1].m]
        self.pending.found(found)

    async def _up(self, opened: Opened) -> None:
        link = opened.link
        doubtful = {message.m for message in self.pending if message.state is State.DOUBTFUL}
        is_known = True
        if doubtful:
            if not opened.former_ended:
                await asyncio.sleep(GRACE)
            self.pending.found(await self._find(link, doubtful))
            # What comes after an entry that is still there is there, too.
            is_known = self._since != BEGINNING and bool(
                await self._ask(link, "XRANGE", self._stream, *[self._since] * 2)
            )
        if self._stream:
            last = await self._ask(link, "XREVRANGE", self._stream, "+", "-", "COUNT", 1)
            self._since = last[0][0].decode() if last else BEGINNING
        link.lost.add_done_callback(lambda _: self._lost(link))
        self._begin(link, same_server=is_known)

    async def _ask(self, link: Link, *args: Argument) -> Any:
        try:
            async with asyncio.timeout(self._timeout / 2):
                return await link.send(*args)
        except TimeoutError:
            raise LinkLost("Redis did not answer") from None

    async def _find(self, link: Link, wanted: Collection[bytes]) -> dict[bytes, str]:
        steps = find(wanted, len(wanted), self._since)
        at = next(steps)
        try:
            while True:
                at = steps.send(await self._ask(link, "XREVRANGE", self._stream, at, "-", "COUNT", PAGE))
        except StopIteration as end:
            found: dict[bytes, str] = end.value
            return found


_UNKNOWN: Final = "it is not known whether Redis has taken the message"
