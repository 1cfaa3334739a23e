"""HTTP as aiohttp's server speaks it; requests may be served where they are read, and heads have to come in time."""

from __future__ import annotations

import logging
from asyncio import TimerHandle
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMethod, ContentEncodingError, HttpProcessingError, LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.log import access_logger
from aiohttp.tcp_helpers import tcp_keepalive
from aiohttp.web_log import AccessLogger

from ...logs import ThrottledLog
from ..closed_transport import release
from .canonical import LARGEST, MOST_HEADERS, read
from .detach import Answered
from .direct import Poll, Post
from .last_response import LastResponse

if TYPE_CHECKING:
    from asyncio import BaseTransport, Transport
    from collections.abc import Callable

    from aiohttp import StreamReader

    from .answers import Send
    from .direct import DirectRoute, Served

log: Final = logging.getLogger("rtframework.engine")

_too_long: Final = ThrottledLog(
    log, logging.WARNING, "refused a request: its URL or a header is longer than %d bytes, see Limits.max_head_size"
)
_malformed: Final = ThrottledLog(log, logging.WARNING, "refused a request that cannot be read: %s")
_late: Final = ThrottledLog(
    log, logging.WARNING, "closed a connection: the head of a request took longer than %g s, see Limits.head_timeout"
)

_BLOCKED: Final = 0.5
"""Seconds by which the event loop is late when something has blocked it: then the client has its time anew."""

_END: Final = b"\r\n\r\n"
_NOTHING: Final[Any] = ()
_NO_WRITER_AND_TASK: Final[Any] = (None, None)
_LATE: Final = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class HttpProtocol(web.RequestHandler):
    """One connection: the head of a request has to arrive in time, and one that cannot be read is told quietly."""

    __slots__ = ("_body", "_is_clean", "_left", "_unparsed", "head_timer", "on_response", "poll", "post")

    head_timer: TimerHandle | None
    """Ends the time of a head, or of a ``post``. An ``HttpServer`` sets this and others: a constructor would cost."""
    on_response: Callable[[web.StreamResponse], None] | None
    """Called with the response to the request that is being served, when it has been written."""
    poll: Poll | None
    """The GET that waits without a task; its message, if it was parsed, is the first in the queue meanwhile."""
    post: Post | None
    """The POST whose body is on its way, without a task; it was not parsed."""
    _unparsed: bytes | None
    """The request that is served and was not parsed by aiohttp."""
    _is_clean: bool
    """True while aiohttp's parser is for certain between two requests."""
    _body: StreamReader | None
    """The body that is on its way."""
    _left: int
    """Bytes of it that have not come, if it has a length."""

    def sleep(self, server: HttpServer) -> None:
        """Begin without what only aiohttp's parser and task need, of which many connections need none."""
        self._manager = server
        self._loop = server._loop
        self._keepalive_timeout = server.keepalive_timeout
        self._next_keepalive_close_time = 0.0
        self._is_clean = self._keepalive = True
        self._messages = _NOTHING
        self._message_tail = b""
        self._cache = {}
        self._tcp_keepalive = self._logging_enabled = self._close = self._force_close = False
        self._request_in_progress = self._paused = self._upgraded = False
        self.transport = self._parser = self._waiter = self._task_handler = self._payload_parser = None
        self._current_request = self._keepalive_handle = self._drain_waiter = None
        self.head_timer = self.on_response = self.poll = self.post = self._unparsed = self._body = None
        self._left = 0

    def _wake(self, server: HttpServer) -> None:
        """Become what aiohttp knows."""
        transport, paused, waiter, cache = self.transport, self._paused, self._drain_waiter, self._cache
        close_time, handle, closes = self._next_keepalive_close_time, self._keepalive_handle, self._close
        force_closes = self._force_close
        server.wake(self)
        self.transport, self._paused, self._drain_waiter, self._cache = transport, paused, waiter, cache
        self._next_keepalive_close_time, self._keepalive_handle, self._close = close_time, handle, closes
        self._force_close = force_closes
        if self._tcp_keepalive and transport is not None:
            tcp_keepalive(transport)

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
        if is_idle and self._is_clean and self._serve_unparsed(data):
            return
        if self._unparsed is not None and data:
            if self.post is not None:
                self._go_on(self.post, data)
                return
            self._parse_unparsed()  # something comes behind a GET that waits
        if self._parse(data, may_be_clean=is_idle) or not is_idle:
            return
        if self._messages:
            if self.head_timer is not None:
                self._stop_timer()
            self._serve()
        elif self.head_timer is None and data and not self._force_close and not self._close:
            self.head_timer = self._loop.call_later(self._head_seconds, self._be_late)

    def _parse(self, data: bytes, *, may_be_clean: bool = False, is_whole: bool = False) -> bool:
        """Have aiohttp parse what has come. Its task is not to wake for what is served without it.

        Return whether that was put off. ``may_be_clean``: nothing waits; ``is_whole``: it is one request.
        """
        if self._parser is None and isinstance(self._manager, HttpServer):
            self._wake(self._manager)
        starts_clean, count = may_be_clean and self._is_clean, self._request_count
        waiter, self._waiter = self._waiter, None
        super().data_received(data)
        self._waiter = waiter
        made = self._request_count - count
        if data or made:
            self._is_clean = self._ends_request(data, made, starts_clean, is_whole)
        return False

    def _ends_request(self, data: bytes, made: int, starts_clean: bool, is_whole: bool) -> bool:
        """Tell whether the parser is for certain between two requests, behind what it has just been fed.

        ``made``: messages that it has made of that; ``starts_clean``: it was so before; ``is_whole``: one request.
        """
        body, self._body = self._body, None
        left, self._left = self._left, 0
        if self._upgraded or self._buffer_paused or self._reading_paused:
            return False
        if made:
            message, payload = self._messages[-1]
            if not isinstance(message, RawRequestMessage):
                return False
            if is_whole:
                return made == 1 and payload.is_eof()
            if made == 1 and starts_clean and not message.chunked:
                end = data.find(_END) + len(_END)
                # No parser sees the end of such a head anywhere else:
                if data[:1] > b" " and data.count(b"\n", 0, end) == data.count(b"\r\n", 0, end):
                    left = int(message.headers.get("Content-Length", "0")) - (len(data) - end)
                    if left <= 0:
                        return left == 0 and payload.is_eof()
                    self._body, self._left = payload, left
                    return False
        elif body is None:
            return False
        else:
            payload = body
            if left > 0:
                left -= len(data)
                if left <= 0:
                    return left == 0 and payload.is_eof()
                self._body, self._left = payload, left
                return False
        if not payload.is_eof():
            self._body = payload
            return False
        return data.endswith(_END)  # a head that had begun behind it would be whole now, and a message

    def _serve_unparsed(self, data: bytes) -> bool:
        """Serve a request as browsers write it, without aiohttp's parser. ``False``: nothing has happened."""
        manager = self._manager
        if self._logging_enabled or self._close or self._force_close or not isinstance(manager, HttpServer):
            return False
        request = read(data, self, manager.largest, manager.most_headers)
        route = None if request is None else manager.routes.get(request.path)
        if request is None or route is None:
            return False
        self._unparsed = data
        served: Served
        try:
            served = route.serve(cast("web.Request", request))
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
        elif isinstance(served, Post):
            self._stop_timer()
            self.post = served
            self.head_timer = self._loop.call_later(served.patience, self._leave_post)
        elif served is None:
            self._unparsed = None
            return False
        else:
            self._hand_over(served)
        return True

    def _go_on(self, post: Post, data: bytes) -> None:
        """Take more of the body that is on its way, and serve the request when it is whole."""
        served: Served
        try:
            served = post.feed(data)
        except Exception as error:
            if self._manager is None:
                raise
            served = partial(_fail, error)
        if served is post.send:
            self._leave_post()
            self._parse(data)  # by itself: if it cannot be read, what came before it has its answer
            return
        self._unparsed = (self._unparsed or b"") + data
        if served is None:
            return
        self._stop_timer()
        self.post = None
        if isinstance(served, Answered):
            self._end_request()
        else:
            self._hand_over(cast("Send", served))

    def _leave_post(self) -> None:
        """Have aiohttp's task read the body that is on its way."""
        self._stop_timer()
        post = self.post
        if post is not None:
            self._hand_over(post.send)
            self.post = None

    def _parse_unparsed(self) -> None:
        """Have aiohttp parse the request that is being served, for what it is to do with it."""
        data, self._unparsed = self._unparsed, None
        if data is not None:
            closes, self._close = self._close, False  # with which it parses nothing; this has begun before
            self._parse(data, may_be_clean=True, is_whole=self.post is None)
            self._close = closes

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
            self._hand_over(cast("Send | None", served))

    def _hand_over(self, send: Send | None = None) -> None:
        """Have aiohttp's task serve the first request; ``send`` goes on with it, if it has been begun."""
        self._parse_unparsed()
        if send is not None:
            self._request_handler = partial(self._serve_once, send)
        waiter = self._waiter
        if waiter is not None:
            waiter.set_result(None)
        else:
            self._task_handler = self._loop.create_task(self.start())

    async def start(self) -> None:
        """Serve what waits, unless the connection has ended before this task has begun."""
        if self._manager is not None:
            await super().start()

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
        if self._unparsed is not None:
            self._unparsed = None
        else:
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
        transport = self.transport
        super().connection_lost(exc)
        release(transport)
        poll, self.poll = self.poll or self.post, None
        self.post = None
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
        if self._messages or self._unparsed is not None:
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


class HttpServer(web.Server):
    """aiohttp's server with another protocol for each connection."""

    protocol_class: type[HttpProtocol] = HttpProtocol

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
        self.largest = min(LARGEST, self._kwargs["max_line_size"], self._kwargs["max_field_size"])
        """Bytes of the head of a request that need not be parsed by aiohttp."""
        self.most_headers = min(MOST_HEADERS, self._kwargs.get("max_headers", MOST_HEADERS))
        """Headers of such a request."""
        self._wakes_late = bool(routes)
        self._has_made_one = False
        """True when it is known that there are no other arguments than aiohttp's."""

    def __call__(self) -> web.RequestHandler:
        """Make the protocol of a connection."""
        log = self._access_log
        is_quiet = log is not None and not log.isEnabledFor(logging.INFO)
        if self._has_made_one and self._wakes_late and (is_quiet or self._kwargs.get("access_log", log) is None):
            protocol = self.protocol_class.__new__(self.protocol_class)
            protocol.sleep(self)
            return protocol
        try:
            protocol = self.protocol_class(self, loop=self._loop, **(self._without_log if is_quiet else self._kwargs))
        except TypeError:  # an argument that there is not: aiohttp warns, and does without it
            return super().__call__()
        protocol.head_timer = protocol.on_response = protocol.poll = protocol.post = None
        protocol._unparsed = protocol._body = None
        protocol._left = 0
        protocol._is_clean = self._has_made_one = True
        return protocol

    @property
    def keepalive_timeout(self) -> float:
        """Seconds that a connection may be idle."""
        seconds: float = self._kwargs["keepalive_timeout"]
        return seconds

    def wake(self, protocol: HttpProtocol) -> None:
        """Give a protocol that sleeps all that aiohttp's has: a parser, and thirty attributes more."""
        web.RequestHandler.__init__(protocol, self, loop=self._loop, **self._without_log)


def _path_of(target: str) -> str:
    return target.partition("?")[0]


def _is_odd(message: RawRequestMessage) -> bool:
    """Return whether a request is left to aiohttp, which knows about all of HTTP."""
    return message.should_close or message.chunked or message.compression is not None or "Expect" in message.headers


async def _fail(error: Exception, request: web.BaseRequest) -> web.StreamResponse:
    raise error
