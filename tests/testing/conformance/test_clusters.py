"""The conformance suite of clusters: a good backbone passes, and broken ones do not."""

from __future__ import annotations

import pytest

from rtframework.testing import AdapterConformance, ClusterConformance, run_suite
from tests.support.backbone import FakeAdapter
from tests.support.broken_clusters import BROKEN, DoesNotWait, backbone_of
from tests.support.memory_broker import failure, memory_suite

ON_A_REAL_BROKER = {
    "test_a_broker_that_comes_back_empty_is_a_gap",
    "test_a_deaf_server_finds_out",
    "test_a_lost_reply_doubles_nothing",
    "test_a_trimmed_stream_that_was_read_is_no_gap",
    "test_an_emptied_broker_is_a_gap",
    "test_an_older_history_is_a_gap",
    "test_emits_while_connections_end",
    "test_rubbish_stops_nobody",
    "test_what_is_absent_is_not_sent",
    "test_what_was_trimmed_before_it_was_read_is_a_gap",
}
"""Tests of faults that a broker in memory cannot have; ``RedisStreams`` is run under all."""

TESTS = {name for name in dir(ClusterConformance) if name.startswith("test_")} - set(dir(AdapterConformance))


class TestFakeBackbone(memory_suite()):  # type: ignore[misc]
    """The backbone in memory, which has one order, keeps everything and knows the others by name."""

    patience = 5.0
    notice = 5.0


@pytest.mark.parametrize("adapter", BROKEN, ids=lambda adapter: adapter.__name__)
def test_the_suite_finds_what_is_broken(adapter: type[FakeAdapter]) -> None:
    """An author would trust servers that lose, double or misdirect messages between them."""
    suite = memory_suite(backbone_of(adapter), recovers=adapter is not DoesNotWait)  # a log needs no subscriptions
    assert failure(suite, BROKEN[adapter])


def test_every_test_finds_something(capsys: pytest.CaptureFixture[str]) -> None:
    """A test that no broken backbone fails would be there for nothing; a skipped one would be taken for passed."""
    others = {"test_emits_while_a_server_is_isolated"}  # as while all are frozen
    assert TESTS - set(BROKEN.values()) - others == ON_A_REAL_BROKER
    only = type("Only", (memory_suite(),), {name: None for name in dir(AdapterConformance) if name.startswith("test_")})
    skips = {name: getattr(only, name) for name in ON_A_REAL_BROKER}
    suite = type("Skipping", (), {})
    for name, test in skips.items():
        setattr(suite, name, lambda self, test=test: test(only()))
    assert run_suite(suite) == []
    shown = capsys.readouterr().err
    assert "Skipping.test_rubbish_stops_nobody was skipped: MemoryBroker has no rubbish()" in shown
