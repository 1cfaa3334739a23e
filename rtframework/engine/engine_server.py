"""The HTTP edge: it routes every request to a handshake or to its connection (Engine.IO v4)."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import engineio
from aiohttp import web

from ..exceptions import ConnectionRefused
from ..logs import ThrottledLog
from ..types import DisconnectReason
from .backpressure import room_for
from .banning import Banning
from .connection_table import ConnectionTable
from .entrance import Entrance, preflight
from .frames import NOOP
from .handover import Joinable
from .handshake import Handshakes, OpenPackets, coding_for, wants_websocket
from .http.answers import Accepted, Answer, Opening, Payload, Switching, UnsentResponse
from .http.client_files import ClientFiles
from .http.codings import is_coded
from .http.cookies import set_cookie
from .http.detach import Answered
from .http.direct import Begun, Poll, Post, add_direct_route
from .http.heads import limit_heads
from .http.listeners import Listeners
from .http.middleware import Exchange
from .http.origins import OriginPolicy
from .http.proxies import Proxies
from .http.query import query_of
from .http.refusals import BAD_REQUEST, FORBIDDEN, SID_UNKNOWN, TRANSPORT_UNKNOWN, Refusals, error_response
from .ids import new_id, new_id_of
from .v3.version import Version3
from .versions import Version4
from .watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence

    from ..options import EngineOptions
    from ..protocols import EngineMiddleware, Meter, Outlet
    from .connection import Connection
    from .connection_table import MakeHandler
    from .entrance import Route as OtherRoute
    from .handover import Neighbours
    from .http.canonical import Body
    from .http.direct import Served
    from .transports.polling import PollingTransport

log: Final = logging.getLogger("rtframework.engine")

_middleware_failed: Final = ThrottledLog(log, logging.ERROR, "unhandled error in engine middleware")
_silent: Final = logging.Logger("rtframework.engine", logging.CRITICAL)
"""For python-engineio's constructor, which says that it has finished."""

_Result: TypeAlias = Answer | web.Response | Poll | Post
"""What becomes of a request; the last two only of one that is served without a task."""

SHUTDOWN_TIMEOUT: Final = 2.5
"""Seconds that clients have, at shutdown, to take what waits for them."""

_UNHEARD: Final = 1.0
"""Seconds in which the GET of a client that has left may come, with workers."""
_MOST_UNHEARD: Final = 1_000
"""Such clients at a time."""

_lost_in_middleware: Final = ThrottledLog(
    log,
    logging.WARNING,
    "ended a session: middleware of the application has not sent the packets of a poll. Set headers and cookies on the "
    "response that the handler returns, and return that response",
)


class EngineServer(engineio.AsyncServer, Joinable):  # type: ignore[misc]  # engineio is not typed
    """python-engineio's server with a protocol edge of its own for aiohttp.

    ``origins``: the policy for pages of other hosts, instead of the one in the options; ``told_interval``: the ping
    interval in seconds that clients are told, when it is not the one of the server; ``version``: the parts that serve
    clients of Engine.IO 4.
    """

    def __init__(
        self,
        *,
        options: EngineOptions,
        make_handler: MakeHandler,
        logger: logging.Logger,
        async_handlers: bool = False,
        origins: OriginPolicy | None = None,
        told_interval: float | None = None,
        version: Version4 | None = None,
    ) -> None:
        super().__init__(
            async_mode="aiohttp",
            ping_interval=options.ping_interval,
            ping_timeout=options.ping_timeout,
            max_http_buffer_size=options.limits.max_http_buffer_size,
            allow_upgrades=options.allow_upgrades,
            transports=list(options.transports),
            logger=_silent,
            async_handlers=async_handlers,
            monitor_clients=False,
        )
        self.logger = logger
        self.options = options
        self.table = ConnectionTable(options, make_handler, self._closed)
        self.connections = self.table.by_sid
        self.banning = Banning(self.table)
        self.tasks = self.table.tasks
        self.counts = self.table.counts
        self.watchdog = Watchdog()
        self.listeners = Listeners()
        self.middlewares: list[EngineMiddleware] = []
        self._origins = origins or OriginPolicy(options.cors)
        self._refusals = Refusals(self.counts, self.listeners, self.table.guard.audit)
        self.open_packets = OpenPackets(options, told_interval or options.ping_interval)
        self.handshakes = Handshakes(
            options,
            self.table,
            {"4": version or Version4(), **({"3": Version3()} if options.allow_eio3 else {})},
            refusals=self._refusals,
            origins=self._origins,
            open_packets=self.open_packets,
            opened=self._opened,
            generate_id=self.generate_id,
        )
        self.entrance = Entrance(
            self.table,
            self.handshakes,
            options=options,
            origins=self._origins,
            refusals=self._refusals,
            pass_front=self.pass_front,
            serve_directly=self._serve_other_directly,
            refuse_page=self._refuse_page,
            generate_id=self.generate_id,
        )
        """The way in for clients of other protocols."""
        self._front: Callable[[web.Request], Awaitable[web.StreamResponse]] = self._serve
        self._stands_in_front = False
        self._has_told_why = False
        self._unheard: dict[str, None] = {}
        """Sessions that have just ended while no GET waited, one of several workers: see :meth:`_unheard_poll`."""
        self._proxies: Proxies | None = None
        if options.trusted_proxies is not None:
            self._proxies = Proxies(options.trusted_proxies, options.proxy_headers)
            self._front = self._pass_front
        serve = options.serve_client
        self._client_files = None if serve is False else ClientFiles(serve, self._origins)

    def generate_id(self) -> str:
        """Make a session id. python-engineio's tell in their last bytes how many there were before."""
        return new_id() if self.neighbours is None else new_id_of(self.neighbours.slot)

    @property
    def others_serve(self) -> bool:
        """True while another worker of the same port takes new clients."""
        return self.neighbours is not None and self.neighbours.others_serve()

    def join(self, neighbours: Neighbours, path: str) -> None:
        """Be one of several workers from now on: session ids name it, and all know its number of clients, its bans."""
        self.neighbours = self.table.neighbours = neighbours
        self.banning.join(neighbours, path)

    # --- with the application ---------------------------------------------------------------------------------------

    def attach(
        self, app: web.Application, engineio_path: str = "engine.io", add_trailing_slash: bool | None = None
    ) -> None:
        """Serve under a path of an application: with a slash at its end, without, or (``None``) both ways."""
        self.run_with(app)
        path = "/" + engineio_path.strip("/")
        with_slash = path if path == "/" else path + "/"
        if add_trailing_slash is not False:  # first: it is what clients ask for
            route = app.router.add_route("*", with_slash, self.handle_request)
            add_direct_route(app, with_slash, route, self.serve_directly)
        if not add_trailing_slash and path != "/":
            app.router.add_route("*", path, self.handle_request)
        if self._client_files is not None:
            self._client_files.attach(app, with_slash)
        if add_trailing_slash is not False and path != "/":  # all below the path is the server's, as with Node
            app.router.add_route("*", with_slash + "{rest:.+}", self.handle_request)

    def run_with(self, app: web.Application) -> None:
        """Begin to serve when an application starts, whichever protocols it has routes for."""
        if self._start not in app.on_startup:
            app.on_startup.append(self._start)
            limit_heads(app, self.options.limits)

    async def _start(self, app: web.Application) -> None:
        self.table.start()
        self.watchdog.start()

    async def shutdown(
        self, reason: str = DisconnectReason.SERVER_SHUTTING_DOWN, timeout: float = SHUTDOWN_TIMEOUT
    ) -> None:
        """Close every connection, wait for what waits to be sent, at most ``timeout`` seconds; then cut the rest."""
        if self.neighbours is not None:
            self.neighbours.stop()
        await self.table.shutdown(reason, timeout)
        self.watchdog.stop()

    # --- requests ---------------------------------------------------------------------------------------------------

    async def handle_request(self, request: web.Request) -> web.StreamResponse:
        """Serve one HTTP request of the protocol."""
        return await self._front(request)

    def serve_directly(self, request: web.Request) -> Served:
        """Serve a request at once, or begin to; ``None`` if that would run code of the program."""
        if self._asks_program():
            return None
        if request.method not in ("GET", "POST"):
            return None
        query = self._query_of(request)
        transport = query.get("transport")
        if transport == "polling":
            if "Upgrade" in request.headers:
                return None
        elif transport != "websocket" or not wants_websocket(request):
            return None
        if self._proxies is not None:
            request = self._proxies.seen_through(request)
        return _begin(self._route(request, query), request)

    def _serve_other_directly(self, route: OtherRoute, request: web.Request) -> Served:
        """Serve the websocket handshake of another protocol at once, or begin to; ``None``: aiohttp is to serve it."""
        if request.method != "GET" or not wants_websocket(request) or self._asks_program():
            return None
        if self._proxies is not None:
            request = self._proxies.seen_through(request)
        return _begin(self.entrance.route(route, request), request)

    def _asks_program(self) -> bool:
        """Tell whether code of the program has to see a request, and write to the log why that is so."""
        if self._stands_in_front or self.listeners.of_errors or self.handshakes.asks_program:
            self._tell_why()
            return True
        return False

    def _tell_why(self) -> None:
        """Write to the log, once, why requests are left to aiohttp."""
        if self._has_told_why:
            return
        self._has_told_why = True
        if self._stands_in_front:
            why = "the engine has middleware, or listeners for headers"
        elif self.listeners.of_errors:
            why = 'there are listeners for "connection_error"'
        else:
            why = "allow_request or generate_id is set"
        log.debug("requests are served by tasks of aiohttp: %s", why, extra={"kind": why})

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        """Serve a request that nothing stands in front of."""
        return await _send(request, await self._route(request))

    async def _route(self, request: web.Request, query: Mapping[str, str] | None = None) -> _Result:
        """Check a request, find the handshake or the session that it is for, and have it answered."""
        headers: dict[str, str] = {}
        origin = request.headers.get("Origin")
        if origin is not None or self.options.require_origin:
            refusal = await self._refuse_page(request, origin)
            if refusal is not None:
                return refusal
            headers = self._origins.headers(origin, request.host)
        if request.method == "OPTIONS":
            return preflight(self._origins, request, headers)
        if query is None:
            query = self._query_of(request)
        transport = query.get("transport")
        if transport not in self.options.transports:
            return await self._refusals.refuse(request, TRANSPORT_UNKNOWN, {"transport": transport}, headers)
        sid = query.get("sid")
        if not sid:  # the Go client sends an empty one
            return await self.handshakes.answer(request, query, headers)
        return await self._serve_session(request, query, headers, sid)

    def _query_of(self, request: web.Request) -> Mapping[str, str]:
        """Read the query string of a request."""
        return query_of(request)

    async def _serve_session(
        self, request: web.Request, query: Mapping[str, str], headers: dict[str, str], sid: str
    ) -> _Result:
        """Have a request with a session id served by its connection."""
        transport = query["transport"]
        connection = self.table.find(sid)
        if connection is None or connection.is_closed or not connection.protocol:
            if sid in self._unheard and request.method == "GET" and transport == "polling":
                return self._unheard_poll(sid, headers)
            return await self._refusals.refuse(request, SID_UNKNOWN, {"sid": sid}, headers)
        if transport == "websocket" and wants_websocket(request):
            return await self.handshakes.upgrade(request, query, headers, connection)
        polling = connection.polling
        if transport == "websocket" or polling is None:
            names = {"transport": transport, "previous_transport": connection.transport}
            return await self._refusals.bad(request, "TRANSPORT_MISMATCH", headers, **names)
        return await self._poll(request, headers, connection, polling)

    async def _poll(
        self, request: web.Request, headers: dict[str, str], connection: Connection, polling: PollingTransport
    ) -> _Result:
        """Serve a GET or a POST of a session by polling."""
        if request.method == "POST":
            if is_coded(request):
                connection.fail(DisconnectReason.TRANSPORT_ERROR)
                context = {"name": "CONTENT_ENCODING_NOT_SUPPORTED"}
                return await self._refusals.refuse(request, BAD_REQUEST, context, headers, status=415)
            if request.task is None and not request.content.is_eof():
                return self._begin_post(request, headers, connection, polling)
            return await self._take(headers, polling, None, request)
        if request.method != "GET":
            return await self._refusals.refuse(request, BAD_REQUEST, {"method": request.method}, headers)
        if polling.has_lost_packets:
            _lost_in_middleware(extra={"address": request.remote})
        answer = partial(self._payload, request, headers, connection, polling)
        if request.task is None:
            poll = Poll(request, polling, answer)
            if polling.begin(request, poll):
                return poll.answer or poll
            return error_response(request, BAD_REQUEST, headers=headers)
        payload = await polling.poll(request)
        if payload is None:
            return error_response(request, BAD_REQUEST, headers=headers)
        return answer(payload)

    async def _take(
        self, headers: dict[str, str], polling: PollingTransport, since: float | None, request: web.Request
    ) -> _Result:
        """Take the packets of a POST; ``since``: when it was begun, if its body was on its way."""
        status = await polling.post(request, self.options.limits, since)
        return Accepted(headers) if status == 200 else error_response(request, BAD_REQUEST, status, headers)

    def _begin_post(
        self, request: web.Request, headers: dict[str, str], connection: Connection, polling: PollingTransport
    ) -> Post:
        """Begin to serve a POST whose body is on its way, without a task."""
        body = cast("Body", request.content)
        is_begun = polling.begin_post(request, body.length)
        take = partial(self._take, headers, polling, connection.loop.time() if is_begun else None)
        return Post(
            body,
            polling,
            lambda: _begin(take(request), request),
            partial(_take_and_send, take),
            is_begun=is_begun,
            timeout=self.options.limits.body_timeout,
        )

    def _payload(
        self,
        request: web.Request,
        headers: dict[str, str],
        connection: Connection,
        polling: PollingTransport,
        payload: bytes,
    ) -> Payload:
        """Make the answer to a GET."""
        return Payload(
            payload,
            headers,
            coding=coding_for(self.options, request, payload) if polling.compress else None,
            on_loss=partial(_lose, connection, polling),
            handed_over=polling.hand_over,
            content_type=polling.content_type,
        )

    async def _refuse_page(self, request: web.Request, origin: str | None) -> web.Response | None:
        """Refuse a request by the page that it comes from, or because it comes from none."""
        if origin is None:
            context = {"name": "ORIGIN_REQUIRED"}
        elif self._origins.accepts_request(request):
            return None
        else:
            context = {"name": "ORIGIN_NOT_ALLOWED", "origin": origin}
        return await self._refusals.refuse(request, FORBIDDEN, context, status=403)

    def _opened(self, connection: Connection, request: web.Request) -> Mapping[str, str]:
        """Hear that a request has opened a connection. Return more headers for the answer, if it polls."""
        cookie = self.options.cookie
        return {} if cookie is None else {"Set-Cookie": set_cookie(cookie, connection.sid)}

    def _closed(self, connection: Connection) -> None:
        """Hear that a connection has ended."""
        if self.neighbours is None or not connection.is_unheard or connection.protocol != 4:
            return
        if len(self._unheard) < _MOST_UNHEARD:
            self._unheard[connection.sid] = None
            connection.loop.call_later(_UNHEARD, self._unheard.pop, connection.sid, None)

    def _unheard_poll(self, sid: str, headers: dict[str, str]) -> Answer:
        """Answer the GET of a client that has left meanwhile, as if it had waited.

        With workers, it may have been sent first: on another connection, which had to be passed on.
        """
        del self._unheard[sid]
        return Opening(NOOP.polling.encode(), headers, coding=None, on_loss=_do_nothing)

    # --- what stands in front of the protocol, when a program has put something there -------------------------------

    def stand_in_front(self) -> None:
        """Take requests through middleware and header listeners from now on."""
        self._front = self._pass_front
        self._stands_in_front = True

    async def _pass_front(self, request: web.Request) -> web.StreamResponse:
        return await self.pass_front(request, self._route)

    async def pass_front(
        self, request: web.Request, route: Callable[[web.Request], Awaitable[_Result]]
    ) -> web.StreamResponse:
        """Have a request answered by ``route``, behind proxies, middleware and listeners for headers."""
        if self._proxies is not None:
            request = self._proxies.seen_through(request)
        # A preflight request carries neither cookies nor tokens: middleware that asks for them would refuse all pages.
        hears = self.middlewares or self.listeners.has("initial_headers", "headers")
        if not hears or request.method == "OPTIONS":
            return await _send(request, await route(request))
        try:
            response = await Exchange(self.middlewares, partial(self._answer_unsent, route)).answer(request)
        except web.HTTPException:
            raise
        except ConnectionRefused as refused:
            headers = self._page_headers(request)
            return await self._refusals.forbid(request, refused.message, headers, "MIDDLEWARE_FAILURE")
        except Exception as error:  # noqa: BLE001 - logged, and refuses the request
            _middleware_failed(error=error, extra={"address": request.remote})
            headers = self._page_headers(request)
            return await self._refusals.bad(request, "MIDDLEWARE_FAILURE", headers, error=error)
        if isinstance(response, UnsentResponse):
            return await response.answer.send_changed(request, response)
        return response

    async def _answer_unsent(
        self, route: Callable[[web.Request], Awaitable[_Result]], request: web.Request
    ) -> web.StreamResponse:
        answer = await route(request)
        if not isinstance(answer, Answer):
            return await _send(request, answer)
        response = answer.response()
        if not query_of(request).get("sid"):
            await self.listeners.tell("initial_headers", response.headers, request)
        await self.listeners.tell("headers", response.headers, request)
        return response

    def _page_headers(self, request: web.Request) -> dict[str, str]:
        origin = request.headers.get("Origin")
        if origin is None or not self._origins.accepts_request(request):
            return {}
        return self._origins.headers(origin, request.host)

    # --- what others ask about the connections ----------------------------------------------------------------------

    def count_clients(self) -> dict[str, int]:
        """Count the connections that are open, by transport; costs a look at each connection."""
        counts = {"polling": 0, "websocket": 0}
        for each in self.connections.values():
            name = each.transport
            counts[name] = counts.get(name, 0) + 1
        return counts

    def waiting_bytes(self) -> int:
        """Count the bytes for all clients that have not left the process yet; costs a look at each connection."""
        return sum(each.outbox.waiting for each in self.connections.values())

    def inbound_bytes(self) -> int:
        """Count the bytes of memory that messages of clients take."""
        return self.table.inbound.held

    def waiting_handlers(self) -> int:
        """Count the handlers that have begun and wait for something."""
        return len(self.tasks)

    def measure(self, meter: Meter) -> None:
        """Tell the meter, too, what passes from now on."""
        self.table.measure((*self.table.meters, meter))

    def unmeasure(self, meter: Meter) -> None:
        """Tell the meter nothing more; while there is none, this costs nothing."""
        self.table.measure(tuple(each for each in self.table.meters if each is not meter))

    def room_for(self, outlets: Sequence[Outlet]) -> Awaitable[None] | None:
        """Return something to wait for until each of these clients has room again; ``None`` when they have."""
        congested = self.table.cork.congested
        return room_for(outlets, congested, self.options.limits.slow_consumer_timeout) if congested else None


def _begin(work: Coroutine[Any, Any, _Result], request: web.Request) -> Served:
    """Serve a request without a task, as far as it does not wait for anything."""
    try:
        first = work.send(None)
    except StopIteration as done:
        answer: _Result = done.value
    else:
        return partial(_finish, Begun(work, first))
    if isinstance(answer, Poll):
        return answer
    if isinstance(answer, Post):
        return answer if answer.is_begun else answer.send
    if isinstance(answer, Switching):
        switched = answer.send_at_once()
        return switched if isinstance(switched, Answered) else partial(_return, switched)
    if isinstance(answer, Answer):
        return answer.write_or_send(request)
    return partial(_return, answer)


async def _send(request: web.Request, answer: _Result) -> web.StreamResponse:
    """Send an answer as it is. Return what the request's handler is to return."""
    assert not isinstance(answer, Poll | Post)  # which are for requests without a task
    return await answer.send(request) if isinstance(answer, Answer) else answer


async def _take_and_send(take: Callable[[web.Request], Awaitable[_Result]], request: web.Request) -> web.StreamResponse:
    """Serve a POST to its end that was begun without a task."""
    return await _send(request, await take(request))


async def _finish(work: Begun[_Result], request: web.Request) -> web.StreamResponse:
    """Serve a request to its end that was begun without a task."""
    return await _send(request, await work)


async def _return(response: web.StreamResponse, request: web.Request) -> web.StreamResponse:
    return response


def _do_nothing() -> None:
    """Lose nothing: the session has ended."""


def _lose(connection: Connection, polling: PollingTransport) -> None:
    if connection.uses(polling):
        connection.lost(DisconnectReason.TRANSPORT_ERROR)
