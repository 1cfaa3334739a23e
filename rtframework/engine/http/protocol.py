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
from .detach import Answered
from .direct import Poll, open_routes
from .last_response import LastResponse

if TYPE_CHECKING:
    from asyncio import BaseTransport, Transport
    from collections.abc import Callable

    from .answers import Send
    from .direct import DirectRoute, Served

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
        """Routes that serve requests without a task, if the program sees none of them."""
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
        protocol.head_timer = protocol.on_response = protocol.poll = None
        return protocol


class HttpProtocol(web.RequestHandler):
    """One connection: the head of a request has to arrive in time, and one that cannot be read is told quietly."""

    __slots__ = ("head_timer", "on_response", "poll")

    head_timer: TimerHandle | None
    """Ends the time of a head that has begun. An ``HttpServer`` sets this and the others: a constructor would cost."""
    on_response: Callable[[web.StreamResponse], None] | None
    """Called with the response to the request that is being served, when it has been written."""
    poll: Poll | None
    """The GET that waits without a task; its message is the first in the queue until it is answered."""

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
        """Parse what has come, and serve it. The beginning of a head starts the time that it has."""
        is_idle = self._is_idle
        waiter, self._waiter = self._waiter, None  # aiohttp's task is not to wake for what is served without it
        super().data_received(data)
        self._waiter = waiter
        if not is_idle:
            return
        if self._messages:
            if self.head_timer is not None:
                self._stop_timer()
            self._serve()
        elif self.head_timer is None and data and not self._force_close and not self._close:
            self.head_timer = self._loop.call_later(self._head_seconds, self._be_late)

    def _serve(self) -> None:
        """Serve the requests that have come on an idle connection: one without a task, if it may be."""
        message, payload = self._messages[0]
        manager = self._manager
        if (
            self._logging_enabled
            or len(self._messages) > 1
            or not isinstance(message, RawRequestMessage)
            or not isinstance(manager, HttpServer)
        ):
            self._hand_over()
            return
        route = manager.routes.get(_path_of(message.path))
        if route is None or not payload.is_eof() or _is_odd(message):
            self._hand_over()
            return
        request: Any = manager.request_factory(message, payload, self, *_NO_WRITER_AND_TASK)
        route.match(request)
        served: Served
        try:
            served = route.serve(request)
        except Exception as error:
            if self._manager is None:
                raise
            served = partial(_fail, error)
        if self._manager is None:  # the connection is another protocol's
            manager.requests_count += 1
        elif isinstance(served, Poll):
            self.poll = served
        elif isinstance(served, Answered):
            self._end_request()
        else:
            self._hand_over(served)

    def _hand_over(self, send: Send | None = None) -> None:
        """Have aiohttp's task serve the first request; ``send`` goes on with it, if it has been begun."""
        if send is not None:
            self._request_handler = partial(self._serve_once, send)
        waiter = self._waiter
        if waiter is not None:
            waiter.set_result(None)
        else:
            self._task_handler = self._loop.create_task(self.start())

    async def _serve_once(self, send: Send, request: web.Request) -> web.StreamResponse:
        """Serve one request by a handler of its own, those after it as usual."""
        manager = self._manager
        if isinstance(manager, HttpServer):
            self._request_handler = manager.request_handler
            manager.routes[_path_of(request.raw_path)].match(request)
        return await send(request)

    def end_poll(self, served: Answered | Send) -> None:
        """Go on behind the GET that waits: it has been answered, or is to be, by aiohttp."""
        poll, self.poll = self.poll, None
        if (
            poll is not None
            and (self.transport is None or self.transport.is_closing())
            and not isinstance(served, Answered)
        ):
            poll.lose()
        elif isinstance(served, Answered):
            self._end_request()
        else:
            self._hand_over(served)

    def _end_request(self) -> None:
        """Forget the first request, which has been answered without a task, and go on."""
        self._messages.popleft()
        if self._parser is not None:
            self._parser.message_consumed()
        if self._manager is not None:
            self._manager.requests_count += 1
        if self._close and self.transport is not None:  # the server stops
            self.transport.close()
            return
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)
        if self._messages:  # sent before the answer
            self._hand_over()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Clean up."""
        if self.head_timer is not None:
            self._stop_timer()
        super().connection_lost(exc)
        poll, self.poll = self.poll, None
        if poll is not None:
            poll.lose()

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
            if self._keepalive_handle is None and self._waiter is None and self._is_idle:  # without a task
                self.force_close()
            return
        self._next_keepalive_close_time = now + self._keepalive_timeout
        self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)

    @property
    def _head_seconds(self) -> float:
        """The seconds that a head has."""
        return self._manager.head_timeout if isinstance(self._manager, HttpServer) else 0.0

    @property
    def _is_idle(self) -> bool:
        """True while no request is served and none is complete: bytes are the beginning of a head.

        For a moment after each response, aiohttp's task does not wait yet: bytes that come in it do not start the time;
        those after them do.
        """
        if self._messages:
            return False
        return self._task_handler is None or (self._waiter is not None and not self._waiter.done())

    def _be_late(self) -> None:
        timer, self.head_timer = self.head_timer, None
        if timer is not None and self._loop.time() - timer.when() > _BLOCKED:  # the rest may wait unread
            self.head_timer = self._loop.call_later(self._head_seconds, self._be_late)
        elif self._is_idle and self.transport is not None:
            _late(self._head_seconds, extra={"address": (self.peername or ("",))[0]})
            self.transport.write(_LATE)
            self.force_close()

    def _stop_timer(self) -> None:
        if self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None


def _path_of(target: str) -> str:
    return target.partition("?")[0]


def _is_odd(message: RawRequestMessage) -> bool:
    """Return whether a request is left to aiohttp, which knows about all of HTTP."""
    return message.should_close or message.chunked or message.compression is not None or "Expect" in message.headers


async def _fail(error: Exception, request: web.BaseRequest) -> web.StreamResponse:
    raise error
