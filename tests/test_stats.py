"""The figures of a server, taken at one moment."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, cast

import pytest

from rtframework.counters import Counters, add
from rtframework.protocols import Adapter, ConnectionMonitor, Meter
from rtframework.stats import ClusterStats, CountsRooms, Stats, take_stats


@dataclass
class Line:
    """The engine's side: what is open at this moment."""

    clients: int = 0
    polling: int = 0
    waiting: int = 0
    handlers: int = 0

    def count_clients(self) -> dict[str, int]:
        return {"polling": self.polling, "websocket": self.clients - self.polling}

    def inbound_bytes(self) -> int:
        return 55

    def waiting_bytes(self) -> int:
        return self.waiting

    def waiting_handlers(self) -> int:
        return self.handlers

    def measure(self, meter: Meter) -> None: ...

    def unmeasure(self, meter: Meter) -> None: ...


class Counting:
    """An adapter that tells how many rooms it has."""

    def __init__(self, rooms: int) -> None:
        self.rooms = rooms

    def room_count(self) -> int:
        return self.rooms


class Silent:
    """An adapter that does not."""


@dataclass
class Namespace:
    """A namespace as statistics see it."""

    label: str
    sockets: int = 0
    keeps: Any = dataclasses.field(default_factory=Silent)

    @property
    def adapter(self) -> Adapter:
        return cast("Adapter", self.keeps)

    def __len__(self) -> int:
        return self.sockets


def take(counts: Counters | None = None, line: ConnectionMonitor | None = None, *namespaces: Namespace) -> Stats:
    """The figures of a server that is made of these parts."""
    return take_stats(counts or Counters(), line or Line(), namespaces)


def test_an_idle_server_has_figures() -> None:
    """A dashboard would fail for a server that nobody has connected to yet."""
    stats = take()
    assert dict(stats.connections) == {"polling": 0, "websocket": 0}
    assert (dict(stats.sockets), dict(stats.rooms)) == ({}, {})
    assert (stats.outbox_bytes, stats.waiting_handlers, stats.opened, stats.upgrades) == (0, 0, 0, 0)


def test_each_connection_has_one_transport() -> None:
    """Connections by polling would be counted twice, as websockets too."""
    stats = take(None, Line(clients=5, polling=2, waiting=77, handlers=3))
    assert dict(stats.connections) == {"polling": 2, "websocket": 3}
    assert (stats.outbox_bytes, stats.inbound_bytes, stats.waiting_handlers) == (77, 55, 3)


def test_children_are_counted_under_their_parent() -> None:
    """A series for each tenant would fill the metrics, and a client could make up as many as it likes."""
    stats = take(
        None,
        None,
        Namespace("/", 1, Counting(4)),
        Namespace("/chat/{tenant}", 2, Counting(5)),
        Namespace("/chat/{tenant}", 3, Counting(6)),
    )
    assert dict(stats.sockets) == {"/": 1, "/chat/{tenant}": 5}
    assert dict(stats.rooms) == {"/": 4, "/chat/{tenant}": 11}


def test_an_adapter_need_not_tell_how_many_rooms_it_has() -> None:
    """An adapter of a plugin would end the statistics, or be shown as one without rooms."""
    stats = take(None, None, Namespace("/", 2), Namespace("/other", 0, Counting(0)))
    assert dict(stats.sockets) == {"/": 2, "/other": 0}
    assert dict(stats.rooms) == {"/other": 0}
    assert isinstance(Counting(0), CountsRooms)
    assert not isinstance(Silent(), CountsRooms)


TABLES = ("closed", "connects", "dropped", "events_refused", "recoveries", "requests_refused")


@pytest.mark.parametrize("name", TABLES)
def test_what_was_counted_is_there_and_stays(name: str) -> None:
    """Two figures that were taken one after the other could not be compared: the first would go on."""
    counts = Counters()
    table = getattr(counts, name)
    add(table, "special", 3)
    before = take(counts)
    add(table, "special", 4)
    after = take(counts)
    assert getattr(before, name)["special"] == 3
    assert getattr(after, name)["special"] == 7
    others = {each: getattr(after, each) for each in TABLES if each != name}
    assert all("special" not in each for each in others.values())


def test_counters_of_one_number_are_copied() -> None:
    """A deployment could not be judged by how many have come since."""
    counts = Counters()
    counts.opened, counts.upgrades = 7, 4
    stats = take(counts)
    counts.opened = 8
    assert (stats.opened, stats.upgrades) == (7, 4)


def test_figures_cannot_be_changed() -> None:
    """A metrics plugin that adds to what it was given would change what the next one sees."""
    stats = take()
    for field in dataclasses.fields(Stats):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(stats, field.name, 1)
        value = getattr(stats, field.name)
        if not isinstance(value, int):
            with pytest.raises(TypeError):
                value["new"] = 1


def test_the_cluster_is_part_of_the_figures() -> None:
    """A program without Prometheus would not see that it has lost the other servers."""
    assert take().cluster is None, "there are no other servers"
    cluster = ClusterStats(up=False, pending_bytes=1, gaps=2, lost=3, published=4, received=5, reconnects=6)
    assert take_stats(Counters(), Line(), (), cluster).cluster == cluster
