"""One scrape of any worker shows all."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from rtframework.workers.group import Group, join
from rtframework_prometheus import of_workers
from rtframework_prometheus.of_workers import MetricsOfWorkers
from tests.support.until import until
from tests.support.workers import running_broker


class Worker:
    """A worker that counts."""

    def __init__(self, group: Group) -> None:
        self.group = group
        registry = CollectorRegistry()
        self.clients = Gauge("clients", "", registry=registry)
        self.events = Counter("events", "", registry=registry)
        self.metrics = MetricsOfWorkers(group, "metrics", registry)

    async def scrape(self) -> Mapping[str, str]:
        """What Prometheus gets."""
        lines = generate_latest(await self.metrics.sum()).decode().splitlines()
        return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#") and "_created" not in line)


async def alone(group: Group) -> None:
    """Wait until the others have gone."""
    await until(lambda: not group.members)


async def test_any_worker_shows_the_sum_of_all() -> None:
    """Each scrape would show another worker, by chance, and never all."""
    async with running_broker() as broker, await join(broker.directory) as one, await join(broker.directory) as two:
        workers = [Worker(one), Worker(two)]
        await until(lambda: one.members)
        for number, worker in enumerate(workers, 1):
            worker.clients.set(number)
            worker.events.inc(10 * number)
            worker.group.table.set_clients(worker.group.slot, number)
        expected = {
            "clients": "3.0",
            "events_total": "30.0",
            'rtframework_worker_up{worker="0"}': "1.0",
            'rtframework_worker_up{worker="1"}': "1.0",
            'rtframework_worker_clients{worker="0"}': "1.0",
            'rtframework_worker_clients{worker="1"}': "2.0",
        }
        for worker in workers:
            assert await worker.scrape() == expected


async def test_a_worker_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that hangs would fail the scrape of all, just when it matters, or be silently left out."""
    async with running_broker() as broker, await join(broker.directory) as one, await join(broker.directory) as two:
        here, there = Worker(one), Worker(two)
        await until(lambda: one.members)
        there.clients.set(5)
        there.events.inc(7)
        await here.scrape()
        monkeypatch.setattr(of_workers, "_PATIENCE", 0.05)
        two.link.freeze()
        found = await here.scrape()
        assert (found['rtframework_worker_up{worker="0"}'], found['rtframework_worker_up{worker="1"}']) == (
            "1.0",
            "0.0",
        )
        assert (found["clients"], found["events_total"]) == ("0.0", "7.0"), "what it has counted stays"
        two.link.thaw()


async def test_counters_never_fall() -> None:
    """Prometheus would take each replaced worker for a restart of all, and show a peak."""
    async with running_broker() as broker, await join(broker.directory) as group:
        here = Worker(group)
        for number in range(12):
            other = await join(broker.directory)
            gone = Worker(other)
            gone.events.inc()
            gone.clients.set(1)
            assert (await here.scrape())["events_total"] == f"{number + 1}.0"
            if number % 2:
                gone.events.inc(0)
                gone.metrics.keep()
                await other.leave()
            else:
                other.crash()
            await alone(group)
            found = await here.scrape()
            assert (found["events_total"], found["clients"]) == (f"{number + 1}.0", "0.0")
            if not number % 2:
                await other.leave()
        assert len(await here.metrics._kept.of_those_gone()) <= 9
