"""The conformance suite of authenticators: good ones pass it, and broken ones do not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from rtframework.authenticators import refusal
from rtframework.exceptions import ConnectionRefused
from rtframework.testing import AuthenticatorConformance
from rtframework.types import Handshake, Identity
from tests.support.conformance import authenticator_suite, failures


class _Auth:
    """A good authenticator, to be broken in one place."""

    async def authenticate(self, handshake: Handshake) -> Any:
        token = handshake.auth.get("token")
        if token == "good-token":
            return Identity("1")
        return self.refuse(token)

    def refuse(self, token: Any) -> Any:
        raise refusal("unknown_token", "Unknown token")


class _RefusesGood(_Auth):
    async def authenticate(self, handshake: Handshake) -> Any:
        return self.refuse(None)


class _ReturnsNothing(_Auth):
    async def authenticate(self, handshake: Handshake) -> Any:
        await super().authenticate(handshake)


class _LetsIn(_Auth):
    def refuse(self, token: Any) -> Any:
        return Identity("guest")


class _HasNoCode(_Auth):
    def refuse(self, token: Any) -> Any:
        raise ConnectionRefused("no", "code")


class _SendsWhatCannotBeSent(_Auth):
    def refuse(self, token: Any) -> Any:
        raise ConnectionRefused("no", {"code": "no", "why": object()})


class _TellsInMessage(_Auth):
    def refuse(self, token: Any) -> Any:
        raise refusal("unknown_token", f"Unknown token {token}")


class _TellsInData(_Auth):
    def refuse(self, token: Any) -> Any:
        raise refusal("unknown_token", "Unknown token", token=str(token))


class _TellsInLog(_Auth):
    def refuse(self, token: Any) -> Any:
        logging.getLogger("broken").debug("refused %s", token)
        raise refusal("unknown_token", "Unknown token")


class _Prints(_Auth):
    def refuse(self, token: Any) -> Any:
        print("refused", token)
        raise refusal("unknown_token", "Unknown token")


class _TellsInContext(_Auth):
    def refuse(self, token: Any) -> Any:
        try:
            {}[token]
        except (KeyError, TypeError) as error:
            raise refusal("unknown_token", "Unknown token") from error


class _TellsInRepr(_Auth):
    def __init__(self) -> None:
        self.last: Any = None

    async def authenticate(self, handshake: Handshake) -> Any:
        self.last = handshake.auth
        return await super().authenticate(handshake)

    def __repr__(self) -> str:
        return f"<{self.last}>"


class _Crashes(_Auth):
    async def authenticate(self, handshake: Handshake) -> Any:
        if not handshake.auth["token"].startswith("good"):
            return self.refuse(None)
        return Identity("1")


class _Mixes(_Auth):
    """Keeps the handshake of the moment on itself, over an await."""

    async def authenticate(self, handshake: Handshake) -> Any:
        self.current = handshake
        await asyncio.sleep(0)
        return await super().authenticate(self.current)


@pytest.mark.parametrize(
    ("broken", "caught_by"),
    [
        (_RefusesGood, "test_a_good_handshake_is_let_in"),
        (_ReturnsNothing, "test_a_good_handshake_is_let_in"),
        (_LetsIn, "test_bad_handshakes_are_refused_with_a_code"),
        (_HasNoCode, "test_bad_handshakes_are_refused_with_a_code"),
        (_SendsWhatCannotBeSent, "test_bad_handshakes_are_refused_with_a_code"),
        (_TellsInMessage, "test_nothing_secret_is_told"),
        (_TellsInData, "test_nothing_secret_is_told"),
        (_TellsInLog, "test_nothing_secret_is_told"),
        (_Prints, "test_nothing_secret_is_told"),
        (_TellsInContext, "test_nothing_secret_is_told"),
        (_TellsInRepr, "test_nothing_secret_is_told"),
        (_Crashes, "test_bad_handshakes_are_refused_with_a_code"),
        (_Crashes, "test_hostile_handshakes_do_no_harm"),
        (_Mixes, "test_calls_do_not_mix"),
    ],
)
def test_a_broken_authenticator_is_found_out(broken: Callable[[], Any], caught_by: str) -> None:
    """A hole in somebody's authenticator shows in its tests, not in production."""
    assert caught_by in failures(authenticator_suite(broken))


def test_a_good_authenticator_is_good() -> None:
    """The broken ones above are broken by what each of them does, not by how they are made."""
    assert failures(authenticator_suite(_Auth)) == set()


def test_an_authenticator_without_bad_handshakes_is_not_tested() -> None:
    """A suite with nothing to refuse does not look like success."""

    class Empty(AuthenticatorConformance):
        def authenticator(self) -> Any:
            return _Auth()

        def good(self) -> Handshake:
            return Handshake(auth={"token": "good-token"})

        def bad(self) -> Mapping[str, Handshake]:
            return {}

    assert failures(Empty) == {"test_bad_handshakes_are_refused_with_a_code"}
