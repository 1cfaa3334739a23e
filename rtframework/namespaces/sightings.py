"""Times at which users and devices were there last: noted in the server's store, in the background."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Coroutine
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from ..logs import ThrottledLog

if TYPE_CHECKING:
    from ..protocols import KeyValueStore

log: Final = logging.getLogger("rtframework.namespace")

_not_written: Final = ThrottledLog(
    log,
    logging.ERROR,
    "it cannot be written when users and devices were seen: it is tried again",
    period=60.0,
)
_too_many: Final = ThrottledLog(
    log,
    logging.WARNING,
    "it is not remembered when some users and devices were seen: the store was away for too long",
    period=60.0,
)

_AT_ONCE: Final = 100
"""Times that are written together."""
_MOST: Final = 10_000
"""Times that wait for the store; beyond, the oldest are given up."""
_AGAIN: Final = 5.0
"""Seconds until a time that could not be written is written again."""


class Sightings:
    """The times of one server's store.

    ``at_once``: keeps a value without waiting and returns true, if the store is in memory. ``clock``: returns seconds
    since the epoch.
    """

    def __init__(
        self,
        store: Callable[[], KeyValueStore],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        at_once: Callable[[str, bytes, float], bool] = lambda *_: False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._spawn = spawn
        self._at_once = at_once
        self._clock = clock
        self._waiting: dict[str, tuple[bytes, float]] = {}
        """By key: the time as bytes, and the seconds for which it is kept."""
        self._is_writing = False
        self._timer: asyncio.TimerHandle | None = None

    def note(self, key: str, seconds: float) -> None:
        """Note that somebody is there now; ``seconds``: how long that is remembered."""
        value = int(self._clock() * 1000).to_bytes(8, "big")
        if self._at_once(key, value, seconds):
            return
        self._waiting.pop(key, None)
        self._waiting[key] = value, seconds
        if len(self._waiting) > _MOST:
            del self._waiting[next(iter(self._waiting))]
            _too_many()
        if not self._is_writing and self._timer is None:
            self._is_writing = True
            self._spawn(self._write())

    async def find(self, key: str) -> float | None:
        """Return the time, in seconds since the epoch, at which somebody was there last; ``None``: it is not known.

        Raises :class:`~rtframework.ClusterUnavailable`.
        """
        waiting = self._waiting.get(key)
        value = await self._store().get(key) if waiting is None else waiting[0]
        return None if value is None else int.from_bytes(value, "big") / 1000

    def stop(self) -> None:
        """Stop: what could not be written is lost."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._waiting.clear()
        self._is_writing = False

    async def _write(self) -> None:
        store = self._store()
        try:
            while self._waiting:
                batch = list(islice(self._waiting.items(), _AT_ONCE))
                await asyncio.gather(*(store.set(key, *item) for key, item in batch))
                for key, item in batch:
                    if self._waiting.get(key) is item:  # not noted again meanwhile
                        del self._waiting[key]
        except Exception as error:  # noqa: BLE001 - whatever a store raises, it is tried again
            _not_written(error=error)
            self._timer = asyncio.get_running_loop().call_later(_AGAIN, self._write_again)
        finally:
            self._is_writing = False

    def _write_again(self) -> None:
        self._timer = None
        if self._waiting and not self._is_writing:
            self._is_writing = True
            self._spawn(self._write())


def key_of_user(nsp: str, room: str) -> str:
    """Return the key of a user in a namespace, by the name under which that is counted. ``room``: the user's."""
    return f"seen:{_digest(nsp, room)}"


def key_of_device(nsp: str, room: str, id: str) -> str:
    """Return the key of a device of a user. ``room``: the user's, ``""`` for a client without one."""
    return f"device:{_digest(nsp, room, id)}"


def _digest(*texts: str) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for text in texts:
        data = text.encode(errors="surrogatepass")
        digest.update(b"%d:" % len(data))
        digest.update(data)
    return digest.hexdigest()
