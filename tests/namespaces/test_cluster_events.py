"""What a program is told of its cluster."""

from __future__ import annotations

from typing import Any

import pytest

from rtframework.namespaces.cluster_events import ClusterEvents


def test_each_change_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """A log would be filled by each namespace's adapter, or an outage be told by none."""
    events = ClusterEvents()
    heard: list[Any] = []
    events.hear(lambda *event: heard.append(event))
    with caplog.at_level("INFO", "rtframework.cluster"):
        for up in (True, True, False, False, True, True, False):
            events.state(up)
    assert heard == [("down",), ("up",), ("down",)]
    assert len(caplog.records) == 3
    events.reset()
    events.state(False)
    assert heard[-1] == ("down",)
    assert len(heard) == 4


def test_a_gap_is_told_to_all(caplog: pytest.LogCaptureFixture) -> None:
    """One listener that fails would keep it from the others that packets are missing."""
    events = ClusterEvents()
    heard: list[Any] = []

    def fails(*event: Any) -> None:
        raise RuntimeError("a mistake of the program")

    events.hear(fails)
    events.hear(lambda *event: heard.append(event))
    events.gap("/x", 12.5)
    assert heard == [("gap", "/x", 12.5)]
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert "may be missing in /x" in caplog.text
