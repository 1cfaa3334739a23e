"""A client manager over adapters: a python-socketio program in a cluster with servers of this framework and Node's."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

from ...adapters.cluster_events import ClusterEvents
from ...adapters.connecting import is_connecting
from ...concurrency import TaskSet, is_cancelled, maybe_await
from ...exceptions import AckTimeout, ClusterUnavailable, RTFrameworkError
from ...logs import ThrottledLog, quote, show_event
from ...types import Packet, PacketType, Target
from .adapter_table import AdapterTable
from .client_emitter import Answer, ClientEmitter
from .manager import Manager, arguments, is_many

if TYPE_CHECKING:
    from ...protocols import Adapter, AdapterFactory, Backbone, Outlet
    from ...types import Health

log: Final = logging.getLogger("rtframework.cluster")

_ignored: Final = ThrottledLog(
    log,
    logging.WARNING,
    "ignored an event for servers, %s in %s: AsyncServer has no handlers for them, rtframework.Server has",
    period=3600.0,
)
_refused: Final = ThrottledLog(
    log, logging.WARNING, "refused a client of %s: what other servers emit would not reach it"
)

_EVENT: Final = int(PacketType.EVENT)
_LISTENERS_TIME: Final = 1.5
"""Seconds for listeners of the cluster's events to end when the server stops."""
_CALLBACK_TIME: Final = 60.0
"""Seconds in which clients of other servers may answer an ``emit`` with a callback; python-socketio's for ``call``."""
_NOBODY: Final[Mapping[str, Any]] = {}


class AdapterManager(Manager):
    """The clients of one server of a cluster: ``AsyncServer(adapter=...)`` makes it.

    ``factory``: makes the adapter of each namespace, e.g. ``RedisStreams(url)``. Rooms are strings. What is emitted to
    one client of this server goes straight to it; all else goes through the adapter of its namespace.
    """

    def __init__(self, factory: AdapterFactory) -> None:
        super().__init__()
        self._table = AdapterTable(factory, lambda nsp: ClientEmitter(self, nsp))
        self._adapters = self._table.adapters
        self._asking: Counter[str] = Counter()
        """By namespace: the questions to other servers that are open."""
        self._callbacks = TaskSet()
        self.cluster = ClusterEvents(lambda: self.health.reason)
        """What the server hears of the others."""
        self.started_at: float | None = None
        """Time at which the cluster was joined, in seconds since the epoch; ``None`` while it is not."""
        self.ignored = 0
        """Events for servers, which have no handlers here."""

    # --- with the application -----------------------------------------------------------------------------------------

    def set_server(self, server: Any) -> None:
        """Serve this server. Raises ``ConfigurationError`` if the factory makes no adapters."""
        super().set_server(server)
        self._table.make("/")

    async def start(self) -> None:
        """Join the cluster. What the adapter raises is why the application does not start."""
        await self._table.start(["/", *self.server.declared(), *self._spaces])
        self.started_at = time.time()

    async def stop(self) -> None:
        """Leave the cluster; callbacks that still wait are not called any more."""
        self.started_at = None
        await self._callbacks.cancel()
        await self.cluster.close(_LISTENERS_TIME)
        await self._table.stop()
        self.cluster.reset()

    @property
    def backbone(self) -> Backbone | None:
        """What joins the server to others; ``None`` if the adapter joins none."""
        return self._table.backbone

    @property
    def node(self) -> str:
        """The name of this server in its cluster; ``""`` if the adapter has none."""
        return "" if self.backbone is None else self.backbone.node

    @property
    def gaps(self) -> int:
        """Times that packets of other servers may have been missed."""
        return self.cluster.gaps

    @property
    def lost(self) -> int:
        """Emits that the other servers did not get."""
        return self.cluster.lost

    def count_sockets(self) -> int:
        """Count the clients of all namespaces."""
        return sum(len(space.outlets) for space in self._spaces.values())

    @property
    def health(self) -> Health:
        """The state of the connection to the other servers."""
        return self._table.health

    async def _adapter(self, nsp: str) -> Adapter:
        return self._adapters.get(nsp) or await self._table.open(nsp)

    # --- sending ------------------------------------------------------------------------------------------------------

    async def emit(
        self,
        event: str | int,
        data: Any,
        namespace: str,
        room: Any = None,
        skip_sid: str | Collection[str] | None = None,
        callback: Callable[..., Any] | None = None,
        to: Any = None,
        ignore_queue: bool = False,
    ) -> None:
        """Emit an event to the clients of all servers, or, with ``ignore_queue``, of this one.

        With a callback, it is called at once when the client is here, else when all have answered, at most after 60
        seconds. Raises ``EncodeError``, and :class:`~rtframework.ClusterUnavailable` if the other servers do not get
        it: then nobody has it, or, if the error is ``local``, only the clients of this server. The latter is counted
        and logged instead if there is a callback, and in a connect handler.
        """
        recipient = room if to is None else to
        if ignore_queue or self._is_here(recipient, namespace):
            await super().emit(event, data, namespace, recipient, skip_sid, callback)
            return
        packet = Packet(_EVENT, namespace, [event, *arguments(data)])
        target = _target(recipient, skip_sid)
        if callback is None:
            adapter = self._adapters.get(namespace) or await self._table.open(namespace)
            try:
                await adapter.broadcast(packet, target)
            except ClusterUnavailable as error:
                self.cluster.loss(namespace, packet, target, error)
                if not is_connecting():
                    raise
        else:
            self.server.encode(Packet(_EVENT, namespace, packet.data, 0))  # raises before anybody has it
            self._callbacks.spawn(self._call_back(packet, target, callback))

    async def ask(
        self, event: str | int, data: Any, namespace: str, recipient: Any, timeout: float | None
    ) -> Mapping[str, Any]:
        """Ask a client, or a room, wherever it is. Return the answers: ``None``, one value or a tuple of several.

        When the time is over, those that have answered; raises :class:`~rtframework.AckTimeout` if there are none.
        """
        packet = Packet(_EVENT, namespace, [event, *arguments(data)])
        return await self._ask(packet, _target(recipient, None), timeout)

    async def _ask(self, packet: Packet, target: Target, timeout: float | None) -> Mapping[str, Any]:
        adapter = await self._adapter(packet.nsp)
        self._asking[packet.nsp] += 1
        try:
            return await adapter.broadcast_with_ack(packet, target, timeout)
        except AckTimeout as error:
            if not error.responses:
                raise
            return error.responses
        finally:
            self._asking[packet.nsp] -= 1
            if not self._asking[packet.nsp]:
                del self._asking[packet.nsp]

    async def _call_back(self, packet: Packet, target: Target, callback: Callable[..., Any]) -> None:
        logs = self.server.logs
        try:
            answers = await self._ask(packet, target, _CALLBACK_TIME)
        except AckTimeout:
            return
        except ClusterUnavailable as error:
            self.cluster.loss(packet.nsp, packet, target, error)
            return
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled(error):
                raise
            logs.callback_failed(error=error)
            return
        for answer in answers.values():
            args = answer if isinstance(answer, tuple) else () if answer is None else (answer,)
            try:
                await maybe_await(callback(*args))
            except (Exception, asyncio.CancelledError) as error:
                if is_cancelled(error):
                    raise
                logs.callback_failed(error=error)

    # --- coming and going ---------------------------------------------------------------------------------------------

    async def pre_connect(self, eio_sid: str, namespace: str) -> str | None:
        """Give a connection a sid; return when what other servers emit reaches it. ``None`` if it will not."""
        try:
            adapter = await self._table.open(namespace)
            sid = await super().pre_connect(eio_sid, namespace)
            if sid is None:
                return None
            entering = adapter.add(sid, (sid,))
            if entering is not None:
                try:
                    await entering
                except BaseException:
                    self.basic_disconnect(sid, namespace)
                    raise
        except RTFrameworkError as error:
            _refused(namespace, error=error, extra={"nsp": namespace})
            return None
        return sid

    def pre_disconnect(self, sid: str, namespace: str) -> str | None:
        """Send nothing to a client any more, whose rooms can still be asked for here."""
        eio_sid = super().pre_disconnect(sid, namespace)
        if eio_sid is not None:
            self._part(sid, namespace)
        return eio_sid

    def basic_disconnect(self, sid: str, namespace: str, ignore_queue: bool = False) -> None:
        """Forget a client that has left."""
        if self._is_here(sid, namespace):
            self._part(sid, namespace)
        super().basic_disconnect(sid, namespace, ignore_queue)
        if namespace not in self._spaces and namespace not in self.server.declared():
            self._table.leave(namespace, lambda: namespace in self._spaces or namespace in self._asking)

    def _part(self, sid: str, namespace: str) -> None:
        """Have the adapter forget a client, and end the questions that it has not answered."""
        adapter = self._adapters.get(namespace)
        if adapter is not None:
            adapter.remove_all(sid)
        waiting = self.callbacks.get(sid, _NOBODY)
        for answer in [each for each in waiting.values() if isinstance(each, Answer)]:
            answer.lose()

    async def can_disconnect(self, sid: str, namespace: str) -> bool:
        """Return whether a client is here; have the other servers disconnect one that is not."""
        if self._is_here(sid, namespace):
            return self.is_connected(sid, namespace)
        adapter = await self._adapter(namespace)
        await adapter.disconnect_sockets(_target(sid, None), False, None)
        return False

    # --- rooms --------------------------------------------------------------------------------------------------------

    async def enter_room(self, sid: str, namespace: str, room: Any, eio_sid: str | None = None) -> None:
        """Put a client of any server into a room; a client that is nowhere is no error.

        Raises as :meth:`basic_enter_room` for a client that is here, ``ValueError`` for a room that is no string, and
        :class:`~rtframework.ClusterUnavailable`.
        """
        if self._is_here(sid, namespace):
            entering = self.join_here(sid, namespace, room)
            if entering is not None:
                try:
                    await entering
                except ClusterUnavailable:
                    if not is_connecting():
                        raise
        elif room is not None:
            await (await self._adapter(namespace)).add_sockets(_target(sid, None), [_name(room)])

    async def leave_room(self, sid: str, namespace: str, room: Any) -> None:
        """Take a client of any server out of a room. Raises as :meth:`enter_room`."""
        if self._is_here(sid, namespace):
            leaving = self.leave_here(sid, namespace, room)
            if leaving is not None:
                await leaving
        elif room is not None:
            await (await self._adapter(namespace)).del_sockets(_target(sid, None), [_name(room)])

    async def close_room(self, room: Any, namespace: str) -> None:
        """Take the clients of all servers out of a room. Raises ``ValueError`` for the own room of a client here."""
        self.basic_close_room(room, namespace)
        if room is not None:
            await (await self._adapter(namespace)).del_sockets(_target(room, None), [room])

    def basic_enter_room(self, sid: str, namespace: str, room: Any, eio_sid: str | None = None) -> None:
        """Put a client of this server into a room, see ``Manager``; does not wait for the other servers."""
        self.join_here(sid, namespace, room)

    def basic_leave_room(self, sid: str, namespace: str, room: Any) -> None:
        """Take a client of this server out of a room."""
        self.leave_here(sid, namespace, room)

    def basic_close_room(self, room: Any, namespace: str) -> None:
        """Take the clients of this server out of a room. Raises ``ValueError`` for a client's own."""
        members = [] if room is None else [sid for sid, _ in self.get_participants(namespace, room)]
        super().basic_close_room(room, namespace)
        adapter = self._adapters.get(namespace)
        if adapter is not None:
            for sid in members:
                if self._is_known(sid, namespace):
                    adapter.remove(sid, (room,))

    def join_here(self, sid: str, namespace: str, room: Any) -> Awaitable[None] | None:
        """Put a client of this server into a room. Return what its adapter returns."""
        if room is not None:
            _name(room)
        super().basic_enter_room(sid, namespace, room)
        if room is None or not self._is_known(sid, namespace):
            return None
        return self._adapters[namespace].add(sid, (room,))

    def leave_here(self, sid: str, namespace: str, room: Any) -> Awaitable[None] | None:
        """Take a client of this server out of a room. Return what its adapter returns."""
        super().basic_leave_room(sid, namespace, room)
        return self._adapters[namespace].remove(sid, (room,)) if self._is_known(sid, namespace) else None

    # --- what the emitters ask ----------------------------------------------------------------------------------------

    def outlets(self, namespace: str) -> Mapping[str, Outlet]:
        """Return the outlets of a namespace by sid, those included that hold what is sent."""
        space = self._spaces.get(namespace)
        return _NOBODY if space is None else space.outlets

    def names(self, sid: str, namespace: str) -> frozenset[str]:
        """Return the rooms of a client."""
        space = self._spaces.get(namespace)
        return frozenset() if space is None else space.index.rooms(sid)

    def next_ack_id(self) -> int:
        """Return a new id for a question."""
        return next(self._ack_ids)

    def expect(self, sid: str, id: int) -> asyncio.Future[list[Any]]:
        """Expect the answer of a client to the question of an id."""
        answer = Answer()
        self.callbacks.setdefault(sid, {})[id] = answer

        def forget(future: asyncio.Future[list[Any]]) -> None:
            waiting = self.callbacks.get(sid)
            if future.cancelled() and waiting is not None and waiting.pop(id, None) is not None and not waiting:
                del self.callbacks[sid]

        answer.future.add_done_callback(forget)
        return answer.future

    def ignore(self, namespace: str, event: Any) -> None:
        """Count an event for servers."""
        self.ignored += 1
        _ignored(quote(event), namespace, key=id(self), extra={"nsp": namespace, "event": show_event(event)})

    # --- inside -------------------------------------------------------------------------------------------------------

    def _is_here(self, sid: Any, namespace: str) -> bool:
        """Return whether a recipient is one client of this server, which may be coming or going."""
        space = self._spaces.get(namespace)
        return space is not None and isinstance(sid, str) and sid in space.index

    def _is_known(self, sid: str, namespace: str) -> bool:
        """Return whether the adapter of a namespace knows a client."""
        space = self._spaces.get(namespace)
        return space is not None and sid in space.index and sid not in space.leaving


def _name(room: Any) -> str:
    if not isinstance(room, str):
        raise ValueError(f"a room of a cluster is a string, not {room!r}: write str({room!r})")
    return room


def _target(recipient: Any, skip_sid: str | Collection[str] | None) -> Target:
    given = recipient if is_many(recipient) else (recipient,)
    rooms = None if recipient is None else frozenset(map(_name, given))
    if skip_sid is None:
        return Target(rooms)
    skipped = (skip_sid,) if isinstance(skip_sid, str) else skip_sid
    return Target(rooms, frozenset(sid for sid in skipped if isinstance(sid, str)))
