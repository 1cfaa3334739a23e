"""What a gateway says by itself: frames that are in its own form already, and belong to no namespace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


class OwnFrames:
    """Frames for one gateway: a pong, a receipt, an error. ``form`` is what its transport writes, of ``size`` bytes."""

    __slots__ = ("_form", "droppable", "size")

    websocket = b""
    polling = ""
    compress = True
    offset: str | None = None
    entry: str | None = None

    def __init__(self, form: Any, size: int, *, droppable: bool = False) -> None:
        self._form = form
        self.size = size
        self.droppable = droppable

    def deflated(self, window: int, threshold: int, level: int) -> bytes:
        """Return nothing: these frames are not for clients of Socket.IO."""
        return b""

    def form(self, key: object, make: Callable[[Sequence[str | bytes]], Any]) -> Any:
        """Return the form that was given."""
        return self._form
