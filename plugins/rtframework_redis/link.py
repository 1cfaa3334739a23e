"""One connection to Redis: commands and replies in order, pushes, and notice of its end.

Written over hiredis, because redis-py's command layer costs several times as much for each message
(``benchmarks/redis_link.py``), and because it repeats a command whose reply was lost, which doubles an entry of a
stream. A link never repeats a command and never reconnects; :class:`~rtframework_redis.keeper.Keeper` reconnects.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias, cast

from hiredis import PushNotification, Reader

from .commands import Argument, pack
from .errors import LinkFull, LinkLost, ReplyError
from .expected_replies import Batch, Confirmation, OnReplies, Transaction

OnPush: TypeAlias = Callable[[list[Any]], None]
"""Called with each push, e.g. ``[b"message", channel, data]``."""

Reply: TypeAlias = "asyncio.Future[Any]"

STALE: Final = frozenset({"MOVED", "ASK", "READONLY", "MASTERDOWN", "UNBLOCKED", "LOADING"})
"""Codes of errors that say: this server is not, or no longer, the master of that key."""

_MORE: Final = object()
_PUSHES: Final = frozenset({b"message", b"pmessage", b"smessage", b"unsubscribe", b"punsubscribe", b"sunsubscribe"})
"""Kinds of pushes, which in RESP2 look like replies."""
_PING: Final = pack(("PING",))
_ASKING: Final = pack(("ASKING",))
_MULTI: Final = pack(("MULTI",))
_EXEC: Final = pack(("EXEC",))
_MOST_WOKEN: Final = 256
"""Waiters for room that are woken together."""
_TICKS: Final = (0.02, 1.0)
"""Seconds between two looks at the time, at least and at most."""
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


wall_time: Final = partial(time.clock_gettime, _CLOCK)
"""Return seconds that have passed in the world.

Unlike the event loop's time it goes on while the machine is suspended, where the system has such a clock; unlike
``time.time()`` it does not jump when the clock is set.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkOptions:
    """Limits of a connection to Redis; times are in seconds.

    ``max_pending``: bytes of commands that may wait for their replies. The last one may go beyond it.
    ``max_reply``: bytes that one reply may have; more end the connection. ``idle``: the time after which a silent
    connection is tried with a PING. ``ping_timeout``: the time that Redis may stay silent after that.
    ``block_grace``: the time that the reply of a blocking command may come late. ``connect_timeout``: the time for
    connecting and logging in; an address that has a time of its own may shorten it. ``close_timeout``: the time for
    an orderly end. ``stale``: codes of errors for which ``on_stale`` is called.
    """

    max_pending: int = 8 * 1024 * 1024
    max_reply: int = 512 * 1024 * 1024
    idle: float = 10.0
    ping_timeout: float = 5.0
    block_grace: float = 2.0
    connect_timeout: float = 5.0
    close_timeout: float = 1.0
    stale: frozenset[str] = STALE


@dataclass(slots=True)
class Traffic:
    """Numbers of one connection, or of several that followed each other."""

    commands: int = 0
    replies: int = 0
    pushes: int = 0
    bytes_written: int = 0
    bytes_read: int = 0

    def add(self, other: Traffic) -> None:
        """Add the numbers of another connection."""
        self.commands += other.commands
        self.replies += other.replies
        self.pushes += other.pushes
        self.bytes_written += other.bytes_written
        self.bytes_read += other.bytes_read


class Link(asyncio.Protocol):
    """One connection to Redis. :func:`~rtframework_redis.handshake.connect` opens it.

    ``on_push``: called with each push, in order with the replies; it must not wait. ``on_stale``: called with a
    ``ReplyError`` whose code is one of ``options.stale``, once, before the command's future gets it.

    Replies are what hiredis returns: ``bytes``, ``int``, ``float``, ``bool``, ``None``, lists and, with RESP3, dicts;
    :func:`~rtframework_redis.commands.read_streams` reads those of XREAD.
    Errors inside of lists are ``ReplyError`` values. Attributes of RESP3 must not be asked for: hiredis returns
    them like replies.
    """

    __slots__ = (
        "_asking",
        "_buffered",
        "_closed",
        "_ended",
        "_fed",
        "_heard",
        "_late",
        "_loop",
        "_on_push",
        "_on_stale",
        "_out",
        "_pending",
        "_quiet_since",
        "_reader",
        "_refusal",
        "_retirement",
        "_retiring",
        "_subscribed",
        "_timer",
        "_transacts",
        "_transport",
        "_unanswered",
        "_waiters",
        "_waking",
        "client_id",
        "lost",
        "name",
        "options",
        "resp3",
        "role",
        "traffic",
        "version",
    )

    def __init__(
        self,
        *,
        on_push: OnPush | None = None,
        on_stale: Callable[[ReplyError], None] | None = None,
        asking: bool = False,
        options: LinkOptions | None = None,
    ) -> None:
        self.options = options or LinkOptions()
        self.traffic = Traffic()
        self.resp3 = False
        """Redis speaks RESP3 here."""
        self.client_id: int | None = None
        """Redis' number of this connection; ``None`` if it may not be asked for."""
        self.name = ""
        """Redis' name of this connection; its last part is random."""
        self.role = ""
        """``"master"`` or ``"replica"`` at the time of connecting; empty if Redis did not say."""
        self.version = ""
        """Redis' version; empty if it did not say."""
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[LinkLost] = self._loop.create_future()
        """Gets the reason as its result when the connection has ended, on either side."""
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._on_push = on_push
        self._on_stale = on_stale
        self._asking = asking
        self._reader = Reader(replyError=ReplyError, notEnoughData=_MORE)
        self._transport: asyncio.Transport | None = None
        self._refusal: str | None = "the connection is not open yet"
        """The reason why no command is taken; ``None`` while commands are taken."""
        self._retiring = self._ended = False
        self._transacts = True
        self._subscribed = False
        self._out: list[bytes] = []
        """Commands that are not written yet: the last ones of ``_pending``."""
        self._pending: deque[tuple[Reply | None, int, Batch | Confirmation | float | None]] = deque()
        """For each reply to come: its future, the bytes of the command, and the confirmations or the time, by
        ``wall_time``, that it waits for. Commands that were sent together have one place."""
        self._unanswered = 0
        self._waiters: dict[object, asyncio.Future[None]] = {}
        self._waking = False
        self._fed = 0
        """Bytes since the last reply that was complete."""
        self._heard = True
        self._quiet_since = wall_time()
        self._buffered = 0
        self._late = False
        self._timer: asyncio.TimerHandle | None = None
        self._retirement: asyncio.TimerHandle | None = None

    # what users call

    @property
    def is_usable(self) -> bool:
        """True while commands can be sent."""
        return self._refusal is None

    @property
    def unanswered(self) -> int:
        """Bytes of commands that wait for their replies."""
        return self._unanswered

    def send(self, *args: Argument) -> Reply:
        """Send a command together with all others of this turn of the event loop; return the future of its reply.

        The future raises ``ReplyError`` or ``LinkLost``. Cancelling it does not take the command back. Raises
        ``LinkLost`` at once if the connection has ended, and ``LinkFull`` beyond ``max_pending``.
        """
        return self.send_packed(pack(args))

    def send_packed(self, command: bytes) -> Reply:
        """Send one command that is bytes already, as :func:`~rtframework_redis.commands.begin` makes them."""
        if self._unanswered >= self.options.max_pending:
            self._check_room()
        future: Reply = self._loop.create_future()
        self._submit(command, future, None)
        return future

    def renew(self, reply: Reply) -> Reply | None:
        """Return a new future of a reply whose own was cancelled; ``None`` if it is not to come any more."""
        for number, (future, size, expected) in enumerate(self._pending):
            if future is reply:
                renewed: Reply = self._loop.create_future()
                self._pending[number] = (renewed, size, expected)
                return renewed
        return None

    def send_all(self, commands: Sequence[bytes], on_replies: OnReplies) -> None:
        """Send commands that are bytes already, at once, in one write behind what was sent before.

        They are a transaction, unless MULTI has been refused: who waits for what they add gets all of it at once, not
        one entry and then the others. ``on_replies`` is called with their replies in order, with as many at a time as
        have come. When the connection ends, nothing tells which of the others were executed. Raises as ``send`` does.
        """
        self._check_room()
        self._check_usable()
        count = len(commands)
        if self._asking:
            for command in commands:
                self._submit(command, None, Batch(1, on_replies))
        else:
            batch = Batch(count, on_replies)
            if count > 1 and self._transacts:
                commands = [_MULTI, *commands, _EXEC]
                batch = Transaction(count, on_replies, self._without_transactions)
            size = sum(map(len, commands))
            self._out += commands
            self._unanswered += size
            self._pending.append((None, size, batch))
        self._flush()

    def _without_transactions(self) -> None:
        self._transacts = False

    def send_blocking(self, block: float, *args: Argument) -> Reply:
        """Send a command that Redis answers after ``block`` seconds at the latest, e.g. ``XREAD BLOCK``.

        The connection counts as lost if the reply has not come ``block_grace`` seconds after that. ``args`` is the
        whole command, with its own BLOCK in milliseconds. Commands that are sent behind it wait for its reply.
        """
        if block <= 0:
            raise ValueError("a command that blocks for ever cannot be told from a dead connection")
        future: Reply = self._loop.create_future()
        self._submit(pack(args), future, wall_time() + block + self.options.block_grace)
        return future

    def subscribe(self, command: str, *channels: str | bytes) -> Reply:
        """Send SUBSCRIBE, PSUBSCRIBE, SSUBSCRIBE or its opposite; the future is done when all channels are confirmed.

        The result is the number of subscriptions that this connection has then. Without RESP3 a connection that has
        subscribed takes no other commands than these and PING.
        """
        if not channels:
            raise ValueError(f"{command} needs channels")
        self._check_room()
        names = [channel.encode() if isinstance(channel, str) else channel for channel in channels]
        future: Reply = self._loop.create_future()
        self._submit(pack((command, *names)), future, Confirmation(command.lower().encode(), names))
        return future

    async def room(self) -> None:
        """Wait until another command may be sent, in the order of the calls.

        A caller that sends without awaiting anything in between gets the room that it has waited for. Raises
        ``LinkLost`` when the connection ends.
        """
        self._check_usable()
        if not self._waiters and self._unanswered < self.options.max_pending:
            return
        place = object()
        try:
            while True:
                self._waiters[place] = self._loop.create_future()  # an existing key keeps its place in the order
                await self._waiters[place]
                if self._unanswered < self.options.max_pending:
                    return
        finally:
            del self._waiters[place]
            self._wake_later()

    def retire(self, reason: str) -> None:
        """Take no more commands, and end when all replies have come, or after ``close_timeout`` seconds."""
        if self._refusal is None:
            self._refusal = reason
            self._retiring = True
            self._retirement = self._loop.call_later(self.options.close_timeout, self.fail, reason)
            if not self._pending:
                self._loop.call_soon(self.fail, reason)

    async def close(self) -> None:
        """Write what was sent, then end the connection; return when nothing of it is left.

        Commands without a reply fail with ``LinkLost``: await the replies that matter before.
        """
        self._flush()
        transport = self._transport
        self._end("the connection was closed")
        if transport is None:
            return
        transport.close()
        await asyncio.wait([self._closed], timeout=self.options.close_timeout)
        if not self._closed.done():
            transport.abort()
            await asyncio.wait([self._closed], timeout=self.options.close_timeout)

    def fail(self, reason: str) -> None:
        """End the connection at once: all commands without a reply raise ``LinkLost``."""
        if not self._ended:
            self._end(reason)
            if self._transport is not None:
                self._transport.abort()

    # called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to look at the time."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are of classes of their own
        self._refusal = None
        self._schedule_tick()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody who waits for a reply."""
        self._end(str(exc) or type(exc).__name__ if exc is not None else "Redis closed the connection")
        self._transport = None
        if not self._closed.done():
            self._closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived, and give it to the futures and to ``on_push``."""
        if self._ended:
            return
        self._heard = True
        pending = self._pending
        replies = pushes = 0
        length = len(data)
        try:
            if pending and type(batch := pending[0][2]) is Transaction and not self._reader.has_data():
                left = batch.left
                data = batch.skip(data)
                replies = left - batch.left
            self._reader.feed(data)
            gets = self._reader.gets
            while (reply := gets()) is not _MORE:
                if type(reply) is PushNotification or (self._subscribed and _is_push(reply)):
                    pushes += 1
                    self._push(reply)
                    if self._ended:
                        return
                    continue
                replies += 1
                future, size, expected = pending[0]
                if isinstance(expected, Batch):
                    if type(reply) is ReplyError:
                        self._refuse(None, reply)
                    expected.replies.append(reply)
                    expected.left -= 1
                    if not expected.left:
                        pending.popleft()
                        self._unanswered -= size
                        self._give(expected)
                        if self._ended:
                            return
                    continue
                if type(expected) is Confirmation and type(reply) is list:
                    self._subscribed = True  # RESP2, where a confirmation looks like a reply
                    self._push(reply)
                    continue
                pending.popleft()
                self._unanswered -= size
                if type(reply) is ReplyError:
                    self._refuse(future, reply)
                elif future is not None and not future.done():
                    future.set_result(reply)
        except IndexError:
            self.fail("Redis sent something that nobody has asked for")
        except Exception as error:  # noqa: BLE001 - hiredis raises errors of many kinds for bytes that are no reply
            self.fail(f"Redis sent something that is no reply: {error}")
        traffic = self.traffic
        traffic.bytes_read += length
        traffic.replies += replies
        traffic.pushes += pushes
        if replies or pushes:
            self._fed = 0
            if pending and isinstance(first := pending[0][2], Batch):
                self._give(first)
            if self._waiters:
                self._wake()
            if self._retiring and not pending:
                self.fail(self._refusal or "")
        else:
            self._fed += length
            if self._fed > self.options.max_reply:
                self.fail(f"Redis sent a reply of more than {self.options.max_reply} bytes")

    # what they share

    def _check_room(self) -> None:
        if self._unanswered >= self.options.max_pending:
            raise LinkFull(f"{self._unanswered} bytes of commands wait for their replies")

    def _check_usable(self) -> None:
        if self._refusal is not None:
            raise LinkLost(self._refusal)

    def _submit(self, data: bytes, future: Reply | None, expected: Batch | Confirmation | float | None) -> None:
        self._check_usable()
        out = self._out
        if not out:
            self._loop.call_soon(self._flush)
        if self._asking:
            out.append(_ASKING)
            self._pending.append((None, 0, None))
        out.append(data)
        size = len(data)
        self._unanswered += size
        self._pending.append((future, size, expected))

    def _flush(self) -> None:
        out = self._out
        if out and self._transport is not None and not self._ended:
            data = b"".join(out)
            self.traffic.commands += len(out)
            self.traffic.bytes_written += len(data)
            out.clear()
            self._transport.write(data)

    def _push(self, push: list[Any]) -> None:
        if self._pending:
            future, size, expected = self._pending[0]
            if type(expected) is Confirmation and push[0] == expected.kind and push[1] in expected.channels:
                expected.left -= 1
                if not expected.left:
                    self._pending.popleft()
                    self._unanswered -= size
                    if future is not None and not future.done():
                        future.set_result(push[2])
                return
        if self._on_push is not None:
            try:
                self._on_push(push)
            except Exception as error:  # noqa: BLE001 - the fault of one message must not cost all others
                self._complain("a push of Redis was not handled", error)

    def _give(self, batch: Batch) -> None:
        replies = batch.take()
        if replies:
            try:
                batch.on_replies(replies)
            except Exception as error:  # noqa: BLE001 - what waits for other replies must not suffer from it
                self._complain("replies of Redis were not handled", error)

    def _complain(self, message: str, error: Exception) -> None:
        self._loop.call_exception_handler({"message": message, "exception": error})

    def _refuse(self, future: Reply | None, error: ReplyError) -> None:
        if error.code in self.options.stale and self._on_stale is not None:
            on_stale, self._on_stale = self._on_stale, None
            on_stale(error)
        if future is not None and not future.done():
            future.set_exception(error)

    def _wake_later(self) -> None:
        if self._waiters and not self._waking and not self._ended:
            self._waking = True
            self._loop.call_soon(self._wake)

    def _wake(self) -> None:
        self._waking = False
        if self._unanswered < self.options.max_pending:
            for number, waiter in enumerate(self._waiters.values()):
                if number == _MOST_WOKEN:
                    break
                if not waiter.done():
                    waiter.set_result(None)

    def _end(self, reason: str) -> None:
        if self._ended:
            return
        self._ended = True
        self._refusal = reason
        for timer in (self._timer, self._retirement):
            if timer is not None:
                timer.cancel()
        self._timer = self._retirement = None
        pending, self._pending = self._pending, deque()
        written = len(pending) - len(self._out)
        self._out.clear()
        self._unanswered = 0
        for number, (future, _, expected) in enumerate(pending):
            if isinstance(expected, Batch):
                self._give(expected)
            _lose(future, LinkLost(reason, written=number < written))
        for waiter in self._waiters.values():
            _lose(waiter, LinkLost(reason))
        self._on_push = self._on_stale = None
        if not self.lost.done():
            self.lost.set_result(LinkLost(reason))

    # silence

    def _schedule_tick(self) -> None:
        options = self.options
        least, most = _TICKS
        seconds = min(max(least, min(options.idle, options.ping_timeout, options.block_grace) / 4), most)
        self._timer = self._loop.call_later(least if self._late else seconds, self._tick)

    def _tick(self) -> None:
        if self._ended:
            return
        now = wall_time()
        buffered = self._transport.get_write_buffer_size() if self._transport is not None else 0
        if self._heard or buffered < self._buffered:  # Redis takes a large command: it lives
            self._heard = self._late = False
            self._quiet_since = now
        self._buffered = buffered
        silence = self.options.idle + self.options.ping_timeout
        if not self._pending:
            if now - self._quiet_since >= self.options.idle and self.is_usable:
                self._submit(_PING, None, None)
        else:
            expected = self._pending[0][2]
            due = expected if isinstance(expected, float) else self._quiet_since + silence
            if now >= due:
                if self._late:
                    self.fail(f"Redis has been silent for {now - self._quiet_since:.1f} s")
                    return
                # Look once more after reading: perhaps it was this process that stood still, and the reply is there.
                self._late = True
        self._schedule_tick()


def _is_push(reply: object) -> bool:
    return type(reply) is list and bool(reply) and type(reply[0]) is bytes and reply[0] in _PUSHES


def _lose(future: asyncio.Future[Any] | None, error: LinkLost) -> None:
    if future is not None and not future.done():
        future.set_exception(error)
        future.exception()  # lost tells it; asyncio would log a traceback for each
