"""Publishing to channels over one kept connection: in the order of the calls, each once, and an error otherwise."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from rtframework.exceptions import ClusterUnavailable

from .commander import Commander, ignore
from .commands import begin, bulk
from .errors import LinkError, LinkFull, LinkLost, ReplyError
from .keeper import Keeper, Opened, Pauses
from .link import STALE, Link, LinkOptions, wall_time
from .topology import Topology

if TYPE_CHECKING:
    from rtframework.cluster.pending import Emit

TICK: Final = 0.1
"""Seconds between two looks at what has waited too long."""

STALL: Final = 1.0
"""Seconds without a reply after which nothing more is sent: what was not sent can still be taken back."""

ELSEWHERE: Final = frozenset({"MOVED", "ASK", "CROSSSLOT", "CLUSTERDOWN", "TRYAGAIN"})
"""Codes of errors of a Redis Cluster that concern a channel, not the connection: it is at another node, or will be."""


@dataclass(eq=False, slots=True)
class _Waiting:
    """A message that is not sent yet. ``sent``: gets the future of its reply."""

    channel: bytes
    command: bytes
    deadline: float
    sent: asyncio.Future[asyncio.Future[Any]]


class ChannelPublisher(Commander):
    """Publishes messages, and sends other commands.

    While there is no connection, and while Redis owes a reply for a second, messages wait in their order. A message is
    never sent twice: Pub/Sub could not tell. ``on_state``: called when the connection has come or gone. ``stale``: see
    ``LinkOptions``. ``on_failure``: called when the connection has gone, and for each attempt that failed.
    ``may_begin``: returns the time, by ``wall_time``, from which a new connection is used for messages.
    """

    def __init__(
        self,
        topology: Topology,
        command: Literal["PUBLISH", "SPUBLISH"],
        *,
        key: bytes,
        timeout: float,
        max_pending: int,
        on_state: Callable[[], None],
        stale: frozenset[str] = STALE,
        on_failure: Callable[[Exception], None] | None = None,
        may_begin: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._prefix = begin(3, command)
        self._timeout = timeout
        self._on_state = on_state
        self._loop = asyncio.get_running_loop()
        self.keeper = Keeper(
            topology,
            key=key,
            name="rtframework-publisher",
            on_up=self._up,
            on_down=on_failure,
            on_failure=on_failure,
            options=LinkOptions(max_pending=max_pending, stale=stale),
            pauses=Pauses(eager=True),
        )
        self._link: Link | None = None
        self._numbers = itertools.count()
        self._queue: list[tuple[int, _Waiting]] = []
        """A heap: a message that has to be sent again comes before those that were published after it."""
        self._watched: deque[tuple[float, asyncio.Future[Any]]] = deque()
        """What awaits its reply, with the time at which its publisher is told that there is none."""
        self._may_begin = may_begin
        self._is_held = self._is_stalled = self._is_silent = self._is_closed = False
        self._replies = 0
        self._replied_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._room: asyncio.Task[None] | None = None

    @property
    def is_up(self) -> bool:
        """True while messages are sent, and Redis has not failed to answer in time."""
        return self._link is not None and self._link.is_usable and not (self._is_held or self._is_silent)

    @property
    def problem(self) -> str:
        """The reason why it is not up."""
        if self._is_held and self._link is not None:
            return "messages wait until the other servers have subscribed again"
        return self.keeper.health.problem or "Redis does not answer"

    @property
    def pending(self) -> int:
        """Bytes that wait to be sent, or for the reply of Redis."""
        waiting = sum(len(waiting.command) for _, waiting in self._queue if not waiting.sent.done())
        return waiting + (0 if self._link is None else self._link.unanswered)

    async def publish(
        self, channel: bytes, payload: bytes, deadline: float | None = None, emit: Emit | None = None
    ) -> None:
        """Publish a message; return when Redis has it. ``deadline``: by ``wall_time``.

        ``emit``: is told if the message is lost after its emitter was cancelled; until then it stays on its way.
        Raises :class:`~rtframework.ClusterUnavailable`, which is ``uncertain`` if Redis may have published it, and
        ``ReplyError``, with one of the codes ``ELSEWHERE``, for a channel that another node of a Redis Cluster has.
        """
        command = b"".join((self._prefix, bulk(channel), bulk(payload)))
        number = next(self._numbers)
        deadline = wall_time() + self._timeout if deadline is None else deadline
        waiting: _Waiting | None = None
        reply: asyncio.Future[Any] | None = None
        try:
            while True:
                reply = self._send(command, deadline)
                if reply is None:
                    waiting = _Waiting(channel, command, deadline, self._loop.create_future())
                    reply = await self._wait(number, waiting)
                try:
                    await reply
                except LinkLost as error:
                    if error.written:
                        raise _loss(error) from error
                except ReplyError as error:
                    if error.code in ELSEWHERE:
                        raise
                    if error.code not in STALE:
                        raise _loss(error) from error
                else:
                    return
        except asyncio.CancelledError:
            if emit is not None:
                if reply is not None:
                    self._follow(reply, deadline, emit)
                elif waiting is not None:
                    self._keep(number, waiting, emit)
            raise

    def give_up(self, is_elsewhere: Callable[[bytes], bool]) -> None:
        """Have ``publish`` raise ``ReplyError`` for messages that wait and belong to another server.

        ``is_elsewhere``: tells it by the channel.
        """
        keep: list[tuple[int, _Waiting]] = []
        for number, waiting in self._queue:
            if not is_elsewhere(waiting.channel):
                keep.append((number, waiting))
            elif not waiting.sent.done():
                waiting.sent.set_exception(ReplyError("MOVED"))
        self._queue = keep
        heapq.heapify(keep)

    async def close(self) -> None:
        """Stop: wait a moment for what is on its way, then fail what is left."""
        replies = [reply for _, reply in self._watched if not reply.done()]
        if replies and self.is_up:
            await asyncio.wait(replies, timeout=1.0)
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._room is not None:
            self._room.cancel()
            await asyncio.wait([self._room])
        self._link = None
        await self.keeper.close()
        queue, self._queue = self._queue, []
        for _, waiting in queue:
            _fail(waiting.sent, ClusterUnavailable("the message was not published: the server is stopping"))

    # --- on its way ---------------------------------------------------------------------------------------------------

    def _send(self, command: bytes, deadline: float) -> asyncio.Future[Any] | None:
        """Send a message at once, if nothing waits before it."""
        link = self._link
        if link is None or self._queue or self._is_stalled or self._is_held:
            return None
        try:
            reply = link.send_packed(command)
        except LinkError:
            return None
        self._watch(reply, deadline)
        return reply

    async def _wait(self, number: int, waiting: _Waiting) -> asyncio.Future[Any]:
        """Wait until a message is sent; return the future of its reply."""
        if self._is_closed:
            raise ClusterUnavailable("the message was not published: the server is not connected to Redis")
        heapq.heappush(self._queue, (number, waiting))
        self._arm()
        self._flush()
        return await waiting.sent

    def _keep(self, number: int, waiting: _Waiting, emit: Emit) -> None:
        """Let a message wait on whose publisher was cancelled."""
        if waiting.sent.cancelled():
            self._queue = [each for each in self._queue if each[1] is not waiting]
            heapq.heapify(self._queue)
            waiting.sent = self._loop.create_future()
            if self._is_closed:
                _fail(waiting.sent, ClusterUnavailable("the message was not published: the server is stopping"))
            else:
                heapq.heappush(self._queue, (number, waiting))
                self._arm()
        waiting.sent.add_done_callback(partial(_sent, emit))

    def _follow(self, reply: asyncio.Future[Any], deadline: float, emit: Emit) -> None:
        """Await the reply to a message whose publisher was cancelled."""
        if reply.cancelled():
            link = self._link
            renewed = None if link is None else link.renew(reply)
            if renewed is None:
                if link is None:
                    emit.lost(ClusterUnavailable(f"the connection has ended: {_UNKNOWN}", uncertain=True))
                return  # else Redis has answered meanwhile
            self._watch(renewed, deadline)
            reply = renewed
        reply.add_done_callback(partial(_settled, emit))

    def _watch(self, reply: asyncio.Future[Any], deadline: float) -> None:
        self._watched.append((deadline, reply))
        if self._timer is None:
            self._replied_at = wall_time()
            self._arm()

    def _flush(self) -> None:
        link = self._link
        queue = self._queue
        if self._is_held:
            self._is_held = wall_time() < self._may_begin()
            if self._is_held:
                self._arm()
                return
            self._on_state()
        while queue and link is not None and not self._is_stalled:
            waiting = queue[0][1]
            if not waiting.sent.done():
                try:
                    reply = link.send_packed(waiting.command)
                except LinkFull:
                    self._await_room(link)
                    return
                except LinkError:
                    return
                self._watch(reply, waiting.deadline)
                reply.add_done_callback(ignore)  # its publisher may have been cancelled
                waiting.sent.set_result(reply)
            heapq.heappop(queue)

    def _await_room(self, link: Link) -> None:
        if self._room is None or self._room.done():
            self._room = self._loop.create_task(self._flush_with_room(link))

    async def _flush_with_room(self, link: Link) -> None:
        try:
            await link.room()
        except LinkError:
            return
        self._room = None
        self._flush()

    async def _up(self, opened: Opened) -> None:
        link = opened.link
        link.lost.add_done_callback(lambda _: self._lost(link))
        self._link = link
        self._is_stalled = self._is_silent = False
        self._is_held = True
        self._loop.call_soon(self._flush)

    def _lost(self, link: Link) -> None:
        if self._link is link:
            self._link = None
            self._on_state()

    # --- time ---------------------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        if self._timer is None and not self._is_closed:
            self._timer = self._loop.call_later(TICK, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = wall_time()
        watched = self._watched
        while watched and watched[0][1].done():
            watched.popleft()
        is_late = False
        for deadline, reply in watched:
            if deadline <= now and not reply.done():
                is_late = True
                _fail(reply, ClusterUnavailable(f"Redis did not answer in time: {_UNKNOWN}", uncertain=True))
        for _, waiting in self._queue:
            if waiting.deadline <= now and not waiting.sent.done():
                is_late = True
                _fail(waiting.sent, ClusterUnavailable(f"the message was not published: {self.problem}"))
        link = self._link
        has_answered = link is None or not link.unanswered or link.traffic.replies != self._replies
        self._is_stalled = self._has_stalled(now)
        is_silent = is_late or (self._is_silent and not has_answered)
        if is_silent is not self._is_silent:
            self._is_silent = is_silent
            self._on_state()
        self._flush()
        if watched or self._queue or self._is_stalled or self._is_silent:
            self._arm()

    def _has_stalled(self, now: float) -> bool:
        """Tell whether Redis owes replies and has sent none for a while."""
        link = self._link
        if link is None:
            return False
        replies = link.traffic.replies
        if not link.unanswered or replies != self._replies:
            self._replies, self._replied_at = replies, now
        return now - self._replied_at >= STALL


def _sent(emit: Emit, sent: asyncio.Future[asyncio.Future[Any]]) -> None:
    """Follow a message of a cancelled publisher that was sent, or tell that it was not."""
    if sent.cancelled():
        return
    error = sent.exception()
    if error is not None:
        emit.lost(_loss(error))
    else:
        sent.result().add_done_callback(partial(_settled, emit))


def _settled(emit: Emit, reply: asyncio.Future[Any]) -> None:
    error = None if reply.cancelled() else reply.exception()
    if error is not None:
        emit.lost(_loss(error))


def _loss(error: BaseException) -> ClusterUnavailable:
    """Say what is known of a message that Redis has not confirmed."""
    if isinstance(error, ClusterUnavailable):
        return error
    if isinstance(error, LinkLost) and error.written:
        return ClusterUnavailable(f"{error}: {_UNKNOWN}", uncertain=True)
    if isinstance(error, ReplyError):
        return ClusterUnavailable(f"the message was not published: Redis refused it: {error}")
    return ClusterUnavailable(f"the message was not published: {error}")


def _fail(future: asyncio.Future[Any], error: ClusterUnavailable) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()


_UNKNOWN: Final = "it is not known whether the message was published"
