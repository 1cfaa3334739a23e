"""What became of events, bounded whatever clients and programs make up."""

from __future__ import annotations

from rtframework.counters import MOST as MOST_OUTCOMES
from rtframework.counters import OTHER
from rtframework_prometheus.event_counts import MOST, EventCounts

BOUNDS = (0.1, 1.0)


def test_a_series_for_each_event_of_each_namespace() -> None:
    """Two namespaces with an event of the same name could not be told apart."""
    counts = EventCounts(BOUNDS)
    counts.add("/", "say", "ok", 0.05, ack=True)
    counts.add("/", "say", "ok", 0.5, ack=False)
    counts.add("/", "say", "internal_error", 5.0, ack=True)
    counts.add("/chat", "say", "ok", 0.0, ack=False)
    found = dict(counts)
    assert set(found) == {("/", "say"), ("/chat", "say")}
    series = found["/", "say"]
    assert (series.outcomes, series.acks) == ({"ok": 2, "internal_error": 1}, 2)
    assert series.seconds.buckets == [("0.1", 1.0), ("1.0", 2.0), ("+Inf", 3.0)]
    assert series.seconds.sum == 5.55
    assert found["/chat", "say"].acks == 0


def test_too_many_events_share_a_series() -> None:
    """A program that makes up names of events would fill the memory of the server and of Prometheus."""
    counts = EventCounts(BOUNDS)
    for number in range(MOST * 2):
        counts.add("/", str(number), "ok", 0.0, ack=True)
    counts.add("/", "0", "ok", 0.0, ack=True)
    found = dict(counts)
    assert len(found) == MOST + 1
    assert found[OTHER, OTHER].outcomes == {"ok": MOST}
    assert found["/", "0"].outcomes == {"ok": 2}
    assert sum(each.seconds.count for each in found.values()) == MOST * 2 + 1


def test_too_many_outcomes_share_a_name() -> None:
    """A code of an error with an id in it would be a series of its own for each id."""
    counts = EventCounts(BOUNDS)
    for number in range(MOST_OUTCOMES * 2):
        counts.add("/", "buy", f"no such order {number}", 0.0, ack=False)
    (series,) = dict(counts).values()
    assert len(series.outcomes) == MOST_OUTCOMES + 1
    assert series.outcomes[OTHER] == MOST_OUTCOMES
