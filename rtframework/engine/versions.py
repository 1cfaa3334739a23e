"""The version of Engine.IO that a client speaks, chosen once, at its handshake."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from .connection import Connection
from .transports.polling import PollingTransport
from .transports.upgrade import Upgrade
from .transports.websocket import Base64WebSocketTransport, WebSocketTransport

if TYPE_CHECKING:
    import asyncio

    from ..options import EngineOptions


class Version4:
    """The parts that serve a client of Engine.IO 4."""

    connection: Callable[..., Connection] = Connection
    upgrade: Callable[[Connection, WebSocketTransport, float], Upgrade] = Upgrade

    def serves(self, query: Mapping[str, str]) -> bool:
        """Return whether a handshake asks for something that there is."""
        return True

    def polling(self, query: Mapping[str, str]) -> PollingTransport:
        """Make the transport of a client that polls."""
        return PollingTransport()

    def websocket(
        self,
        query: Mapping[str, str],
        transport: asyncio.Transport,
        options: EngineOptions,
        leaving: set[WebSocketTransport],
        window: int | None,
    ) -> WebSocketTransport:
        """Make the transport of a client that has asked for a websocket."""
        kind = Base64WebSocketTransport if query.get("b64") else WebSocketTransport
        return kind(transport, options, leaving, window)

    def payload(self, packet: str) -> str:
        """Make a polling payload of the open packet."""
        return packet
