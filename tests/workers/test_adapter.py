"""The conformance suite of clusters, for workers with and without recovery."""

from __future__ import annotations

from rtframework.testing import ClusterBroker, ClusterConformance
from tests.support.workers import WorkersBroker


class TestWorkers(ClusterConformance):
    """Workers whose clients get events at once."""

    named = True
    durable = True
    patience = 10.0
    outage = 0.1

    def broker(self) -> ClusterBroker:
        """Make a broker."""
        return WorkersBroker()


class TestRecoveringWorkers(TestWorkers):
    """Workers with recovery: all deliver in one order."""

    ordered = True
    recovers = True
