"""What the parts of the engine need of each other, where it is less than all that they are."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from ..protocols import Connection, Frames


class MessageHandler(Protocol):
    """Where a connection takes its messages, and the news of its end."""

    def receive(self, data: str | bytes) -> Coroutine[Any, Any, None] | None:
        """Handle a message. Return what it sets off, if that is more than could be done at once."""

    def ended(self, reason: str) -> None:
        """Hear that the connection takes nothing more. Called once."""


class ClientConnection(Connection, Protocol):
    """What a client of Socket.IO needs of its connection: Engine.IO's, or one of any other protocol."""

    def keep(self) -> None:
        """Never close the connection for having joined no namespace: the client has joined one."""

    def fail(self, reason: str) -> None:
        """Close the connection at once, because the client broke the protocol; drop what waits."""


class Sink(Protocol):
    """A transport, as an outbox sees it."""

    @property
    def writable(self) -> bool:
        """Whether it would take frames at once, with nothing of the past still waiting in it."""

    def write(self, frames: list[Frames]) -> bool:
        """Take frames, in order. True when all were taken.

        If not, those that were taken are removed from the list, and the rest waits for the next ``Outbox.flush``.
        """

    def buffered(self) -> int:
        """Count the bytes that were taken and have not yet left the process."""
