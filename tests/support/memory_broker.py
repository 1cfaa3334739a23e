"""The broker of ``tests.support.backbone`` for the conformance suite of clusters, and the suite itself."""

from __future__ import annotations

from typing import Any

from rtframework.testing import ClusterBroker, ClusterConformance
from tests.support.backbone import Broker, FakeBackbone


class MemoryBroker(ClusterBroker):
    """Joins servers in one process, with the faults that this can have."""

    def __init__(self, make: type[FakeBackbone] = FakeBackbone) -> None:
        self._make = make
        self._broker = Broker()
        self._servers: dict[str, FakeBackbone] = {}

    def backbone(self, name: str) -> FakeBackbone:
        """Make a server's backbone."""
        self._servers[name] = self._make(self._broker, name)
        return self._servers[name]

    async def kill(self) -> None:
        """Refuse whatever is published."""
        self._broker.fail()

    async def revive(self, *, empty: bool = False) -> None:
        """Take it again."""
        if empty:
            self._cannot("revive(empty=True)")
        self._broker.recover()

    async def freeze(self) -> None:
        """Let no server read."""
        for each in self._servers.values():
            each.freeze()

    async def thaw(self) -> None:
        """Let all read."""
        for each in self._servers.values():
            each.frozen.set()

    async def isolate(self, name: str) -> None:
        """Let a server not read."""
        self._servers[name].freeze()

    async def rejoin(self, name: str) -> None:
        """Let it read."""
        self._servers[name].frozen.set()

    async def crash(self, name: str) -> None:
        """Let a server do nothing any more, and let the others notice."""
        self._broker.leave(name)
        await self._servers[name].kill()

    async def connections(self) -> int:
        """Count the servers."""
        return len(self._broker.backbones)

    async def subscriptions(self) -> int:
        """Count the subscriptions to rooms, and the namespaces that are heard."""
        return sum(len(each._rooms) + len(each.adapters) for each in self._broker.backbones.values())


def memory_suite(make: type[FakeBackbone] = FakeBackbone, **attributes: Any) -> type[ClusterConformance]:
    """Return the suite for such backbones, in a hurry."""
    given = {
        "broker": lambda self: MemoryBroker(make),
        **dict.fromkeys(("ordered", "durable", "recovers", "named"), True),
        "outage": 0.05,
        "patience": 1.0,
        "notice": 1.0,
        "publish_timeout": 0.2,
        **attributes,
    }
    return type("Suite", (ClusterConformance,), given)


def failure(suite: type[ClusterConformance], test: str) -> str:
    """Run one test of a suite, and return what it has failed with."""
    try:
        getattr(suite(), test)()
    except Exception as error:  # noqa: BLE001 - a test may fail in any way
        return str(error) or type(error).__name__
    return ""
