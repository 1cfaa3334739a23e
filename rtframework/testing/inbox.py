"""The events that a client has received, in order, and waiting for more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from ..options import check_timeout
from ..packets import event_key, from_ack
from .idle import settle, wait

_SHOWN: Final = 25


@dataclass(slots=True, eq=False)
class Received:
    """One event that a client has received."""

    event: str | int
    args: tuple[Any, ...]
    at: float
    """Seconds since the client was made, by the event loop's clock."""
    taken: bool = False
    """True if the test has taken the event by ``receive``, or a function given to ``on`` was called with it."""
    reply: Callable[[tuple[Any, ...]], Awaitable[None]] | None = field(default=None, repr=False)

    @property
    def payload(self) -> Any:
        """The argument of the event; ``None`` without one, a tuple of several."""
        return from_ack(self.args)

    @property
    def wants_ack(self) -> bool:
        """True while the server waits for an acknowledgement."""
        return self.reply is not None

    async def ack(self, *args: Any) -> None:
        """Acknowledge the event. Raises ``RuntimeError`` if none is requested, or it was sent already."""
        if self.reply is None:
            raise RuntimeError(f"the server waits for no answer to {self.event!r}")
        reply, self.reply = self.reply, None
        await reply(args)
        await settle()

    def __str__(self) -> str:
        shown = ", ".join(repr(arg) for arg in self.args)
        if len(shown) > 120:
            shown = shown[:117] + "…"
        notes = (" [wants an ack]" if self.wants_ack else "") + ("" if self.taken else " [not taken]")
        return f"{self.at:9.3f} s  {self.event}({shown}){notes}"


class Inbox:
    """The events that one client has received; each is taken once, the oldest first."""

    def __init__(self) -> None:
        self.items: list[Received] = []
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._changed: asyncio.Future[None] | None = None

    def put(
        self, event: str | int, args: tuple[Any, ...], reply: Callable[[tuple[Any, ...]], Awaitable[None]] | None
    ) -> Received:
        """Add an event."""
        item = Received(event, args, self._loop.time() - self._began, reply=reply)
        self.items.append(item)
        self.changed()
        return item

    def changed(self) -> None:
        """Wake the waiting calls: an event has arrived, or the client was disconnected."""
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def peek(self, event: str | int | None = None) -> list[Received]:
        """Return the events, of this name or any, that were not taken yet."""
        key = None if event is None else event_key(event)
        return [item for item in self.items if not item.taken and (key is None or event_key(item.event) == key)]

    async def take(self, event: str | int | None, within: float, is_over: Callable[[], bool]) -> Received | None:
        """Wait for an event, of this name or any, and take the oldest; ``None`` if none arrives in time.

        ``is_over``: tells whether no more events can arrive.
        """
        await self.until(lambda: self.peek(event) or is_over(), within)
        for item in self.peek(event):
            item.taken = True
            return item
        return None

    async def until(self, condition: Callable[[], object], within: float) -> None:
        """Wait until a condition is true, checking it at each change, for up to ``within`` real seconds."""
        await settle()
        check_timeout("within", within)
        deadline = time.monotonic() + within
        while not condition() and (left := deadline - time.monotonic()) > 0:
            if self._changed is None or self._changed.done():
                self._changed = self._loop.create_future()
            await wait(self._changed, left)

    def describe(self) -> str:
        """List the events received, for the message of a failure."""
        if not self.items:
            return "nothing has been received at all"
        left_out = max(0, len(self.items) - _SHOWN)
        head = "received so far" + (f" ({left_out} earlier left out)" if left_out else "")
        return "\n  ".join([head + ":", *map(str, self.items[left_out:])])
