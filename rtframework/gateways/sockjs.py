"""SockJS: what stock ``sockjs-client`` speaks, by websocket, streams and polls (sockjs-protocol 0.3.3).

It carries what another gateway speaks: plain messages, or STOMP. JSONP is not served: see docs/sockjs.md.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from email.utils import formatdate
from functools import partial
from hashlib import sha256
from random import SystemRandom
from sys import getsizeof
from time import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec
from aiohttp import hdrs, web

from ..counters import add
from ..engine.http.routed import forward_by_key
from ..exceptions import ConfigurationError, DecodeError
from ..logs import ThrottledLog
from ..options import check_timeout
from ..types import DisconnectReason
from .base import BaseGateway
from .sockjs_frames import (
    FRAMINGS,
    HTMLFILE,
    IFRAME,
    XHR,
    Framing,
    SockJSFrames,
    close_frame,
    htmlfile_prelude,
    is_callback,
    read_messages,
)
from .sockjs_receivers import Poll, Stream
from .sockjs_session import SockJSSession
from .sockjs_websocket import SockJSWebSocket
from .streaming import StreamAnswer

if TYPE_CHECKING:
    from ..engine.entrance import Route
    from ..engine.gateway import Gateway
    from ..engine.http.answers import Answer
    from ..protocols import Application, Frames
    from ..types import Handshake
    from .client import GatewayClient
    from .packets import Outgoing

log: Final = logging.getLogger("rtframework.gateways")

_not_here: Final = ThrottledLog(
    log,
    logging.WARNING,
    "refused messages for a session of SockJS that is not here: unless this process has just been started, requests of "
    "one session come to several; make the balancer sticky, by the cookie of cookie_needed=True if it needs one",
    period=60.0,
)

Bind = Callable[[web.Request], object]
"""Returns what all requests of one session have to have in common, beside their query."""

_SESSION: Final = "/{server:[^/.]+}/{session:[^/.]+}/"
_LONGEST_ID: Final = 128
_STILL_OPEN: Final = close_frame(2010, "Another connection still open")
_NOT_CACHED: Final = {
    "Cache-Control": "no-store, no-cache, no-transform, must-revalidate, max-age=0",
    "X-Content-Type-Options": "nosniff",
    "X-Accel-Buffering": "no",
}
_A_YEAR: Final = 31_536_000
_TWELVE_DAYS: Final = 1_036_800
_IN_HTML: Final = str.maketrans({"&": "&amp;", '"': "&quot;", "<": "&lt;", ">": "&gt;"})
_AT_ONCE: Final = 256
"""Messages of a body that wait to be served at once."""
_MOST_ENDED: Final = 10_000
"""Sessions that have ended whose ids are known still."""
_JSONP: Final = "JSONP is not served: other sites could read it, see docs/sockjs.md\n"

_OF_ONE_REQUEST: Final = frozenset({"t", "c", "callback"})
"""Names in the query that are ``sockjs-client``'s own: a time, against caches, and the function of a page."""

_random: Final = SystemRandom()


class SockJSGateway(BaseGateway):
    """Serves SockJS; see :meth:`rtframework.Server.attach_sockjs` for the options.

    ``carried``: the gateway whose clients they are, and whose messages they get; its form has to be an
    ``EncodedFrames``, and it serves the raw websocket.
    """

    scheme = "http"

    def __init__(
        self,
        application: Application,
        engine: Gateway,
        *,
        carried: BaseGateway,
        heartbeat: float = 25.0,
        session_timeout: float = 5.0,
        response_limit: int = 131_072,
        websocket: bool = True,
        cookie_needed: bool = False,
        client_url: str | None = None,
        bind: Bind | None = None,
    ) -> None:
        super().__init__(application, engine)
        for name, seconds in (("heartbeat", heartbeat), ("session_timeout", session_timeout)):
            check_timeout(name, seconds)
            if seconds <= 0:
                raise ConfigurationError(f"{name} is a number of seconds above 0, not {seconds!r}")
        if not isinstance(response_limit, int) or response_limit < 1:
            raise ConfigurationError(f"response_limit is a number of bytes, not {response_limit!r}")
        if client_url is not None and not re.match(r"https?://|/", client_url):
            raise ConfigurationError(f"client_url is a URL, or the path of one, not {client_url!r}")
        self.carried = carried
        self.connection = carried.connection  # type: ignore[misc]  # the class is that of its clients
        self.joinable = engine.eio
        """The server that has the connections, for workers: see ``rtframework.engine.handover``."""
        self.session_timeout = session_timeout
        self.sessions: dict[str, SockJSSession] = {}
        """Sessions over HTTP, by the ids that their clients have chosen."""
        self._ended: dict[str, None] = {}
        """The ids of sessions that have ended here lately, the oldest first."""
        self._heartbeat = heartbeat
        self._limit = response_limit
        self._websocket = websocket
        self._cookie_needed = cookie_needed
        self._client_url = client_url
        self._bind = bind

    # --- a gateway ----------------------------------------------------------------------------------------------------

    @property
    def description(self) -> str:
        """What it speaks."""
        return f"SockJS 1.x, which carries: {self.carried.description}"

    def add_routes(self, app: web.Application, path: str) -> None:
        """Add the routes."""
        app.on_cleanup.append(self._forget_all)
        router = app.router
        router.add_route("*", path, self.serve_greeting)
        router.add_route("*", path + "/", self.serve_greeting)
        router.add_route("*", path + "/info", self._handler(self._info, "GET"))
        router.add_route("*", path + "/iframe{version:[^/]*}.html", self._handler(self._iframe, "GET"))
        for framing in FRAMINGS:
            route: Route = partial(self._receive, framing)
            router.add_route("*", path + _SESSION + framing.name, self._handler(route, framing.method))
        router.add_route("*", path + _SESSION + "xhr_send", self._handler(self._take, "POST"))
        router.add_route("*", path + _SESSION + "{jsonp:jsonp|jsonp_send}", self._handler(_refuse_jsonp, "GET", "POST"))
        if self._websocket:
            router.add_route("*", path + _SESSION + "websocket", self._handler(self._switch, "GET"))
            self.carried.add_routes(app, path + "/websocket")

    def make_client(self, connection: Any, handshake: Handshake) -> GatewayClient:
        """Make the client of a connection."""
        return self.carried.make_client(connection, handshake)

    def encode(self, packets: Sequence[Outgoing]) -> Any:
        """Do not encode: what the gateway that is carried has encoded is wrapped, see :meth:`form`."""
        raise NotImplementedError

    def form(self, frames: Frames) -> SockJSFrames:
        """Return frames as those of SockJS, which are made at most once for all clients."""
        carried = self.carried.form(frames)
        form: SockJSFrames = carried.form(
            self, lambda _: SockJSFrames(carried.packets, self.entrance.table.counts, carried.droppable)
        )
        return form

    async def _forget_all(self, app: web.Application) -> None:
        """Forget sessions whose end would still be told: nobody comes any more."""
        for session in list(self.sessions.values()):
            session.forget()

    def _handler(self, route: Route, *methods: str) -> Callable[[web.Request], Any]:
        """Make a handler of a route that answers some methods; OPTIONS is answered for it, and may be cached."""
        allowed = ", ".join(("OPTIONS", *methods))

        async def answer(request: web.Request, headers: dict[str, str]) -> Answer | web.Response:
            if request.method not in methods:
                return web.Response(status=405, headers={**headers, "Allow": allowed})
            return await route(request, headers)

        async def handle(request: web.Request) -> web.StreamResponse:
            response = await self.entrance.serve(answer, request)
            if request.method == "OPTIONS" and response.status == 204 and not response.prepared:
                response.headers.update(_cached(_A_YEAR))
                response.headers["Access-Control-Max-Age"] = str(_A_YEAR)
                response.headers["Access-Control-Allow-Methods"] = allowed
            return response

        return handle

    # --- what is no session -------------------------------------------------------------------------------------------

    async def serve_greeting(self, request: web.Request) -> web.StreamResponse:
        """Greet."""
        return await self.entrance.serve(_greet, request)

    async def _info(self, request: web.Request, headers: dict[str, str]) -> web.Response:
        content = {
            "websocket": self._websocket,
            "origins": ["*:*"],
            "cookie_needed": self._cookie_needed,
            "entropy": _random.getrandbits(32),
        }
        more = {**headers, **_NOT_CACHED, hdrs.CONTENT_TYPE: "application/json; charset=UTF-8"}
        return web.Response(body=msgspec.json.encode(content), headers=more)

    async def _iframe(self, request: web.Request, headers: dict[str, str]) -> web.Response:
        """Answer with the page that pages of other origins embed, if they may: what it reads, they read."""
        if self._client_url is None:
            return web.Response(status=404, text="Not served: client_url is not set\n")
        ancestors = self._ancestors(request)
        if ancestors is None:
            return web.Response(status=403, text="This origin is not allowed (cors_allowed_origins)\n")
        body = (IFRAME % self._client_url.translate(_IN_HTML)).encode()
        policy = f"frame-ancestors {ancestors}"
        tag = f'"{sha256(body + policy.encode()).hexdigest()[:32]}"'
        more = {**_cached(_TWELVE_DAYS), "ETag": tag, "Vary": "Referer", "Content-Security-Policy": policy}
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers=more)
        return web.Response(body=body, headers={**more, hdrs.CONTENT_TYPE: "text/html; charset=UTF-8"})

    def _ancestors(self, request: web.Request) -> str | None:
        """Return the origins whose pages may embed pages of ours (CSP 3, 6.4.2.1); ``None``: that page may not."""
        origins = self.options.cors.allowed_origins
        if origins is None or not self.options.cors.credentials:  # the page of ours has the cookies of its user
            return "'self'"
        each = [origins] if isinstance(origins, str) else [] if callable(origins) else origins
        if isinstance(each, Sequence | set | frozenset) and all(isinstance(one, str) for one in each) and each:
            if "*" in each:
                return "*"
            return " ".join(["'self'", *(str(one) for one in each if re.fullmatch(r"https?://[^\s;,'\"]+", str(one)))])
        page = urlsplit(request.headers.get("Referer", ""))
        origin = f"{page.scheme}://{page.netloc}"
        if not page.netloc or not re.fullmatch(r"https?://[\w.:\[\]-]+", origin):
            return "'self'"
        return f"'self' {origin}" if self.entrance.accepts_origin(origin, request.host) else None

    # --- websockets ---------------------------------------------------------------------------------------------------

    async def _switch(self, request: web.Request, headers: dict[str, str]) -> Answer | web.Response:
        refusal = await self.check(request, headers)
        if refusal is not None:
            return refusal

        def opened(connection: Any) -> None:
            connection.carrier.open()
            self._begin(connection)

        answer = await self.switch(
            request,
            headers,
            choose_protocol=lambda offered: None,
            make=lambda transport, window: SockJSWebSocket(self, transport, window),
            opened=opened,
        )
        if isinstance(answer, web.Response) and answer.status == 426:
            return web.Response(status=400, headers=headers, text="Not a valid websocket request\n")
        return answer

    def _begin(self, connection: Any) -> None:
        connection.interval = self._heartbeat
        connection.timeout = min(connection.timeout, self._heartbeat)
        connection.beat()
        begin = getattr(connection.client, "begin", None)
        if begin is not None:
            begin()

    # --- sessions over HTTP -------------------------------------------------------------------------------------------

    async def _receive(self, framing: Framing, request: web.Request, headers: dict[str, str]) -> Answer | web.Response:
        """Answer a request that receives: open its session, or go on with it."""
        prelude = framing.prelude
        if framing is HTMLFILE:
            callback = request.query.get("c") or request.query.get("callback")
            if not callback:
                return _failure('"callback" parameter required', headers)
            if not is_callback(callback):
                return _failure('invalid "callback" parameter', headers)
            prelude = htmlfile_prelude(callback)
        if framing.method == "GET" and _is_embedded_elsewhere(request):
            return web.Response(status=403, headers=headers, text="Not for pages of another origin\n")
        key = request.match_info["session"]
        if len(key) > _LONGEST_ID:
            return web.Response(status=404, headers=headers)
        elsewhere: web.Response | None = await self._elsewhere(request, key)
        if elsewhere is not None:
            return elsewhere
        headers = self._headers_of(request, headers, framing)
        mark = self._mark(request)
        session = self.sessions.get(key)
        if session is None:
            refusal = await self.check(request, headers)
            if refusal is not None:
                return refusal
            if key in self.sessions:  # meanwhile
                return web.Response(status=409, headers=headers)
            session = SockJSSession(self, key, mark, f"sockjs {framing.name}")
            connection: Any = self.open(request, session)
            connection.answers = False
            self._begin(connection)
        elif session.mark != mark:
            return web.Response(status=404, headers=headers)
        last = session.last_words or (_STILL_OPEN if session.is_received else "") or session.last_words
        if framing.streams:
            stream = Stream(
                request,
                framing,
                session=None if last else session,
                prelude=prelude,
                limit=self._limit,
                patience=self.options.ping_interval + self.options.ping_timeout,
                last_words=last,
            )
            if not last:
                session.attach(stream)
            return StreamAnswer(request, stream, headers)
        if last:
            return web.Response(body=framing.wrap(last).encode(), headers=headers)
        return await self._poll(session, request, headers)

    async def _poll(self, session: SockJSSession, request: web.Request, headers: dict[str, str]) -> web.Response:
        """Answer a poll with the next frame."""
        poll = Poll(request, XHR)
        session.attach(poll)
        try:
            body = await poll.answer
        except asyncio.CancelledError:
            session.lose(poll)
            raise
        if request.transport is None:  # these messages will not arrive, so the session must not go on as if they had
            session.lose(poll)
        return web.Response(body=body, headers=headers)

    async def _take(self, request: web.Request, headers: dict[str, str]) -> web.Response:
        """Serve the messages that a client sends."""
        key = request.match_info["session"]
        elsewhere: web.Response | None = await self._elsewhere(request, key)
        if elsewhere is not None:
            return elsewhere
        headers = {**self._headers_of(request, headers, None), hdrs.CONTENT_TYPE: "text/plain; charset=UTF-8"}
        session = self.sessions.get(key)
        if session is None:
            self._tell_of_unknown(request, key)
        connection = None if session is None else session.connection
        if session is None or connection is None or session.mark != self._mark(request) or not connection.is_open:
            return web.Response(status=404, headers=headers)
        if any(coding.strip() not in ("", "identity") for coding in request.headers.getall("Content-Encoding", ())):
            return _closing(web.Response(status=415, headers=headers))
        if session.is_sending:
            return _closing(web.Response(status=409, headers=headers, text="Another request sends still\n"))
        session.is_sending = True
        try:
            return await self._hand_over(request, session, connection, headers)
        except TimeoutError:
            connection.fail(DisconnectReason.TRANSPORT_ERROR)
            return _closing(web.Response(status=408, headers=headers))
        finally:
            session.is_sending = False

    def forget(self, key: str) -> None:
        """Forget a session, but not that it was here."""
        del self.sessions[key]
        self._ended.pop(key, None)
        self._ended[key] = None
        if len(self._ended) > _MOST_ENDED:
            del self._ended[next(iter(self._ended))]

    def _tell_of_unknown(self, request: web.Request, key: str) -> None:
        """Count a request for a session that is not here, and log it if that was never here."""
        add(self.entrance.table.counts.requests_refused, "session_id_unknown")
        if key not in self._ended:
            _not_here(extra={"address": request.remote})

    async def _hand_over(
        self, request: web.Request, session: SockJSSession, connection: Any, headers: dict[str, str]
    ) -> web.Response:
        """Read a body, and have its messages served, a part of them at a time."""
        await connection.ready_to_read()
        body = await self.read_body(request, connection)
        if body is None:
            connection.fail_of_size()
            return _closing(web.Response(status=413, headers=headers))
        session.received += len(body)
        if not body:
            return _failure("Payload expected.", headers)
        try:
            messages = read_messages(body, most=self.limits.max_items)
        except DecodeError as error:
            return _failure(str(error), headers)
        weight = sum(map(getsizeof, messages))
        connection.arrive(weight)
        try:
            for number, message in enumerate(messages, 1):
                if not connection.is_open:
                    break
                connection.receive(message)
                if not number % _AT_ONCE:
                    connection.park()
                    await connection.ready_to_read()
        finally:
            connection.arrive(-weight)
        return web.Response(status=204, headers=headers)

    async def _elsewhere(self, request: web.Request, key: str) -> Any:
        """Have the worker of a session answer. Return what the handler is to return; ``None``: it is this one."""
        return await forward_by_key(request, key)

    def _mark(self, request: web.Request) -> object:
        """Return what all requests of a session have in common: the credentials that they come with."""
        query = tuple(sorted((name, value) for name, value in request.query.items() if name not in _OF_ONE_REQUEST))
        bound = None if self._bind is None else self._bind(request)
        return query, request.headers.get("Authorization"), bound

    def _headers_of(self, request: web.Request, headers: Mapping[str, str], framing: Framing | None) -> dict[str, str]:
        """Make the headers of an answer for a session."""
        more = {**headers, **_NOT_CACHED}
        if framing is not None:
            more[hdrs.CONTENT_TYPE] = framing.content_type
        if framing is HTMLFILE:
            more["Content-Security-Policy"] = "default-src 'none'; script-src 'unsafe-inline'"
        if self._cookie_needed:
            name = request.cookies.get("JSESSIONID", "dummy")
            more[hdrs.SET_COOKIE] = f"JSESSIONID={name if re.fullmatch(r'[!-:<-~]{1,256}', name) else 'dummy'}; Path=/"
        return more


async def _greet(request: web.Request, headers: dict[str, str]) -> web.Response:
    if request.method not in ("GET", "HEAD"):
        return web.Response(status=405, headers={**headers, "Allow": "GET, HEAD, OPTIONS"})
    more = {**headers, hdrs.CONTENT_TYPE: "text/plain; charset=UTF-8"}
    return web.Response(body=b"Welcome to SockJS!\n", headers=more)


async def _refuse_jsonp(request: web.Request, headers: dict[str, str]) -> web.Response:
    return _closing(web.Response(status=404, headers={**headers, "X-Content-Type-Options": "nosniff"}, text=_JSONP))


def _is_embedded_elsewhere(request: web.Request) -> bool:
    """Tell whether a page of another origin loads this as a script, a picture or a frame, which has no ``Origin``."""
    return "Origin" not in request.headers and request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site")


def _failure(message: str, headers: Mapping[str, str]) -> web.Response:
    """Make the answer to a wrong request: 500, as the protocol has it."""
    more = {**headers, **_NOT_CACHED, hdrs.CONTENT_TYPE: "text/plain; charset=UTF-8"}
    return web.Response(status=500, headers=more, body=message.encode())


def _cached(seconds: int) -> dict[str, str]:
    return {"Cache-Control": f"public, max-age={seconds}", "Expires": formatdate(time() + seconds, usegmt=True)}


def _closing(response: web.Response) -> web.Response:
    """Have the TCP connection closed behind a response: what follows was not read."""
    response.force_close()
    return response
