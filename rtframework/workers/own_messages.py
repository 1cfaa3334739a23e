"""Messages of this worker on their way through the broker: what is done when it is their turn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..exceptions import ClusterUnavailable
    from ..types import Packet, Target
    from .adapter import WorkersAdapter


class _Own:
    """Something that somebody waits for until it is its turn.

    ``done``: set then, or an error when the connection has ended before.
    """

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(self, error: ClusterUnavailable) -> None:
        """The connection has ended before."""
        if not self.done.done():
            self.done.set_exception(error)

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


class OwnEvent(_Own):
    """An event of this worker."""

    __slots__ = ("_adapter", "_packet", "_target", "_text", "slow")

    def __init__(self, adapter: WorkersAdapter, packet: Packet, text: str | None, target: Target) -> None:
        super().__init__()
        self._adapter = adapter
        self._packet = packet
        self._text = text
        self._target = target
        self.slow: Awaitable[None] | None = None
        """What the emitter waits for, because of slow clients."""

    def read(self, number: int) -> None:
        """Send it to the sockets here: it is its turn."""
        try:
            self.slow = self._adapter.read_back(self._packet, self._text, self._target, number)
        finally:
            self._finish()


class OwnKeptEvent(_Own):
    """An event of this worker that the history of rooms keeps. ``deliver``: called with its number."""

    __slots__ = ("_deliver", "slow")

    def __init__(self, deliver: Callable[[int], Awaitable[None] | None]) -> None:
        super().__init__()
        self._deliver = deliver
        self.slow: Awaitable[None] | None = None
        """What the emitter waits for, because of slow clients."""

    def read(self, number: int) -> None:
        """Send it to the sockets here: it is its turn."""
        try:
            self.slow = self._deliver(number)
        finally:
            self._finish()


class OwnOrder(_Own):
    """Something to be done to the sockets of all workers."""

    __slots__ = ("_act", "_error", "_waiting")

    def __init__(self, act: Callable[[], Awaitable[None] | None]) -> None:
        super().__init__()
        self._act = act
        self._waiting: Awaitable[None] | None = None
        self._error: Exception | None = None

    def read(self, number: int) -> None:
        """Do it here."""
        try:
            self._waiting = self._act()
        except Exception as error:  # noqa: BLE001 - for the program that has asked for it
            self._error = error
        self._finish()

    async def outcome(self) -> None:
        """Wait for what was done here. Raises what it has raised."""
        await self.done
        if self._error is not None:
            raise self._error
        if self._waiting is not None:
            await self._waiting
