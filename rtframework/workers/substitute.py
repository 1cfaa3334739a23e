"""Accepting in the place of workers that are not there: what comes to their listeners goes to the others."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

from .passing import Passing
from .shared_table import SharedTable, SlotState

_AGAIN: Final = 0.1
"""Seconds until the next try when no worker takes a connection."""
_AT_ONCE: Final = 64
"""Connections that are accepted in one turn of the event loop."""


class Substitute:
    """Accepts connections for places without a worker, and passes them on to the worker with the fewest clients.

    ``places``: the listeners of each. ``backlog``: how many connections may wait to be accepted.
    """

    def __init__(
        self, places: Sequence[Sequence[socket.socket]], directory: Path, table: SharedTable, backlog: int
    ) -> None:
        self._places = places
        self._table = table
        self._backlog = backlog
        self._passing = Passing(directory, -1, table)
        self._passing.listen(self._pass_on)  # of those that a worker has died with
        self._passing.start()
        self._serving: set[int] = set()
        self._homeless: list[tuple[socket.socket, bytes]] = []
        """Connections that no worker takes, because all have just died, and what has been read of them."""
        self._timer: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Accept no more."""
        self.serve(())
        self._passing.stop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for sock, _ in self._homeless:
            sock.close()
        self._homeless.clear()

    def serve(self, places: Collection[int]) -> None:
        """Accept for these places, and for no others."""
        loop = asyncio.get_running_loop()
        for place in self._serving - set(places):
            for sock in self._places[place]:
                loop.remove_reader(sock.fileno())
        for place in set(places) - self._serving:
            for sock in self._places[place]:
                sock.setblocking(False)
                sock.listen(self._backlog)  # the first worker of the place may not have done so yet
                loop.add_reader(sock.fileno(), self._accept, sock)
        self._serving = set(places)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                sock, _ = listener.accept()
            except OSError:  # none waits, or no descriptor is free
                return
            self._pass_on(sock, b"")

    def _pass_on(self, sock: socket.socket, data: bytes, **_: Any) -> None:
        """Pass a connection on to the least busy worker; to another one if that has gone, or to one that comes."""
        table = self._table
        for slot in sorted(table.workers(SlotState.SERVING), key=table.clients):
            if self._passing.pass_on(slot, sock.fileno(), data):
                sock.close()
                return
        self._homeless.append((sock, data))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_AGAIN, self._try_again)

    def _try_again(self) -> None:
        self._timer = None
        homeless, self._homeless = self._homeless, []
        for sock, data in homeless:
            self._pass_on(sock, data)
