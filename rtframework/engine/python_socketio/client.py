"""A client of a python-socketio program: its CONNECT may name a namespace with a query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..client import Client

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from ...protocols import Decoder
    from ...types import Packet


class QueryingClient(Client):
    """A client that may ask for ``/chat?token=1``, which is the namespace ``/chat``; python-socketio drops the query.

    Clients that were written for Socket.IO 2 do so. Packets that follow may have the query, too.
    """

    __slots__ = ()

    def _ask(self, nsp: str, auth: Any, asked: str | bytes = "") -> Coroutine[Any, Any, None] | None:
        nsp, query, _ = nsp.partition("?")
        if query:
            self._decoder = WithoutQuery(self._decoder)
        return super()._ask(nsp, auth, asked)


class WithoutQuery:
    """A decoder that drops the query of namespaces; only for connections on which one has come."""

    __slots__ = ("_decoder",)

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    def decode(self, frame: str | bytes) -> Packet | None:
        """Return the packet that this frame completes, or ``None`` while attachments are missing."""
        packet = self._decoder.decode(frame)
        if packet is not None:
            packet.nsp = packet.nsp.partition("?")[0]
        return packet
