"""Workers in one process, joined by one broker: the fast form of a group."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from rtframework.testing import ClusterBroker
from rtframework.workers.backbone import Workers
from rtframework.workers.broker import Broker
from rtframework.workers.group import Group, join


@contextlib.asynccontextmanager
async def running_broker(**options: Any) -> AsyncIterator[Broker]:
    """Run a broker in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="rtf-") as directory:
        broker = Broker(Path(directory), **options)
        await broker.start()
        try:
            yield broker
        finally:
            await broker.stop()


class JoiningWorkers(Workers):
    """A backbone that joins a group of its own name, as each process does."""

    def __init__(self, broker: WorkersBroker, node: str) -> None:
        super().__init__(publish_timeout=0.5)
        self.renew = 0.05
        self._at = broker
        self._node = node
        self.joined: Group | None = None

    @property
    def node(self) -> str:
        """The name that the suite has chosen."""
        return self._node

    async def start(self) -> None:
        """Join."""
        self._given = self.joined = await join(self._at.broker.directory, name=self._node)
        await super().start()

    async def stop(self) -> None:
        """Leave."""
        await super().stop()
        if self.joined is not None:
            await self.joined.leave()
            self.joined = None


class WorkersBroker(ClusterBroker):
    """The broker of a group for the conformance suite, with the faults that it can have."""

    broker: Broker

    def __init__(self) -> None:
        self._stack = contextlib.AsyncExitStack()
        self._servers: dict[str, JoiningWorkers] = {}

    async def start(self) -> None:
        """Start the broker."""
        self.broker = await self._stack.enter_async_context(running_broker())

    async def stop(self) -> None:
        """Stop it."""
        await self._stack.aclose()

    def backbone(self, name: str) -> JoiningWorkers:
        """Make a server's backbone."""
        self._servers[name] = JoiningWorkers(self, name)
        return self._servers[name]

    async def freeze(self) -> None:
        """Let the broker read nothing."""
        for connection in self.broker._connections:
            connection._transport.pause_reading()

    async def thaw(self) -> None:
        """Let it go on."""
        for connection in self.broker._connections:
            connection._transport.resume_reading()

    async def isolate(self, name: str) -> None:
        """Let a worker read nothing, and nothing be read of it."""
        group = self._servers[name].joined
        assert group is not None
        group.link.freeze()
        self.broker._workers[group.slot]._transport.pause_reading()

    async def rejoin(self, name: str) -> None:
        """Let all pass."""
        group = self._servers[name].joined
        assert group is not None
        group.link.thaw()
        self.broker._workers[group.slot]._transport.resume_reading()

    async def crash(self, name: str) -> None:
        """End a worker as ``kill -9`` does."""
        group = self._servers[name].joined
        assert group is not None
        group.crash()

    async def connections(self) -> int:
        """Count the workers."""
        return len(self.broker._workers)

    async def subscriptions(self) -> int:
        """Count the rooms that workers say to have, and the namespaces."""
        rooms = sum(sum(worker.rooms or ()) for worker in self.broker._workers.values())
        return rooms + sum(len(member.serves) for member in self.broker.members.values())
