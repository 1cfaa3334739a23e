"""Engine.IO 3, for servers that allow its clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..versions import Version4
from .connection import Connection3
from .payload import encode_text
from .transports import PollingTransport3, WebSocketTransport3

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from ...options import EngineOptions
    from ..transports.polling import PollingTransport
    from ..transports.websocket import WebSocketTransport


class Version3(Version4):
    """The parts that serve a client of Engine.IO 3."""

    connection = Connection3

    def serves(self, query: Mapping[str, str]) -> bool:
        """Return whether a handshake asks for something that there is. JSONP, a script of ours in a page, is not."""
        return query.get("transport") != "polling" or "j" not in query

    def polling(self, query: Mapping[str, str]) -> PollingTransport:
        """Make the transport of a client that polls."""
        return PollingTransport3(bool(query.get("b64")))

    def websocket(
        self,
        query: Mapping[str, str],
        transport: asyncio.Transport,
        options: EngineOptions,
        leaving: set[WebSocketTransport],
        window: int | None,
    ) -> WebSocketTransport:
        """Make the transport of a client that has asked for a websocket."""
        return WebSocketTransport3(transport, options, leaving, window, bool(query.get("b64")))

    def payload(self, packet: str) -> str:
        """Make a polling payload of the open packet."""
        return encode_text([packet])
