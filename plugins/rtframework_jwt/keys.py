"""Checks of algorithms and keys before any token is verified, and preparation of keys for PyJWT."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import jwt
from jwt.algorithms import requires_cryptography

from rtframework.exceptions import ConfigurationError

_HMAC_BYTES: Final = {"HS256": 32, "HS384": 48, "HS512": 64}
_RSA_BITS: Final = 2048
_CURVES: Final = {"ES256": "secp256r1", "ES256K": "secp256k1", "ES384": "secp384r1", "ES512": "secp521r1"}


class UnfitKey(Exception):
    """The key does not fit the algorithm. The message says why, and reveals nothing of the key."""


def check_algorithms(algorithms: Collection[str]) -> tuple[str, ...]:
    """Return the algorithms without duplicates. Raises :class:`~rtframework.ConfigurationError` if one is unusable."""
    if isinstance(algorithms, str):
        raise ConfigurationError(f'algorithms is a list of names: algorithms=["{algorithms}"]')
    names = tuple(dict.fromkeys(algorithms))
    if not names:
        raise ConfigurationError('JWTAuth needs to know the algorithms of its tokens, e.g. algorithms=["HS256"]')
    for name in names:
        if not isinstance(name, str) or name.lower() == "none":
            raise ConfigurationError(f"{name!r} is no algorithm that proves anything")
        try:
            jwt.get_algorithm_by_name(name)
        except NotImplementedError:
            if name in requires_cryptography:
                problem = f'{name} needs the package cryptography: pip install "rtframework[crypto]"'
            else:
                problem = f"PyJWT knows no algorithm {name!r}"
        else:
            continue
        raise ConfigurationError(problem)
    if len({_is_hmac(name) for name in names}) > 1:
        # With both kinds, an attacker could sign by HMAC with the public key, which is no secret.
        raise ConfigurationError(
            f"HMAC and public-key algorithms cannot be mixed ({', '.join(names)}): make one JWTAuth for each"
        )
    return names


def prepare(key: Any, algorithm: str) -> Any:
    """Return the key in the form that PyJWT verifies with. Raises :class:`UnfitKey`."""
    if key is None:
        raise UnfitKey("the key is None")
    if isinstance(key, jwt.PyJWK):
        if key.algorithm_name != algorithm:
            raise UnfitKey(f"the JWK is for {key.algorithm_name}, not {algorithm}")
        key = key.key
    if isinstance(key, bytearray | memoryview):
        key = bytes(key)
    problem = None
    try:
        key = jwt.get_algorithm_by_name(algorithm).prepare_key(key)
    except (jwt.PyJWTError, TypeError, ValueError) as error:
        # Only messages of PyJWT itself are shown: those of another library may quote the key.
        problem = str(error) if isinstance(error, jwt.PyJWTError) and _is_hmac(algorithm) else type(error).__name__
    if problem is not None:
        raise UnfitKey(f"this is no key for {algorithm} ({problem})")
    if _is_hmac(algorithm):
        length = _HMAC_BYTES[algorithm]
        if len(key) < length:
            raise UnfitKey(
                f"a key for {algorithm} has at least {length} bytes (RFC 7518, section 3.2), this one has {len(key)}; "
                f'python -c "import secrets; print(secrets.token_urlsafe({length}))" makes one'
            )
        return key
    if hasattr(key, "public_key"):
        key = key.public_key()
    if algorithm[:2] in ("RS", "PS") and key.key_size < _RSA_BITS:
        raise UnfitKey(f"a key for {algorithm} has at least {_RSA_BITS} bits, this one has {key.key_size}")
    if algorithm in _CURVES and key.curve.name != _CURVES[algorithm]:
        raise UnfitKey(f"a key for {algorithm} is on the curve {_CURVES[algorithm]}, this one on {key.curve.name}")
    return key


def _is_hmac(algorithm: str) -> bool:
    return algorithm in _HMAC_BYTES
