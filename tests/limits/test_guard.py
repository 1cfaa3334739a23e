"""The guard of a server: what is beyond a limit is counted, logged once, and audited."""

from __future__ import annotations

from typing import Any

import pytest

from rtframework import AuditEntry, RateLimit
from rtframework.counters import LIMITED, Counters
from rtframework.limits.guard import Guard
from rtframework.logs import tell_left_out


def test_limits_that_are_off_are_not_there() -> None:
    """Servers without limits would look at each event all the same."""
    guard = Guard(RateLimit(connects=None, refusals=None), Counters())
    assert (guard.events, guard.bytes, guard.connects, guard.refusals, guard.handshakes) == (None,) * 5
    assert not guard.limits_events
    assert Guard(RateLimit(bytes="1/s"), Counters()).limits_events
    assert Guard(RateLimit(events={"user": "1/s"}), Counters()).limits_events
    assert not Guard(RateLimit(events={"user": None}), Counters()).limits_events


@pytest.mark.usefixtures("throttled")
async def test_a_client_beyond_a_limit_is_counted_logged_and_audited(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody would know why clients are refused; or the log would be full of it."""
    counts = Counters()
    guard = Guard(RateLimit(), counts)
    heard: list[AuditEntry] = []
    guard.audit.hear(heard.append)
    for _ in range(100):
        guard.hit("events", address="203.0.113.7", user="ada", nsp="/")
    guard.hit("bytes", address="203.0.113.7")
    assert (counts.limited["events"], counts.limited["bytes"], len(heard)) == (100, 1, 101)
    assert heard[0] == AuditEntry("limit", "203.0.113.7", "ada", nsp="/", limit="events")
    assert [record.getMessage() for record in caplog.records] == [
        "a client at 203.0.113.7 is beyond the limit RateLimit.events",
        "a client at 203.0.113.7 is beyond the limit RateLimit.bytes",
    ]
    tell_left_out(at_once=True)
    record: Any = caplog.records[-1]
    assert (record.limit, record.address, record.left_out) == ("events", "203.0.113.7", 99)


@pytest.mark.usefixtures("throttled")
async def test_the_log_names_what_to_change(caplog: pytest.LogCaptureFixture) -> None:
    """A line such as "beyond the limit handler" would leave its reader with no setting to look for."""
    guard = Guard(RateLimit(), Counters())
    guard.hit("max_connections_per_address", address="203.0.113.7")
    guard.hit("banned", address="203.0.113.7")
    for event in ("say", "say", "draw", 1):
        guard.hit("handler", address="203.0.113.7", nsp="/", event=event)
    assert [record.getMessage() for record in caplog.records] == [
        "a client at 203.0.113.7 is beyond the limit Limits.max_connections_per_address",
        "refused a client at 203.0.113.7: its address is banned (io.engine.bans)",
        "a client at 203.0.113.7 is beyond the rate of 'say'",
        "a client at 203.0.113.7 is beyond the rate of 'draw'",
        "a client at 203.0.113.7 is beyond the rate of 1",
    ]
    record: Any = caplog.records[2]
    assert (record.event, record.nsp, record.limit) == ("say", "/", "handler")


def test_every_limit_is_counted_from_the_start() -> None:
    """A graph would begin with the first attack."""
    assert set(Counters().limited) == set(LIMITED)
    assert set(Counters().limited.values()) == {0}
