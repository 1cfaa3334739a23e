"""The facade that a user meets: a Socket.IO server for an aiohttp application."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from aiohttp import web

from .adapters.memory import MemoryAdapter
from .adapters.recovering import SessionAwareAdapter
from .admin.namespace import AdminNamespace, Mode
from .counters import INTERNAL_ERROR, INVALID_NAMESPACE
from .engine.api import EngineIO
from .engine.gateway import Gateway
from .exceptions import ConfigurationError, ConnectionRefused
from .handlers.declarations import NOTHING
from .handlers.dependencies import supply
from .handlers.event import NEW_NAMESPACE
from .handlers.exception_handlers import ExceptionHandlers
from .handlers.middleware import observing
from .handlers.strict import Auditor, OnBreach, on_breach, telling
from .namespaces.announcements import Announcements
from .namespaces.dynamic import DynamicNamespaces
from .namespaces.namespace import Namespace
from .namespaces.operators import Broadcasting, BroadcastOperator
from .namespaces.patterns import is_template
from .options import (
    AllowRequest,
    Cookie,
    Cors,
    Deflate,
    EngineOptions,
    Limits,
    Origins,
    ProxyHeaders,
    TrustedProxies,
)
from .serializers import JSONSerializer
from .stats import Stats, take_stats
from .types import Packet, PacketType

if TYPE_CHECKING:
    from .handlers.dependencies import Provider
    from .namespaces.announcements import Pending
    from .namespaces.parent import Factory, ParentNamespace
    from .namespaces.patterns import Predicate
    from .namespaces.socket import Socket
    from .options import Recovery
    from .protocols import (
        AdapterFactory,
        Authenticator,
        Connection,
        Engine,
        Observer,
        Serializer,
    )
    from .types import AckResponses

log: Final = logging.getLogger("rtframework.server")

F = TypeVar("F", bound=Callable[..., Any])
M = TypeVar("M", bound=Callable[..., Awaitable[Any]])
N = TypeVar("N", bound=Namespace)

_PATIENCE: Final = 1.5
"""Seconds that disconnect handlers have at shutdown."""


class Server(Broadcasting):
    """A Socket.IO server.

    Its own methods (``on``, ``use``, ``emit``, ``to``, ``sockets`` …) are those of the main namespace, ``"/"``;
    :meth:`of` gives the others.

    ``auth``: who decides who a client is, for every namespace; without one anybody may come in.
    ``serializer``: JSON unless another is given; clients need the same one.
    ``adapter``: a factory ``(namespace, emitter) -> Adapter``; rooms in memory unless another is given.
    ``ordered``: the events of one socket are served strictly one after another.
    ``validate_returns``: what handlers return is checked against their annotations, too; what does not fit is logged,
    and answered with ``internal_error``.
    ``cleanup_empty_child_namespaces``: whether a namespace that clients brought into being goes with its last client.
    ``connection_state_recovery``: a client whose connection was lost goes on where it was, see
    :class:`~rtframework.Recovery`; off by default, as with Node.
    ``ping_interval``, ``ping_timeout``: seconds between heartbeats, and seconds that a client has to answer one.
    ``connect_timeout``: seconds after which a client that joined no namespace is closed.
    ``upgrade_timeout``: seconds that a client has to complete a change to websocket.
    ``max_http_buffer_size``: bytes of one message or POST body; other bounds are in ``limits``.
    ``transports``: ``"polling"``, ``"websocket"`` or both; ``allow_upgrades``: whether polling may become websocket.
    ``allow_eio3``: whether clients of Socket.IO 2 may connect, too; they are refused by default, as with Node.
    ``cors_allowed_origins``: which pages of other hosts may connect, see ``rtframework.options.Origins``; none by
    default. ``cors_credentials``: whether those may send cookies. ``cors``: these two, and the headers of CORS.
    ``require_origin``: refuse requests without an ``Origin`` header, for servers that serve browsers alone.
    ``allow_request``: a function of the aiohttp request, ``async`` or not, that says whether a client may open a
    connection; ``False`` and ``ConnectionRefused(message)`` refuse it.
    ``cookie``: a cookie that holds the session id, for proxies; a name, ``True`` (``"io"``) or a ``Cookie``.
    ``trusted_proxies``: how many proxies there are, or their addresses: they say what the client's address is, by
    ``proxy_headers``, ``"x-forwarded"`` or ``"forwarded"``.
    ``serve_client``: serve the JavaScript client's files under the path; ``True`` for an installed npm package, or the
    folder that has them.
    ``per_message_deflate``: compress websocket messages for clients that offer it; off by default, as with Node.
    ``http_compression``: whether polling answers of ``http_compression_threshold`` bytes and more are compressed
    for clients that take it.
    ``strict_emits``: for tests: what is emitted is checked against what :meth:`emits` has declared, and
    ``ContractError`` raised where it does not fit; off by default, and free then.

    Example::

        io = Server()

        @io.on("message")
        async def message(socket: Socket, text: str) -> str:
            await socket.broadcast.emit("message", text)
            return "ok"

        app = web.Application()
        io.attach(app)
        web.run_app(app)
    """

    def __init__(
        self,
        *,
        auth: Authenticator | None = None,
        serializer: Serializer | None = None,
        adapter: AdapterFactory = MemoryAdapter,
        ordered: bool = False,
        validate_returns: bool = False,
        cleanup_empty_child_namespaces: bool = False,
        connection_state_recovery: Recovery | None = None,
        ping_interval: float = 25.0,
        ping_timeout: float = 20.0,
        connect_timeout: float = 45.0,
        upgrade_timeout: float = 10.0,
        max_http_buffer_size: int | None = None,
        transports: Sequence[str] = ("polling", "websocket"),
        allow_upgrades: bool = True,
        allow_eio3: bool = False,
        cors_allowed_origins: Origins = None,
        cors_credentials: bool | None = None,
        cors: Cors | None = None,
        require_origin: bool = False,
        allow_request: AllowRequest | None = None,
        cookie: bool | str | Cookie = False,
        trusted_proxies: TrustedProxies = None,
        proxy_headers: ProxyHeaders = "x-forwarded",
        serve_client: bool | str | PathLike[str] = False,
        http_compression: bool = True,
        http_compression_threshold: int = 1024,
        per_message_deflate: Deflate | None = None,
        limits: Limits | None = None,
        strict_emits: bool = False,
    ) -> None:
        limits = limits or Limits()
        if max_http_buffer_size is not None:
            limits = replace(limits, max_http_buffer_size=max_http_buffer_size)
        cors = cors or Cors()
        if cors_allowed_origins is not None:
            cors = replace(cors, allowed_origins=cors_allowed_origins)
        if cors_credentials is not None:
            cors = replace(cors, credentials=cors_credentials)
        self.options = EngineOptions(
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            connect_timeout=connect_timeout,
            upgrade_timeout=upgrade_timeout,
            transports=tuple(transports),
            allow_upgrades=allow_upgrades,
            allow_eio3=allow_eio3,
            cors=cors,
            require_origin=require_origin,
            allow_request=allow_request,
            cookie=_cookie(cookie),
            trusted_proxies=trusted_proxies,
            proxy_headers=proxy_headers,
            serve_client=serve_client,
            per_message_deflate=per_message_deflate,
            http_compression=http_compression,
            http_compression_threshold=http_compression_threshold,
            limits=limits,
        )
        self.authenticator = auth
        if connection_state_recovery is not None and adapter is MemoryAdapter:
            adapter = partial(
                SessionAwareAdapter, recovery=connection_state_recovery, delay=ping_interval + ping_timeout
            )
        self.adapter_factory = adapter
        self.recovery = connection_state_recovery
        self.ordered = ordered
        self.validate_returns = validate_returns
        self.exception_handlers = ExceptionHandlers()
        self.limits = limits
        self.dependency_overrides: dict[Provider, Provider] = {}
        """What takes the place of providers of :func:`~rtframework.Depends`, for tests."""
        self.serializer: Serializer = serializer or JSONSerializer(max_attachments=limits.max_attachments)
        self._server = Gateway(self, serializer=self.serializer, options=self.options)
        self.gateway: Engine = self._server
        self.counts = self._server.eio.counts
        self._observers: list[Observer] = []
        self.observers: Sequence[Observer] = self._observers
        self._observed_connect: Callable[..., Awaitable[str]] | None = None
        self.engine = EngineIO(self._server.eio)
        """The Engine.IO server: middleware, events and ids below Socket.IO."""
        self.started = False
        self.auditor = Auditor(self.serializer) if strict_emits else None
        self._on_breach: OnBreach | None = None
        self._namespaces: dict[str, Namespace] = {}
        self._dynamic = DynamicNamespaces(self, self._namespaces, clean_up=cleanup_empty_child_namespaces)
        self._announcements = Announcements()
        self._pending: list[Pending] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._attached = False
        self._serving: web.Application | None = None
        self._admin: AdminNamespace | None = None
        self._main = self.register_namespace(Namespace("/"))

    # --- setting up -------------------------------------------------------------------------------------------------

    def attach(self, app: web.Application, path: str = "/socket.io", *, add_trailing_slash: bool | None = None) -> None:
        """Serve under a path of an aiohttp application, or of a sub-application; start and stop with it.

        ``add_trailing_slash``: serve it with a slash at its end only, or without only; both by default.

        Raises :class:`~rtframework.ConfigurationError` when the server is attached to an application that has not
        stopped: one server serves one application at a time, an application may have several servers.
        """
        if self._attached:
            raise ConfigurationError("this server is attached to an application already")
        self._attached = True
        self.mount(app, path, add_trailing_slash=add_trailing_slash)

    def mount(self, app: web.Application, path: str = "/socket.io", *, add_trailing_slash: bool | None = None) -> None:
        """What :meth:`attach` does, any number of times, for tests: one of the applications may run at a time."""
        app.on_startup.append(self._start)
        self._server.eio.attach(app, path, add_trailing_slash)
        app.on_shutdown.append(self._stop)
        app.cleanup_ctx.append(self._until_cleaned_up)

    def of(self, name: str | re.Pattern[str] | Predicate, *, factory: Factory | None = None) -> Namespace:
        r"""The namespace of that name, or the parent of many; made when it is asked for first.

        ``"/admin"``: one namespace. ``"/chat/{tenant}"``, ``"/room/{id:\d+}"``: all whose names fit, with
        ``namespace.params``. A regular expression: all whose names it matches as a whole, with its named groups as
        ``params``. A function ``(name, auth) -> bool``, async or not: all that it says yes to; it is asked for each
        client.

        For more than one name it is their parent that is given: what is registered with it is registered with each,
        what is emitted with it goes to all. A child is made when the first client asks for its name. Names that are
        given come first, then parents in the order of registration; other names are refused ("Invalid namespace").

        ``factory``: called with the name of a namespace to make it; a class that derives from ``Namespace``, say.

        Raises :class:`~rtframework.ConfigurationError` for a name that cannot be one, and for a second factory.

        Example::

            chats = io.of("/chat/{tenant}")

            @chats.on("connection")
            async def connection(socket: Socket) -> None:
                await socket.join(socket.namespace.params["tenant"])
        """
        if is_template(name) or isinstance(name, re.Pattern) or callable(name):
            return self._dynamic.parent(name, factory)
        namespace = self._namespaces.get(name)
        if namespace is not None and factory is not None:
            raise ConfigurationError(f"the namespace {name} exists already")
        if namespace is None or namespace.parent is not None:
            namespace = self._dynamic.claim(name) if factory is None else None
        return self.register_namespace((factory or Namespace)(name)) if namespace is None else namespace

    def register_namespace(self, namespace: N) -> N:
        """Add a namespace that was written as a class."""
        if is_template(namespace.name):
            raise ConfigurationError(f"for many namespaces give the class: of({namespace.name!r}, factory=...)")
        if namespace.name in self._namespaces:
            existing = self._namespaces[namespace.name]
            if type(existing) is not Namespace or not existing.is_pristine or existing.parent is not None:
                raise ConfigurationError(f"the namespace {namespace.name} exists already")
        namespace.bind(self, self)
        self._namespaces[namespace.name] = namespace
        if namespace.name == "/":
            self._main = namespace
            pending = []
        else:
            try:
                pending = self.announce(namespace)
            except BaseException:
                del self._namespaces[namespace.name]
                raise
        if self.started:
            self.spawn(self._open(namespace, pending))
        return namespace

    def instrument(
        self,
        *,
        username: str | None = None,
        password: str | None = None,
        auth: Literal[False] | None = None,
        mode: Mode = "production",
        read_only: bool = False,
        namespace: str = "/admin",
        server_id: str | None = None,
        show_handshake: bool = False,
    ) -> None:
        """Let the Admin UI of Socket.IO (``@socket.io/admin-ui``) show this server.

        ``username``, ``password``: who may use it; the password as it is, or its bcrypt hash. ``auth=False``: anybody.
        The server's own authenticator is not asked.
        ``mode``: ``"production"`` shows counts alone, ``"development"`` also every socket, its rooms, its ``data`` and
        its events, at the cost of a packet to the UI for each.
        ``read_only``: it shows, and changes nothing; otherwise who is let in may emit, and make sockets join rooms,
        leave them and disconnect.
        ``namespace``: where the UI connects. ``server_id``: the server's name in the UI, host and process by default.
        ``show_handshake``: show all headers and query parameters of clients, cookies and tokens too.

        While no UI is connected all of this costs nothing.

        Raises :class:`~rtframework.ConfigurationError` without credentials, for a bcrypt hash without the package
        ``bcrypt``, and the second time.

        Example::

            io.instrument(username="ada", password=os.environ["ADMIN_PASSWORD"])
        """
        if self._admin is not None:
            raise ConfigurationError(f"the Admin UI has the namespace {self._admin.name} already")
        self._admin = self.register_namespace(
            AdminNamespace(
                namespace,
                namespaces=self.namespaces,
                line=self._server.eio,
                username=username,
                password=password,
                auth=auth,
                mode=mode,
                read_only=read_only,
                server_id=server_id,
                show_handshake=show_handshake,
            )
        )

    def stats(self) -> Stats:
        """What the server knows of itself, at this moment: connections, drops, refusals, recoveries …

        It is made when asked for, and costs a look at each connection and each namespace; call it in the event loop.
        What happens per message is not counted here: see :meth:`observe`, and the plugin ``rtframework_prometheus``.
        """
        return take_stats(self.counts, self._server.eio, self._namespaces.values())

    def observe(self, observer: Observer) -> None:
        """Let a plugin see every client that asks for a namespace and every event, in all namespaces, also later ones.

        It stands outside of authentication and of all middleware; see :class:`rtframework.protocols.Observer`. The
        first one is the outermost. Without one, nothing is spent on it. It stays.
        """
        self._observers.append(observer)
        self._observed_connect = observing(self._observers)
        for namespace in self._namespaces.values():
            namespace.compose()
        if self.started:
            observer.start()

    @property
    def server(self) -> Server:
        """Itself, as every namespace and socket has it."""
        return self

    @property
    def app(self) -> web.Application:
        """The application that it serves. Raises :class:`~rtframework.ConfigurationError` while it serves none."""
        if self._serving is None:
            raise ConfigurationError("this server serves no application at this moment: attach it, and start that")
        return self._serving

    @property
    def namespaces(self) -> Mapping[str, Namespace]:
        """The namespaces by name; a live view."""
        return MappingProxyType(self._namespaces)

    @property
    def parents(self) -> tuple[ParentNamespace, ...]:
        """What :meth:`of` has given for more than one name, in the order of registration."""
        return self._dynamic.parents

    def check_emits(self, on: bool = True) -> None:
        """What ``strict_emits`` does, from now on, in all namespaces; or no longer."""
        self.auditor = Auditor(self.serializer) if on else None
        for namespace in (*self._namespaces.values(), *self._dynamic.parents):
            namespace.audit(self.auditor)

    # --- the main namespace -----------------------------------------------------------------------------------------

    def on(self, event: str, *, ordered: bool | None = None) -> Callable[[F], F]:
        """Register a handler in the main namespace; see :meth:`Namespace.on`.

        ``"new_namespace"`` is called with ``(namespace)`` whenever a namespace is made, before its first client is let
        in. A client whose request made it is refused when the handler fails.
        """
        if event == NEW_NAMESPACE:
            return self._announcements.on
        return self._main.on(event, ordered=ordered)

    def once(self, event: str, *, ordered: bool | None = None) -> Callable[[F], F]:
        """Register a handler for one event in the main namespace; see :meth:`Namespace.once`."""
        if event == NEW_NAMESPACE:
            return partial(self._announcements.on, once=True)
        return self._main.once(event, ordered=ordered)

    def off(self, event: str, handler: Callable[..., Any] | None = None) -> None:
        """Remove a handler, or all handlers of an event, from the main namespace; or of ``"new_namespace"``."""
        if event == NEW_NAMESPACE:
            self._announcements.off(handler)
        else:
            self._main.off(event, handler)

    def listeners(self, event: str) -> tuple[Callable[..., Any], ...]:
        """The handlers of an event of the main namespace, or of ``"new_namespace"``."""
        return self._announcements.functions if event == NEW_NAMESPACE else self._main.listeners(event)

    def on_any(self, function: F) -> F:
        """Add a catch-all to the main namespace; see :meth:`Namespace.on_any`."""
        return self._main.on_any(function)

    def prepend_any(self, function: F) -> F:
        """As :meth:`on_any`, before those that are there."""
        return self._main.prepend_any(function)

    def off_any(self, function: Callable[..., Any] | None = None) -> None:
        """Remove a catch-all of the main namespace, or all."""
        self._main.off_any(function)

    def listeners_any(self) -> tuple[Callable[..., Any], ...]:
        """The catch-alls of the main namespace."""
        return self._main.listeners_any()

    def on_any_outgoing(self, function: F) -> F:
        """Add a catch-all for events that go out to the main namespace; see :meth:`Namespace.on_any_outgoing`."""
        return self._main.on_any_outgoing(function)

    def prepend_any_outgoing(self, function: F) -> F:
        """As :meth:`on_any_outgoing`, before those that are there."""
        return self._main.prepend_any_outgoing(function)

    def off_any_outgoing(self, function: Callable[..., Any] | None = None) -> None:
        """Remove a catch-all of the main namespace for events that go out, or all."""
        self._main.off_any_outgoing(function)

    def listeners_any_outgoing(self) -> tuple[Callable[..., Any], ...]:
        """The catch-alls of the main namespace for events that go out."""
        return self._main.listeners_any_outgoing()

    def on_server_side(self, event: str) -> Callable[[F], F]:
        """Register a handler for an event of another server; see :meth:`Namespace.on_server_side`."""
        return self._main.on_server_side(event)

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
        """Declare an event that is emitted to clients of the main namespace; see :meth:`Namespace.emits`."""
        return self._main.emits(event, *arguments, rest=rest, names=names, returns=returns, description=description)

    async def server_side_emit(self, event: str, *args: Any) -> None:
        """Emit an event to the other servers of the cluster; see :meth:`Namespace.server_side_emit`."""
        await self._main.server_side_emit(event, *args)

    async def server_side_emit_with_ack(self, event: str, *args: Any, timeout: float = 5.0) -> AckResponses:
        """The same, and collect what they answer; see :meth:`Namespace.server_side_emit_with_ack`."""
        return await self._main.server_side_emit_with_ack(event, *args, timeout=timeout)

    def event(self, function: F) -> F:
        """Register the decorated function for the event of its own name."""
        return self.on(function.__name__)(function)

    def exception_handler(self, kind: type[Exception]) -> Callable[[F], F]:
        """Register a function for exceptions of a class, in all namespaces; see :meth:`Namespace.exception_handler`.

        Those of the namespace are asked first.
        """
        return partial(self.exception_handlers.add, kind)

    def use(self, middleware: M) -> M:
        """Add connect middleware to the main namespace; see :meth:`Namespace.use`."""
        return self._main.use(middleware)

    def use_event(self, middleware: M) -> M:
        """Add event middleware to the main namespace; see :meth:`Namespace.use_event`."""
        return self._main.use_event(middleware)

    @property
    def sockets(self) -> Mapping[str, Socket]:
        """The sockets of the main namespace, by id; a live view."""
        return self._main.sockets

    def _everybody(self) -> BroadcastOperator:
        return self._main._everybody()

    # --- what the engine calls --------------------------------------------------------------------------------------

    async def connect(self, connection: Connection, nsp: str, auth: Any) -> None:
        """A client asks for a namespace."""
        if self._observed_connect is None:
            await self._connect(connection, nsp, auth)
            return
        is_decided = False

        async def connect() -> str:
            nonlocal is_decided
            is_decided = True
            return await self._connect(connection, nsp, auth)

        try:
            await self._observed_connect(connection.handshake(nsp, auth), connect)
        except Exception:
            log.exception("unhandled error in an observer", extra={"nsp": nsp})
            if not is_decided:  # the client must not wait in vain for it
                await self._connect(connection, nsp, auth)

    async def _connect(self, connection: Connection, nsp: str, auth: Any) -> str:
        namespace = self._namespaces.get(nsp)
        if namespace is not None and namespace.parent is None:
            return await namespace.connect(connection, auth)
        try:
            return await self._dynamic.connect(connection, nsp, auth)
        except ConnectionRefused as refused:
            refusal = connection.refusal(refused.message, refused.data)
            connection.send(self.gateway.encode(Packet(PacketType.CONNECT_ERROR, nsp, refusal)))
            outcome = INVALID_NAMESPACE if refused.data is None else INTERNAL_ERROR
            self.counts.connects[outcome] += 1
            return outcome

    # --- with the application ---------------------------------------------------------------------------------------

    def announce(self, namespace: Namespace) -> list[Pending]:
        """Tell who wants to hear of a new namespace; what is still to be awaited."""
        pending = self._announcements.tell(namespace)
        if self._admin is not None:
            self._admin.introduce(namespace)
        if self.started:
            return pending
        self._pending.extend(pending)
        return []

    def emptied(self) -> None:
        """A namespace that was given by name stays."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something in the background that is awaited, for a bounded time, at shutdown."""
        if self._on_breach is not None:
            work = telling(work, self._on_breach)
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _start(self, app: web.Application) -> None:
        if self.started:
            raise ConfigurationError("this server serves another application at this moment")
        self.started = True
        self._serving = app
        self._on_breach = on_breach.get()
        self._dynamic.start()
        for observer in self.observers:
            observer.start()
        loop = asyncio.get_running_loop()
        self._tasks -= {task for task in self._tasks if task.get_loop() is not loop}
        starting = list(self._namespaces.values())
        while self._pending:
            await self._pending[0]()  # one that fails is heard of again at the next start
            del self._pending[0]
        for namespace in starting:
            await namespace.adapter.start()

    async def _open(self, namespace: Namespace, pending: list[Pending]) -> None:
        try:
            for announce in pending:
                await announce()
            await namespace.adapter.start()
        except Exception:
            log.exception("a namespace cannot be opened", extra={"nsp": namespace.name})

    async def _until_cleaned_up(self, app: web.Application) -> AsyncIterator[None]:
        yield
        await self._stop(app)  # it has failed to start: no application is shut down then, but each is cleaned up

    async def _stop(self, app: web.Application) -> None:
        if self._serving is not app:
            return
        try:
            await self._close()
        finally:
            for observer in self.observers:
                observer.stop()
            self._dynamic.clear()
            self._serving = None
            self._attached = self.started = False

    async def _close(self) -> None:
        await self._server.eio.shutdown()
        loop = asyncio.get_running_loop()
        end = loop.time() + _PATIENCE
        while self._tasks and loop.time() < end:  # one may start another
            await asyncio.wait(self._tasks, timeout=end - loop.time())
        for task in self._tasks:
            log.warning("a disconnect handler did not end in time and is cancelled")
            task.cancel()
        self._dynamic.stop()
        for namespace in list(self._namespaces.values()):
            try:
                await namespace.adapter.close()
            except Exception:  # the others are to be closed all the same
                log.exception("an adapter failed to close", extra={"nsp": namespace.name})


def _cookie(cookie: bool | str | Cookie) -> Cookie | None:
    if isinstance(cookie, bool):
        return Cookie() if cookie else None
    return Cookie(cookie) if isinstance(cookie, str) else cookie


supply(Server, "server", lambda scope: scope.caller.server)
supply(web.Application, "app", lambda scope: scope.caller.server.app)
