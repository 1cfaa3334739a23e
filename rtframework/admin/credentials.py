"""The name and password for the Admin UI."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
from typing import Any, Final

from ..exceptions import ConfigurationError

_BCRYPT: Final = re.compile(r"\$2[abxy]?\$")
_BCRYPT_HASH: Final = re.compile(r"\$2[abxy]\$\d\d\$[./A-Za-z0-9]{53}")
_BCRYPT_READS: Final = 72
"""Bytes of a password that bcrypt uses; it ignores the rest."""
_AT_ONCE: Final = 2
"""Passwords hashed at the same time: bcrypt is slow by design, and any client can make the server compute it."""
_MAX_LENGTH: Final = 4096
"""A longer name or password (characters) is wrong before anything is computed from it."""


class Credentials:
    """Compares a client's name and password with the configured ones, in a time that reveals neither.

    ``password``: in plain text, or as a bcrypt hash, which needs the package ``bcrypt``.
    Raises :class:`~rtframework.ConfigurationError` for an empty name or password, and for a hash that cannot be used.
    """

    __slots__ = ("_at_once", "_digest_of_name", "_digest_of_password", "_hash", "_key")

    def __init__(self, username: str, password: str) -> None:
        for what, value in (("username", username), ("password", password)):
            if not isinstance(value, str) or not value:
                raise ConfigurationError(f"the Admin UI's {what} is a string that is not empty")
        self._key = secrets.token_bytes(32)
        self._digest_of_name = self._digest(username)
        self._digest_of_password = b""
        self._hash: bytes | None = None
        self._at_once: tuple[asyncio.AbstractEventLoop, asyncio.Semaphore] | None = None
        if _BCRYPT.match(password):
            if not _BCRYPT_HASH.fullmatch(password):
                raise ConfigurationError("the Admin UI's password begins as a bcrypt hash does, but is no valid one")
            _bcrypt()
            self._hash = password.encode()
        else:
            self._digest_of_password = self._digest(password)

    def __repr__(self) -> str:
        return "Credentials()"

    async def match(self, username: Any, password: Any) -> bool:
        """Tell whether name and password are right. Both are compared, even if the name is wrong."""
        if not isinstance(username, str) or not isinstance(password, str):
            return False
        if len(username) > _MAX_LENGTH or len(password) > _MAX_LENGTH:
            return False
        name_is_right = hmac.compare_digest(self._digest(username), self._digest_of_name)
        return await self._is_password(password) and name_is_right

    async def _is_password(self, password: str) -> bool:
        if self._hash is None:
            return hmac.compare_digest(self._digest(password), self._digest_of_password)
        given = _to_bytes(password)[:_BCRYPT_READS]
        if b"\0" in given:
            return False
        async with self._turn():
            right: bool = await asyncio.to_thread(_bcrypt().checkpw, given, self._hash)
            return right

    def _turn(self) -> asyncio.Semaphore:
        loop = asyncio.get_running_loop()
        if self._at_once is None or self._at_once[0] is not loop:  # a semaphore works in one event loop only
            self._at_once = loop, asyncio.Semaphore(_AT_ONCE)
        return self._at_once[1]

    def _digest(self, text: str) -> bytes:
        # All digests have the same length, so the time of a comparison does not reveal the length of the secret.
        return hashlib.blake2b(_to_bytes(text), key=self._key, digest_size=32).digest()


def _to_bytes(text: str) -> bytes:
    # A client may send half a surrogate pair, which plain UTF-8 does not encode.
    return text.encode("utf-8", "surrogatepass")


def _bcrypt() -> Any:
    try:
        import bcrypt
    except ImportError:
        raise ConfigurationError(
            "a bcrypt hash as the Admin UI's password needs the package bcrypt: pip install bcrypt"
        ) from None
    return bcrypt
