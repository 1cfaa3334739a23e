"""SockJS over a websocket (sockjs-protocol 0.3.3, "WebSocket protocols"): frames of SockJS in its messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..engine.frames import websocket_frame
from ..engine.transports.nothing import NOBODY
from ..engine.transports.rfc6455 import PING, TEXT
from ..engine.transports.websocket import WebSocketTransport
from ..exceptions import DecodeError
from ..types import DisconnectReason
from .sockjs_frames import HEARTBEAT, OPEN, STOMP_HEART_BEAT, close_frame, read_messages
from .websocket import INVALID_MESSAGE, GatewayWebSocket, Uncompressed

if TYPE_CHECKING:
    import asyncio

    from ..engine.interfaces import PacketReceiver
    from ..protocols import Frames
    from .sockjs import SockJSGateway

_HEARTBEAT: Final = websocket_frame(TEXT, HEARTBEAT.encode())
_PING: Final = _HEARTBEAT + websocket_frame(PING, b"")
_STOMP_HEART_BEAT: Final = websocket_frame(TEXT, STOMP_HEART_BEAT.encode())
_MOST: Final = 10_000
"""Messages in one of a websocket: stock clients send one."""
_OPEN: Final = websocket_frame(TEXT, OPEN.encode())


class SockJSWebSocket(GatewayWebSocket):
    """A websocket whose text messages are frames of SockJS, and from clients arrays of messages."""

    __slots__ = ("_sockjs",)

    name = "sockjs websocket"

    def __init__(self, gateway: SockJSGateway, transport: asyncio.Transport, window: int | None = None) -> None:
        super().__init__(gateway, transport, window)
        self._sockjs = gateway

    def open(self) -> None:
        """Send the open frame, in front of all others."""
        if not (self._closing or self._transport.is_closing()):
            self._transport.write(_OPEN)

    def ping(self) -> None:
        """Send the heartbeat of SockJS, and the ping of websockets, which browsers answer."""
        if not (self._closing or self._transport.is_closing()):
            self._transport.write(_PING)

    def heart_beat(self, wanted: bool) -> None:
        """Send a heart-beat of STOMP; if it is not wanted, that of SockJS, without asking for an answer."""
        self.write_beside(_STOMP_HEART_BEAT if wanted else _HEARTBEAT)

    def write(self, frames: list[Frames]) -> bool:
        """Write frames in one piece, or as many as the transport takes."""
        form = self._sockjs.form
        written: list[Frames] = [form(each) if each.compress else Uncompressed(form(each)) for each in frames]
        done = WebSocketTransport.write(self, written)
        del frames[: len(frames) - len(written)]
        return done

    def _hand_to(self, receiver: PacketReceiver) -> None:
        super()._hand_to(receiver)
        if self._reader is not None and receiver is not NOBODY:
            self._reader.receiver = _Unwrapping(receiver)

    def _close_frame(self) -> bytes:
        code, reason = self.close_code or self._code_of_reason()
        frame = super()._close_frame()
        if code == INVALID_MESSAGE:
            return frame  # abruptly, as the protocol has it
        return websocket_frame(TEXT, close_frame(code, reason).encode(errors="replace")) + frame


class _Unwrapping:
    """Hands the messages of a websocket on, each by itself."""

    __slots__ = ("_receiver",)

    def __init__(self, receiver: Any) -> None:
        self._receiver = receiver

    def receive(self, packet: str | bytes) -> None:
        """Take a message of the websocket."""
        if not packet:
            return
        try:
            if isinstance(packet, bytes):
                raise DecodeError("a binary message")
            messages = read_messages(packet, most=_MOST)
        except DecodeError:
            self._receiver.fail_after(DisconnectReason.PARSE_ERROR)
            return
        for each in messages:
            self._receiver.receive(each)

    def end(self, reason: str) -> None:
        """Hear that the websocket has ended."""
        self._receiver.end(reason)
