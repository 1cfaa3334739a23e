"""The metrics of all workers of a port, whichever of them is asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from rtframework.exceptions import ClusterUnavailable
from rtframework.workers.last_values import LastValues

from .summing import Collects, Sum, decode, encode, take

if TYPE_CHECKING:
    from rtframework.workers.group import Group

_PATIENCE: Final = 2.0
"""Seconds that workers have to answer."""
_MOST_GONE: Final = 8
"""Workers that have gone whose counts the broker keeps one by one, before they are put together."""


class MetricsOfWorkers:
    """Asks all workers of a group for their metrics.

    ``registry``: this worker's; ``topic``: the same in all workers, another one for each registry.
    """

    def __init__(self, group: Group, topic: str, registry: Collects) -> None:
        self._group = group
        self._topic = topic
        self._registry = registry
        self._kept = LastValues(group, topic)
        group.answer(topic, self._answer)

    def keep(self) -> bytes:
        """Keep what was counted here: it stays in the sum when this worker has gone. Return it."""
        found = encode(take(self._registry))
        self._kept.write(found)
        return found

    async def sum(self) -> Sum:
        """Return the sum of all workers, with one gauge that says which have answered, and one with their clients."""
        found = await self._group.gather(self._topic, timeout=_PATIENCE)
        group, total = self._group, Sum()
        slots = {group.name: group.slot, **{each.name: slot for slot, each in group.members.items()}}
        for name, answer in found.answers.items():
            if name in slots:
                total.add(decode(answer), str(slots[name]))
        missing = [name for name in slots if name not in found.answers]
        with contextlib.suppress(ClusterUnavailable):  # this worker ends
            await self._add_kept(total, missing)
        total.add(take(_About(group, slots, missing)), "")
        return total

    def _answer(self, _: bytes) -> bytes:
        return self.keep()

    async def _add_kept(self, total: Sum, missing: Collection[str]) -> None:
        for data in await asyncio.gather(*map(self._kept.of_worker, missing)):
            if data is not None:
                total.add_counts(decode(data))
        gone = await self._kept.of_those_gone()
        together = Sum()
        for each in gone:
            together.add_counts(decode(each.value))
        total.add_counts(together.families())
        if len(gone) > _MOST_GONE:
            await self._kept.replace(gone, encode(together.families()))


class _About(Collects):
    """Metrics about the workers themselves."""

    def __init__(self, group: Group, slots: Mapping[str, int], missing: Collection[str]) -> None:
        self._group = group
        self._slots = slots
        self._missing = missing

    def collect(self) -> list[Metric]:
        """Return them."""
        up = GaugeMetricFamily("rtframework_worker_up", "1 if the worker has answered in time", labels=("worker",))
        clients = GaugeMetricFamily("rtframework_worker_clients", "Open connections of a worker", labels=("worker",))
        for name, slot in sorted(self._slots.items(), key=itemgetter(1)):
            up.add_metric((str(slot),), name not in self._missing)
            clients.add_metric((str(slot),), self._group.table.clients(slot))
        return [up, clients]
