"""Counting what passes on a connection, for as long as somebody wants to know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from ..protocols import Frames, Meter
    from .connection import Connection, MessageHandler


class MeteredOutbox(Outbox):
    """An outbox that tells the meters of its cork what is put into it.

    An outbox becomes one, and an ordinary one again, by a change of its class: the ordinary one is not slower for it.
    """

    __slots__ = ()

    def put(self, frames: Frames, volatile: bool = False) -> None:
        """Add frames."""
        if not self.closed:
            for meter in self._cork.meters:
                meter.packets_out += 1
                meter.bytes_out += frames.size
        Outbox.put(self, frames, volatile)


class MeteredHandler:
    """Tells meters of each message, then hands it on."""

    __slots__ = ("_meters", "handler")

    def __init__(self, handler: MessageHandler, meters: tuple[Meter, ...]) -> None:
        self.handler = handler
        self._meters = meters

    def __call__(self, connection: Connection, data: str | bytes) -> Coroutine[Any, Any, None] | None:
        """A message came."""
        size = len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())
        for meter in self._meters:
            meter.packets_in += 1
            meter.bytes_in += size
        return self.handler(connection, data)
