"""Which algorithms and keys may be used, decided before any token is looked at."""

from __future__ import annotations

import base64
import functools
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from rtframework.exceptions import ConfigurationError
from rtframework_jwt.keys import UnfitKey, check_algorithms, prepare


@functools.cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@functools.cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def oct_jwk(secret: bytes, algorithm: str) -> jwt.PyJWK:
    """A secret as a key set has it."""
    text = base64.urlsafe_b64encode(secret).rstrip(b"=").decode()
    return jwt.PyJWK({"kty": "oct", "k": text, "alg": algorithm})


# -- algorithms


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["HS256"], ("HS256",)),
        (["HS512", "HS256", "HS512"], ("HS512", "HS256")),
        (("RS256", "ES256", "EdDSA"), ("RS256", "ES256", "EdDSA")),
        ({"ES256": 1}, ("ES256",)),
    ],
)
def test_algorithms_are_taken_once_each_and_in_order(given: Any, names: tuple[str, ...]) -> None:
    """A program could not say them as it has them."""
    assert check_algorithms(given) == names


@pytest.mark.parametrize("name", ["none", "None", "NONE", None, 5])
def test_an_algorithm_that_proves_nothing_is_refused(name: Any) -> None:
    """Everybody could sign as anybody: an unsigned token would be taken (RFC 8725, section 2.1)."""
    with pytest.raises(ConfigurationError, match="is no algorithm that proves anything"):
        check_algorithms(["HS256", name])


@pytest.mark.parametrize("algorithm", ["RS256", "PS512", "ES256", "EdDSA"])
@pytest.mark.parametrize("order", [1, -1])
def test_secrets_and_public_keys_are_not_mixed(algorithm: str, order: int) -> None:
    """A public key, which everybody may know, would do as the secret of an HMAC (RFC 8725, section 2.1)."""
    with pytest.raises(ConfigurationError, match="cannot be mixed"):
        check_algorithms(["HS256", algorithm][::order])


def test_without_cryptography_its_algorithms_are_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first token would be refused, and nobody know why."""

    def lacking(name: str) -> None:
        raise NotImplementedError

    monkeypatch.setattr("jwt.get_algorithm_by_name", lacking)
    with pytest.raises(ConfigurationError, match=r'pip install "rtframework\[crypto\]"'):
        check_algorithms(["RS256"])
    with pytest.raises(ConfigurationError, match="PyJWT knows no algorithm 'XX256'"):
        check_algorithms(["XX256"])


@pytest.mark.parametrize(
    ("given", "says"), [("HS256", r'algorithms=\["HS256"\]'), ([], "needs to know the algorithms")]
)
def test_a_list_is_a_list(given: Any, says: str) -> None:
    """The letters of a name would be taken for names; or nobody be let in."""
    with pytest.raises(ConfigurationError, match=says):
        check_algorithms(given)


# -- keys


@pytest.mark.parametrize(("algorithm", "least"), [("HS256", 32), ("HS384", 48), ("HS512", 64)])
def test_a_secret_is_as_long_as_its_hash(algorithm: str, least: int) -> None:
    """A short secret can be guessed from one token, without asking the server (RFC 7518, section 3.2)."""
    assert prepare("x" * least, algorithm) == b"x" * least
    for short in ("x" * (least - 1), b"x" * (least - 1), "", oct_jwk(b"x" * (least - 1), algorithm)):
        with pytest.raises(UnfitKey):
            prepare(short, algorithm)


@pytest.mark.parametrize("form", [bytes, bytearray, memoryview, lambda secret: secret.decode()])
def test_a_secret_may_come_in_any_form(form: Callable[[bytes], Any]) -> None:
    """A secret that was read from a file would have to be converted."""
    assert prepare(form(b"x" * 40), "HS256") == b"x" * 40


def test_a_key_of_a_key_set_is_for_its_own_algorithm() -> None:
    """A key that is meant for one purpose would be used for another."""
    assert prepare(oct_jwk(b"x" * 64, "HS256"), "HS256") == b"x" * 64
    with pytest.raises(UnfitKey, match="the JWK is for HS256, not HS512"):
        prepare(oct_jwk(b"x" * 64, "HS256"), "HS512")


def test_of_a_private_key_the_public_part_is_used() -> None:
    """A server that only checks tokens would hold what makes them."""
    for key, algorithm in ((rsa_key(), "RS256"), (ec_key(), "ES256")):
        prepared = prepare(key, algorithm)
        assert not hasattr(prepared, "private_numbers")
        assert prepared.public_numbers() == key.public_key().public_numbers()
        assert prepare(pem(key), algorithm).public_numbers() == prepared.public_numbers()


@pytest.mark.parametrize(
    ("curve", "algorithm", "fits"),
    [
        (ec.SECP256R1, "ES256", True),
        (ec.SECP256R1, "ES384", False),
        (ec.SECP384R1, "ES384", True),
        (ec.SECP384R1, "ES256", False),
        (ec.SECP521R1, "ES512", True),
        (ec.SECP256K1, "ES256K", True),
        (ec.SECP256K1, "ES256", False),
    ],
)
def test_each_algorithm_has_its_curve(curve: Any, algorithm: str, fits: bool) -> None:
    """Tokens would be checked on a curve that nobody has chosen (RFC 7518, section 3.4; RFC 8812, section 3.2)."""
    key = ec.generate_private_key(curve()).public_key()
    if fits:
        assert prepare(key, algorithm) is key
    else:
        with pytest.raises(UnfitKey):
            prepare(key, algorithm)


def test_a_short_rsa_key_is_refused() -> None:
    """A key that can be broken would be taken (RFC 7518, section 3.3)."""
    for algorithm in ("RS256", "PS256"):
        with pytest.raises(UnfitKey, match="at least 2048 bits, this one has 1024"):
            prepare(rsa_key(1024), algorithm)


SECRET = "this-is-the-secret-that-nobody-may-see"


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----", "RS256"),
        (f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----", "HS256"),
        (SECRET[:20], "HS256"),
        (SECRET, "ES256"),
        (SECRET.encode(), "EdDSA"),
        (None, "HS256"),
        (5, "HS256"),
        ([SECRET], "RS256"),
    ],
)
def test_what_is_said_of_an_unfit_key_holds_nothing_of_it(key: Any, algorithm: str) -> None:
    """A secret would stand in the log of a server that does not start."""
    with pytest.raises(UnfitKey) as caught:
        prepare(key, algorithm)
    assert SECRET[:10] not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
