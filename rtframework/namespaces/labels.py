"""Names under which statistics count events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..counters import UNKNOWN

if TYPE_CHECKING:
    from .socket import Socket


def label_of(socket: Socket, event: str) -> str:
    """What statistics call an event of this socket: its name if the program listens to it, else ``UNKNOWN``."""
    return event if event in socket.namespace._listening.handlers or socket.listeners(event) else UNKNOWN
