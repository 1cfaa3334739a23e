"""Where a token is looked for, and the table of tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from multidict import CIMultiDict

from rtframework.authenticators import (
    MAX_TOKEN_LENGTH,
    StaticTokenAuth,
    TokenDetails,
    TokenSources,
    authenticate,
    refusal,
    tell_of_token,
)
from rtframework.exceptions import ConfigurationError, ConnectionRefused
from rtframework.testing import AuthenticatorConformance
from rtframework.types import Handshake, Identity

ADA = Identity("1", name="Ada")
BOB = Identity("2", name="Bob")


class TestConformance(AuthenticatorConformance):
    """The suite that every authenticator must pass."""

    def authenticator(self) -> StaticTokenAuth:
        return StaticTokenAuth({"secret-a": ADA, "secret-b": BOB})

    def good(self) -> Handshake:
        return Handshake(auth={"token": "secret-a"})

    def bad(self) -> Mapping[str, Handshake]:
        return {
            "nothing": Handshake(),
            "a stranger": Handshake(auth={"token": "secret-c"}),
            "almost": Handshake(auth={"token": "secret-a "}),
            "no string": Handshake(auth={"token": ["secret-a"]}),
            "too long": Handshake(auth={"token": "secret-a" * 2_000}),
            "no bearer": Handshake(headers={"Authorization": "Bearer"}),
            "a cookie": Handshake(cookies={"token": "secret-a"}),
            "a query parameter": Handshake(query={"token": "secret-a"}),
        }


async def code(auth: StaticTokenAuth, handshake: Handshake) -> str:
    """The code with which a handshake is refused."""
    with pytest.raises(ConnectionRefused) as caught:
        await auth.authenticate(handshake)
    assert caught.value.message
    return str(caught.value.data["code"])


async def test_each_token_is_its_user() -> None:
    """Who brings Ada's token is Ada, and nobody else is."""
    auth = StaticTokenAuth({"secret-a": ADA, "secret-b": BOB, "ünï": {"any": "object"}})
    assert await auth.authenticate(Handshake(auth={"token": "secret-a"})) is ADA
    assert await auth.authenticate(Handshake(auth={"token": "secret-b"})) is BOB
    assert await auth.authenticate(Handshake(auth={"token": "ünï"})) == {"any": "object"}


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (None, "missing"),
        ("", "missing"),
        (0, "malformed"),
        (False, "malformed"),
        (b"secret-a", "malformed"),
        ({"secret-a": 1}, "malformed"),
        ("x" * (MAX_TOKEN_LENGTH + 1), "malformed"),
        ("é" * (MAX_TOKEN_LENGTH // 2 + 1), "malformed"),
        ("x" * MAX_TOKEN_LENGTH, "unknown_token"),
        ("secret-", "unknown_token"),
        ("SECRET-A", "unknown_token"),
        ("\ud800", "unknown_token"),
    ],
)
async def test_each_way_to_fail_has_its_code(token: Any, expected: str) -> None:
    """A client's program knows whether it sent no token, a broken one or a wrong one."""
    auth = StaticTokenAuth({"secret-a": ADA})
    assert await code(auth, Handshake(auth={"token": token})) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Bearer secret-a", ADA),
        ("bearer   secret-a ", ADA),
        ("Bearer", "malformed"),
        ("Bearer ", "malformed"),
        ("Bearer secret-a secret-b", "malformed"),
        ("Bearer secret-a\tx", "malformed"),
        ("Basic c2VjcmV0LWE=", "missing"),
        ("secret-a", "missing"),
        ("Bearersecret-a", "missing"),
        ("", "missing"),
    ],
)
async def test_the_authorization_header(header: str, expected: Any) -> None:
    """Clients that are not browsers can send their token as they do to any HTTP API."""
    auth = StaticTokenAuth({"secret-a": ADA})
    for headers in ({"Authorization": header}, {"AUTHORIZATION": header}, CIMultiDict({"Authorization": header})):
        handshake = Handshake(headers=headers)
        if expected is ADA:
            assert await auth.authenticate(handshake) is ADA
        else:
            assert await code(auth, handshake) == expected


async def test_the_first_source_that_has_a_token_decides() -> None:
    """A wrong token is refused even when a good one stands elsewhere: nobody wonders as whom they came in."""
    sources = TokenSources(cookie="c", query="q")
    auth = StaticTokenAuth({"a": ADA, "b": BOB}, sources=sources)
    rest: dict[str, Any] = {"headers": {"Authorization": "Bearer b"}, "cookies": {"c": "b"}, "query": {"q": "b"}}
    assert await auth.authenticate(Handshake(auth={"token": "a"}, **rest)) is ADA
    assert await code(auth, Handshake(auth={"token": "x"}, **rest)) == "unknown_token"
    assert await auth.authenticate(Handshake(auth={"token": None}, **rest)) is BOB
    assert await auth.authenticate(Handshake(headers={"Authorization": "Basic x"}, cookies={"c": "a"})) is ADA
    assert await auth.authenticate(Handshake(cookies={"c": ""}, query={"q": "a"})) is ADA


async def test_a_cookie_of_another_site_is_not_taken() -> None:
    """A foreign page cannot connect as the user who happens to be signed in."""
    handshake = Handshake(cookies={"session": "a"}, xdomain=True)
    assert await code(StaticTokenAuth({"a": ADA}, sources=TokenSources(cookie="session")), handshake) == "missing"
    allowed = TokenSources(cookie="session", cross_site_cookie=True)
    assert await StaticTokenAuth({"a": ADA}, sources=allowed).authenticate(handshake) is ADA
    elsewhere = Handshake(auth={"token": "a"}, cookies={"session": "x"}, xdomain=True)
    assert await StaticTokenAuth({"a": ADA}, sources=TokenSources(cookie="session")).authenticate(elsewhere) is ADA


async def test_sources_can_be_renamed_and_switched_off() -> None:
    """A program whose clients send their token under another name need not write an authenticator for it."""
    auth = StaticTokenAuth({"a": ADA}, sources=TokenSources(auth="key", header=False))
    assert await auth.authenticate(Handshake(auth={"key": "a"})) is ADA
    assert await code(auth, Handshake(auth={"token": "a"}, headers={"Authorization": "Bearer a"})) == "missing"


def test_neither_repr_nor_attributes_hold_a_token() -> None:
    """Printing an authenticator, or a crash report with its attributes, gives no token away."""
    auth = StaticTokenAuth({"secret-a": ADA})
    assert "secret-a" not in repr(auth)
    assert "secret-a" not in "".join(repr(getattr(auth, name)) for name in StaticTokenAuth.__slots__)


@pytest.mark.parametrize("table", [{"": ADA}, {5: ADA}, {"x" * 8193: ADA}, {"a": None}])
def test_a_table_that_makes_no_sense_is_refused(table: Any) -> None:
    """A token that could never be used, or that would let nobody in, is found when the server is made."""
    with pytest.raises(ConfigurationError) as caught:
        StaticTokenAuth(table)
    assert "xxx" not in str(caught.value)


def test_a_refusal_carries_code_and_details() -> None:
    """Own authenticators refuse in the form that clients know from the shipped ones."""
    error = refusal("missing_claim", "The token lacks the claim aud", claim="aud")
    assert (error.message, error.data) == ("The token lacks the claim aud", {"code": "missing_claim", "claim": "aud"})


# --- what an authenticator tells of a token ---------------------------------------------------------------------------


async def test_what_is_told_of_a_token() -> None:
    """A server could not ask for a token that was issued after somebody was thrown out."""

    class Telling:
        async def authenticate(self, handshake: Handshake) -> Any:
            if "outer" in handshake.auth:
                tell_of_token(TokenDetails("outer"))
            await asyncio.create_task(self._inner())  # wherever it is asked from
            return handshake.auth.get("user")

        async def _inner(self) -> None:
            tell_of_token(TokenDetails("inner", 1, 2))

    inner = TokenDetails("inner", 1, 2)
    assert await authenticate(Telling(), Handshake(auth={"user": "ada"})) == ("ada", inner)
    assert await authenticate(Telling(), Handshake(auth={"outer": 1})) == (None, inner)
    assert await authenticate(StaticTokenAuth({"a": "ada"}), Handshake(auth={"token": "a"})) == ("ada", None)
    tell_of_token(inner)  # nobody asks
    with pytest.raises(ConnectionRefused):
        await authenticate(StaticTokenAuth({"a": "ada"}), Handshake())
