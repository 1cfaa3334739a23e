"""A parent: many namespaces, named by a pattern or a function, with the same handlers and middleware."""

from __future__ import annotations

import asyncio
from collections import ChainMap
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..adapters.partial_views import looked_at
from ..adapters.room_events import RoomEvents
from ..concurrency import TaskSet, run_abreast
from ..exceptions import AckTimeout, ClusterUnavailable, ConfigurationError, FetchTimeout
from ..handlers.declarations import Declaration, declarations_of
from ..handlers.mistakes import given_a_function
from ..types import AckResponses, Member, Packet, Target
from .namespace import Namespace
from .patterns import Pattern, Question

if TYPE_CHECKING:
    from ..protocols import Adapter, Engine, Session
    from ..types import SocketDetails
    from .host import Host
    from .socket import Socket

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
M = TypeVar("M", bound=Callable[..., Awaitable[Any]])

Factory = Callable[[str], Namespace]


class ParentNamespace(Namespace):
    """The parent of many namespaces: ``io.of`` returns it for a template, a regular expression or a function.

    It has no sockets of its own. Handlers and middleware of it are those of all its children, present and future.
    Events that are emitted with it go to the sockets of all children.
    """

    _may_keep = False  # each child has its own history

    def __init__(self, rule: Pattern | Question, factory: Factory) -> None:
        self._members: dict[str, Namespace] = {}  # the base class declares what the class emits, with the children
        super().__init__()
        self.name = rule.label
        self.rule = rule
        self.factory = factory
        if isinstance(factory, type):  # the parent emits what its children emit
            for declaration in declarations_of(factory):
                self._declare(declaration)

    def __len__(self) -> int:
        """Count the sockets of its children, on this server."""
        return sum(len(child) for child in self._members.values())

    # --- registration -----------------------------------------------------------------------------------------------

    @given_a_function
    def use(self, middleware: M) -> M:
        """Add connect middleware to every child; see :meth:`Namespace.use`."""
        for child in self._members.values():
            child.use(middleware)
        return super().use(middleware)

    @given_a_function
    def use_event(self, middleware: M) -> M:
        """Add event middleware to every child; see :meth:`Namespace.use_event`."""
        for child in self._members.values():
            child.use_event(middleware)
        return super().use_event(middleware)

    # --- what a program asks ----------------------------------------------------------------------------------------

    @property
    def children(self) -> Mapping[str, Namespace]:
        """The present children, by name; a live view."""
        return MappingProxyType(self._members)

    @property
    def sockets(self) -> Mapping[str, Socket]:
        """The sockets of all present children, by id."""
        looked_at("sockets", self.name)
        return MappingProxyType(ChainMap(*(child._membership.sockets for child in self._members.values())))

    # --- what sockets and operators ask -----------------------------------------------------------------------------

    def _audience_of(self, details: SocketDetails) -> Namespace:
        """Return the child that a socket is in."""
        return self._members.get(details.handshake.nsp, self)

    # --- what the registry of children calls ------------------------------------------------------------------------

    def make_child(self, name: str) -> Namespace:
        """Call the factory. Raises ``ConfigurationError`` when its result is no new namespace of that name."""
        child = self.factory(name)
        if not isinstance(child, Namespace) or isinstance(child, ParentNamespace) or child.name != name:
            raise ConfigurationError(
                f"the factory of {self.name} has to return a new namespace of the name {name!r}, not {child!r}"
            )
        return child

    def add_child(self, child: Namespace) -> None:
        """Add a new child."""
        self._members[child.name] = child
        assert isinstance(self.adapter, _Adapters)
        self.adapter.introduce(child)

    def remove_child(self, child: Namespace) -> None:
        """Forget a child that was cleaned up."""
        del self._members[child.name]
        self._listening.disown(child._listening)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _declare(self, declaration: Declaration) -> None:
        for child in self._members.values():
            child.declared.expect_to_agree(declaration)
        super()._declare(declaration)

    async def _members_of(self, room: str, limit: int, after: str | None) -> list[Member]:
        raise ConfigurationError(f"each namespace of {self.name} has rooms of its own: ask one, of children")

    def _lost(self, packet: Packet, target: Target, error: Exception) -> None:
        """Do nothing: it is told for each child."""

    def _make_adapter(self, host: Host) -> Adapter:
        return _Adapters(host.engine, self._members)


class _Adapters:
    """The adapters of all children, as one."""

    def __init__(self, engine: Engine, members: Mapping[str, Namespace]) -> None:
        self._engine = engine
        self._members = members
        self._check = RoomEvents()
        self._listeners: list[tuple[str, Callable[..., Any]]] = []
        self._tasks = TaskSet()

    def add(self, sid: str, rooms: Iterable[str]) -> Awaitable[None] | None:
        """Put a socket into rooms of its namespace."""
        return _together([adapter.add(sid, rooms) for adapter in self._of(sid)])

    def remove(self, sid: str, rooms: Iterable[str]) -> Awaitable[None] | None:
        """Take a socket out of rooms of its namespace."""
        return _together([adapter.remove(sid, rooms) for adapter in self._of(sid)])

    def remove_all(self, sid: str) -> frozenset[str]:
        """Forget a socket. Return the rooms that it was in."""
        return frozenset().union(*(adapter.remove_all(sid) for adapter in self._of(sid)))

    def rooms(self, sid: str) -> frozenset[str]:
        """Return the rooms of a socket."""
        return frozenset().union(*(adapter.rooms(sid) for adapter in self._of(sid)))

    def sockets(self, target: Target) -> list[str]:
        """Return the ids of the selected sockets."""
        return [sid for child in self._members.values() for sid in child.adapter.sockets(target)]

    async def broadcast(self, packet: Packet, target: Target) -> None:
        """Deliver a packet in every child: encoded once for each, since its name is in the packet."""
        self._try(packet)
        failed: list[Exception] = []

        async def deliver(child: Namespace) -> None:
            try:
                await (child._history or child.adapter).broadcast(_for(child, packet), target)
            except Exception as error:  # noqa: BLE001 - raised when the others have their packet
                if isinstance(error, ClusterUnavailable):
                    child._lost(packet, target, error)
                failed.append(error)

        await run_abreast([partial(deliver, child) for child in self._members.values()], self._tasks)
        if failed:
            raise failed[0]

    async def broadcast_with_ack(self, packet: Packet, target: Target, timeout: float | None) -> AckResponses:
        """Ask the sockets of all children at once."""
        self._try(packet)
        return await self._collect(
            lambda child: child.adapter.broadcast_with_ack(_for(child, packet), target, timeout), by_child=False
        )

    async def fetch_sockets(self, target: Target, timeout: float | None) -> list[SocketDetails]:
        """Describe the selected sockets."""
        found: list[SocketDetails] = []
        missing: dict[str, None] = {}
        late = False

        async def fetch(child: Namespace) -> None:
            nonlocal late
            try:
                found.extend(await child.adapter.fetch_sockets(target, timeout))
            except FetchTimeout as error:
                late = True
                found.extend(error.sockets)
                missing.update(dict.fromkeys(error.missing))

        await _all(fetch(child) for child in self._members.values())
        if late:
            raise FetchTimeout(sockets=found, missing=tuple(missing))
        return found

    async def add_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        """Make the selected sockets join rooms."""
        await _all(child.adapter.add_sockets(target, rooms) for child in self._members.values())

    async def del_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        """Make the selected sockets leave rooms."""
        await _all(child.adapter.del_sockets(target, rooms) for child in self._members.values())

    async def disconnect_sockets(self, target: Target, close: bool, reason: str | None) -> None:
        """Disconnect the selected sockets."""
        await _all(child.adapter.disconnect_sockets(target, close, reason) for child in self._members.values())

    async def server_side_emit(self, args: Sequence[Any]) -> None:
        """Hand an event to each child on the other servers."""
        await _all(child.adapter.server_side_emit(args) for child in self._members.values())

    async def server_side_emit_with_ack(self, args: Sequence[Any], timeout: float) -> AckResponses:
        """Hand an event to each child on the other servers and collect the answers, by server and child."""
        return await self._collect(lambda child: child.adapter.server_side_emit_with_ack(args, timeout), by_child=True)

    def keep_session(self, session: Session) -> None:
        """Keep nothing: each child has an adapter for that."""

    def persist_session(self, session: Session) -> None:
        """Keep nothing: each child has an adapter for that."""

    def forget_session(self, pid: str) -> None:
        """Keep nothing: each child has an adapter for that."""

    async def restore_session(self, pid: str, offset: str | None, accept: Callable[[Session], bool]) -> Session | None:
        """Keep nothing: each child has an adapter for that."""
        return None

    async def forget_sessions(self, belongs: Callable[[Session], bool]) -> int:
        """Have each child forget the sessions for which ``belongs`` returns true. Return their number."""
        return sum([await child.adapter.forget_sessions(belongs) for child in list(self._members.values())])

    def session_time(self) -> float:
        """Keep nothing: each child has an adapter for that."""
        return 0.0

    async def start(self) -> None:
        """Do nothing: each child's adapter is started by itself."""

    async def close(self) -> None:
        """Do nothing: each child's adapter is closed by itself."""

    def on(self, event: str) -> Callable[[F], F]:
        """Register the decorated function for the rooms of all children, present and future."""
        check = self._check.on(event)

        def register(function: F) -> F:
            check(function)
            self._listeners.append((event, function))
            for child in self._members.values():
                child.adapter.on(event)(function)
            return function

        return register

    def introduce(self, child: Namespace) -> None:
        """Register the functions that listen to rooms with a new child."""
        for event, function in self._listeners:
            child.adapter.on(event)(function)

    def off(self, event: str, function: Callable[..., Any]) -> None:
        """Remove a function from all children."""
        self._check.off(event, function)
        if (event, function) in self._listeners:
            self._listeners.remove((event, function))
        for child in self._members.values():
            child.adapter.off(event, function)

    def _of(self, sid: str) -> list[Adapter]:
        return [child.adapter for child in self._members.values() if sid in child._membership.sockets]

    def _try(self, packet: Packet) -> None:
        if not self._members:
            self._engine.encode(packet)  # a mistake shows at once, as with any namespace

    async def _collect(self, ask: Callable[[Namespace], Awaitable[AckResponses]], *, by_child: bool) -> AckResponses:
        """The answers of all children; ``by_child``: what answers is known to several of them by the same name."""
        responses: dict[str, Any] = {}
        missing: list[str] = []
        late = False

        async def collect(child: Namespace) -> None:
            nonlocal late
            try:
                outcome: AckResponses | AckTimeout = await ask(child)
            except AckTimeout as error:
                outcome, late = error, True
            suffix = child.name if by_child else ""
            responses.update({key + suffix: answer for key, answer in outcome.responses.items()})
            missing.extend(key + suffix for key in outcome.missing)

        await _all(collect(child) for child in self._members.values())
        if late:
            raise AckTimeout(responses=responses, missing=missing)
        return AckResponses(responses, tuple(missing))


def _for(child: Namespace, packet: Packet) -> Packet:
    return Packet(packet.type, child.name, packet.data, packet.id)


async def _all(works: Iterable[Awaitable[T]]) -> list[T]:
    """Run all side by side and return their results. All run to their end, then the first exception is raised."""
    outcomes = await asyncio.gather(*works, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return cast("list[T]", outcomes)


def _together(waiting: Sequence[Awaitable[None] | None]) -> Awaitable[None] | None:
    """Return one awaitable for those that there are: a socket is in one child."""
    for each in waiting:
        if each is not None:
            return each
    return None
