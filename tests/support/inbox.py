"""What a client has received, kept in order, and waiting for more with a bound."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

DEFAULT_TIMEOUT = 15.0
"""Seconds that a wait may take when a test names no other bound: a busy machine takes long."""

_SHOWN = 25


@dataclass(slots=True)
class Received:
    """One thing that reached a client: an event of the application, or one of its connection's life."""

    name: str | int
    args: list[Any]
    life: bool
    at: float
    taken: bool = False
    ack_wanted: bool = False

    def __str__(self) -> str:
        shown = ", ".join(repr(arg) for arg in self.args)
        if len(shown) > 120:
            shown = shown[:117] + "…"
        notes = ("   [asks for an ack]" if self.ack_wanted else "") + ("" if self.taken else "   [not taken]")
        return f"{'* ' if self.life else '  '}{self.name}({shown}){notes}"


class Inbox:
    """The log of one client.

    Events of the application and of the connection's life ("connect", "disconnect", "upgrade" …) are told apart, so
    that an application may well call an event "upgrade". ``wait_for`` takes the oldest that nobody has taken yet.
    """

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.log: list[Received] = []
        self._started = time.monotonic()
        self._changed = asyncio.Event()
        self._broken: str | None = None

    def put(self, name: str | int, args: list[Any], *, life: bool = False, ack_wanted: bool = False) -> None:
        """Add what came last."""
        self.log.append(Received(name, args, life, time.monotonic() - self._started, ack_wanted=ack_wanted))
        self._changed.set()

    def break_(self, why: str) -> None:
        """Nothing more will come: whoever waits is told why."""
        self._broken = why
        self._changed.set()

    def received(self, name: str | int, *, life: bool = False) -> list[list[Any]]:
        """The arguments of every event of that name so far, taken or not."""
        return [item.args for item in self.log if item.name == name and item.life is life]

    def clear(self) -> None:
        """Forget everything so far."""
        self.log.clear()

    async def wait_for(
        self,
        name: str | int,
        *,
        life: bool = False,
        timeout: float = DEFAULT_TIMEOUT,
        where: Callable[..., object] | None = None,
    ) -> list[Any]:
        """The arguments of the oldest event of that name that was not taken yet and that ``where(*args)`` accepts."""
        item = await self.wait_any((name,), life=life, timeout=timeout, where=where)
        return item.args

    async def wait_any(
        self,
        names: tuple[str | int, ...],
        *,
        life: bool = False,
        timeout: float = DEFAULT_TIMEOUT,
        where: Callable[..., object] | None = None,
    ) -> Received:
        """Like :meth:`wait_for`, for whichever of several names comes first."""
        deadline = time.monotonic() + timeout
        while True:
            for item in self.log:
                if item.taken or item.life is not life or item.name not in names:
                    continue
                if where is None or where(*item.args):
                    item.taken = True
                    return item
            if self._broken is not None:
                raise AssertionError(f"{self.owner}: {self._broken}\n{self.describe()}")
            self._changed.clear()
            try:
                async with asyncio.timeout(max(deadline - time.monotonic(), 0)):
                    await self._changed.wait()
            except TimeoutError:
                wanted = " or ".join(f'"{name}"' for name in names) + (" that fits" if where else "")
                message = f"{self.owner}: no {wanted} within {timeout:g} s\n{self.describe()}"
                raise AssertionError(message) from None

    def describe(self) -> str:
        """What did arrive, for the text of a failure."""
        if not self.log:
            return "nothing arrived at all"
        lines = [f"  {item.at:7.3f} s {item}" for item in self.log[-_SHOWN:]]
        left_out = len(self.log) - len(lines)
        head = "arrived (* marks the connection's life)" + (f", {left_out} earlier left out" if left_out else "")
        return "\n".join([head + ":", *lines])
