"""Requests that receive frames of SockJS: polls, which one frame answers, and streams, straight to the socket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiohttp import HttpVersion11, web

from ..engine.closed_transport import release
from ..engine.http.detach import limit_silence, take_over
from .event_stream import LAST_CHUNK, chunk

if TYPE_CHECKING:
    from .sockjs_frames import Framing
    from .sockjs_session import SockJSSession

_MOST_IN: Final = 65_536
"""Bytes that a client may send behind its request, where nothing is expected."""
_MUCH: Final = 65_536
"""Bytes in the transport's buffer from which the client counts as one that does not read."""


class Poll:
    """A request that waits for one frame, which ``answer`` is: its body."""

    has_begun: Final = True
    is_full: Final = False

    def __init__(self, request: web.Request, framing: Framing) -> None:
        self._request = request
        self._framing = framing
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    @property
    def is_abandoned(self) -> bool:
        """True when its client has hung up without a word."""
        return self._request.transport is None

    def buffered(self) -> int:
        """Count no bytes: what is not sent stays in the outbox."""
        return 0

    def write(self, frame: str) -> bool:
        """Answer with a frame, which is the last."""
        if not self.answer.done():
            self.answer.set_result(self._framing.wrap(frame).encode())
        return False

    def end(self, frame: str) -> None:
        """Answer with the last frame."""
        self.write(frame)

    def abort(self) -> None:
        """Answer with nothing."""
        if not self.answer.done():
            self.answer.set_result(b"")


class Stream(asyncio.Protocol):
    """A response that ends after ``limit`` bytes: the asyncio protocol that aiohttp's gives way to.

    ``session``: the one that it is of, ``None`` for one that only says ``last_words``. ``patience``: seconds in which
    the client's kernel has to take what was sent.
    """

    def __init__(
        self,
        request: web.Request,
        framing: Framing,
        *,
        session: SockJSSession | None,
        prelude: str,
        limit: int,
        patience: float,
        last_words: str = "",
    ) -> None:
        self._request: web.Request | None = request
        self._transport: asyncio.Transport | None = None
        self._is_chunked = request.version >= HttpVersion11
        self._wrap = framing.wrap
        self._prelude = prelude.encode()
        self._session = session
        self._left = limit
        self._patience = patience
        self._last_words = last_words
        self._received = 0
        self.is_full = False

    def begin(self, request: web.Request, head: bytes) -> None:
        """Answer the request, take its connection over, and write what waits.

        Raises ``ConnectionResetError`` when the client has gone.
        """
        transport = request.transport
        rest = take_over(request, self, head)
        assert transport is not None
        self._request = None
        self._transport = transport
        transport.set_write_buffer_limits(high=_MUCH)
        limit_silence(transport, self._patience)
        self._received = len(rest)
        self._send(self._prelude)
        if self._session is not None:
            self._session.begin(self)
        else:
            self.end(self._last_words)

    # --- asyncio.Protocol ---------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Read what nobody expects."""
        self._received += len(data)
        if self._received > _MOST_IN:
            self.lose()
            self.abort()

    def eof_received(self) -> None:
        """Take it for the end: no client of HTTP goes on half-open."""
        self.lose()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything: TCP has ended."""
        self.lose()
        release(self._transport)

    def lose(self) -> None:
        """Tell the session that the client has gone."""
        session, self._session = self._session, None
        if session is not None:
            session.cut(self)

    def pause_writing(self) -> None:
        """Hear that the kernel does not take what is written."""
        self.is_full = True

    def resume_writing(self) -> None:
        """Hear that the kernel takes what is written again."""
        self.is_full = False
        if self._session is not None and self._session.connection is not None:
            self._session.connection.outbox.flush()

    # --- a receiver ---------------------------------------------------------------------------------------------------

    @property
    def has_begun(self) -> bool:
        """True when frames can be written to it."""
        return self._transport is not None

    @property
    def is_abandoned(self) -> bool:
        """True when its client has hung up before the response has begun: aiohttp tells nobody."""
        return self._request is not None and self._request.transport is None

    def buffered(self) -> int:
        """Count the bytes that the kernel has not taken yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def write(self, frame: str) -> bool:
        """Write a frame. ``False`` if it was the last: the browser keeps the whole response."""
        data = self._wrap(frame).encode()
        self._send(data)
        self._left -= len(data)
        if self._left > 0:
            return True
        self._finish()
        return False

    def end(self, frame: str) -> None:
        """Write the last frame, and end."""
        if self._transport is None:  # it begins with nothing else
            self._last_words = frame
        elif frame:
            self._send(self._wrap(frame).encode())
        self._finish()

    def abort(self) -> None:
        """Cut the TCP connection."""
        self._session = None
        transport = self._transport or (self._request.transport if self._request is not None else None)
        if transport is not None:
            transport.abort()

    def _send(self, data: bytes) -> None:
        transport = self._transport
        if transport is not None and data and not transport.is_closing():
            transport.write(chunk(data) if self._is_chunked else data)

    def _finish(self) -> None:
        self._session = None
        transport = self._transport
        if transport is not None and not transport.is_closing():
            if self._is_chunked:
                transport.write(LAST_CHUNK)
            transport.close()
