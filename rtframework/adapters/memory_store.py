"""A store of small values in the memory of one process, each kept for a time."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ..exceptions import ConfigurationError
from ..logs import ThrottledLog

log: Final = logging.getLogger("rtframework.store")

_full: Final = ThrottledLog(
    log,
    logging.WARNING,
    "the store is full: values are discarded before their time is over; give it more room, see MemoryStore",
    period=60.0,
)

_OVERHEAD: Final = 300
"""Bytes that a value takes besides its key and itself, about."""


@dataclass(slots=True)
class _Value:
    data: bytes
    ends: float
    seconds: float


class ValueTable:
    """Values by key, without I/O: the oldest are discarded beyond so many of them, or so many bytes.

    ``clock``: returns the time in seconds, from any start.
    """

    def __init__(self, max_values: int, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.max_values = max_values
        self.max_bytes = max_bytes
        self.size = 0
        """Bytes of memory that the values take, about."""
        self.discarded = 0
        """Values that were discarded before their time was over."""
        self._clock = clock
        self._values: dict[str, _Value] = {}
        self._queues: dict[float, OrderedDict[str, None]] = {}
        """By the seconds that values are kept for: their keys, in the order in which their time is over.

        The first of an ordinary dict is found slowly where many before it were removed.
        """

    def __len__(self) -> int:
        """Count the values, those whose time is over and that are not forgotten yet among them."""
        return len(self._values)

    def get(self, key: str) -> bytes | None:
        """Return a value whose time is not over."""
        found = self._values.get(key)
        if found is None:
            return None
        if found.ends <= self._clock():
            self._remove(key, found)
            return None
        return found.data

    def set(self, key: str, value: bytes, seconds: float) -> None:
        """Keep a value."""
        before = self._values.get(key)
        if before is not None:
            self._remove(key, before)
        now = self._clock()
        self._values[key] = _Value(value, now + seconds, seconds)
        self._queues.setdefault(seconds, OrderedDict())[key] = None
        self.size += _size(key, value)
        self._trim(now)

    def add(self, key: str, value: bytes, seconds: float) -> bytes | None:
        """Keep a value if there is no other; return the other."""
        found = self.get(key)
        if found is not None and found != value:
            return found
        self.set(key, value, seconds)
        return None

    def replace(self, key: str, old: bytes, value: bytes, seconds: float) -> bool:
        """Keep a value in place of another."""
        if self.get(key) != old:
            return False
        self.set(key, value, seconds)
        return True

    def remove(self, key: str, old: bytes | None = None) -> bool:
        """Remove a value; ``old``: only this one."""
        found = self.get(key)
        if found is None or (old is not None and found != old):
            return False
        self._remove(key, self._values[key])
        return True

    def _trim(self, now: float) -> None:
        for queue in list(self._queues.values()):
            while queue:
                key = next(iter(queue))
                value = self._values[key]
                if value.ends > now:
                    break
                self._remove(key, value)
        while len(self._values) > self.max_values or (self.size > self.max_bytes and len(self._values) > 1):
            _, queue = max(self._queues.items(), key=lambda item: len(item[1]))
            key = next(iter(queue))
            self._remove(key, self._values[key])
            self.discarded += 1
            _full()

    def _remove(self, key: str, value: _Value) -> None:
        del self._values[key]
        self.size -= _size(key, value.data)
        queue = self._queues[value.seconds]
        del queue[key]
        if not queue:
            del self._queues[value.seconds]


def _size(key: str, value: bytes) -> int:
    return len(key) + len(value) + _OVERHEAD


class MemoryStore:
    """Keeps small values in the memory of this process: the store of a server that is alone, ``Server(store=...)``.

    Values are lost when the process ends. ``max_values``: how many there may be. ``max_bytes``: bytes of memory that
    they may take, about. Beyond either, the oldest are discarded before their time is over, and the log says so.
    ``clock``: returns the time in seconds, from any start.

    Example::

        io = Server(store=MemoryStore(max_values=1_000_000, max_bytes=512 * 1024 * 1024))
    """

    def __init__(
        self,
        *,
        max_values: int = 200_000,
        max_bytes: int = 64 * 1024 * 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for name, value in (("max_values", max_values), ("max_bytes", max_bytes)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigurationError(f"{name} is a whole number from 1, not {value!r}")
        self.table = ValueTable(max_values, max_bytes, clock)

    @property
    def discarded(self) -> int:
        """The number of values that were discarded before their time was over."""
        return self.table.discarded

    def __repr__(self) -> str:
        return f"<MemoryStore with {len(self.table)} value(s)>"

    async def get(self, key: str) -> bytes | None:
        """Return a value; ``None`` if there is none, or if its time is over."""
        return self.table.get(key)

    async def set(self, key: str, value: bytes, seconds: float) -> None:
        """Keep a value for so many seconds, whatever was there before."""
        self.table.set(key, value, seconds)

    async def add(self, key: str, value: bytes, seconds: float) -> bytes | None:
        """Keep a value if there is no other, and return ``None``; otherwise return the other."""
        return self.table.add(key, value, seconds)

    async def replace(self, key: str, old: bytes, value: bytes, seconds: float) -> bool:
        """Keep a value in place of another one. Return ``False``, and do nothing, if that is not there."""
        return self.table.replace(key, old, value, seconds)

    async def remove(self, key: str, old: bytes | None = None) -> bool:
        """Remove a value; ``old``: only this one. Return ``False``, and do nothing, if it is not there."""
        return self.table.remove(key, old)
