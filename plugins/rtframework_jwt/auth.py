"""``JWTAuth``: verifies a token's signature and claims, and makes a user of the claims."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final, TypeAlias

import jwt

from rtframework.authenticators import TokenDetails, TokenSources, refusal, tell_of_token
from rtframework.concurrency import maybe_await
from rtframework.exceptions import ConfigurationError, ConnectionRefused
from rtframework.types import Handshake, Identity

from .keys import UnfitKey, check_algorithms, prepare

KeyLookup: TypeAlias = Callable[[str | None, Mapping[str, Any]], Any | Awaitable[Any]]
"""``(kid, header) -> key``, plain or async. Returns ``None`` or raises ``LookupError`` for an unknown key."""

# Header fields that name or carry a key are under the control of the token's maker (RFC 8725, section 3.10).
_UNTRUSTED_HEADERS: Final = frozenset({"jku", "jwk", "x5u", "x5c"})
# Three parts in base64url (RFC 7515, section 7.1); some issuers pad them.
_COMPACT: Final = re.compile(r"(?:[A-Za-z0-9_-]+={0,2}\.){2}[A-Za-z0-9_-]*={0,2}")


class JWTAuth:
    """Authenticates clients by a JSON Web Token that is signed with a known key and meant for this server.

    - ``key``: a secret (HS256 …: ``str`` or ``bytes``, at least as long as the digest), a public key (PEM or an
      object of the package cryptography), a ``jwt.PyJWK``, or a function ``(kid, header) -> key``, plain or async,
      that finds the key by the token's ``kid`` (``None`` if it has none). The function gets the token's header only,
      without the fields that name or carry a key: claims are not trusted before the signature is verified.
    - ``algorithms``: the accepted algorithms; never taken from the token. ``none``, and HMAC together with public-key
      algorithms, are refused.
    - ``audience``, ``issuer``: one or several values, one of which the token must name. A token that names an audience
      is refused if ``audience`` is not given; ``iss`` is checked only if ``issuer`` is given.
    - ``leeway``: seconds by which clocks may differ, for ``exp``, ``nbf`` and ``iat``.
    - ``require``: claims that the token must have. ``require=()`` accepts tokens without ``exp``, which never expire;
      an ``exp`` that is there is still checked.
    - ``sources``: the places of the token in a request, see :class:`~rtframework.authenticators.TokenSources`.
    - ``identity``: ``(claims) -> user``, plain or async; a user of ``None`` is refused with ``unknown_user``. The
      default makes an :class:`~rtframework.Identity` with ``id`` = ``sub`` (then required), ``name`` = ``name`` or else
      ``sub``, ``roles`` = ``roles`` (a list of strings, or one string with spaces) and all claims. ``scope`` does not
      become roles: it lists what a program may do for the user, not what the user is.
    - ``refresh_before``: seconds before ``exp`` at which a client is asked for a new token, by an event
      ``"refresh_token"``; without one it loses its connection when the token has run out. ``None``: a connection
      outlives its token. ``refresh_grace``: seconds that it has for the answer at least.

    Raises :class:`~rtframework.ConfigurationError` for invalid arguments. Clients are refused with
    :class:`~rtframework.ConnectionRefused` whose ``data`` has a ``code``: ``missing``, ``malformed``,
    ``bad_algorithm``, ``unknown_key``, ``bad_signature``, ``expired``, ``not_yet_valid``, ``bad_audience``,
    ``bad_issuer``, ``missing_claim`` and ``invalid_claim`` (both with the ``claim``), ``unknown_user``.

    Any other exception of a key lookup, or a key that cannot be used, is the server's fault: the framework logs the
    exception and the client gets no details. Neither tokens nor keys are logged or shown by ``repr``.

    Example::

        io = Server(auth=JWTAuth(key=os.environ["JWT_KEY"], algorithms=["HS256"], audience="chat"))
    """

    __slots__ = (
        "_algorithms",
        "_audience",
        "_identity",
        "_issuer",
        "_keys",
        "_leeway",
        "_lookup",
        "_refresh_before",
        "_refresh_grace",
        "_require",
        "_sources",
    )

    def __init__(
        self,
        *,
        key: Any | KeyLookup,
        algorithms: Collection[str],
        audience: str | Collection[str] | None = None,
        issuer: str | Collection[str] | None = None,
        leeway: float = 0.0,
        require: Collection[str] = ("exp",),
        sources: TokenSources | None = None,
        identity: Callable[[Mapping[str, Any]], Any] | None = None,
        refresh_before: float | None = 30.0,
        refresh_grace: float = 15.0,
    ) -> None:
        self._algorithms = check_algorithms(algorithms)
        self._lookup: KeyLookup | None = key if callable(key) else None
        self._keys: dict[str, Any] = {}
        if self._lookup is None:
            problem = None
            try:
                self._keys = {algorithm: prepare(key, algorithm) for algorithm in self._algorithms}
            except UnfitKey as error:
                problem = str(error)
            if problem is not None:
                raise ConfigurationError(f"JWTAuth: {problem}")
        self._audience = _names("audience", audience)
        self._issuer = _names("issuer", issuer)
        if isinstance(leeway, bool) or not isinstance(leeway, int | float) or not 0 <= leeway < math.inf:
            raise ConfigurationError("leeway is a number of seconds, 0 or more")
        self._leeway = leeway
        if refresh_before is not None:
            _check_seconds("refresh_before", refresh_before)
        _check_seconds("refresh_grace", refresh_grace)
        self._refresh_before = refresh_before
        self._refresh_grace = refresh_grace
        if isinstance(require, str) or not all(isinstance(claim, str) for claim in require):
            raise ConfigurationError('require is a list of claims: require=["exp", "sub"]')
        self._require = list(require)
        self._sources = sources if sources is not None else TokenSources()
        self._identity = identity if identity is not None else _identity

    def __repr__(self) -> str:
        return f"JWTAuth(key=<hidden>, algorithms={list(self._algorithms)}, sources={self._sources!r})"

    async def authenticate(self, handshake: Handshake) -> Any:
        """Verify the token and return the user that ``identity`` makes of its claims.

        Raises :class:`~rtframework.ConnectionRefused`.
        """
        token = self._sources.find(handshake)
        header = _header(token)
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise refusal("bad_algorithm", "The token is signed with an algorithm that is not accepted")
        key = self._keys[algorithm] if self._lookup is None else await self._find_key(self._lookup, header, algorithm)
        claims = self._verify(token, key, algorithm)
        _check_times(claims, time.time(), self._leeway)
        user = await maybe_await(self._identity(claims))
        if user is None:
            raise refusal("unknown_user", "The token is good, but its user is not known")
        tell_of_token(self._details(claims))
        return user

    def _details(self, claims: Mapping[str, Any]) -> TokenDetails:
        """Tell what the server has to know of a token whose claims are verified."""
        expires_at, id = claims.get("exp"), claims.get("jti")
        return TokenDetails(
            id=id if isinstance(id, str) else None,
            issued_at=claims.get("iat"),
            expires_at=None if expires_at is None else expires_at + self._leeway,
            refresh_before=self._refresh_before,
            refresh_grace=self._refresh_grace,
            key=self._sources.auth or "token",
        )

    async def _find_key(self, lookup: KeyLookup, header: Mapping[str, Any], algorithm: str) -> Any:
        key = None
        try:
            shown = {name: value for name, value in header.items() if name not in _UNTRUSTED_HEADERS}
            key = await maybe_await(lookup(header.get("kid"), shown))
        except LookupError:
            key = None
        if key is None:
            raise refusal("unknown_key", "The token is signed with an unknown key")
        problem = None
        try:
            return prepare(key, algorithm)
        except UnfitKey as error:
            problem = str(error)
        if any(_fits(key, other) for other in self._algorithms):
            raise refusal("bad_algorithm", "The token is signed with an algorithm that is not the key's")
        raise ConfigurationError(f"the key lookup of JWTAuth: {problem}")

    def _verify(self, token: str, key: Any, algorithm: str) -> dict[str, Any]:
        try:
            return jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self._audience,
                issuer=self._issuer,
                # The times are checked below: PyJWT reports a time that is not a number as an invalid token.
                options={"require": self._require, "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
        except jwt.PyJWTError as error:
            refused = _refusal_for(error)
        except RecursionError:
            refused = refusal("malformed", "The token is no JSON Web Token")
        # Raised here, outside of the except clause, so that PyJWT's exception is not its __context__.
        raise refused


def _check_seconds(option: str, seconds: object) -> None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= 3600:
        raise ConfigurationError(f"{option} is a number of seconds, from 0 to 3600")


def _names(option: str, value: str | Collection[str] | None) -> list[str] | None:
    if value is None:
        return None
    names = [value] if isinstance(value, str) else list(value)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ConfigurationError(f"{option} is a string or several, none of them empty; leave it out to name none")
    return names


def _header(token: str) -> dict[str, Any]:
    if _COMPACT.fullmatch(token):
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, RecursionError):
            header = None
        # A token may mark extensions as critical; none is supported here (RFC 7515, section 4.1.11).
        if header is not None and "crit" not in header and "b64" not in header:
            return header
    raise refusal("malformed", "The token is no JSON Web Token")


def _fits(key: Any, algorithm: str) -> bool:
    try:
        prepare(key, algorithm)
    except UnfitKey:
        return False
    return True


def _refusal_for(error: jwt.PyJWTError) -> ConnectionRefused:
    if isinstance(error, jwt.MissingRequiredClaimError):
        return _missing_claim(error.claim)
    if isinstance(error, jwt.InvalidSignatureError):
        return refusal("bad_signature", "The token's signature is wrong")
    if isinstance(error, jwt.InvalidAlgorithmError):
        return refusal("bad_algorithm", "The token is signed with an algorithm that is not accepted")
    if isinstance(error, jwt.InvalidAudienceError):
        return refusal("bad_audience", "The token is meant for another audience")
    if isinstance(error, jwt.InvalidIssuerError):
        return refusal("bad_issuer", "The token comes from another issuer")
    if isinstance(error, jwt.exceptions.InvalidSubjectError):
        return _invalid_claim("sub")
    if isinstance(error, jwt.exceptions.InvalidJTIError):
        return _invalid_claim("jti")
    return refusal("malformed", "The token is no JSON Web Token")


def _missing_claim(claim: str) -> ConnectionRefused:
    return refusal("missing_claim", f"The token lacks the claim {claim}", claim=claim)


def _invalid_claim(claim: str) -> ConnectionRefused:
    return refusal("invalid_claim", f"The token's claim {claim} makes no sense", claim=claim)


def _check_times(claims: Mapping[str, Any], now: float, leeway: float) -> None:
    """Check ``exp``, ``nbf`` and ``iat`` (RFC 7519, sections 4.1.4 to 4.1.6); ``now`` and ``leeway`` in seconds."""
    for claim in ("exp", "nbf", "iat"):
        if claim in claims:
            moment = claims[claim]
            if isinstance(moment, bool) or not isinstance(moment, int | float) or not _is_finite(moment):
                raise _invalid_claim(claim)
    if "exp" in claims and claims["exp"] <= now - leeway:
        raise refusal("expired", "The token has expired")
    if any(claim in claims and claims[claim] > now + leeway for claim in ("nbf", "iat")):
        raise refusal("not_yet_valid", "The token is not valid yet")


def _is_finite(moment: float) -> bool:
    """Tell whether a time is one: Python's JSON reads Infinity, which would never expire, and integers of any size."""
    try:
        return math.isfinite(moment)
    except OverflowError:
        return False


def _identity(claims: Mapping[str, Any]) -> Identity:
    subject = claims.get("sub")
    if subject is None:
        raise _missing_claim("sub")
    if not isinstance(subject, str) or not subject:
        raise _invalid_claim("sub")
    name = claims.get("name")
    roles = claims.get("roles", ())
    if isinstance(roles, str):
        roles = roles.split()
    if roles is None:
        roles = ()
    if not isinstance(roles, list | tuple) or not all(isinstance(role, str) for role in roles):
        raise _invalid_claim("roles")
    return Identity(
        id=subject,
        name=name if isinstance(name, str) and name else subject,
        roles=frozenset(roles),
        claims=claims,
    )
