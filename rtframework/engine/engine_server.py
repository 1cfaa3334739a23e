"""The HTTP edge: handshakes, and the way of every further request to its connection (Engine.IO v4)."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import engineio
from aiohttp import HttpVersion11, web

from ..concurrency import maybe_await
from ..counters import Counters, add
from ..exceptions import ConnectionRefused
from ..types import ConnectionFailure, DisconnectReason, Handshake
from .backpressure import ASK_AGAIN, until_room
from .connection import CLOSED, Connection
from .frames import Frames
from .heartbeat import Heartbeat
from .http.client_files import ClientFiles
from .http.cookies import Cookies, set_cookie
from .http.detach import (
    Answered,
    can_write,
    has_hooks,
    has_middlewares,
    header_line,
    lines_of,
    run_hooks,
    take_over,
    write,
)
from .http.middleware import Exchange, UnsentResponse
from .http.origins import OriginPolicy
from .http.proxies import Proxies
from .http.refusals import (
    BAD_METHOD,
    BAD_REQUEST,
    FORBIDDEN,
    MESSAGES,
    SID_UNKNOWN,
    TRANSPORT_UNKNOWN,
    UNSUPPORTED_VERSION,
    error_response,
)
from .outbox import Cork
from .runner import Runner
from .transports.deflate import negotiate
from .transports.polling import BINARY, TEXT, PollingTransport
from .transports.rfc6455 import VERSION, accept_of
from .transports.upgrade import Upgrade
from .transports.websocket import WebSocketTransport
from .v3.version import Version3
from .versions import Version4

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from ..options import EngineOptions
    from ..protocols import EngineMiddleware, Meter, Outlet
    from .api import GenerateId
    from .heartbeat import Ticking
    from .interfaces import MessageHandler

log: Final = logging.getLogger("rtframework.engine")

SHUTDOWN_TIMEOUT: Final = 2.5
"""Seconds that clients have, at shutdown, to take what waits for them."""

_SESSION_ID: Final = re.compile(r"[\w.~-]{1,256}", re.ASCII)
"""What needs no quoting in a URL, a cookie and JSON."""

_OK: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n"
_PAYLOADS: Final = {
    content_type: b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nCache-Control: no-store\r\n" % content_type.encode()
    for content_type in (TEXT, BINARY)
}
_SWITCHING: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
)


class EngineServer(engineio.AsyncServer):  # type: ignore[misc]  # engineio is not typed
    """python-engineio's server with a protocol edge of its own for aiohttp."""

    def __init__(
        self,
        *,
        options: EngineOptions,
        make_handler: Callable[[Connection, Handshake], MessageHandler],
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
        self._versions = {"4": Version4()}
        if options.allow_eio3:
            self._versions["3"] = Version3()
        self.connections: dict[str, Connection] = {}
        self.tasks: set[asyncio.Task[Any]] = set()
        self._make_handler = make_handler
        self._origins = OriginPolicy(options.cors)
        self._proxies: Proxies | None = None
        self._front: Callable[[web.Request], Awaitable[web.StreamResponse]] = self._serve
        self.middlewares: list[EngineMiddleware] = []
        self.listeners: dict[str, list[Callable[..., Any]]] = {
            "connection_error": [],
            "initial_headers": [],
            "headers": [],
        }
        self.make_id: GenerateId | None = None
        """What makes session ids instead of ``generate_id``."""
        if options.trusted_proxies is not None:
            self._proxies = Proxies(options.trusted_proxies, options.proxy_headers)
            self.stand_in_front()
        serve = options.serve_client
        self._client_files = None if serve is False else ClientFiles(serve, self._origins)
        self.counts = Counters()
        self._cork = Cork(self.counts)
        shortest = min(options.ping_interval, options.ping_timeout, options.connect_timeout)
        self._heartbeat = Heartbeat(max(0.01, min(0.25, shortest / 20)), self._ticking)
        self._open_packets = self._announce(interval=options.ping_interval, timeout=options.ping_timeout)
        self._runner = Runner(self.tasks, lambda: not self.connections)
        self._leaving: set[WebSocketTransport] = set()
        self._unconnected = 0
        self._closing = False
        self._meters: tuple[Meter, ...] = ()

    def attach(
        self, app: web.Application, engineio_path: str = "engine.io", add_trailing_slash: bool | None = None
    ) -> None:
        """Serve under a path of an application: with a slash at its end, without, or (``None``) both ways."""
        path = "/" + engineio_path.strip("/")
        with_slash = path if path == "/" else path + "/"
        if add_trailing_slash is not False:
            app.router.add_route("*", with_slash, self.handle_request)  # first: it is what clients ask for
        if not add_trailing_slash and path != "/":
            app.router.add_route("*", path, self.handle_request)
        if self._client_files is not None:
            self._client_files.attach(app, with_slash)
        app.on_startup.append(self._start)

    async def _start(self, app: web.Application) -> None:
        if self._closing:  # it has served another application, maybe in another event loop
            self._closing = False
            self._cork = Cork(self.counts)
            self._cork.meters = self._meters
            self._heartbeat.stop()
            self._leaving.clear()
            loop = asyncio.get_running_loop()
            self.tasks -= {task for task in self.tasks if task.get_loop() is not loop}
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
            await asyncio.sleep(ASK_AGAIN)
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
        return await self._front(request)

    async def _serve(self, request: web.Request, later: bool = False) -> web.StreamResponse:
        """The same behind what stands in front; ``later``: what is returned is to be sent by others."""
        origin = request.headers.get("Origin")
        headers: dict[str, str] = {}
        if origin is not None:
            if not self._accepts(request):
                return await self._refuse(
                    request, FORBIDDEN, {"name": "ORIGIN_NOT_ALLOWED", "origin": origin}, status=403
                )
            headers = self._origins.headers(origin, request.host)
        elif self.options.require_origin:
            return await self._refuse(request, FORBIDDEN, {"name": "ORIGIN_REQUIRED"}, status=403)
        if request.method == "OPTIONS":
            return self._preflight(request, headers)
        query = _query_of(request)
        transport = query.get("transport")
        if transport not in self.options.transports:
            return await self._refuse(request, TRANSPORT_UNKNOWN, {"transport": transport}, headers)
        upgrade = request.headers.get("Upgrade", "").lower() == "websocket"
        sid = query.get("sid")
        if sid is None:
            return await self._handshake(request, query, upgrade, headers, later)
        connection = self.connections.get(sid)
        if connection is not None:
            self._heartbeat.check(connection)
        if connection is None or connection.state == CLOSED:
            return await self._refuse(request, SID_UNKNOWN, {"sid": sid}, headers)
        if transport == "websocket":
            if not upgrade:
                return await self._mismatch(request, transport, connection, headers)
            if not self._can_upgrade:
                return await self._refuse(request, BAD_REQUEST, {"name": "UPGRADE_NOT_ALLOWED"}, headers)
            return await self._upgrade(request, query, connection, headers, later)
        polling = connection.polling
        if polling is None:
            return await self._mismatch(request, transport, connection, headers)
        if request.method not in ("GET", "POST"):
            return await self._refuse(request, BAD_REQUEST, {"method": request.method}, headers)
        if request.method == "POST":
            status = await polling.post(request, self.options.limits)
            if status != 200:
                return error_response(BAD_REQUEST, status, headers)
            if not headers and not later and can_write(request) and not has_middlewares(request):
                return write(request, _OK, b"ok")
            return UnsentResponse(text="ok", content_type="text/html", headers=headers)
        payload = await polling.poll(request)
        if payload is None:
            return error_response(BAD_REQUEST, headers=headers)
        if not later and not self._compresses(payload, polling.compress) and can_write(request):
            more = b"".join(map(header_line, headers.items())) if headers else b""
            return write(request, _PAYLOADS[polling.content_type] + more, payload)
        response = self._payload(request, payload, headers, polling.content_type, compress=polling.compress)
        response.lost = partial(_lose, connection, polling)
        return response if later else await self._send(request, response)

    async def _send(self, request: web.Request, response: UnsentResponse) -> web.StreamResponse:
        """Send an answer that holds packets: if they are lost, the session must not go on as if they had arrived."""
        try:
            await response.prepare(request)
            await response.write_eof()
        except BaseException as error:
            if response.lost is not None:
                response.lost()
            if not isinstance(error, ConnectionError):
                raise
        return response

    def _accepts(self, request: web.Request) -> bool:
        """Whether the page that a request comes from may connect."""
        return self._origins.accepts(request.headers.get("Origin"), request.host)

    def _initial_headers(self, connection: Connection) -> dict[str, str]:
        """More headers for the answer to a handshake by polling."""
        cookie = self.options.cookie
        return {} if cookie is None else {"Set-Cookie": set_cookie(cookie, connection.sid)}

    # --- what stands in front of the protocol, when a program has put something there -------------------------------

    def stand_in_front(self) -> None:
        """Requests pass proxies, middleware and header listeners from now on."""
        self._front = self._pass_front

    async def _pass_front(self, request: web.Request) -> web.StreamResponse:
        if self._proxies is not None:
            request = self._proxies.seen_through(request)
        hears = self.listeners["initial_headers"] or self.listeners["headers"]
        # A preflight request carries neither cookies nor tokens: middleware that asks for them would refuse all pages.
        if not (self.middlewares or hears) or request.method == "OPTIONS":
            return await self._serve(request)
        try:
            response = await Exchange(self.middlewares, self._serve_unsent).answer(request)
        except web.HTTPException:
            raise
        except ConnectionRefused as refused:
            return await self._forbid(request, refused.message, self._page_headers(request), "MIDDLEWARE_FAILURE")
        except Exception as error:
            log.exception("unhandled error in engine middleware", extra={"address": request.remote})
            return await self._refuse(
                request, BAD_REQUEST, {"name": "MIDDLEWARE_FAILURE", "error": error}, self._page_headers(request)
            )
        if isinstance(response, UnsentResponse):
            return await (self._send(request, response) if response.switch is None else response.switch(response))
        return response

    async def _serve_unsent(self, request: web.Request) -> web.StreamResponse:
        response = await self._serve(request, True)
        if isinstance(response, UnsentResponse):
            if "sid" not in _query_of(request):
                await self._tell("initial_headers", response.headers, request)
            await self._tell("headers", response.headers, request)
        return response

    async def _tell(self, event: str, *args: Any) -> None:
        for listener in self.listeners[event]:
            try:
                await maybe_await(listener(*args))
            except Exception:
                log.exception("unhandled error in a listener for %s", event, extra={"event": event})

    def _page_headers(self, request: web.Request) -> dict[str, str]:
        origin = request.headers.get("Origin")
        if origin is None or not self._accepts(request):
            return {}
        return self._origins.headers(origin, request.host)

    async def _refuse(
        self,
        request: web.Request,
        code: int,
        context: dict[str, Any],
        headers: dict[str, str] | None = None,
        *,
        status: int = 400,
        message: str | None = None,
    ) -> web.Response:
        """Tell the listeners, and make the answer for the client."""
        reason = context.get("name") or MESSAGES[code]
        add(self.counts.requests_refused, reason.lower().replace(" ", "_"))
        if self.listeners["connection_error"]:
            await self._tell("connection_error", ConnectionFailure(request, code, MESSAGES[code], context))
        return error_response(code, status, headers, message)

    async def _mismatch(
        self, request: web.Request, transport: str, connection: Connection, headers: dict[str, str]
    ) -> web.Response:
        context = {"name": "TRANSPORT_MISMATCH", "transport": transport, "previous_transport": connection.transport}
        return await self._refuse(request, BAD_REQUEST, context, headers)

    async def _forbid(
        self, request: web.Request, message: str | None, headers: dict[str, str], name: str | None = None
    ) -> web.Response:
        context = {"name": name, "message": message} if name else {"message": message}
        return await self._refuse(request, FORBIDDEN, context, headers, status=403, message=message)

    # --- handshakes -------------------------------------------------------------------------------------------------

    async def _handshake(
        self, request: web.Request, query: Mapping[str, str], upgrade: bool, headers: dict[str, str], later: bool
    ) -> web.StreamResponse:
        if request.method != "GET":
            return await self._refuse(request, BAD_METHOD, {"method": request.method}, headers)
        transport = query["transport"]
        version = self._versions.get(query.get("EIO", "3"))  # who says nothing is old
        if version is None:
            return await self._refuse(request, UNSUPPORTED_VERSION, {"protocol": query.get("EIO")}, headers)
        if (transport == "websocket") is not upgrade or not version.serves(query):
            return await self._refuse(request, BAD_REQUEST, {"name": "TRANSPORT_HANDSHAKE_ERROR"}, headers)
        if self._is_full:
            return await self._refuse_when_full(request, headers)
        if self.options.allow_request is not None:
            refusal = await self._ask(request, headers)
            if refusal is None and self._is_full:  # by now
                refusal = await self._refuse_when_full(request, headers)
            if refusal is not None:
                return refusal
        if self.make_id is None:
            sid: str = self.generate_id()
        else:
            made = await self._make_id(request, headers)
            if isinstance(made, web.Response):
                return made
            sid = made
            if self._closing:  # by now
                return await self._refuse_when_full(request, headers)
        if transport == "polling":
            connection = self._open(request, query, version.polling(query), sid, version)
            packet = version.payload(self._open_packet(connection)).encode()
            response = self._payload(request, packet, {**headers, **self._initial_headers(connection)})
            if later:
                response.lost = partial(connection.lost, DisconnectReason.TRANSPORT_ERROR)
            return response

        def begin(websocket: WebSocketTransport, answer: bytes) -> web.StreamResponse:
            if sid in self.connections:  # since it was made
                return error_response(BAD_REQUEST, headers=headers)
            connection = self._open(request, query, websocket, sid, version)
            return _begin(request, websocket, answer + Frames([self._open_packet(connection)]).websocket)

        return await self._switch(request, query, version, begin, headers, later)

    @property
    def _is_full(self) -> bool:
        return self._closing or self._unconnected >= self.options.limits.max_unconnected

    async def _refuse_when_full(self, request: web.Request, headers: dict[str, str]) -> web.Response:
        context = {"name": "SERVER_CLOSING" if self._closing else "TOO_MANY_UNCONNECTED"}
        return await self._refuse(request, FORBIDDEN, context, headers, status=503)

    async def _ask(self, request: web.Request, headers: dict[str, str]) -> web.Response | None:
        """Ask the program whether the client may come in; the refusal, if not."""
        assert self.options.allow_request is not None
        try:
            allowed = await maybe_await(self.options.allow_request(request))
        except ConnectionRefused as refused:
            return await self._forbid(request, refused.message, headers)
        except Exception:
            log.exception("unhandled error in allow_request", extra={"address": request.remote})
            allowed = False
        return None if allowed else await self._forbid(request, None, headers)

    async def _make_id(self, request: web.Request, headers: dict[str, str]) -> str | web.Response:
        assert self.make_id is not None
        try:
            sid = await maybe_await(self.make_id(request))
            if not isinstance(sid, str) or not _SESSION_ID.fullmatch(sid) or sid in self.connections:
                raise ValueError("generate_id has not made a new session id")
        except Exception as error:
            log.exception("unhandled error in generate_id", extra={"address": request.remote})
            return await self._refuse(request, BAD_REQUEST, {"name": "ID_GENERATION_ERROR", "error": error}, headers)
        return sid

    async def _upgrade(
        self,
        request: web.Request,
        query: Mapping[str, str],
        connection: Connection,
        headers: dict[str, str],
        later: bool,
    ) -> web.StreamResponse:
        def begin(websocket: WebSocketTransport, answer: bytes) -> Answered:
            if connection.polling is None or connection.upgrade is not None or connection.state == CLOSED:
                return _begin(request, websocket, answer, websocket.close)
            Upgrade(connection, websocket, self.options.upgrade_timeout)
            return _begin(request, websocket, answer)

        return await self._switch(request, query, self._versions[str(connection.protocol)], begin, headers, later)

    async def _switch(
        self,
        request: web.Request,
        query: Mapping[str, str],
        version: Version4,
        begin: Callable[[WebSocketTransport, bytes], web.StreamResponse],
        headers: dict[str, str],
        later: bool,
    ) -> web.StreamResponse:
        """Answer the handshake of a websocket (RFC 6455, 4.2); ``begin`` gets it and the bytes of the answer."""
        if request.headers.get("Sec-WebSocket-Version") != VERSION:
            more = {**headers, "Sec-WebSocket-Version": VERSION, "Upgrade": "websocket"}
            return await self._refuse(request, BAD_REQUEST, {"name": "TRANSPORT_HANDSHAKE_ERROR"}, more, status=426)
        keys = request.headers.getall("Sec-WebSocket-Key", ())
        accept = accept_of(keys[0]) if len(keys) == 1 else None
        connection = ",".join(request.headers.getall("Connection", ()))
        wants = (token.strip().lower() for token in connection.split(","))
        if accept is None or request.method != "GET" or request.version < HttpVersion11 or "upgrade" not in wants:
            return await self._refuse(request, BAD_REQUEST, {"name": "TRANSPORT_HANDSHAKE_ERROR"}, headers)
        head = _SWITCHING + accept.encode() + b"\r\n"
        window: int | None = None
        if self.options.per_message_deflate is not None:
            agreement = negotiate(request.headers.getall("Sec-WebSocket-Extensions", ()))
            if agreement is not None:
                window = agreement[0]
                head += header_line(("Sec-WebSocket-Extensions", agreement[1]))

        async def send(response: web.StreamResponse | None) -> web.StreamResponse:
            if has_hooks(request):
                lines = await run_hooks(request, response or Answered(101))
            else:
                lines = lines_of(response) if response is not None else []
            if self._closing:
                return error_response(FORBIDDEN, 503, headers)
            transport = request.transport
            if transport is None or transport.is_closing():
                return web.Response(status=400)  # nobody will read it
            answer = head + b"".join(map(header_line, lines)) + b"\r\n"
            websocket = version.websocket(query, transport, self.options, self._leaving, window)
            return begin(websocket, answer)

        if not later:
            return await send(None)
        response = UnsentResponse(status=101)
        response.switch = send
        return response

    def _open(
        self,
        request: web.Request,
        query: Mapping[str, str],
        transport: PollingTransport | WebSocketTransport,
        sid: str,
        version: Version4,
    ) -> Connection:
        self._heartbeat.start()
        handshake = Handshake(
            headers=request.headers,
            query=query,
            cookies=Cookies("; ".join(request.headers.getall("Cookie", ()))),
            address=request.remote,
            secure=request.secure,
            xdomain=self._origins.is_foreign(request.headers.get("Origin"), request.host),
            time=time.time(),
            url=request.raw_path,
        )
        connection = version.connection(
            sid,
            address=handshake.address,
            transport=transport,
            options=self.options,
            cork=self._cork,
            on_connected=self._connected,
            on_closed=self._forget,
            runner=self._runner,
        )
        connection.serve(self._make_handler(connection, handshake))
        self.connections[sid] = connection
        self._unconnected += 1
        self.counts.opened += 1
        if self._meters:
            for meter in self._meters:
                meter.opened += 1
            connection.measure(self._meters)
        return connection

    def _ticking(self) -> Iterable[Ticking]:
        return chain(self.connections.values(), self._leaving)

    def _connected(self) -> None:
        self._unconnected -= 1

    def _forget(self, connection: Connection) -> None:
        self.connections.pop(connection.sid, None)
        if not self.connections:
            self._runner.rest()
        self._cork.congested.discard(connection.outbox)
        for meter in self._meters:
            meter.closed += 1

    def count_clients(self) -> tuple[int, int]:
        """How many connections are open, and how many of them are polling."""
        return len(self.connections), sum(each.transport == "polling" for each in self.connections.values())

    def waiting_bytes(self) -> int:
        """Bytes for all clients that have not left the process yet; costs a look at each connection."""
        return sum(each.outbox.waiting for each in self.connections.values())

    def waiting_handlers(self) -> int:
        """Handlers that have begun and wait for something."""
        return len(self.tasks)

    def measure(self, meter: Meter) -> None:
        """Tell the meter, too, what passes from now on."""
        self._tell_meters((*self._meters, meter))

    def unmeasure(self, meter: Meter) -> None:
        """… and not any more; while there is none, this costs nothing."""
        self._tell_meters(tuple(each for each in self._meters if each is not meter))

    def _tell_meters(self, meters: tuple[Meter, ...]) -> None:
        self._meters = self._cork.meters = meters
        for connection in self.connections.values():
            connection.measure(meters)

    @property
    def congested(self) -> bool:
        """Whether there are clients for which emitters should wait."""
        return bool(self._cork.congested)

    def room_for(self, outlets: Sequence[Outlet]) -> Awaitable[None] | None:
        """Something to wait for until each of these clients has room again; ``None`` when they have."""
        congested = self._cork.congested
        slow = [each.outbox for each in outlets if isinstance(each, Connection) and each.outbox in congested]
        return until_room(slow, congested) if slow else None

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
        self, request: web.Request, payload: bytes, headers: dict[str, str], kind: str = TEXT, *, compress: bool = True
    ) -> UnsentResponse:
        response = UnsentResponse(body=payload, headers={**headers, "Content-Type": kind, "Cache-Control": "no-store"})
        if self._compresses(payload, compress):
            response.enable_compression()
        return response

    def _compresses(self, payload: bytes, compress: bool) -> bool:
        """Whether a payload is to be compressed, if its client can read that."""
        options = self.options
        return options.http_compression and compress and len(payload) >= options.http_compression_threshold

    def _preflight(self, request: web.Request, headers: dict[str, str]) -> web.Response:
        more = self._origins.preflight(request.headers.get("Access-Control-Request-Headers"))
        return web.Response(status=204, headers={**headers, **more})


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


def _lose(connection: Connection, polling: PollingTransport) -> None:
    if connection.polling is polling:
        connection.lost(DisconnectReason.TRANSPORT_ERROR)
