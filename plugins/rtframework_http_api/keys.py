"""The keys of the API: who may do what."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, get_args

from rtframework.exceptions import ConfigurationError

Scope: TypeAlias = Literal["read", "emit", "kick", "history", "admin"]

SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)

ADMIN: Final[Scope] = "admin"
"""The scope that has all others in it."""

SHORTEST: Final = 32
"""Characters of a key, at least: nobody guesses 128 bits, however often he tries."""

_HOW_TO_MAKE: Final = 'python -c "import secrets; print(secrets.token_urlsafe(32))" makes one'


@dataclass(frozen=True, slots=True)
class APIKey:
    """A key of the HTTP API, and what it may do.

    ``secret``: what callers send, at least 32 printable characters of ASCII. ``scopes``: ``"read"``, ``"emit"``,
    ``"kick"``, ``"history"``; ``"admin"``, the default, is all of these, and the calls that need it. Raises
    :class:`~rtframework.ConfigurationError`.

    Example::

        keys = {"billing": APIKey(os.environ["BILLING_KEY"], scopes=("emit",))}
    """

    secret: str = field(repr=False)
    scopes: Sequence[Scope] | Set[Scope] = (ADMIN,)

    def __post_init__(self) -> None:
        secret = self.secret
        if not isinstance(secret, str):
            raise ConfigurationError(f"a key is a string, not of type {type(secret).__name__}")
        if len(secret) < SHORTEST:
            raise ConfigurationError(f"a key has {SHORTEST} characters or more, not {len(secret)}: {_HOW_TO_MAKE}")
        if len(set(secret)) < 8 or not secret.isascii() or not secret.isprintable() or " " in secret:
            raise ConfigurationError(f"a key is of random letters, digits and signs, without spaces: {_HOW_TO_MAKE}")
        if isinstance(self.scopes, str):
            raise ConfigurationError(f"scopes are several: write scopes=({self.scopes!r},)")
        unknown = [scope for scope in self.scopes if scope not in SCOPES]
        if unknown or not self.scopes:
            given = repr(unknown[0]) if unknown else "none"
            raise ConfigurationError(f"the scopes of a key are some of {', '.join(SCOPES)}, not {given}")

    def allows(self, scope: Scope) -> bool:
        """Tell whether the key may make calls of a scope."""
        return scope in self.scopes or ADMIN in self.scopes


class Keyring:
    """The keys by name. Only keyed hashes of the secrets are kept."""

    __slots__ = ("_digests", "_keys", "_salt")

    def __init__(self, keys: Mapping[str, APIKey]) -> None:
        self._salt = secrets.token_bytes(32)
        self._keys: dict[str, tuple[Scope, ...]] = {}
        self._digests: dict[str, bytes] = {}
        for name, key in keys.items():
            if not isinstance(name, str) or not name or not name.isprintable():
                raise ConfigurationError(f"a key has a name, which the audit log shows, not {name!r}")
            digest = self._digest(key.secret)
            if digest in self._digests.values():
                raise ConfigurationError(f"the key {name!r} is another one's: give each a secret of its own")
            self._digests[name] = digest
            self._keys[name] = tuple(key.scopes)

    def find(self, secret: str) -> str | None:
        """Return the name of the key with this secret. All are compared, each in constant time."""
        digest = self._digest(secret)
        found = None
        for name, each in self._digests.items():
            if hmac.compare_digest(digest, each):
                found = name
        return found

    def allows(self, name: str, scope: Scope) -> bool:
        """Tell whether a key may make calls of a scope."""
        scopes = self._keys[name]
        return scope in scopes or ADMIN in scopes

    def scopes(self, name: str) -> tuple[Scope, ...]:
        """Return the scopes of a key."""
        return self._keys[name]

    def _digest(self, secret: str) -> bytes:
        return hashlib.blake2b(secret.encode("utf-8", "surrogatepass"), key=self._salt, digest_size=32).digest()


def keys_of(key: object, keys: object) -> dict[str, APIKey]:
    """Return the keys that the options ``key`` and ``keys`` mean. Raises ``ConfigurationError`` if there is none."""
    if keys is not None and not isinstance(keys, Mapping):
        raise ConfigurationError(f'keys are secrets by name, keys={{"ci": secret}}, not {type(keys).__name__}')
    found = dict(keys or {})
    if key is not None:
        found.setdefault("default", key)
    if not found:
        raise ConfigurationError(f'the HTTP API needs a key: write key=secret or keys={{"ci": secret}}. {_HOW_TO_MAKE}')
    return {name: each if isinstance(each, APIKey) else APIKey(each) for name, each in found.items()}
