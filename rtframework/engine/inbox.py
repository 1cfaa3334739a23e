"""The packets of one client that are still to be served, in turn with those of others."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ..logs import ThrottledLog
from .inbound import HANDLER, LARGE, estimate

if TYPE_CHECKING:
    from contextvars import Context

    from ..options import EngineOptions
    from .runner import Runner

log: Final = logging.getLogger("rtframework.engine")

_busy: Final = ThrottledLog(
    log,
    logging.WARNING,
    "a client is not read for now, with %d at work of its handlers, and %d bytes of memory for its messages "
    "(Limits.max_pending_events, Limits.max_inbox)",
)

Call: TypeAlias = Callable[[], Coroutine[Any, Any, None] | None]
"""Something to be done when the packets that came before it have been served."""


class Inbox:
    """Packets that wait for the runner, handlers at work, and the memory that both take, which ``Limits`` bounds.

    It is the base of a connection, which says what a packet is and whether more are taken.
    """

    __slots__ = (
        "_options",
        "_parked",
        "_room_to_read",
        "_runner",
        "_working",
        "blocked",
        "context",
        "held",
        "inbox",
        "keeps_binary",
        "loop",
    )

    def __init__(self, runner: Runner, options: EngineOptions) -> None:
        self.loop = asyncio.get_running_loop()
        self.context: Context | None = runner.context()
        self.inbox: deque[str | bytes | Call] | None = None
        self.blocked = False
        """True while nothing more is to be served: as much is at work as may be, or there is no room."""
        self.held = 0
        """Bytes of memory that its messages take, see ``Limits.max_inbox``."""
        self.keeps_binary = False
        """True if binary messages are attachments, which take no more memory when they are decoded."""
        self._runner = runner
        self._options = options
        self._working = 0
        self._parked = 0
        """Bytes of the large packets in the inbox, as they were counted last."""
        self._room_to_read: asyncio.Future[None] | None = None

    @property
    def is_open(self) -> bool:
        """True while packets are served."""
        raise NotImplementedError

    def take(self, packet: str | bytes | Call) -> Coroutine[Any, Any, None] | None:
        """Serve a packet, or a call. Return what it sets off, if anything is left to do."""
        raise NotImplementedError

    def emptied(self) -> None:
        """Hear that everything in the inbox has been taken."""
        raise NotImplementedError

    def abort(self, reason: str) -> None:
        """Cut off the client."""
        raise NotImplementedError

    def receive(self, packet: str | bytes | Call) -> None:
        """Have a packet, or a call, served after what came before it."""
        if self.inbox is not None:
            self.inbox.append(packet)
            return
        self.inbox = deque((packet,))
        if not self.blocked:
            self._runner.add(self)

    def receive_all(self, packets: Iterable[str | bytes]) -> None:
        """Have packets served that came in one piece."""
        if not self.is_open:
            for packet in packets:
                self.take(packet)
            return
        for packet in packets:
            self.receive(packet)

    def began(self, packet: str | bytes | Call | None = None) -> int:
        """Count a handler that waits, and what it was given. Return the bytes for :meth:`ended`."""
        weight = HANDLER
        if isinstance(packet, str | bytes) and len(packet) <= LARGE:  # else it is counted already
            weight += len(packet) if self.keeps_binary and isinstance(packet, bytes) else estimate(packet)
        self._working += 1
        self.hold(weight)
        inbound = self._runner.inbound
        busy = self._is_busy() or (inbound.held > inbound.most and not self.may_receive())
        if busy and not self.blocked:
            _busy(self._working, self.held, extra={"limit": self._options.limits.max_pending_events})
        self.blocked = busy
        return weight

    def ended(self, weight: int) -> None:
        """Count a handler that waited, and is done."""
        self._working -= 1
        self.release(weight)
        if self.blocked and not self._is_busy():
            self.retry()

    def hold(self, size: int) -> bool:
        """Count bytes of memory that a message of this client takes. ``False`` if they are too many for one client."""
        self.held += size
        inbound = self._runner.inbound
        inbound.held += size
        return self.held <= inbound.most_each

    def release(self, size: int) -> None:
        """Take back :meth:`hold`."""
        self.held -= size
        self._runner.inbound.release(size)

    def arrive(self, size: int) -> None:
        """Count bytes that are on their way, or wait to be decoded; fewer of them, if negative."""
        self._runner.inbound.idle += size
        if size > 0:
            self.hold(size)
        else:
            self.release(-size)

    def park(self) -> None:
        """Count the large packets in the inbox: they may have to wait there."""
        parked = 0
        for packet in self.inbox or ():
            if isinstance(packet, str | bytes) and len(packet) > LARGE:
                parked += sys.getsizeof(packet)
        if parked != self._parked:
            more, self._parked = parked - self._parked, parked
            self.arrive(more)

    def retry(self) -> None:
        """Go on: there may be room for what could not be taken."""
        self._runner.inbound.forget(self)
        if self.blocked and not self._is_busy():
            self._unblock()
        if self.inbox is None:
            self.emptied()

    def may_receive(self) -> bool:
        """Tell whether there is room for more of a message; if not, :meth:`retry` is called when there is.

        There always is for a client that holds little: those that hold much are not to keep it out.
        """
        inbound = self._runner.inbound
        if self.held <= LARGE or not self.is_open or inbound.may_read(self):
            return True
        inbound.wait(self, 0)
        return False

    def settle(self) -> None:
        """Hear that nothing of a message is on its way: it waits for no room, unless what has come does."""
        self._runner.inbound.settle(self)
        if not self.blocked:
            self._runner.inbound.forget(self)

    async def room_to_receive(self) -> None:
        """Wait until there is room for more of a message."""
        while self.is_open and not self.may_receive():
            await self._until_let()

    def _is_busy(self) -> bool:
        """Tell whether as much is at work as may be. If nothing is, nothing would end that.

        A single handler is never too large: it may wait for the client's answer, which has to be read.
        """
        working = self._working
        if working >= self._options.limits.max_pending_events:
            return True
        return working > 1 and self.held >= self._runner.inbound.most_each

    def _may_hold(self, weight: int) -> bool:
        """Tell whether there is room for a message of so many bytes; if not, nothing is served until there is."""
        inbound = self._runner.inbound
        if self._working and self.held + weight > inbound.most_each:
            self.blocked = True
            return False
        if inbound.has_room(weight, self.held):
            inbound.forget(self)
            return True
        self.blocked = True
        inbound.wait(self, weight)
        return False

    async def ready_to_read(self) -> None:
        """Wait until what has come is being served, and more may be (back-pressure)."""
        while (self.blocked or self.inbox is not None) and self.is_open:
            await self._until_let()

    async def _until_let(self) -> None:
        if self._room_to_read is None:
            self._room_to_read = self.loop.create_future()
        await asyncio.shield(self._room_to_read)

    def _unblock(self) -> None:
        self.blocked = False
        if self.inbox is not None:
            self._runner.add(self)
        self._let_read()

    def _forget_inbox(self) -> None:
        self._runner.inbound.settle(self)
        self._runner.inbound.forget(self)
        if self.inbox is not None:
            self.inbox.clear()
            self.inbox = None
        if self._parked:
            self.park()

    def _let_read(self) -> None:
        if self._room_to_read is not None:
            self._room_to_read.set_result(None)
            self._room_to_read = None
