"""A socket as any server of a cluster sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .exceptions import Disconnected

if TYPE_CHECKING:
    from .broadcast import BroadcastOperator, Rooms
    from .types import Handshake, SocketDetails


class RemoteSocket:
    """What ``fetch_sockets`` gives: a socket of this server or of another, as it was at that moment.

    ``rooms`` does not change any more. ``data`` is the socket's own on this server and a copy on another: what is to be
    changed everywhere goes to the server of the socket, with ``server_side_emit``.

    Example::

        for remote in await io.to("lobby").fetch_sockets():
            if remote.data.get("muted"):
                await remote.leave("lobby")
    """

    __slots__ = ("_details", "_operator", "data", "handshake", "id", "nsp", "rooms")

    def __init__(self, operator: BroadcastOperator, details: SocketDetails) -> None:
        self.id = details.id
        self.handshake: Handshake = details.handshake
        self.rooms: frozenset[str] = details.rooms
        self.data: dict[str, Any] = details.data
        self.nsp: str = details.handshake.nsp
        self._operator = operator
        self._details = details

    def __repr__(self) -> str:
        return f"<RemoteSocket {self.id} of {self.nsp}>"

    async def join(self, *rooms: Rooms) -> None:
        """Make it join rooms."""
        await self._operator.sockets_join(*rooms)

    async def leave(self, *rooms: Rooms) -> None:
        """Make it leave rooms."""
        await self._operator.sockets_leave(*rooms)

    async def emit(self, event: str, *args: Any) -> None:
        """Emit an event to this client; lost without a word when it has gone."""
        await self._operator.emit(event, *args)

    async def emit_with_ack(self, event: str, *args: Any) -> Any:
        """Emit an event and wait for the client's answer: ``None``, one value, or a tuple of several.

        Raises :class:`~rtframework.AckTimeout` when the time given by :meth:`timeout` is over, and
        :class:`~rtframework.Disconnected` when the client has gone.
        """
        for answer in (await self._operator.emit_with_ack(event, *args)).values():
            return answer
        raise Disconnected("socket has been disconnected")

    async def disconnect(self, close: bool = False) -> None:
        """Disconnect the client from this namespace, or, with ``close=True``, from all of them and the transport."""
        await self._operator.disconnect_sockets(close=close)

    def timeout(self, seconds: float) -> RemoteSocket:
        """How long :meth:`emit_with_ack` waits."""
        return self._with(self._operator.timeout(seconds))

    def compress(self, compress: bool) -> RemoteSocket:
        """Whether what is emitted is compressed where the transport does that."""
        return self._with(self._operator.compress(compress))

    @property
    def volatile(self) -> RemoteSocket:
        """Emit only if the client can take the packet at once."""
        return self._with(self._operator.volatile)

    def _with(self, operator: BroadcastOperator) -> RemoteSocket:
        return RemoteSocket(operator, self._details)
