"""Websockets of gateways: each message is one of the gateway's own, and the codes with which they are closed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ..engine.frames import EncodedFrames, websocket_frame
from ..engine.transports.nothing import NOBODY
from ..engine.transports.rfc6455 import CLOSE, NORMAL, PING, PONG
from ..engine.transports.websocket import WebSocketTransport
from ..types import DisconnectReason
from .frames import OwnFrames
from .strict_reader import StrictFrameReader

if TYPE_CHECKING:
    import asyncio

    from ..protocols import Frames
    from .base import BaseGateway
    from .connection import GatewayConnection

_MUCH: Final = 65_536
"""Bytes in the transport's buffer from which the client counts as one that does not read."""

_LONGEST_REASON: Final = 123
"""Bytes of the text in a close frame."""

GOING_AWAY: Final = 1001
POLICY_VIOLATION: Final = 1008
INVALID_MESSAGE: Final = 4400
REFUSED: Final = 4401
NO_NAMESPACE: Final = 4404
TIMED_OUT: Final = 4408
DISCONNECTED: Final = 4410
SLOW: Final = 4413
RATE_LIMITED: Final = 4429

_TEMPORARY: Final = ("rate_limited", "too_many_connections")
"""Codes of refusals that pass by themselves; the status of a stream is 429 for them."""

CLOSE_CODES: Final = {
    DisconnectReason.SERVER_SHUTTING_DOWN: GOING_AWAY,
    DisconnectReason.SERVER_NAMESPACE_DISCONNECT: DISCONNECTED,
    DisconnectReason.KICKED: DISCONNECTED,
    DisconnectReason.TOKEN_EXPIRED: REFUSED,
    DisconnectReason.TOKEN_REVOKED: REFUSED,
    DisconnectReason.PARSE_ERROR: INVALID_MESSAGE,
    DisconnectReason.FORCED_SERVER_CLOSE: POLICY_VIOLATION,
    DisconnectReason.SLOW_CONSUMER: SLOW,
    DisconnectReason.RATE_LIMITED: RATE_LIMITED,
    DisconnectReason.MISSED_PACKETS: GOING_AWAY,
}
"""The close codes of reasons for which the server closes a websocket; others have 1000."""


def refusal_code(message: str, data: Any) -> int:
    """Return the close code for a client that a namespace does not let in: the payload of CONNECT_ERROR."""
    if message == "Invalid namespace":
        return NO_NAMESPACE
    code = data.get("code") if isinstance(data, dict) else None
    return RATE_LIMITED if code in _TEMPORARY else REFUSED


class Uncompressed:
    """Frames of a websocket that are not to be compressed."""

    __slots__ = ("size", "websocket")

    polling = ""
    compress = False
    droppable = False
    offset: str | None = None
    entry: str | None = None

    def __init__(self, frames: EncodedFrames) -> None:
        self.websocket = frames.websocket
        self.size = frames.size

    def deflated(self, window: int, threshold: int, level: int) -> bytes:
        """Return the frames as they are."""
        return self.websocket

    def form(self, key: object, make: Callable[[Sequence[str | bytes]], Any]) -> Any:
        """Return the frames, which are in the gateway's form already."""
        return self


def own_message(message: str | bytes, *, droppable: bool = False) -> OwnFrames:
    """Make frames of one websocket message that is the gateway's own: no packet."""
    form = EncodedFrames([message], droppable)
    return OwnFrames(form, form.size, droppable=droppable)


class GatewayWebSocket(WebSocketTransport):
    """The websocket of a gateway's client. The gateway's form of packets has to be an ``EncodedFrames``.

    It is stricter than that of Engine.IO: each ping gets its pong, text is checked while it comes, and what was said
    before a close is served and answered first.
    """

    __slots__ = ("_gateway", "_has_said_close", "_is_over", "close_code")

    connection: GatewayConnection | None

    def __init__(self, gateway: BaseGateway, transport: asyncio.Transport, window: int | None = None) -> None:
        super().__init__(transport, gateway.options, gateway.entrance.table.leaving, window)
        reader = self._reader
        assert reader is not None
        self._reader = StrictFrameReader(NOBODY, self, reader.limit, reader.inflates)
        self._gateway = gateway
        self._is_over = False
        """True if the client has closed, or broken the protocol: nothing that it has sent behind that counts."""
        self._has_said_close = False
        """True if a close frame of the client has come."""
        self.close_code: tuple[int, str] | None = None
        """The code and the reason to close with; if not set, one of ``CLOSE_CODES``."""

    def ping(self) -> None:
        """Ping the client (RFC 6455, 5.5.2)."""
        if not (self._closing or self._transport.is_closing()):
            self._transport.write(websocket_frame(PING, b""))

    def write_beside(self, frame: bytes) -> None:
        """Write a pong or a heart-beat, unless the client does not read: it has enough to read then."""
        transport = self._transport
        if not (self._closing or transport.is_closing()) and transport.get_write_buffer_size() < _MUCH:
            transport.write(frame)

    def write(self, frames: list[Frames]) -> bool:
        """Write frames in one piece, or as many as the transport takes."""
        gateway = self._gateway
        if len(frames) == 1 and self._deflate is None and not self._holds:  # by far the most frequent: no detours
            transport = self._transport
            if not (self._closing or transport.is_closing()):
                transport.write(frames[0].form(gateway, gateway.make_form).websocket)
            return True
        form = gateway.form
        if self._deflate is None:
            written: list[Frames] = [form(each) for each in frames]
        else:
            written = [form(each) if each.compress else Uncompressed(form(each)) for each in frames]
        done = super().write(written)
        del frames[: len(frames) - len(written)]
        return done

    def close(self) -> None:
        """Begin the closing handshake, or end it if the client has closed, or broken the protocol, meanwhile."""
        was_closing = self._closing
        super().close()
        if was_closing or not self._is_over:
            return
        if self._has_said_close or not self._transport.can_write_eof():
            self._leave()
        else:  # it is not read any more, so its answer would be awaited in vain
            self._transport.write_eof()

    def control(self, opcode: int, payload: bytes) -> None:
        """Take a control frame (RFC 6455, 5.5)."""
        if self._is_over:
            return
        if opcode == PING:
            self.write_beside(websocket_frame(PONG, payload))
        elif opcode == CLOSE and not self._closing and self.connection is not None:
            self._is_over = self._has_said_close = True
            self._ignore_packets()
            self._reader = None
            answer = partial(self._end_with, payload[:2], DisconnectReason.TRANSPORT_CLOSE)
            self.connection.end_behind(answer, DisconnectReason.TRANSPORT_CLOSE)
        else:
            super().control(opcode, payload)

    def _end_with(self, code: bytes, reason: str) -> None:
        """Answer a close frame, behind what waits."""
        connection = self.connection
        if connection is not None:
            connection.outbox.flush()
        if not self._closing:
            self._closing = True
            self._transport.write(websocket_frame(CLOSE, code))
            self._lose_connection(reason)
        self._leave()

    def _lose_connection(self, reason: str) -> None:
        self._ignore_packets()
        if self.connection is not None:
            self.connection.lost(reason)

    def _fail(self, code: int) -> None:
        """Fail the connection of a client that broke the protocol, once what came before has been served."""
        if self._is_over:
            return
        self._is_over = True
        connection = self.connection
        if connection is None or connection.inbox is None or self._closing:
            super()._fail(code)
            return
        self._ignore_packets()
        self._reader = None
        connection.end_behind(partial(self._fail_behind, code), DisconnectReason.TRANSPORT_ERROR)

    def _fail_behind(self, code: int) -> None:
        if self.connection is not None:
            self.connection.outbox.flush()
        super()._fail(code)

    def _close_frame(self) -> bytes:
        code, text = self.close_code or self._code_of_reason()
        # A control frame has 125 bytes at most; a character that is cut through is left out.
        said = text.encode(errors="replace")[:_LONGEST_REASON].decode(errors="ignore").encode()
        return websocket_frame(CLOSE, code.to_bytes(2, "big") + said)

    def _code_of_reason(self) -> tuple[int, str]:
        connection: Any = self.connection
        reason = None if connection is None else connection.end_reason
        if reason is None:
            return NORMAL, ""
        if connection.is_late:
            return TIMED_OUT, "joined no namespace in time"
        return CLOSE_CODES.get(reason, NORMAL), reason
