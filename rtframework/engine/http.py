"""The HTTP edge: handshakes, and the way of every further request to its connection (Engine.IO v4)."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import TYPE_CHECKING, Any, Final

import engineio
from aiohttp import web

from ..types import DisconnectReason, Handshake
from .connection import CLOSED, Connection
from .frames import Frames
from .heartbeat import Heartbeat
from .origins import OriginPolicy
from .outbox import Cork, Outbox
from .polling import PollingTransport
from .websocket import WebSocketTransport, probe

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ..options import EngineOptions
    from ..protocols import Decoder, Outlet
    from .connection import MessageHandler

log: Final = logging.getLogger("rtframework.engine")

_TRANSPORT_UNKNOWN: Final = 0
_SID_UNKNOWN: Final = 1
_BAD_METHOD: Final = 2
_BAD_REQUEST: Final = 3
_FORBIDDEN: Final = 4
_UNSUPPORTED_VERSION: Final = 5
_MESSAGES: Final = {
    _TRANSPORT_UNKNOWN: "Transport unknown",
    _SID_UNKNOWN: "Session ID unknown",
    _BAD_METHOD: "Bad handshake method",
    _BAD_REQUEST: "Bad request",
    _FORBIDDEN: "Forbidden",
    _UNSUPPORTED_VERSION: "Unsupported protocol version",
}
"""Node's error codes and messages, which tools and people know."""


SHUTDOWN_TIMEOUT: Final = 2.5
"""Seconds that clients have, at shutdown, to take what waits for them."""

_ASK_AGAIN: Final = 0.02
"""Seconds between two looks at a client for which an emitter waits."""

_CLOSE_TIMEOUT: Final = 5.0
"""Seconds that a client may take to answer when a websocket is closed on an error."""


class EngineServer(engineio.AsyncServer):  # type: ignore[misc]  # engineio is not typed
    """python-engineio's server with a protocol edge of its own for aiohttp."""

    def __init__(
        self,
        *,
        options: EngineOptions,
        decoder: Callable[[], Decoder],
        on_message: MessageHandler,
        logger: logging.Logger,
        async_handlers: bool = False,
    ) -> None:
        super().__init__(
            async_mode="aiohttp",
            ping_interval=options.ping_interval,
            ping_timeout=options.ping_timeout,
            max_http_buffer_size=options.limits.max_http_buffer_size,
            allow_upgrades=options.allow_upgrades,
            transports=list(options.transports),
            logger=logger,
            async_handlers=async_handlers,
            monitor_clients=False,
        )
        self.options = options
        self.connections: dict[str, Connection] = {}
        self.tasks: set[asyncio.Task[Any]] = set()
        self._decoder = decoder
        self._on_message = on_message
        self._origins = OriginPolicy(options.cors_allowed_origins, options.cors_credentials)
        self._cork = Cork()
        shortest = min(options.ping_interval, options.ping_timeout, options.connect_timeout)
        self._heartbeat = Heartbeat(max(0.01, min(0.25, shortest / 20)), self.connections.values)
        self._unconnected = 0
        self._closing = False

    def attach(self, app: web.Application, engineio_path: str = "engine.io") -> None:
        """Serve under a path of an application, with and without a slash at its end."""
        path = "/" + engineio_path.strip("/")
        app.router.add_route("*", path, self.handle_request)
        app.router.add_route("*", path + "/", self.handle_request)

    async def shutdown(
        self, reason: str = DisconnectReason.SERVER_SHUTTING_DOWN, timeout: float = SHUTDOWN_TIMEOUT
    ) -> None:
        """Close every connection, wait for what waits to be sent, at most ``timeout`` seconds; then cut the rest."""
        self._closing = True
        for connection in list(self.connections.values()):
            connection.close(reason)
        deadline = asyncio.get_running_loop().time() + timeout
        try:
            async with asyncio.timeout_at(deadline):
                for connection in list(self.connections.values()):
                    if connection.transport == "polling" and not connection.has_poll:
                        continue  # a client that is not here cannot be told
                    await connection.wait_closed()
        except TimeoutError:
            pass
        for connection in list(self.connections.values()):
            connection.abort(reason)
        self._heartbeat.stop()
        tasks = [task for task in self.tasks if task is not asyncio.current_task()]
        if tasks:
            _, pending = await asyncio.wait(tasks, timeout=max(0.1, deadline - asyncio.get_running_loop().time()))
            for task in pending:
                task.cancel()
            if pending:
                await asyncio.wait(pending, timeout=0.5)

    async def handle_request(self, request: web.Request) -> web.StreamResponse:
        """Serve one HTTP request of the protocol."""
        origin, host = request.headers.get("Origin"), request.host
        if not self._accepts(request) or (origin is None and self.options.require_origin):
            return _error(_FORBIDDEN, 403)
        headers = self._origins.headers(origin, host)
        if request.method == "OPTIONS":
            return self._preflight(request, headers)
        query = request.query
        transport = query.get("transport")
        if transport not in self.options.transports:
            return _error(_TRANSPORT_UNKNOWN, headers=headers)
        upgrade = request.headers.get("Upgrade", "").lower() == "websocket"
        sid = query.get("sid")
        if sid is None:
            return await self._handshake(request, transport, upgrade, headers)
        connection = self.connections.get(sid)
        if connection is not None:
            self._heartbeat.check(connection)
        if connection is None or connection.state == CLOSED:
            return _error(_SID_UNKNOWN, headers=headers)
        if transport == "websocket":
            if not upgrade or not self._can_upgrade:
                return _error(_BAD_REQUEST, headers=headers)
            return await self._upgrade(request, connection)
        polling = connection.polling
        if polling is None or request.method not in ("GET", "POST"):
            return _error(_BAD_REQUEST, headers=headers)
        if request.method == "POST":
            status = await polling.post(request, self.options.limits)
            if status != 200:
                return _error(_BAD_REQUEST, status, headers)
            return web.Response(text="ok", content_type="text/html", headers=headers)
        payload = await polling.poll(request)
        if payload is None:
            return _error(_BAD_REQUEST, headers=headers)
        response = self._payload(request, payload, headers, compress=polling.compress)
        try:
            await response.prepare(request)
            await response.write_eof()
        except ConnectionError:
            # These packets are lost, so the session must not go on as if they had arrived.
            if connection.polling is polling:
                connection.lost(DisconnectReason.TRANSPORT_ERROR)
        return response

    def _accepts(self, request: web.Request) -> bool:
        """Whether the page that a request comes from may connect."""
        return self._origins.accepts(request.headers.get("Origin"), request.host)

    def _initial_headers(self, connection: Connection) -> dict[str, str]:
        """More headers for the answer to a handshake by polling."""
        return {}

    async def _handshake(
        self, request: web.Request, transport: str, upgrade: bool, headers: dict[str, str]
    ) -> web.StreamResponse:
        if request.method != "GET":
            return _error(_BAD_METHOD, headers=headers)
        if request.query.get("EIO") != "4":
            return _error(_UNSUPPORTED_VERSION, headers=headers)
        if (transport == "websocket") is not upgrade:
            return _error(_BAD_REQUEST, headers=headers)
        if self._closing or self._unconnected >= self.options.limits.max_unconnected:
            return _error(_FORBIDDEN, 503, headers)
        if transport == "polling":
            connection = self._open(request, PollingTransport())
            headers = {**headers, **self._initial_headers(connection)}
            return self._payload(request, self._open_packet(connection), headers)
        socket = await self._accept(request)
        if socket is None:
            return _gone()
        if self._closing:  # meanwhile
            await socket.close()
            return socket
        connection = self._open(request, WebSocketTransport(socket, _transport_of(request), self.options))
        connection.send(Frames([self._open_packet(connection)]))
        return await self._serve(socket, connection)

    async def _upgrade(self, request: web.Request, connection: Connection) -> web.StreamResponse:
        socket = await self._accept(request)
        if socket is None:
            return _gone()
        if connection.polling is None or connection.upgrading or connection.state == CLOSED:
            await socket.close()
            return socket
        connection.upgrading = True
        end_with_it = asyncio.create_task(_close_after(socket, connection))
        moved = False
        try:
            async with asyncio.timeout(self.options.upgrade_timeout):
                moved = await probe(socket, connection)
        except TimeoutError:
            log.debug("an upgrade was not completed in time")
        except ConnectionError:
            log.debug("a client has gone in the middle of an upgrade")
        finally:
            connection.upgrading = connection.probed = False
            end_with_it.cancel()
        transport = request.transport
        if not moved or connection.state == CLOSED or transport is None:
            await socket.close()
            return socket
        connection.upgraded(WebSocketTransport(socket, transport, self.options))
        return await self._serve(socket, connection)

    async def _serve(self, socket: web.WebSocketResponse, connection: Connection) -> web.StreamResponse:
        websocket, task = connection.websocket, asyncio.current_task()
        assert websocket is not None
        assert task is not None
        self.tasks.add(task)  # it may run a handler that hangs, so it must be known at shutdown
        try:
            await websocket.read()
        finally:
            self.tasks.discard(task)
            connection.lost(DisconnectReason.TRANSPORT_CLOSE)
        return socket

    async def _accept(self, request: web.Request) -> web.WebSocketResponse | None:
        """The websocket of a request; ``None`` when the client has gone before it was answered."""
        # aiohttp refuses messages that are as long as its bound, and takes those below it.
        limit = self.options.limits.max_http_buffer_size + 1
        compress = self.options.per_message_deflate is not None
        socket = web.WebSocketResponse(autoclose=False, compress=compress, max_msg_size=limit, timeout=_CLOSE_TIMEOUT)
        try:
            await socket.prepare(request)
        except ConnectionError:
            return None
        return socket if request.transport is not None else None

    def _open(self, request: web.Request, transport: PollingTransport | WebSocketTransport) -> Connection:
        self._heartbeat.start()
        sid = self.generate_id()
        connection = Connection(
            sid,
            handshake=Handshake(
                headers=request.headers,
                query=request.query,
                cookies=request.cookies,
                address=request.remote,
                secure=request.secure,
                xdomain=self._origins.is_foreign(request.headers.get("Origin"), request.host),
                time=time.time(),
                url=request.path_qs,
            ),
            transport=transport,
            options=self.options,
            cork=self._cork,
            decoder=self._decoder(),
            on_message=self._on_message,
            on_connected=self._connected,
            on_closed=self._forget,
            tasks=self.tasks,
        )
        self.connections[sid] = connection
        self._unconnected += 1
        return connection

    def _connected(self) -> None:
        self._unconnected -= 1

    def _forget(self, connection: Connection) -> None:
        self.connections.pop(connection.sid, None)
        self._cork.congested.discard(connection.outbox)

    @property
    def congested(self) -> bool:
        """Whether there are clients for which emitters should wait."""
        return bool(self._cork.congested)

    def room_for(self, outlets: Sequence[Outlet]) -> Awaitable[None] | None:
        """Something to wait for until each of these clients has room again; ``None`` when they have."""
        congested = self._cork.congested
        slow = [each.outbox for each in outlets if isinstance(each, Connection) and each.outbox in congested]
        return self._until_room(slow) if slow else None

    async def _until_room(self, outboxes: list[Outbox]) -> None:
        # Neither the transport nor a polling client says when something has left, so they are asked: it is the way of
        # slow clients only.
        for outbox in outboxes:
            while outbox.full:  # noqa: ASYNC110
                await asyncio.sleep(_ASK_AGAIN)
            self._cork.congested.discard(outbox)

    def _open_packet(self, connection: Connection) -> str:
        options = self.options
        upgrades = ["websocket"] if connection.transport == "polling" and self._can_upgrade else []
        return "0" + json.dumps(
            {
                "sid": connection.sid,
                "upgrades": upgrades,
                "pingInterval": round(options.ping_interval * 1000),
                "pingTimeout": round(options.ping_timeout * 1000),
                "maxPayload": options.limits.max_http_buffer_size,
            },
            separators=(",", ":"),
        )

    @property
    def _can_upgrade(self) -> bool:
        return self.options.allow_upgrades and "websocket" in self.options.transports

    def _payload(
        self, request: web.Request, payload: str, headers: dict[str, str], *, compress: bool = True
    ) -> web.Response:
        response = web.Response(
            body=payload.encode(),
            headers={**headers, "Content-Type": "text/plain; charset=UTF-8", "Cache-Control": "no-store"},
        )
        options = self.options
        if options.http_compression and compress and len(payload) >= options.http_compression_threshold:
            response.enable_compression()
        return response

    def _preflight(self, request: web.Request, headers: dict[str, str]) -> web.Response:
        headers = {**headers, "Access-Control-Allow-Methods": "GET, POST, OPTIONS", "Access-Control-Max-Age": "600"}
        wanted = request.headers.get("Access-Control-Request-Headers")
        if wanted is not None:
            headers["Access-Control-Allow-Headers"] = wanted
        return web.Response(status=204, headers=headers)


def _transport_of(request: web.Request) -> asyncio.Transport:
    transport = request.transport
    assert transport is not None
    return transport


async def _close_after(socket: web.WebSocketResponse, connection: Connection) -> None:
    """A session that ends while it is being upgraded takes the new websocket along."""
    await connection.wait_closed()
    await socket.close()


def _gone() -> web.Response:
    return web.Response(status=400)  # nobody will read it


def _error(code: int, status: int = 400, headers: dict[str, str] | None = None) -> web.Response:
    body: dict[str, Any] = {"code": code, "message": _MESSAGES[code]}
    return web.json_response(body, status=status, headers=headers)
