"""Metrics of several processes, summed. Without I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Protocol

import msgspec
from prometheus_client.metrics_core import Metric

_CUMULATIVE: Final = frozenset({"counter", "histogram", "summary"})
_OF_PROCESSES: Final = ("process_", "python_")
"""Beginnings of the names of families that describe one process: each worker has its own, in a label."""
_LEAST: Final = "_up"
"""End of the names of gauges that are 1 if all is well: the least counts."""
_CREATED: Final = "_created"
"""End of the names of samples that are the time from which others have counted: the earliest counts."""


class Collects(Protocol):
    """A registry, or a collector."""

    def collect(self) -> Iterable[Metric]:
        """Return its metrics."""


class Sample(msgspec.Struct, array_like=True):
    """A sample of a family."""

    name: str
    labels: dict[str, str]
    value: float


class Family(msgspec.Struct, array_like=True):
    """A metric with its samples."""

    name: str
    type: str
    text: str
    unit: str
    samples: list[Sample]


_decoder: Final = msgspec.msgpack.Decoder(list[Family])


def take(registry: Collects) -> list[Family]:
    """Take the metrics of a process."""
    return [
        Family(
            *(each.name, each.type, each.documentation, each.unit),
            [Sample(sample.name, dict(sample.labels), float(sample.value)) for sample in each.samples],
        )
        for each in registry.collect()
    ]


def encode(families: list[Family]) -> bytes:
    """Write metrics down."""
    return msgspec.msgpack.encode(families)


def decode(data: bytes) -> list[Family]:
    """Read what :func:`encode` has written. Raises ``msgspec.DecodeError``."""
    return _decoder.decode(data)


class Sum:
    """The sum of the metrics of several processes: counters, histograms and gauges.

    What describes a process itself (``process_…``, ``python_…``) is not summed, and gets a label ``worker``. Of a
    process that has ended, what it has counted stays in the sum: counters never fall.
    """

    def __init__(self) -> None:
        self._families: dict[str, Family] = {}
        self._samples: dict[tuple[str, tuple[tuple[str, str], ...]], Sample] = {}

    def add(self, families: Iterable[Family], worker: str) -> None:
        """Add the metrics of a process. ``worker``: its label."""
        for family in families:
            label = {"worker": worker} if family.name.startswith(_OF_PROCESSES) else {}
            for sample in family.samples:
                self._add(family, Sample(sample.name, {**sample.labels, **label}, sample.value))

    def add_counts(self, families: Iterable[Family]) -> None:
        """Add what a process has counted that has ended, or does not answer."""
        for family in families:
            if family.type in _CUMULATIVE and not family.name.startswith(_OF_PROCESSES):
                for sample in family.samples:
                    self._add(family, sample)

    def families(self) -> list[Family]:
        """Return the sum."""
        return list(self._families.values())

    def collect(self) -> Iterator[Metric]:
        """Return the sum as a registry does."""
        for family in self._families.values():
            metric = Metric(family.name, family.text, family.type, family.unit)
            for sample in family.samples:
                metric.add_sample(sample.name, sample.labels, sample.value)
            yield metric

    def _add(self, family: Family, sample: Sample) -> None:
        into = self._families.get(family.name)
        if into is None:
            into = Family(family.name, family.type, family.text, family.unit, [])
            self._families[family.name] = into
        key = sample.name, tuple(sorted(sample.labels.items()))
        there = self._samples.get(key)
        if there is None:
            there = self._samples[key] = Sample(sample.name, sample.labels, sample.value)
            into.samples.append(there)
        elif sample.name.endswith((_LEAST, _CREATED)):
            there.value = min(there.value, sample.value)
        elif family.type not in ("info", "stateset"):
            there.value += sample.value
