"""JWTAuth: who is let in, and that each way to fail is told apart, without telling secrets."""

from __future__ import annotations

import base64
import functools
import json
import logging
import time
from collections.abc import Mapping
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from rtframework.authenticators import TokenDetails, TokenSources, authenticate
from rtframework.exceptions import ConfigurationError, ConnectionRefused
from rtframework.testing import AuthenticatorConformance
from rtframework.types import Handshake, Identity
from rtframework_jwt import JWTAuth
from tests.support.thorough import examples

KEY = "a-secret-of-at-least-thirty-two-bytes!"
OTHER_KEY = "another-secret-of-thirty-two-bytes-or-more"
HS256 = ["HS256"]


@functools.cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@functools.cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def claims(**changes: Any) -> dict[str, Any]:
    """Good claims, with some changed; ``None`` takes one away."""
    all_claims = {"sub": "42", "exp": time.time() + 60, **changes}
    return {name: value for name, value in all_claims.items() if value is not None}


def token(*, key: Any = KEY, algorithm: str = "HS256", headers: dict[str, Any] | None = None, **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm=algorithm, headers=headers)


def raw_token(header: Any, payload: Any = None, signature: bytes = b"signature") -> str:
    parts = [json.dumps(header).encode(), json.dumps(payload or claims()).encode(), signature]
    return b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts).decode()


def hs256(payload: bytes, header: dict[str, Any] | None = None) -> str:
    """A well signed token around any payload."""
    return jwt.PyJWS().encode(payload, KEY, algorithm="HS256", headers=header)


def by_auth(value: Any) -> Handshake:
    return Handshake(auth={"token": value})


async def refused(auth: JWTAuth, value: Any) -> dict[str, Any]:
    """The data of the refusal that a token gets."""
    with pytest.raises(ConnectionRefused) as caught:
        await auth.authenticate(by_auth(value))
    assert caught.value.__context__ is None
    data = caught.value.data
    assert isinstance(data, dict)
    return data


class TestConformance(AuthenticatorConformance):
    """The suite that every authenticator must pass, with an HMAC secret."""

    def authenticator(self) -> JWTAuth:
        return JWTAuth(key=KEY, algorithms=HS256, audience="chat", issuer="me", require=["exp", "sub"])

    def good(self) -> Handshake:
        return by_auth(token(aud="chat", iss="me"))

    def bad(self) -> Mapping[str, Handshake]:
        good: dict[str, Any] = {"aud": "chat", "iss": "me"}
        return {
            "nothing": Handshake(),
            "null": by_auth(None),
            "a number": by_auth(5),
            "rubbish": by_auth("rubbish"),
            "other key": by_auth(token(key=OTHER_KEY, **good)),
            "other algorithm": by_auth(token(key=KEY * 2, algorithm="HS512", **good)),
            "unsigned": by_auth(token(key=None, algorithm="none", **good)),
            "expired": by_auth(token(exp=1, **good)),
            "not yet": by_auth(token(nbf=time.time() + 60, **good)),
            "other audience": by_auth(token(aud="shop", iss="me")),
            "other issuer": by_auth(token(aud="chat", iss="you")),
            "no sub": by_auth(token(sub=None, **good)),
            "odd exp": by_auth(token(exp="soon", **good)),
            "odd sub": by_auth(hs256(json.dumps(claims(sub=5, **good)).encode())),
            "a header without token": Handshake(headers={"Authorization": "Bearer "}),
        }


class TestConformanceWithLookup(AuthenticatorConformance):
    """The suite again, with an async key lookup."""

    def authenticator(self) -> JWTAuth:
        async def lookup(kid: str | None, header: Mapping[str, Any]) -> Any:
            return {"one": rsa_key().public_key()}[kid or ""]

        return JWTAuth(key=lookup, algorithms=["RS256"])

    def good(self) -> Handshake:
        signed = token(key=rsa_key(), algorithm="RS256", headers={"kid": "one"})
        return Handshake(headers={"authorization": f"bearer {signed}"})

    def bad(self) -> Mapping[str, Handshake]:
        return {
            "other kid": by_auth(token(key=rsa_key(), algorithm="RS256", headers={"kid": "two"})),
            "no kid": by_auth(token(key=rsa_key(), algorithm="RS256")),
            "HMAC with the public key": by_auth(hs256(b"{}", {"kid": "one"})),
        }


# -- each way to fail has its code


@pytest.mark.parametrize(
    ("changes", "data"),
    [
        ({"exp": 1}, {"code": "expired"}),
        ({"nbf": 10**10}, {"code": "not_yet_valid"}),
        ({"iat": 10**10}, {"code": "not_yet_valid"}),
        ({"exp": None}, {"code": "missing_claim", "claim": "exp"}),
        ({"sub": None}, {"code": "missing_claim", "claim": "sub"}),
        ({"sub": ""}, {"code": "invalid_claim", "claim": "sub"}),
        ({"aud": "shop"}, {"code": "bad_audience"}),
        ({"aud": ["shop"]}, {"code": "bad_audience"}),
        ({"exp": "1"}, {"code": "invalid_claim", "claim": "exp"}),
        ({"exp": True}, {"code": "invalid_claim", "claim": "exp"}),
        ({"exp": float("inf")}, {"code": "invalid_claim", "claim": "exp"}),
        ({"nbf": "x"}, {"code": "invalid_claim", "claim": "nbf"}),
        ({"iat": []}, {"code": "invalid_claim", "claim": "iat"}),
        ({"jti": 5}, {"code": "invalid_claim", "claim": "jti"}),
        ({"roles": {"admin": True}}, {"code": "invalid_claim", "claim": "roles"}),
        ({"roles": [1]}, {"code": "invalid_claim", "claim": "roles"}),
    ],
)
async def test_each_bad_claim_has_its_code(changes: dict[str, Any], data: dict[str, str]) -> None:
    """A client's program knows whether to sign in again, to wait, or to complain to the issuer."""
    assert await refused(JWTAuth(key=KEY, algorithms=HS256), hs256(json.dumps(claims(**changes)).encode())) == data


@pytest.mark.parametrize(
    ("value", "code"),
    [
        pytest.param(None, "missing", id="none"),
        pytest.param("", "missing", id="empty"),
        pytest.param(17, "malformed", id="number"),
        pytest.param(["x"], "malformed", id="list"),
        pytest.param(b"bytes", "malformed", id="bytes"),
        pytest.param("x", "malformed", id="one part"),
        pytest.param("a.b.c", "malformed", id="three letters"),
        pytest.param("é.é.é", "malformed", id="not ascii"),
        pytest.param("\ud800", "malformed", id="surrogate"),
        pytest.param("x" * 8193, "malformed", id="too long"),
        pytest.param(raw_token([]), "malformed", id="header is a list"),
        pytest.param(raw_token({"alg": "HS256", "kid": 5}), "malformed", id="kid is a number"),
        pytest.param(raw_token({"alg": "HS256", "crit": ["x"]}), "malformed", id="critical header"),
        pytest.param(raw_token({"alg": "HS256", "b64": False, "crit": ["b64"]}), "malformed", id="b64"),
        pytest.param(
            base64.urlsafe_b64encode(b"[" * 6_000).decode().rstrip("=") + ".e30.e30", "malformed", id="nested header"
        ),
        pytest.param(hs256(b"[]"), "malformed", id="payload is a list"),
        pytest.param(hs256(b"not json"), "malformed", id="no json"),
        pytest.param(hs256(b"\xff\xfe"), "malformed", id="no utf-8"),
        pytest.param(hs256(b"[" * 6_000), "malformed", id="nested payload"),
        pytest.param(raw_token({"alg": "HS256"}), "bad_signature", id="wrong signature"),
        pytest.param(raw_token({"alg": "HS256"}, signature=b""), "bad_signature", id="no signature"),
        pytest.param(raw_token({"alg": "none"}, signature=b""), "bad_algorithm", id="none as algorithm"),
        pytest.param(raw_token({"alg": "HS512"}), "bad_algorithm", id="another algorithm"),
        pytest.param(raw_token({"alg": ["HS256"]}), "bad_algorithm", id="list of algorithms"),
        pytest.param(raw_token({"alg": None}), "bad_algorithm", id="null as algorithm"),
        pytest.param(raw_token({}), "bad_algorithm", id="no algorithm"),
    ],
)
async def test_each_bad_token_has_its_code(value: Any, code: str) -> None:
    """Whatever a client brings instead of a good token is refused with a word for it, never with a traceback."""
    assert await refused(JWTAuth(key=KEY, algorithms=HS256), value) == {"code": code}


@pytest.mark.parametrize(
    ("options", "changes", "data"),
    [
        ({"audience": "chat"}, {"aud": "shop"}, {"code": "bad_audience"}),
        ({"audience": "chat"}, {"aud": 5}, {"code": "bad_audience"}),
        ({"audience": "chat"}, {}, {"code": "missing_claim", "claim": "aud"}),
        ({"audience": ["chat", "talk"]}, {"aud": ["talk", "x"]}, None),
        ({"audience": "chat"}, {"aud": "chat"}, None),
        ({"issuer": "me"}, {"iss": "you"}, {"code": "bad_issuer"}),
        ({"issuer": "me"}, {"iss": ["me"]}, {"code": "bad_issuer"}),
        ({"issuer": ["me", "us"]}, {"iss": "m"}, {"code": "bad_issuer"}),
        ({"issuer": "me"}, {}, {"code": "missing_claim", "claim": "iss"}),
        ({"issuer": ["me", "us"]}, {"iss": "us"}, None),
        ({}, {"iss": "anybody"}, None),
        ({"require": ["team"]}, {}, {"code": "missing_claim", "claim": "team"}),
        ({"require": ()}, {"exp": None}, None),
        ({"require": ()}, {"exp": 1}, {"code": "expired"}),
    ],
)
async def test_audience_issuer_and_required_claims(
    options: dict[str, Any], changes: dict[str, Any], data: dict[str, str] | None
) -> None:
    """A token that was made for another service or by another issuer does not open this one."""
    auth = JWTAuth(key=KEY, algorithms=HS256, **options)
    value = hs256(json.dumps(claims(**changes)).encode())
    if data is None:
        assert (await auth.authenticate(by_auth(value))).id == "42"
    else:
        assert await refused(auth, value) == data


async def test_leeway_is_in_seconds_and_for_all_times() -> None:
    """Servers whose clocks differ by a little accept each other's tokens, and only by that little."""
    auth = JWTAuth(key=KEY, algorithms=HS256, leeway=30)
    now = time.time()
    for early_or_late in (token(exp=now - 20), token(nbf=now + 20), token(iat=now + 20)):
        assert await auth.authenticate(by_auth(early_or_late))
    assert (await refused(auth, token(exp=now - 40)))["code"] == "expired"
    assert (await refused(auth, token(nbf=now + 60)))["code"] == "not_yet_valid"
    assert (await refused(auth, token(iat=now + 60)))["code"] == "not_yet_valid"


# -- the user


async def test_claims_become_an_identity() -> None:
    """Handlers find the user's id, name and roles without knowing about tokens."""
    auth = JWTAuth(key=KEY, algorithms=HS256)
    user = await auth.authenticate(by_auth(token(name="Ada", roles=["admin", "staff"], scope="read", team="x")))
    assert isinstance(user, Identity)
    assert (user.id, user.name, user.roles) == ("42", "Ada", frozenset({"admin", "staff"}))
    assert user.claims["team"] == "x"
    bare = await auth.authenticate(by_auth(token(name=5)))
    assert (bare.id, bare.name, bare.roles) == ("42", "42", frozenset())
    assert (await auth.authenticate(by_auth(token(roles="admin staff")))).roles == {"admin", "staff"}


async def test_claims_become_what_the_program_makes_of_them() -> None:
    """A program that has a users table gets its own user objects, and can refuse who is not in it."""
    users = {"42": "Ada"}

    async def find(verified: Mapping[str, Any]) -> str | None:
        return users.get(verified["sub"])

    auth = JWTAuth(key=KEY, algorithms=HS256, identity=find)
    assert await auth.authenticate(by_auth(token())) == "Ada"
    assert await refused(auth, token(sub="43")) == {"code": "unknown_user"}
    plain = JWTAuth(key=KEY, algorithms=HS256, identity=lambda verified: verified["team"])
    assert await plain.authenticate(by_auth(token(sub=None, team="blue"))) == "blue"


# -- where the token is


async def test_each_source_can_be_switched() -> None:
    """A token is taken from where the program says, and from nowhere else."""
    value = token()
    places = {
        "auth": by_auth(value),
        "header": Handshake(headers={"Authorization": f"Bearer {value}"}),
        "cookie": Handshake(cookies={"session": value}),
        "query": Handshake(query={"access_token": value}),
    }
    switched: dict[str, TokenSources | None] = {
        "auth": TokenSources(header=False),
        "header": TokenSources(auth=None),
        "cookie": TokenSources(auth=None, header=False, cookie="session"),
        "query": TokenSources(auth=None, header=False, query="access_token"),
    }
    for on, sources in switched.items():
        auth = JWTAuth(key=KEY, algorithms=HS256, sources=sources)
        for place, handshake in places.items():
            if place == on:
                assert (await auth.authenticate(handshake)).id == "42"
            else:
                with pytest.raises(ConnectionRefused) as caught:
                    await auth.authenticate(handshake)
                assert caught.value.data == {"code": "missing"}


# -- keys


@pytest.mark.parametrize("form", ["object", "pem", "text", "private", "jwk"])
async def test_public_keys_in_every_form(form: str) -> None:
    """A key is taken as it comes: from a file, from a key set, or made by the program."""
    private = ec_key()
    key: Any = {
        "object": private.public_key(),
        "pem": pem(private),
        "text": pem(private).decode(),
        "private": private,
        "jwk": jwt.PyJWK(json.loads(jwt.algorithms.ECAlgorithm.to_jwk(private.public_key()))),
    }[form]
    signed = token(key=private, algorithm="ES256")
    auth = JWTAuth(key=key, algorithms=["ES256"])
    assert (await auth.authenticate(by_auth(signed))).id == "42"
    stranger = ec.generate_private_key(ec.SECP256R1())
    assert (await refused(auth, token(key=stranger, algorithm="ES256")))["code"] == "bad_signature"
    head, payload, signature = signed.split(".")
    assert (await refused(auth, f"{head}.{payload}.{signature[:20]}"))["code"] == "bad_signature"
    looked_up = JWTAuth(key=lambda kid, header: key, algorithms=["ES256"])
    assert (await looked_up.authenticate(by_auth(signed))).id == "42"


async def test_rsa_and_eddsa_and_longer_hmac() -> None:
    """Tokens of the usual identity providers are understood."""
    ed = ed25519.Ed25519PrivateKey.generate()
    for key, public, algorithm in (
        (rsa_key(), pem(rsa_key()), "RS256"),
        (rsa_key(), rsa_key(), "PS384"),
        (ed, ed.public_key(), "EdDSA"),
        (b"x" * 64, b"x" * 64, "HS512"),
    ):
        auth = JWTAuth(key=public, algorithms=[algorithm])
        assert (await auth.authenticate(by_auth(token(key=key, algorithm=algorithm)))).id == "42"


async def test_a_lookup_finds_the_key_by_kid() -> None:
    """Keys can be rotated: old and new tokens are valid side by side."""
    keys = {"old": KEY, "new": OTHER_KEY}
    seen: list[tuple[str | None, Mapping[str, Any]]] = []

    def lookup(kid: str | None, header: Mapping[str, Any]) -> str | None:
        seen.append((kid, header))
        return None if kid is None else keys[kid]

    auth = JWTAuth(key=lookup, algorithms=HS256)
    forged = {"kid": "new", "jku": "https://evil.example/keys", "x5u": "x", "jwk": {"kty": "oct"}, "x5c": ["x"]}
    assert (await auth.authenticate(by_auth(token(headers={"kid": "old"})))).id == "42"
    assert (await auth.authenticate(by_auth(token(key=OTHER_KEY, headers=forged)))).id == "42"
    assert seen == [
        ("old", {"alg": "HS256", "typ": "JWT", "kid": "old"}),
        ("new", {"alg": "HS256", "typ": "JWT", "kid": "new"}),
    ]
    assert (await refused(auth, token(headers={"kid": "new"})))["code"] == "bad_signature"
    assert (await refused(auth, token(headers={"kid": "lost"})))["code"] == "unknown_key"
    assert (await refused(auth, token()))["code"] == "unknown_key"


async def test_a_lookup_is_not_asked_about_rubbish() -> None:
    """A stranger cannot make the server fetch keys by sending tokens that could never be accepted."""

    def lookup(kid: str | None, header: Mapping[str, Any]) -> str:
        raise AssertionError("asked")

    auth = JWTAuth(key=lookup, algorithms=["RS256"])
    assert (await refused(auth, token(headers={"kid": "a"})))["code"] == "bad_algorithm"
    assert (await refused(auth, "a.b.c"))["code"] == "malformed"


async def test_a_token_cannot_choose_an_algorithm_for_a_key() -> None:
    """With several algorithms and keys, each key is used with its own algorithm only."""
    keys: dict[str | None, Any] = {"r": rsa_key().public_key(), "e": ec_key().public_key()}
    auth = JWTAuth(key=lambda kid, header: keys[kid], algorithms=["RS256", "ES256"])
    assert await auth.authenticate(by_auth(token(key=ec_key(), algorithm="ES256", headers={"kid": "e"})))
    crossed = token(key=ec_key(), algorithm="ES256", headers={"kid": "r"})
    assert await refused(auth, crossed) == {"code": "bad_algorithm"}


@pytest.mark.parametrize("key", ["short", b"", 5, "-----BEGIN PUBLIC KEY-----"])
async def test_a_lookup_that_returns_no_key_is_the_servers_fault(key: Any) -> None:
    """A wrong key in the program's store is found in its log, not guessed at from refused clients."""
    auth = JWTAuth(key=lambda kid, header: key, algorithms=HS256)
    with pytest.raises(ConfigurationError) as caught:
        await auth.authenticate(by_auth(token()))
    assert "BEGIN" not in str(caught.value)


async def test_a_lookup_that_fails_is_not_taken_for_a_bad_token() -> None:
    """When the key server is down, that is what the log says."""

    async def lookup(kid: str | None, header: Mapping[str, Any]) -> Any:
        raise ConnectionError("key server is down")

    with pytest.raises(ConnectionError):
        await JWTAuth(key=lookup, algorithms=HS256).authenticate(by_auth(token()))


# -- mistakes in the program


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"algorithms": []}, "algorithms"),
        ({"algorithms": "HS256"}, "list"),
        ({"algorithms": ["none"]}, "proves"),
        ({"algorithms": ["HS256", "None"]}, "proves"),
        ({"algorithms": ["HS257"]}, "HS257"),
        ({"algorithms": ["HS256", "RS256"]}, "mixed"),
        ({"algorithms": ["RS256", "HS256"], "key": lambda kid, header: None}, "mixed"),
        ({"key": "x" * 31}, "at least 32 bytes"),
        ({"key": "x" * 63, "algorithms": ["HS256", "HS512"]}, "at least 64 bytes"),
        ({"key": ""}, "key for HS256"),
        ({"key": None}, "None"),
        ({"key": 5}, "no key for HS256"),
        ({"key": KEY, "algorithms": ["RS256"]}, "no key for RS256"),
        ({"audience": ""}, "audience"),
        ({"audience": []}, "audience"),
        ({"issuer": [""]}, "issuer"),
        ({"leeway": -1}, "leeway"),
        ({"leeway": float("inf")}, "leeway"),
        ({"leeway": "1"}, "leeway"),
        ({"require": "exp"}, "require"),
    ],
)
def test_mistakes_are_found_at_construction(options: dict[str, Any], message: str) -> None:
    """A server that could be fooled, or that could let nobody in, does not start."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        JWTAuth(**{"key": KEY, "algorithms": HS256, **options})
    assert KEY not in str(caught.value)
    assert caught.value.__context__ is None


def test_keys_that_do_not_suit_the_algorithm_are_found_at_construction() -> None:
    """A public key is never the secret of an HMAC, and keys that are too weak are not used."""
    for key, algorithms, message in (
        (pem(rsa_key()), HS256, "asymmetric"),
        (pem(ec_key()), ["ES384"], "ES384"),
        (pem(ec_key()), ["RS256"], "RS256"),
        (rsa_key(1024).public_key(), ["RS256"], "2048 bits"),
        (rsa_key(), ["RS256", "ES256"], "ES256"),
        (jwt.PyJWK({"kty": "oct", "k": "eHh4", "alg": "HS256"}), ["HS512"], "HS256"),
        (jwt.PyJWK({"kty": "oct", "k": "eHh4", "alg": "HS256"}), ["HS256"], "32 bytes"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            JWTAuth(key=key, algorithms=algorithms)


def test_repr_hides_the_key() -> None:
    """An authenticator in a traceback or a log gives nothing away."""
    auth = JWTAuth(key=KEY, algorithms=HS256)
    assert KEY not in repr(auth)
    assert "HS256" in repr(auth)


# -- fuzz


@given(
    st.integers(0, 3),
    st.lists(st.tuples(st.integers(0, 200), st.characters(min_codepoint=33, max_codepoint=126)), max_size=3),
    st.text(max_size=30),
)
@settings(max_examples=examples(300))
async def test_damaged_tokens_are_refused(which: int, changes: list[tuple[int, str]], tail: str) -> None:
    """No change to a token lets anybody in or makes anything but a refusal."""
    good = hs256(b'{"sub":"42","exp":99999999999}', {"kid": "k"})
    value = [good, good[:-1], good + tail, tail + good][which]
    for at, character in changes:
        value = value[:at] + character + value[at + 1 :]
    auth = JWTAuth(key=KEY, algorithms=HS256)
    if value.rstrip("=") == good:  # padding is forgiven
        return
    assert (await refused(auth, value))["code"] in {"malformed", "bad_signature", "bad_algorithm"}


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
@pytest.mark.parametrize(
    "value",
    [
        "9" * 400,
        "-" + "9" * 400,
        "1" + "0" * 309,
        "1e400",
        "-1e400",
        "NaN",
        "Infinity",
        '"1"',
        "true",
        "[]",
        "{}",
        "null",
    ],
)
async def test_a_time_that_is_none_is_an_invalid_claim(claim: str, value: str) -> None:
    """A number beyond floats would be an internal error, with a traceback in the log for each attempt."""
    payload = f'{{"sub":"42","exp":{2**40},"{claim}":{value}}}'.encode()
    data = await refused(JWTAuth(key=KEY, algorithms=HS256), hs256(payload))
    missing = claim == "exp" and value == "null"  # which PyJWT takes for no claim at all
    assert data == {"code": "missing_claim" if missing else "invalid_claim", "claim": claim}


async def test_a_time_of_more_digits_than_python_reads_is_no_token() -> None:
    """The same, where the JSON decoder gives up."""
    payload = b'{"sub":"42","exp":%s}' % (b"9" * 5_000)
    assert (await refused(JWTAuth(key=KEY, algorithms=HS256), hs256(payload)))["code"] == "malformed"
    header = base64.urlsafe_b64encode(b'{"alg":"HS256","x":%s}' % (b"9" * 5_000)).rstrip(b"=").decode()
    assert (await refused(JWTAuth(key=KEY, algorithms=HS256), f"{header}.e30.e30"))["code"] == "malformed"


@given(
    st.dictionaries(
        st.sampled_from(["exp", "nbf", "iat", "aud", "iss", "sub", "jti", "roles", "name", "scope"]),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.sampled_from([10**400, -(10**400), 10**308, -1, 1.8e308])
            | st.floats()
            | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
            max_leaves=4,
        ),
    )
)
@settings(max_examples=examples(300))
async def test_odd_claims_are_refused_or_make_sense(odd: dict[str, Any]) -> None:
    """An issuer that puts anything into claims cannot make an identity that is not one."""
    auth = JWTAuth(key=KEY, algorithms=HS256, audience="chat")
    good = {"sub": "42", "exp": time.time() + 60, "aud": "chat"}
    try:
        user = await auth.authenticate(by_auth(hs256(json.dumps(good | odd).encode())))
    except ConnectionRefused as error:
        if error.data["code"] in {"malformed", "bad_signature"}:
            raise
        return
    assert isinstance(user.id, str)
    assert user.id
    assert isinstance(user.name, str)
    assert all(isinstance(role, str) for role in user.roles)


async def test_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Logs can be given to other people."""
    caplog.set_level(logging.DEBUG)
    auth = JWTAuth(key=KEY, algorithms=HS256)
    await auth.authenticate(by_auth(token()))
    await refused(auth, token(exp=1))
    assert not [record for record in caplog.records if record.name != "asyncio"]


# --- what the server is told of the token -----------------------------------------------------------------------------


async def test_the_server_is_told_of_the_token() -> None:
    """A server could not tell a token that was issued after its owner was thrown out from an older one."""
    now = int(time.time())
    auth = JWTAuth(key=KEY, algorithms=HS256, leeway=5, require=())

    async def told(**changes: Any) -> TokenDetails | None:
        user, details = await authenticate(auth, Handshake(auth={"token": token(**changes)}))
        assert user.id == "42"
        return details

    assert await told(jti="t1", iat=now, exp=now + 60) == TokenDetails("t1", now, now + 65, 30.0)
    assert await told(exp=None) == TokenDetails(refresh_before=30.0)
    with pytest.raises(ConnectionRefused):
        await told(exp=now - 60)


async def test_when_clients_are_asked_for_a_new_token() -> None:
    """Clients would be asked at another time than the program has said, or put the answer where nobody looks."""
    auth = JWTAuth(
        key=KEY, algorithms=HS256, refresh_before=None, refresh_grace=5, sources=TokenSources(auth="jwt", header=True)
    )
    _, details = await authenticate(auth, Handshake(auth={"jwt": token()}))
    assert details is not None
    assert (details.refresh_before, details.refresh_grace, details.key) == (None, 5, "jwt")


@pytest.mark.parametrize("option", ["refresh_before", "refresh_grace"])
@pytest.mark.parametrize("seconds", [-1, "30", True, float("nan"), 3601])
def test_times_that_make_no_sense(option: str, seconds: Any) -> None:
    """A client would be asked without a pause, or milliseconds be taken for seconds."""
    with pytest.raises(ConfigurationError, match=option):
        JWTAuth(key=KEY, algorithms=HS256, **{option: seconds})
