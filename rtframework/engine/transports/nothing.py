"""The transport of a connection whose own has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ...protocols import Frames


class NoTransport:
    """Takes everything, and sends nothing."""

    __slots__ = ("name",)

    abandoned: Final = False
    writable: Final = False

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
