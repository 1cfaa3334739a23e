"""A test server: runs an application for clients of the same process, without a network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, TypeAlias

from aiohttp import ClientSession, ClientTimeout, CookieJar, web

from ..concurrency import maybe_await
from ..exceptions import ConfigurationError, ConnectionRefused, ContractError
from ..handlers.strict import on_breach
from ..serializers import JSONSerializer
from ..server import Server
from .client import PATIENCE, TestClient, open_client
from .connection import Connection, Route
from .idle import own_loop, settle, wait
from .network import MemoryConnector, memory_session
from .stomp import SUBPROTOCOL, TestStompClient
from .stream import TestStream
from .websocket import TestWebSocket, WebSocketClient

if TYPE_CHECKING:
    from ..handlers.dependencies import Provider
    from ..protocols import Serializer
    from .clock import Clock
    from .engine_client import Transport

_NOT_RUNNING: Final = "the server does not run: `async with TestServer(...)`"
_SHUTDOWN_TIMEOUT: Final = 1.0
"""Seconds that pending requests have to end when the server stops, before they are cancelled."""


class Attachable(Protocol):
    """A server that can be attached: :class:`rtframework.Server` or ``rtframework.engine.AsyncServer``."""

    def attach(self, app: web.Application, path: str, /) -> Any:
        """Add the server's routes and its startup and cleanup to an application."""


Served: TypeAlias = Attachable | web.Application | Callable[[], web.Application | Awaitable[web.Application]]


class TestServer:
    """Runs a server for clients of the same process: everything is real except the network.

    ``served``: a server, which is attached to a new application; or an application; or a function, async or not, that
    returns an application. ``clock``: a simulated clock, which only ``advance`` moves; without one, time is real.
    ``overrides``: replacements for providers of :func:`~rtframework.Depends` while the server runs; needs a server.
    ``path``: the server's path. ``serializer``: the clients' serializer; by default the server's, or JSON for an
    application. ``strict_emits``: validate the emitted events against their declarations, as the server's option does;
    needs a server.

    A ``ContractError`` of strict mode that the program has raised, in a handler or in a task of its own, is raised
    again by the test's next call: a client's ``emit`` or ``receive``, or the stop of the server; also when the program
    has caught it.

    The application starts and stops with ``async with``. The server can be run again afterwards; it may also be
    attached to an application of the program that is not running.

    Example::

        async with TestServer(io) as server:
            alice = await server.connect(auth={"token": "a"})
            bob = await server.connect(transport="polling")
            await alice.emit("message", "hi")
            assert await bob.receive("message") == "hi"
    """

    __test__ = False  # pytest: not a test class, despite its name

    def __init__(
        self,
        served: Served,
        *,
        clock: Clock | None = None,
        path: str = "/socket.io",
        serializer: Serializer | None = None,
        strict_emits: bool = False,
        overrides: Mapping[Provider, Provider] | None = None,
    ) -> None:
        if strict_emits and not isinstance(served, Server):
            raise ConfigurationError(
                "strict_emits is for a Server; with an application call its server's check_emits()"
            )
        speaks = getattr(served, "serializer", None) if serializer is None else serializer
        self.path = "/" + path.strip("/") + "/"
        self.serializer: Serializer = JSONSerializer() if speaks is None else speaks
        self.clients: list[TestClient] = []
        """All clients, in the order of connecting."""
        self._served = served
        self._overrides = dict(overrides or {})
        if self._overrides and not isinstance(served, Server):
            raise ConfigurationError("overrides need the server: assign io.dependency_overrides instead")
        self._overridden: dict[Provider, Provider] = {}
        self._clock = clock
        self._strict_emits = strict_emits
        self._was_strict = False
        self._breaches: list[ContractError] = []
        self._connections: list[Connection] = []
        self._websockets: list[WebSocketClient] = []
        self._runner: web.AppRunner | None = None
        self._session: ClientSession | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def app(self) -> web.Application:
        """The application. Raises ``RuntimeError`` if the server does not run."""
        return self._running.app

    @property
    def clock(self) -> Clock:
        """The simulated clock. Raises ``ConfigurationError`` if none was given."""
        if self._clock is None:
            raise ConfigurationError("this server runs in real time: TestServer(..., clock=Clock())")
        return self._clock

    @property
    def http(self) -> ClientSession:
        """An aiohttp client session for the application's own routes, by path: ``await server.http.get("/")``."""
        if self._session is None:
            self._session = memory_session(self.connector("127.0.0.1"), "http://localhost", CookieJar())
        return self._session

    @asynccontextmanager
    async def stream(
        self,
        path: str,
        *,
        last_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 1.0,
    ) -> AsyncIterator[TestStream]:
        """Open a stream of server-sent events, as ``EventSource`` does: ``async with server.stream("/events")``.

        ``last_id``: the last id that the client has. ``timeout``: seconds that :meth:`TestStream.receive` waits.
        """
        sent = {"Accept": "text/event-stream", **(headers or {})}
        if last_id:
            sent["Last-Event-ID"] = last_id
        async with self.http.get(path, headers=sent, timeout=ClientTimeout(total=None)) as response:
            yield TestStream(response, timeout, self.http)

    async def connect_websocket(
        self,
        path: str = "/ws",
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        protocols: Sequence[str] = (),
        address: str = "127.0.0.1",
        within: float = PATIENCE,
    ) -> TestWebSocket:
        """Open a plain websocket, as a page does with ``new WebSocket(url, protocols)``.

        Raises ``ConnectionRefused``, ``"HTTP 403"`` with the data ``{"status": 403}`` or the like, if it is not opened.
        What a namespace says is a message, and a code: see :meth:`TestWebSocket.receive_close`.
        """
        opened = await TestWebSocket.open(
            self, path, query=query, headers=headers, protocols=protocols, address=address, within=within
        )
        self._websockets.append(opened)
        return opened

    async def connect_stomp(
        self,
        path: str = "/stomp",
        *,
        auth: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        heart_beat: tuple[int, int] = (0, 0),
        address: str = "127.0.0.1",
        within: float = PATIENCE,
    ) -> TestStompClient:
        """Connect a STOMP client; ``auth`` are headers of its CONNECT frame, ``headers`` those of the request.

        ``heart_beat``: milliseconds, as in STOMP: those after which the client can send, which it then does, and those
        after which it wants to hear something. Raises ``ConnectionRefused`` with what the ERROR frame says, or the
        status of HTTP.
        """
        opened = await TestStompClient.open(
            self, path, query=query, headers=headers, protocols=[SUBPROTOCOL], address=address, within=within
        )
        self._websockets.append(opened)
        await opened.begin(auth, heart_beat, within)
        return opened

    async def start(self) -> None:
        """Start serving, as ``async with`` does at its beginning."""
        if self._runner is not None:
            raise RuntimeError("the server runs already")
        self._breaches.clear()
        own_loop()  # raises for an event loop other than asyncio's
        with self._hearing_of_breaches():
            runner = web.AppRunner(await self._application(), access_log=None, shutdown_timeout=_SHUTDOWN_TIMEOUT)
            try:
                await runner.setup()
                if self._clock is not None:
                    self._clock.hold()
            except BaseException:
                await runner.cleanup()
                raise
        if self._strict_emits:
            assert isinstance(self._served, Server)
            self._was_strict = self._served._host.auditor is not None
            self._served.check_emits()
        self._runner = runner
        if isinstance(self._served, Server):
            self._overridden = self._served.dependency_overrides
            self._served.dependency_overrides = self._overridden | self._overrides

    async def stop(self) -> None:
        """Stop, as at SIGTERM: clients are disconnected, the application is cleaned up.

        Meanwhile a simulated clock moves by itself from timer to timer; afterwards time is real. Raises exceptions of
        functions given to ``TestClient.on`` that have not been raised in the test yet.
        """
        runner, self._runner = self._runner, None
        if runner is None:
            return
        for connection in self._connections:  # otherwise the server would wait for them for seconds of real time
            connection.engine.be_missed()
        for each in self._websockets:
            each.be_missed()
        await settle()
        try:
            with self._hearing_of_breaches():
                await (runner.cleanup() if self._clock is None else self._clock.run(runner.cleanup()))
        finally:
            if self._clock is not None:
                self._clock.release()
            await settle()
            if isinstance(self._served, Server):
                self._served.dependency_overrides = self._overridden
            connections, self._connections = self._connections, []
            for connection in connections:
                await connection.engine.dispose()
            websockets, self._websockets = self._websockets, []
            for each in websockets:
                await each.dispose()
            if self._session is not None:
                await self._session.close()
                self._session = None
            if self._strict_emits:
                assert isinstance(self._served, Server)
                self._served.check_emits(self._was_strict)
        self.raise_breach()
        for client in self.clients:
            client.raise_errors()

    async def settle(self) -> None:
        """Run the event loop until nothing in it can run without time passing, e.g. after ``await io.emit(...)``.

        Raises ``RuntimeError`` if a task keeps running without ever waiting.
        """
        if not await settle():
            raise RuntimeError("something runs on without ever waiting")
        self.raise_breach()

    async def connect(
        self,
        nsp: str = "/",
        *,
        auth: Mapping[str, Any] | None = None,
        transport: Transport = "websocket",
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        address: str = "127.0.0.1",
        within: float = PATIENCE,
    ) -> TestClient:
        """Connect a new client to a namespace.

        ``headers`` and ``query`` are added to all HTTP requests of the client; ``address`` is the client's address.
        Raises ``ConnectionRefused`` with the message and data that the client got. If the HTTP request is refused, the
        message is ``"HTTP 403"`` or the like, and the data contain ``{"status": 403}``.
        """
        route = Route(transport, dict(headers or {}), dict(query or {}), address)
        connection = await self.open(route, within)
        try:
            return await open_client(self, connection, nsp, route, auth, within)
        except BaseException as error:
            connection.engine.close()
            await settle()
            if isinstance(error, ConnectionRefused):
                self.raise_breach()
            raise

    def raise_breach(self) -> None:
        """Raise a ``ContractError`` of the program that has not been raised in the test yet, if any."""
        if self._breaches:
            first = self._breaches[0]  # the others are likely to be the same
            self._breaches.clear()
            raise first

    # --- called by clients ------------------------------------------------------------------------------------------

    def connector(self, address: str) -> MemoryConnector:
        """Return a connector for a client with this address."""
        return MemoryConnector(self._accept, address, self._context)

    async def open(self, route: Route, within: float) -> Connection:
        """Open an Engine.IO connection. Raises ``ConnectionRefused``."""
        if self._runner is None:
            raise RuntimeError(_NOT_RUNNING)
        connection = Connection(self, route)
        self._connections.append(connection)
        opening = asyncio.get_running_loop().create_task(connection.engine.open(route.transport))
        try:
            if not await wait(opening, within):
                raise AssertionError(f"the server has not answered the handshake within {within:g} s")
            await opening
        finally:
            opening.cancel()
        return connection

    # --- inside -----------------------------------------------------------------------------------------------------

    @property
    def _running(self) -> web.AppRunner:
        if self._runner is None:
            raise RuntimeError(_NOT_RUNNING)
        return self._runner

    def _accept(self) -> asyncio.BaseProtocol | None:
        server = None if self._runner is None else self._runner.server
        return None if server is None else server()

    @contextmanager
    def _hearing_of_breaches(self) -> Iterator[None]:
        """Hear of each breach of contract in what is run, and in the tasks that it starts."""
        before = on_breach.set(self._breaches.append)
        try:
            yield
        finally:
            on_breach.reset(before)

    def _context(self) -> Context:
        """The context variables of a connection on the server's side: those of the client that connects."""
        with self._hearing_of_breaches():
            return copy_context()

    async def _application(self) -> web.Application:
        if isinstance(self._served, web.Application):
            return self._served
        if isinstance(self._served, Server):  # mount, not attach: the program may have attached it already
            self._served._mount(app := web.Application(), self.path)
            return app
        if hasattr(self._served, "attach"):
            self._served.attach(app := web.Application(), self.path)
            return app
        return await maybe_await(self._served())
