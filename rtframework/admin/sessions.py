"""Sessions of logins, so that a page that is reloaded need not ask for the password."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from typing import Any, Final

LIFETIME: Final = 86_400.0
"""Seconds that a session is valid after the login."""
MAX_SESSIONS: Final = 1_000
_MAX_LENGTH: Final = 128


class Sessions:
    """Session ids in the memory of this process, valid for a day; beyond ``MAX_SESSIONS``, the oldest are dropped."""

    __slots__ = ("_clock", "_ends", "_key")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Ids are stored as keyed digests, so that the time of a look-up reveals nothing about them.
        self._key = secrets.token_bytes(32)
        self._ends: dict[bytes, float] = {}

    def new(self) -> str:
        """Make a session and return its id, which is a secret: it logs in without a password."""
        while len(self._ends) >= MAX_SESSIONS:
            del self._ends[next(iter(self._ends))]
        session_id = secrets.token_urlsafe(24)
        self._ends[self._digest(session_id)] = self._clock() + LIFETIME
        return session_id

    def __contains__(self, session_id: Any) -> bool:
        if not isinstance(session_id, str) or not 0 < len(session_id) <= _MAX_LENGTH:
            return False
        digest = self._digest(session_id)
        end = self._ends.get(digest)
        if end is not None and end <= self._clock():
            del self._ends[digest]
            end = None
        return end is not None

    def _digest(self, session_id: str) -> bytes:
        return hashlib.blake2b(session_id.encode("utf-8", "surrogatepass"), key=self._key, digest_size=32).digest()
