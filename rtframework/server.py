"""The facade that a user meets: a Socket.IO server for an aiohttp application."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from .adapter import MemoryAdapter
from .broadcast import Broadcasting, BroadcastOperator
from .engine import Gateway
from .exceptions import ConfigurationError
from .namespace import Namespace
from .options import Deflate, EngineOptions, Limits, Origins
from .serializers import JSONSerializer
from .types import Packet, PacketType

if TYPE_CHECKING:
    from aiohttp import web

    from .protocols import (
        AdapterFactory,
        Authenticator,
        Connection,
        ConnectMiddleware,
        Engine,
        EventMiddleware,
        Serializer,
    )
    from .socket import Socket
    from .types import AckResponses

log: Final = logging.getLogger("rtframework.server")

F = TypeVar("F", bound=Callable[..., Any])
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
    ``ping_interval``, ``ping_timeout``: seconds between heartbeats, and seconds that a client has to answer one.
    ``connect_timeout``: seconds after which a client that joined no namespace is closed.
    ``upgrade_timeout``: seconds that a client has to complete a change to websocket.
    ``max_http_buffer_size``: bytes of one message or POST body; other bounds are in ``limits``.
    ``transports``: ``"polling"``, ``"websocket"`` or both; ``allow_upgrades``: whether polling may become websocket.
    ``cors_allowed_origins``: which pages of other hosts may connect, see ``rtframework.options.Origins``; none by
    default. ``cors_credentials``: whether those may send cookies. ``require_origin``: refuse requests without an
    ``Origin`` header, for servers that serve browsers alone.
    ``per_message_deflate``: compress websocket messages for clients that offer it; off by default, as with Node.
    ``http_compression``: whether polling answers of 1,024 characters and more are compressed for clients that take it.

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
        ping_interval: float = 25.0,
        ping_timeout: float = 20.0,
        connect_timeout: float = 45.0,
        upgrade_timeout: float = 10.0,
        max_http_buffer_size: int | None = None,
        transports: Sequence[str] = ("polling", "websocket"),
        allow_upgrades: bool = True,
        cors_allowed_origins: Origins = None,
        cors_credentials: bool = True,
        require_origin: bool = False,
        http_compression: bool = True,
        per_message_deflate: Deflate | None = None,
        limits: Limits | None = None,
    ) -> None:
        limits = limits or Limits()
        if max_http_buffer_size is not None:
            limits = replace(limits, max_http_buffer_size=max_http_buffer_size)
        self.options = EngineOptions(
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            connect_timeout=connect_timeout,
            upgrade_timeout=upgrade_timeout,
            transports=tuple(transports),
            allow_upgrades=allow_upgrades,
            cors_allowed_origins=cors_allowed_origins,
            cors_credentials=cors_credentials,
            require_origin=require_origin,
            per_message_deflate=per_message_deflate,
            http_compression=http_compression,
            limits=limits,
        )
        self.authenticator = auth
        self.adapter_factory = adapter
        self.ordered = ordered
        self.limits = limits
        self.serializer: Serializer = serializer or JSONSerializer(max_attachments=limits.max_attachments)
        self._server = Gateway(
            self,
            serializer=self.serializer,
            options=self.options,
        )
        self.engine: Engine = self._server
        self._namespaces: dict[str, Namespace] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._attached = False
        self._started = False
        self._main = self.of("/")

    # --- setting up -------------------------------------------------------------------------------------------------

    def attach(self, app: web.Application, path: str = "/socket.io") -> None:
        """Serve under a path of an aiohttp application, or of a sub-application; start and stop with it.

        Raises :class:`~rtframework.ConfigurationError` when the server is attached to an application that has not
        stopped: one server serves one application at a time, an application may have several servers.
        """
        if self._attached:
            raise ConfigurationError("this server is attached to an application already")
        self._attached = True
        self.mount(app, path)

    def mount(self, app: web.Application, path: str = "/socket.io") -> None:
        """What :meth:`attach` does, any number of times, for tests: one of the applications may run at a time."""
        app.on_startup.append(self._start)
        self._server.attach(app, path)
        app.on_shutdown.append(self._stop)

    def of(self, name: str) -> Namespace:
        """The namespace of that name; made when it is asked for first."""
        namespace = self._namespaces.get(name)
        return self.register_namespace(Namespace(name)) if namespace is None else namespace

    def register_namespace(self, namespace: N) -> N:
        """Add a namespace that was written as a class."""
        if namespace.name in self._namespaces:
            existing = self._namespaces[namespace.name]
            if type(existing) is not Namespace or not existing.is_pristine:
                raise ConfigurationError(f"the namespace {namespace.name} exists already")
        namespace.bind(self)
        self._namespaces[namespace.name] = namespace
        if self._started:
            self.spawn(namespace.adapter.start())
        if namespace.name == "/":
            self._main = namespace
        return namespace

    @property
    def namespaces(self) -> Mapping[str, Namespace]:
        """The namespaces by name; a live view."""
        return MappingProxyType(self._namespaces)

    # --- the main namespace -----------------------------------------------------------------------------------------

    def on(self, event: str, *, ordered: bool | None = None) -> Callable[[F], F]:
        """Register a handler in the main namespace; see :meth:`Namespace.on`."""
        return self._main.on(event, ordered=ordered)

    def once(self, event: str, *, ordered: bool | None = None) -> Callable[[F], F]:
        """Register a handler for one event in the main namespace; see :meth:`Namespace.once`."""
        return self._main.once(event, ordered=ordered)

    def off(self, event: str, handler: Callable[..., Any] | None = None) -> None:
        """Remove a handler, or all handlers of an event, from the main namespace."""
        self._main.off(event, handler)

    def listeners(self, event: str) -> tuple[Callable[..., Any], ...]:
        """The handlers of an event of the main namespace."""
        return self._main.listeners(event)

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

    async def server_side_emit(self, event: str, *args: Any) -> None:
        """Emit an event to the other servers of the cluster; see :meth:`Namespace.server_side_emit`."""
        await self._main.server_side_emit(event, *args)

    async def server_side_emit_with_ack(self, event: str, *args: Any, timeout: float = 5.0) -> AckResponses:
        """The same, and collect what they answer; see :meth:`Namespace.server_side_emit_with_ack`."""
        return await self._main.server_side_emit_with_ack(event, *args, timeout=timeout)

    def event(self, function: F) -> F:
        """Register the decorated function for the event of its own name."""
        return self._main.event(function)

    def use(self, middleware: ConnectMiddleware) -> ConnectMiddleware:
        """Add connect middleware to the main namespace; see :meth:`Namespace.use`."""
        return self._main.use(middleware)

    def use_event(self, middleware: EventMiddleware) -> EventMiddleware:
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
        namespace = self._namespaces.get(nsp)
        if namespace is None:
            refusal = Packet(PacketType.CONNECT_ERROR, nsp, {"message": "Invalid namespace"})
            connection.send(self.engine.encode(refusal))
        else:
            await namespace.connect(connection, auth)

    # --- with the application ---------------------------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something in the background that is awaited, for a bounded time, at shutdown."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start(self, app: web.Application) -> None:
        if self._started:
            raise ConfigurationError("this server serves another application at this moment")
        self._started = True
        for namespace in self._namespaces.values():
            await namespace.adapter.start()

    async def _stop(self, app: web.Application) -> None:
        await self._server.shutdown()
        if self._tasks:
            _, pending = await asyncio.wait(self._tasks, timeout=_PATIENCE)
            for task in pending:
                log.warning("a disconnect handler did not end in time and is cancelled")
                task.cancel()
        for namespace in self._namespaces.values():
            await namespace.adapter.close()
        self._attached = self._started = False
