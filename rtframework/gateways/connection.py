"""The connection of a client of another protocol: the engine's, without what is Engine.IO's."""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..engine.connection import OPEN, Connection
from ..engine.inbound import LARGE
from ..engine.interfaces import Carrier
from ..types import DisconnectReason

if TYPE_CHECKING:
    from ..engine.inbox import Call
    from ..protocols import Frames
    from .client import GatewayClient

NEVER: Final = float("inf")


class GatewayTransport(Carrier, Protocol):
    """The transport of a gateway's connection; ``name`` is what ``socket.conn.transport`` says."""

    def ping(self) -> None:
        """Send a sign of life, which may ask the client for one."""


class GatewayConnection(Connection):
    """A connection whose messages are a gateway's own; each goes to ``client.receive`` as it is.

    All else is as for Engine.IO's: what it holds is bounded by the same limits, and it is in the same table.
    """

    __slots__ = ("answers", "client", "end_reason", "interval", "is_late", "timeout")

    protocol = 0

    def __init__(self, sid: str, **engine: Any) -> None:
        self.end_reason: str | None = None
        """The reason of the end, from when ``client.ended`` is called on."""
        self.is_late = False
        """True if the connection is closed because the client has joined no namespace in time."""
        super().__init__(sid, **engine)
        self.client: GatewayClient
        """The client, from when it was made on, until the end."""
        self.interval = self._options.ping_interval
        """Seconds between two pings; ``NEVER`` for none. A change counts from :meth:`beat` on."""
        self.timeout = self._options.ping_timeout
        """Seconds after a ping in which something has to come."""
        self.answers = True
        """True if the client has to send something after a ping; ``False`` for one that cannot."""

    @property
    def carrier(self) -> Any:
        """The transport."""
        return self._transport

    def take(self, packet: str | bytes | Call) -> Coroutine[Any, Any, None] | None:
        """Serve a message, or a call. Return what it sets off, if anything is left to do."""
        if self._state != OPEN:
            return None
        if not isinstance(packet, str | bytes):
            return packet()
        if len(packet) > LARGE:
            return self._take_message(packet, packet)
        return self._handler.receive(packet)

    def beat(self) -> None:
        """Count the time to the next ping from now on, with the ``interval`` and ``timeout`` as they are."""
        self._pinging = False
        self._heartbeat_due = self.loop.time() + self.interval
        self.deadline = min(self._heartbeat_due, self._connect_by)

    def tick(self, now: float) -> None:
        """Do what is due: ping the client, give it up, or close it because it joined no namespace."""
        if self._state != OPEN or self._connect_by <= now or self._has_gone(now):
            self.is_late = self._state == OPEN
            super().tick(now)
            return
        if self._heartbeat_due <= now:
            if self._pinging and self.answers and self._is_silent():
                self.abort(DisconnectReason.PING_TIMEOUT)
                return
            if self._pinging and self.answers:  # the answer has come
                self._pinging = False
                self._heartbeat_due = now + max(0.0, self.interval - self.timeout)
            else:
                self._pinging = True
                self._hear()
                self._ping()
                self._heartbeat_due = now + (self.timeout if self.answers else self.interval)
        self.deadline = min(self._heartbeat_due, self._connect_by)

    def put_back(self, call: Call) -> None:
        """Serve nothing more until a handler that is at work has ended, and then this first.

        For use while a packet is served that cannot be served before: it is not read meanwhile, either.
        """
        if self.inbox is None:
            self.inbox = deque()
        self.inbox.appendleft(call)
        if self._working:
            self.blocked = True

    def end_behind(self, call: Call, reason: str) -> None:
        """Call this, which ends the transport, once what came before has been served, or some time later at most."""
        if self.inbox is None or self._state != OPEN:
            call()
            return
        self.inbox.append(call)
        if self._end_reason is None:
            self._end_reason = reason
            self._heartbeat_due = self.deadline = self.loop.time() + self._options.ping_timeout

    def close_with(self, reason: str, last: Frames) -> None:
        """Say something, and then close as :meth:`close` does."""
        self.send(last)
        self.close(reason)

    def _is_silent(self) -> bool:
        """Tell whether nothing has come since the last ping, though everything that came would have been read."""
        return not self.blocked and self.inbox is None and self._transport.received == self._heard_at_ping

    def _ping(self) -> None:
        transport: Any = self._transport
        transport.ping()

    def _end(self, reason: str) -> None:
        self.end_reason = reason
        super()._end(reason)
        del self.client  # which knows the connection: nothing is to wait for the garbage collector
