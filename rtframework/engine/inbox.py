"""The packets of one client that are still to be served, in turn with those of others."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from contextvars import Context

    from ..options import EngineOptions
    from .runner import Runner

Call: TypeAlias = Callable[[], Coroutine[Any, Any, None] | None]
"""Something to be done when the packets that came before it have been served."""


class Inbox:
    """Packets that wait for the runner, and the number of handlers at work, which ``Limits`` bounds.

    It is the base of a connection, which says what a packet is and whether more are taken.
    """

    __slots__ = ("_options", "_room_to_read", "_runner", "_working", "blocked", "context", "inbox", "loop")

    def __init__(self, runner: Runner, options: EngineOptions) -> None:
        self.loop = asyncio.get_running_loop()
        self.context: Context | None = runner.context()
        self.inbox: deque[str | bytes | Call] | None = None
        self.blocked = False
        self._runner = runner
        self._options = options
        self._working = 0
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

    def began(self) -> None:
        """Count a handler that waits for something."""
        self._working += 1
        self.blocked = self._working >= self._options.limits.max_pending_events

    def ended(self) -> None:
        """Count a handler that waited, and is done."""
        self._working -= 1
        if self.blocked:
            self._unblock()

    async def ready_to_read(self) -> None:
        """Wait until fewer handlers are at work than one client may have (back-pressure)."""
        while self.blocked and self.is_open:
            if self._room_to_read is None:
                self._room_to_read = self.loop.create_future()
            await asyncio.shield(self._room_to_read)

    def _unblock(self) -> None:
        self.blocked = False
        if self.inbox is not None:
            self._runner.add(self)
        self._let_read()

    def _forget_inbox(self) -> None:
        if self.inbox is not None:
            self.inbox.clear()
            self.inbox = None

    def _let_read(self) -> None:
        if self._room_to_read is not None:
            self._room_to_read.set_result(None)
            self._room_to_read = None
