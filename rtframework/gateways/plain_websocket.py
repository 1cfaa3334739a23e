"""Plain websockets: what browsers' ``WebSocket``, Node's ``ws`` and Python's ``websockets`` speak without Socket.IO."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final

from ..counters import Counters, add
from ..engine.frames import EncodedFrames
from ..engine.transports.rfc6455 import NORMAL
from ..exceptions import ConfigurationError, DecodeError
from ..logs import ThrottledLog, printable
from ..packets import check_payload
from ..types import DisconnectReason, PacketType
from .base import BaseGateway
from .client import GatewayClient
from .codec import Reply, WebSocketCodec
from .json_codec import JSONCodec
from .websocket import INVALID_MESSAGE, GatewayWebSocket, own_message, refusal_code

if TYPE_CHECKING:
    from aiohttp import web

    from ..engine.gateway import Gateway
    from ..engine.http.answers import Answer
    from ..protocols import Application
    from ..types import Handshake, Packet
    from .connection import GatewayConnection
    from .packets import Outgoing

log: Final = logging.getLogger("rtframework.gateways")

_not_encoded: Final = ThrottledLog(
    log, logging.ERROR, "dropped a packet of the type %s: the codec of a plain websocket has not encoded it"
)
_not_decoded: Final = ThrottledLog(
    log, logging.ERROR, "unhandled error in the codec of a plain websocket: it raises DecodeError for a wrong message"
)
_invalid: Final = ThrottledLog(log, logging.INFO, "closing a plain websocket that sent an invalid message: %s")
_DISCONNECT: Final = int(PacketType.DISCONNECT)


class PlainWebSocketGateway(BaseGateway):
    """Serves plain websockets; ``codec``: their wire, ``namespace``: where clients go that name none."""

    def __init__(
        self, application: Application, engine: Gateway, *, codec: WebSocketCodec | None = None, namespace: str = "/"
    ) -> None:
        super().__init__(application, engine)
        if codec is not None and not isinstance(codec, WebSocketCodec):
            raise ConfigurationError(
                "codec is an object of a class that derives from rtframework.WebSocketCodec, with decode() and encode()"
            )
        if not isinstance(namespace, str) or not namespace.startswith("/"):
            raise ConfigurationError(f"namespace begins with a slash, as in '/chat', not {namespace!r}")
        self.codec = codec or JSONCodec(max_attachments=self.limits.max_attachments)
        self.namespace = namespace
        self.counts: Counters = self.entrance.table.counts

    @property
    def description(self) -> str:
        """What it speaks."""
        if isinstance(self.codec, JSONCodec):
            return "Plain websockets, rtframework.v1: {event, args}; an acknowledgement is {type: ack, args, id}."
        return f"Plain websockets, in the form of {type(self.codec).__name__}."

    def add_routes(self, app: web.Application, path: str) -> None:
        """Add the route."""
        self.add_websocket(app, path, self.answer)

    async def answer(self, request: web.Request, headers: dict[str, str]) -> Answer | web.Response:
        """Answer the handshake of a websocket."""
        refusal = await self.check(request, headers)
        if refusal is not None:
            return refusal
        ours = self.codec.subprotocols
        return await self.switch(
            request,
            headers,
            choose_protocol=lambda offered: next((each for each in ours if each in offered), None),
            make=lambda transport, window: PlainWebSocket(self, transport, window),
            opened=_begin,
        )

    def make_client(self, connection: Any, handshake: Handshake) -> PlainClient:
        """Make the client of a connection."""
        return PlainClient(connection, handshake, gateway=self)

    def encode(self, packets: Sequence[Outgoing]) -> EncodedFrames:
        """Make the messages of packets."""
        messages = []
        for each in packets:
            try:
                message = self.codec.encode_outgoing(each)
                if message is not None and not isinstance(message, str | bytes):
                    raise TypeError(f"a message is str or bytes, not {type(message).__name__}")
            except Exception as error:  # noqa: BLE001 - whatever a program's codec raises
                add(self.counts.dropped, "not_encoded", 1)
                _not_encoded(PacketType(each.type).name, error=error, extra={"nsp": each.nsp})
            else:
                if message is not None:
                    messages.append(message)
        return EncodedFrames(messages)


class PlainWebSocket(GatewayWebSocket):
    """A plain websocket."""

    name = "plain websocket"


class PlainClient(GatewayClient):
    """The client of a plain websocket."""

    __slots__ = ("_codec", "_nsp", "_says_goodbye")

    def __init__(self, conn: GatewayConnection, handshake: Handshake, *, gateway: PlainWebSocketGateway) -> None:
        codec = gateway.codec
        super().__init__(
            conn, handshake, application=gateway.application, decoder=_CheckedDecoder(codec), limits=gateway.limits
        )
        self._codec = codec
        self._nsp = gateway.namespace
        """The namespace of packets that name none."""
        self._says_goodbye = False
        """True if the client has left a namespace by itself."""
        if codec.names_namespaces:
            named = handshake.query.get("nsp", "")
            self._nsp = named if named.startswith("/") else gateway.namespace

    def begin(self) -> None:
        """Ask for the namespace, if the client need not say anything before."""
        try:
            auth = self._codec.auth(self._handshake)
        except Exception as error:  # noqa: BLE001 - whatever a program's codec raises
            _not_decoded(error=error)
            self.refused(self._nsp, "Internal server error", None)
            return
        if auth is not None:
            self.join(self._nsp, dict(auth))

    # --- what the client says ---------------------------------------------------------------------------------------

    def receive(self, data: str | bytes) -> Coroutine[Any, Any, None] | None:
        """Handle a message. Return what it sets off, if anything."""
        try:
            packet: Any = self._of_gateway.decode(data)
        except DecodeError as error:
            self.misread(error)
            return None
        if packet is None:
            return None
        if isinstance(packet, Reply):
            self.conn.send(own_message(packet.message))
            return None
        if not packet.nsp or not self._codec.names_namespaces:
            packet.nsp = self._nsp
        if packet.type == _DISCONNECT:
            self._says_goodbye = True
        return self.serve(packet, data)

    def misread(self, error: DecodeError) -> None:
        """Tell the client what is wrong with its message, and close."""
        _invalid(printable(error), extra={"address": self.address, "transport": self.conn.transport})
        self._say(str(error))
        self._close_with(INVALID_MESSAGE, "invalid message", DisconnectReason.PARSE_ERROR)

    def outside(self, packet: Packet) -> None:
        """Tell the client that it is not in the namespace of its packet."""
        if packet.type != PacketType.DISCONNECT:
            self._say(f"not connected to the namespace {packet.nsp}", packet)

    # --- what becomes of it -----------------------------------------------------------------------------------------

    def refused(self, nsp: str, message: str, data: Any) -> None:
        """Close, if the client is nowhere else."""
        if not self._receivers:
            self._close_with(refusal_code(message, data), message, DisconnectReason.FORCED_SERVER_CLOSE)

    def leave(self, nsp: str) -> None:
        """End this namespace; with the last one, the connection ends, too."""
        was_in = nsp in self._receivers
        super().leave(nsp)
        if was_in and not self._receivers:
            asyncio.get_running_loop().call_soon(self._close_outside)

    def _close_outside(self) -> None:
        if self._receivers or self._attempts is not None:
            return
        if self._says_goodbye:
            self._close_with(NORMAL, "", DisconnectReason.CLIENT_NAMESPACE_DISCONNECT)
        else:
            self.conn.close(DisconnectReason.SERVER_NAMESPACE_DISCONNECT)

    def _say(self, message: str, packet: Packet | None = None) -> None:
        told = self._codec.error(message, packet)
        if told is not None:
            self.conn.send(own_message(told))

    def _close_with(self, code: int, text: str, reason: str) -> None:
        carrier = self.conn.carrier
        if hasattr(carrier, "close_code"):
            carrier.close_code = code, text
        self.conn.close(reason)


class _CheckedDecoder:
    """What a program's codec decodes, checked as what a serializer decodes."""

    __slots__ = ("_codec",)

    def __init__(self, codec: WebSocketCodec) -> None:
        self._codec = codec

    def decode(self, message: str | bytes) -> Any:
        """Return a packet, a reply or ``None``. Raises ``DecodeError``."""
        try:
            decoded = self._codec.decode(message)
        except DecodeError:
            raise
        except ValueError as error:  # of json.loads, say
            raise DecodeError(f"invalid message: {error}") from None
        except Exception as error:
            _not_decoded(error=error)
            raise DecodeError("invalid message") from error
        if decoded is not None and not isinstance(decoded, Reply):
            check_payload(decoded.type, decoded.data, decoded.id)
        return decoded


def _begin(connection: GatewayConnection) -> None:
    client: Any = connection.client
    client.begin()
