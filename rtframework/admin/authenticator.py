"""Authentication of the users of the Admin UI."""

from __future__ import annotations

import asyncio
import logging
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ..exceptions import ConnectionRefused
from ..logs import ThrottledLog
from .login_throttle import PATIENCE, LoginThrottle
from .sessions import Sessions

if TYPE_CHECKING:
    from ..types import Handshake
    from .credentials import Credentials

log: Final = logging.getLogger("rtframework.admin")

_wrong: Final = ThrottledLog(log, logging.WARNING, "a wrong name or password for the Admin UI from %s")
_too_many: Final = ThrottledLog(log, logging.WARNING, "too many attempts to log in to the Admin UI from %s")

DELAY: Final = 1.0
"""Seconds to wait before a wrong password is refused."""

_REFUSAL: Final = "invalid credentials"
"""The message that the UI recognizes and translates."""


@dataclass(frozen=True, slots=True)
class Admin:
    """A user of the Admin UI: ``socket.user`` in its namespace."""

    name: str
    session_id: str | None = field(default=None, repr=False, compare=False)
    """The id of a new session for the UI to store; ``None`` if the login used an id."""

    @property
    def id(self) -> str | None:
        """The name, which tells the user's sessions from those of others; ``None`` without a login."""
        return self.name or None


class AdminAuthenticator:
    """Authenticates by the session id of an earlier login, or by name and password.

    Without credentials, every client is accepted.
    """

    __slots__ = ("_attempts", "_credentials", "_name", "_sessions")

    def __init__(self, name: str, credentials: Credentials | None) -> None:
        self._name = name
        self._credentials = credentials
        self._sessions = Sessions()
        self._attempts = LoginThrottle()

    async def authenticate(self, handshake: Handshake) -> Admin:
        """Return the user.

        Raises :class:`~rtframework.ConnectionRefused`: after ``DELAY`` seconds for a wrong name or password, at once
        for a missing password. After too many attempts it waits, for a turn within ``PATIENCE`` seconds; if there is
        none, it refuses at once.
        """
        if self._credentials is None:
            return Admin("")
        auth, address = handshake.auth, handshake.address
        if auth.get("sessionId") in self._sessions:
            return Admin(self._name)
        if auth.get("password") is None:  # the page has just been loaded: after a refusal it asks for the password
            raise ConnectionRefused(_REFUSAL)
        wait = self._attempts.begin(address)
        if wait > PATIENCE:
            _too_many(address, extra={"address": address})
            raise ConnectionRefused("too many attempts", {"code": "too_many_attempts", "retryAfter": math.ceil(wait)})
        if wait:
            await asyncio.sleep(wait)
        if not await self._credentials.match(auth.get("username"), auth["password"]):
            _wrong(address, extra={"address": address})
            await asyncio.sleep(DELAY)
            raise ConnectionRefused(_REFUSAL)
        self._attempts.forgive(address)
        log.info("a login to the Admin UI from %s", address, extra={"address": address})
        return Admin(self._name, self._sessions.new())
