"""Who is let in to the Admin UI, how often one may be wrong, and what is said of it."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from rtframework.admin import authenticator as door
from rtframework.admin.authenticator import Admin, AdminAuthenticator
from rtframework.admin.credentials import Credentials
from rtframework.admin.login_throttle import OF_ADDRESS
from rtframework.exceptions import ConnectionRefused
from rtframework.types import Handshake

ADDRESS = "192.0.2.7"
MAX_ATTEMPTS = int(OF_ADDRESS.count)


@pytest.fixture(autouse=True)
def delays(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds for which somebody had to wait; in no time."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("rtframework.admin.authenticator.asyncio", SimpleNamespace(sleep=sleep))
    return waited


def authenticator() -> AdminAuthenticator:
    return AdminAuthenticator("ada", Credentials("ada", "right"))


def shake(address: str = ADDRESS, **auth: Any) -> Handshake:
    return Handshake(auth=auth, address=address)


async def refusal(auth: AdminAuthenticator, handshake: Handshake) -> ConnectionRefused:
    """How somebody is refused."""
    with pytest.raises(ConnectionRefused) as caught:
        await auth.authenticate(handshake)
    return caught.value


async def test_without_credentials_everybody_is_somebody() -> None:
    """``auth=False`` would let nobody in, as an authenticator that returns nothing does."""
    assert await AdminAuthenticator("", None).authenticate(shake()) == Admin("")


async def test_a_login_gives_a_session_that_lets_in_again() -> None:
    """A page would ask for the password each time it is loaded."""
    auth = authenticator()
    admin = await auth.authenticate(shake(username="ada", password="right"))
    assert admin.name == "ada"
    assert admin.session_id is not None
    again = await auth.authenticate(shake("192.0.2.8", sessionId=admin.session_id))
    assert (again.name, again.session_id) == ("ada", None)
    assert admin.session_id not in repr(admin)


async def test_a_session_belongs_to_one_server() -> None:
    """Whoever may look at one server could look at all of them."""
    admin = await authenticator().authenticate(shake(username="ada", password="right"))
    assert str(await refusal(authenticator(), shake(sessionId=admin.session_id))) == "invalid credentials"


async def test_a_page_without_a_password_is_asked_for_it_at_once(delays: list[float]) -> None:
    """Each page would wait for a second before its form, or use up the attempts of its user."""
    auth = authenticator()
    for given in ({}, {"sessionId": "old"}, {"username": "ada"}, {"username": "ada", "password": None}):
        for _ in range(MAX_ATTEMPTS):
            refused = await refusal(auth, shake(**given))
            assert (refused.message, refused.data) == ("invalid credentials", None)
    assert delays == []
    assert await auth.authenticate(shake(username="ada", password="right"))


@pytest.mark.parametrize(
    "given",
    [
        {"username": "ada", "password": "wrong"},
        {"username": "bob", "password": "right"},
        {"password": "right"},
        {"username": "ada", "password": 5},
        {"username": ["ada"], "password": "right"},
        {"username": "ada", "password": "right" + "\x00"},
        {"username": "ada", "password": "\ud800"},
    ],
)
async def test_what_is_wrong_takes_a_while_and_says_nothing(
    given: dict[str, Any], delays: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    """A password could be guessed at the speed of the network, or the name by what is answered."""
    refused = await refusal(authenticator(), shake(**given))
    assert (refused.message, refused.data) == ("invalid credentials", None)
    assert delays == [door.DELAY]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert ADDRESS in record.message
    assert "right" not in caplog.text
    assert "wrong" not in caplog.text.replace("a wrong name or password", "")


async def test_ten_wrong_passwords_do_not_lock_the_right_one_out(delays: list[float]) -> None:
    """A colleague behind the same address could keep the administrator out; so could anybody there."""
    auth = authenticator()
    for _ in range(MAX_ATTEMPTS):
        await refusal(auth, shake(username="ada", password="wrong"))
    delays.clear()
    assert await auth.authenticate(shake(username="ada", password="right"))
    (waited,) = delays
    assert 5 < waited <= 6, "but it has to wait for its turn"


async def test_attempts_that_would_wait_for_long_are_refused(
    delays: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    """Guessing would go on, by many connections at once."""
    auth = authenticator()
    for _ in range(MAX_ATTEMPTS + 2):
        await refusal(auth, shake(username="ada", password="wrong"))
    refused = await refusal(auth, shake(username="ada", password="right"))
    assert refused.message == "too many attempts"
    assert refused.data["code"] == "too_many_attempts"
    assert 15 < refused.data["retryAfter"] <= 60
    assert isinstance(refused.data["retryAfter"], int)
    assert "too many attempts" in caplog.messages[-1]
    assert await auth.authenticate(shake("192.0.2.8", username="ada", password="right")), "another address"


async def test_passwords_from_two_thousand_addresses_are_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A botnet could try as many passwords as the processor takes, and take the processor for it."""
    auth = authenticator()
    checked = 0

    async def match(self: Credentials, username: Any, password: Any) -> bool:
        nonlocal checked
        checked += 1
        return False

    monkeypatch.setattr(Credentials, "match", match)
    for number in range(2_000):
        await refusal(auth, shake(f"10.0.{number >> 8}.{number & 255}", username="ada", password=str(number)))
    assert 20 <= checked < 40


async def test_who_was_right_has_all_attempts_again(caplog: pytest.LogCaptureFixture) -> None:
    """Somebody who has mistyped a password would be locked out by the next login."""
    caplog.set_level(logging.INFO, "rtframework.admin")
    auth = authenticator()
    for _ in range(3):
        for _ in range(MAX_ATTEMPTS - 1):
            await refusal(auth, shake(username="ada", password="wrong"))
        assert await auth.authenticate(shake(username="ada", password="right"))
    assert caplog.messages[-1] == f"a login to the Admin UI from {ADDRESS}"
