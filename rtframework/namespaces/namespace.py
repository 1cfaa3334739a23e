"""A namespace: its handlers, its middleware, its sockets, and the way in and out of it."""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from functools import partial
from inspect import isawaitable
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from .. import counters as outcomes
from ..concurrency import is_cancelled
from ..counters import Counters, add
from ..exceptions import ConfigurationError, ConnectionRefused, Disconnected, EncodeError, EventError
from ..handlers.declarations import NOTHING, Declaration, Declarations, declarations_of, declare, unchanged
from ..handlers.dependencies import IN_SERVER_SIDE_EVENT
from ..handlers.event import CONNECTION, DISCONNECT, DISCONNECTING, Event
from ..handlers.exception_handlers import ExceptionHandlers
from ..handlers.handler import Handler, SpecialHandler
from ..handlers.middleware import Link, Passage, compose, connect_link, event_link
from ..handlers.registry import HandlerRegistry
from ..handlers.signatures import Signature
from ..logs import ThrottledLog
from ..packets import check_event_name
from ..types import EVERYBODY, AckResponses, DisconnectReason, Packet, PacketType, SocketDetails
from .emitter import NamespaceEmitter
from .operators import Broadcasting, BroadcastOperator
from .patterns import NO_PARAMS, is_namespace
from .socket import Socket

if TYPE_CHECKING:
    from ..handlers.strict import Auditor
    from ..options import Limits, Recovery
    from ..protocols import (
        Adapter,
        AdapterFactory,
        Authenticator,
        Connection,
        Engine,
        Observer,
        Outlet,
        Session,
        Watcher,
    )
    from ..server import Server
    from ..types import Handshake

log: Final = logging.getLogger("rtframework.namespace")

F = TypeVar("F", bound=Callable[..., Any])
M = TypeVar("M", bound=Callable[..., Awaitable[Any]])

_another_user: Final = ThrottledLog(log, logging.WARNING, "a session of %s was asked for by another user")

_PATIENCE: Final = 10.0
"""Seconds after which a connection handler that keeps a client out is worth a warning."""


class Host(Protocol):
    """The server, as its namespaces see it."""

    gateway: Engine
    authenticator: Authenticator | None
    adapter_factory: AdapterFactory
    ordered: bool
    limits: Limits
    recovery: Recovery | None
    observers: Sequence[Observer]
    counts: Counters
    validate_returns: bool
    exception_handlers: ExceptionHandlers

    auditor: Auditor | None
    """Checks what is emitted; ``None`` but in tests."""

    @property
    def server(self) -> Server:
        """The server itself."""


class Keeper(Protocol):
    """Keeps a namespace alive for as long as it is needed."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something for the namespace in the background; awaited at shutdown."""

    def emptied(self) -> None:
        """Hear that its last socket has gone."""


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
        if not is_namespace(name):
            raise ConfigurationError(f'a namespace is a string that starts with "/" and has no comma, not {name!r}')
        self.name = name
        self.parent: Namespace | None = None
        """The parent that it is a child of, see ``Server.of``."""
        self.params: Mapping[str, str] = NO_PARAMS
        """The parameters in its name, when it is a child: ``"acme"`` for ``"tenant"``."""
        self._host: Host | None = None
        self._keeper: Keeper | None = None
        self._auditor: Auditor | None = None
        self._adapter: Adapter | None = None
        self.listening = HandlerRegistry(ordered=ordered, on_outgoing=self._outgoing_changed)
        self.declared = Declarations()
        """What it emits, see :meth:`emits`."""
        self.tapped: set[str | None] = set()
        self._lifecycle = self.listening.lifecycle
        self.exception_handlers = ExceptionHandlers()
        self._server_side: dict[str, list[Handler]] = {}
        self.middlewares: list[Callable[..., Any]] = []
        """The connect middleware, in the order in which it runs."""
        self.event_middlewares: list[Callable[..., Any]] = []
        """The event middleware, in the order in which it runs."""
        self._connect_links: list[Link] = []
        self._event_links: list[Link] = []
        self._connect_chain: Link = _let_pass
        self.event_chain: Link | None = None
        self.is_observed = False
        self._sockets: dict[str, Socket] = {}
        self._outlets: dict[str, Outlet] = {}
        self.watcher: Watcher | None = None
        """Hears who comes and who leaves; ``None`` unless the Admin UI shows it."""
        self._by_pid: dict[str, Socket] = {}
        self._departing: dict[str, Socket] = {}
        self._ack_ids = itertools.count()
        self._everyone = BroadcastOperator(self, EVERYBODY)
        self._collect()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} with {len(self)} socket(s)>"

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
        and ``"disconnect"`` are called with ``(socket, reason)``. What these three return is ignored; several handlers
        of one of them run one after another.

        Handlers of other events are called with ``(socket, *args)``. What one returns is the acknowledgement, a tuple
        as several values; one with a parameter named ``ack`` is given an :class:`~rtframework.Ack` and answers by
        calling it. Several handlers of one event start in the order of registration, without waiting for each other;
        the first that answers is the one whose answer counts, and ``None`` is no answer while another may give one.

        More parameters are filled by :func:`~rtframework.Depends`.

        ``ordered=True``: this event waits until the ordered events before it, of the same socket, are done.

        In a child namespace the handlers of its parent are called first.

        Raises :class:`~rtframework.ConfigurationError` for a reserved name or a wrong signature.
        """
        return partial(self.listening.on, event, ordered=ordered)

    def once(self, event: str, *, ordered: bool | None = None) -> Callable[[F], F]:
        """Register the decorated function for the next such event only, whichever socket it comes from.

        An event whose arguments do not fit does not count.
        """
        return partial(self.listening.on, event, ordered=ordered, once=True)

    def off(self, event: str, handler: Callable[..., Any] | None = None) -> None:
        """Remove a handler, or all handlers of an event. What is not there is passed over.

        What a parent has registered goes when it is taken off there, and then from all children.
        """
        self.listening.off(event, handler)

    def listeners(self, event: str) -> tuple[Callable[..., Any], ...]:
        """The handlers of an event, in the order in which they are called."""
        return self.listening.of(event)

    def emits(
        self,
        event: str,
        /,
        *arguments: Any,
        rest: Any = NOTHING,
        names: Sequence[str] | None = None,
        returns: Any = NOTHING,
        description: str = "",
    ) -> Callable[[F], F]:
        """Declare an event that is emitted to clients, with the types of its arguments; in front of a handler or alone.

        It changes nothing for what is emitted: contracts are written of it, see ``docs/contracts.md``, and strict mode
        checks it. ``rest``: the type of any number of further arguments. ``names``: of the arguments, ``returns``: the
        type of what each client answers, ``description``: one paragraph; for those who read the contract.

        Children declare what their parent declares. The same event may be declared again with the same types. Raises
        :class:`~rtframework.ConfigurationError` when the types differ, and for what is no type.

        Example::

            @io.emits("message", str, str, names=("author", "text"))
            @io.on("message")
            async def message(socket: Socket, text: str) -> None:
                await socket.broadcast.emit("message", socket.id, text)

            io.emits("cursor", float, float, names=("x", "y"))
        """
        self._declare(declare(event, arguments, rest=rest, names=names, returns=returns, description=description))
        return unchanged

    def event(self, function: F) -> F:
        """Register the decorated function for the event of its own name."""
        return self.on(function.__name__)(function)

    def on_any(self, function: F) -> F:
        """Call the function with ``(socket, event, *args)`` for every event that comes in, before its handlers.

        It sees each event as it came, before event middleware; what it returns is ignored, and an event that has no
        handler is answered with ``unknown_event`` all the same. It answers itself if it has a parameter named ``ack``:
        then events without a handler are left to it.
        """
        return self.listening.on_any(function)

    def prepend_any(self, function: F) -> F:
        """As :meth:`on_any`, before those that are there."""
        return self.listening.on_any(function, first=True)

    def off_any(self, function: Callable[..., Any] | None = None) -> None:
        """Remove a catch-all, or all."""
        self.listening.off_any(function)

    def listeners_any(self) -> tuple[Callable[..., Any], ...]:
        """The catch-alls."""
        return tuple(each.function for each in self.listening.catch_all)

    def on_any_outgoing(self, function: F) -> F:
        """Call the function with ``(socket, event, *args)`` for every event that is sent, once for each receiver.

        Acknowledgements are not shown. A volatile event is, though it may be dropped. The arguments are those that
        were given to ``emit``, unchecked. A plain function is called before
        the event is sent. What it raises is logged.
        """
        return self.listening.on_any_outgoing(function)

    def prepend_any_outgoing(self, function: F) -> F:
        """As :meth:`on_any_outgoing`, before those that are there."""
        return self.listening.on_any_outgoing(function, first=True)

    def off_any_outgoing(self, function: Callable[..., Any] | None = None) -> None:
        """Remove a catch-all for events that go out, or all."""
        self.listening.off_any_outgoing(function)

    def listeners_any_outgoing(self) -> tuple[Callable[..., Any], ...]:
        """The catch-alls for events that go out."""
        return tuple(each.function for each in self.listening.outgoing)

    def on_server_side(self, event: str) -> Callable[[F], F]:
        """Register the decorated function for an event that another server emits with :meth:`server_side_emit`.

        It is called with ``(*args)``, checked as those of clients; what it returns is the answer, if one is asked for.
        No client can send such an event.
        """
        check_event_name(event)

        def register(function: F) -> F:
            signature = Signature.of(event, function, takes_socket=False, place=IN_SERVER_SIDE_EVENT)
            handler = SpecialHandler(event, function, signature, takes_socket=False)
            self._server_side.setdefault(event, []).append(handler)
            return function

        return register

    def use(self, middleware: M) -> M:
        """Add connect middleware, ``async (socket, call_next)``: it runs before a client is let in.

        Raise :class:`~rtframework.ConnectionRefused` to refuse; ``await call_next()`` to go on. It can be injected
        more, see :func:`~rtframework.Depends`.
        """
        self._connect_links.append(connect_link(middleware))
        self.middlewares.append(middleware)
        self.compose()
        return middleware

    def use_event(self, middleware: M) -> M:
        """Add event middleware, ``async (socket, event, call_next)``: it runs around the handler of every event.

        It may change ``event.name`` and ``event.args``, raise :class:`~rtframework.EventError`, and returns what goes
        into the acknowledgement, as a rule ``await call_next()``. It can be injected more.
        """
        self._event_links.append(event_link(middleware))
        self.event_middlewares.append(middleware)
        self.compose()
        return middleware

    def exception_handler(self, kind: type[Exception]) -> Callable[[F], F]:
        """Register the decorated function, ``(socket, error)``, for exceptions of a class and of those derived from it.

        It is asked when a handler, event middleware or a provider has raised one. What it returns is the event's
        answer, as a rule an :class:`~rtframework.EventError`; ``None`` leaves it to the next: the handler of a base
        class, those of the server, and at last "internal_error" and a line in the log. It is asked for an
        ``EventError`` and for :class:`~rtframework.InvalidPayload`, too, whether the client waits for an answer or not.
        When a client connects, an ``EventError`` that it returns, or a ``ConnectionRefused`` that it raises, refuses
        the client.

        Example::

            @io.exception_handler(PermissionError)
            async def forbidden(socket: Socket, error: PermissionError) -> EventError:
                return EventError("forbidden", str(error))
        """
        return partial(self.exception_handlers.add, kind)

    # --- what a program asks ----------------------------------------------------------------------------------------

    @property
    def is_pristine(self) -> bool:
        """Whether nothing has been registered with it."""
        registered = (self.listening, self._connect_links, self._event_links, self._server_side, self.declared)
        return not any((*registered, self.exception_handlers.functions))

    @property
    def sockets(self) -> Mapping[str, Socket]:
        """The sockets of this namespace on this server, by id; a live view."""
        return MappingProxyType(self._sockets)

    @property
    def children(self) -> Mapping[str, Namespace]:
        """The namespaces that it is the parent of, by name; a live view. A namespace with one name has none."""
        return MappingProxyType({})

    @property
    def server(self) -> Server:
        """The server that it belongs to. Raises :class:`~rtframework.ConfigurationError` when it has none."""
        if self._host is None:
            raise _homeless(self.name)
        return self._host.server

    @property
    def adapter(self) -> Adapter:
        """Keeps the rooms."""
        if self._adapter is None:
            raise _homeless(self.name)
        return self._adapter

    async def server_side_emit(self, event: str, *args: Any) -> None:
        """Emit an event to this namespace on the other servers of the cluster, see :meth:`on_server_side`.

        With one server it reaches nobody, and the log says so.
        """
        await self.adapter.server_side_emit([check_event_name(event), *args])

    async def server_side_emit_with_ack(self, event: str, *args: Any, timeout: float = 5.0) -> AckResponses:
        """Emit an event to the other servers of the cluster and collect what each answers; never this one's answer.

        Raises :class:`~rtframework.AckTimeout`, with what did come, when not all have answered within ``timeout``
        seconds. With one server nobody answers, and the log says so.
        """
        return await self.adapter.server_side_emit_with_ack([check_event_name(event), *args], timeout)

    @property
    def label(self) -> str:
        """What statistics call it: a name that no client has chosen, its own or that of its parent."""
        return self.name if self.parent is None else self.parent.name

    def _everybody(self) -> BroadcastOperator:
        return self._everyone

    def server_side_handlers(self, event: str) -> tuple[Handler, ...]:
        """The handlers of an event of another server, in the order in which they are called."""
        own = tuple(self._server_side.get(event, ()))
        return own if self.parent is None else (*self.parent.server_side_handlers(event), *own)

    def server_side_events(self) -> tuple[str, ...]:
        """The events of other servers that have a handler here."""
        inherited = () if self.parent is None else self.parent.server_side_events()
        return tuple(dict.fromkeys((*inherited, *self._server_side)))

    # --- what sockets and operators ask -----------------------------------------------------------------------------

    def packet(self, event: str, args: tuple[Any, ...]) -> Packet:
        """The packet of an event. Raises ``ConfigurationError`` for a reserved name."""
        packet = Packet(PacketType.EVENT, self.name, [check_event_name(event), *args])
        if self._auditor is not None:
            self._auditor.check(packet, self.declared)
        return packet

    def audit(self, auditor: Auditor | None) -> None:
        """Check what is emitted from now on against what is declared; ``None``: no longer."""
        self._auditor = auditor

    def audience_of(self, details: SocketDetails) -> Namespace:
        """The namespace of a socket that was selected here."""
        return self

    def next_ack_id(self) -> int:
        """A number that no packet of this namespace has had."""
        return next(self._ack_ids)

    def count_refusal(self, code: str) -> None:
        """An event was answered with an error."""
        if self._host is not None:
            add(self._host.counts.events_refused, code)

    def tap(self, socket: Socket) -> None:
        """The catch-alls of a socket for what goes out have changed."""
        if socket._taps and socket._left is None:
            self.tapped.add(socket.id)
        else:
            self.tapped.discard(socket.id)

    def tell(self, sids: Collection[str], packet: Packet) -> None:
        """Show a packet to the catch-alls of those whom it is sent to."""
        of_all = self.listening.outgoing
        for sid in list(sids) if of_all else self.tapped.intersection(sids):
            socket = self._sockets.get(sid) if sid is not None else None
            if socket is None:
                continue
            for handler in of_all:
                self._tell(socket, packet, partial(handler.function, socket), handler.is_async)
            for handler in socket._taps:
                self._tell(socket, packet, handler.function, handler.is_async)

    def admit(self, socket: Socket, outlet: Outlet) -> None:
        """Frames for this socket go to its connection from now on."""
        self._outlets[socket.id] = outlet
        if socket._pid is not None:
            self._by_pid[socket._pid] = socket
        self._count_connect(outcomes.CONNECTED)

    def remove(self, socket: Socket, reason: str, *, notify: bool) -> None:
        """The socket has gone: nothing of it is left in the namespace when this returns."""
        self._sockets.pop(socket.id, None)
        self._outlets.pop(socket.id, None)
        self.tapped.discard(socket.id)
        if notify and self.watcher is not None:
            self.watcher.gone(socket, reason)
        if socket._pid is not None:
            self._by_pid.pop(socket._pid, None)
            if reason:  # its handlers still run, or are about to
                socket._farewell = asyncio.Event()
                self._departing[socket.id] = socket
        self.adapter.remove_all(socket.id)
        if notify:
            self._notify_gone(socket, reason)
        if not self._sockets and self._keeper is not None:
            self._keeper.emptied()

    # --- what the server calls --------------------------------------------------------------------------------------

    def bind(self, host: Host, keeper: Keeper) -> None:
        """Become a namespace of this server, kept by the server itself or, for a child, by the registry of children."""
        if self._host is not None:
            raise ConfigurationError(f"the namespace {self.name} belongs to a server already")
        self._host = host
        self._keeper = keeper
        self.engine = host.gateway
        self.limits = host.limits
        self._adapter = self._make_adapter(host)
        self.listening.settle(host.ordered, host.validate_returns)
        if self.parent is None:
            self.exception_handlers.outer = host.exception_handlers
        self.compose()
        self.audit(host.auditor)

    async def connect(self, connection: Connection, auth: Any) -> str:
        """A client asks to be let in: authentication, middleware, connection handlers, in this order.

        Whatever goes wrong on the way refuses it and leaves nothing behind; it receives nothing before it is let in.
        What became of it is one of ``rtframework.counters.CONNECTS``.
        """
        host = self._host
        assert host is not None
        handshake = connection.handshake(self.name, auth)
        socket: Socket | None = None
        try:
            user = await self._authenticate(handshake)
            skip = False
            if host.recovery is None or connection.protocol < 4:  # older clients cannot ask for it
                socket = Socket(self, connection, connection.new_id(self.name), handshake, user)
            else:
                socket = await self._recover(connection, handshake, user, host.recovery)
                if socket.recovered:
                    skip = host.recovery.skip_middlewares
                    await self._farewell_of(socket.id)
            if self._connect_links and not skip:
                await self._run_connect_middlewares(socket)
            outlet = socket._enter()
            if outlet is None:
                return self._count_connect(outcomes.GONE)
            self._sockets[socket.id] = socket
            self._outlets[socket.id] = outlet
            if self._lifecycle[CONNECTION]:
                await self._run_connection_handlers(socket)
        except ConnectionRefused as refused:
            outcome = self._refuse(connection, socket, refused)
            self._has_departed(socket)
            return outcome
        except (Exception, asyncio.CancelledError) as error:
            cancelled = is_cancelled(error)
            explained = error if socket is None or cancelled else await socket._explain(error, None)
            outcome = self._refuse(connection, socket, self._refusal_of(explained, socket))
            self._has_departed(socket)
            if cancelled:
                raise
            return outcome
        else:
            if socket._left is None:
                socket.accept()
            elif not socket._was_admitted:
                # The handlers have run to their end, so what they set up has to be taken down.
                self._notify_gone(socket, socket._left)
            return outcomes.CONNECTED if socket._was_admitted else self._count_connect(outcomes.GONE)

    def inherit(self, parent: Namespace) -> None:
        """Become a child: what is registered with the parent comes before its own."""
        self.parent = parent
        self.listening.inherit(parent.listening)
        self.declared.inherit(parent.declared)
        self.exception_handlers.outer = parent.exception_handlers
        self._connect_links[:0] = parent._connect_links
        self._event_links[:0] = parent._event_links
        self.middlewares[:0] = parent.middlewares
        self.event_middlewares[:0] = parent.event_middlewares
        self.compose()

    # --- inside -----------------------------------------------------------------------------------------------------

    async def _authenticate(self, handshake: Handshake) -> Any:
        """Who the client is. Raises ``ConnectionRefused``."""
        authenticator = self._host.authenticator if self._host is not None else None
        if authenticator is None:
            return None
        user = await authenticator.authenticate(handshake)
        if user is None:
            raise ConnectionRefused("Unauthorized", {"code": "unauthorized"})
        return user

    def _make_adapter(self, host: Host) -> Adapter:
        return host.adapter_factory(self.name, NamespaceEmitter(self, host.gateway, self._outlets))

    def compose(self) -> None:
        """Make the chains anew: middleware was added, or an observer of the server."""
        if self._connect_links:
            self._connect_chain = compose(self._connect_links, _let_pass)
        chain = compose(self._event_links, self._call) if self._event_links else None
        observers = [each.event for each in self._host.observers] if self._host is not None else []
        self.is_observed = bool(observers)
        self.event_chain = compose(observers, partial(Socket._serve_observed, chain=chain)) if observers else chain

    def _declare(self, declaration: Declaration) -> None:
        self.declared.add(declaration)

    def _collect(self) -> None:
        """Register the ``on_<event>`` methods of a class-based namespace, and what the class declares."""
        for declaration in declarations_of(type(self)):
            self._declare(declaration)
        for name in dir(type(self)):
            if not name.startswith("on_"):
                continue
            if hasattr(Namespace, name):
                if getattr(type(self), name) is not getattr(Namespace, name):
                    raise ConfigurationError(
                        f"{name} of {type(self).__name__} would replace Namespace.{name}: give the method another name "
                        f"and register it, e.g. with self.{name}(self.<method>) in __init__"
                    )
                continue
            self.on(name.removeprefix("on_"))(getattr(self, name))

    def _call(self, socket: Socket, event: Event) -> Awaitable[Any]:
        """The end of an event chain."""
        return socket._run_handler(event)

    def _outgoing_changed(self) -> None:
        if self.listening.outgoing:
            self.tapped.add(None)
        else:
            self.tapped.discard(None)

    def _tell(self, socket: Socket, packet: Packet, function: Callable[..., Any], is_async: bool) -> None:
        try:
            result = function(*packet.data)
            if is_async or isawaitable(result):
                self._spawn(self._finish_telling(socket, packet, result))
        except Exception:
            log.exception("unhandled error in a catch-all for what goes out", extra=_where(socket, packet))

    async def _finish_telling(self, socket: Socket, packet: Packet, result: Awaitable[Any]) -> None:
        try:
            await result
        except Exception:
            log.exception("unhandled error in a catch-all for what goes out", extra=_where(socket, packet))

    async def _run_connect_middlewares(self, socket: Socket) -> None:
        passage = Passage()
        await self._connect_chain(socket, passage)
        if not passage.is_through:
            extra = {"nsp": self.name, "sid": socket.id}
            log.warning("a connect middleware of %s neither called call_next() nor refused", self.name, extra=extra)
            raise ConnectionRefused

    async def _run_connection_handlers(self, socket: Socket) -> None:
        patience = asyncio.get_running_loop().call_later(_PATIENCE, self._warn, socket)
        try:
            for handler in self.listening.take(CONNECTION):
                await handler(socket)
        finally:
            patience.cancel()

    def _warn(self, socket: Socket) -> None:
        if socket.connected and not socket._admitted:
            log.warning(
                "a connection handler of %s has been running for %g s and keeps its client out: "
                "if it is meant to go on, call socket.accept() first",
                self.name,
                _PATIENCE,
                extra={"nsp": self.name, "sid": socket.id},
            )

    def _refusal_of(self, error: Any, socket: Socket | None) -> ConnectionRefused:
        """What a client is told when something else than a refusal was raised while it connected."""
        if isinstance(error, ConnectionRefused):
            return error
        if isinstance(error, EventError):
            return ConnectionRefused(error.message, error.to_payload()["error"])
        # A client that left while a handler waited for its answer is no error.
        if not (isinstance(error, Disconnected) and socket is not None and socket._left is not None):
            failure = error if isinstance(error, BaseException) else TypeError(f"no EventError: {error!r}")
            extra = {"nsp": self.name, "sid": socket.id if socket is not None else None}
            log.error("unhandled error while a client connects", exc_info=failure, extra=extra)
        return _INTERNAL

    def _count_connect(self, outcome: str) -> str:
        assert self._host is not None
        self._host.counts.connects[outcome] += 1
        return outcome

    def _count_recovery(self, outcome: str) -> None:
        assert self._host is not None
        self._host.counts.recoveries[outcome] += 1

    def _refuse(self, connection: Connection, socket: Socket | None, refused: ConnectionRefused) -> str:
        """Refuse a client, or disconnect it when it is in already; what became of it."""
        if socket is not None and not socket._admitted:
            socket._forget_listeners()
        if not connection.is_open or (socket is not None and socket._left is not None):
            if socket is not None and socket._left is None:
                socket._evict()
            # Nobody is there to be told; the namespace may be somebody else's already.
            was_in = socket is not None and socket._was_admitted
            return outcomes.CONNECTED if was_in else self._count_connect(outcomes.GONE)
        if socket is not None and socket._admitted:
            # It has been told that it is connected: all that is left is to disconnect it.
            self._spawn(socket.disconnect())
            return outcomes.CONNECTED
        outcome = outcomes.INTERNAL_ERROR if refused is _INTERNAL else _stage_of(socket)
        if socket is not None:
            socket._evict()
        connection.leave(self.name)
        try:
            frames = self.engine.encode(
                Packet(PacketType.CONNECT_ERROR, self.name, connection.refusal(refused.message, refused.data))
            )
        except EncodeError:
            log.exception("a ConnectionRefused cannot be sent as it is", extra={"nsp": self.name})
            bare = connection.refusal(ConnectionRefused().message)
            frames = self.engine.encode(Packet(PacketType.CONNECT_ERROR, self.name, bare))
        connection.send(frames)
        return self._count_connect(outcome)

    def _notify_gone(self, socket: Socket, reason: str) -> None:
        if any(self._lifecycle[phase] or socket._listens_to(phase) for phase in (DISCONNECTING, DISCONNECT)):
            self._spawn(self._run_disconnect_handlers(socket, reason))
        else:
            socket._forget_listeners()
            self._has_departed(socket)

    async def _run_disconnect_handlers(self, socket: Socket, reason: str) -> None:
        try:
            for phase in (DISCONNECTING, DISCONNECT):
                for handler in (*self.listening.take(phase), *socket._take_handlers(phase)):
                    try:
                        await handler(socket, reason)
                    except Exception:
                        extra = {"nsp": self.name, "sid": socket.id}
                        log.exception("unhandled error in a %r handler", phase, extra=extra)
                socket._forget_rooms()
        finally:
            socket._forget_listeners()
            self._has_departed(socket)

    # --- connection state recovery ----------------------------------------------------------------------------------

    async def _recover(self, connection: Connection, handshake: Handshake, user: Any, recovery: Recovery) -> Socket:
        """The socket that continues what the client had before, or, when that is not to be had, a new one."""
        pid, offset = handshake.auth.get("pid"), handshake.auth.get("offset")
        if isinstance(pid, str) and (offset is None or isinstance(offset, str)):
            ghost = self._by_pid.get(pid)
            if ghost is not None and ghost.conn is not connection and recovery.is_same(ghost._authenticated, user):
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
                    self._outlets[socket.id] = socket._restore(session)
                    self._by_pid[pid] = socket
                    self._count_recovery(outcomes.RECOVERED)
                    return socket
            else:
                self._count_recovery(outcomes.NOT_FOUND)
            log.debug("a client of %s is not recovered", self.name, extra={"nsp": self.name})
        return Socket(self, connection, connection.new_id(self.name), handshake, user, secrets.token_urlsafe(15))

    async def _restore(self, pid: str, offset: str | None) -> Session | None:
        try:
            return await self.adapter.restore_session(pid, offset)
        except Exception:
            log.exception("unhandled error while a session is restored", extra={"nsp": self.name})
            return None

    def _fits(self, session: Session, offset: str | None, user: Any, recovery: Recovery) -> bool:
        if not recovery.is_same(session.authenticated, user):
            _another_user(self.name, extra={"nsp": self.name, "sid": session.sid})
            self._count_recovery(outcomes.ANOTHER_USER)
            return False
        if session.replayed == (offset or ""):
            self._count_recovery(outcomes.UNCERTAIN)
            return False  # which of the packets that were sent again it has got, nobody knows
        if sum(frames.size for frames in session.missed) > self.limits.max_outbox:
            self._count_recovery(outcomes.TOO_MUCH)
            return False
        return True

    def _evict_ghost(self, ghost: Socket) -> None:
        """The client is here again, so its old connection is dead, though nobody has noticed yet."""
        ghost.conn.close(DisconnectReason.TRANSPORT_CLOSE)
        if ghost._left is None:
            ghost._evict()  # its middleware still runs

    async def _farewell_of(self, sid: str) -> None:
        """Wait for the handlers of the socket that had this id before, for a bounded time.

        What they take down by the socket's id must not be what the connection handlers have just set up.
        """
        before = self._departing.get(sid)
        if before is not None and before._farewell is not None:
            try:
                async with asyncio.timeout(_PATIENCE):
                    await before._farewell.wait()
            except TimeoutError:
                extra = {"nsp": self.name, "sid": sid}
                log.warning(
                    "a disconnect handler of %s still runs: its client has come back meanwhile", self.name, extra=extra
                )

    def _has_departed(self, socket: Socket | None) -> None:
        """No handler that is to do with its coming or going runs any more."""
        if socket is not None and socket._farewell is not None:
            socket._farewell.set()
            if self._departing.get(socket.id) is socket:
                del self._departing[socket.id]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        assert self._keeper is not None
        self._keeper.spawn(work)


def _stage_of(socket: Socket | None) -> str:
    """How far a client came that was refused."""
    if socket is None:
        return outcomes.AUTHENTICATION
    return outcomes.CONNECTION_HANDLER if socket.connected else outcomes.MIDDLEWARE


def _where(socket: Socket, packet: Packet) -> dict[str, Any]:
    return {"nsp": socket.nsp, "sid": socket.id, "event": packet.data[0]}


def _homeless(name: str) -> ConfigurationError:
    return ConfigurationError(f"the namespace {name} belongs to no server: see Server.register_namespace")


async def _let_pass(socket: Socket, passage: Passage) -> None:
    """The end of a connect chain."""
    passage.is_through = True


_INTERNAL: Final = ConnectionRefused("Internal server error", {"code": "internal_error"})
