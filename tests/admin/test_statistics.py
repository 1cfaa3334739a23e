"""What a server says of itself every two seconds."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest

from rtframework.admin.statistics import Statistics, Traffic
from rtframework.protocols import Meter


class Line:
    """The engine's side."""

    def __init__(self) -> None:
        self.meters: list[Meter] = []
        self.clients = {"polling": 2, "websocket": 3}

    def count_clients(self) -> dict[str, int]:
        return self.clients

    def inbound_bytes(self) -> int:
        return 55

    def waiting_bytes(self) -> int:
        return 0

    def waiting_handlers(self) -> int:
        return 0

    def measure(self, meter: Meter) -> None:
        self.meters.append(meter)

    def unmeasure(self, meter: Meter) -> None:
        self.meters.remove(meter)


def counts(figures: dict[str, Any]) -> dict[str, int]:
    """What was counted, by name."""
    return {each["type"]: each["count"] for each in figures["aggregatedEvents"]}


def test_traffic_has_the_names_of_nodes_admin_ui() -> None:
    """The page would show no curves."""
    traffic = Traffic()
    for number, name in enumerate(("opened", "closed", "packets_in", "packets_out", "bytes_in", "bytes_out"), 1):
        setattr(traffic, name, number)
    taken = traffic.take()
    assert {each["type"]: each["count"] for each in taken} == {
        "rawConnection": 1,
        "rawDisconnection": 2,
        "packetsIn": 3,
        "packetsOut": 4,
        "bytesIn": 5,
        "bytesOut": 6,
    }


def test_times_are_milliseconds_of_whole_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page would put the counts of servers into columns of their own, or into the year 1970."""
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.75)
    traffic = Traffic()
    traffic.packets_in = 1
    assert traffic.take() == [{"timestamp": 1_700_000_000_000, "type": "packetsIn", "count": 1}]


def test_what_was_taken_is_not_told_again() -> None:
    """Each curve would rise for ever."""
    traffic = Traffic()
    traffic.bytes_out = 10
    assert len(traffic.take()) == 1
    assert traffic.take() == []
    traffic.bytes_out += 3
    assert [each["count"] for each in traffic.take()] == [3]


def test_nothing_is_measured_while_nobody_watches() -> None:
    """Every packet would pay for a page that nobody has open."""
    line = Line()
    statistics = Statistics(line, {}, None)
    assert line.meters == []
    statistics.start()
    assert len(line.meters) == 1
    statistics.stop()
    assert line.meters == []
    statistics.stop()  # also when it was never started


def test_counts_are_taken_by_the_timer_only() -> None:
    """A second page that opens would take away what the first is to be shown."""
    line = Line()
    statistics = Statistics(line, {}, None)
    statistics.start()
    line.meters[0].packets_in += 4
    assert counts(statistics.now(take=False)) == {}
    assert counts(statistics.now(take=True)) == {"packetsIn": 4}
    assert counts(statistics.now(take=True)) == {}
    line.meters[0].packets_in += 1
    statistics.stop()
    assert counts(statistics.now(take=True)) == {}
    statistics.start()
    assert counts(statistics.now(take=True)) == {}, "what was counted before nobody watched is gone"


def test_the_figures_of_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page would show another server's name, or that nobody is there."""
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    namespaces: dict[str, Any] = {"/": [1, 2], "/chat": []}
    statistics = Statistics(Line(), namespaces, None)
    now = 112.3456
    figures = statistics.now(take=True)
    assert figures == {
        "serverId": f"{socket.gethostname()}#{os.getpid()}",
        "hostname": socket.gethostname(),
        "pid": os.getpid(),
        "uptime": 12.346,
        "clientsCount": 5,
        "pollingClientsCount": 2,
        "aggregatedEvents": [],
        "namespaces": [{"name": "/", "socketsCount": 2}, {"name": "/chat", "socketsCount": 0}],
    }
    namespaces["/late"] = [1]
    assert len(statistics.now(take=False)["namespaces"]) == 3
    assert Statistics(Line(), {}, "blue")._self["serverId"] == "blue"
