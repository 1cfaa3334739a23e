"""Credentials that are not accepted any more: those of users that were thrown out, and tokens that were taken back."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from ..exceptions import ConfigurationError
from ..logs import ThrottledLog
from .own_rooms import EVERY_TOKEN, room_of_token, room_of_user

log: Final = logging.getLogger("rtframework.namespace")

REVOKED: Final = "$revoked"
"""The event by which servers tell each other."""

REVOCATIONS: Final = "$revocations"
"""The event by which a server that has started asks the others for what it has missed."""

TOKEN_REVOKED: Final = "token_revoked"
"""The code that refuses a client whose token was taken back."""

MOST_TOLD: Final = 10_000
"""Entries that one server tells another which has started; the latest."""

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

    def make(self, key: str, code: str, before: float | None = None) -> Revocation:
        """Make an entry for credentials that were issued before a time, in seconds since the epoch; by default now."""
        now = self._clock()
        return Revocation(key, now if before is None else before, now + self._longest, code)

    def make_for_token(self, key: str) -> Revocation:
        """Make an entry for one token, whenever it was issued."""
        until = self._clock() + self._longest
        return Revocation(key, until, until, TOKEN_REVOKED)

    def of_request(self, id: str | None, user: object, issued_before: float | None) -> Revocation:
        """Make an entry of what a program asks for. Raises ``ConfigurationError`` for what makes no sense."""
        if issued_before is not None and (
            isinstance(issued_before, bool)
            or not isinstance(issued_before, int | float)
            or not 0 <= issued_before < math.inf
        ):
            raise ConfigurationError(f"issued_before is a time in seconds since the epoch, not {issued_before!r}")
        if id is None:
            if user is None and issued_before is None:
                raise ConfigurationError("say which tokens: id=..., user=... or issued_before=...")
            key = EVERY_TOKEN if user is None else room_of_user(user)
            return self.make(key, TOKEN_REVOKED, issued_before)
        keys = room_of_token(id) if isinstance(id, str) and user is None and issued_before is None else ()
        for key in keys:
            return self.make_for_token(key)
        raise ConfigurationError("a token's id is a text that is not empty, and stands alone: revoke_tokens(id=...)")

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

    def tell(self) -> list[dict[str, Any]]:
        """Return what another server is told that has started."""
        now = self._clock()
        return [each.to_plain() for each in list(self._entries.values())[-MOST_TOLD:] if each.until > now]

    def serve(self, told: object) -> Revocation | None:
        """Take over what another server tells, and return it. What makes no sense is passed over."""
        revocation = Revocation.of_plain(told)
        if revocation is not None:
            self.add(revocation)
        return revocation
