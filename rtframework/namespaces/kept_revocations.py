"""What is not accepted any more, written down in the store of all servers, so that it outlives them."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..exceptions import ClusterUnavailable
from ..logs import ThrottledLog
from .revocations import MOST_TOLD, Revocation

if TYPE_CHECKING:
    from ..protocols import KeyValueStore

log: Final = logging.getLogger("rtframework.namespace")

_not_read: Final = ThrottledLog(
    log,
    logging.ERROR,
    "the store cannot tell which credentials are not accepted any more: those that other servers do not tell of are "
    "accepted until it can",
    period=60.0,
)

KEY: Final = "revocations"
"""The value that has all of them, the oldest first."""

_ATTEMPTS: Final = 100
"""Times that a change is tried, while other servers change the value as well."""

_AGAIN: Final = 5.0
"""Seconds until the store is read again that could not be read."""


class KeptRevocations:
    """The latest 10,000 of them, until the credentials have run out. ``clock``: seconds since the epoch."""

    __slots__ = ("_clock", "_store")

    def __init__(self, store: KeyValueStore, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    async def add(self, *revocations: Revocation) -> None:
        """Write some down. Raises ``ClusterUnavailable`` if that cannot be done."""
        for _ in range(_ATTEMPTS):
            before = await self._store.get(KEY)
            now = self._clock()
            kept = {each.key: each for each in self._read(before)}
            for each in revocations:
                known = kept.pop(each.key, None)
                kept[each.key] = known if known is not None and known.before > each.before else each
            left = [each for each in kept.values() if each.until > now][-MOST_TOLD:]
            if not left:
                return
            value = json.dumps([each.to_plain() for each in left], separators=(",", ":")).encode()
            seconds = max(each.until for each in left) - now
            if before is None:
                if await self._store.add(KEY, value, seconds) is None:
                    return
            elif await self._store.replace(KEY, before, value, seconds):
                return
        raise ClusterUnavailable(f"a list that all servers change was not changed in {_ATTEMPTS} attempts")

    async def all(self) -> list[Revocation]:
        """Return those that are written down. Raises ``ClusterUnavailable``."""
        return self._read(await self._store.get(KEY))

    async def wait_for_all(self) -> list[Revocation]:
        """Return those that are written down, as soon as the store can be read."""
        while True:
            try:
                return await self.all()
            except ClusterUnavailable as error:
                _not_read(error=error)
            await asyncio.sleep(_AGAIN)

    def _read(self, value: bytes | None) -> list[Revocation]:
        """Read the value. Entries that make no sense are passed over; the next change drops them."""
        if value is None:
            return []
        try:
            told = json.loads(value)
        except ValueError as error:
            _not_read(error=error)
            return []
        found = map(Revocation.of_plain, told if isinstance(told, list) else ())
        return [each for each in found if each is not None]
