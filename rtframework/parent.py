"""A parent: many namespaces, named by a pattern or a function, with the same handlers and middleware."""

from __future__ import annotations

import asyncio
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from .exceptions import AckTimeout
from .namespace import Namespace
from .patterns import Pattern, Question
from .room_events import RoomEvents
from .together import run_together
from .types import AckResponses, Packet, Target

if TYPE_CHECKING:
    from .namespace import Host
    from .protocols import Adapter, ConnectMiddleware, Engine, EventMiddleware
    from .socket import Socket

F = TypeVar("F", bound=Callable[..., Any])

Factory = Callable[[str], Namespace]


class ParentNamespace(Namespace):
    """What ``io.of`` gives for a template, a regular expression or a function.

    It has no sockets of its own. What is registered with it is registered with all its children, those that are there
    and those to come, and what is emitted with it goes to the sockets of all of them.
    """

    def __init__(self, rule: Pattern | Question, factory: Factory) -> None:
        super().__init__()
        self.name = rule.label
        self.rule = rule
        self.factory = factory
        self._members: dict[str, Namespace] = {}

    def __len__(self) -> int:
        """How many sockets are in its children, on this server."""
        return sum(len(child) for child in self._members.values())

    # --- registration -----------------------------------------------------------------------------------------------

    def on(self, event: str, *, ordered: bool | None = None) -> Callable[[F], F]:
        """Register the decorated function for an event of every child; see :meth:`Namespace.on`.

        A child that has a handler of its own for the event keeps that.
        """
        ordered = self._ordered if ordered is None else ordered
        register_here = super().on(event, ordered=ordered)

        def register(function: F) -> F:
            register_here(function)
            for child in self._members.values():
                if not child.handles(event):
                    child.on(event, ordered=ordered)(function)
            return function

        return register

    def use(self, middleware: ConnectMiddleware) -> ConnectMiddleware:
        """Add connect middleware to every child; see :meth:`Namespace.use`."""
        for child in self._members.values():
            child.use(middleware)
        return super().use(middleware)

    def use_event(self, middleware: EventMiddleware) -> EventMiddleware:
        """Add event middleware to every child; see :meth:`Namespace.use_event`."""
        for child in self._members.values():
            child.use_event(middleware)
        return super().use_event(middleware)

    # --- what a program asks ----------------------------------------------------------------------------------------

    @property
    def children(self) -> Mapping[str, Namespace]:
        """The children that are there, by name; a live view."""
        return MappingProxyType(self._members)

    @property
    def sockets(self) -> Mapping[str, Socket]:
        """The sockets of all the children that are there at this moment, by id."""
        return MappingProxyType(ChainMap(*(child._sockets for child in self._members.values())))

    # --- what sockets and operators ask -----------------------------------------------------------------------------

    async def ask(self, packet: Packet, target: Target, timeout: float | None) -> AckResponses:
        """Ask the sockets of all children at once."""
        if not self._members:
            self.engine.encode(packet)
        asking = [
            child.ask(Packet(packet.type, child.name, packet.data), target, timeout) for child in self._members.values()
        ]
        responses: dict[str, Any] = {}
        missing: list[str] = []
        late = False
        for outcome in await asyncio.gather(*asking, return_exceptions=True):
            if isinstance(outcome, AckTimeout):
                late = True
            elif isinstance(outcome, BaseException):
                raise outcome
            responses.update(outcome.responses)
            missing.extend(outcome.missing)
        if late:
            raise AckTimeout(responses=responses, missing=missing)
        return AckResponses(responses, tuple(missing))

    # --- what the registry of children calls ------------------------------------------------------------------------

    def add_child(self, child: Namespace) -> None:
        """A child was made."""
        self._members[child.name] = child
        assert isinstance(self.adapter, _Adapters)
        self.adapter.introduce(child)

    def remove_child(self, child: Namespace) -> None:
        """A child was cleaned up."""
        del self._members[child.name]

    # --- inside -----------------------------------------------------------------------------------------------------

    def _make_adapter(self, host: Host) -> Adapter:
        return _Adapters(host.engine, self._members)


class _Adapters:
    """The adapters of all children, as one."""

    def __init__(self, engine: Engine, members: Mapping[str, Namespace]) -> None:
        self._engine = engine
        self._members = members
        self._check = RoomEvents()
        self._listeners: list[tuple[str, Callable[..., Any]]] = []

    def add(self, sid: str, rooms: Iterable[str]) -> None:
        """Put a socket into rooms of its namespace."""
        for adapter in self._of(sid):
            adapter.add(sid, rooms)

    def remove(self, sid: str, rooms: Iterable[str]) -> None:
        """Take a socket out of rooms of its namespace."""
        for adapter in self._of(sid):
            adapter.remove(sid, rooms)

    def remove_all(self, sid: str) -> frozenset[str]:
        """Forget a socket; the rooms it was in."""
        return frozenset().union(*(adapter.remove_all(sid) for adapter in self._of(sid)))

    def rooms(self, sid: str) -> frozenset[str]:
        """The rooms of a socket."""
        return frozenset().union(*(adapter.rooms(sid) for adapter in self._of(sid)))

    def sockets(self, target: Target) -> list[str]:
        """The ids of the sockets that a target selects."""
        return [sid for child in self._members.values() for sid in child.adapter.sockets(target)]

    async def broadcast(self, packet: Packet, target: Target) -> None:
        """Deliver a packet in every child: encoded once for each, since its name is in the packet."""
        if not self._members:
            self._engine.encode(packet)  # a mistake shows at once, as with any namespace
            return
        await run_together(
            [
                child.adapter.broadcast(Packet(packet.type, child.name, packet.data, packet.id), target)
                for child in self._members.values()
            ]
        )

    async def start(self) -> None:
        """Each child starts its own."""

    async def close(self) -> None:
        """Each child closes its own."""

    def on(self, event: str) -> Callable[[F], F]:
        """Register the decorated function for the rooms of all children, those that are there and those to come."""
        check = self._check.on(event)

        def register(function: F) -> F:
            check(function)
            self._listeners.append((event, function))
            for child in self._members.values():
                child.adapter.on(event)(function)
            return function

        return register

    def introduce(self, child: Namespace) -> None:
        """A child was made: whoever listens hears of its rooms, too."""
        for event, function in self._listeners:
            child.adapter.on(event)(function)

    def off(self, event: str, function: Callable[..., Any]) -> None:
        """Forget a function."""
        self._check.off(event, function)
        if (event, function) in self._listeners:
            self._listeners.remove((event, function))
        for child in self._members.values():
            child.adapter.off(event, function)

    def _of(self, sid: str) -> list[Adapter]:
        return [child.adapter for child in self._members.values() if sid in child.sockets]
