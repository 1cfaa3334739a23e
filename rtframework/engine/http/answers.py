"""Answers of the protocol to its requests, before they are sent: middleware and listeners may still change them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from aiohttp import web

from ..transports.polling import BINARY, TEXT
from .detach import Answered, can_write, has_hooks, has_middlewares, header_line, lines_of, run_hooks, write
from .protocol import HttpProtocol

_OK: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n"
_PAYLOADS: Final = {
    content_type: b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nCache-Control: no-store\r\n" % content_type.encode()
    for content_type in (TEXT, BINARY)
}
_SWITCHING: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
)

Send: TypeAlias = Callable[[Any], Awaitable[web.StreamResponse]]
"""A handler for aiohttp, which sends an answer that is there already, or makes it with the task that it needs."""

Begin = Callable[[bytes], web.StreamResponse]
"""Takes a TCP connection over, with the bytes that answer its request; returns what aiohttp's handler is to return."""


class UnsentResponse(web.Response):
    """An answer as a response, for middleware and header listeners to change."""

    answer: Answer
    is_sent = False
    """True once the response has been written to its end."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Write the end of the body."""
        await super().write_eof(data)
        self.is_sent = True

    def see(self, sent: web.StreamResponse) -> None:
        """See another response sent in its place: middleware may have copied it."""
        if (
            isinstance(sent, web.Response)
            and sent.status == self.status
            and sent.body == self.body
            and (sent.content_type == self.content_type or self.content_type != BINARY)
        ):
            self.is_sent = True


class Answer:
    """The protocol's answer to a request: sent as it is, or as a response that has been changed."""

    __slots__ = ()

    def response(self) -> UnsentResponse:
        """Make a response of it, to be changed and then given to :meth:`send_changed`."""
        response = self._make()
        response.answer = self
        return response

    def write(self, request: web.Request) -> Answered | None:
        """Write it at once and in one piece, if that may be done and nobody has anything to add; else do nothing."""
        return None

    def write_or_send(self, request: web.Request) -> Answered | Send:
        """Write it, or return what sends it when there is a task to do so."""
        written = self.write(request)
        return self.send if written is None else written

    async def send(self, request: web.Request) -> web.StreamResponse:
        """Send it as it is. Return what the request's handler is to return."""
        written = self.write(request)
        return self._make() if written is None else written

    async def send_changed(self, request: web.Request, response: UnsentResponse) -> web.StreamResponse:
        """Send the response made of it. Return what the request's handler is to return."""
        if has_middlewares(request):
            return response  # aiohttp sends it when they are done with it
        if "Upgrade" in request.headers:
            response.force_close()  # see HttpProtocol.finish_response
        try:
            await response.prepare(request)
            await response.write_eof()
        except BaseException as error:
            self.lose()
            if not isinstance(error, ConnectionError):
                raise
        return response

    def lose(self) -> None:
        """Give up what the client will not get: its session must not go on as if it had."""

    def _make(self) -> UnsentResponse:
        raise NotImplementedError


class Accepted(Answer):
    """The answer to a POST whose packets were taken."""

    __slots__ = ("_headers",)

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def write(self, request: web.Request) -> Answered | None:
        """Write it at once and in one piece, if that may be done and nobody has anything to add; else do nothing."""
        return write(request, _OK, self._headers, b"ok") if can_write(request) else None

    def _make(self) -> UnsentResponse:
        return UnsentResponse(text="ok", content_type="text/html", headers=self._headers)


class Opening(Answer):
    """The answer to a handshake by polling: a payload with the open packet."""

    __slots__ = ("_body", "_coding", "_content_type", "_headers", "_on_loss")

    def __init__(
        self,
        body: bytes,
        headers: Mapping[str, str],
        *,
        coding: web.ContentCoding | None,
        on_loss: Callable[[], None],
        content_type: str = TEXT,
    ) -> None:
        self._body = body
        self._headers = headers
        self._coding = coding
        self._on_loss = on_loss
        self._content_type = content_type

    def lose(self) -> None:
        """Have the session of the packets end."""
        self._on_loss()

    def write(self, request: web.Request) -> Answered | None:
        """Write it at once and in one piece, if it need not be compressed, and nobody has anything to add to it."""
        if self._coding is None and can_write(request):
            return write(request, _PAYLOADS[self._content_type], self._headers, self._body)
        return None

    def _make(self) -> UnsentResponse:
        headers = {**self._headers, "Content-Type": self._content_type, "Cache-Control": "no-store"}
        response = UnsentResponse(body=self._body, headers=headers)
        if self._coding is not None:
            response.enable_compression(self._coding)
        return response


class Payload(Opening):
    """The answer to a GET: the packets that waited. If they are lost, so is the session.

    ``handed_over`` is told of the response when it is left to aiohttp and to the application's middleware, which may
    replace it: nobody says what became of it.
    """

    __slots__ = ("_handed_over",)

    def __init__(
        self,
        body: bytes,
        headers: Mapping[str, str],
        *,
        coding: web.ContentCoding | None,
        on_loss: Callable[[], None],
        handed_over: Callable[[UnsentResponse], None],
        content_type: str,
    ) -> None:
        super().__init__(body, headers, coding=coding, on_loss=on_loss, content_type=content_type)
        self._handed_over = handed_over

    async def send(self, request: web.Request) -> web.StreamResponse:
        """Send it as it is. Return what the request's handler is to return."""
        written = self.write(request)
        return await self.send_changed(request, self._make()) if written is None else written

    async def send_changed(self, request: web.Request, response: UnsentResponse) -> web.StreamResponse:
        """Send the response made of it. Return what the request's handler is to return."""
        if has_middlewares(request):
            self._handed_over(response)
            if isinstance(request.protocol, HttpProtocol):
                request.protocol.on_response = response.see
        return await super().send_changed(request, response)


class Switching(Answer):
    """The answer to the handshake of a websocket (RFC 6455, 4.2), with which aiohttp gives the TCP connection away.

    ``begin`` takes it over; ``lines`` are headers of the protocol's own. ``request`` is the one that middleware has
    passed on: it may have another address of the client than the one that aiohttp has.
    """

    __slots__ = ("_accept", "_begin", "_lines", "_request")

    def __init__(self, request: web.Request, accept: str, lines: list[tuple[str, str]], begin: Begin) -> None:
        self._request = request
        self._accept = accept
        self._lines = lines
        self._begin = begin

    async def send(self, request: web.Request) -> web.StreamResponse:
        """Send it, with the headers that applications on the way add."""
        return await self._switch(None)

    async def send_changed(self, request: web.Request, response: UnsentResponse) -> web.StreamResponse:
        """Send it, with the headers of the response."""
        return await self._switch(response)

    async def _switch(self, response: UnsentResponse | None) -> web.StreamResponse:
        request = self._request
        if has_hooks(request):
            more = await run_hooks(request, response or Answered(101))
        else:
            more = lines_of(response) if response is not None else []
        return self.send_at_once(more)

    def send_at_once(self, more: Sequence[tuple[str, str]] = ()) -> web.StreamResponse:
        """Send it, with these headers of others."""
        transport = self._request.transport
        if transport is None or transport.is_closing():
            return web.Response(status=400)  # nobody will read it
        lines = b"".join(map(header_line, (*self._lines, *more))) if self._lines or more else b""
        return self._begin(b"%b%b\r\n%b\r\n" % (_SWITCHING, self._accept.encode(), lines))

    def _make(self) -> UnsentResponse:
        return UnsentResponse(status=101)
