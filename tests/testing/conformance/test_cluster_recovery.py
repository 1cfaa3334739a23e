"""The tests of recovery across servers are only for adapters that can recover."""

from __future__ import annotations

from rtframework.testing.conformance.cluster_recovery import ClusterRecovery
from tests.support.memory_broker import failure, memory_suite


def test_who_keeps_no_sessions_is_not_asked_for_them() -> None:
    """An adapter without recovery could not be shown to be right in all the rest."""
    suite = memory_suite(recovers=False)
    tests = [name for name in vars(ClusterRecovery) if name.startswith("test_")]
    assert len(tests) == 7
    for test in tests:
        assert "recovers is False" in failure(suite, test)
