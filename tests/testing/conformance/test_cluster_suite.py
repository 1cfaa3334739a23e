"""What the tests of a cluster share."""

from __future__ import annotations

import pytest

from rtframework.testing import ClusterConformance
from tests.support.backbone import FakeBackbone
from tests.support.memory_broker import failure, memory_suite


class Apart(FakeBackbone):
    """A server that keeps to itself."""

    def wants(self, message: dict[str, object]) -> bool:
        return message["from"] == self.node


def test_servers_that_do_not_hear_each_other_are_found() -> None:
    """Each test would begin before the servers are one, and fail by chance."""
    why = failure(memory_suite(Apart, patience=0.1), "test_each_server_gets_each_event_once_and_in_order")
    assert why == "n0 does not hear n1" or why == "n0 does not hear n2" or "does not hear" in why


def test_a_suite_without_a_broker_fails() -> None:
    """Forgetting to say what is tested would look like success."""
    with pytest.raises(NotImplementedError, match=r"give the suite a broker\(\)"):
        ClusterConformance().test_servers_talk_to_each_other()
