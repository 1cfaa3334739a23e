"""A namespace: its handlers, its middleware, its sockets, and the way in and out of it."""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from inspect import isawaitable
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from .broadcast import Broadcasting, BroadcastOperator
from .events import (
    CONNECTION,
    DISCONNECT,
    DISCONNECTING,
    LIFECYCLE,
    Event,
    Handler,
    LifecycleHandler,
    check_event_name,
    from_ack,
)
from .exceptions import AckTimeout, ConfigurationError, ConnectionRefused, Disconnected, EncodeError, EventError
from .middleware import Link, compose
from .socket import Socket, is_cancelled
from .types import EVERYBODY, AckResponses, DisconnectReason, Packet, PacketType, Target

if TYPE_CHECKING:
    from .options import Limits
    from .protocols import (
        Adapter,
        AdapterFactory,
        Authenticator,
        CallNext,
        Connection,
        ConnectMiddleware,
        Engine,
        EventMiddleware,
        Frames,
        Outlet,
    )
    from .recovery import Recovery, Session
    from .types import Handshake

log: Final = logging.getLogger("rtframework.namespace")

F = TypeVar("F", bound=Callable[..., Any])

_PATIENCE: Final = 10.0
"""Seconds after which a connection handler that keeps a client out is worth a warning."""


class Host(Protocol):
    """The server, as its namespaces see it."""

    engine: Engine
    authenticator: Authenticator | None
    adapter_factory: AdapterFactory
    ordered: bool
    limits: Limits
    recovery: Recovery | None

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something in the background; awaited at shutdown."""


class Namespace(Broadcasting):
    """A channel of its own on the same connections, with its own handlers, rooms and middleware.

    ``io.of("/admin")`` gives the namespace of that name. To write one as a class, derive from it, name methods
    ``on_<event>`` and pass an instance to ``io.register_namespace``::

        class Chat(Namespace):
            async def on_connection(self, socket: Socket) -> None:
                await socket.join("lobby")

            async def on_message(self, socket: Socket, text: str) -> None:
                await self.to("lobby").emit("message", text)

        io.register_namespace(Chat("/chat"))
    """

    engine: Engine
    limits: Limits

    def __init__(self, name: str = "/", *, ordered: bool | None = None) -> None:
        if not isinstance(name, str) or not name.startswith("/") or "," in name:
            raise ConfigurationError(f'a namespace is a string that starts with "/" and has no comma, not {name!r}')
        self.name = name
        self._ordered = ordered
        self._host: Host | None = None
        self._adapter: Adapter | None = None
        self._handlers: dict[str, Handler] = {}
        self._lifecycle: dict[str, list[LifecycleHandler]] = {CONNECTION: [], DISCONNECTING: [], DISCONNECT: []}
        self._connect_middlewares: list[ConnectMiddleware] = []
        self._event_middlewares: list[EventMiddleware] = []
        self._connect_chain: Link = _let_pass
        self._event_chain: Link | None = None
        self._sockets: dict[str, Socket] = {}
        self._outlets: dict[str, Outlet] = {}
        self._by_pid: dict[str, Socket] = {}
        self._departing: dict[str, Socket] = {}
        self._ack_ids = itertools.count()
        self._everyone = BroadcastOperator(self, EVERYBODY)
        self._collect()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} with {len(self._sockets)} socket(s)>"

    def __len__(self) -> int:
        """How many sockets are in it, on this server."""
        return len(self._sockets)

    def __bool__(self) -> bool:
        return True

    # --- registration -----------------------------------------------------------------------------------------------

    def on(self, event: str, *, ordered: bool | None = None) -> Callable[[F], F]:
        """Register the decorated function for an event.

        ``"connection"`` (``"connect"``) is called with ``(socket)`` when a client has passed authentication and
        middleware: it is let in when all these handlers have returned, and refused when one raises. ``"disconnecting"``
        and ``"disconnect"`` are called with ``(socket, reason)``. What these three return is ignored, and there can be
        several handlers for each. There is one handler for each other event, called with ``(socket, *args)``; what it
        returns is the acknowledgement, a tuple as several values.

        ``ordered=True``: this event waits until the ordered events before it, of the same socket, are done.

        Raises :class:`~rtframework.ConfigurationError` for a reserved name, a second handler or a wrong signature.
        """

        def register(function: F) -> F:
            if event in LIFECYCLE:
                self._lifecycle[LIFECYCLE[event]].append(LifecycleHandler(LIFECYCLE[event], function))
                return function
            check_event_name(event)
            if event in self._handlers:
                raise ConfigurationError(f"{event!r} has a handler in {self.name} already")
            self._handlers[event] = Handler(event, function, ordered=self._ordered if ordered is None else ordered)
            return function

        return register

    def event(self, function: F) -> F:
        """Register the decorated function for the event of its own name."""
        return self.on(function.__name__)(function)

    def use(self, middleware: ConnectMiddleware) -> ConnectMiddleware:
        """Add connect middleware, ``async (socket, call_next)``: it runs before a client is let in.

        Raise :class:`~rtframework.ConnectionRefused` to refuse; ``await call_next()`` to go on.
        """
        self._connect_middlewares.append(middleware)
        self._connect_chain = compose([_without(each) for each in self._connect_middlewares], _let_pass)
        return middleware

    def use_event(self, middleware: EventMiddleware) -> EventMiddleware:
        """Add event middleware, ``async (socket, event, call_next)``: it runs around the handler of every event.

        It may change ``event.name`` and ``event.args``, raise :class:`~rtframework.EventError`, and returns what goes
        into the acknowledgement, as a rule ``await call_next()``.
        """
        self._event_middlewares.append(middleware)
        self._event_chain = compose(self._event_middlewares, self._call)
        return middleware

    # --- what a program asks ----------------------------------------------------------------------------------------

    @property
    def is_pristine(self) -> bool:
        """Whether nothing has been registered with it."""
        return not (
            self._handlers or self._connect_middlewares or self._event_middlewares or any(self._lifecycle.values())
        )

    @property
    def sockets(self) -> Mapping[str, Socket]:
        """The sockets of this namespace on this server, by id; a live view."""
        return MappingProxyType(self._sockets)

    @property
    def adapter(self) -> Adapter:
        """Keeps the rooms."""
        if self._adapter is None:
            raise ConfigurationError(f"the namespace {self.name} belongs to no server: see Server.register_namespace")
        return self._adapter

    def _everybody(self) -> BroadcastOperator:
        return self._everyone

    # --- what sockets and operators ask -----------------------------------------------------------------------------

    def packet(self, event: str, args: tuple[Any, ...]) -> Packet:
        """The packet of an event. Raises ``ConfigurationError`` for a reserved name."""
        return Packet(PacketType.EVENT, self.name, [check_event_name(event), *args])

    def next_ack_id(self) -> int:
        """A number that no packet of this namespace has had."""
        return next(self._ack_ids)

    def is_ordered(self, event: str) -> bool:
        """Whether this event waits for the one before it."""
        handler = self._handlers.get(event)
        return handler is not None and bool(handler.ordered)

    def dispatch(self, socket: Socket, name: str, args: list[Any]) -> Awaitable[Any]:
        """Run middleware and handler; what goes into the acknowledgement."""
        if self._event_chain is not None:
            return self._event_chain(socket, Event(name, args))
        return self._run(socket, name, args)

    async def ask(self, packet: Packet, target: Target, timeout: float | None) -> AckResponses:
        """Send a packet with one id to many sockets and collect what they answer."""
        packet.id = id = self.next_ack_id()
        sockets = self._sockets
        sids = [sid for sid in self.adapter.sockets(target) if sid in sockets and sockets[sid].admitted]
        asked = {sid: self._sockets[sid].expect_ack(id) for sid in sids}
        try:
            await self.adapter.broadcast(packet, target)
            if asked:
                await asyncio.wait(asked.values(), timeout=timeout)
            answered = [sid for sid, answer in asked.items() if answer.done() and answer.exception() is None]
            responses = {sid: from_ack(asked[sid].result()) for sid in answered}
            missing = tuple(sid for sid in asked if sid not in responses)
            if any(not answer.done() for answer in asked.values()):
                raise AckTimeout(responses=responses, missing=missing)
            return AckResponses(responses, missing)
        finally:
            for sid, answer in asked.items():
                answer.cancel()
                if not answer.cancelled():
                    answer.exception()  # looked at, also when the asking itself was cancelled
                if sid in self._sockets:
                    self._sockets[sid].drop_ack(id)

    def admit(self, socket: Socket, outlet: Outlet) -> None:
        """Frames for this socket go to its connection from now on."""
        self._outlets[socket.id] = outlet
        if socket.pid is not None:
            self._by_pid[socket.pid] = socket

    def remove(self, socket: Socket, reason: str, *, notify: bool) -> None:
        """The socket has gone: nothing of it is left in the namespace when this returns."""
        self._sockets.pop(socket.id, None)
        self._outlets.pop(socket.id, None)
        if socket.pid is not None:
            self._by_pid.pop(socket.pid, None)
            if reason:  # its handlers still run, or are about to
                socket.farewell = asyncio.Event()
                self._departing[socket.id] = socket
        self.adapter.remove_all(socket.id)
        if notify:
            self._notify_gone(socket, reason)

    # --- what the server calls --------------------------------------------------------------------------------------

    def bind(self, host: Host) -> None:
        """Become a namespace of this server."""
        if self._host is not None:
            raise ConfigurationError(f"the namespace {self.name} belongs to a server already")
        self._host = host
        self.engine = host.engine
        self.limits = host.limits
        self._adapter = host.adapter_factory(self.name, _Emitter(host.engine, self._outlets))
        if self._ordered is None:
            self._ordered = host.ordered
            for handler in self._handlers.values():
                if handler.ordered is None:
                    handler.ordered = host.ordered

    async def connect(self, connection: Connection, auth: Any) -> None:
        """A client asks to be let in: authentication, middleware, connection handlers, in this order.

        Whatever goes wrong on the way refuses it and leaves nothing behind; it receives nothing before it is let in.
        """
        host = self._host
        assert host is not None
        handshake = connection.handshake(self.name, auth)
        socket: Socket | None = None
        try:
            user = None
            if host.authenticator is not None:
                user = await host.authenticator.authenticate(handshake)
                if user is None:
                    raise ConnectionRefused("Unauthorized", {"code": "unauthorized"})
            skip = False
            if host.recovery is None:
                socket = Socket(self, connection, secrets.token_urlsafe(15), handshake, user)
            else:
                socket = await self._recover(connection, handshake, user, host.recovery)
                if socket.recovered:
                    skip = host.recovery.skip_middlewares
                    await self._farewell_of(socket.id)
            if self._connect_middlewares and not skip:
                await self._run_connect_middlewares(socket)
            outlet = socket.enter()
            if outlet is None:
                return
            self._sockets[socket.id] = socket
            self._outlets[socket.id] = outlet
            if self._lifecycle[CONNECTION]:
                await self._run_connection_handlers(socket)
        except ConnectionRefused as refused:
            self._refuse(connection, socket, refused)
            self._has_departed(socket)
        except (Exception, asyncio.CancelledError) as error:
            # A client that left while a handler waited for its answer is no error.
            if not (isinstance(error, Disconnected) and socket is not None and socket.left is not None):
                log.exception("unhandled error while a client connects", extra={"nsp": self.name})
            self._refuse(connection, socket, _INTERNAL)
            self._has_departed(socket)
            if is_cancelled(error):
                raise
        else:
            if socket.left is None:
                socket.accept()
            elif not socket.was_admitted:
                # The handlers have run to their end, so what they set up has to be taken down.
                self._notify_gone(socket, socket.left)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _collect(self) -> None:
        """Register the ``on_<event>`` methods of a class-based namespace."""
        for name in dir(type(self)):
            if not name.startswith("on_") or hasattr(Namespace, name):
                continue
            self.on(name.removeprefix("on_"))(getattr(self, name))

    def _call(self, socket: Socket, event: Event) -> Awaitable[Any]:
        """The end of an event chain."""
        return self._run(socket, event.name, event.args)

    async def _run(self, socket: Socket, name: str, args: list[Any]) -> Any:
        handler = self._handlers.get(name)
        if handler is None:
            raise EventError("unknown_event", f"no handler for {name!r}")
        result = handler(socket, args)
        return await result if handler.is_async or isawaitable(result) else result

    async def _run_connect_middlewares(self, socket: Socket) -> None:
        passed: list[bool] = []
        await self._connect_chain(socket, passed)
        if not passed:
            log.warning("a connect middleware of %s neither called call_next() nor refused", self.name)
            raise ConnectionRefused

    async def _run_connection_handlers(self, socket: Socket) -> None:
        patience = asyncio.get_running_loop().call_later(_PATIENCE, self._warn, socket)
        try:
            for handler in self._lifecycle[CONNECTION]:
                await handler(socket)
        finally:
            patience.cancel()

    def _warn(self, socket: Socket) -> None:
        if socket.connected and not socket.admitted:
            log.warning(
                "a connection handler of %s has been running for %g s and keeps its client out: "
                "if it is meant to go on, call socket.accept() first",
                self.name,
                _PATIENCE,
            )

    def _refuse(self, connection: Connection, socket: Socket | None, refused: ConnectionRefused) -> None:
        if not connection.is_open or (socket is not None and socket.left is not None):
            if socket is not None and socket.left is None:
                socket.evict()
            return  # nobody is there to be told; the namespace may be somebody else's already
        if socket is not None and socket.admitted:
            # It has been told that it is connected: all that is left is to disconnect it.
            self._spawn(socket.disconnect())
            return
        if socket is not None:
            socket.evict()
        connection.leave(self.name)
        data: dict[str, Any] = {"message": refused.message}
        if refused.data is not None:
            data["data"] = refused.data
        try:
            frames = self.engine.encode(Packet(PacketType.CONNECT_ERROR, self.name, data))
        except EncodeError:
            log.exception("a ConnectionRefused cannot be sent as it is", extra={"nsp": self.name})
            bare = {"message": ConnectionRefused().message}
            frames = self.engine.encode(Packet(PacketType.CONNECT_ERROR, self.name, bare))
        connection.send(frames)

    def _notify_gone(self, socket: Socket, reason: str) -> None:
        if self._lifecycle[DISCONNECTING] or self._lifecycle[DISCONNECT]:
            work = self._run_disconnect_handlers(socket, reason)
            self._spawn(work if socket.farewell is None else self._depart(socket, work))
        else:
            self._has_departed(socket)

    async def _run_disconnect_handlers(self, socket: Socket, reason: str) -> None:
        for phase in (DISCONNECTING, DISCONNECT):
            for handler in self._lifecycle[phase]:
                try:
                    await handler(socket, reason)
                except Exception:
                    log.exception("unhandled error in a %r handler", phase, extra={"nsp": self.name, "sid": socket.id})
            socket.forget_rooms()

    # --- connection state recovery ----------------------------------------------------------------------------------

    async def _recover(self, connection: Connection, handshake: Handshake, user: Any, recovery: Recovery) -> Socket:
        """The socket that continues what the client had before, or, when that is not to be had, a new one."""
        pid, offset = handshake.auth.get("pid"), handshake.auth.get("offset")
        if isinstance(pid, str) and (offset is None or isinstance(offset, str)):
            ghost = self._by_pid.get(pid)
            if ghost is not None and ghost.conn is not connection and recovery.is_same(ghost.authenticated, user):
                self._evict_ghost(ghost)
            session = await self._restore(pid, offset)
            if session is not None:
                # Nothing is waited for from here on, so that no packet falls between what was missed and what comes.
                fits = False
                try:
                    fits = connection.is_open and self._fits(session, offset, user, recovery)
                finally:
                    if not fits:
                        self.adapter.persist_session(session)
                if fits:
                    socket = Socket(self, connection, session.sid, handshake, user, pid)
                    self._outlets[socket.id] = socket.restore(session)
                    self._by_pid[pid] = socket
                    return socket
            log.debug("a client of %s is not recovered", self.name)
        return Socket(self, connection, secrets.token_urlsafe(15), handshake, user, secrets.token_urlsafe(15))

    async def _restore(self, pid: str, offset: str | None) -> Session | None:
        try:
            return await self.adapter.restore_session(pid, offset)
        except Exception:
            log.exception("unhandled error while a session is restored", extra={"nsp": self.name})
            return None

    def _fits(self, session: Session, offset: str | None, user: Any, recovery: Recovery) -> bool:
        if not recovery.is_same(session.authenticated, user):
            log.warning("a session of %s was asked for by another user", self.name)
            return False
        if session.replayed == (offset or ""):
            return False  # which of the packets that were sent again it has got, nobody knows
        return sum(frames.size for frames in session.missed) <= self.limits.max_outbox

    def _evict_ghost(self, ghost: Socket) -> None:
        """The client is here again, so its old connection is dead, though nobody has noticed yet."""
        ghost.conn.close(DisconnectReason.TRANSPORT_CLOSE)
        if ghost.left is None:
            ghost.evict()  # its middleware still runs

    async def _farewell_of(self, sid: str) -> None:
        """Wait for the handlers of the socket that had this id before, for a bounded time.

        What they take down by the socket's id must not be what the connection handlers have just set up.
        """
        before = self._departing.get(sid)
        if before is not None and before.farewell is not None:
            try:
                async with asyncio.timeout(_PATIENCE):
                    await before.farewell.wait()
            except TimeoutError:
                log.warning("a disconnect handler of %s still runs: its client has come back meanwhile", self.name)

    async def _depart(self, socket: Socket, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        finally:
            self._has_departed(socket)

    def _has_departed(self, socket: Socket | None) -> None:
        """No handler that is to do with its coming or going runs any more."""
        if socket is not None and socket.farewell is not None:
            socket.farewell.set()
            if self._departing.get(socket.id) is socket:
                del self._departing[socket.id]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        assert self._host is not None
        self._host.spawn(work)


class _Emitter:
    """What an adapter may do."""

    __slots__ = ("_engine", "_outlets")

    def __init__(self, engine: Engine, outlets: Mapping[str, Outlet]) -> None:
        self._engine = engine
        self._outlets = outlets

    def send(self, sids: Collection[str], packet: Packet, *, volatile: bool = False) -> Awaitable[None] | None:
        """Encode once, deliver to those that are here. Encoded even for nobody: a mistake shows at once."""
        frames = self._engine.encode(packet)
        outlets = self._outlets
        return self._engine.deliver([outlets[sid] for sid in sids if sid in outlets], frames, volatile=volatile)

    def encode(self, packet: Packet) -> Frames:
        """The first half of ``send``."""
        return self._engine.encode(packet)

    def deliver(self, sids: Collection[str], frames: Frames, *, volatile: bool = False) -> Awaitable[None] | None:
        """The second half of ``send``."""
        outlets = self._outlets
        return self._engine.deliver([outlets[sid] for sid in sids if sid in outlets], frames, volatile=volatile)


async def _let_pass(socket: Socket, passed: list[bool]) -> None:
    """The end of a connect chain: nobody on the way refused, and nobody forgot to go on."""
    passed.append(True)


def _without(middleware: ConnectMiddleware) -> Link:
    """Connect middleware is not shown the list that tells whether the end was reached."""

    def run(socket: Socket, passed: list[bool], call_next: CallNext) -> Awaitable[None]:
        return middleware(socket, call_next)

    return run


_INTERNAL: Final = ConnectionRefused("Internal server error", {"code": "internal_error"})
