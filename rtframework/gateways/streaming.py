"""Responses that do not end: their head, with which aiohttp gives the TCP connection away."""

from __future__ import annotations

from email.utils import formatdate
from typing import TYPE_CHECKING, Protocol

from aiohttp import HttpVersion11, web

from ..engine.http.answers import Answer, UnsentResponse
from ..engine.http.detach import Answered, has_hooks, header_line, lines_of, run_hooks

if TYPE_CHECKING:
    from collections.abc import Mapping


class Stream(Protocol):
    """A response that takes the TCP connection over from aiohttp."""

    def begin(self, request: web.Request, head: bytes) -> None:
        """Answer the request. Raises ``ConnectionResetError`` when the client has gone."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Hear that the client has gone, and let go of everything."""


class StreamAnswer(Answer):
    """The head of a response that is a stream from then on, with what middleware and listeners have added."""

    __slots__ = ("_headers", "_request", "_stream")

    def __init__(self, request: web.Request, stream: Stream, headers: Mapping[str, str]) -> None:
        self._request = request
        self._stream = stream
        self._headers = headers

    async def send(self, request: web.Request) -> web.StreamResponse:
        """Send it, with the headers that applications on the way add."""
        return await self._begin(self._make())

    async def send_changed(self, request: web.Request, response: UnsentResponse) -> web.StreamResponse:
        """Send it, with the headers of the response."""
        return await self._begin(response)

    def lose(self) -> None:
        """End the stream, which will not begin."""
        self._stream.connection_lost(None)

    async def _begin(self, response: UnsentResponse) -> web.StreamResponse:
        try:
            return await self._send_head(response)
        except ConnectionResetError:
            self.lose()
            return web.Response(status=400)  # nobody will read it
        except BaseException:
            self.lose()
            raise

    async def _send_head(self, response: UnsentResponse) -> web.StreamResponse:
        request = self._request
        lines = await run_hooks(request, response) if has_hooks(request) else lines_of(response)
        is_chunked = request.version >= HttpVersion11
        head = b"HTTP/%b 200 OK\r\n%bDate: %b\r\n%bConnection: close\r\n\r\n" % (
            b"1.1" if is_chunked else b"1.0",
            b"".join(map(header_line, lines)),
            formatdate(usegmt=True).encode(),
            b"Transfer-Encoding: chunked\r\n" if is_chunked else b"",
        )
        self._stream.begin(request, head)
        return Answered(200)

    def _make(self) -> UnsentResponse:
        return UnsentResponse(status=200, headers=self._headers)
