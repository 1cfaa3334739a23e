"""The connection of a STOMP client, and its websocket: heart-beats both ways, messages by subscription.

SockJS may carry it, too: a transport has ``heart_beat``, see :class:`StompTransport`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from ..engine.connection import OPEN
from ..engine.frames import websocket_frame
from ..engine.transports.rfc6455 import PING, TEXT
from ..types import DisconnectReason
from .connection import NEVER, GatewayConnection
from .frames import OwnFrames
from .websocket import GatewayWebSocket

if TYPE_CHECKING:
    from ..protocols import Frames

_PATIENCE: Final = 3
"""Heart-beats in a row that a client may miss; Spring's number."""
_PINGS: Final = 2
"""Pings in a row that a client without heart-beats may leave unanswered."""


class StompTransport(Protocol):
    """What a transport has that carries STOMP, besides what all of a gateway's have."""

    def heart_beat(self, wanted: bool) -> None:
        """Send a line end, or, if the client wants none, what keeps proxies from closing a silent connection."""


class StompWebSocket(GatewayWebSocket):
    """The websocket of a STOMP client."""

    name = "stomp"

    def heart_beat(self, wanted: bool) -> None:
        """Send a line end (STOMP 1.2, "Heart-beating"), or a ping: pages do not notice it."""
        self.write_beside(websocket_frame(TEXT, b"\n") if wanted else websocket_frame(PING, b""))


class StompConnection(GatewayConnection):
    """A connection whose packets its client hands out to subscriptions.

    Once it is in, its heart-beats are STOMP's. A client that promises none is pinged by its transport, unless it has a
    session of SockJS over HTTP: that knows by itself when it has gone.
    """

    __slots__ = ("_beat_due", "_beats", "_hear_due", "_heard_bytes", "_hears", "_missed", "_pings", "_wanted")

    def __init__(self, sid: str, **engine: Any) -> None:
        super().__init__(sid, **engine)
        self._beats = NEVER
        """Seconds between two of our heart-beats."""
        self._wanted = False
        """True if the client wants heart-beats."""
        self._hears = 0.0
        """Seconds in which something has to come; 0 until the client is in."""
        self._pings = False
        """True if the client sends no heart-beats by itself."""
        self._beat_due = self._hear_due = NEVER
        self._heard_bytes = 0
        self._missed = 0

    @property
    def is_working(self) -> bool:
        """True while handlers of the client are at work."""
        return self._working > 0

    @property
    def patience(self) -> float:
        """Seconds for which the end may have to wait."""
        return self._options.ping_timeout

    def send(self, frames: Frames, *, volatile: bool = False) -> None:
        """Send a packet to the subscriptions that it is for, or frames of the gateway as they are."""
        if isinstance(frames, OwnFrames):
            self.outbox.put(frames, volatile)
        elif self._state == OPEN:
            client: Any = self.client
            client.hand_out(frames, volatile)

    def begin_heart_beats(self, theirs: tuple[int, int]) -> tuple[int, int]:
        """Agree to heart-beats, in milliseconds: what the client can send, and what it wants. Return ours."""
        can, wants = theirs
        ours = int(self.interval * 1000)
        self._wanted = wants > 0
        self._pings = not can
        if self.answers:
            self._beats = max(ours, wants) / 1000 if wants or can else NEVER
        else:  # over HTTP, where proxies close what is silent for longer
            self._beats = self.interval
        self._hears = max(ours, can) / 1000 if can else max(self.interval, self.timeout)
        now = self.loop.time()
        self._beat_due, self._hear_due = now + self._beats, now + self._hears
        self._heard_bytes = self._transport.received
        self._missed = -1 if self._pings else 0  # it has not been pinged yet
        self.deadline = min(self._beat_due, self._hear_due, self._connect_by)
        return ours, ours

    def tick(self, now: float) -> None:
        """Do what is due: send a heart-beat, or give up a client that sends nothing."""
        if not self._hears or self._state != OPEN or self._connect_by <= now or self._has_gone(now):
            super().tick(now)
            return
        if self._hear_due <= now:
            received = self._transport.received
            if received != self._heard_bytes or self.blocked or self.inbox is not None:
                self._heard_bytes, self._missed = received, 0
            elif self.answers or not self._pings:
                self._missed += 1
            if self._missed >= (_PINGS if self._pings else _PATIENCE):
                self.abort(DisconnectReason.PING_TIMEOUT)
                return
            if self._pings and self.answers:
                self._ping()
            self._hear_due = now + self._hears
        if self._beat_due <= now:
            transport: StompTransport = self.carrier
            transport.heart_beat(self._wanted)
            self._beat_due = max(self._beat_due + self._beats, now)
        self.deadline = min(self._beat_due, self._hear_due, self._connect_by)
        if self._end_reason is not None:
            self.deadline = min(self.deadline, self._heartbeat_due)
