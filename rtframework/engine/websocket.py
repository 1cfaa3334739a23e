"""The websocket transport (Engine.IO v4, "WebSocket"): one packet per message, written straight to the socket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiohttp import WSCloseCode, WSMsgType, web

from ..types import DisconnectReason
from .frames import websocket_frame

if TYPE_CHECKING:
    from ..options import EngineOptions
    from ..protocols import Frames
    from .connection import Connection

_TEXT: Final = WSMsgType.TEXT
_BINARY: Final = WSMsgType.BINARY
_CLOSE_FRAME: Final = websocket_frame(8, WSCloseCode.OK.to_bytes(2, "big"))
_HOLD_FROM: Final = 65_536
"""Bytes in the transport's buffer from which frames stay in the outbox, where the oldest can be dropped."""
_RETRY: Final = 0.02
"""Seconds after which a transport that was full is tried again."""
_CLOSE_TIMEOUT: Final = 5.0
"""Seconds that a client may take to answer the closing handshake."""


class WebSocketTransport:
    """The websocket of one connection.

    Frames are written to aiohttp's socket as they are: server frames carry no mask (RFC 6455, 5.1), so one encoding
    serves all clients, and nothing has to be awaited. Reading, control frames and the closing handshake are aiohttp's.
    """

    __slots__ = ("_deflate", "_ended", "_hold_from", "_linger", "_retry", "_socket", "_transport", "connection")

    name: Final = "websocket"
    abandoned: Final = False
    connection: Connection

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport, options: EngineOptions) -> None:
        self._socket = socket
        self._transport = transport
        self._deflate: tuple[int, int, int] | None = None
        if options.per_message_deflate is not None and socket.compress:
            # What the client asked for, as aiohttp has agreed to it: the size of the window (RFC 7692, 7.1.2.1).
            self._deflate = (
                max(9, int(socket.compress)),  # zlib has no window of 8 bits
                options.per_message_deflate.threshold,
                options.per_message_deflate.level,
            )
        # What this transport has taken cannot be dropped any more.
        self._hold_from = _HOLD_FROM if options.limits.slow_consumer == "drop_oldest" else None
        self._retry: asyncio.TimerHandle | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._ended: asyncio.Future[None] | None = None

    @property
    def writable(self) -> bool:
        """Whether everything of the past has left the process."""
        return not self._transport.get_write_buffer_size()

    def buffered(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return self._transport.get_write_buffer_size()

    def write(self, frames: list[Frames]) -> bool:
        """Write all frames in one piece."""
        transport = self._transport
        if transport.is_closing():
            return True
        if self._hold_from is not None and transport.get_write_buffer_size() > self._hold_from:
            if self._retry is None:
                self._retry = self.connection.loop.call_later(_RETRY, self._try_again)
            return False
        if self._deflate is not None:
            transport.write(b"".join([each.deflated(*self._deflate) for each in frames]))
        else:
            transport.write(frames[0].websocket if len(frames) == 1 else b"".join([each.websocket for each in frames]))
        return True

    def _try_again(self) -> None:
        self._retry = None
        self.connection.outbox.flush()

    def release(self, frames: Frames) -> None:
        """Nobody waits here."""

    def close(self) -> None:
        """Begin the closing handshake (RFC 6455, 7.1.2); who reads sees its end.

        TCP is closed after the client has answered: closed at once, what the client sends meanwhile would make the
        kernel reset the connection, and what is on its way to the client would be lost.
        """
        if self._linger is None and not self._transport.is_closing():
            self._transport.write(_CLOSE_FRAME)
            self._linger = self.connection.loop.call_later(_CLOSE_TIMEOUT, self._transport.abort)

    def abort(self) -> None:
        """Cut the TCP connection."""
        self._transport.abort()

    async def read(self) -> None:
        """Read until the websocket ends. This is for the task of the HTTP request, which has to last as long."""
        ended = self._ended = self.connection.loop.create_future()
        await self.connection.digested()
        try:
            await self._read()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if ended.done() or task is None:
                raise
            task.uncancel()  # meant for the handler that ran here, while another task reads on
        await ended

    async def _read(self) -> None:
        connection = self.connection
        receive = self._socket.receive
        take = connection.take
        handed_over = False

        def hand_over() -> None:
            nonlocal handed_over
            handed_over = True
            connection.spawn(self._read())

        try:
            while True:
                if connection.busy:
                    await connection.ready_to_read()
                message = await receive()
                if message.type is not _TEXT and message.type is not _BINARY:
                    break
                started = take(message.data)
                if started is not None:
                    await connection.run(started, hand_over)
                    if handed_over:
                        return
            failed = message.type is WSMsgType.ERROR
            connection.lost(DisconnectReason.TRANSPORT_ERROR if failed else DisconnectReason.TRANSPORT_CLOSE)
            if self._linger is None:
                await self._socket.close(drain=False)
                await asyncio.sleep(0)  # uvloop writes at the end of a turn
                if self._transport.get_write_buffer_size():
                    # It has said goodbye and does not read: closing would wait for it to do so, for ever.
                    self._transport.abort()
        finally:
            if not handed_over:
                self._end()

    def _end(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._transport.close()  # both sides have said that it is over
        # Nothing is to wait for the garbage collector: a full collection is what connections cost most.
        self.connection.without_transport()
        error = self._socket.exception()
        if error is not None:
            error.__traceback__ = error.__context__ = None
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)


async def probe(socket: web.WebSocketResponse, connection: Connection) -> bool:
    """The dance of Engine.IO v4, "Upgrade": True when the client has moved over to this websocket."""
    message = await socket.receive()
    if message.type is not _TEXT or message.data != "2probe":
        return False
    await socket.send_str("3probe")
    connection.release_poll()
    message = await socket.receive()
    return message.type is _TEXT and message.data == "5"
