"""How often one address may try a password."""

from __future__ import annotations

import pytest

from rtframework.admin import login_throttle as attempts
from rtframework.admin.login_throttle import MAX_ATTEMPTS, PERIOD, LoginThrottle


class Clock:
    """A time that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_so_many_and_no_more() -> None:
    """Guessing would go on for ever, or the right person would stay locked out."""
    clock = Clock()
    tries = LoginThrottle(clock)
    for _ in range(MAX_ATTEMPTS):
        assert tries.begin("10.0.0.1") == 0
    clock.now += 20
    assert tries.begin("10.0.0.1") == PERIOD - 20
    assert tries.begin("10.0.0.2") == 0
    clock.now += PERIOD - 20
    assert tries.begin("10.0.0.1") == 0


def test_who_was_right_starts_anew() -> None:
    """Ten logins within a minute, as tests of a program make, would lock their user out."""
    tries = LoginThrottle(Clock())
    for _ in range(3 * MAX_ATTEMPTS):
        assert tries.begin("10.0.0.1") == 0
        tries.forgive("10.0.0.1")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        (None, "", True),
        ("unix:", "10.0.0.2", False),
    ],
)
def test_what_one_address_is(one: str | None, other: str, same: bool) -> None:
    """Whoever has an IPv6 network would have as many attempts as addresses."""
    tries = LoginThrottle(Clock())
    for _ in range(MAX_ATTEMPTS):
        tries.begin(one)
    assert bool(tries.begin(other)) is same


def test_the_table_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A botnet would fill the memory."""
    monkeypatch.setattr(attempts, "MAX_ADDRESSES", 100)
    tries = LoginThrottle(Clock())
    for number in range(1000):
        tries.begin(f"10.0.{number // 256}.{number % 256}")
    assert len(tries._tried) == 100
