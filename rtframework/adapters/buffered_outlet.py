"""Where frames wait for a client that is not let in yet."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..types import DisconnectReason

if TYPE_CHECKING:
    from ..protocols import Connection, Frames


class BufferedOutlet:
    """Holds frames, in order, until the client is let in; dropped with it when the client is refused.

    Volatile frames are not held. When more than ``limit`` bytes wait, the connection is closed ("slow consumer").
    """

    __slots__ = ("_connection", "_frames", "_limit", "_size")

    def __init__(self, connection: Connection, limit: int) -> None:
        self._connection = connection
        self._frames: list[Frames] = []
        self._limit = limit
        self._size = 0

    def send(self, frames: Frames, *, volatile: bool = False) -> None:
        """Keep the frames for later."""
        if volatile:
            self._connection.count_dropped("volatile", 1)
            return
        if self._size and self._size + frames.size > self._limit:
            self._connection.count_dropped("not_admitted", len(self._frames) + 1)
            self._frames.clear()
            # Not now: whoever is broadcasting at this moment goes through the members of a room.
            asyncio.get_running_loop().call_soon(self._connection.close, DisconnectReason.SLOW_CONSUMER)
            return
        self._size += frames.size
        self._frames.append(frames)

    def open(self) -> None:
        """The client is in: send what has waited."""
        frames, self._frames = self._frames, []
        for each in frames:
            self._connection.send(each)
