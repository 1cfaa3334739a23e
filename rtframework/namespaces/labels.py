"""Names under which statistics count events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..counters import UNKNOWN
from ..packets import event_key

if TYPE_CHECKING:
    from .socket import Socket


def label_of(socket: Socket, event: str | int) -> str:
    """Return the name under which an event is counted: its own if it has a handler, else ``UNKNOWN``.

    An integer has the label of the string, as it has its handlers.
    """
    return event_key(event) if event in socket.namespace._listening.handlers or socket.listeners(event) else UNKNOWN
