"""A connection of Engine.IO 3, where the client pings and the server answers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from ...types import DisconnectReason
from ..connection import OPEN, Connection
from ..frames import EncodedFrames
from ..inbound import LARGE
from .payload import MESSAGE, from_base64

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from ..inbox import Call

PONG: Final = EncodedFrames(["3"])


class Connection3(Connection):
    """The connection of a client that pings: it is gone when it has not done so for an interval and a timeout."""

    __slots__ = ("_answer_due",)

    protocol = 3
    close_apart = False  # it heeds DISCONNECT at once, and does not come for more

    def __init__(self, sid: str, **engine: Any) -> None:
        super().__init__(sid, **engine)
        self._answer_due = math.inf  # whether it has asked or not
        self._pinging = True  # it owes us a ping, always
        self._expect_ping()

    def take(self, packet: str | bytes | Call) -> Coroutine[Any, Any, None] | None:
        """Serve a packet (Engine.IO v3, "Packet"), or a call. Return what it sets off, if anything is left to do."""
        if self._state != OPEN or callable(packet):
            return super().take(packet)
        if not isinstance(packet, str):
            if packet[:1] == MESSAGE:
                return self._take_message(packet, packet[1:])
            self.fail(DisconnectReason.PARSE_ERROR)
            return None
        kind = packet[:1]
        if kind == "4":
            return self._take_message(packet, packet[1:])
        if kind == "2" and len(packet) <= LARGE:
            self._expect_ping()
            self.send(PONG)
        elif kind in ("2", "3"):
            self.fail(DisconnectReason.TRANSPORT_ERROR)  # only clients ping
        elif kind == "b":
            return self._take_base64(packet)
        else:
            return super().take(packet)
        return None

    def began(self, packet: str | bytes | Call | None = None) -> int:
        """Count a handler that waits, and what it was given. Return the bytes for :meth:`ended`."""
        weight = super().began(packet)
        if self.blocked and self._answer_due == math.inf and self._state == OPEN and self._end_reason is None:
            self._answer_due = self.loop.time() + self._options.ping_timeout / 2
            self._arm()
        return weight

    def end(self, reason: str) -> None:
        """End the connection, whose transport has ended, once what came before has been served."""
        super().end(reason)
        if self._end_reason is not None:  # nobody is there to be kept waiting
            self._answer_due = math.inf

    def tick(self, now: float) -> None:
        """Do what is due: give the client up, or close it because it joined no namespace."""
        if self._state != OPEN or self._connect_by <= now or self._has_gone(now):
            super().tick(now)
        elif self.blocked and self.polling is not None and self.outbox.holds(PONG):
            self.abort(DisconnectReason.PING_TIMEOUT)  # it has not come for the last one
        elif self.blocked:
            # Its pings may wait in what we do not read at the moment, and it would give up on us.
            self._answer_due = now + self._options.ping_timeout / 2
            self._expect_ping()
            self.send(PONG)
        elif self._heartbeat_due <= now and self._is_receiving():  # its ping comes behind that
            self._heartbeat_due = now + self._options.ping_timeout
            self._arm()
        elif self._heartbeat_due <= now:
            self.abort(DisconnectReason.PING_TIMEOUT)
        else:
            self._arm()

    def postpone(self, seconds: float) -> None:
        """Give the client so many seconds more: the event loop was blocked, and what it owes us may wait unread."""
        super().postpone(seconds)
        if self._state == OPEN:
            self._arm()

    def _unblock(self) -> None:
        self._answer_due = math.inf
        super()._unblock()

    def _expect_ping(self) -> None:
        self._hear()
        self._heartbeat_due = self.loop.time() + self._options.ping_interval + self._options.ping_timeout
        self._arm()

    def _arm(self) -> None:
        self.deadline = min(self._heartbeat_due, self._connect_by, self._answer_due)

    def _take_base64(self, packet: str) -> Coroutine[Any, Any, None] | None:
        try:
            data = from_base64(packet)
        except ValueError:
            self.fail(DisconnectReason.PARSE_ERROR)
            return None
        return self._take_decoded(packet, data[1:])
