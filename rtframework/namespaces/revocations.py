"""Credentials that are not accepted any more: those of users that were thrown out, and tokens that were taken back."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..logs import ThrottledLog

log: Final = logging.getLogger("rtframework.namespace")

REVOKED: Final = "$revoked"
"""The event by which servers tell each other."""

MAX_REVOCATIONS: Final = 100_000
"""Entries of one server; the oldest goes for one more."""

DAY: Final = 86_400.0
"""Seconds for which an entry is kept at least: tokens that live longer are expected only once one was seen."""

_forgotten: Final = ThrottledLog(
    log,
    logging.WARNING,
    "more than %d revocations are kept: the oldest is forgotten, its tokens are accepted again",
)


@dataclass(frozen=True, slots=True)
class Revocation:
    """Credentials of ``key``, a room of the server's own, that were issued before a time; seconds since the epoch."""

    key: str
    before: float
    until: float
    """Time from which on it is not needed: the credentials have run out."""
    code: str
    """The ``data.code`` of the refusal."""

    def to_plain(self) -> dict[str, Any]:
        """Return what other servers are told."""
        return {"key": self.key, "before": self.before, "until": self.until, "code": self.code}

    @classmethod
    def of_plain(cls, told: object) -> Revocation | None:
        """Read what another server tells; ``None`` if it makes no sense."""
        match told:
            case {
                "key": str(key),
                "before": int() | float() as before,
                "until": int() | float() as until,
                "code": str(code),
            } if before == before and until == until:  # no NaN
                return cls(key, before, until, code)
        return None


class Revocations:
    """What one server knows of them: told by its program and by other servers. In memory, and bounded."""

    __slots__ = ("_clock", "_entries", "_longest")

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._entries: dict[str, Revocation] = {}
        self._longest = DAY

    def __len__(self) -> int:
        return len(self._entries)

    def note_lifetime(self, seconds: float) -> None:
        """Note that there are tokens which live as long as that."""
        self._longest = max(self._longest, seconds)

    def make(self, key: str, code: str) -> Revocation:
        """Make an entry for credentials that were issued until now."""
        now = self._clock()
        return Revocation(key, now, now + self._longest, code)

    def add(self, revocation: Revocation) -> None:
        """Refuse credentials from now on. What was refused already stays refused."""
        known = self._entries.pop(revocation.key, None)
        if known is not None and known.before > revocation.before:
            revocation = known
        now = self._clock()
        if revocation.until <= now:
            return
        if len(self._entries) >= MAX_REVOCATIONS:
            self._entries = {key: each for key, each in self._entries.items() if each.until > now}
        if len(self._entries) >= MAX_REVOCATIONS:
            del self._entries[next(iter(self._entries))]
            _forgotten(MAX_REVOCATIONS, extra={"limit": MAX_REVOCATIONS})
        self._entries[revocation.key] = revocation

    def find(self, keys: Iterable[str], issued_at: float | None) -> str | None:
        """Return the code with which a client is refused, if it is. ``keys``: the rooms of its user and its token.

        Tokens name whole seconds, so one that was issued in the second of the revocation is accepted. Credentials that
        do not tell when they were issued are refused.
        """
        if not self._entries:
            return None
        for key in keys:
            found = self._entries.get(key)
            if found is None:
                continue
            if found.until <= self._clock():
                del self._entries[key]
            elif issued_at is None or issued_at < int(found.before):
                return found.code
        return None

    def serve(self, told: Mapping[str, Any]) -> None:
        """Take over what another server tells. What makes no sense is passed over."""
        revocation = Revocation.of_plain(told)
        if revocation is not None:
            self.add(revocation)
