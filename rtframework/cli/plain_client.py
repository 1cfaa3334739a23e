"""A client connection by plain websocket, in the protocol ``rtframework.v1``."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from ..exceptions import DecodeError
from ..gateways.json_codec import SUBPROTOCOL, JSONCodec, read_content
from ..types import Packet, PacketType
from .client import refusal
from .endpoint import Endpoint
from .errors import Exit, Failure
from .received import Received
from .values import show_text
from .websocket_client import AnyWebSocket, WebSocketConnection, connect_websocket


class PlainConnection(WebSocketConnection[dict[str, Any], int]):
    """A client in one namespace of one server, by plain websocket."""

    transport: Final = "plain websocket"

    def __init__(self, endpoint: Endpoint, websocket: AnyWebSocket) -> None:
        super().__init__(endpoint, websocket)
        self._codec = JSONCodec()

    async def open(self) -> None:
        """Ask for the namespace, and wait until it has let us in. Raises ``Failure``."""
        if self.endpoint.auth is not None:
            await self._say(json.dumps({"type": "connect", "auth": self.endpoint.auth}))
        content = await self._receive()
        if content.get("type") == "refused":
            raise refusal(self.endpoint.namespace, content.get("message", ""), content.get("data"))
        if content.get("type") != "connected":
            raise self._speaks_otherwise(SUBPROTOCOL, f"it began with {show_text(json.dumps(content)[:80])}")
        self.id = str(content.get("sid", ""))
        self._begin()

    async def emit(self, event: str | int, args: Sequence[Any]) -> None:
        """Send an event; return when it has been written to the network. Raises ``Failure``."""
        await self._send_packet(Packet(PacketType.EVENT, data=[event, *args]))

    async def ask(self, event: str | int, args: Sequence[Any], timeout: float) -> list[Any]:
        """Send an event and return the arguments of the acknowledgement. Raises ``Failure``."""
        self._last_id += 1
        packet = Packet(PacketType.EVENT, data=[event, *args], id=self._last_id)
        return await self._ask(event, self._last_id, partial(self._send_packet, packet), timeout)

    async def answer(self, received: Received, args: Sequence[Any]) -> None:
        """Send the acknowledgement of an event. Raises ``Failure``."""
        await self._send_packet(Packet(PacketType.ACK, data=list(args), id=received.id))

    # --- inside -----------------------------------------------------------------------------------------------------

    async def _send_packet(self, packet: Packet) -> None:
        packet.nsp = "/"  # which is left out: the server knows with which namespace we have begun
        try:
            message = self._codec.encode(packet)
        except (TypeError, ValueError, RecursionError) as error:
            raise Failure(f"this cannot be sent: {error}", Exit.USAGE) from None
        assert message is not None
        await self._send(message)

    async def _receive(self) -> dict[str, Any]:
        data = await self._receive_data()
        try:
            return read_content(data)
        except DecodeError as error:
            raise self._speaks_otherwise(SUBPROTOCOL, str(error)) from None

    def _take(self, message: dict[str, Any]) -> None:
        kind, id, args = message.get("type"), message.get("id"), message.get("args")
        if kind == "event" and isinstance(args, list):
            self._events.put_nowait(Received(message.get("event", ""), args, id))
        elif kind == "ack" and isinstance(id, int) and isinstance(args, list):
            self._answered(id, args)


def connect_plain(endpoint: Endpoint) -> contextlib.AbstractAsyncContextManager[PlainConnection]:
    """Connect to a server by plain websocket, and disconnect at the end. Raises ``Failure``."""
    query = {} if endpoint.namespace == "/" else {"nsp": endpoint.namespace}
    if endpoint.auth is not None:
        query["auth"] = "message"
    return connect_websocket(endpoint, PlainConnection, SUBPROTOCOL, query)
