"""Authentication by token: the places of a token in a request, and a table of tokens for tests and examples."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from .exceptions import ConfigurationError, ConnectionRefused
from .types import Handshake

if TYPE_CHECKING:
    from .protocols import Authenticator

MAX_TOKEN_LENGTH: Final = 8192
"""Maximum length of a token, in bytes. A longer one is refused as malformed before anything is computed from it."""


@dataclass(frozen=True, slots=True)
class TokenDetails:
    """What an authenticator knows of the token that it has accepted, see :func:`tell_of_token`."""

    id: str | None = None
    """The token's own id (``jti`` of a JSON Web Token, RFC 7519, section 4.1.7); public, and not the token."""
    issued_at: float | None = None
    """Time at which it was issued, in seconds since the epoch."""
    expires_at: float | None = None
    """Time from which on it is not accepted, in seconds since the epoch."""
    refresh_before: float | None = None
    """Seconds before ``expires_at`` at which the client is asked for a new token; ``None``: the connection outlives its
    token."""
    refresh_grace: float = 15.0
    """Seconds that the client has for its answer at least, also if its token has run out meanwhile."""
    proof: str | None = None
    """A secret that lets the client in again when it comes back with it, see :class:`~rtframework.Tickets`."""
    key: str = "token"
    """The key of ``auth`` under which a new token is put that the client sends as a string."""


_token: Final[ContextVar[list[TokenDetails] | None]] = ContextVar("token", default=None)


def tell_of_token(details: TokenDetails) -> None:
    """Tell the server of the token that a client is let in by: an authenticator calls it before it returns the user.

    ``JWTAuth`` does. From then on the server can ask a client that was thrown out for a token that was issued later.
    Elsewhere than in ``authenticate`` it does nothing.

    Example::

        tell_of_token(TokenDetails(issued_at=1_700_000_000))
    """
    told = _token.get()
    if told is not None:
        told.append(details)


async def authenticate(authenticator: Authenticator, handshake: Handshake) -> tuple[Any, TokenDetails | None]:
    """Ask an authenticator. Return the user, and what the authenticator has told of its token."""
    told: list[TokenDetails] = []
    before = _token.set(told)
    try:
        user = await authenticator.authenticate(handshake)
    finally:
        _token.reset(before)
    return user, told[-1] if told else None


def refusal(code: str, message: str, **details: str) -> ConnectionRefused:
    """Make the exception that refuses a client with a code: its ``err.data`` is ``{"code": code, **details}``.

    For authenticators with codes like those of the shipped ones. Neither ``message`` nor ``details`` may reveal
    anything of the token.

    Example::

        raise refusal("unknown_token", "Unknown token")
    """
    return ConnectionRefused(message, {"code": code, **details})


@dataclass(frozen=True, slots=True)
class TokenSources:
    """The places of a token in a request, searched in the order of the fields; the first place with a token decides.

    - ``auth``: the key in the client's ``auth`` object, ``None`` to switch it off. The safest place: only scripts of
      a page that may read the token can put it there. JS: ``io({ auth: { token } })``.
    - ``header``: ``Authorization: Bearer <token>``. For clients other than browsers: a page cannot set headers of a
      websocket. Other schemes, e.g. ``Basic`` for a proxy, are ignored.
    - ``cookie``: the name of a cookie. A browser sends cookies even if *another* site opens the connection, so a cookie
      is not accepted in a request whose ``Origin`` is another host, unless ``cross_site_cookie`` is set. Set that only
      together with ``cors_allowed_origins`` that names the origins; never with ``"*"``.
    - ``query``: the name of a query parameter. URLs end up in access logs, also those of proxies, and in the browser's
      history: use short-lived tokens if you must.

    Only ``auth`` and ``header`` are on by default. A JS ``null`` and an empty string count as no token.

    Example::

        StaticTokenAuth(table, sources=TokenSources(cookie="session"))
    """

    auth: str | None = "token"
    header: bool = True
    cookie: str | None = None
    query: str | None = None
    cross_site_cookie: bool = False

    def find(self, handshake: Handshake) -> str:
        """Return the client's token: not empty, at most 8192 bytes.

        Raises :class:`~rtframework.ConnectionRefused` with the code ``missing`` or ``malformed``.
        """
        if self.auth is not None:
            token = handshake.auth.get(self.auth)
            if token is not None and token != "":
                return _checked(token)
        if self.header:
            scheme, _, credentials = _header(handshake, "authorization").strip().partition(" ")
            if scheme.lower() == "bearer":
                credentials = credentials.strip()
                if not credentials or any(character.isspace() for character in credentials):
                    raise refusal("malformed", "The Authorization header holds no bearer token")
                return _checked(credentials)
        if self.cookie is not None and (token := handshake.cookies.get(self.cookie)):
            if handshake.xdomain and not self.cross_site_cookie:
                raise refusal("missing", "A cookie is not taken from another site")
            return _checked(token)
        if self.query is not None and (token := handshake.query.get(self.query)):
            return _checked(token)
        raise refusal("missing", "A token is required")


class StaticTokenAuth:
    """Authenticates clients by a fixed table of tokens: for tests, examples and a few machines.

    ``tokens`` maps each token (a string of 1 to 8192 bytes) to its user: an :class:`~rtframework.Identity` or any
    other object but ``None``. Only digests of the tokens are stored. A client is refused with the code ``missing``,
    ``malformed`` or ``unknown_token`` in ``err.data.code``. Raises :class:`~rtframework.ConfigurationError` for an
    invalid table.

    Example::

        io = Server(auth=StaticTokenAuth({"secret-a": Identity("1", name="Ada")}))
    """

    __slots__ = ("_key", "_sources", "_users")

    def __init__(self, tokens: Mapping[str, Any], *, sources: TokenSources | None = None) -> None:
        # Tokens are looked up by a keyed digest, so the time does not reveal how much of a guessed token is right: the
        # digest of a guess cannot be predicted without the key.
        self._key = secrets.token_bytes(32)
        self._sources = sources if sources is not None else TokenSources()
        self._users: dict[bytes, Any] = {}
        for token, user in tokens.items():
            if not isinstance(token, str) or not 0 < len(_to_bytes(token)) <= MAX_TOKEN_LENGTH:
                raise ConfigurationError(f"a token is a string of 1 to {MAX_TOKEN_LENGTH} bytes")
            if user is None:
                raise ConfigurationError("a token's user may be any object but None, which means refused")
            self._users[self._digest(token)] = user

    def __repr__(self) -> str:
        return f"StaticTokenAuth(<{len(self._users)} tokens>, sources={self._sources!r})"

    async def authenticate(self, handshake: Handshake) -> Any:
        """Return the user of the client's token. Raises :class:`~rtframework.ConnectionRefused`."""
        user = self._users.get(self._digest(self._sources.find(handshake)))
        if user is None:
            raise refusal("unknown_token", "Unknown token")
        return user

    def _digest(self, token: str) -> bytes:
        return hashlib.blake2b(_to_bytes(token), key=self._key, digest_size=32).digest()


def _checked(token: Any) -> str:
    if not isinstance(token, str):
        raise refusal("malformed", "The token is not a string")
    if len(token) > MAX_TOKEN_LENGTH or len(_to_bytes(token)) > MAX_TOKEN_LENGTH:
        raise refusal("malformed", "The token is too long")
    return token


def _to_bytes(token: str) -> bytes:
    # A client may send half a surrogate pair, which plain UTF-8 does not encode.
    return token.encode("utf-8", "surrogatepass")


def _header(handshake: Handshake, name: str) -> str:
    value = handshake.headers.get(name)
    if value is None:
        # A mapping with case-sensitive keys, e.g. a dict in a test.
        value = next((text for key, text in handshake.headers.items() if key.lower() == name), "")
    return value
