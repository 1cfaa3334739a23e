"""The websocket transport (Engine.IO v4, "WebSocket"): one packet per message, written straight to the socket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiohttp import WSCloseCode, WSMsgType, web

from ..types import DisconnectReason
from .frames import websocket_frame

if TYPE_CHECKING:
    from ..protocols import Frames
    from .connection import Connection

_TEXT: Final = WSMsgType.TEXT
_BINARY: Final = WSMsgType.BINARY
_CLOSE_FRAME: Final = websocket_frame(8, WSCloseCode.OK.to_bytes(2, "big"))
_CLOSE_TIMEOUT: Final = 5.0
"""Seconds that a client may take to answer the closing handshake."""


class WebSocketTransport:
    """The websocket of one connection.

    Frames are written to aiohttp's socket as they are: server frames carry no mask (RFC 6455, 5.1), so one encoding
    serves all clients, and nothing has to be awaited. Reading, control frames and the closing handshake are aiohttp's.
    """

    __slots__ = ("_ended", "_linger", "_socket", "_transport", "connection")

    name: Final = "websocket"
    abandoned: Final = False
    connection: Connection

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport) -> None:
        self._socket = socket
        self._transport = transport
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
        if not self._transport.is_closing():
            self._transport.write(
                frames[0].websocket if len(frames) == 1 else b"".join([each.websocket for each in frames])
            )
        return True

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
        finally:
            if not handed_over:
                self._end()

    def _end(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._transport.close()  # both sides have said that it is over
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
