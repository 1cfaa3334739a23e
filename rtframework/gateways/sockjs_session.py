"""A session of SockJS over HTTP: requests that receive come one after another, and the session stays between them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..engine.transports.rfc6455 import NORMAL
from ..types import DisconnectReason
from .sockjs_frames import HEARTBEAT, OPEN, STOMP_HEART_BEAT, close_frame, messages_frame
from .websocket import CLOSE_CODES, TIMED_OUT

if TYPE_CHECKING:
    from ..protocols import Frames
    from .connection import GatewayConnection
    from .sockjs import SockJSGateway

INTERRUPTED: Final = 1002
_GONE: Final = frozenset({DisconnectReason.TRANSPORT_CLOSE, DisconnectReason.TRANSPORT_ERROR})


class Receiver(Protocol):
    """A request that receives: a poll, or a stream."""

    @property
    def has_begun(self) -> bool:
        """True when frames can be written to it."""

    @property
    def is_full(self) -> bool:
        """True when the kernel does not take what is written."""

    @property
    def is_abandoned(self) -> bool:
        """True when its client has hung up without a word."""

    def buffered(self) -> int:
        """Count the bytes that the kernel has not taken yet."""

    def write(self, frame: str) -> bool:
        """Write a frame. ``False``: it takes no more after this one, and ends."""

    def end(self, frame: str) -> None:
        """Write the last frame, if it is not empty, and end."""

    def abort(self) -> None:
        """Cut it off."""


class SockJSSession:
    """The transport of one connection, whose client comes by HTTP; ``key``: the id that the client has chosen.

    ``mark``: what all of its requests have in common, see ``SockJSGateway``. After the end it stays for as long as
    between two requests, and answers each with the reason.
    """

    def __init__(self, gateway: SockJSGateway, key: str, mark: object, name: str) -> None:
        self.name = name
        """What ``socket.conn.transport`` says: the transport with which it was opened."""
        self.mark = mark
        self.connection: GatewayConnection | None = None
        self.received = 0
        self.close_code: tuple[int, str] | None = None
        """The code and the reason to close with; if not set, one of ``CLOSE_CODES``."""
        self.last_words = ""
        """The close frame, once it is over."""
        self.is_sending = False
        """True while a body with messages of the client comes."""
        self._gateway = gateway
        self._key = key
        self._receiver: Receiver | None = None
        self._has_opened = False
        self._owes_beat = False
        """True if a heart-beat of STOMP is due to the next request that receives."""
        self._holds = gateway.limits.slow_consumer == "drop_oldest"
        self._timer: asyncio.TimerHandle | None = None

    def serve(self, connection: GatewayConnection) -> None:
        """Be the transport of this connection from now on."""
        self.connection = connection
        self._gateway.sessions[self._key] = self

    # --- requests that receive ----------------------------------------------------------------------------------------

    @property
    def is_received(self) -> bool:
        """True while a request receives, or is about to."""
        if self._receiver is not None and self._receiver.is_abandoned:
            self.cut(self._receiver)
        return self._receiver is not None

    def attach(self, receiver: Receiver) -> None:
        """Have a request receive from now on. A stream calls :meth:`begin` when it has begun."""
        self._receiver = receiver
        self.received += 1
        self._stop_timer()
        if receiver.has_begun:
            self.begin(receiver)
        else:
            self._start_timer()

    def begin(self, receiver: Receiver) -> None:
        """Write what waits for a request that has begun."""
        if self._receiver is not receiver:
            receiver.end(self.last_words)
            return
        self._stop_timer()
        if not self._has_opened:
            self._has_opened = True
            if not self._write(receiver, OPEN):
                return
        connection = self.connection
        if connection is None:
            return
        connection.outbox.flush()
        if not connection.is_open and not len(connection.outbox):
            connection.lost(connection.end_reason or DisconnectReason.FORCED_CLOSE)
        elif self._owes_beat and self._receiver is receiver:
            self.heart_beat(True)

    def cut(self, receiver: Receiver) -> None:
        """Hear that the client of a request has hung up: what was on its way to it is lost, and so is the session."""
        if self._receiver is receiver:
            self._receiver = None
            if self.connection is not None:
                self.connection.lost(DisconnectReason.TRANSPORT_CLOSE)

    def lose(self, receiver: Receiver) -> None:
        """Hear that the client of a request that may have its answer has hung up: see :meth:`cut`."""
        if self._receiver is None or self._receiver is receiver:
            self._receiver = None
            if self.connection is not None:
                self.connection.lost(DisconnectReason.TRANSPORT_CLOSE)

    def done(self, receiver: Receiver) -> None:
        """Hear that a request has ended as it should; the client comes again."""
        if self._receiver is receiver:
            self._receiver = None
            self._start_timer()

    # --- the transport of a connection --------------------------------------------------------------------------------

    @property
    def abandoned(self) -> bool:
        """True when the client of the request that waits has hung up, of which aiohttp tells no handler."""
        return self._receiver is not None and self._receiver.is_abandoned

    @property
    def writable(self) -> bool:
        """True when everything of the past has left the process, and somebody waits."""
        receiver = self._receiver
        return receiver is not None and receiver.has_begun and not receiver.buffered()

    def buffered(self) -> int:
        """Count the bytes that the kernel has not taken yet."""
        return 0 if self._receiver is None else self._receiver.buffered()

    def write(self, frames: list[Frames]) -> bool:
        """Write all frames as one; ``False`` while nobody receives."""
        receiver = self._receiver
        if receiver is None or not receiver.has_begun or not self._has_opened or (self._holds and receiver.is_full):
            return False
        form = self._gateway.form
        messages = ",".join([each for each in [form(each).messages for each in frames] if each])
        if messages:
            self._write(receiver, messages_frame(messages))
        return True

    def ping(self) -> None:
        """Send the heartbeat."""
        receiver = self._receiver
        if receiver is not None and receiver.has_begun and self._has_opened and not receiver.buffered():
            self._write(receiver, HEARTBEAT)

    def heart_beat(self, wanted: bool) -> None:
        """Send a heart-beat of STOMP, in the next request if none receives; if it is not wanted, that of SockJS."""
        receiver = self._receiver
        if not wanted:
            self.ping()
        elif receiver is None or not receiver.has_begun or not self._has_opened:
            self._owes_beat = True
        elif not receiver.buffered():
            self._write(receiver, STOMP_HEART_BEAT)

    def resume_reading(self) -> None:
        """Do nothing: bodies are read when there is room for them."""

    def release(self, frames: Frames) -> None:
        """Let go of everything: the connection has ended."""
        connection, self.connection = self.connection, None
        if connection is None:
            return
        self.last_words = self._words(connection)
        connection.without_transport()
        receiver, self._receiver = self._receiver, None
        if receiver is not None and receiver.is_full:
            receiver.abort()  # which does not read: what waits for it would stay
        elif receiver is not None:
            receiver.end(self.last_words)
        self._stop_timer()
        if self._gateway.sessions.get(self._key) is self:
            self._start_timer()

    def close(self) -> None:
        """End the session; if something still waits, the client is given the time to come for it."""
        connection = self.connection
        if connection is None:
            return
        if self._has_opened and not len(connection.outbox):
            connection.lost(connection.end_reason or DisconnectReason.FORCED_CLOSE)

    def abort(self) -> None:
        """Cut off the request that receives."""
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.abort()

    # --- inside -------------------------------------------------------------------------------------------------------

    def _write(self, receiver: Receiver, frame: str) -> bool:
        """Write a frame. ``False`` if the request takes no more."""
        self._owes_beat = False
        if receiver.write(frame):
            return True
        self.done(receiver)
        return False

    def _words(self, connection: GatewayConnection) -> str:
        reason: Any = connection.end_reason
        if self.close_code is not None:
            return close_frame(*self.close_code)
        if reason in _GONE:
            return close_frame(INTERRUPTED, "Connection interrupted")
        if connection.is_late:
            return close_frame(TIMED_OUT, "joined no namespace in time")
        return close_frame(NORMAL if reason is None else CLOSE_CODES.get(reason, NORMAL), reason or "")

    def _start_timer(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._gateway.session_timeout, self._expire)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        """Forget the session: its client has not come again."""
        self._timer = None
        self.forget()
        connection = self.connection
        if connection is not None:
            connection.lost(DisconnectReason.TRANSPORT_CLOSE)

    def forget(self) -> None:
        """Let the id be of another session, if it comes again."""
        self._stop_timer()
        if self._gateway.sessions.get(self._key) is self:
            self._gateway.forget(self._key)
