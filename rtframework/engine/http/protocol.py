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
from aiohttp.http_writer import StreamWriter
from aiohttp.tcp_helpers import tcp_keepalive

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
        self._head_timeout = head_timeout
        self.routes = routes
        """Routes that serve the first request of a connection, if it asks for a websocket, without aiohttp."""

    def __call__(self) -> web.RequestHandler:
        """Make the protocol of a connection."""
        try:
            return HttpProtocol(self, self._head_timeout, loop=self._loop, **self._kwargs)
        except TypeError:  # an argument that there is not: aiohttp warns, and does without it
            return super().__call__()


class HttpProtocol(web.RequestHandler):
    """One connection: the head of a request has to arrive in time, and one that cannot be read is told quietly."""

    __slots__ = ("_head_timeout", "_head_timer", "on_response")

    def __init__(self, server: web.Server, head_timeout: float, *, loop: AbstractEventLoop, **kwargs: Any) -> None:
        super().__init__(server, loop=loop, **kwargs)
        self._head_timeout = head_timeout
        self._head_timer: TimerHandle | None = None
        self.on_response: Callable[[web.StreamResponse], None] | None = None
        """Called with the response to the request that is being served, when it has been written."""

    def connection_made(self, transport: BaseTransport) -> None:
        """Begin as aiohttp does, but with its task when there is a request for it, and without ``TCP_NODELAY``.

        asyncio and uvloop have set that already.
        """
        self.transport = cast("Transport", transport)
        if self._tcp_keepalive:
            tcp_keepalive(self.transport)
        assert self._manager is not None
        self._manager.connection_made(self, self.transport)
        if self._keepalive_timeout > 0:
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
            self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)

    def data_received(self, data: bytes) -> None:
        """Parse what has come. The beginning of a head starts the time that it has."""
        is_first = not self._request_count
        super().data_received(data)
        if not self._request_count:
            if self._head_timer is None and data:
                self._head_timer = self._loop.call_later(self._head_timeout, self._be_late)
            return
        if is_first and self._serve_directly():
            return
        if is_first:
            self._task_handler = self._loop.create_task(self.start())
        if self._waits:
            if self._head_timer is None and data:
                self._head_timer = self._loop.call_later(self._head_timeout, self._be_late)
        elif self._head_timer is not None:
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
        writer = StreamWriter(self, self._loop)
        request: Any = manager.request_factory(message, payload, self, writer, None)  # type: ignore[arg-type]  # no task
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
        if self._head_timer is not None:
            self._stop_timer()
        super().connection_lost(exc)

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
        if self._head_timer is None and now - self._next_keepalive_close_time <= _BLOCKED:
            super()._process_keepalive()
            if self._keepalive_handle is None and not self._request_count:  # aiohttp's task does not wait yet
                self.force_close()
            return
        self._next_keepalive_close_time = now + self._keepalive_timeout
        self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)

    @property
    def _waits(self) -> bool:
        """True while no request is served and none is complete: bytes are the beginning of a head.

        For a moment after each response, aiohttp's task does not wait yet: bytes that come in it do not start the time;
        those after them do.
        """
        return not self._request_count or (self._waiter is not None and not self._waiter.done())

    def _be_late(self) -> None:
        timer, self._head_timer = self._head_timer, None
        if timer is not None and self._loop.time() - timer.when() > _BLOCKED:  # the rest may wait unread
            self._head_timer = self._loop.call_later(self._head_timeout, self._be_late)
        elif self._waits and self.transport is not None:
            _late(self._head_timeout, extra={"address": (self.peername or ("",))[0]})
            self.transport.write(_LATE)
            self.force_close()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


async def _respond(response: web.StreamResponse, request: web.BaseRequest) -> web.StreamResponse:
    return response


async def _fail(error: Exception, request: web.BaseRequest) -> web.StreamResponse:
    raise error
