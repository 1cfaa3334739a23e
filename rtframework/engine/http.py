"""The HTTP edge: handshakes, and the way of every further request to its connection (Engine.IO v4)."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import TYPE_CHECKING, Any, Final

import engineio
from aiohttp import HttpVersion11, web

from ..types import DisconnectReason, Handshake
from .connection import CLOSED, Connection
from .cookies import Cookies
from .deflate import negotiate
from .frames import Frames
from .heartbeat import Heartbeat
from .origins import OriginPolicy
from .outbox import Cork, Outbox
from .polling import PollingTransport
from .rfc6455 import VERSION, accept_of
from .runner import Runner
from .takeover import (
    Answered,
    can_write,
    has_hooks,
    has_middlewares,
    header_line,
    run_hooks,
    take_over,
    write,
)
from .upgrade import Upgrade
from .websocket import WebSocketTransport

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

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

_OK: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n"
_PAYLOAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=UTF-8\r\nCache-Control: no-store\r\n"
_SWITCHING: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
)


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
        self._open_packets = self._announce(interval=options.ping_interval, timeout=options.ping_timeout)
        self._runner = Runner(self.tasks, lambda: not self.connections)
        self._leaving: set[WebSocketTransport] = set()
        self._unconnected = 0
        self._closing = False

    def attach(self, app: web.Application, engineio_path: str = "engine.io") -> None:
        """Serve under a path of an application, with and without a slash at its end."""
        path = "/" + engineio_path.strip("/")
        app.router.add_route("*", path + "/", self.handle_request)  # first: it is what clients ask for
        app.router.add_route("*", path, self.handle_request)
        app.on_startup.append(self._start)

    async def _start(self, app: web.Application) -> None:
        self._closing = False  # it may have served another application, in another event loop
        self._cork = Cork()
        self._runner.start()

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
        while self._leaving and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_ASK_AGAIN)
        for websocket in list(self._leaving):
            websocket.abort()
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
        query = _query_of(request)
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
            return await self._upgrade(request, connection, headers)
        polling = connection.polling
        if polling is None or request.method not in ("GET", "POST"):
            return _error(_BAD_REQUEST, headers=headers)
        if request.method == "POST":
            status = await polling.post(request, self.options.limits)
            if status != 200:
                return _error(_BAD_REQUEST, status, headers)
            if not headers and can_write(request) and not has_middlewares(request):
                return write(request, _OK, b"ok")
            return web.Response(text="ok", content_type="text/html", headers=headers)
        payload = await polling.poll(request)
        if payload is None:
            return _error(_BAD_REQUEST, headers=headers)
        if not self._compresses(payload, polling.compress) and can_write(request):
            more = b"".join(map(header_line, headers.items())) if headers else b""
            return write(request, _PAYLOAD + more, payload.encode())
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
        if _query_of(request).get("EIO") != "4":
            return _error(_UNSUPPORTED_VERSION, headers=headers)
        if (transport == "websocket") is not upgrade:
            return _error(_BAD_REQUEST, headers=headers)
        if self._closing or self._unconnected >= self.options.limits.max_unconnected:
            return _error(_FORBIDDEN, 503, headers)
        if transport == "polling":
            connection = self._open(request, PollingTransport())
            headers = {**headers, **self._initial_headers(connection)}
            return self._payload(request, self._open_packet(connection), headers)
        agreed = await self._agree(request, headers)
        if isinstance(agreed, web.Response):
            return agreed
        websocket, answer = agreed
        connection = self._open(request, websocket)
        return _begin(request, websocket, answer + Frames([self._open_packet(connection)]).websocket)

    async def _upgrade(
        self, request: web.Request, connection: Connection, headers: dict[str, str]
    ) -> web.StreamResponse:
        agreed = await self._agree(request, headers)
        if isinstance(agreed, web.Response):
            return agreed
        websocket, answer = agreed
        if connection.polling is None or connection.upgrade is not None or connection.state == CLOSED:
            return _begin(request, websocket, answer, websocket.close)
        Upgrade(connection, websocket, self.options.upgrade_timeout)
        return _begin(request, websocket, answer)

    async def _agree(
        self, request: web.Request, headers: dict[str, str]
    ) -> tuple[WebSocketTransport, bytes] | web.Response:
        """The websocket that a request asks for and the answer, which is still to be sent (RFC 6455, 4.2)."""
        if request.headers.get("Sec-WebSocket-Version") != VERSION:
            return _error(_BAD_REQUEST, 426, {**headers, "Sec-WebSocket-Version": VERSION, "Upgrade": "websocket"})
        keys = request.headers.getall("Sec-WebSocket-Key", ())
        accept = accept_of(keys[0]) if len(keys) == 1 else None
        connection = ",".join(request.headers.getall("Connection", ()))
        wants = (token.strip().lower() for token in connection.split(","))
        if accept is None or request.method != "GET" or request.version < HttpVersion11 or "upgrade" not in wants:
            return _error(_BAD_REQUEST, headers=headers)
        more: list[tuple[str, str]] = []
        window: int | None = None
        if self.options.per_message_deflate is not None:
            agreement = negotiate(request.headers.getall("Sec-WebSocket-Extensions", ()))
            if agreement is not None:
                window = agreement[0]
                more.append(("Sec-WebSocket-Extensions", agreement[1]))
        if has_hooks(request):
            more += await run_hooks(request, Answered(101))
        if self._closing:
            return _error(_FORBIDDEN, 503, headers)
        transport = request.transport
        if transport is None or transport.is_closing():
            return web.Response(status=400)  # nobody will read it
        answer = _SWITCHING + accept.encode() + b"\r\n" + b"".join(map(header_line, more)) + b"\r\n"
        return WebSocketTransport(transport, self.options, self._leaving, window), answer

    def _open(self, request: web.Request, transport: PollingTransport | WebSocketTransport) -> Connection:
        self._heartbeat.start()
        sid = self.generate_id()
        connection = Connection(
            sid,
            handshake=Handshake(
                headers=request.headers,
                query=_query_of(request),
                cookies=Cookies("; ".join(request.headers.getall("Cookie", ()))),
                address=request.remote,
                secure=request.secure,
                xdomain=self._origins.is_foreign(request.headers.get("Origin"), request.host),
                time=time.time(),
                url=request.raw_path,
            ),
            transport=transport,
            options=self.options,
            cork=self._cork,
            decoder=self._decoder(),
            on_message=self._on_message,
            on_connected=self._connected,
            on_closed=self._forget,
            runner=self._runner,
        )
        self.connections[sid] = connection
        self._unconnected += 1
        return connection

    def _connected(self) -> None:
        self._unconnected -= 1

    def _forget(self, connection: Connection) -> None:
        self.connections.pop(connection.sid, None)
        if not self.connections:
            self._runner.rest()
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
        head, tail = self._open_packets[connection.transport]
        return head + connection.sid + tail

    def _announce(self, *, interval: float, timeout: float) -> dict[str, tuple[str, str]]:
        """The open packet for each transport, before and after the session id (Engine.IO v4, "Handshake")."""
        packets = {}
        for transport in ("polling", "websocket"):
            content = {
                "sid": "?",
                "upgrades": ["websocket"] if transport == "polling" and self._can_upgrade else [],
                "pingInterval": round(interval * 1000),
                "pingTimeout": round(timeout * 1000),
                "maxPayload": self.options.limits.max_http_buffer_size,
            }
            head, _, tail = json.dumps(content, separators=(",", ":")).partition("?")
            packets[transport] = ("0" + head, tail)
        return packets

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
        if self._compresses(payload, compress):
            response.enable_compression()
        return response

    def _compresses(self, payload: str, compress: bool) -> bool:
        """Whether a payload is to be compressed, if its client can read that."""
        options = self.options
        return options.http_compression and compress and len(payload) >= options.http_compression_threshold

    def _preflight(self, request: web.Request, headers: dict[str, str]) -> web.Response:
        headers = {**headers, "Access-Control-Allow-Methods": "GET, POST, OPTIONS", "Access-Control-Max-Age": "600"}
        wanted = request.headers.get("Access-Control-Request-Headers")
        if wanted is not None:
            headers["Access-Control-Allow-Headers"] = wanted
        return web.Response(status=204, headers=headers)


def _query_of(request: web.Request) -> Mapping[str, str]:
    """The query string; what the first of each name says."""
    raw = request.raw_path.partition("?")[2]
    if "%" in raw or "+" in raw or "#" in raw:
        return request.query
    query: dict[str, str] = {}
    for part in raw.split("&"):  # a third of what the general way costs
        name, _, value = part.partition("=")
        query.setdefault(name, value)
    return query


def _begin(
    request: web.Request, websocket: WebSocketTransport, answer: bytes, then: Callable[[], None] | None = None
) -> Answered:
    rest = take_over(request, websocket, answer)
    if then is not None:
        then()
    if rest:
        websocket.data_received(rest)
    return Answered(101)


def _error(code: int, status: int = 400, headers: dict[str, str] | None = None) -> web.Response:
    body: dict[str, Any] = {"code": code, "message": _MESSAGES[code]}
    return web.json_response(body, status=status, headers=headers)
