"""Messages of this server on their way to the others: what is done when they are read back, or are lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from rtframework.exceptions import ClusterUnavailable
    from rtframework.types import Packet, Target

    from .streams_adapter import StreamsAdapter


class Loser(Protocol):
    """An adapter that tells what is lost."""

    def lost(self, packet: Packet, target: Target, error: ClusterUnavailable) -> None:
        """Tell of an event whose emitter waits no longer: the others do not get it."""


class OwnEmit:
    """An event of this server on its way to the others, which the sockets here have got."""

    __slots__ = ("_loser", "_packet", "_target")

    local = True

    def __init__(self, loser: Loser, packet: Packet, target: Target) -> None:
        self._loser = loser
        self._packet = packet
        self._target = target

    def lost(self, error: ClusterUnavailable) -> None:
        """Handle that the other servers do not get it, though nobody waits any longer."""
        self._loser.lost(self._packet, self._target, error)


class OwnEvent(msgspec.Struct, eq=False):
    """An event of this server on its way through the stream. ``text``: its arguments as JSON, unless there are bytes.

    ``slow``: what the emitter waits for when it was read back, because of slow clients.
    """

    adapter: StreamsAdapter
    packet: Packet
    text: str | None
    target: Target
    slow: Awaitable[None] | None = None

    @property
    def local(self) -> bool:
        """True if the sockets here have got it already."""
        return not self.adapter.is_stream_first

    def read(self, id: str) -> None:
        """Send it to the sockets here: it was read back."""
        adapter = self.adapter
        self.slow = adapter.deliver(self.packet, self.text, self.target, id if adapter.recovers else None)

    def lost(self, error: ClusterUnavailable) -> None:
        """Handle that the other servers do not get it, though nobody waits any longer."""
        self.adapter.lost(self.packet, self.target, error)


class OwnOrder:
    """Something to be done to the sockets of all servers, on its way through the stream."""

    __slots__ = ("_act", "_error", "_waiting")

    def __init__(self, act: Callable[[], Awaitable[None] | None]) -> None:
        self._act = act
        self._waiting: Awaitable[None] | None = None
        self._error: Exception | None = None

    def deliver(self, id: str | None) -> None:
        """Do it here."""
        try:
            self._waiting = self._act()
        except Exception as error:  # noqa: BLE001 - for the program that has asked for it
            self._error = error

    read = deliver

    async def outcome(self) -> None:
        """Wait for what was done here. Raises what it has raised."""
        if self._error is not None:
            raise self._error
        if self._waiting is not None:
            await self._waiting
