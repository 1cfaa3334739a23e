"""What the tests of a cluster share: the abilities of an adapter, servers on a broker, and waiting for them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from ...exceptions import ClusterUnavailable
from ...options import Recovery
from .adapters import AdapterConformance
from .cluster_nodes import ClusterNode, Flood
from .suites import check

if TYPE_CHECKING:
    from ...protocols import Adapter, Emitter
    from .cluster_broker import ClusterBroker

Scenario: TypeAlias = "Callable[[ClusterBroker, list[ClusterNode]], Awaitable[None]]"


class ClusterSuite(AdapterConformance):
    """Abilities of an adapter, and servers for the tests of :class:`ClusterConformance`, which describes them."""

    ordered: bool = False
    durable: bool = False
    recovers: bool = False
    named: bool = False
    thorough: bool = False
    outage: float = 0.3
    long_outage: float = 11.0
    notice: float = 15.0
    publish_timeout: float = 5.0
    recovery: Recovery = Recovery()

    _alone: ClusterNode
    _at: ClusterBroker

    def broker(self) -> ClusterBroker:
        """Return a new broker, not started."""
        raise NotImplementedError("give the suite a broker()")

    # --- for the tests of one adapter ---------------------------------------------------------------------------------

    def adapter(self, nsp: str, emitter: Emitter) -> Adapter:
        """Return an adapter of the only server."""
        return self._alone.backbone(nsp, emitter)

    async def start(self) -> None:
        """Start a broker and one server."""
        self._at = self.broker()
        await self._at.start()
        self._alone = ClusterNode("n0", self._at.backbone("n0"), None)
        await self._alone.backbone.start()

    async def stop(self) -> None:
        """Stop both."""
        await self._alone.backbone.stop()
        await self._at.stop()

    # --- for the tests of several -------------------------------------------------------------------------------------

    def nodes(self, broker: ClusterBroker, count: int) -> list[ClusterNode]:
        """Return servers, not started, by the names ``n0``, ``n1`` and so on."""
        recovery = self.recovery if self.recovers else None
        return [ClusterNode(name, broker.backbone(name), recovery) for name in (f"n{each}" for each in range(count))]

    def _run_nodes(self, count: int, scenario: Scenario, *needed: str) -> None:
        async def run() -> None:
            broker = self.broker()
            broker.can(*needed)
            await broker.start()
            try:
                async with self._running(self.nodes(broker, count)) as nodes:
                    await scenario(broker, nodes)
            finally:
                await broker.stop()

        asyncio.run(run())

    @contextlib.asynccontextmanager
    async def _running(self, nodes: Sequence[ClusterNode]) -> AsyncIterator[list[ClusterNode]]:
        before = asyncio.all_tasks()
        async with contextlib.AsyncExitStack() as stack:
            for node in nodes:
                stack.push_async_callback(node.stop)
                await node.start()
            yield list(nodes)
        await self._until(lambda: asyncio.all_tasks() <= before, "stopped, and tasks are left")

    async def _met(self, nodes: Sequence[ClusterNode], timeout: float | None = None) -> None:
        """Wait until each server hears each, and all that they had emitted before has come."""
        timeout = self.patience if timeout is None else timeout
        names = {node.name: next(_numbers) for node in nodes}
        for node in nodes:
            await self._emit_at_last(node, ("mark", node.name, names[node.name]), timeout)
        for node in nodes:
            for mark in names.items():
                await self._until(partial(_has_mark, node, mark), f"{node.name} does not hear {mark[0]}", timeout)

    async def _emit_at_last(self, node: ClusterNode, args: tuple[str, str, int], timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                while True:
                    try:
                        await node.emit(*args)
                    except ClusterUnavailable:
                        await asyncio.sleep(0.02)
                    else:
                        return
        except TimeoutError:
            raise AssertionError(f"{node.name} cannot emit for {timeout:g} s") from None

    async def _flood_through(
        self,
        nodes: Sequence[ClusterNode],
        fault: Callable[[float], Awaitable[None]],
        *,
        durable: bool | None = None,
        timeout: float | None = None,
    ) -> Flood:
        """Emit on all servers while something happens and after it. Check what became of it.

        ``fault``: called with the seconds that it is to last. ``timeout``: seconds in which all hear each other again.
        """
        seconds = self.long_outage if self.thorough else self.outage
        await self._met(nodes)
        async with Flood(nodes) as flood:
            await asyncio.sleep(0.05)
            await fault(seconds)
            await self._met(nodes, self.notice if timeout is None else timeout)
            await asyncio.sleep(0.05)
        await self._met(nodes)
        flood.check(nodes, ordered=self.ordered, durable=self.durable if durable is None else durable)
        raised = sum(emit.error is not None for emits in flood.emits.values() for emit in emits)
        total = sum(len(emits) for emits in flood.emits.values())
        check(raised < total, "every emit raised")
        return flood

    async def _told(self, nodes: Sequence[ClusterNode], timeout: float | None = None) -> None:
        """Wait until each server was told of a gap, and check that it was told of exactly one."""
        timeout = self.notice if timeout is None else timeout
        for node in nodes:
            await self._come(node.heard.gaps, 1, f"{node.name} is not told of a gap", timeout)
        await self._met(nodes)
        for node in nodes:
            check(len(node.heard.gaps) == 1, f"{node.name} was told of {len(node.heard.gaps)} gaps")

    async def _comes_to(self, ask: Callable[[], Awaitable[int]], expected: int, what: str) -> None:
        """Wait until the broker counts as many as are expected."""
        found = await ask()
        deadline = asyncio.get_running_loop().time() + self.patience
        while found != expected and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)
            found = await ask()
        check(found == expected, f"{found} {what}, and not {expected}")

    async def _come(self, items: Sequence[object], count: int, message: str, timeout: float | None = None) -> None:
        """Wait until a list has so many items."""
        await self._until(lambda: len(items) >= count, message, timeout)

    async def _until(self, condition: Callable[[], bool], message: str, timeout: float | None = None) -> None:
        try:
            async with asyncio.timeout(self.patience if timeout is None else timeout):
                while not condition():  # noqa: ASYNC110 - the adapter's way to get there is unknown
                    await asyncio.sleep(0.001)
        except TimeoutError:
            raise AssertionError(message) from None


def _has_mark(node: ClusterNode, mark: tuple[str, int]) -> bool:
    return any(tuple(each.args[1:3]) == mark for each in node.heard.of(node.listener, "mark"))


_numbers = itertools.count(1)
