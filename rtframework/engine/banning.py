"""Bans of one server, which all workers of its port know."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from ..limits.bans import Bans

if TYPE_CHECKING:
    from .connection_table import ConnectionTable
    from .handover import Neighbours

_LIFTED: Final = 0.0
"""In the place of the seconds of a ban: there is none any more."""


class Banning:
    """Bans and lifts bans, here and at the other workers. ``table``: the connections, which are closed."""

    def __init__(self, table: ConnectionTable) -> None:
        self._table = table
        self._tell: Callable[[bytes], None] | None = None

    @property
    def _bans(self) -> Bans:
        return self._table.guard.bans

    def join(self, neighbours: Neighbours, path: str) -> None:
        """Be one of several workers from now on. ``path``: of the server, by which the others know it."""
        self._tell = neighbours.share(f"bans {path}", self._take, lambda: _encode(self._bans.all()))

    def ban(self, address: str, seconds: float) -> None:
        """Ban an address for a time, and close its connections."""
        key = self._bans.add(address, seconds)
        # Not now: one of them may be the client that is about to be refused, and its answer comes first.
        asyncio.get_running_loop().call_soon(self._table.close_all_of, key)
        self._told({key: seconds})

    def unban(self, address: str) -> bool:
        """Lift the ban of an address. Return ``False`` if there is none here."""
        lifted = self._bans.lift(address)
        self._told({address: _LIFTED})
        return lifted

    def _told(self, changes: Mapping[str, float]) -> None:
        if self._tell is not None:
            self._tell(_encode(changes))

    def _take(self, data: bytes) -> None:
        """Do as another worker does."""
        for address, seconds in json.loads(data).items():
            if seconds == _LIFTED:
                self._bans.lift(address)
            else:
                self._table.close_all_of(self._bans.add(address, seconds))


def _encode(changes: Mapping[str, float]) -> bytes:
    return json.dumps(changes, separators=(",", ":")).encode()
