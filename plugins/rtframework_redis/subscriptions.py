"""Subscriptions of one connection: asked for together, confirmed, and kept over reconnects."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal, TypeAlias

from rtframework.exceptions import ClusterUnavailable, DecodeError
from rtframework.logs import ThrottledLog

from .errors import LinkError, ReplyError
from .link import Link

log: Final = logging.getLogger("rtframework.cluster")

_rubbish: Final = ThrottledLog(log, logging.WARNING, "a message of another server is not understood")
_failed: Final = ThrottledLog(log, logging.ERROR, "a message of another server was not handled")
_refused: Final = ThrottledLog(log, logging.ERROR, "Redis refuses a subscription")

Command: TypeAlias = Literal["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE"]

AT_ONCE: Final = 512
"""Channels of one SUBSCRIBE."""

_OPPOSITE: Final = {"SUBSCRIBE": "UNSUBSCRIBE", "PSUBSCRIBE": "PUNSUBSCRIBE", "SSUBSCRIBE": "SUNSUBSCRIBE"}
_MESSAGES: Final = frozenset({b"message", b"pmessage", b"smessage"})
_ENDS: Final = frozenset({b"unsubscribe", b"punsubscribe", b"sunsubscribe"})
_TICK: Final = 0.25
"""Seconds between two looks at what has waited too long, and at what is to be given up."""


class Subscriptions:
    """Channels and patterns of one connection.

    ``on_message``: called with the channel, the message, and whether it came by a pattern. ``timeout``: seconds after
    which waiters are told that a subscription is not there. ``grace``: seconds for which a channel is listened to after
    ``leave``. ``on_late``: called with channels for which a caller has waited in vain, once they are subscribed to, and
    with the time of the request, in seconds since the epoch. ``on_refused``: called with channels for which Redis sent
    an error, or which it has ended, and the error; it returns true if it sees to them. ``slot_of``: only channels of
    the same slot are asked for together, as in a Redis Cluster. ``takes``: what is called with the messages of some
    channels, in place of ``on_message``. Either may raise ``DecodeError``.
    """

    def __init__(
        self,
        on_message: Callable[[bytes, bytes, bool], None],
        *,
        timeout: float,
        grace: float = 0.0,
        on_late: Callable[[Sequence[bytes], float], None] | None = None,
        on_refused: Callable[[Sequence[bytes], ReplyError | None], bool] | None = None,
        slot_of: Callable[[bytes], int] | None = None,
        takes: Mapping[bytes, Callable[[bytes], None]] | None = None,
    ) -> None:
        self._on_message = on_message
        self._takes = {} if takes is None else takes
        self._timeout = timeout
        self._grace = grace
        self._on_late = on_late
        self._on_refused = on_refused
        self._slot_of = slot_of
        self._loop = asyncio.get_running_loop()
        self._wanted: dict[bytes, Command] = {}
        self._sent: dict[bytes, Command] = {}
        """What was asked for on this connection."""
        self._active: set[bytes] = set()
        """What Redis has confirmed."""
        self._changed: dict[bytes, None] = {}
        self._waiting: dict[bytes, asyncio.Future[None]] = {}
        self._deadlines: deque[tuple[float, bytes, asyncio.Future[None]]] = deque()
        self._late: dict[bytes, float] = {}
        self._leaving: dict[bytes, float] = {}
        self._link: Link | None = None
        self._is_scheduled = self._is_closed = False
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._wanted)

    def __contains__(self, channel: bytes) -> bool:
        return channel in self._wanted

    @property
    def is_restored(self) -> bool:
        """True while there is a connection with all that was subscribed to when it was opened."""
        return self._link is not None and self._link.is_usable

    @property
    def wanted(self) -> dict[bytes, Command]:
        """The channels and patterns, and the command for each, as a new dict; without those that are being left."""
        return {channel: command for channel, command in self._wanted.items() if channel not in self._leaving}

    def is_active(self, channel: bytes) -> bool:
        """Tell whether what is published to a channel arrives here."""
        return channel in self._active

    # --- what is listened to ------------------------------------------------------------------------------------------

    def subscribe(self, command: Command, *channels: bytes) -> asyncio.Future[None] | None:
        """Subscribe to channels, also on connections to come; ``None`` if what is published there arrives already.

        Return a future otherwise, which is done when it does. It raises :class:`~rtframework.ClusterUnavailable` if
        that takes too long, or if Redis refuses.
        """
        waiting = []
        for channel in channels:
            if channel not in self._wanted:
                self._wanted[channel] = command
                self._change(channel)
            elif self._leaving:
                self._leaving.pop(channel, None)
            if channel not in self._active:
                waiting.append(self._waiter(channel))
        if not waiting:
            return None
        return all_of(waiting)

    def leave(self, *channels: bytes) -> None:
        """Listen to channels no longer, after a while in which they may be wanted again."""
        if not self._grace:
            self.drop(*channels)
            return
        due = self._loop.time() + self._grace
        for channel in channels:
            if channel in self._wanted:
                self._leaving.pop(channel, None)  # the order is that of the times
                self._leaving[channel] = due
        self._arm()

    def drop(self, *channels: bytes) -> None:
        """End subscriptions at once; does not wait until Redis has. Waiters for them wait no longer."""
        for channel in channels:
            self.forget(channel)
            waiter = self._waiting.pop(channel, None)
            if waiter is not None and not waiter.done():
                waiter.set_result(None)

    def forget(self, *channels: bytes) -> None:
        """Forget subscriptions that Redis has ended, or that another connection has got."""
        for channel in channels:
            self._leaving.pop(channel, None)
            self._late.pop(channel, None)
            self._wanted.pop(channel, None)
            self._change(channel)

    def take_waiting(self, channel: bytes) -> asyncio.Future[None] | None:
        """Take the future of a channel away: its waiters are told by another connection from now on."""
        return self._waiting.pop(channel, None)

    def _waiter(self, channel: bytes) -> asyncio.Future[None]:
        found = self._waiting.get(channel)
        if found is None:
            found = self._waiting[channel] = self._loop.create_future()
            self._deadlines.append((self._loop.time() + self._timeout, channel, found))
            self._arm()
        return found

    # --- the connection -----------------------------------------------------------------------------------------------

    async def restore(self, link: Link) -> None:
        """Subscribe to everything on a new connection. Raises ``LinkError`` if it ends, or if Redis refuses."""
        self._lose()
        for channel in self._leaving:
            self._wanted.pop(channel, None)
        self._leaving.clear()
        self._changed.clear()
        for channel in self._wanted:
            self._changed[channel] = None
        while self._changed:
            replies = []
            for command, channels in self._take_changes():
                await link.room()
                replies.append((channels, link.subscribe(command, *channels)))
            for channels, reply in replies:
                try:
                    await reply
                except ReplyError as error:
                    for channel in channels:
                        self._sent.pop(channel, None)
                    if self._on_refused is None or not self._on_refused(channels, error):
                        raise
        if not link.is_usable:
            raise await link.lost
        self._link = link
        link.lost.add_done_callback(lambda _: self._lost(link))
        self._late.clear()  # the owner of the connection tells what was missed without it
        self._confirm(list(self._sent))

    def push(self, push: list[Any]) -> None:
        """Take a push of the connection."""
        kind = push[0]
        if kind in _MESSAGES:
            try:
                take = self._takes.get(push[1])  # a pattern is none of them
                if take is not None:
                    take(push[2])
                else:
                    self._on_message(push[-2], push[-1], kind == b"pmessage")
            except DecodeError as error:
                _rubbish(error=error)
            except Exception as error:  # noqa: BLE001 - a message of somebody else's must not end the connection
                _failed(error=error)
        elif kind in _ENDS and push[1] in self._sent:
            # Redis has ended it: the channel's slot has gone to another node, or the user's rights have changed.
            self._refuse([push[1]], None)

    def retry(self) -> None:
        """Ask again for what Redis has refused or ended."""
        if self._link is not None:
            for channel in self._wanted:
                if channel not in self._sent:
                    self._change(channel)

    def close(self) -> None:
        """Forget everything. Waiters get an error."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._lose()
        self._wanted.clear()
        self._leaving.clear()
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(ClusterUnavailable("the server is not connected to Redis"))
                future.exception()

    def _lost(self, link: Link) -> None:
        if self._link is link:
            self._lose()

    def _lose(self) -> None:
        self._link = None
        self._sent.clear()
        self._active.clear()

    # --- what is asked for --------------------------------------------------------------------------------------------

    def _change(self, channel: bytes) -> None:
        self._changed[channel] = None
        if not self._is_scheduled and not self._is_closed:
            self._is_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Ask for all changes of this turn of the event loop."""
        self._is_scheduled = False
        link = self._link
        if link is None:
            return  # the next connection begins with what is wanted then
        try:
            for command, channels in self._take_changes():
                reply = link.subscribe(command, *channels)
                reply.add_done_callback(partial(self._replied, link, command, channels))
        except LinkError as error:
            link.fail(str(error))

    def _take_changes(self) -> list[tuple[str, list[bytes]]]:
        """Turn the changes into commands, each with channels that it may have together."""
        changed, self._changed = self._changed, {}
        groups: dict[tuple[str, int], list[bytes]] = {}
        slot_of = self._slot_of
        for channel in changed:
            wanted, sent = self._wanted.get(channel), self._sent.get(channel)
            if wanted == sent:
                continue
            if wanted is not None:
                self._sent[channel] = wanted
                name = str(wanted)
            elif sent is not None:
                del self._sent[channel]
                self._active.discard(channel)
                name = _OPPOSITE[sent]
            slot = slot_of(channel) if slot_of is not None and name in ("SSUBSCRIBE", "SUNSUBSCRIBE") else 0
            groups.setdefault((name, slot), []).append(channel)
        commands = []
        for (name, _), channels in groups.items():
            commands += [(name, channels[at : at + AT_ONCE]) for at in range(0, len(channels), AT_ONCE)]
        return commands

    def _replied(self, link: Link, command: str, channels: list[bytes], reply: asyncio.Future[Any]) -> None:
        if reply.cancelled():
            return
        error = reply.exception()
        if link is not self._link or command not in _OPPOSITE:
            return
        if error is None:
            self._confirm([channel for channel in channels if channel in self._sent])
        elif isinstance(error, ReplyError):
            self._refuse(channels, error)

    def _confirm(self, channels: Sequence[bytes]) -> None:
        late = {}
        for channel in channels:
            self._active.add(channel)
            waiter = self._waiting.pop(channel, None)
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
            if channel in self._late:
                late[channel] = self._late.pop(channel)
        if late and self._on_late is not None:
            self._on_late(list(late), min(late.values()))

    def _refuse(self, channels: Sequence[bytes], error: ReplyError | None) -> None:
        for channel in channels:
            self._sent.pop(channel, None)
            self._active.discard(channel)
        wanted = [channel for channel in channels if channel in self._wanted]
        if not wanted or (self._on_refused is not None and self._on_refused(wanted, error)):
            return
        why = "it has ended it" if error is None else str(error)
        _refused(error=LinkError(f"{wanted[0].decode(errors='replace')}: {why}"))
        for channel in wanted:
            self._late.setdefault(channel, time.time())
            waiter = self._waiting.pop(channel, None)
            if waiter is not None and not waiter.done():
                waiter.set_exception(ClusterUnavailable(f"Redis refuses the subscription: {why}"))
                waiter.exception()

    # --- time ---------------------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        if self._timer is None and not self._is_closed:
            self._timer = self._loop.call_later(_TICK, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._loop.time()
        deadlines = self._deadlines
        while deadlines and (deadlines[0][2].done() or deadlines[0][0] <= now):
            _, channel, waiter = deadlines.popleft()
            if not waiter.done():
                if self._waiting.get(channel) is waiter:
                    del self._waiting[channel]
                self._late.setdefault(channel, time.time() - self._timeout)
                waiter.set_exception(ClusterUnavailable("Redis has not confirmed the subscription in time"))
                waiter.exception()
        due = []
        for channel, at in self._leaving.items():
            if at > now:
                break
            due.append(channel)
        self.drop(*due)
        if deadlines or self._leaving:
            self._arm()


def all_of(futures: Sequence[asyncio.Future[None]]) -> asyncio.Future[None]:
    """Return a future of all, which its owner may cancel or drop."""
    outer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    left = len(futures)

    def done(future: asyncio.Future[None]) -> None:
        nonlocal left
        left -= 1
        if outer.done() or future.cancelled():
            return
        error = future.exception()
        if error is not None:
            outer.set_exception(error)
            outer.exception()
        elif not left:
            outer.set_result(None)

    for future in futures:
        future.add_done_callback(done)
    return outer
