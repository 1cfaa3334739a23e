"""The small protocols by which the parts of the engine know each other."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from ..protocols import Connection, Frames

if TYPE_CHECKING:
    from .outbox import Outbox


class MessageHandler(Protocol):
    """The receiver of a connection's messages, and of the news of its end."""

    def receive(self, data: str | bytes) -> Coroutine[Any, Any, None] | None:
        """Handle a message. Return what it sets off, if that is more than could be done at once."""

    def ended(self, reason: str) -> None:
        """Hear that the connection takes nothing more. Called once."""


class ClientConnection(Connection, Protocol):
    """A connection that can carry a client of Socket.IO: Engine.IO's, or one of any other protocol."""

    def keep(self) -> None:
        """Lift the time limit for joining a namespace: the client has joined one."""

    def fail(self, reason: str) -> None:
        """Close the connection at once, because the client broke the protocol; drop what waits."""

    def fail_of_size(self) -> None:
        """Close the connection, because a message is too long."""

    def hold(self, size: int) -> bool:
        """Count bytes of memory that a message of this client takes. ``False`` if they are too many for one client."""

    def release(self, size: int) -> None:
        """Take back :meth:`hold`."""


class Sink(Protocol):
    """A transport, as an outbox sees it."""

    @property
    def writable(self) -> bool:
        """True when it would take frames at once, with nothing of the past still waiting in it."""

    def write(self, frames: list[Frames]) -> bool:
        """Take frames, in order. True when all were taken.

        If not, those that were taken are removed from the list, and the rest waits for the next ``Outbox.flush``.
        """

    def buffered(self) -> int:
        """Count the bytes that were taken and have not yet left the process."""


class Carrier(Sink, Protocol):
    """A transport of one connection, as the connection sees it."""

    @property
    def name(self) -> str:
        """Return the name, as programs and statistics see it."""

    @property
    def abandoned(self) -> bool:
        """True when it has ended without a word."""

    @property
    def received(self) -> int:
        """Count the bytes that have come."""

    def serve(self, connection: Any, /) -> None:
        """Be the transport of this connection from now on."""

    def release(self, frames: Frames, /) -> None:
        """End the request of a client that waits for frames, with these, if it has one."""

    def resume_reading(self) -> None:
        """Read on: what came has been served, or there is room for more."""

    def close(self) -> None:
        """End it once everything that was written has left."""

    def abort(self) -> None:
        """Cut the TCP connection."""


class PacketReceiver(Protocol):
    """The receiver of a websocket's packets, and of the news of its end."""

    def receive(self, packet: str | bytes) -> None:
        """Take a packet of Engine.IO."""

    def end(self, reason: str) -> None:
        """Hear that the websocket has ended; maybe more than once."""


class Carried(Protocol):
    """A connection, as its transports see it."""

    outbox: Outbox
    """Frames that wait to be sent."""
    loop: asyncio.AbstractEventLoop
    inbox: deque[Any] | None
    """Packets that still wait to be served; ``None`` rather than empty."""
    blocked: bool
    """True while nothing more is to be served: it is not to be read."""

    @property
    def message_limit(self) -> int:
        """The bytes of a message that the client may send."""

    @property
    def is_open(self) -> bool:
        """True while packets are served."""

    @property
    def is_moving(self) -> bool:
        """True while the client is about to move to a websocket that has proved that it works."""

    def receive(self, packet: str | bytes) -> None:
        """Have a packet served after what came before it."""

    def take(self, packet: str | bytes) -> Coroutine[Any, Any, None] | None:
        """Serve a packet now. Return what it sets off, if anything is left to do."""

    async def ready_to_read(self) -> None:
        """Wait until it may be read."""

    def arrive(self, size: int) -> None:
        """Count bytes that have come and are no message yet; fewer of them, if negative."""

    def park(self) -> None:
        """Count the large packets that wait to be served."""

    def may_receive(self) -> bool:
        """Tell whether there is room for more of a message; if not, it tries again when there is."""

    def settle(self) -> None:
        """Hear that no part of a message waits for room any more."""

    async def room_to_receive(self) -> None:
        """Wait until there is room for more of a message."""

    def drained(self) -> None:
        """Hear that a polling client has come for everything that waited."""

    def end(self, reason: str) -> None:
        """End the connection, once what came before has been served."""

    def lost(self, reason: str) -> None:
        """End the connection: the transport is gone."""

    def fail(self, reason: str) -> None:
        """End the connection: the client broke the protocol."""

    def fail_after(self, reason: str) -> None:
        """Fail, once what came before has been served."""

    def fail_of_size(self) -> None:
        """Fail, because a message is too long."""

    def say_too_long(self, limit: int | None = None) -> None:
        """Write to the log that a message is too long. ``limit``: what it was measured by, if not by today's."""

    def uses(self, transport: object) -> bool:
        """Return whether this is the transport in use."""

    def without_transport(self) -> None:
        """Let go of the websocket, which has ended."""
