"""An event that a client of the command line has received, by whichever protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Received:
    """An event of the server."""

    event: str | int
    args: list[Any]
    id: int | None
    """Id of the acknowledgement that the server requests; ``None`` if it requests none."""


@dataclass(slots=True)
class Place:
    """The place in a stream of server-sent events at which a client goes on when it comes back."""

    last_id: str = ""
    """The id of the last event received."""
    retry: float | None = None
    """Seconds after which to come back, if the server has said so."""
