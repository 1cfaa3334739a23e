"""One client of another protocol: a client of Socket.IO whose gateway decides what is said to it, and when."""

from __future__ import annotations

from collections.abc import Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ..engine.client import Client
from ..exceptions import DecodeError
from ..types import DisconnectReason, PacketType

if TYPE_CHECKING:
    from ..options import Limits
    from ..protocols import Application, Decoder
    from ..types import Handshake, Packet
    from .connection import GatewayConnection

_CONNECT: Final = int(PacketType.CONNECT)


class _Decoded:
    """A decoder of packets that are decoded already."""

    def decode(self, packet: Any) -> Any:
        """Return the packet."""
        return packet


_DECODED: Final = _Decoded()


class GatewayClient(Client):
    """A client on a :class:`~rtframework.gateways.connection.GatewayConnection`.

    ``decoder`` makes a packet of a message of the client, or returns ``None`` for one that is none. A gateway overrides
    :meth:`joined` and :meth:`refused`, :meth:`misread` and :meth:`outside`, and :meth:`receive` if its messages are
    more than packets.
    """

    __slots__ = ("_of_gateway", "_refusals")

    conn: GatewayConnection

    def __init__(
        self,
        conn: GatewayConnection,
        handshake: Handshake,
        *,
        application: Application,
        decoder: Decoder,
        limits: Limits,
    ) -> None:
        super().__init__(conn, handshake, application=application, decoder=_DECODED, limits=limits)
        conn.client = self
        self._of_gateway = decoder
        self._refusals: dict[str, tuple[str, Any]] = {}

    @property
    def namespaces(self) -> list[str]:
        """The namespaces that the client is in."""
        return list(self._receivers)

    def is_joining(self, nsp: str) -> bool:
        """Tell whether the client has asked for a namespace that it is not in yet."""
        return self._attempts is not None and nsp in self._attempts and nsp not in self._receivers

    # --- what the client says ---------------------------------------------------------------------------------------

    def receive(self, data: str | bytes) -> Coroutine[Any, Any, None] | None:
        """Handle a message. Return what it sets off, if anything."""
        try:
            packet = self._of_gateway.decode(data)
        except DecodeError as error:
            self.misread(error)
            return None
        return None if packet is None else self.serve(packet, data)

    def serve(self, packet: Packet, message: str | bytes = b"") -> Coroutine[Any, Any, None] | None:
        """Handle a packet, and the message that it was in. Return what it sets off, if anything.

        What comes while its namespace is still asked waits, with all that comes behind it, for the answer.
        """
        nsp = packet.nsp
        if packet.type == _CONNECT:
            return self._ask(nsp, packet.data, message)
        if nsp not in self._receivers:
            if self.is_joining(nsp):
                self.conn.put_back(partial(self.serve, packet))
            else:
                self.outside(packet)
            return None
        decoded: Any = packet
        return Client.receive(self, decoded)

    def join(self, nsp: str = "/", auth: Any = None) -> None:
        """Ask for a namespace, as if CONNECT had come, behind what has come before. Then one of the two is called."""
        self.conn.receive(partial(self._ask, nsp, auth))

    # --- for gateways to override -----------------------------------------------------------------------------------

    def joined(self, nsp: str) -> None:
        """Hear that the client is in a namespace; CONNECT has been sent."""

    def refused(self, nsp: str, message: str, data: Any) -> None:
        """Hear that a namespace has refused the client; CONNECT_ERROR has been sent."""

    def misread(self, error: DecodeError) -> None:
        """Close the connection of a client whose message cannot be read."""
        self._fail(error)

    def outside(self, packet: Packet) -> None:
        """Close the connection of a client that has sent a packet for a namespace in which it is not."""
        self.conn.close(DisconnectReason.FORCED_SERVER_CLOSE)

    # --- inside -----------------------------------------------------------------------------------------------------

    def refusal(self, nsp: str, message: str, data: Any = None) -> Any:
        """Make the payload of CONNECT_ERROR."""
        self._refusals[nsp] = message, data
        return super().refusal(nsp, message, data)

    async def _connect(self, nsp: str, attempt: Any) -> None:
        await super()._connect(nsp, attempt)
        refusal = self._refusals.pop(nsp, None)
        if not self.conn.is_open:
            return
        if nsp in self._receivers:
            self.joined(nsp)
        elif refusal is not None:
            self.refused(nsp, *refusal)
