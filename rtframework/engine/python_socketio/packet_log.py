"""A log of packets and upgrades in python-engineio's words, for programs that ask for it with ``engineio_logger``."""

from __future__ import annotations

import json
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from engineio.packet import packet_names

from ...logs import printable
from ...types import DisconnectReason
from ..connection import Connection
from ..frames import EncodedFrames
from ..transports.upgrade import Upgrade
from .polling import EngineIOVersion

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine, Mapping

    from ...options import EngineOptions
    from ...protocols import Frames
    from ..inbox import Call
    from ..transports.websocket import WebSocketTransport

_MESSAGE: Final = "MESSAGE"
_BINARY: Final = "<binary>"


class LoggedVersion(EngineIOVersion):
    """The parts that serve a client whose packets are logged. A server that logs no packets has others."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self.connection = partial(LoggedConnection, logger)
        self.upgrade = partial(LoggedUpgrade, logger)

    def websocket(
        self,
        query: Mapping[str, str],
        transport: asyncio.Transport,
        options: EngineOptions,
        leaving: set[WebSocketTransport],
        window: int | None,
    ) -> WebSocketTransport:
        """Make the transport of a client that has asked for a websocket."""
        if query.get("sid"):
            self._logger.info("%s: Received request to upgrade to websocket", query["sid"])
        return super().websocket(query, transport, options, leaving, window)

    def opened(self, connection: Connection, packet: str) -> None:
        """Log that a connection was opened with this packet."""
        sid = connection.sid
        self._logger.info("%s: Sending packet OPEN data %s", sid, json.loads(packet[1:]))
        if connection.transport == "websocket":
            self._logger.info("%s: Received request to upgrade to websocket", sid)
            self._logger.info("%s: Upgrade to websocket successful", sid)


class LoggedConnection(Connection):
    """A connection that logs each packet when it is served, and each that it sends."""

    __slots__ = ("_logger",)

    def __init__(self, logger: logging.Logger, sid: str, **engine: Any) -> None:
        self._logger = logger
        super().__init__(sid, **engine)

    def take(self, packet: str | bytes | Call) -> Coroutine[Any, Any, None] | None:
        """Log a packet, and serve it."""
        if isinstance(packet, str | bytes) and self._logger.isEnabledFor(logging.INFO):
            name, data = _shown(packet)
            if name:
                self._logger.info("%s: Received packet %s data %s", self.sid, name, data)
        return super().take(packet)

    def send(self, frames: Frames, *, volatile: bool = False) -> None:
        """Log packets, and send them."""
        if self.is_open and self._logger.isEnabledFor(logging.INFO):
            assert isinstance(frames, EncodedFrames)
            for packet in frames.packets:
                name, data = _shown(packet)
                self._logger.info("%s: Sending packet %s data %s", self.sid, name, data or None)
        super().send(frames, volatile=volatile)

    def close(self, reason: str = DisconnectReason.FORCED_CLOSE) -> None:
        """Log the packet that closes polling, and close."""
        if self.is_open and self.transport == "polling":
            self._logger.info("%s: Sending packet CLOSE data None", self.sid)
        super().close(reason)

    def abort(self, reason: str) -> None:
        """Log that the client has not answered a ping, and end the connection."""
        if reason == DisconnectReason.PING_TIMEOUT:
            self._logger.info("%s: Client is gone, closing socket", self.sid)
        super().abort(reason)

    def upgraded(self, transport: WebSocketTransport) -> None:
        """Log that the client has moved, and move."""
        self._logger.info("%s: Upgrade to websocket successful", self.sid)
        super().upgraded(transport)


class LoggedUpgrade(Upgrade):
    """An upgrade that logs why it has failed."""

    __slots__ = ("_logger", "_sid")

    def __init__(
        self, logger: logging.Logger, connection: Connection, websocket: WebSocketTransport, timeout: float
    ) -> None:
        self._logger = logger
        self._sid = connection.sid
        super().__init__(connection, websocket, timeout)

    def receive(self, packet: str | bytes) -> None:
        """Take the next step of the upgrade."""
        if packet != "5" and self.probed:
            self._logger.info(
                "%s: Failed websocket upgrade, expected UPGRADE packet, received %s instead.",
                self._sid,
                printable(packet) if isinstance(packet, str) else _BINARY,
            )
        elif packet not in ("5", "2probe"):
            self._logger.info("%s: Failed websocket upgrade, no PING packet", self._sid)
        super().receive(packet)


def _shown(packet: str | bytes) -> tuple[str, str]:
    """Return the name of a packet and its data, cut; no name if it is no packet."""
    if isinstance(packet, bytes) or packet[:1] == "b":
        return _MESSAGE, _BINARY
    kind = ord(packet[:1] or " ") - ord("0")
    return (packet_names[kind], printable(packet[1:])) if 0 <= kind < len(packet_names) else ("", "")
