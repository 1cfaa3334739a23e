"""A namespace: its handlers, its middleware and its sockets."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Never, Protocol, TypeVar

from ..adapters.checking import check_adapter
from ..adapters.partial_views import looked_at
from ..counters import add
from ..exceptions import ConfigurationError
from ..handlers.declarations import NOTHING, Declaration, Declarations, declarations_of, declare, unchanged
from ..handlers.dependencies import IN_SERVER_SIDE_EVENT
from ..handlers.exception_handlers import ExceptionHandlers
from ..handlers.handler import Handler, SpecialHandler
from ..handlers.middleware import Link, compose, connect_link, event_link
from ..handlers.mistakes import given_a_function, given_a_name, unknown_keywords
from ..handlers.registration import Registration
from ..handlers.registry import HandlerRegistry
from ..handlers.signatures import Signature
from ..options import check_timeout
from ..packets import check_event_name, event_key
from ..types import EVERYBODY, AckResponses, Member, Packet, PacketType, SocketDetails, Target
from .admission import Admission
from .broadcasting import Broadcasting
from .emitter import NamespaceEmitter
from .history import NamespaceHistory, make_history
from .limited_receiver import LimitedReceiver
from .membership import Membership
from .operators import BroadcastOperator
from .outgoing import OutgoingCatchAlls
from .patterns import NO_PARAMS, is_namespace
from .sightings import key_of_user
from .socket import Socket

if TYPE_CHECKING:
    from ..handlers.event import Passage
    from ..handlers.strict import Auditor
    from ..limits.guard import Guard
    from ..options import Limits
    from ..protocols import Adapter, Authenticator, Client, Engine, Receiver, Watcher
    from ..server import Server
    from ..types import Handshake
    from .host import Host
    from .presence import RoomPresence

_EVENT: Final = PacketType.EVENT

F = TypeVar("F", bound=Callable[..., Any])
M = TypeVar("M", bound=Callable[..., Awaitable[Any]])


class Keeper(Protocol):
    """Keeps a namespace alive for as long as it is needed."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something for the namespace in the background; it is awaited at shutdown."""

    def emptied(self) -> None:
        """Hear that the last socket of the namespace has left."""


class Namespace(Registration, Broadcasting):
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

    _spoken_of_as = "namespace"
    _may_keep = True
    """True if its rooms may have a history."""
    _engine: Engine
    _limits: Limits
    _guard: Guard

    def __init__(self, name: str = "/", *, ordered: bool | None = None) -> None:
        if not is_namespace(name):
            raise ConfigurationError(f'a namespace is a string that starts with "/" and has no comma, not {name!r}')
        self.name = name
        self.parent: Namespace | None = None
        """The parent that it is a child of, see ``Server.of``."""
        self.params: Mapping[str, str] = NO_PARAMS
        """The parameters in its name, when it is a child: ``"acme"`` for ``"tenant"``."""
        self.declared = Declarations()
        """The events that it emits, see :meth:`emits`."""
        self.middlewares: list[Callable[..., Any]] = []
        """The connect middleware, in the order in which it runs."""
        self.event_middlewares: list[Callable[..., Any]] = []
        """The event middleware, in the order in which it runs."""
        self._host: Host | None = None
        self._keeper: Keeper | None = None
        self._authenticator: Authenticator | None = None
        self._auditor: Auditor | None = None
        self._adapter: Adapter | None = None
        self._history: NamespaceHistory | None = None
        self._membership = Membership(self)
        self._admission = Admission(self)
        self._listening = HandlerRegistry(ordered=ordered, on_outgoing=lambda: self._outgoing.namespace_changed())
        self._outgoing = OutgoingCatchAlls(self._listening, self._membership.sockets, self._spawn)
        self._exception_handlers = ExceptionHandlers()
        self._server_side: dict[str, list[Handler]] = {}
        self._connect_links: list[Link] = []
        self._event_links: list[Link] = []
        self._connect_chain: Link = _let_pass
        self._event_chain: Link | None = None
        """Observers and event middleware, composed; ``None`` without any."""
        self._is_observed = False
        """True if there are observers in that chain."""
        self._watcher: Watcher | None = None
        """Hears who comes and who leaves; ``None`` unless the Admin UI shows it."""
        self._presence: RoomPresence | None = None
        """Who is in its rooms; ``None`` if none of them has presence."""
        self._ack_ids = itertools.count()
        self._everyone = BroadcastOperator(self, EVERYBODY)
        self._collect()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} with {len(self._membership.sockets)} socket(s)>"

    def __len__(self) -> int:
        """Count its sockets on this server."""
        looked_at("the number of sockets of a namespace", self.name)
        return len(self._membership.sockets)

    def __bool__(self) -> bool:
        return True

    # --- registration -----------------------------------------------------------------------------------------------

    def emits(
        self,
        event: str | int,
        /,
        *arguments: Any,
        rest: Any = NOTHING,
        names: Sequence[str] | None = None,
        returns: Any = NOTHING,
        description: str = "",
    ) -> Callable[[F], F]:
        """Declare an event that is emitted to clients, with the types of its arguments; in front of a handler or alone.

        A declaration changes no emit: contracts are generated from it, see ``docs/contracts.md``, and strict mode
        checks it. ``rest``: the type of any number of further arguments. ``returns``: the type of each client's answer.
        ``names`` of the arguments and ``description``, one paragraph, are for readers of the contract.

        The declarations of a parent are those of its children, too. An event may be declared again with the same types.
        Raises :class:`~rtframework.ConfigurationError` when the types differ, and for an argument that is no type.

        Example::

            @io.emits("message", str, str, names=("author", "text"))
            @io.on("message")
            async def message(socket: Socket, text: str) -> None:
                await socket.broadcast.emit("message", socket.id, text)

            io.emits("cursor", float, float, names=("x", "y"))
        """
        self._declare(declare(event, arguments, rest=rest, names=names, returns=returns, description=description))
        return unchanged

    @given_a_name
    def on_server_side(self, event: str | int) -> Callable[[F], F]:
        """Register the decorated function for an event that another server emits with :meth:`server_side_emit`.

        It is called with ``(*args)``, which are checked as those of clients. Its result is the answer, if one is asked
        for. No client can send such an event.
        """
        name = check_event_name(event)

        def register(function: F) -> F:
            signature = Signature.of(name, function, takes_socket=False, place=IN_SERVER_SIDE_EVENT)
            handler = SpecialHandler(name, function, signature, takes_socket=False)
            self._server_side.setdefault(event_key(name), []).append(handler)
            return function

        return register

    @given_a_function
    def use(self, middleware: M) -> M:
        """Add connect middleware, ``async (socket, call_next)``: it runs before a client is accepted.

        Raise :class:`~rtframework.ConnectionRefused` to refuse; ``await call_next()`` to go on. Further parameters are
        filled by :func:`~rtframework.Depends`.
        """
        self._connect_links.append(connect_link(middleware))
        self.middlewares.append(middleware)
        self._compose()
        return middleware

    @given_a_function
    def use_event(self, middleware: M) -> M:
        """Add event middleware, ``async (socket, event, call_next)``: it runs around the handlers of every event.

        It may change ``event.name`` and ``event.args`` and raise :class:`~rtframework.EventError`. Its result is the
        acknowledgement, in most cases that of ``await call_next()``. Further parameters are filled by
        :func:`~rtframework.Depends`.
        """
        self._event_links.append(event_link(middleware))
        self.event_middlewares.append(middleware)
        self._compose()
        return middleware

    def exception_handler(self, kind: type[Exception]) -> Callable[[F], F]:
        """Register the decorated function, ``(socket, error)``, for exceptions of a class and of its subclasses.

        It is called when an event handler, event middleware or a provider has raised one. Its result is the event's
        answer, in most cases an :class:`~rtframework.EventError`. ``None`` leaves the exception to the next handler:
        that of a base class, then those of the server, and at last "internal_error" and a line in the log. It is called
        for ``EventError`` and :class:`~rtframework.InvalidPayload`, too, and also when the client waits for no answer.
        While a client connects, an ``EventError`` as its result, or a ``ConnectionRefused`` that it raises, refuses
        the client.

        Example::

            @io.exception_handler(PermissionError)
            async def forbidden(socket: Socket, error: PermissionError) -> EventError:
                return EventError("forbidden", str(error))
        """
        return self._exception_handlers.for_kind(kind, self._spoken_of_as)

    # --- what a program asks ----------------------------------------------------------------------------------------

    @property
    def sockets(self) -> Mapping[str, Socket]:
        """The sockets of this namespace on this server, by id; a live view."""
        looked_at("sockets", self.name)
        return MappingProxyType(self._membership.sockets)

    @property
    def children(self) -> Mapping[str, Namespace]:
        """The child namespaces of a parent, by name; a live view. A namespace with one name has none."""
        return MappingProxyType({})

    @property
    def server(self) -> Server:
        """The server that it belongs to. Raises :class:`~rtframework.ConfigurationError` when it has none."""
        if self._host is None:
            raise _homeless(self.name)
        return self._host.server

    @property
    def adapter(self) -> Adapter:
        """The adapter, which keeps the rooms."""
        if self._adapter is None:
            raise _homeless(self.name)
        return self._adapter

    @property
    def label(self) -> str:
        """The name under which statistics count it. No client has chosen it: its own name or that of its parent."""
        return self.name if self.parent is None else self.parent.name

    async def server_side_emit(self, event: str | int, *args: Any, **unknown: Never) -> None:
        """Emit an event to this namespace on the other servers of the cluster, see :meth:`on_server_side`.

        Without other servers it reaches nobody, and the log says so.
        """
        if unknown:
            raise unknown_keywords("server_side_emit", unknown)
        await self.adapter.server_side_emit([check_event_name(event), *args])

    async def server_side_emit_with_ack(self, event: str | int, *args: Any, timeout: float = 5.0) -> AckResponses:
        """Emit an event to the other servers of the cluster, never to this one, and collect their answers.

        Raises :class:`~rtframework.AckTimeout`, with the answers so far, when not all have answered within ``timeout``
        seconds. Without other servers nobody answers, and the log says so.
        """
        check_timeout("timeout", timeout)
        return await self.adapter.server_side_emit_with_ack([check_event_name(event), *args], timeout)

    # --- for sockets, operators and the adapter ---------------------------------------------------------------------

    def _everybody(self) -> BroadcastOperator:
        return self._everyone

    def _packet(self, event: str | int, args: tuple[Any, ...]) -> Packet:
        """Make the packet of an event. Raises ``ConfigurationError`` for a reserved name."""
        packet = Packet(_EVENT, self.name, [check_event_name(event), *args])
        if self._auditor is not None:
            self._auditor.check(packet, self.declared)
        return packet

    def _audience_of(self, details: SocketDetails) -> Namespace:
        """Return the namespace of a socket that was selected here."""
        return self

    def _lost(self, packet: Packet, target: Target, error: Exception) -> None:
        """Tell the program that the other servers do not get an event."""
        if self._host is not None:
            self._host.cluster.loss(self.name, packet, target, error)

    async def _members_of(self, room: str, limit: int, after: str | None) -> list[Member]:
        """Return who is in a room, see :meth:`presence`."""
        return await self._presence_in(room).members(room, limit, after)

    def _presence_in(self, room: str) -> RoomPresence:
        """Return the presence of the namespace. Raises ``ConfigurationError`` if none of its rooms can have any."""
        if self._presence is None:
            raise self._without_presence(room)
        return self._presence

    def _without_presence(self, room: str) -> ConfigurationError:
        return ConfigurationError(
            f"the room {room!r} of {self.name} has no presence: write Server(presence=Presence({room!r})), or a pattern"
        )

    def _next_ack_id(self) -> int:
        """Return a number that no packet of this namespace has had."""
        return next(self._ack_ids)

    def _count_refusal(self, code: str) -> None:
        """Count an event that was answered with an error."""
        if self._host is not None:
            add(self._host.counts.events_refused, code)

    def _server_side_handlers(self, event: str | int) -> tuple[Handler, ...]:
        """Return the handlers of an event of another server, in the order in which they are called."""
        own = tuple(self._server_side.get(event_key(event), ()))
        return own if self.parent is None else (*self.parent._server_side_handlers(event), *own)

    def _server_side_events(self) -> tuple[str, ...]:
        """Return the keys of the events of other servers that have a handler here."""
        inherited = () if self.parent is None else self.parent._server_side_events()
        return tuple(dict.fromkeys((*inherited, *self._server_side)))

    def _make_socket(self, client: Client, id: str, handshake: Handshake, user: Any, pid: str | None = None) -> Socket:
        return Socket(self, client, id, handshake, user, pid)

    def _receiver_of(self, socket: Socket) -> Receiver:
        """Return what takes the packets of a socket: the socket itself, unless all events have a rate."""
        return LimitedReceiver(socket, self._guard) if self._guard.limits_events else socket

    def _take_seat(self, socket: Socket) -> bool:
        """Count a socket of a user. Return ``False`` if the user has as many as ``Limits`` allow."""
        seats = self._host.seats if self._host is not None else None
        user = self._guard.rate_limit.key_of(socket._authenticated)
        return seats is None or user is None or seats.take((self.name, user), socket)

    def _free_seat(self, socket: Socket) -> None:
        """Count a socket of a user no longer."""
        if self._host is not None and self._host.seats is not None:
            self._host.seats.free(socket)

    def _make_registry(self, socket: Socket) -> HandlerRegistry:
        """Make the registry for handlers of one socket."""
        of_all = self._listening
        return HandlerRegistry(
            of_socket=True,
            ordered=of_all.ordered,
            signatures=of_all.signatures,
            validates=of_all.validates,
            on_outgoing=partial(self._outgoing.socket_changed, socket),
        )

    # --- for the server ---------------------------------------------------------------------------------------------

    @property
    def _is_pristine(self) -> bool:
        """True if nothing has been registered with it."""
        registered = (self._listening, self._connect_links, self._event_links, self._server_side, self.declared)
        return not any((*registered, self._exception_handlers.functions))

    def _bind(self, host: Host, keeper: Keeper) -> None:
        """Become a namespace of this server, kept by the server itself or, for a child, by the registry of children."""
        if self._host is not None:
            raise ConfigurationError(f"the namespace {self.name} belongs to a server already")
        settings = host.settings
        self._host = host
        self._keeper = keeper
        if self._authenticator is None:
            self._authenticator = settings.authenticator
        self._engine = host.engine
        self._limits = settings.limits
        self._guard = host.guard
        self._adapter = self._make_adapter(host)
        if settings.history:
            self._history = self._make_history(host, self._adapter)
        self._presence = None if host.presence is None else host.presence.of(self)
        self._listening.settle(settings.ordered, settings.validate_returns)
        if self.parent is None:
            self._exception_handlers.outer = host.exception_handlers
        self._compose()
        self._auditor = host.auditor

    def _inherit(self, parent: Namespace) -> None:
        """Become a child: everything that is registered with the parent comes before its own."""
        self.parent = parent
        if self._host is not None and self._host.presence is not None:
            self._presence = self._host.presence.of(self)  # by the name of the parent, too
        self._listening.inherit(parent._listening)
        self.declared.inherit(parent.declared)
        self._exception_handlers.outer = parent._exception_handlers
        self._connect_links[:0] = parent._connect_links
        self._event_links[:0] = parent._event_links
        self.middlewares[:0] = parent.middlewares
        self.event_middlewares[:0] = parent.event_middlewares
        self._compose()
        if self._host is not None and self._host.settings.history and self._adapter is not None:
            self._history = self._make_history(self._host, self._adapter)  # one may be for all children of a parent

    def _compose(self) -> None:
        """Make the chains anew, after middleware or an observer of the server was added."""
        if self._connect_links:
            self._connect_chain = compose(self._connect_links, _let_pass)
        chain = compose(self._event_links, Socket._run_handlers) if self._event_links else None
        observers = [each.event for each in self._host.observers] if self._host is not None else []
        self._is_observed = bool(observers)
        self._event_chain = compose(observers, partial(Socket._serve_observed, chain=chain)) if observers else chain

    def _emptied(self) -> None:
        """Hear that the last socket has left."""
        if self._keeper is not None:
            self._keeper.emptied()

    # --- connection state recovery ----------------------------------------------------------------------------------

    async def forget_sessions(self, user: Any) -> int:
        """Forget the sessions that are kept for a user's clients, so that none is recovered. Return their number.

        ``user``: what the authenticator returned for it, or its ``id``; users are compared by ``Recovery.identity``.
        Clients that are connected stay, see :meth:`disconnect_sockets`. Without connection state recovery nothing is
        kept.

        Example::

            await io.in_("user 42").disconnect_sockets(close=True)
            await io.forget_sessions("42")
        """
        recovery = None if self._host is None else self._host.settings.recovery
        if recovery is None:
            return 0
        identity = recovery.identity(user)
        return await self.adapter.forget_sessions(lambda session: bool(session.identity == identity))

    async def _revoke(self, keys: Collection[str], code: str) -> None:
        """Refuse credentials of users or tokens, by their rooms, that were issued until now; on all servers."""
        assert self._host is not None
        await self._host.revoke(*(self._host.revocations.make(key, code) for key in keys))

    async def _revoke_tokens(self, id: str | None, user: object, issued_before: float | None) -> None:
        """Take tokens back, see :meth:`revoke_tokens`."""
        if self._host is None:
            raise _homeless(self.name)
        revocation = self._host.revocations.of_request(id, user, issued_before)
        try:
            await self._host.revoke(revocation)
        finally:
            await self._host.forget_revoked(revocation)

    async def _forget_sessions_in(self, room: str) -> int:
        """Forget the sessions that are kept for sockets in a room. Return their number."""
        if self._host is None or self._host.settings.recovery is None:
            return 0
        return await self.adapter.forget_sessions(lambda session: room in session.rooms)

    def _last_seen(self, room: str) -> Callable[[], Awaitable[float | None]]:
        """Return what finds the time at which a user was there last. Raises ``ConfigurationError`` if nothing does."""
        if self._host is None:
            raise _homeless(self.name)
        if self._host.settings.last_seen is None:
            raise ConfigurationError("the server does not remember users: write Server(last_seen=seconds)")
        return partial(self._host.sightings.find, key_of_user(self.label, room))

    # --- inside -----------------------------------------------------------------------------------------------------

    def _registry(self) -> HandlerRegistry:
        return self._listening

    def _make_adapter(self, host: Host) -> Adapter:
        adapter = host.settings.adapter_factory(self.name, NamespaceEmitter(self, host.engine))
        check_adapter(adapter)
        return adapter

    def _make_history(self, host: Host, adapter: Adapter) -> NamespaceHistory | None:
        if not self._may_keep:
            return None
        emitter = NamespaceEmitter(self, host.engine)
        return make_history(self, host.settings.history, adapter, emitter, host.memory_history)

    def _declare(self, declaration: Declaration) -> None:
        self.declared.add(declaration)

    def _collect(self) -> None:
        """Register the ``on_<event>`` methods of a class-based namespace, and the declarations of the class."""
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

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        assert self._keeper is not None
        self._keeper.spawn(work)


def _homeless(name: str) -> ConfigurationError:
    return ConfigurationError(f"the namespace {name} belongs to no server: see Server.register_namespace")


async def _let_pass(socket: Socket, passage: Passage) -> None:
    """End a connect chain: nobody on the way has refused the client."""
    passage.is_through = True
