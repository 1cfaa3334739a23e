"""The rates of all events of a server, in front of each socket."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final

from ..counters import BYTES, EVENTS
from ..exceptions import RateLimited
from ..types import DisconnectReason, Packet, PacketType
from .membership import State

if TYPE_CHECKING:
    from ..limits.guard import Guard
    from ..limits.limit import Limit
    from .socket import Socket

_EVENT: Final = int(PacketType.EVENT)


class LimitedReceiver:
    """Takes the packets of one socket, and lets through the events that ``RateLimit`` allows.

    It is there only if the server limits ``events`` or ``bytes``. It comes before catch-alls, middleware and handlers.
    """

    __slots__ = ("_guard", "_socket")

    def __init__(self, socket: Socket, guard: Guard) -> None:
        self._socket = socket
        self._guard = guard

    def _receive(self, packet: Packet) -> Coroutine[Any, Any, None] | None:
        """Hand a packet on, or refuse an event."""
        socket, guard = self._socket, self._guard
        if guard.bytes is not None:
            client = socket._client
            size, client.received = client.received, 0
            if self._is_beyond(BYTES, guard.bytes, packet, size):
                return None
        if packet.type == _EVENT and guard.events is not None and self._is_beyond(EVENTS, guard.events, packet):
            return None
        return socket._receive(packet)

    def _admit(self, packet: Packet) -> bool:
        """Count what is no event of the client, but as much work. Return ``False`` if it is not to be done."""
        return self._guard.events is None or not self._is_beyond(EVENTS, self._guard.events, packet)

    def _disconnected(self, reason: str) -> None:
        """Hand the news of the end on."""
        self._socket._disconnected(reason)

    def _is_beyond(self, name: str, limit: Limit, packet: Packet, amount: float = 1.0) -> bool:
        """Count a packet. Return ``True``, once that is told to the client, if the packet is not to be served."""
        socket, guard = self._socket, self._guard
        client = socket._client
        user = guard.rate_limit.key_of(socket._authenticated) if limit.is_per_user else None
        wait = limit.take(client, client.address, user, amount)
        if not wait:
            return False
        guard.hit(name, address=client.address, user=socket._authenticated, nsp=socket.nsp, sid=socket.id)
        if guard.rate_limit.on_exceed == "close":
            client.conn.close(DisconnectReason.RATE_LIMITED)
            return True
        if packet.type != _EVENT or socket._state is not State.CONNECTED:
            return False  # an answer that the program waits for; or the socket closes the connection by itself
        socket._answer_failure(packet, RateLimited(wait))
        return True
