"""HTTP as aiohttp's server speaks it, with limits on the heads of requests, for all that an application serves.

aiohttp allows a URL or a header of 8 KB, a whole head of 1 MB, and as long as a client likes for it. Browsers send
larger cookies, and Node's server takes 16 KB.
"""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop, TimerHandle
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMethod, ContentEncodingError, HttpProcessingError, LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.log import access_logger
from aiohttp.tcp_helpers import tcp_keepalive
from aiohttp.web_log import AccessLogger

from ...logs import ThrottledLog
from ...options import Limits
from .direct import open_routes
from .last_response import LastResponse

if TYPE_CHECKING:
    from asyncio import BaseTransport, Transport
    from collections.abc import Callable

    from .direct import DirectRoute

log: Final = logging.getLogger("rtframework.engine")

KEEP_ALIVE: Final = 75.0
"""Seconds that a connection may be idle, unless the program passes ``keepalive_timeout``: as for ``web.run_app``."""

_too_long: Final = ThrottledLog(
    log, logging.WARNING, "refused a request: its URL or a header is longer than %d bytes, see Limits.max_head_size"
)
_malformed: Final = ThrottledLog(log, logging.WARNING, "refused a request that cannot be read: %s")
_late: Final = ThrottledLog(
    log, logging.WARNING, "closed a connection: the head of a request took longer than %g s, see Limits.head_timeout"
)

_BLOCKED: Final = 0.5
"""Seconds by which the event loop is late when something has blocked it: then the client has its time anew."""

_NO_WRITER_AND_TASK: Final[Any] = (None, None)
_LATE: Final = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


@dataclass
class _HeadLimits:
    """Bytes of a URL or a header, and seconds for a whole head."""

    size: int
    timeout: float


_LIMITS: Final = web.AppKey("rtframework_head_limits", _HeadLimits)


def limit_heads(app: web.Application, limits: Limits | None = None) -> None:
    """Limit the heads of requests for an application, however it is run, and close idle connections.

    ``Server.attach`` does so. For a server in a sub-application, call this with the outer application, which is the one
    that is run. Of several servers in an application, the largest limits count. What the program passes to
    ``web.run_app`` or ``web.AppRunner`` (``max_line_size``, ``max_field_size``, ``keepalive_timeout``) has precedence.

    Example::

        site = web.Application()
        limit_heads(site)
    """
    found = app.get(_LIMITS)
    if found is not None:
        if limits is not None:
            found.size = max(found.size, limits.max_head_size)
            found.timeout = max(found.timeout, limits.head_timeout)
        return
    limits = limits or Limits()
    app[_LIMITS] = _HeadLimits(limits.max_head_size, limits.head_timeout)
    # An application has no setting for the class that speaks HTTP, and its runners no other place to ask for one.
    vars(app)["_make_handler"] = partial(_make_server, app, app._make_handler)


def _make_server(
    app: web.Application, make: Callable[..., web.Server], *, loop: AbstractEventLoop | None = None, **kwargs: Any
) -> web.Server:
    """Make what runners serve an application with."""
    limits = app[_LIMITS]
    kwargs.setdefault("keepalive_timeout", KEEP_ALIVE)
    kwargs.setdefault("max_line_size", limits.size)
    kwargs.setdefault("max_field_size", limits.size)
    return HttpServer(make(loop=loop, **kwargs), limits.timeout, open_routes(app))  # make() has frozen it


class HttpServer(web.Server):
    """aiohttp's server with another protocol for each connection."""

    def __init__(self, server: web.Server, head_timeout: float, routes: dict[str, DirectRoute]) -> None:
        super().__init__(
            server.request_handler,
            request_factory=server.request_factory,
            handler_cancellation=server.handler_cancellation,
            loop=server._loop,
            **server._kwargs,
        )
        self.head_timeout = head_timeout
        """Seconds for the head of a request."""
        self.routes = routes
        """Routes that serve the first request of a connection, if it asks for a websocket, without aiohttp."""
        log = self._kwargs.get("access_log", access_logger)
        is_usual = self._kwargs.get("access_log_class", AccessLogger) is AccessLogger
        self._access_log: logging.Logger | None = log if is_usual and isinstance(log, logging.Logger) else None
        self._without_log = {**self._kwargs, "access_log": None}

    def __call__(self) -> web.RequestHandler:
        """Make the protocol of a connection."""
        log = self._access_log
        kwargs = self._kwargs if log is None or log.isEnabledFor(logging.INFO) else self._without_log
        try:
            protocol = HttpProtocol(self, loop=self._loop, **kwargs)
        except TypeError:  # an argument that there is not: aiohttp warns, and does without it
            return super().__call__()
        protocol.head_timer = protocol.on_response = None
        return protocol


class HttpProtocol(web.RequestHandler):
    """One connection: the head of a request has to arrive in time, and one that cannot be read is told quietly."""

    __slots__ = ("head_timer", "on_response")

    head_timer: TimerHandle | None
    """Ends the time of a head that has begun. An ``HttpServer`` sets this and the next: a constructor would cost."""
    on_response: Callable[[web.StreamResponse], None] | None
    """Called with the response to the request that is being served, when it has been written."""

    def connection_made(self, transport: BaseTransport) -> None:
        """Begin as aiohttp does, but with its task when there is a request for it, and without ``TCP_NODELAY``.

        asyncio and uvloop have set that already.
        """
        self.transport = real = cast("Transport", transport)
        if self._tcp_keepalive:
            tcp_keepalive(real)
        assert self._manager is not None
        self._manager.connection_made(self, real)
        if self._keepalive_timeout > 0:
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
            self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)

    def data_received(self, data: bytes) -> None:
        """Parse what has come. The beginning of a head starts the time that it has."""
        is_first = not self._request_count
        super().data_received(data)
        if is_first and self._request_count:
            if self._serve_directly():
                return
            self._task_handler = self._loop.create_task(self.start())
        if self._waits:
            if self.head_timer is None and data:
                self.head_timer = self._loop.call_later(self._head_seconds, self._be_late)
        elif self.head_timer is not None:
            self._stop_timer()

    def _serve_directly(self) -> bool:
        """Serve the first request if it asks for a websocket where the program sees none; ``False`` if it does not."""
        message, payload = self._messages[0]
        manager = self._manager
        if self._logging_enabled or not (isinstance(message, RawRequestMessage) and message.upgrade):
            return False
        if not isinstance(manager, HttpServer):
            return False
        route = manager.routes.get(message.path.partition("?")[0])
        if route is None or "Expect" in message.headers:
            return False
        request: Any = manager.request_factory(message, payload, self, *_NO_WRITER_AND_TASK)
        route.match(request)
        try:
            response = route.serve(request)
        except Exception as error:
            if self._manager is None:
                raise
            self._request_handler = partial(_fail, error)
        else:
            if self._manager is None:  # the connection is another protocol's
                manager.requests_count += 1
                return True
            if response is not None:
                self._request_handler = partial(_respond, response)
        return False

    def connection_lost(self, exc: BaseException | None) -> None:
        """Clean up."""
        if self.head_timer is not None:
            self._stop_timer()
        super().connection_lost(exc)

    def leave(self) -> bytes:
        """Let go of the connection, which is another protocol's now. Return what has come behind the request.

        Only for a request that aiohttp does not serve.
        """
        rest, self._message_tail = self._message_tail, b""
        self.transport = None  # so that it is not closed
        self.connection_lost(None)
        return rest

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Write the response. Return it, and whether the client has gone."""
        on_response, self.on_response = self.on_response, None
        if "Upgrade" in request.headers and isinstance(resp, web.StreamResponse) and resp.status != 101:
            resp.force_close()  # what follows is no request, and would be answered as one
        resp, gone = await super().finish_response(request, resp, start_time)
        if on_response is not None and not gone:
            on_response(resp)
        return resp, gone

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a request that could not be read or served; for the first, neither log nor answer quotes it."""
        if status != 400 or not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        extra = {"address": request.remote}
        if isinstance(exc, LineTooLong):
            _too_long(self.max_field_size, extra=extra)
            return LastResponse(status=431)
        if isinstance(exc, BadHttpMethod):  # TLS, for one
            log.debug("refused a request that is no HTTP", extra=extra)
        else:
            _malformed(type(exc).__name__, extra=extra)
        return LastResponse(status=415 if isinstance(exc, ContentEncodingError) else 400)

    def _process_keepalive(self) -> None:
        """Close an idle connection; not one on which a head is on its way, nor because the event loop was blocked."""
        now = self._loop.time()
        if self.head_timer is None and now - self._next_keepalive_close_time <= _BLOCKED:
            super()._process_keepalive()
            if self._keepalive_handle is None and not self._request_count:  # aiohttp's task does not wait yet
                self.force_close()
            return
        self._next_keepalive_close_time = now + self._keepalive_timeout
        self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)

    @property
    def _head_seconds(self) -> float:
        """The seconds that a head has."""
        return self._manager.head_timeout if isinstance(self._manager, HttpServer) else 0.0

    @property
    def _waits(self) -> bool:
        """True while no request is served and none is complete: bytes are the beginning of a head.

        For a moment after each response, aiohttp's task does not wait yet: bytes that come in it do not start the time;
        those after them do.
        """
        return not self._request_count or (self._waiter is not None and not self._waiter.done())

    def _be_late(self) -> None:
        timer, self.head_timer = self.head_timer, None
        if timer is not None and self._loop.time() - timer.when() > _BLOCKED:  # the rest may wait unread
            self.head_timer = self._loop.call_later(self._head_seconds, self._be_late)
        elif self._waits and self.transport is not None:
            _late(self._head_seconds, extra={"address": (self.peername or ("",))[0]})
            self.transport.write(_LATE)
            self.force_close()

    def _stop_timer(self) -> None:
        if self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None


async def _respond(response: web.StreamResponse, request: web.BaseRequest) -> web.StreamResponse:
    return response


async def _fail(error: Exception, request: web.BaseRequest) -> web.StreamResponse:
    raise error
