"""STOMP over websockets: what ``@stomp/stompjs`` and Spring's clients speak (STOMP 1.1 and 1.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from ..exceptions import ConfigurationError
from ..types import PacketType
from .base import BaseGateway
from .packets import Outgoing
from .stomp_bodies import Body, body_of
from .stomp_client import StompClient
from .stomp_connection import StompConnection, StompWebSocket
from .stomp_messages import Piece
from .stomp_topics import Topics, compile_topics

if TYPE_CHECKING:
    from aiohttp import web

    from ..engine.gateway import Gateway
    from ..engine.http.answers import Answer
    from ..protocols import Application
    from ..types import Handshake
    from .connection import GatewayConnection

SUBPROTOCOLS: Final = ("v12.stomp", "v11.stomp")
_SENT: Final = frozenset({int(PacketType.EVENT), int(PacketType.ACK), int(PacketType.CONNECT)})


class StompGateway(BaseGateway):
    """Serves STOMP; ``topics``: the rooms that clients may subscribe to, ``namespace``: where its clients are."""

    connection = StompConnection
    server_name: Final = "rtframework"

    def __init__(
        self, application: Application, engine: Gateway, *, topics: Topics = None, namespace: str = "/"
    ) -> None:
        super().__init__(application, engine)
        if not isinstance(namespace, str) or not namespace.startswith("/"):
            raise ConfigurationError(f"namespace begins with a slash, as in '/chat', not {namespace!r}")
        self.rule = compile_topics(topics)
        self.namespace = namespace
        host: Any = application
        self._recovers = host.settings.recovery is not None or bool(host.settings.history)
        self._last_number = 0

    @property
    def description(self) -> str:
        """What it speaks."""
        return "STOMP 1.2 and 1.1: clients emit by SEND to /app/<event>; MESSAGE has the name in the header event."

    def add_routes(self, app: web.Application, path: str) -> None:
        """Add the route."""
        self.add_websocket(app, path, self.answer)

    async def answer(self, request: web.Request, headers: dict[str, str]) -> Answer | web.Response:
        """Answer the handshake of a websocket."""
        refusal = await self.check(request, headers)
        if refusal is not None:
            return refusal
        return await self.switch(
            request,
            headers,
            choose_protocol=lambda offered: next((each for each in SUBPROTOCOLS if each in offered), None),
            make=lambda transport, window: StompWebSocket(self, transport, window),
            opened=_begin,
        )

    def make_client(self, connection: Any, handshake: Handshake) -> StompClient:
        """Make the client of a connection."""
        return StompClient(connection, handshake, gateway=self)

    def encode(self, packets: Sequence[Outgoing]) -> tuple[Piece, ...]:
        """Make the messages of packets, as far as they are the same for all."""
        return tuple(Piece(each, self.next_number(), recovers=self._recovers) for each in packets if each.type in _SENT)

    def next_number(self) -> int:
        """Return a number for a message, unique for this gateway."""
        self._last_number += 1
        return self._last_number

    def body(self, args: list[Any]) -> Body:
        """Make a body of arguments that are in no packet."""
        return body_of(Outgoing(int(PacketType.ACK), self.namespace, None, None, args), args)


def _begin(connection: GatewayConnection) -> None:
    """Wait for CONNECT."""
