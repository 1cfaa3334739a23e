"""A buffer of frames for a client that cannot get them yet: it is not let in, or something else has to come first."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..types import DisconnectReason

if TYPE_CHECKING:
    from ..protocols import Connection, Frames, Outlet


class BufferedOutlet:
    """Holds frames, in order, until the client may get them; discarded when the client is refused.

    ``below``: where they go then, the connection by default; it may be another buffer. Volatile frames are dropped.
    When more than ``limit`` bytes wait, the connection is closed ("slow consumer").
    """

    __slots__ = ("_connection", "_frames", "_limit", "_size", "below")

    def __init__(self, connection: Connection, limit: int, below: Outlet | None = None) -> None:
        self._connection = connection
        self.below: Outlet = connection if below is None else below
        self._frames: list[Frames] = []
        self._limit = limit
        self._size = 0

    def send(self, frames: Frames, *, volatile: bool = False) -> None:
        """Hold the frames; drop them if they are volatile."""
        if volatile:
            self._connection.count_dropped("volatile", 1)
            return
        if self._size and self._size + frames.size > self._limit:
            self._connection.count_dropped("not_admitted", len(self._frames) + 1)
            self._frames.clear()
            # Later, not now: a broadcast may be looping over the members of a room at this moment.
            asyncio.get_running_loop().call_soon(self._connection.close, DisconnectReason.SLOW_CONSUMER)
            return
        self._size += frames.size
        self._frames.append(frames)

    def open(self) -> None:
        """Send the frames that are held."""
        frames, self._frames = self._frames, []
        self._size = 0
        for each in frames:
            self.below.send(each)
