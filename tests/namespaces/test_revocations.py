"""Credentials that are not accepted any more: which, until when, and how many are kept."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from rtframework import ConfigurationError
from rtframework.namespaces import revocations as module
from rtframework.namespaces.revocations import DAY, Revocation, Revocations


class Clock:
    """A time that the test moves."""

    def __init__(self) -> None:
        self.now = 1_000_000.75

    def __call__(self) -> float:
        return self.now


def test_what_was_issued_before_is_refused() -> None:
    """An old token would let its owner in again; or a new one not."""
    clock = Clock()
    revocations = Revocations(clock)
    assert revocations.find(["$user:1"], None) is None
    revocations.add(revocations.make("$user:1", "kicked"))
    assert revocations.find(["$token:a", "$user:1"], 999_999) == "kicked"
    assert revocations.find(["$user:1"], 1_000_000) is None, "tokens name whole seconds"
    assert revocations.find(["$user:1"], 1_000_000.8) is None
    assert revocations.find(["$user:1"], None) == "kicked"
    assert revocations.find(["$user:2", "$token:1"], 0) is None
    assert revocations.find([], None) is None


def test_the_later_one_counts() -> None:
    """A message that comes late would let in who was thrown out twice."""
    clock = Clock()
    revocations = Revocations(clock)
    first = revocations.make("$user:1", "kicked")
    clock.now += 10
    second = revocations.make("$user:1", "kicked")
    revocations.add(second)
    revocations.add(first)
    assert revocations.find(["$user:1"], 1_000_005) == "kicked"


def test_until_tokens_have_run_out() -> None:
    """The table would grow for ever; or a token outlive the order not to accept it."""
    clock = Clock()
    revocations = Revocations(clock)
    revocations.add(revocations.make("$user:1", "kicked"))
    revocations.note_lifetime(60)
    revocations.note_lifetime(7 * DAY)
    revocations.add(revocations.make("$user:2", "kicked"))
    clock.now += DAY
    assert revocations.find(["$user:1"], 0) is None
    assert revocations.find(["$user:2"], 0) == "kicked"
    assert len(revocations) == 1
    revocations.add(Revocation("$user:3", 0, clock.now, "kicked"))
    assert len(revocations) == 1


@pytest.mark.usefixtures("throttled")
def test_no_more_than_fit(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A program that throws out a million users would use up the memory."""
    monkeypatch.setattr(module, "MAX_REVOCATIONS", 2)
    clock = Clock()
    revocations = Revocations(clock)
    revocations.add(Revocation("old", clock.now, clock.now + 1, "kicked"))
    for key in "ab":
        clock.now += 1
        revocations.add(revocations.make(key, "kicked"))
    assert not caplog.records, "what has run out goes first"
    with caplog.at_level(logging.WARNING):
        revocations.add(revocations.make("c", "kicked"))
    assert [revocations.find([key], 0) for key in "abc"] == [None, "kicked", "kicked"]
    assert "more than 2 revocations" in caplog.text


@pytest.mark.parametrize(
    "told",
    [
        None,
        1,
        {},
        {"key": 1, "before": 1, "until": 2e9, "code": "kicked"},
        {"key": "a", "before": "1", "until": 2e9, "code": "kicked"},
        {"key": "a", "before": 1, "until": float("nan"), "code": "kicked"},
        {"key": "a", "before": 1, "until": 2e9},
    ],
)
def test_what_makes_no_sense_is_passed_over(told: Any) -> None:
    """A server of another version would break this one."""
    revocations = Revocations(Clock())
    revocations.serve(told)
    assert len(revocations) == 0


def test_other_servers_hear_the_same() -> None:
    """A user who is thrown out here would be let in there."""
    clock = Clock()
    revocation = Revocations(clock).make("$user:1", "kicked")
    other = Revocations(clock)
    other.serve(revocation.to_plain())
    assert other.find(["$user:1"], 0) == "kicked"
    assert Revocation.of_plain(revocation.to_plain()) == revocation


def test_what_a_program_asks_for() -> None:
    """Another token than the one that was meant would be taken back; or none."""
    clock = Clock()
    revocations = Revocations(clock)
    token = revocations.of_request("a", None, None)
    assert (token.key, token.code, token.before > clock.now + DAY / 2) == ("$token:a", "token_revoked", True)
    user = revocations.of_request(None, 42, None)
    assert (user.key, user.before) == ("$user:42", clock.now)
    everybody = revocations.of_request(None, None, 5.0)
    revocations.add(everybody)
    assert revocations.find([everybody.key], 4) == revocations.find([everybody.key], None) == "token_revoked"
    assert revocations.find([everybody.key], 5) is None
    assert revocations.find(["$user:1"], 4) is None


@pytest.mark.parametrize(
    ("id", "user", "before"),
    [(None, None, None), ("", None, None), ("a", "b", None), ("a", None, 1.0), (None, None, float("inf"))],
)
def test_what_makes_no_sense_is_an_error(id: str | None, user: object, before: float | None) -> None:
    """A program would believe that a token is not good any more."""
    with pytest.raises(ConfigurationError):
        Revocations(Clock()).of_request(id, user, before)


def test_what_a_server_is_told_that_has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would let in who was thrown out before; or get a message that is too large for the cluster."""
    monkeypatch.setattr(module, "MOST_TOLD", 2)
    clock = Clock()
    revocations = Revocations(clock)
    revocations.add(Revocation("$user:0", clock.now, clock.now + 1, "kicked"))
    for number in (1, 2, 3):
        revocations.add(revocations.make(f"$user:{number}", "kicked"))
    clock.now += 1
    assert [each["key"] for each in revocations.tell()] == ["$user:2", "$user:3"]
