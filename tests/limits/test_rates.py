"""Rates and the option ``rate_limit``: what is written, and what is told to somebody who writes it wrong."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rtframework import ConfigurationError, Identity, Rate, RateLimit, Server
from rtframework.limits.rates import rates_of


@pytest.fixture(autouse=True)
def room_for_barriers() -> None:
    """Leave refusals as limited as they are by default."""


@pytest.mark.parametrize(
    ("written", "rate"),
    [
        ("10/s", Rate(10)),
        ("10 / s", Rate(10)),
        ("0.5/s", Rate(0.5)),
        ("100/min", Rate(100, per=60)),
        ("1000/h", Rate(1000, per=3600)),
        ("5/d", Rate(5, per=86_400)),
        ("5/10s", Rate(5, per=10)),
    ],
)
def test_a_rate_may_be_written_as_a_string(written: str, rate: Rate) -> None:
    """A rate would be another one than the one that was written."""
    assert rates_of("events", written, ("connection", "user")) == {"connection": rate}


def test_a_burst_is_as_many_as_the_count() -> None:
    """A client that was quiet for a while would be refused within its rate; one with a low rate, always."""
    assert Rate(10).most == 10
    assert Rate(0.1).most == 1
    assert Rate(10, burst=25).most == 25
    assert Rate(10, per=5).interval == 0.5


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (10, r"write events=Rate\(10\)"),
        ("10", "10/s, 100/min"),
        ("ten a second", "10/s, 100/min"),
        (True, "write None for no limit"),
        (False, "write None for no limit"),
        ({"room": "10/s"}, "rates for connection, user, address, not for 'room'"),
        ({"user": 3}, r"Rate\(3\)"),
    ],
)
def test_what_is_no_rate_is_told(value: Any, message: str) -> None:
    """A misspelt limit would be none."""
    with pytest.raises(ConfigurationError, match=message):
        RateLimit(events=value)


@pytest.mark.parametrize("arguments", [(0,), (-1,), ("10",), (True,), (10, 0), (10, 1, 0.5), (float("inf"),)])
def test_a_rate_is_above_zero(arguments: tuple[Any, ...]) -> None:
    """Nothing would ever pass, or everything."""
    with pytest.raises(ConfigurationError, match=r"^Rate: "):
        Rate(*arguments)


def test_rates_are_by_what_is_counted_together() -> None:
    """A user with many connections would have the limit as often."""
    limit = RateLimit(events={"user": "10/s", "address": None}, handshakes="5/s")
    assert limit.rates("events") == {"user": Rate(10)}
    assert limit.rates("handshakes") == {"address": Rate(5)}
    assert limit.rates("bytes") == {}


def test_the_cheap_limits_are_on() -> None:
    """A server that nobody has configured could be asked for passwords ten thousand times a second."""
    limit = RateLimit()
    assert limit.rates("refusals") == {"connection": Rate(1, burst=10), "address": Rate(10, burst=100)}
    assert limit.rates("connects")["connection"].most >= 100, "as many namespaces as one connection may be in"
    assert not any(map(limit.rates, ("events", "bytes", "handshakes")))


def test_wrong_settings_are_told() -> None:
    """A server would start with other limits than those that were meant."""
    with pytest.raises(ConfigurationError, match="on_exceed is one of"):
        RateLimit(on_exceed="drop")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="rates for connection, address, not for 'user'"):
        RateLimit(refusals={"user": "1/s"})
    with pytest.raises(ConfigurationError, match=r'write rate_limit=RateLimit\(events="50/s"\)'):
        Server(rate_limit="50/s")  # type: ignore[arg-type]


def test_users_are_told_apart_by_their_key() -> None:
    """A user would have a limit of its own for each token, or two users share one."""
    limit = RateLimit()
    assert limit.key_of(None) is None
    assert limit.key_of(Identity("7", name="Ada")) == "7"
    assert limit.key_of("ada") == "ada"
    assert limit.key_of({"name": "ada"}) == limit.key_of({"name": "ada"}), "a key that cannot be hashed"
    by_team = RateLimit(identity=lambda user: user.team)
    assert by_team.key_of(SimpleNamespace(id=1, team="a")) == "a"
