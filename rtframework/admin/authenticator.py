"""Who is let in to the Admin UI."""

from __future__ import annotations

import asyncio
import logging
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ..exceptions import ConnectionRefused
from ..logs import ThrottledLog
from .login_throttle import LoginThrottle
from .sessions import Sessions

if TYPE_CHECKING:
    from ..types import Handshake
    from .credentials import Credentials

log: Final = logging.getLogger("rtframework.admin")

_wrong: Final = ThrottledLog(log, logging.WARNING, "a wrong name or password for the Admin UI from %s")
_too_many: Final = ThrottledLog(log, logging.WARNING, "too many attempts to log in to the Admin UI from %s")

DELAY: Final = 1.0
"""Seconds after which a wrong password is answered."""

_REFUSAL: Final = "invalid credentials"
"""The words that the UI knows and translates."""


@dataclass(frozen=True, slots=True)
class Admin:
    """Somebody who was let in: ``socket.user`` in the Admin UI's namespace."""

    name: str
    session_id: str | None = field(default=None, repr=False, compare=False)
    """A new session, which the UI is to remember."""


class AdminAuthenticator:
    """An authenticator: by the session id that the UI was given before, or by name and password.

    Without credentials everybody is let in.
    """

    __slots__ = ("_attempts", "_credentials", "_name", "_sessions")

    def __init__(self, name: str, credentials: Credentials | None) -> None:
        self._name = name
        self._credentials = credentials
        self._sessions = Sessions()
        self._attempts = LoginThrottle()

    async def authenticate(self, handshake: Handshake) -> Admin:
        """Raises :class:`~rtframework.ConnectionRefused`: after a while, or for too many attempts at once."""
        if self._credentials is None:
            return Admin("")
        auth, address = handshake.auth, handshake.address
        if auth.get("sessionId") in self._sessions:
            return Admin(self._name)
        if auth.get("password") is None:  # the page was loaded: it will ask the user when this is refused
            raise ConnectionRefused(_REFUSAL)
        wait = self._attempts.begin(address)
        if wait:
            _too_many(address, extra={"address": address})
            raise ConnectionRefused("too many attempts", {"code": "too_many_attempts", "retryAfter": math.ceil(wait)})
        if not await self._credentials.match(auth.get("username"), auth["password"]):
            _wrong(address, extra={"address": address})
            await asyncio.sleep(DELAY)
            raise ConnectionRefused(_REFUSAL)
        self._attempts.forgive(address)
        log.info("a login to the Admin UI from %s", address, extra={"address": address})
        return Admin(self._name, self._sessions.new())
