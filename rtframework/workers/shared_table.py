"""Memory that all workers of a group share: which worker is there, how many clients it has, and who has a room.

A worker writes its own part alone, and each value is one aligned word, so that nothing needs a lock: who reads a value
gets it as it was before a change or as it is after it.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Iterable
from enum import IntEnum
from tempfile import TemporaryFile
from typing import Final
from zlib import crc32

SLOTS: Final = 64
"""Workers that there may be: the first character of a session id names one."""

_BUCKETS: Final = 65_536
"""Counters of rooms that a worker has; rooms of the same hash share one."""

_WORD: Final = 4
_STATES: Final = 0
_CLIENTS: Final = SLOTS
_HEAD: Final = SLOTS
"""Position of the head, in words of 8 bytes: after the numbers of clients."""
_HEADER: Final = 1024
"""Words before the counters of rooms."""

_TAKEN: Final = _HEADER + SLOTS * _BUCKETS
"""Words before the numbers of connections taken: for each receiver, those of the senders, -1 (no worker) to 63."""

SIZE: Final = _WORD * (_TAKEN + SLOTS * (SLOTS + 1))
"""Bytes of the table; those that nobody has written take no memory."""


class SlotState(IntEnum):
    """What a slot of the table stands for."""

    EMPTY = 0
    """No worker is there."""
    STARTING = 1
    """A worker that serves nobody yet."""
    SERVING = 2
    DRAINING = 3
    """A worker that takes no new clients, and serves those that it has."""


def bucket_of(nsp: str, room: str | None = None) -> int:
    """Return the number of the counter for a room, or for a whole namespace."""
    return crc32(nsp.encode() if room is None else f"{nsp}\0{room}".encode(errors="surrogatepass")) & (_BUCKETS - 1)


def make_file() -> int:
    """Make the file of a new table, which ends with the last process that has it open. Return its descriptor."""
    if sys.platform == "linux":
        fd = os.memfd_create("rtframework-workers")
    else:
        with TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, SIZE)
    return fd


class SharedTable:
    """The table, in the memory of one process. ``fd``: its file, which may be closed afterwards."""

    __slots__ = ("_longs", "_map", "_words")

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, SIZE)
        self._words = memoryview(self._map).cast("I")
        self._longs = memoryview(self._map).cast("Q")

    def close(self) -> None:
        """Let go of the memory."""
        self._words.release()
        self._longs.release()
        self._map.close()

    def clear(self, slot: int) -> None:
        """Forget all that a worker has written."""
        start = _HEADER + slot * _BUCKETS
        self._words[_STATES + slot] = self._words[_CLIENTS + slot] = 0
        self._words[start : start + _BUCKETS] = memoryview(bytes(_WORD * _BUCKETS)).cast("I")

    @property
    def head(self) -> int:
        """The number of the last message that the broker has put in order."""
        return self._longs[_HEAD]

    @head.setter
    def head(self, number: int) -> None:
        self._longs[_HEAD] = number

    # --- workers and their clients ------------------------------------------------------------------------------------

    def state(self, slot: int) -> SlotState:
        """Return the state of a slot."""
        return SlotState(self._words[_STATES + slot])

    def set_state(self, slot: int, state: SlotState) -> None:
        """Write the state of a slot."""
        self._words[_STATES + slot] = state

    def workers(self, *states: SlotState) -> list[int]:
        """Return the slots in one of these states, or in any but ``EMPTY``."""
        wanted = states or (SlotState.STARTING, SlotState.SERVING, SlotState.DRAINING)
        return [slot for slot, state in enumerate(self._words[_STATES : _STATES + SLOTS]) if state in wanted]

    def states(self) -> bytes:
        """Return the states of all slots in one value, which changes when one of them does."""
        return self._words[_STATES : _STATES + SLOTS].tobytes()

    def clients(self, slot: int) -> int:
        """Return the number of connections of a worker."""
        return self._words[_CLIENTS + slot]

    def set_clients(self, slot: int, count: int) -> None:
        """Write the number of connections of a worker."""
        self._words[_CLIENTS + slot] = count

    # --- connections that are passed on -------------------------------------------------------------------------------

    def taken(self, sender: int, receiver: int) -> int:
        """Return how many connections a worker has taken from another, or, -1, from the supervisor; modulo 2**32.

        The number goes on with the next worker of the slot.
        """
        return self._words[_TAKEN + receiver * (SLOTS + 1) + sender + 1]

    def add_taken(self, sender: int, receiver: int) -> None:
        """Count a connection that a worker has taken."""
        word = _TAKEN + receiver * (SLOTS + 1) + sender + 1
        self._words[word] = (self._words[word] + 1) & 0xFFFF_FFFF

    # --- rooms --------------------------------------------------------------------------------------------------------

    def add(self, slot: int, bucket: int) -> None:
        """Count a room that a worker has now."""
        self._words[_HEADER + slot * _BUCKETS + bucket] += 1

    def remove(self, slot: int, bucket: int) -> None:
        """Count a room that a worker has no longer."""
        self._words[_HEADER + slot * _BUCKETS + bucket] -= 1

    def rooms(self, slot: int) -> memoryview[int]:
        """Return a live view of the counters of a worker; release it before :meth:`close`."""
        start = _HEADER + slot * _BUCKETS
        return self._words[start : start + _BUCKETS]

    def has(self, slot: int, buckets: Iterable[int]) -> bool:
        """Return whether a worker has one of these rooms; sometimes true for a room of the same hash."""
        words, start = self._words, _HEADER + slot * _BUCKETS
        return any(words[start + bucket] for bucket in buckets)
