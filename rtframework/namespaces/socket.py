"""One client in one namespace."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Collection, Coroutine
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, cast

from ..adapters.buffered_outlet import BufferedOutlet
from ..adapters.packet_log import RECOVERABLE
from ..concurrency import is_cancelled
from ..exceptions import AckTimeout, ConfigurationError, Disconnected, EncodeError, EventError, InvalidPayload
from ..handlers.dependencies import supply
from ..handlers.event import DEFERRED, Event
from ..handlers.group import Explained, HandlerGroup
from ..handlers.handler import LEFT_TO_CATCH_ALL, UNKNOWN
from ..handlers.registry import HandlerRegistry
from ..logs import ThrottledLog
from ..packets import from_ack, to_ack
from ..protocols import Session
from ..types import DisconnectReason, Packet, PacketType, Target
from .membership import State
from .operators import Audience, BroadcastOperator, Rooms, SocketOperator, room_names

if TYPE_CHECKING:
    from ..handlers.exception_handlers import ExceptionHandlers
    from ..handlers.handler import Handler, LifecycleHandler
    from ..handlers.middleware import Link
    from ..options import Limits
    from ..protocols import Connection, Engine, Outlet, Watcher
    from ..server import Server
    from ..types import Handshake
    from .namespace import Namespace

log: Final = logging.getLogger("rtframework.socket")

F = TypeVar("F", bound=Callable[..., Any])
Serving = Any
"""A handler, several as one, or what serves the events that have none."""

_misfit: Final = ThrottledLog(log, logging.WARNING, "%r does not fit its handler, and no answer is asked for: %s")

_LONGEST: Final = 500
"""Characters of what a line in the log says of a payload."""

_ACK: Final = int(PacketType.ACK)
_INTERNAL_ERROR: Final = EventError("internal_error", "Internal server error").to_payload()
_CANCELLED: Final = EventError("cancelled", "The handler was cancelled").to_payload()

_CONNECTING: Final = State.CONNECTING
_RESUMED: Final = State.RESUMED
_JOINED: Final = State.JOINED
_CONNECTED: Final = State.CONNECTED
_DISCONNECTED: Final = State.DISCONNECTED


class Home(Audience, Protocol):
    """The namespace, as its sockets see it."""

    engine: Engine
    limits: Limits
    listening: HandlerRegistry
    exception_handlers: ExceptionHandlers
    event_chain: Link | None
    """Observers and event middleware, composed; ``None`` without any."""
    is_observed: bool
    """Whether there are observers in that chain."""
    tapped: set[str | None]
    """The sockets with catch-alls for what goes out; ``None`` is among them when the namespace has some itself."""
    watcher: Watcher | None
    """Hears who comes and who leaves."""

    def next_ack_id(self) -> int:
        """A number that no packet of this namespace has had."""

    def count_refusal(self, code: str) -> None:
        """An event was answered with an error."""

    def tap(self, socket: Socket) -> None:
        """The catch-alls of this socket for what goes out have changed."""

    def tell(self, sids: Collection[str], packet: Packet) -> None:
        """Show a packet to the catch-alls of those whom it is sent to."""

    def admit(self, socket: Socket, outlet: Outlet) -> None:
        """Frames for this socket go to that outlet from now on."""

    def remove(self, socket: Socket, reason: str, *, notify: bool) -> None:
        """The socket has gone; ``notify``: its disconnect handlers are to be run."""


class Socket:
    """One client in one namespace: what handlers are given.

    ``id``: public and unique.
    ``data``: a dict for whatever the program wants to keep with the socket.
    ``user``: what the authenticator returned, ``None`` without one.
    ``handshake``: the :class:`~rtframework.Handshake`, what is known of the client.
    """

    __slots__ = (
        "__weakref__",
        "_acks",
        "_authenticated",
        "_farewell",
        "_last_rooms",
        "_left",
        "_nsp",
        "_outlet",
        "_own",
        "_pid",
        "_session",
        "_state",
        "_turn",
        "_was_admitted",
        "conn",
        "data",
        "handshake",
        "id",
        "user",
    )

    def __init__(
        self, nsp: Home, conn: Connection, id: str, handshake: Handshake, user: Any, pid: str | None = None
    ) -> None:
        self.id = id
        self.conn = conn
        self.handshake = handshake
        self.user = user
        self._authenticated = user
        """What the authenticator returned, whatever middleware makes of ``user``."""
        self._pid = pid
        """A secret between this client and the server, by which it is known again; ``None`` without recovery."""
        self.data: dict[str, Any] = {}
        self._session: Session | None = None
        self._farewell: asyncio.Event | None = None
        """Set when its handlers are done, after it has gone; only with recovery."""
        self._nsp = nsp
        self._acks: dict[int, asyncio.Future[list[Any]]] | None = None
        self._outlet: Outlet | None = None
        self._own: HandlerRegistry | None = None
        self._state: State = _CONNECTING
        self._turn: asyncio.Lock | None = None
        self._last_rooms: frozenset[str] = frozenset()
        self._left: str | None = None
        """Why it has gone, once it has."""
        self._was_admitted = False

    def __repr__(self) -> str:
        return f"<Socket {self.id} of {self._nsp.name}>"

    # --- who and where ----------------------------------------------------------------------------------------------

    @property
    def nsp(self) -> str:
        """The name of its namespace."""
        return self._nsp.name

    @property
    def namespace(self) -> Namespace:
        """Its namespace."""
        return cast("Namespace", self._nsp)

    @property
    def server(self) -> Server:
        """The server."""
        return self.namespace.server

    @property
    def connected(self) -> bool:
        """True from its connection handlers on, until it leaves."""
        return self._state in (_JOINED, _CONNECTED)

    @property
    def disconnected(self) -> bool:
        """True before its connection handlers run, and again from when it has left."""
        return not self.connected

    @property
    def recovered(self) -> bool:
        """Whether it is the continuation of a socket whose connection was lost, with its id, rooms and data."""
        return self._session is not None

    @property
    def transport(self) -> str:
        """``"polling"`` or ``"websocket"``: the transport at this moment."""
        return self.conn.transport

    @property
    def rooms(self) -> frozenset[str]:
        """The rooms it is in, its own id among them; in a "disconnecting" handler, those it has just left."""
        return self._nsp.adapter.rooms(self.id) if self._has_rooms else self._last_rooms

    async def join(self, *rooms: Rooms) -> None:
        """Join rooms. A socket that has gone joins nothing.

        Raises :class:`~rtframework.EventError` for more rooms, or longer names, than ``Limits`` allows.
        """
        self._enter_rooms(room_names(rooms))

    def _enter_rooms(self, names: Collection[str]) -> None:
        """What :meth:`join` does; nothing of it waits."""
        if self._state is _DISCONNECTED:
            return
        limits = self._nsp.limits
        if any(len(name) > limits.max_room_name for name in names):
            raise EventError("room_name_too_long", f"a room's name has at most {limits.max_room_name} characters")
        joined = self.rooms
        if len(joined) + len(names) > limits.max_rooms and len(joined.union(names)) > limits.max_rooms:
            raise EventError("too_many_rooms", f"a socket is in at most {limits.max_rooms} rooms")
        if not self._has_rooms:  # in middleware: they count from the moment it is in
            self._last_rooms |= frozenset(names)
        else:
            self._nsp.adapter.add(self.id, names)

    async def leave(self, *rooms: Rooms) -> None:
        """Leave rooms; those it is not in are passed over."""
        self._leave_rooms(room_names(rooms))

    def _leave_rooms(self, names: Collection[str]) -> None:
        """What :meth:`leave` does; nothing of it waits."""
        if self._has_rooms:
            self._nsp.adapter.remove(self.id, names)
        elif self._state is _CONNECTING:
            self._last_rooms -= frozenset(names)

    # --- to this client ---------------------------------------------------------------------------------------------

    async def emit(self, event: str, *args: Any) -> None:
        """Emit an event to this client; lost without a word when it has gone and is not recovered.

        Raises ``EncodeError`` when the arguments cannot be sent.
        """
        await self._emit(self._nsp.packet(event, args))

    async def emit_with_ack(self, event: str, *args: Any) -> Any:
        """Emit an event and wait for the client's answer: ``None``, one value, or a tuple of several.

        Raises :class:`~rtframework.Disconnected` as soon as the client has gone. Give a time with
        ``socket.timeout(seconds).emit_with_ack(...)``. In a connection handler it lets the client in first, as
        :meth:`accept` does, because nobody could answer otherwise.
        """
        return await self._ask(event, args)

    @property
    def volatile(self) -> SocketOperator:
        """Emit to this client only if it can take the packet at once."""
        return SocketOperator(self, volatile=True)

    def timeout(self, seconds: float) -> SocketOperator:
        """How long ``emit_with_ack`` waits for the client's answer."""
        return SocketOperator(self, timeout=seconds)

    def compress(self, compress: bool) -> SocketOperator:
        """Whether what is emitted is compressed where the transport does that, as it is by default."""
        return SocketOperator(self, compress=compress)

    # --- to others --------------------------------------------------------------------------------------------------

    @property
    def broadcast(self) -> BroadcastOperator:
        """Everybody in the namespace but this socket."""
        return BroadcastOperator(self._nsp, Target(except_=frozenset((self.id,))))

    @property
    def local(self) -> BroadcastOperator:
        """Everybody on this server but this socket."""
        return self.broadcast.local

    def to(self, *rooms: Rooms) -> BroadcastOperator:
        """The sockets in any of these rooms, without this one."""
        return self.broadcast.to(*rooms)

    def in_(self, *rooms: Rooms) -> BroadcastOperator:
        """The same as :meth:`to`, Node's ``in``: this socket is left out, too."""
        return self.broadcast.to(*rooms)

    def except_(self, *rooms: Rooms) -> BroadcastOperator:
        """Everybody but this socket and the sockets in any of these rooms."""
        return self.broadcast.except_(*rooms)

    # --- listening --------------------------------------------------------------------------------------------------

    def on(self, event: str, *, ordered: bool | None = None) -> Callable[[F], F]:
        """Listen to an event of this socket alone: the function is called with the event's arguments, no socket.

        It runs beside the handlers of the namespace, after them; ``"disconnecting"`` and ``"disconnect"`` are called
        with ``(reason)``. Everything else is as with :meth:`Namespace.on`.

        Example::

            @io.on("connection")
            async def connection(socket: Socket) -> None:
                @socket.on("rename")
                async def rename(name: str) -> None:
                    socket.data["name"] = name
        """
        return partial(self._listeners().on, event, ordered=ordered)

    def once(self, event: str, *, ordered: bool | None = None) -> Callable[[F], F]:
        """Listen to the next such event only."""
        return partial(self._listeners().on, event, ordered=ordered, once=True)

    def off(self, event: str, handler: Callable[..., Any] | None = None) -> None:
        """Remove a handler of this socket, or all of its handlers of the event; those of the namespace stay."""
        if self._own is not None:
            self._own.off(event, handler)

    def listeners(self, event: str) -> tuple[Callable[..., Any], ...]:
        """This socket's own handlers of an event."""
        return () if self._own is None else self._own.of(event)

    def on_any(self, function: F) -> F:
        """Call the function with ``(event, *args)`` for every event that comes from this client.

        See :meth:`Namespace.on_any`.
        """
        return self._listeners().on_any(function)

    def prepend_any(self, function: F) -> F:
        """As :meth:`on_any`, before those that are there."""
        return self._listeners().on_any(function, first=True)

    def off_any(self, function: Callable[..., Any] | None = None) -> None:
        """Remove a catch-all of this socket, or all."""
        if self._own is not None:
            self._own.off_any(function)

    def listeners_any(self) -> tuple[Callable[..., Any], ...]:
        """This socket's own catch-alls."""
        return () if self._own is None else tuple(each.function for each in self._own.catch_all)

    def on_any_outgoing(self, function: F) -> F:
        """Call the function with ``(event, *args)`` for every event that is sent to this client, broadcasts too.

        See :meth:`Namespace.on_any_outgoing`.
        """
        return self._listeners().on_any_outgoing(function)

    def prepend_any_outgoing(self, function: F) -> F:
        """As :meth:`on_any_outgoing`, before those that are there."""
        return self._listeners().on_any_outgoing(function, first=True)

    def off_any_outgoing(self, function: Callable[..., Any] | None = None) -> None:
        """Remove a catch-all of this socket for events that go out, or all."""
        if self._own is not None:
            self._own.off_any_outgoing(function)

    def listeners_any_outgoing(self) -> tuple[Callable[..., Any], ...]:
        """This socket's own catch-alls for events that go out."""
        return () if self._own is None else tuple(each.function for each in self._own.outgoing)

    # --- coming and going -------------------------------------------------------------------------------------------

    def accept(self) -> None:
        """Let the client in now, before the connection handlers have returned; at the latest that does it.

        Only a handler that goes on for long needs it, e.g. one that keeps sending. After it, an exception in the
        handler disconnects the client instead of refusing it.
        """
        if self._state is not _JOINED:
            return
        pen = self._outlet
        assert isinstance(pen, BufferedOutlet)
        self._state = _CONNECTED
        self._was_admitted = True
        self._outlet = self.conn
        self._nsp.admit(self, self.conn)
        if self._pid is None:
            self._send(Packet(PacketType.CONNECT, self._nsp.name, self.conn.greeting({"sid": self.id})))
        else:
            self._connect_with_pid()
        pen.open()
        watcher = self._nsp.watcher
        if watcher is not None:
            watcher.admitted(self)

    async def disconnect(self, close: bool = False) -> None:
        """Disconnect the client from this namespace, or, with ``close=True``, from all of them and the transport."""
        self._dismiss(close)

    def _dismiss(self, close: bool) -> None:
        """What :meth:`disconnect` does; nothing of it waits."""
        if self._state not in (_JOINED, _CONNECTED):
            return
        self.accept()
        if close:
            self.conn.close(DisconnectReason.SERVER_NAMESPACE_DISCONNECT)
        else:
            self.conn.leave(self._nsp.name)
            self._disconnected(DisconnectReason.SERVER_NAMESPACE_DISCONNECT)

    # --- what the engine and the namespace call ---------------------------------------------------------------------

    def _enter(self) -> Outlet | None:
        """It is authenticated: where frames for it go for the time being; ``None`` when it has left meanwhile."""
        if self._state is _DISCONNECTED or not self.conn.enter(self._nsp.name, self):
            self._evict()
            return None
        self._state = _JOINED
        if self._outlet is None:
            self._outlet = BufferedOutlet(self.conn, self._nsp.limits.max_outbox)
            self._nsp.adapter.add(self.id, {self.id, *self._last_rooms})
        return self._outlet

    def _restore(self, session: Session) -> Outlet:
        """It continues this session: from now on it is in its rooms; where frames for it go for the time being."""
        self._session = session
        self.data = session.data
        if session.user is not session.authenticated:  # middleware has made another of it, and may be skipped now
            self.user = session.user
        self._state = _RESUMED
        self._outlet = pen = BufferedOutlet(self.conn, self._nsp.limits.max_outbox)
        self._nsp.adapter.add(self.id, session.rooms)
        return pen

    @property
    def _admitted(self) -> bool:
        """Whether the client has been told that it is connected."""
        return self._state is _CONNECTED

    def _receive(self, packet: Packet) -> Coroutine[Any, Any, None] | None:
        """An EVENT or an ACK of this client."""
        if self._state is not _CONNECTED:
            if self._state is _JOINED:  # it cannot know yet that it is connected
                self.conn.close(DisconnectReason.FORCED_SERVER_CLOSE)
            return None
        if packet.type == _ACK:
            future = self._acks.pop(packet.id or 0, None) if self._acks else None
            if future is not None and not future.done():
                future.set_result(packet.data)
            return None
        listeners = self._nsp.listening
        if self._own is not None or listeners.catch_all:
            return self._receive_watched(packet)
        handler = listeners.handlers.get(packet.data[0], UNKNOWN)
        if handler.ordered:
            return self._serve_in_turn(packet, handler)
        return self._serve(packet, handler)

    def _disconnected(self, reason: str) -> None:
        """The client has left the namespace."""
        if self._state is _DISCONNECTED:
            return
        was = self._state
        if reason == DisconnectReason.SERVER_NAMESPACE_DISCONNECT and was is _CONNECTED:
            self._send(Packet(PacketType.DISCONNECT, self._nsp.name))  # so that the client does not come back by itself
        self._last_rooms = self._nsp.adapter.rooms(self.id)
        if self._pid is not None and reason in RECOVERABLE and not self.conn.has_dropped:
            self._persist()
        self._left = reason
        self._state = _DISCONNECTED
        self._outlet = None
        self._nsp.remove(self, reason, notify=was is _CONNECTED)
        if self._acks:
            for future in self._acks.values():
                if not future.done():
                    future.set_exception(Disconnected("socket has been disconnected"))
            self._acks.clear()

    def _evict(self) -> None:
        """It is refused: take it out again without a word to anybody."""
        if self._has_rooms:
            self._persist()
            self._nsp.remove(self, "", notify=False)
        self._state = _DISCONNECTED
        self._outlet = None
        self._forget_listeners()

    def _forget_rooms(self) -> None:
        """The "disconnecting" handlers are done."""
        self._last_rooms = frozenset()

    def _forget_listeners(self) -> None:
        """Nothing will be listened to any more; as a rule its handlers hold the socket, too."""
        if self._own is not None:
            self._own = None
            self._nsp.tap(self)

    def _listens_to(self, lifecycle: str) -> bool:
        """Whether it has handlers of its own for its disconnecting or its disconnect."""
        return self._own is not None and bool(self._own.lifecycle[lifecycle])

    def _take_handlers(self, lifecycle: str) -> tuple[LifecycleHandler, ...]:
        """Its own handlers of its disconnecting or its disconnect."""
        return () if self._own is None else self._own.take(lifecycle)

    def _expect_ack(self, id: int) -> asyncio.Future[list[Any]]:
        """The answer that the client will give to a packet with this id."""
        if self._acks is None:
            self._acks = {}
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._acks[id] = future
        return future

    def _drop_ack(self, id: int) -> None:
        """Nobody waits for this answer any more."""
        if self._acks is not None:
            self._acks.pop(id, None)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _listeners(self) -> HandlerRegistry:
        if self._own is None:
            of_all = self._nsp.listening
            self._own = HandlerRegistry(
                of_socket=True,
                ordered=of_all.ordered,
                signatures=of_all.signatures,
                validates=of_all.validates,
                on_outgoing=partial(self._nsp.tap, self),
            )
        return self._own

    @property
    def _taps(self) -> tuple[Handler, ...]:
        """Its own catch-alls for what goes out."""
        return () if self._own is None else self._own.outgoing

    @property
    def _has_rooms(self) -> bool:
        """Whether the adapter knows it; else it keeps its rooms itself."""
        return _CONNECTING < self._state < _DISCONNECTED

    def _connect_with_pid(self) -> None:
        """What was missed comes before CONNECT, as with Node: the client holds it until it knows that it is let in."""
        engine = self._nsp.engine
        connect = engine.encode(Packet(PacketType.CONNECT, self._nsp.name, {"sid": self.id, "pid": self._pid}))
        session = self._session
        missed = session.missed if session is not None else ()
        self.conn.send(engine.join([*missed, connect]) if missed else connect)
        if session is not None:
            offset = self.handshake.auth.get("offset") or ""
            self._session = dataclasses.replace(session, missed=(), replayed=offset if missed else None)

    def _persist(self) -> None:
        """Have its state kept, if its client knows how to ask for it."""
        session = self._session
        if self._pid is None or not (self._was_admitted or session is not None):
            return
        replayed = session.replayed if session is not None else None
        left_at = None
        if not self._was_admitted and session is not None:  # it was not used after all
            left_at = session.left_at
        elif self.conn.transport == "polling":
            # One payload of polling arrives whole or not at all; of a websocket's messages the first may have come.
            replayed = None
        adapter = self._nsp.adapter
        rooms = adapter.rooms(self.id)
        kept = Session(self.id, self._pid, rooms, self.data, self.user, self._authenticated, replayed, left_at)
        try:
            adapter.persist_session(kept)
        except Exception:  # the socket goes all the same
            log.exception("unhandled error while a session is kept", extra={"nsp": self.nsp, "sid": self.id})

    def _send(self, packet: Packet) -> None:
        if self._outlet is not None:
            self._outlet.send(self._nsp.engine.encode(packet))

    async def _emit(self, packet: Packet, *, volatile: bool = False, compress: bool = True) -> None:
        if self._pid is not None:
            if self._state < _JOINED:
                raise _too_early()
            if packet.id is None:  # also when it has gone: it may come back
                target = Target(frozenset((self.id,)), volatile=volatile, compress=compress)
                await self._nsp.adapter.broadcast(packet, target)
                return
        outlet = self._outlet
        if outlet is not None:
            nsp = self._nsp
            engine = nsp.engine
            frames = engine.encode(packet) if compress else engine.encode(packet, compress=False)
            if nsp.tapped:
                nsp.tell((self.id,), packet)
            slow = engine.deliver((outlet,), frames, volatile=volatile)
            if slow is not None:
                await slow
        elif self._state is _CONNECTING:
            raise _too_early()

    async def _ask(
        self,
        event: str,
        args: tuple[Any, ...],
        timeout: float | None = None,
        volatile: bool = False,
        compress: bool = True,
    ) -> Any:
        packet = self._nsp.packet(event, args)
        packet.id = id = self._nsp.next_ack_id()
        self.accept()
        if self._state is not _CONNECTED:
            raise Disconnected("socket has been disconnected")
        future = self._expect_ack(id)
        try:
            async with asyncio.timeout(timeout):
                await self._emit(packet, volatile=volatile, compress=compress)
                return from_ack(await future)
        except TimeoutError:
            raise AckTimeout from None
        finally:
            self._drop_ack(id)

    async def _serve(self, packet: Packet, handler: Serving) -> None:
        """Run the handlers of one event and acknowledge it. Raises nothing: a failing handler harms nobody else."""
        try:
            chain = self._nsp.event_chain
            if chain is None:
                result = handler(self, packet.data[1:], packet)
                if handler.is_async or isawaitable(result):
                    result = await result
            else:
                result = await chain(self, Event(packet.data[0], packet.data[1:], packet))
        except Explained as outcome:
            self._apologize(packet, outcome.error)
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled(error):  # by the program or at shutdown; it is not for us to catch
                self._nsp.count_refusal("cancelled")
                self._answer(packet, [_CANCELLED])
                raise
            # What observers have seen is explained already.
            self._apologize(packet, error if self._nsp.is_observed else await self._explain(error, packet))
        else:
            if packet.id is not None and result is not DEFERRED:
                self._answer(packet, to_ack(result))

    async def _explain(self, error: BaseException, packet: Packet | None) -> Any:
        """What exception handlers make of an exception: an answer, another exception, or the same."""
        handlers = self._nsp.exception_handlers
        answer = None
        if handlers:
            try:
                answer = await handlers.explain(self, error, packet)
            except (Exception, asyncio.CancelledError) as another:
                if is_cancelled(another):
                    raise
                return another
        if answer is not None:
            return answer
        if packet is not None and packet.id is None and isinstance(error, InvalidPayload):
            name = packet.data[0]  # nobody else is told
            text = str(error)[:_LONGEST]  # names of fields in it are the client's
            _misfit(
                name, text if text.isprintable() else repr(text), extra={"nsp": self.nsp, "sid": self.id, "event": name}
            )
        return error

    def _apologize(self, packet: Packet, outcome: Any) -> None:
        """Answer an event whose handler has failed, with what exception handlers have made of that."""
        name = packet.data[0]
        extra = {"nsp": self.nsp, "sid": self.id, "event": name}
        if isinstance(outcome, EventError):
            if log.isEnabledFor(logging.DEBUG):
                log.debug("event %r refused: %s", name, outcome, extra={**extra, "code": outcome.code})
            if self._answer(packet, [outcome.to_payload()]):
                self._nsp.count_refusal(outcome.code)
        elif isinstance(outcome, BaseException):
            log.error("unhandled error in a handler of %r", name, exc_info=outcome, extra=extra)
            self._nsp.count_refusal("internal_error")
            self._answer(packet, [_INTERNAL_ERROR])
        else:
            self._answer(packet, to_ack(outcome))

    def _receive_watched(self, packet: Packet) -> Coroutine[Any, Any, None]:
        """An event of a socket that has handlers of its own, or in a namespace that has catch-alls."""
        of_all, own = self._nsp.listening, self._own
        handler = self._handler_of(packet.data[0])
        watchers = of_all.catch_all if own is None else (*of_all.catch_all, *own.catch_all)
        if watchers:
            return of_all.watch(watchers, self, packet, partial(self._serve_watched, packet, handler))
        return self._serve_in_turn(packet, handler) if handler.ordered else self._serve(packet, handler)

    async def _serve_watched(self, packet: Packet, handler: Serving) -> None:
        if self._state is _CONNECTED:  # a catch-all may have disconnected it
            await (self._serve_in_turn(packet, handler) if handler.ordered else self._serve(packet, handler))

    def _handler_of(self, event: str) -> Serving:
        """What serves an event: the handlers of the namespace and those of the socket, as one."""
        of_all, own = self._nsp.listening, self._own
        handler = of_all.handlers.get(event)
        answering = of_all.answering
        if own is not None:
            mine = own.handlers.get(event)
            if mine is not None:
                handler = mine if handler is None else of_all.together(handler, mine)
            answering = answering or own.answering
        if handler is None:
            return LEFT_TO_CATCH_ALL if answering else UNKNOWN
        return handler

    async def _serve_observed(self, event: Event, *, chain: Link | None) -> Any:
        """What observers see: middleware, if there is any, the handlers, and what exception handlers make of errors."""
        try:
            if chain is not None:
                return await chain(self, event)
            handler = self._handler_of(event.name)
            if isinstance(handler, HandlerGroup):  # it answers as early as without observers
                return await handler.observed(self, event)
            result = handler(self, event.args, event.packet, event)
            return await result if isawaitable(result) else result
        except Explained as explained:
            known = explained.error
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled(error):
                raise
            outcome = await self._explain(error, event.packet)
            try:
                if not isinstance(outcome, BaseException):
                    return outcome
                if outcome is error:
                    raise
                raise outcome from error
            finally:
                del outcome  # what is raised holds this frame
        try:
            raise known
        finally:
            del known

    async def _run_handler(self, event: Event) -> Any:
        """The end of an event chain: run what serves the event, by the name that it has now."""
        handler = self._handler_of(event.name)
        if handler is UNKNOWN:
            raise EventError("unknown_event", f"no handler for {event.name!r}")
        result = handler(self, event.args, event.packet, event)
        return await result if handler.is_async or isawaitable(result) else result

    def _acknowledge(self, packet: Packet, args: list[Any]) -> None:
        """Send the answer to an event, unless it has one. Raises ``EncodeError``."""
        if packet.id is not None:
            self._send(Packet(_ACK, self._nsp.name, args, packet.id))
            packet.id = None  # one answer is all that a client takes

    def _answer(self, packet: Packet, args: list[Any]) -> bool:
        """The same; what cannot be sent is logged and answered with ``internal_error``: then it is ``False``."""
        try:
            self._acknowledge(packet, args)
        except EncodeError:
            event = packet.data[0]
            extra = {"nsp": self.nsp, "sid": self.id, "event": event}
            log.exception("the acknowledgement of %r cannot be sent", event, extra=extra)
            self._nsp.count_refusal("internal_error")
            self._acknowledge(packet, [_INTERNAL_ERROR])
            return False
        return True

    async def _serve_in_turn(self, packet: Packet, handler: Serving) -> None:
        if self._turn is None:
            self._turn = asyncio.Lock()  # first come, first served
        async with self._turn:
            await self._serve(packet, handler)


def _too_early() -> ConfigurationError:
    return ConfigurationError("the client is not in yet: emit to it in a connection handler, not in middleware")


supply(Socket, "socket", lambda scope: scope.caller)
