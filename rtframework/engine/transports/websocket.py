"""The websocket transport (Engine.IO v4, "WebSocket"): one packet per message, straight from and to the socket."""

from __future__ import annotations

import asyncio
import math
import socket
from typing import TYPE_CHECKING, Final

from ...types import DisconnectReason
from ..closed_transport import release
from ..frames import EncodedFrames, websocket_frame
from ..inbound import LARGE
from .nothing import NOBODY
from .rfc6455 import CLOSE, NORMAL, PING, PONG, TOO_BIG, FrameError, FrameReader

if TYPE_CHECKING:
    from ...options import EngineOptions
    from ...protocols import Frames
    from ..interfaces import Carried, PacketReceiver

_CLOSE_FRAME: Final = websocket_frame(CLOSE, NORMAL.to_bytes(2, "big"))
_CLOSE_TIMEOUT: Final = 5.0
"""Seconds that a client may take to answer the closing handshake, or to take what was still sent to it."""
_TCP_INFO: Final[int | None] = getattr(socket, "TCP_INFO", None)
_LEFT: Final = (7, 8)
"""CLOSE and CLOSE_WAIT among the states of TCP, as Linux numbers them."""
_MUCH: Final = 65_536
"""Bytes in the transport's buffer from which the client counts as one that does not read."""


class WebSocketTransport(asyncio.Protocol):
    """The websocket of one connection: the asyncio protocol that aiohttp's gives way to after the handshake.

    Frames are written as they are: server frames carry no mask (RFC 6455, 5.1), so one encoding serves all clients, and
    nothing has to be awaited. ``leaving`` holds those whose connection has ended, or has not begun, until TCP has.
    """

    __slots__ = (
        "_closing",
        "_deflate",
        "_full",
        "_held",
        "_holds",
        "_leaving",
        "_more",
        "_paused",
        "_ping",
        "_reader",
        "_receiver",
        "_transport",
        "connection",
        "deadline",
        "received",
    )

    name: str = "websocket"
    abandoned: Final = False

    def __init__(
        self,
        transport: asyncio.Transport,
        options: EngineOptions,
        leaving: set[WebSocketTransport],
        window: int | None = None,
    ) -> None:
        self.connection: Carried | None = None
        self._transport = transport
        self._receiver: PacketReceiver = NOBODY
        """The receiver of the packets, while they are taken, and of the end."""
        limits = options.limits
        self._reader: FrameReader | None = FrameReader(
            NOBODY, self, min(limits.max_connect_size, limits.max_http_buffer_size), window is not None
        )
        """``None`` when nothing that comes is read any more."""
        self.received = 0
        """Bytes that have come."""
        self._held = 0
        """Bytes of messages on their way, as the connection has counted them."""
        self._more = False
        """True while the reader has more frames than it reads in one go."""
        self._ping: bytes | None = None
        """The latest ping of the client, not answered yet."""
        self._deflate: tuple[int, int, int] | None = None
        if window is not None and options.per_message_deflate is not None:
            # zlib has no window of 8 bits, but keeps 262 bytes of a window of 9 unused.
            self._deflate = (max(9, window), options.per_message_deflate.threshold, options.per_message_deflate.level)
        self._holds = options.limits.slow_consumer == "drop_oldest"
        if self._holds:
            transport.set_write_buffer_limits(high=min(_MUCH, options.limits.max_outbox // 2))
        self._full = False
        self._paused = False
        self._closing = False
        self.deadline = math.inf
        """The time when it is cut off unless TCP has ended; the heartbeat's sweep looks at it while it is leaving."""
        self._leaving = leaving

    def begin(self, receiver: PacketReceiver) -> None:
        """Hand packets, and the news of the end, to somebody who is no connection, or not yet."""
        self._leaving.add(self)
        self._hand_to(receiver)

    def serve(self, connection: Carried) -> None:
        """Be the transport of this connection from now on."""
        self._leaving.discard(self)
        self.connection = connection
        self._hand_to(connection)
        if self._reader is not None:
            self._reader.limit = connection.message_limit

    def limit_messages(self, size: int) -> None:
        """Fail messages of more than ``size`` bytes from now on."""
        if self._reader is not None:
            self._reader.limit = size

    # --- asyncio.Protocol -------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Read bytes from the network (RFC 6455, 5)."""
        reader, connection = self._reader, self.connection
        if reader is None:
            return
        self.received += len(data)
        if connection is not None and connection.inbox is not None:
            self.pause()  # what came before still waits to be served: let TCP, not our memory, hold the rest
        self._feed(reader, data)

    def _feed(self, reader: FrameReader, data: bytes) -> None:
        """Read bytes as far as may be done in one go."""
        try:
            more = reader.feed(data)
        except FrameError as error:
            if error.code == TOO_BIG and self.connection is not None:
                self.connection.say_too_long(reader.limit)
            self._fail(error.code)
            return
        if self._ping is not None:
            self._answer_ping()
        if reader.held or self._held:
            self._count(reader.held)
        if len(data) > LARGE or reader.inflates:
            self._park()
        if more:
            self._more = True
            self.pause()
            if self.connection is None or self.connection.inbox is None:  # else it says when that has been served
                asyncio.get_running_loop().call_soon(self.resume_reading)

    def _count(self, held: int) -> None:
        """Have the connection count the bytes of messages on their way, and read on when there is room for more."""
        connection = self.connection
        if connection is None or held == self._held:
            return
        before, self._held = self._held, held
        more = held - before
        connection.arrive(more)
        if more < 0:
            if before > LARGE:
                self._park()
            if not held:
                connection.settle()
        elif not connection.may_receive():
            self.pause()

    def _park(self) -> None:
        """Have the connection count the large messages that have come, until they are served."""
        if self.connection is not None and self.connection.inbox is not None:
            self.connection.park()

    def pause(self) -> None:
        """Read nothing for now."""
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    @property
    def peer_has_left(self) -> bool:
        """True when the client has closed TCP, whether that has been read or not; ``False`` where nobody tells."""
        sock = self._transport.get_extra_info("socket")
        if sock is None or _TCP_INFO is None:
            return False
        try:
            state: bytes = sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1)
        except OSError:  # a Unix socket
            return False
        return state[0] in _LEFT

    def eof_received(self) -> None:
        """End a connection whose client sends nothing more: to go on half-open serves nobody."""
        self._lose(DisconnectReason.TRANSPORT_CLOSE)
        self._leave()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything: TCP has ended."""
        self._leaving.discard(self)
        self._lose(DisconnectReason.TRANSPORT_CLOSE)
        # Nothing is to wait for the garbage collector: a full collection is what connections cost most.
        self._reader, self._receiver = None, NOBODY
        if self._held:
            self._count(0)
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.without_transport()
        release(self._transport)

    def pause_writing(self) -> None:
        """Hear that the kernel does not take what is written."""
        self._full = True

    def resume_writing(self) -> None:
        """Hear that the kernel takes what is written again."""
        self._full = False
        if self._holds and self.connection is not None:
            self.connection.outbox.flush()

    def resume_reading(self) -> None:
        """Read on: what came has been served, or there is room for more."""
        if not self._paused:
            return
        if self._more:
            self._more = False
            if self._reader is not None:
                self._feed(self._reader, b"")
            if self._more or (self.connection is not None and self.connection.inbox is not None):
                return
        self._paused = False
        self._transport.resume_reading()

    # --- the sink of an outbox --------------------------------------------------------------------------------------

    @property
    def writable(self) -> bool:
        """True when everything of the past has left the process."""
        return not self._transport.get_write_buffer_size()

    def buffered(self) -> int:
        """Count the bytes that the kernel has not taken yet."""
        return self._transport.get_write_buffer_size()

    def write(self, frames: list[Frames]) -> bool:
        """Write all frames in one piece."""
        transport = self._transport
        if self._closing or transport.is_closing():  # nothing follows a close frame (RFC 6455, 5.5.1)
            return True
        if self._holds:
            return self._write_some(frames)
        if self._deflate is not None:
            transport.write(b"".join([each.deflated(*self._deflate) for each in frames]))
        else:
            transport.write(frames[0].websocket if len(frames) == 1 else b"".join([each.websocket for each in frames]))
        return True

    def _write_some(self, frames: list[Frames]) -> bool:
        """Write what the transport takes without holding much: what it has taken cannot be dropped any more."""
        taken = 0
        for each in frames:
            if self._full:  # it says so while it is written to
                break
            self._transport.write(each.websocket if self._deflate is None else each.deflated(*self._deflate))
            taken += 1
        del frames[:taken]
        return not frames

    def release(self, frames: Frames) -> None:
        """Do nothing: nobody waits here."""

    # --- the end ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Begin the closing handshake (RFC 6455, 7.1.2).

        TCP is closed after the client has answered: closed at once, what the client sends meanwhile would make the
        kernel reset the connection, and what is on its way to the client would be lost.
        """
        if self._closing or self._transport.is_closing():
            return
        self._closing = True
        self._transport.write(self._close_frame())
        self._ignore_packets()
        self.resume_reading()
        self._give_time()

    def abort(self) -> None:
        """Cut the TCP connection."""
        self._transport.abort()

    def tick(self, now: float) -> None:
        """Cut off a client that has had its time."""
        self._transport.abort()

    def postpone(self, seconds: float) -> None:
        """Give the client so many seconds more: the event loop was blocked, and what it owes us may wait unread."""
        self.deadline += seconds

    def look(self) -> None:
        """Do nothing: asyncio tells of the end."""

    def _close_frame(self) -> bytes:
        """Make the frame that begins the closing handshake."""
        return _CLOSE_FRAME

    def _hand_to(self, receiver: PacketReceiver) -> None:
        self._receiver = receiver
        if self._reader is not None:
            self._reader.receiver = receiver

    def _ignore_packets(self) -> None:
        if self._reader is not None:
            self._reader.receiver = NOBODY

    def control(self, opcode: int, payload: bytes) -> None:
        """Take a control frame (RFC 6455, 5.5)."""
        if opcode == PING:
            self._ping = payload
        elif opcode == CLOSE:
            if self._ping is not None:
                self._answer_ping()
            if not self._closing:
                self._closing = True
                self._transport.write(websocket_frame(CLOSE, payload[:2]))
                self._lose(DisconnectReason.TRANSPORT_CLOSE)
            self._leave()

    def _answer_ping(self) -> None:
        """Answer the latest ping of what was read in one go (RFC 6455, 5.5.3)."""
        payload, self._ping = self._ping or b"", None
        transport = self._transport
        if not (self._closing or transport.is_closing()) and transport.get_write_buffer_size() < _MUCH:
            transport.write(websocket_frame(PONG, payload))

    def _fail(self, code: int) -> None:
        """Fail the connection of a client that broke the protocol (RFC 6455, 7.1.7)."""
        transport = self._transport
        self._count(0)
        if not self._closing:
            self._closing = True
            transport.write(websocket_frame(CLOSE, code.to_bytes(2, "big")))
        self._lose(DisconnectReason.TRANSPORT_ERROR)
        self._reader = None
        if transport.can_write_eof():
            # What the client still sends is read and forgotten, or a reset would overtake the close frame.
            transport.write_eof()
            self.resume_reading()
            self._give_time()
        else:
            self._leave()

    def _lose(self, reason: str) -> None:
        self._ignore_packets()
        self._receiver.end(reason)

    def _leave(self) -> None:
        """Close TCP once the rest is written: both sides have said that it is over."""
        transport = self._transport
        if transport.is_closing():
            return
        waits = transport.get_write_buffer_size()  # a TLS transport of asyncio cannot be asked once it is closed
        transport.close()
        if waits:
            self._give_time()

    def _give_time(self) -> None:
        self._leaving.add(self)
        if self.deadline == math.inf:
            self.deadline = asyncio.get_running_loop().time() + _CLOSE_TIMEOUT


class Base64WebSocketTransport(WebSocketTransport):
    """A websocket whose client cannot read binary messages: it has asked for ``b64`` (``forceBase64``)."""

    __slots__ = ()

    def write(self, frames: list[Frames]) -> bool:
        """Write frames in one piece, or as many as the transport takes."""
        written: list[Frames] = [each.base64 if isinstance(each, EncodedFrames) else each for each in frames]
        done = super().write(written)
        del frames[: len(frames) - len(written)]
        return done
