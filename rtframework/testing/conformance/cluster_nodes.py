"""The servers of the cluster suite: a backbone, its adapters, and what their sockets have received."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any

from ...exceptions import ClusterUnavailable
from ...options import Recovery
from ...protocols import Session
from ...types import Handshake, Packet, PacketType, SocketDetails, Target
from .deliveries import Deliveries, KeptFrames
from .suites import check

if TYPE_CHECKING:
    from ...protocols import Adapter, Backbone, Frames

NSP = "/n"
"""The namespace of most tests."""

EVERYBODY = Target()


@dataclass(frozen=True, slots=True)
class Delivered:
    """An event that reached a socket. ``offset``: what the adapter has added for recovery."""

    sid: str
    args: list[Any]
    offset: str | None
    rooms: frozenset[str] | None = field(default=None, compare=False)
    """The rooms that it was for."""


class NodeDeliveries(Deliveries):
    """An emitter that records what an adapter does on one server, in one namespace."""

    def __init__(self, nsp: str, node: str, recovery: Recovery | None) -> None:
        super().__init__()
        self.nsp = nsp
        self.node = node
        self.recovery = recovery
        self.delivered: list[Delivered] = []
        self.joins: list[tuple[frozenset[str], frozenset[str]]] = []
        self.leaves: list[tuple[frozenset[str], frozenset[str]]] = []
        self.replaced: list[str] = []
        """Sockets that were disconnected because another server has their client."""
        self.answers: Callable[[str], list[Any] | None] = lambda sid: None
        """What a socket answers to an event that asks; ``None``: nothing."""

    def send(
        self,
        sids: Collection[str],
        packet: Packet | Callable[[], Packet],
        *,
        volatile: bool = False,
        compress: bool = True,
        frames: Frames | None = None,
        rooms: Collection[str] | None = None,
    ) -> None:
        """Record a packet for each socket."""
        before = len(self.log)
        super().send(sids, packet, volatile=volatile, compress=compress, frames=frames, rooms=rooms)
        for sid, got in self.log[before:]:
            offset = offset_of(frames, len(got.data))
            self.delivered.append(Delivered(sid, list(got.data), offset, None if rooms is None else frozenset(rooms)))

    def splice(self, args: str, tail: str | None = None, *, compress: bool = True) -> Frames | None:
        """Make frames of this namespace."""
        frames = super().splice(args, tail, compress=compress)
        if isinstance(frames, KeptFrames):
            frames.packet = Packet(PacketType.EVENT, self.nsp, frames.packet.data)
        return frames

    def ask(
        self,
        sids: Collection[str],
        packet: Packet,
        *,
        volatile: bool = False,
        compress: bool = True,
        rooms: Collection[str] | None = None,
    ) -> dict[str, asyncio.Future[list[Any]]]:
        """Ask sockets, and let those answer that do."""
        asked = super().ask(sids, packet, volatile=volatile, compress=compress, rooms=rooms)
        for sid, future in asked.items():
            answer = self.answers(sid)
            if answer is not None:
                asyncio.get_running_loop().call_soon(_answer, future, answer)
        return asked

    def describe(self, sids: Collection[str]) -> list[SocketDetails]:
        """Describe sockets of this server."""
        return [SocketDetails(sid, Handshake(nsp=self.nsp), self._adapter.rooms(sid), {"of": sid}) for sid in sids]

    def join(self, sids: Collection[str], rooms: Collection[str]) -> Any:
        """Record who is made to join, and do it."""
        self.joins.append((frozenset(sids), frozenset(rooms)))
        return super().join(sids, rooms)

    def leave(self, sids: Collection[str], rooms: Collection[str]) -> Any:
        """Record who is made to leave, and do it."""
        self.leaves.append((frozenset(sids), frozenset(rooms)))
        return super().leave(sids, rooms)

    def disconnect(
        self, sids: Collection[str], close: bool, *, reason: str | None = None, persist: bool = True
    ) -> None:
        """Record who is disconnected, and do it."""
        if not persist:
            self.replaced.extend(sids)
        super().disconnect(sids, close, reason=reason, persist=persist)

    async def serve(self, args: Sequence[Any]) -> Any:
        """Answer with the name of this server."""
        await super().serve(args)
        return self.node

    def of(self, sid: str, event: str = "n") -> list[Delivered]:
        """Return the events of one name that a socket has received."""
        return [each for each in self.delivered if each.sid == sid and each.args[0] == event]


def offset_of(frames: Frames | None, arguments: int) -> str | None:
    """Return the argument that an adapter has added to a packet's own."""
    if isinstance(frames, KeptFrames) and len(frames.packet.data) == arguments + 1:
        return str(frames.packet.data[-1])
    return None


def _answer(future: asyncio.Future[list[Any]], answer: list[Any]) -> None:
    if not future.done():
        future.set_result(answer)


class ClusterNode:
    """One server: a backbone, and an adapter for each namespace that is open."""

    def __init__(self, name: str, backbone: Backbone, recovery: Recovery | None) -> None:
        self.name = name
        self.backbone = backbone
        self.adapters: dict[str, Adapter] = {}
        self.emitters: dict[str, NodeDeliveries] = {}
        self._recovery = recovery

    @property
    def adapter(self) -> Adapter:
        """The adapter of the namespace of most tests."""
        return self.adapters[NSP]

    @property
    def heard(self) -> NodeDeliveries:
        """What the sockets of that namespace have received."""
        return self.emitters[NSP]

    @property
    def listener(self) -> str:
        """The id of a socket that is always there."""
        return f"listener of {self.name}"

    async def start(self) -> None:
        """Start, with one socket."""
        await self.backbone.start()
        await self.open(NSP)
        await self.enter(self.listener, self.listener)

    async def open(self, nsp: str) -> Adapter:
        """Open a namespace."""
        emitter = self.emitters[nsp] = NodeDeliveries(nsp, self.backbone.node, self._recovery)
        emitter.adapter = adapter = self.backbone(nsp, emitter)
        self.adapters[nsp] = adapter
        await adapter.start()
        return adapter

    async def close(self, nsp: str) -> None:
        """Close a namespace, all of whose sockets go before."""
        adapter = self.adapters.pop(nsp)
        for sid in adapter.sockets(EVERYBODY):
            adapter.remove_all(sid)
        await adapter.close()

    async def stop(self) -> None:
        """Close all namespaces, and stop."""
        for nsp in list(self.adapters):
            await self.close(nsp)
        await self.backbone.stop()

    async def enter(self, sid: str, *rooms: str) -> None:
        """Let a socket in, as a namespace does, and return when it is reached."""
        waiting = self.adapter.add(sid, rooms)
        if waiting is not None:
            await waiting
        if self._recovery is not None:
            self.adapter.keep_session(self._session(sid))

    def lose(self, sid: str) -> Session:
        """Lose a socket that may come back, as a namespace does. Return its session."""
        session = self._session(sid)
        self.adapter.persist_session(session)
        self.adapter.remove_all(sid)
        return session

    def _session(self, sid: str) -> Session:
        session = self.heard.session(sid)
        assert session is not None
        return session

    async def emit(self, *args: Any, target: Target = EVERYBODY) -> None:
        """Emit an event: its name, then its arguments."""
        await self.adapter.broadcast(Packet(PacketType.EVENT, NSP, list(args)), target)


@dataclass
class Emit:
    """One emit of a flood and what became of it: ``error`` is what it raised."""

    at: float
    error: ClusterUnavailable | None = None


@dataclass
class Flood:
    """Numbered events of each server, ``["n", server, number]``, one after another, while something happens."""

    nodes: Sequence[ClusterNode]
    interval: float = 0.003
    emits: dict[str, list[Emit]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._goes_on = True
        self._tasks: list[asyncio.Task[None]] = []
        self._waiting: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Flood:
        for node in self.nodes:
            self.emits[node.name] = []
            self._tasks.append(asyncio.create_task(self._run(node)))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Emit no more, and wait for the outcome of what was emitted."""
        self._goes_on = False
        for task in (*self._tasks, *self._waiting):
            await task

    async def _run(self, node: ClusterNode) -> None:
        while self._goes_on:
            number = len(self.emits[node.name])
            emit = Emit(time.time())
            self.emits[node.name].append(emit)
            task = asyncio.create_task(self._emit(node, number, emit))
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)
            await asyncio.sleep(self.interval)

    async def _emit(self, node: ClusterNode, number: int, emit: Emit) -> None:
        try:
            await node.emit("n", node.name, number)
        except ClusterUnavailable as error:
            emit.error = error

    # --- what has become of it ----------------------------------------------------------------------------------------

    def check(self, readers: Iterable[ClusterNode], *, ordered: bool, durable: bool) -> None:
        """Check that no reader's listener lacks an event without being told, or has it twice or out of order.

        ``ordered``: all have one order. ``durable``: nothing at all is missing, and nobody is told that.
        """
        orders = []
        for node in readers:
            got = [(str(each.args[1]), int(each.args[2])) for each in node.heard.of(node.listener)]
            self.check_own_order(got, node.name)
            self._check_missing(node, set(got), durable)
            orders.append((node.name, got))
        if ordered:
            for (first, one), (second, other) in combinations(orders, 2):
                both = set(one) & set(other)
                same = [each for each in one if each in both] == [each for each in other if each in both]
                check(same, f"{first} and {second} have the events in different orders")

    @staticmethod
    def check_own_order(got: Sequence[tuple[str, int]], reader: str) -> None:
        """Check that each server's events came once, and in its order."""
        doubled = sorted({each for each in got if got.count(each) > 1}) if len(set(got)) != len(got) else []
        check(not doubled, f"{reader} got {len(doubled)} events twice, {doubled[:5]} for example")
        for origin in {of for of, _ in got}:
            numbers = [number for of, number in got if of == origin]
            check(numbers == sorted(numbers), f"{reader} got the events of {origin} out of order: {_turns(numbers)}")

    def _check_missing(self, node: ClusterNode, got: set[tuple[str, int]], durable: bool) -> None:
        gaps = node.heard.gaps
        for origin, emits in self.emits.items():
            for number, emit in enumerate(emits):
                has_it = (origin, number) in got
                if emit.error is None:
                    told = any(since <= emit.at + 1.0 for since in gaps)
                    check(has_it or (told and not durable), f"{node.name} lacks {number} of {origin}, and is not told")
                elif not emit.error.uncertain and not (emit.error.local and origin == node.name):
                    check(not has_it, f"{node.name} has {number} of {origin}, whose emit raised {emit.error!r}")
        if durable:
            check(not gaps, f"{node.name} was told of {len(gaps)} gaps, and nothing was lost")


def _turns(numbers: Sequence[int]) -> list[tuple[int, int]]:
    return [(one, other) for one, other in pairwise(numbers) if one > other][:5]
