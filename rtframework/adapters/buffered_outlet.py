"""A buffer of frames for a client that is not connected to the namespace yet."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..types import DisconnectReason

if TYPE_CHECKING:
    from ..protocols import Connection, Frames


class BufferedOutlet:
    """Holds frames, in order, until the client is connected to the namespace; discarded when the client is refused.

    Volatile frames are dropped. When more than ``limit`` bytes wait, the connection is closed ("slow consumer").
    """

    __slots__ = ("_connection", "_frames", "_limit", "_size")

    def __init__(self, connection: Connection, limit: int) -> None:
        self._connection = connection
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
        """Send the frames that are held: the client is connected."""
        frames, self._frames = self._frames, []
        for each in frames:
            self._connection.send(each)
