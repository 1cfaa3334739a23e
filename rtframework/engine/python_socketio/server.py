"""python-socketio's ``AsyncServer`` for aiohttp, on this engine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, TypeVar, overload

import socketio
from socketio.async_pubsub_manager import AsyncPubSubManager
from socketio.exceptions import DisconnectedError
from socketio.exceptions import TimeoutError as CallTimeout

from ...adapters.checking import check_adapter_factory
from ...adapters.cluster_view import Cluster
from ...adapters.recovering import instead_of_memory
from ...exceptions import AckTimeout, ConfigurationError
from ...logs import ThrottledLog, printable
from ...options import Cors, EngineOptions, Limits, check_instance, warn_of_unknown, whole_number
from ...serializers import JSONDecoder
from ..gateway import Gateway
from ..handover import join_workers_of
from ..http.mount import check_mount
from .adapter_manager import AdapterManager
from .application import Programs
from .client import QueryingClient
from .engineio_server import EngineIOServer
from .engineio_socket import Environs
from .manager import Manager, is_many
from .packet_classes import PacketClassSerializer, StandardSerializer, checked, packet_class_of

if TYPE_CHECKING:
    from aiohttp import web

    from ...protocols import AdapterFactory, Serializer
    from ...types import Handshake
    from ..client import Client
    from ..connection import Connection
    from .application import Logs, Member
    from .cors import CorsOrigins
    from .engineio_server import Cookie

F = TypeVar("F", bound=Callable[..., Any])

log: Final = logging.getLogger("rtframework.engine")

_alone: Final = ThrottledLog(
    log,
    logging.WARNING,
    "an AsyncServer whose client_manager knows one process reaches the clients of its own worker alone: leave it out, "
    "or write AsyncServer(adapter=rtframework.Workers())",
)

_TRANSPORTS: Final = ("polling", "websocket")


class AsyncServer(Gateway):
    """``socketio.AsyncServer(async_mode="aiohttp")`` with another engine under it: the same parameters and methods.

    A program of python-socketio's changes this one import; see docs/drop-in.md for what differs. New programs have more
    from :class:`rtframework.Server`.

    ``client_manager``: one of python-socketio's, e.g. ``AsyncRedisManager``; memory only without one.
    ``json``: a module, or anything else, with ``dumps`` and ``loads``, for this server alone.
    ``serializer``: ``"default"`` (JSON), ``"msgpack"``, a packet class of python-socketio's, or a serializer of ours.
    ``ping_interval``: seconds, or ``(seconds, grace)``, where the client is told the sum.
    ``monitor_clients``: there for programs that give it; clients are always watched.
    ``unknown``: ignored, as by python-socketio, with a warning that names them.
    ``limits``: what one client may cost, see ``rtframework.Limits``; ``max_http_buffer_size`` goes before its own.
    ``adapter``: joins the servers of a cluster, e.g. ``RedisStreams(url)``; not together with ``client_manager``.

    Example::

        sio = AsyncServer()

        @sio.event
        async def message(sid, data):
            await sio.emit("message", data, skip_sid=sid)

        app = web.Application()
        sio.attach(app)
        web.run_app(app)
    """

    eio: EngineIOServer

    def __init__(
        self,
        client_manager: socketio.AsyncManager | None = None,
        logger: bool | logging.Logger = False,
        json: Any = None,
        async_handlers: bool = True,
        namespaces: Sequence[str] | str | None = None,
        *,
        async_mode: str | None = None,
        serializer: Literal["default", "msgpack"] | type[Any] | Serializer = "default",
        always_connect: bool = False,
        ping_interval: float | tuple[float, float] = 25,
        ping_timeout: float = 20,
        max_http_buffer_size: float | None = None,
        allow_upgrades: bool = True,
        http_compression: bool = True,
        compression_threshold: int = 1024,
        cookie: Cookie | None = None,
        cors_allowed_origins: CorsOrigins | None = None,
        cors_credentials: bool = True,
        monitor_clients: bool = True,
        transports: Sequence[str] | str | None = None,
        engineio_logger: bool | logging.Logger = False,
        limits: Limits | None = None,
        adapter: AdapterFactory | None = None,
        **unknown: Any,
    ) -> None:
        if unknown:
            warn_of_unknown("AsyncServer", unknown, AsyncServer.__init__)
        if async_mode not in (None, "aiohttp"):
            raise ConfigurationError(f"this server is for aiohttp: async_mode is no {async_mode!r}")
        check_instance("limits", limits, Limits, "Limits(max_outbox=...)")
        limits = limits or Limits()
        if max_http_buffer_size is not None:
            size = whole_number("max_http_buffer_size", max_http_buffer_size, least=1)
            limits = replace(limits, max_http_buffer_size=size)
        interval, grace = ping_interval if isinstance(ping_interval, tuple) else (ping_interval, 0)
        options = EngineOptions(
            ping_interval=interval,
            ping_timeout=ping_timeout,
            transports=_transports(transports),
            allow_upgrades=allow_upgrades,
            cors=Cors(credentials=cors_credentials),
            http_compression=http_compression,
            http_compression_threshold=compression_threshold,
            limits=limits,
        )
        manager = _manager(client_manager, adapter)
        speaks, packet_class = _speech(serializer, json, limits.max_attachments)
        if packet_class is None and not isinstance(manager, Manager):
            raise ConfigurationError(
                f"{type(manager).__name__} encodes by packet classes: derive it from rtframework.engine.Manager as well"
            )
        if packet_class is not None and not isinstance(manager, Manager):  # it encodes packets itself
            packet_class = checked(packet_class, limits.max_attachments)
        self._engineio_logger = _logger("engineio_logger", engineio_logger, "engineio.server")
        self._logs_packets = _asks_for_lines(engineio_logger, self._engineio_logger)
        self._asked_for_logs = logger not in (False, None)
        self._cookie = cookie
        self._cors_allowed_origins = cors_allowed_origins
        self._grace = grace
        self._manager_started = False
        self._cluster = Cluster(manager) if isinstance(manager, AdapterManager) else None
        self._running: set[web.Application] = set()
        self._programs = Programs()
        self._programs.bind(self)
        super().__init__(
            self._programs,
            serializer=speaks,
            options=options,
            manager=manager,
            logger=_logger("logger", logger, "socketio.server"),
            async_handlers=async_handlers,
            always_connect=always_connect,
            namespaces=[namespaces] if isinstance(namespaces, str) and namespaces != "*" else namespaces,
            packet_class="default" if packet_class is None else packet_class,
        )
        if isinstance(speaks, StandardSerializer):
            self._writes_json = True  # also what it encodes in the slow way
        self.environ = Environs(self.eio.sockets)
        self.eio.watchdog.describe = self._programs.describe
        if engineio_logger is not False:
            self._engineio_logger.info("Server initialized for aiohttp.")  # as python-engineio does

    def _make_engine(self, *, logger: logging.Logger, async_handlers: bool) -> EngineIOServer:
        return EngineIOServer(
            options=self._engine_options,
            make_handler=self._make_client,
            logger=self._engineio_logger,
            async_handlers=async_handlers,
            packet_class=self.packet_class,
            cors_allowed_origins=self._cors_allowed_origins,
            cookie=self._cookie,
            grace=self._grace,
            logs_packets=self._logs_packets,
        )

    def _make_client(self, conn: Connection, handshake: Handshake) -> Client:
        decoder = self._serializer.decoder()
        conn.keeps_binary = isinstance(decoder, JSONDecoder)
        return QueryingClient(
            conn,
            handshake,
            application=self._application,
            decoder=decoder,
            limits=self._engine_options.limits,
        )

    # --- the cluster ------------------------------------------------------------------------------------------------

    @property
    def cluster(self) -> Cluster:
        """The servers that are one with this one by its ``adapter``, as ``io.cluster`` of ``rtframework.Server``.

        Raises ``ConfigurationError`` without an adapter: managers of python-socketio tell nothing of other servers.
        """
        if self._cluster is None:
            raise ConfigurationError("a server without an adapter has no cluster: write AsyncServer(adapter=...)")
        return self._cluster

    @property
    def is_serving(self) -> bool:
        """True while an application is served, with ``adapter``: since the cluster was joined; for ``Readiness``."""
        if isinstance(self.manager, AdapterManager):
            return self.manager.started_at is not None
        return bool(self._running)

    @property
    def is_draining(self) -> bool:
        """True when the process sends its clients away; for ``Readiness``."""
        return self.eio.table.is_draining

    @property
    def others_serve(self) -> bool:
        """True while another worker of the same port takes new clients; for ``Readiness``."""
        return self.eio.others_serve

    # --- registration -----------------------------------------------------------------------------------------------

    @overload
    def on(self, event: str | int, handler: None = None, namespace: str | None = None) -> Callable[[F], F]: ...

    @overload
    def on(self, event: str | int, handler: Callable[..., Any], namespace: str | None = None) -> None: ...

    def on(self, event: str | int, handler: Any = None, namespace: str | None = None) -> Any:
        """Register a handler, as a decorator or not. ``"*"`` is any event, or any namespace."""
        return super().on(event, handler, namespace)

    @overload
    def event(self, function: F, /) -> F: ...

    @overload
    def event(self, function: None = None, /, *, namespace: str | None = None) -> Callable[[F], F]: ...

    def event(self, function: Any = None, /, *, namespace: str | None = None) -> Any:
        """Register the decorated function for the event of its own name."""

        def register(function: F) -> F:
            return self.on(function.__name__, namespace=namespace)(function)

        return register if function is None else register(function)

    # --- with the application ---------------------------------------------------------------------------------------

    def attach(self, app: web.Application, socketio_path: str = "socket.io") -> None:
        """Serve under a path of an aiohttp application, or of a sub-application; start and stop with it.

        A server may be attached to several applications that run at the same time: when one stops, its clients are
        disconnected, and the others go on. Raises ``ConfigurationError`` for an application that runs already, and for
        a path that is taken.
        """
        check_mount(app, socketio_path)
        if isinstance(self.manager, AdapterManager):
            mounted = getattr(self.manager.backbone, "mounted", None)
            if mounted is not None:
                mounted(socketio_path)
        super().attach(app, socketio_path)
        app.on_startup.append(self._start)
        app.on_shutdown.append(self._stop)

    async def _start(self, app: web.Application) -> None:
        self._running.add(app)
        try:
            await self.start()
        except BaseException:
            self._running.discard(app)
            raise
        if isinstance(self.manager, AdapterManager):
            join_workers_of(app, self.manager.backbone)
        elif self.eio.neighbours is not None and not isinstance(self.manager, AsyncPubSubManager):
            _alone()

    async def start(self) -> None:
        """Start the manager; with ``adapter``, join the cluster. ``attach`` has it called when the application starts.

        A program without ``attach`` calls it before clients come. Raises what the adapter raises, e.g.
        :class:`~rtframework.ClusterUnavailable`.
        """
        self._initialize_manager()
        if isinstance(self.manager, AdapterManager):
            await self.manager.start()

    async def _stop(self, app: web.Application) -> None:
        self._running.discard(app)
        if self._running:
            await self.eio.leave(app)
        else:
            await self.shutdown()

    def _initialize_manager(self) -> None:
        """Start what the manager does in the background: at start-up, or with the first client."""
        if not self._manager_started:
            self._manager_started = self.manager_initialized = True
            self.manager.initialize()

    async def shutdown(self) -> None:
        """Tell all clients and close them, wait for the disconnect handlers, stop the manager; within seconds.

        ``attach`` has it called when the application stops. No client is taken after it.
        """
        await self.eio.shutdown()
        await self._programs.shutdown()
        if isinstance(self.manager, AdapterManager):
            await self.manager.stop()
        listener = getattr(self.manager, "thread", None)
        if isinstance(listener, asyncio.Task):  # of a manager that talks to other servers
            listener.cancel()
            await asyncio.wait([listener], timeout=0.5)
            self._manager_started = False  # it listens again with the next application

    def instrument(
        self,
        auth: Any = None,
        mode: str = "development",
        read_only: bool = False,
        server_id: str | None = None,
        namespace: str = "/admin",
        server_stats_interval: int = 2,
    ) -> NoReturn:
        """Raise ``ConfigurationError``: the Admin UI of python-socketio hooks into its own engine."""
        raise ConfigurationError("instrument() is not there: it hooks into python-engineio's own sockets")

    # --- sending ----------------------------------------------------------------------------------------------------

    async def emit(
        self,
        event: str | int,
        data: Any = None,
        to: Any = None,
        room: Any = None,
        skip_sid: str | Collection[str] | None = None,
        namespace: str | None = None,
        callback: Callable[..., Any] | None = None,
        ignore_queue: bool = False,
    ) -> None:
        """Emit an event to a client, a room, a list of rooms, or everybody (``None``); ``room`` is another word for it.

        An empty list, and ``""``, reach nobody. A tuple is several arguments. Clients that are slow are not waited for,
        unless ``Limits`` says so. Raises ``EncodeError`` when the data cannot be sent, and, with ``adapter``,
        :class:`~rtframework.ClusterUnavailable` when the other servers do not get it.
        """
        namespace = namespace or "/"
        recipient = room if to is None else to
        if self._tells_all:
            shown = "all" if recipient is None else recipient
            self.logger.info('emitting event "%s" to %s [%s]', printable(event), printable(shown), printable(namespace))
        if recipient == "":
            return
        if is_many(recipient):
            recipient = list(recipient)
            if not recipient:
                return
        if skip_sid is not None and not isinstance(skip_sid, str):
            skip_sid = list(skip_sid)
        await self.manager.emit(
            event,
            data,
            namespace,
            room=recipient,
            skip_sid=skip_sid,
            callback=callback,
            ignore_queue=ignore_queue,
        )

    async def call(
        self,
        event: str | int,
        data: Any = None,
        to: Any = None,
        sid: str | None = None,
        namespace: str | None = None,
        timeout: float | None = 60,
        ignore_queue: bool = False,
    ) -> Any:
        """Emit an event to a client and wait for its answer: ``None``, one value, or a tuple of several.

        Raises ``socketio.exceptions.TimeoutError`` when there is none after ``timeout`` seconds, and
        ``DisconnectedError`` as soon as the client has left. With ``adapter``, the client may be on another server;
        raises :class:`~rtframework.ClusterUnavailable` when that cannot be reached.
        """
        recipient = sid if to is None else to
        if recipient is None:
            raise ValueError("Cannot use call() to broadcast.")
        if (
            isinstance(self.manager, AdapterManager)
            and not ignore_queue
            and self.member(recipient, namespace or "/") is None
        ):
            return await self._call_elsewhere(self.manager, event, data, recipient, namespace or "/", timeout)
        answer: asyncio.Future[tuple[Any, ...]] = asyncio.get_running_loop().create_future()

        def answered(*args: Any) -> None:
            if not answer.done():
                answer.set_result(args)

        member = self.member(recipient, namespace or "/")
        if member is not None:
            member.wait_for(answer)
        elif not self._may_be_elsewhere(recipient, namespace or "/"):
            raise DisconnectedError("no such client")
        try:
            if not answer.done():
                await self.emit(
                    event, data=data, room=recipient, namespace=namespace, callback=answered, ignore_queue=ignore_queue
                )
            async with asyncio.timeout(timeout):
                args = await answer
        except TimeoutError:
            raise CallTimeout from None
        finally:
            if not answer.cancel() and not answer.cancelled():
                answer.exception()  # looked at, also when the asking itself was cancelled
            self._drop_callback(recipient, answered)
        return args if len(args) > 1 else args[0] if args else None

    async def _call_elsewhere(
        self, manager: AdapterManager, event: str | int, data: Any, recipient: Any, nsp: str, timeout: float | None
    ) -> Any:
        """Ask a client of another server, or a room. Return the first answer, when all are there."""
        try:
            answers = await manager.ask(event, data, nsp, recipient, timeout)
        except AckTimeout:
            raise CallTimeout from None
        if not answers:
            raise DisconnectedError("no such client, or it has disconnected")
        return next(iter(answers.values()))

    def _may_be_elsewhere(self, recipient: Any, namespace: str) -> bool:
        """Return whether a recipient that is no client here may be a room, or a client of another server."""
        if hasattr(self.manager, "host_id"):
            return True
        return next(iter(self.manager.get_participants(namespace, recipient)), None) is not None

    def _drop_callback(self, recipient: Any, callback: Callable[..., Any]) -> None:
        waiting: dict[int, Any] = self.manager.callbacks.get(recipient, {}) if isinstance(recipient, str) else {}
        for id in [id for id, found in waiting.items() if found is callback]:
            del waiting[id]

    # --- clients ----------------------------------------------------------------------------------------------------

    async def disconnect(self, sid: str, namespace: str | None = None, ignore_queue: bool = False) -> None:
        """Disconnect a client from a namespace; done when its disconnect handler is."""
        namespace = namespace or "/"
        if ignore_queue:
            is_here = self.manager.is_connected(sid, namespace)
        else:
            is_here = await self.manager.can_disconnect(sid, namespace)
        member = self._programs.member(sid, namespace) if is_here else None
        if member is not None:
            if self._tells_all:
                self.logger.info("Disconnecting %s [%s]", printable(sid), printable(namespace))
            await member.disconnect()

    @property
    def _tells_all(self) -> bool:
        """True when a line is logged for each event: for programs that ask for it, not for all that log at INFO."""
        logger = self.logger
        return logger.isEnabledFor(logging.INFO) and (self._asked_for_logs or logger.level != logging.NOTSET)

    def member(self, sid: Any, namespace: str) -> Member | None:
        """Find a client of this server; for its manager."""
        return self._programs.member(sid, namespace)

    @property
    def logs(self) -> Logs:
        """The lines that clients can cause; for its manager."""
        return self._programs.logs

    def declared(self) -> set[str]:
        """Return the namespaces that the program names: by handlers, or by ``namespaces=``."""
        named = () if self.namespaces == "*" else self.namespaces
        return {nsp for nsp in (*self.handlers, *self.namespace_handlers, *named) if nsp.startswith("/")}

    def _serves(self, namespace: str) -> bool:
        """Return whether clients may ask for a namespace."""
        return namespace.startswith("/") and (  # "*" is where catch-all handlers are
            namespace in self.handlers
            or namespace in self.namespace_handlers
            or self.namespaces == "*"
            or namespace in self.namespaces
        )

    async def _trigger_event(self, event: Any, namespace: str, *args: Any) -> Any:
        """Call an application's handler: every connect, disconnect and event passes here."""
        return await self._programs.trigger(event, namespace, args)


def _manager(client_manager: socketio.AsyncManager | None, adapter: AdapterFactory | None) -> socketio.AsyncManager:
    """Choose the manager. Raises ``ConfigurationError`` if two are asked for, or one that is none."""
    if adapter is not None:
        if client_manager is not None:
            raise ConfigurationError("client_manager and adapter both join servers: leave out one of them")
        check_adapter_factory(adapter)
        return AdapterManager(adapter)
    if client_manager is not None and hasattr(client_manager, "node") and hasattr(client_manager, "health"):
        kind = type(client_manager).__name__
        raise ConfigurationError(f"{kind} is no manager of python-socketio's: write adapter={kind}(...)")
    if client_manager is not None:
        return client_manager
    make = instead_of_memory.get()  # one of several workers
    return Manager() if make is None else AdapterManager(make())


def _speech(serializer: Any, json: Any, max_attachments: int) -> tuple[Serializer, Any]:
    """Choose the serializer, and the packet class for python-socketio's managers, ``None`` when there is none."""
    if isinstance(serializer, str) and serializer not in ("default", "msgpack"):
        raise ConfigurationError(f'serializer is "default", "msgpack" or an object, not {serializer!r}')
    if not isinstance(serializer, str | type):
        if json is not None:
            raise ConfigurationError("a serializer of its own has no use for json=")
        return serializer, None
    packet_class = packet_class_of(serializer, json)
    if serializer == "default" and json is None:
        return StandardSerializer(max_attachments=max_attachments), packet_class
    return PacketClassSerializer(packet_class, max_attachments=max_attachments), packet_class


def _transports(transports: Sequence[str] | str | None) -> tuple[str, ...]:
    if transports is None:
        return _TRANSPORTS
    given = (transports,) if isinstance(transports, str) else tuple(transports)
    known = tuple(name for name in given if name in _TRANSPORTS)
    if not known:
        raise ConfigurationError("No valid transports provided")
    return known


def _logger(option: str, logger: bool | logging.Logger | None, name: str) -> logging.Logger:
    """Find the logger of that name; set it up to show what happens only when ``True`` asks for it."""
    if isinstance(logger, str | int) and not isinstance(logger, bool):
        raise ConfigurationError(
            f"{option} is True, False or a logger, not {logger!r}: for a level, "
            f"logging.getLogger({name!r}).setLevel(...)"
        )
    if logger is not None and not isinstance(logger, bool):
        return logger
    found = logging.getLogger(name)
    if logger and found.level == logging.NOTSET:
        found.setLevel(logging.INFO)
        found.addHandler(logging.StreamHandler())
    return found


def _asks_for_lines(given: bool | logging.Logger | None, logger: logging.Logger) -> bool:
    """Return whether a program wants a line for each packet: it says so, or has set a level by hand.

    ``False`` and a logger without a level mean no, even if the program logs everything else at INFO.
    """
    return given not in (False, None) or logging.NOTSET < logger.level <= logging.INFO
