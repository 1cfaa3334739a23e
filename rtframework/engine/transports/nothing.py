"""In the place of a transport that has ended, and of a receiver that is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ...protocols import Frames


class NoTransport:
    """Takes everything, and sends nothing."""

    __slots__ = ("name",)

    abandoned: Final = False
    writable: Final = False
    received: Final = 0

    def __init__(self, name: str) -> None:
        self.name = name

    def buffered(self) -> int:
        """Count no bytes."""
        return 0

    def write(self, frames: list[Frames]) -> bool:
        """Take the frames, and drop them."""
        return True

    def release(self, frames: Frames) -> None:
        """Do nothing: nobody waits."""

    def close(self) -> None:
        """Do nothing: it is closed."""

    abort = close
    resume_reading = close


NO_WEBSOCKET: Final = NoTransport("websocket")
NO_POLLING: Final = NoTransport("polling")
UNHEARD_POLLING: Final = NoTransport("polling")
"""In its place when no GET waited for the client's own end."""


class Nobody:
    """The receiver of a websocket, or the handler of a connection, that has ended or has not begun."""

    __slots__ = ()

    def receive(self, packet: str | bytes) -> None:
        """Drop a packet, or a message."""

    def end(self, reason: str) -> None:
        """Do nothing: nobody is to be told of a websocket's end."""

    def ended(self, reason: str) -> None:
        """Do nothing: nobody is to be told of a connection's end."""


NOBODY: Final = Nobody()
