"""One client of another protocol: a client of Socket.IO whose gateway decides what is said to it, and when."""

from __future__ import annotations

from collections.abc import Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from ..engine.client import Client

if TYPE_CHECKING:
    from ..options import Limits
    from ..protocols import Application, Decoder
    from ..types import Handshake
    from .connection import GatewayConnection


class GatewayClient(Client):
    """A client on a :class:`~rtframework.gateways.connection.GatewayConnection`.

    ``decoder`` makes packets of the client's messages; a gateway with messages that are no packets overrides
    :meth:`receive`, and hands on what is one. :meth:`joined` and :meth:`refused` are for it to override, too.
    """

    __slots__ = ("_refusals",)

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
        super().__init__(conn, handshake, application=application, decoder=decoder, limits=limits)
        conn.client = self
        self._refusals: dict[str, tuple[str, Any]] = {}

    def join(self, nsp: str = "/", auth: Any = None) -> None:
        """Ask for a namespace, as if CONNECT had come, behind what has come before. Then one of the two is called."""
        self.conn.receive(partial(self._ask, nsp, auth))

    def joined(self, nsp: str) -> None:
        """Hear that the client is in a namespace; CONNECT has been sent."""

    def refused(self, nsp: str, message: str, data: Any) -> None:
        """Hear that a namespace has refused the client; CONNECT_ERROR has been sent."""

    @property
    def namespaces(self) -> list[str]:
        """The namespaces that the client is in."""
        return list(self._receivers)

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

    def serve(self, message: str | bytes) -> Coroutine[Any, Any, None] | None:
        """Handle a message that is a packet, for :meth:`receive` of a gateway that has looked at it first."""
        return Client.receive(self, message)
