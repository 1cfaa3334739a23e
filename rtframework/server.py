"""The facade that a program meets: a Socket.IO server for an aiohttp application."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from os import PathLike
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from aiohttp import web

from .adapters.checking import check_extensions
from .adapters.cluster_view import Cluster
from .adapters.history import History, histories_of
from .adapters.memory import MemoryAdapter
from .adapters.presence import Presence, all_presence
from .adapters.recovering import default_factory
from .admin.namespace import AdminNamespace, Mode
from .engine.api import EngineIO
from .engine.drain import drain
from .engine.gateway import Gateway
from .engine.handover import join_workers_of
from .engine.http.mount import check_mount
from .exceptions import ConfigurationError
from .gateways.attaching import Attaching
from .handlers.dependencies import supply
from .handlers.event import NEW_NAMESPACE
from .handlers.mistakes import given_a_function, given_a_name, given_options
from .handlers.registration import Registration
from .handlers.strict import Auditor
from .limits.audit import AuditEntry, AuditListener
from .limits.rates import RateLimit, Rates
from .namespaces.broadcasting import Broadcasting
from .namespaces.functions import describe_functions
from .namespaces.host import Host, Settings
from .namespaces.main import OfMainNamespace
from .namespaces.namespace import Namespace
from .namespaces.operators import BroadcastOperator
from .options import (
    AllowRequest,
    Cookie,
    Cors,
    Deflate,
    EngineOptions,
    Idempotency,
    Limits,
    Origins,
    ProxyHeaders,
    Recovery,
    TrustedProxies,
    check_instance,
    check_timeout,
    cookie_of,
    cors_of,
    whole_number,
)
from .serializers import JSONSerializer
from .stats import Stats, cluster_stats, take_stats

if TYPE_CHECKING:
    from .handlers.dependencies import Provider
    from .handlers.registry import HandlerRegistry
    from .namespaces.parent import Factory, ParentNamespace
    from .namespaces.patterns import Predicate
    from .protocols import AdapterFactory, Authenticator, KeyValueStore, Observer, Serializer

A = TypeVar("A", bound=AuditListener)
F = TypeVar("F", bound=Callable[..., Any])
M = TypeVar("M", bound=Callable[..., Awaitable[Any]])
N = TypeVar("N", bound=Namespace)

on_start: Final[ContextVar[Callable[[Server], None] | None]] = ContextVar("on_start", default=None)
"""Called with each server that starts to serve an application; a context variable, because development mode is switched
on where the application is made or run, and may not know its servers."""


class Server(OfMainNamespace, Registration, Broadcasting, Attaching):
    """A Socket.IO server.

    Its own methods (``on``, ``use``, ``emit``, ``to``, ``sockets`` …) are those of the main namespace, ``"/"``;
    :meth:`of` returns the others.

    ``auth``: the authenticator of all namespaces; without one every client is accepted.
    ``serializer``: JSON unless another is given; clients need the same one.
    ``adapter``: a factory ``(namespace, emitter) -> Adapter``, which may be a :class:`~rtframework.protocols.Backbone`
    that connects the server with others; rooms in memory unless another is given.
    ``ordered``: the events of one socket are served strictly one after another.
    ``validate_returns``: results of handlers are checked against their annotations, too; a result that does not fit is
    logged, and answered with ``internal_error``.
    ``cleanup_empty_child_namespaces``: close a namespace that was made for a client with its last client.
    ``connection_state_recovery``: a client whose connection was lost continues its session, see
    :class:`~rtframework.Recovery`; off by default, as with Node.
    ``history``: rooms whose events are kept for sockets that join later, see :class:`~rtframework.History`.
    ``ping_interval``, ``ping_timeout``: seconds between heartbeats, and seconds that a client has to answer one.
    ``connect_timeout``: seconds after which a client that joined no namespace is closed.
    ``upgrade_timeout``: seconds that a client has to complete a change to websocket.
    ``max_http_buffer_size``: bytes of one message or POST body; other bounds are in ``limits``.
    ``transports``: ``"polling"``, ``"websocket"`` or both; ``allow_upgrades``: whether polling may become websocket.
    ``allow_eio3``: whether clients of Socket.IO 2 may connect, too; they are refused by default, as with Node.
    ``cors_allowed_origins``: the pages of other hosts that may connect, see ``rtframework.options.Origins``; none by
    default. ``cors_credentials``: let those send cookies. ``cors``: these two, and the headers of CORS.
    ``require_origin``: refuse requests without an ``Origin`` header, for servers that serve browsers alone.
    ``allow_request``: a function of the aiohttp request, ``async`` or not, that decides if a client may open a
    connection; ``False`` and ``ConnectionRefused(message)`` refuse it.
    ``cookie``: a cookie that holds the session id, for proxies; a name, ``True`` (``"io"``) or a ``Cookie``.
    ``trusted_proxies``: the number of proxies, or their addresses: the client's address is the one they tell in
    ``proxy_headers``, ``"x-forwarded"`` or ``"forwarded"``.
    ``serve_client``: serve the JavaScript client's files under the path; ``True`` for an installed npm package, or the
    folder that has them.
    ``per_message_deflate``: compress websocket messages for clients that offer it; off by default, as with Node.
    ``websocket_protocols``: the subprotocols of websockets, of which the first that a client offers is chosen; without
    them it is the first offered, as with Node.
    ``http_compression``: compress polling answers of ``http_compression_threshold`` bytes and more for clients that
    accept it.
    ``rate_limit``: what clients may do in a time, see :class:`~rtframework.RateLimit`; by default refusals and CONNECTs
    are limited, events are not.
    ``idempotency``: how many events count as served, and for how long, see :class:`~rtframework.Idempotency`.
    ``last_seen``, ``devices``: seconds for which it is remembered when users and their devices were there last;
    ``store``: keeps it for all servers, see :class:`~rtframework.protocols.KeyValueStore`.
    ``strict_emits``: for tests: raise ``ContractError`` for emitted events that do not fit what :meth:`emits` declares.
    ``presence``: rooms in which everybody is told who is there, see :class:`~rtframework.Presence`; one or several.

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

    @given_options
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
        history: History | Sequence[History] | None = None,
        ping_interval: float = 25.0,
        ping_timeout: float = 20.0,
        connect_timeout: float = 45.0,
        upgrade_timeout: float = 10.0,
        max_http_buffer_size: float | None = None,
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
        websocket_protocols: Sequence[str] | None = None,
        limits: Limits | None = None,
        rate_limit: RateLimit | None = None,
        idempotency: Idempotency | None = None,
        last_seen: float | None = 2_592_000.0,
        devices: float | None = None,
        store: KeyValueStore | None = None,
        strict_emits: bool = False,
        presence: Presence | Sequence[Presence] | None = None,
    ) -> None:
        check_extensions(auth, serializer, adapter, store)
        for name, value, kind, example in (
            ("limits", limits, Limits, "Limits(max_outbox=...)"),
            ("rate_limit", rate_limit, RateLimit, 'RateLimit(events="50/s")'),
            ("cors", cors, Cors, "Cors(allowed_origins=...)"),
            ("per_message_deflate", per_message_deflate, Deflate, "Deflate()"),
            ("connection_state_recovery", connection_state_recovery, Recovery, "Recovery()"),
        ):
            check_instance(name, value, kind, example)
        limits = limits or Limits()
        if max_http_buffer_size is not None:
            size = whole_number("max_http_buffer_size", max_http_buffer_size, least=1)
            limits = replace(limits, max_http_buffer_size=size)
        self.options = EngineOptions(
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            connect_timeout=connect_timeout,
            upgrade_timeout=upgrade_timeout,
            transports=(transports,) if isinstance(transports, str) else tuple(transports),
            allow_upgrades=allow_upgrades,
            allow_eio3=allow_eio3,
            cors=cors_of(cors, cors_allowed_origins, cors_credentials),
            require_origin=require_origin,
            allow_request=allow_request,
            cookie=cookie_of(cookie),
            trusted_proxies=trusted_proxies,
            proxy_headers=proxy_headers,
            serve_client=serve_client,
            per_message_deflate=per_message_deflate,
            websocket_protocols=None if websocket_protocols is None else tuple(websocket_protocols),
            http_compression=http_compression,
            http_compression_threshold=http_compression_threshold,
            limits=limits,
            rate_limit=rate_limit or RateLimit(),
        )
        self.serializer: Serializer = serializer or JSONSerializer(max_attachments=limits.max_attachments)
        self.dependency_overrides: dict[Provider, Provider] = {}
        """Replacements for providers of :func:`~rtframework.Depends`, for tests."""
        self._host = Host(
            self,
            Settings(
                limits=limits,
                authenticator=auth,
                adapter_factory=default_factory() if adapter is MemoryAdapter else adapter,
                recovery=connection_state_recovery,
                history=histories_of(history),
                linger=ping_interval + ping_timeout,
                ordered=ordered,
                validate_returns=validate_returns,
                clean_up=cleanup_empty_child_namespaces,
                idempotency=idempotency,
                last_seen=last_seen,
                devices=devices,
                store=store,
                presence=all_presence(presence),
            ),
        )
        self._server = Gateway(self._host, serializer=self.serializer, options=self.options)
        self._host.bind(self._server, self._server.eio.counts, self._server.eio.table.guard)
        self._server.eio.watchdog.describe = partial(describe_functions, self._host)
        self.cluster = Cluster(self._host)
        """The servers that are one with this one: who they are, and what happens to the connection to them."""
        self.engine = EngineIO(self._server.eio)
        """The Engine.IO server: middleware, events and ids below Socket.IO."""
        self._attached = False
        self._serving: web.Application | None = None
        self._admin: AdminNamespace | None = None
        self._main = self.register_namespace(Namespace("/"))
        if strict_emits:
            self.check_emits()

    # --- setting up -------------------------------------------------------------------------------------------------

    @given_options
    def attach(self, app: web.Application, path: str = "/socket.io", *, add_trailing_slash: bool | None = None) -> None:
        """Serve under a path of an aiohttp application, or of a sub-application; start and stop with it.

        ``add_trailing_slash``: serve it with a slash at its end only, or without only; both by default.

        Raises :class:`~rtframework.ConfigurationError` when the server is attached to an application that has not
        stopped: one server serves one application at a time, an application may have several servers at different
        paths. Also for an application that runs already, and for a path that is taken.
        """
        if self._attached:
            raise ConfigurationError("this server is attached to an application already")
        check_mount(app, path)
        self._check_app(app)
        self._attached = True
        self._mount(app, path, add_trailing_slash=add_trailing_slash)

    def _mount(self, app: web.Application, path: str = "/socket.io", *, add_trailing_slash: bool | None = None) -> None:
        """Serve under a path of one more application, for tests: one of the applications may run at a time."""
        self._tell_backbone(path)
        self._run_with(app)
        self._server.eio.attach(app, path, add_trailing_slash)

    def of(self, name: str | re.Pattern[str] | Predicate, *, factory: Factory | None = None) -> Namespace:
        r"""Return the namespace of that name, or the parent of many; make it at the first call.

        ``"/admin"``: one namespace. ``"/chat/{tenant}"``, ``"/room/{id:\d+}"``: all names that fit, with
        ``namespace.params``. A regular expression: all names that it matches as a whole, with its named groups as
        ``params``. A function ``(name, auth) -> bool``, async or not: all names for which it returns ``True``; it is
        asked for each client.

        For more than one name the result is their parent: its handlers are those of each child, and its events go to
        the sockets of all. A child is made when the first client asks for its name. Exact names come first, then
        parents in the order of registration; other names are refused ("Invalid namespace").

        ``factory``: called with the name of a namespace to make it; a class that derives from ``Namespace``, say.

        Raises :class:`~rtframework.ConfigurationError` for a name that cannot be one, and for a second factory.

        Example::

            chats = io.of("/chat/{tenant}")

            @chats.on("connection")
            async def connection(socket: Socket) -> None:
                await socket.join(socket.namespace.params["tenant"])
        """
        return self._host.of(name, factory)

    def visit(self, name: str) -> AbstractAsyncContextManager[Namespace | None]:
        """Keep a namespace while in the block: a child of a pattern is made if need be, and cleaned up when empty.

        ``None`` if there is none of that name. For namespaces whose clients may be on other servers.
        """
        return self._host.visit(name)

    def register_namespace(self, namespace: N) -> N:
        """Add a namespace that was written as a class.

        Raises :class:`~rtframework.ConfigurationError` when there is one of that name with handlers.
        """
        self._host.add(namespace)
        if namespace.name == "/":
            self._main = namespace
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

        ``username``, ``password``: of the only user; the password as it is, or its bcrypt hash. ``auth=False``: anybody
        may use it. The server's own authenticator is not asked.
        ``mode``: ``"production"`` shows counts alone, ``"development"`` also every socket, its rooms, its ``data`` and
        its events, at the cost of a packet to the UI for each.
        ``read_only``: show only; otherwise the user may emit, and make sockets join rooms, leave them and disconnect.
        ``namespace``: the namespace that the UI connects to. ``server_id``: the server's name in the UI, host and
        process by default.
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
        self._host.announcements.hear(self._admin.introduce)

    def stats(self) -> Stats:
        """Count connections, drops, refusals, recoveries … at this moment.

        It looks at each connection and each namespace; call it in the event loop. Events are not counted here: see
        :meth:`observe`, and the plugin ``rtframework_prometheus``.
        """
        host, cluster = self._host, None
        if host.settings.backbone is not None:
            cluster = cluster_stats(self.cluster.health, host.cluster, self.cluster.traffic)
        return take_stats(host.count(), self._server.eio, host.namespaces.values(), cluster)

    def observe(self, observer: Observer) -> None:
        """Let a plugin see every client that asks for a namespace and every event, in all namespaces, also later ones.

        It stands outside of authentication and of all middleware; see :class:`rtframework.protocols.Observer`. The
        first one is the outermost. Without one, nothing is spent on it. An observer stays for good.
        """
        self._host.observe(observer)

    @given_a_function
    def on_audit(self, function: A) -> A:
        """Call the function with an :class:`~rtframework.AuditEntry` for each login, refusal, kick …

        It is a plain function, called at once for every entry, also for those that the audit log leaves out; it has to
        be quick. What it raises is logged. ``io.engine.ban`` is for it. Raises
        :class:`~rtframework.ConfigurationError` for an ``async`` function.
        """
        self._host.guard.audit.hear(function)
        return function

    def audit(self, entry: AuditEntry) -> None:
        """Write an entry of the program's own, with no token in it, into the audit log; call it in the event loop."""
        self._host.guard.audit.add(entry)

    @property
    def server(self) -> Server:
        """The server itself: sockets and namespaces have this property as well."""
        return self

    @property
    def app(self) -> web.Application:
        """The application that is served. Raises :class:`~rtframework.ConfigurationError` while there is none."""
        if self._serving is None:
            raise ConfigurationError("this server serves no application at this moment: attach it, and start that")
        return self._serving

    @property
    def is_serving(self) -> bool:
        """True while an application is served: from the end of its start to the beginning of its shutdown."""
        return self._host.started_at is not None

    @property
    def is_draining(self) -> bool:
        """True once :meth:`drain` was called."""
        return self._server.eio.table.is_draining

    @property
    def others_serve(self) -> bool:
        """True while another worker of the same port takes new clients, see ``rtframework run --workers``."""
        return self._server.eio.others_serve

    @property
    def store(self) -> KeyValueStore:
        """Small values that all servers share, each kept for a time; see ``Server(store=...)``.

        ``add`` decides which of several servers is first. Keys that begin with ``$`` are the program's.

        Example::

            if await io.store.add("$cleaning", b"1", seconds=60) is None:
                ...  # on one server only, once a minute
        """
        return self._host.store

    @property
    def namespaces(self) -> Mapping[str, Namespace]:
        """The namespaces by name; a live view."""
        return MappingProxyType(self._host.namespaces)

    @property
    def parents(self) -> tuple[ParentNamespace, ...]:
        """The parents that :meth:`of` has returned for more than one name, in the order of registration."""
        return self._host.dynamic.parents

    def check_emits(self, on: bool = True) -> None:
        """Switch ``strict_emits`` on or off, from now on, in all namespaces."""
        self._host.audit(Auditor(self.serializer) if on else None)

    # --- the main namespace -----------------------------------------------------------------------------------------

    def _registry(self) -> HandlerRegistry:
        return self._main._listening

    @given_a_name
    def on(
        self,
        event: str | int,
        *,
        ordered: bool | None = None,
        rate: Rates = None,
        idempotent: bool | str | None = None,
    ) -> Callable[[F], F]:
        """Register the decorated function for an event of the main namespace; see :meth:`Namespace.on`.

        ``"new_namespace"`` is called with ``(namespace)`` whenever a namespace is made, before its first client is
        accepted. A client whose request made it is refused when the handler fails.
        """
        if event == NEW_NAMESPACE:
            return self._host.announcements.on
        return super().on(event, ordered=ordered, rate=rate, idempotent=idempotent)

    @given_a_name
    def once(self, event: str | int, *, ordered: bool | None = None) -> Callable[[F], F]:
        """Register the decorated function for the next such event only; see :meth:`Namespace.once`."""
        if event == NEW_NAMESPACE:
            return partial(self._host.announcements.on, once=True)
        return super().once(event, ordered=ordered)

    def off(self, event: str | int, handler: Callable[..., Any] | None = None) -> None:
        """Remove a handler, or all handlers of an event, from the main namespace; or of ``"new_namespace"``."""
        if event == NEW_NAMESPACE:
            self._host.announcements.off(handler)
        else:
            super().off(event, handler)

    def listeners(self, event: str | int) -> tuple[Callable[..., Any], ...]:
        """Return the handlers of an event of the main namespace, or of ``"new_namespace"``."""
        return self._host.announcements.functions if event == NEW_NAMESPACE else super().listeners(event)

    def exception_handler(self, kind: type[Exception]) -> Callable[[F], F]:
        """Register a function for exceptions of a class, in all namespaces; see :meth:`Namespace.exception_handler`.

        The handlers of the namespace are asked first.
        """
        return self._host.exception_handlers.for_kind(kind, self._spoken_of_as)

    async def forget_sessions(self, user: Any) -> int:
        """Forget the sessions that are kept for a user's clients, in all namespaces; return their number.

        After that, the user's clients are not recovered: authenticator and middleware decide about each anew. See
        :meth:`Namespace.forget_sessions`.
        """
        return sum([await each.forget_sessions(user) for each in list(self.namespaces.values())])

    def _everybody(self) -> BroadcastOperator:
        return self._main._everybody()

    # --- with the application ---------------------------------------------------------------------------------------

    async def drain(self, seconds: float = 10.0) -> None:
        """Send all clients away before the server ends, a few at a time over so many seconds at most.

        From now on new connections are refused (503 with ``Retry-After``) and :class:`~rtframework.Readiness` says
        "draining". Clients are closed in batches at random moments, 100 a second or more; they come back by themselves,
        to another server, and continue their session there if recovery allows. Returns when they have left, or 2.5
        seconds after the last one was told to. A second call may hurry the first.

        Raises :class:`~rtframework.ConfigurationError` for more than an hour.
        """
        check_timeout("seconds", seconds)
        await drain(self._server.eio.table, seconds)

    def _parts(self) -> tuple[Host, Gateway]:
        return self._host, self._server

    async def _start(self, app: web.Application) -> None:
        if self._serving is not None:
            raise ConfigurationError("this server serves another application at this moment")
        self._serving = app
        prepare = on_start.get()
        if prepare is not None:
            prepare(self)
        await self._host.start()
        join_workers_of(app, self._host.settings.backbone)

    async def _until_cleaned_up(self, app: web.Application) -> AsyncIterator[None]:
        yield
        await self._stop(app)  # it has failed to start: no application is shut down then, but each is cleaned up

    async def _stop(self, app: web.Application) -> None:
        if self._serving is not app:
            return
        self._host.started_at = None
        try:
            await self._server.eio.shutdown()
            if self._admin is not None:
                self._admin.stop()
            await self._host.close()
        finally:
            self._host.stop()
            self._serving = self._app = None
            self._attached = False


supply(Server, "server", lambda scope: scope.caller.server)
supply(web.Application, "app", lambda scope: scope.caller.server.app)
