"""Clients of Engine.IO 3 and Socket.IO 2, for servers that allow them.

What differs on the wire: the client pings and the server answers; binary packets begin with their type; polling
payloads have lengths. And in Socket.IO: a client is in the main namespace without asking, its CONNECT to another one
carries a query and no object, it computes the ids of its sockets itself, and a refusal is a value of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from ...exceptions import DecodeError
from ...types import DisconnectReason, Packet, PacketType
from ..connection import OPEN, Connection, Ending
from ..frames import Frames
from ..transports.polling import BINARY, TEXT, PollingTransport
from ..transports.websocket import WebSocketTransport
from ..versions import Version4
from .frames import Forms, forms_of
from .payload import MESSAGE, decode_binary, decode_text, encode_text, from_base64

if TYPE_CHECKING:
    import asyncio

    from aiohttp import web

    from ...options import EngineOptions
    from ...protocols import Decoder
    from ...protocols import Frames as AnyFrames

PONG: Final = Frames(["3"])

_CONNECT: Final = int(PacketType.CONNECT)
_MAX_FIELDS: Final = 1000
"""Names in the query of a namespace."""


class _Joining(str):
    """Stands, in the inbox of a new connection, for the CONNECT to the main namespace that is never sent."""

    __slots__ = ()


_JOINING: Final = _Joining()


class Connection3(Connection):
    """A client that pings: it is gone when it has not done so for an interval and a timeout."""

    __slots__ = ("_answer_due",)

    protocol = 3
    close_apart = False  # it heeds DISCONNECT at once, and does not come for more

    def open(self) -> None:
        """It is in the main namespace as soon as it is let in."""
        self.decoder = NamespaceDecoder(self.decoder)
        self._answer_due = math.inf  # whether it has asked or not
        self._pinging = True  # it owes us a ping, always
        self._expect_ping()
        self.receive(_JOINING)

    def new_id(self, nsp: str) -> str:
        """The id that the client computes for itself: its session's."""
        return self.sid if nsp == "/" else f"{nsp}#{self.sid}"

    def greeting(self, data: dict[str, Any]) -> Any:
        """Nothing: a client would take anything for an error."""
        return None

    def refusal(self, message: str, data: Any = None) -> Any:
        """What the client's "error" event is given."""
        return message if data is None else data

    def take(self, packet: str | bytes | Ending) -> Coroutine[Any, Any, None] | None:
        """A packet came (Engine.IO v3, "Packet"); what it sets off, if that is more than could be done at once."""
        if self._state != OPEN or isinstance(packet, Ending):
            return super().take(packet)
        if not isinstance(packet, str):
            if packet[:1] == MESSAGE:
                return self._on_message(self, packet[1:])
            self.fail(DisconnectReason.PARSE_ERROR)
            return None
        kind = packet[:1]
        if kind == "4":
            return self._on_message(self, packet[1:])
        if kind == "2":
            self._expect_ping()
            self.send(PONG)
        elif kind == "3":
            self.fail(DisconnectReason.TRANSPORT_ERROR)  # only clients ping
        elif kind == "b":
            return self._take_base64(packet)
        elif packet is _JOINING:
            return self._on_message(self, packet)
        else:
            return super().take(packet)
        return None

    def began(self) -> None:
        """A handler of this connection waits for something."""
        super().began()
        if self.blocked and self._answer_due == math.inf and self._state == OPEN:
            self._answer_due = self.loop.time() + self._options.ping_timeout / 2
            self._arm()

    def tick(self, now: float) -> None:
        """The deadline has passed: give up, or see to it that the client joined a namespace."""
        if self._state != OPEN or self._connect_by <= now:
            super().tick(now)
        elif self.blocked:
            # Its pings may wait in what we do not read at the moment, and it would give up on us.
            self._answer_due = now + self._options.ping_timeout / 2
            self._expect_ping()
            self.send(PONG)
        elif self._heartbeat_due <= now:
            self.abort(DisconnectReason.PING_TIMEOUT)
        else:
            self._arm()

    def postpone(self, seconds: float) -> None:
        """The event loop was blocked for so long: what the client owes us may wait unread."""
        super().postpone(seconds)
        if self._state == OPEN:
            self._arm()

    def _unblock(self) -> None:
        self._answer_due = math.inf
        super()._unblock()

    def _expect_ping(self) -> None:
        self._heartbeat_due = self.loop.time() + self._options.ping_interval + self._options.ping_timeout
        self._arm()

    def _arm(self) -> None:
        self.deadline = min(self._heartbeat_due, self._connect_by, self._answer_due)

    def _take_base64(self, packet: str) -> Coroutine[Any, Any, None] | None:
        try:
            data = from_base64(packet)
        except ValueError:
            self.fail(DisconnectReason.PARSE_ERROR)
            return None
        return self._on_message(self, data[1:])


class NamespaceDecoder:
    """The decoder of a connection, for CONNECT packets as Socket.IO 2 has them.

    The query of ``/admin?token=1`` takes the place of the object that a newer client sends.
    """

    __slots__ = ("_decoder",)

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    def decode(self, frame: str | bytes) -> Packet | None:
        """The packet that this frame completes, or ``None`` while attachments are missing."""
        if frame is _JOINING:
            return Packet(_CONNECT)
        packet = self._decoder.decode(frame)
        if packet is not None and (packet.type == _CONNECT or "?" in packet.nsp):
            packet.nsp, _, query = packet.nsp.partition("?")
            if packet.type == _CONNECT:
                packet.data = _fields_of(query)
        return packet


class PollingTransport3(PollingTransport):
    """Polling with payloads of version 3; ``base64``: the client cannot read binary ones."""

    __slots__ = ("_base64", "content_type")

    def __init__(self, base64: bool) -> None:
        super().__init__()
        self._base64 = base64
        self.content_type = TEXT

    async def poll(self, request: web.Request) -> bytes | None:
        """A GET: the payload to answer with, ``None`` to answer 400."""
        payload = await super().poll(request)
        if payload is not None:
            self.content_type = BINARY if payload[0] < ord("0") else TEXT  # text begins with a length in digits
        return payload

    def _join(self, frames: list[AnyFrames]) -> bytes:
        self.compress = any(each.compress for each in frames)
        forms = [_forms(each) for each in frames]
        if not self._base64 and any(each.has_binary for each in forms):
            return b"".join([each.payload for each in forms])
        return "".join([each.as_text for each in forms]).encode()

    def _decoder_of(self, request: web.Request) -> Callable[[bytes], list[str | bytes]] | None:
        return decode_binary if request.headers.get("Content-Type") == BINARY else decode_text


class WebSocketTransport3(WebSocketTransport):
    """A websocket of version 3; ``base64``: the client cannot read binary messages."""

    __slots__ = ("_base64",)

    def __init__(
        self,
        transport: asyncio.Transport,
        options: EngineOptions,
        leaving: set[WebSocketTransport],
        window: int | None,
        base64: bool,
    ) -> None:
        super().__init__(transport, options, leaving, window)
        self._base64 = base64

    def write(self, frames: list[AnyFrames]) -> bool:
        """Write frames in one piece, or as many as the transport takes."""
        forms = [_forms(each) for each in frames]
        written: list[AnyFrames] = [each.base64 if self._base64 else each.binary for each in forms]
        done = super().write(written)
        del frames[: len(frames) - len(written)]
        return done


class Version3(Version4):
    """What a client of Engine.IO 3 gets."""

    connection = Connection3

    def serves(self, query: Mapping[str, str]) -> bool:
        """No JSONP, which is a script of ours in somebody's page."""
        return query.get("transport") != "polling" or "j" not in query

    def polling(self, query: Mapping[str, str]) -> PollingTransport:
        """The transport of a client that polls."""
        return PollingTransport3(bool(query.get("b64")))

    def websocket(
        self,
        query: Mapping[str, str],
        transport: asyncio.Transport,
        options: EngineOptions,
        leaving: set[WebSocketTransport],
        window: int | None,
    ) -> WebSocketTransport:
        """The transport of a client that has asked for a websocket."""
        return WebSocketTransport3(transport, options, leaving, window, bool(query.get("b64")))

    def payload(self, packet: str) -> str:
        """The open packet as a polling payload."""
        return encode_text([packet])

    def opened(self, connection: Connection) -> None:
        """A connection has been made: it joins the main namespace."""
        if isinstance(connection, Connection3):
            connection.open()


def _fields_of(query: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_FIELDS))
    except ValueError:
        raise DecodeError("a namespace with too long a query") from None


def _forms(frames: AnyFrames) -> Forms:
    assert isinstance(frames, Frames)
    return forms_of(frames)
