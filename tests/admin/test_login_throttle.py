"""How fast passwords are tried, by one address and by all."""

from __future__ import annotations

import itertools

import pytest

from rtframework.admin import login_throttle as module
from rtframework.admin.login_throttle import AT_ONCE, LONGEST_INTERVAL, PATIENCE, LoginThrottle
from rtframework.limits.rate_limiter import MOST
from tests.support.clients import held_clock


async def test_attempts_of_an_address_wait_for_their_turn() -> None:
    """Guessing would go on for ever, or the right person behind the same address would stay locked out."""
    async with held_clock() as clock:
        throttle = LoginThrottle()
        assert [throttle.begin("10.0.0.1") for _ in range(13)] == [0.0] * 10 + [6.0, 12.0, 18.0]
        assert throttle.begin("10.0.0.1") == 18.0, "an attempt that was refused takes no turn"
        assert throttle.begin("10.0.0.2") == 0.0
        await clock.advance(6)
        assert throttle.begin("10.0.0.1") == 12.0


async def test_who_was_right_starts_anew() -> None:
    """Ten logins within a minute, as tests of a program make, would lock their user out."""
    async with held_clock():
        throttle = LoginThrottle()
        for _ in range(30):
            assert throttle.begin("10.0.0.1") == 0
            throttle.forgive("10.0.0.1")


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
async def test_what_one_address_is(one: str | None, other: str, same: bool) -> None:
    """A client with an IPv6 network would have as many attempts as addresses."""
    async with held_clock():
        throttle = LoginThrottle()
        for _ in range(10):
            throttle.begin(one)
        assert bool(throttle.begin(other)) is same


async def test_all_addresses_together_are_slow() -> None:
    """A botnet could try two thousand passwords in a second, each from an address of its own."""
    async with held_clock() as clock:
        throttle = LoginThrottle()
        numbers = iter(range(1_000_000))

        def attack(count: int) -> list[float]:
            names = [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in itertools.islice(numbers, count)]
            waits = list(map(throttle.begin, names))
            return [wait for wait in waits if wait <= PATIENCE]

        first = attack(2_000)
        assert first[:AT_ONCE] == [0.0] * AT_ONCE
        assert len(first) < 30
        assert first[AT_ONCE:] == sorted(first[AT_ONCE:])
        for _ in range(30):
            await clock.advance(10)
            attack(200)
        checked = 0
        for _ in range(100):
            await clock.advance(10)
            checked += len(attack(200))
        assert checked == pytest.approx(1_000 / LONGEST_INTERVAL, rel=0.02), "the pause has grown to the longest"
        await clock.advance(60)
        assert len(attack(200)) < 6, "a pause of the attacker does not help"
        await clock.advance(700)
        assert throttle.begin("10.0.0.1") == 0.0, "after a quiet time everything is as before"
        assert throttle._in_vain == 1


async def test_an_address_with_a_login_does_not_wait_for_others() -> None:
    """A botnet would keep the administrator out."""
    async with held_clock():
        throttle = LoginThrottle()
        throttle.begin("203.0.113.7")
        throttle.forgive("203.0.113.7")
        for number in range(200):
            throttle.begin(f"10.0.0.{number}")
        assert throttle.begin("203.0.113.8") > PATIENCE
        assert throttle.begin("203.0.113.7") == 0.0
        throttle.forgive("203.0.113.7")
        assert throttle.begin("203.0.113.8") == 0.0, "a login ends the pause"


async def test_the_tables_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A botnet would fill the memory."""
    monkeypatch.setattr(module, "MAX_KNOWN", 10)
    async with held_clock():
        throttle = LoginThrottle()
        for number in range(MOST + 1_000):
            throttle.begin(str(number))
        assert len(throttle._of_address) == MOST
        for number in range(20):
            throttle.forgive(str(number))
        assert list(throttle._known) == [str(number) for number in range(10, 20)]
