"""The engine of one application, as a ``socketio.AsyncServer``: encodes packets, gives each connection a client."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Sequence
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any, Final, cast

import socketio

from ..exceptions import EncodeError
from ..packets import explain_failure
from ..serializers import JSONDecoder, JSONSerializer
from ..types import Packet, PacketType
from .client import Client
from .engine_server import EngineServer
from .frames import EncodedFrames, JoinedFrames, PlainFrames
from .metering import WeighedHandler
from .v3.client import Client3

if TYPE_CHECKING:
    from aiohttp import web

    from ..options import EngineOptions
    from ..protocols import Application, Frames, Outlet, Serializer
    from ..types import Handshake
    from .connection import Connection
    from .interfaces import MessageHandler

log: Final = logging.getLogger("rtframework.engine")

_EVENT: Final = int(PacketType.EVENT)
_ACK: Final = int(PacketType.ACK)
_MANY: Final = 64
"""Clients from which an emit is a broadcast that lets what is sent to others pass."""

_as_json: Final = JSONSerializer().plain


class Gateway(socketio.AsyncServer):  # type: ignore[misc]  # socketio is not typed
    """Speaks Socket.IO v5 over Engine.IO v4 for an application, which it knows by its protocol only.

    What comes in goes from each connection to a :class:`~rtframework.engine.client.Client` of its own.
    """

    eio: EngineServer

    def __init__(
        self,
        application: Application,
        *,
        serializer: Serializer,
        options: EngineOptions,
        manager: socketio.AsyncManager | None = None,
        logger: logging.Logger = log,
        async_handlers: bool = True,
        always_connect: bool = False,
        namespaces: Sequence[str] | str | None = None,
        packet_class: Any = "default",
    ) -> None:
        self.gateways: list[Any] = []
        """What is attached for other protocols, each a ``rtframework.gateways.base.BaseGateway``."""
        self._application = application
        self._serializer = serializer
        self._engine_options = options
        self._encode = serializer.encode
        self._writes_json = getattr(type(serializer), "encode", None) is JSONSerializer.encode
        """True if its packets are Socket.IO's own: a type, a namespace and an id in front of JSON."""
        self._text = serializer.text if self._writes_json and isinstance(serializer, JSONSerializer) else None
        # python-socketio sets a level and adds a handler to its own logger unless it is given another one.
        super().__init__(
            client_manager=manager,
            logger=logger,
            engineio_logger=logger,
            serializer=packet_class,  # for managers that encode packets themselves; it speaks what the serializer does
            async_handlers=async_handlers,
            always_connect=always_connect,
            namespaces=namespaces,
        )

    def _engineio_server_class(self) -> Any:
        return self._make_engine

    def _make_engine(self, *, logger: logging.Logger, async_handlers: bool) -> EngineServer:
        return EngineServer(
            options=self._engine_options,
            make_handler=self._make_handler,
            logger=logger,
            async_handlers=async_handlers,
        )

    def attach(self, app: web.Application, socketio_path: str = "socket.io") -> None:
        """Serve under a path of an application."""
        self.eio.attach(app, socketio_path)

    def _make_handler(self, conn: Connection, handshake: Handshake) -> MessageHandler:
        client = self._make_client(conn, handshake)
        return client if self.eio.table.guard.bytes is None else WeighedHandler(client, client)

    def _make_client(self, conn: Connection, handshake: Handshake) -> Client:
        decoder, limits = self._serializer.decoder(), self._engine_options.limits
        conn.keeps_binary = isinstance(decoder, JSONDecoder)
        if conn.protocol != 3:
            return Client(conn, handshake, application=self._application, decoder=decoder, limits=limits)
        client = Client3(
            conn, handshake, application=self._application, decoder=decoder, limits=limits, session_id=conn.sid
        )
        conn.receive(client.join)  # before anything that the client sends
        return client

    @property
    def serializer(self) -> Serializer:
        """The serializer of all packets."""
        return self._serializer

    # --- what the framework asks ------------------------------------------------------------------------------------

    def encode(self, packet: Packet, *, compress: bool = True) -> Frames:
        """Encode a packet for any number of connections. Raises ``EncodeError``."""
        try:
            droppable = packet.type == _EVENT and packet.id is None
            return (EncodedFrames if compress else PlainFrames).of_messages(self._encode(packet), droppable)
        except EncodeError as error:
            raise explain_failure(packet, error, self._encode) from error
        except Exception as error:  # a serializer, or a hook of it, that was not written for such data
            raise EncodeError(f"cannot be sent: {error!r}") from error

    def text(self, packet: Packet) -> str | None:
        """Return a packet's data as JSON; ``None`` with bytes or another serializer. Raises ``EncodeError``."""
        if not self._writes_json:
            self.encode(packet)  # a mistake shows at once all the same
            return None
        try:
            if self._text is not None:
                return self._text(packet.data)
            messages = self._encode(Packet(_EVENT, "/", packet.data))
            return cast("str", messages[0])[1:] if len(messages) == 1 else None
        except EncodeError as error:
            raise explain_failure(packet, error, self._encode) from error
        except Exception as error:
            raise EncodeError(f"cannot be sent: {error!r}") from error

    def plain(self, data: Sequence[Any]) -> list[Any]:
        """Turn arguments into JSON's own types and ``bytes``, as the serializer would. Raises ``EncodeError``.

        A serializer of another format encodes them, and its decoder says what they are.
        """
        try:
            if self._writes_json and isinstance(self._serializer, JSONSerializer):
                return cast("list[Any]", self._serializer.plain(list(data)))
            decoder, packet = self._serializer.decoder(), None
            for message in self._encode(Packet(_ACK, "/", list(data), 0)):
                packet = decoder.decode(message)
            if packet is None:
                raise EncodeError("cannot be sent: the serializer does not decode what it has encoded")
            return cast("list[Any]", _as_json(packet.data))
        except EncodeError:
            raise
        except Exception as error:
            raise EncodeError(f"cannot be sent: {error!r}") from error

    def splice(self, nsp: str, args: str, tail: str | None = None, *, compress: bool = True) -> Frames | None:
        """Make an event of its arguments as JSON; ``tail``: one more. ``None`` with a serializer of another format."""
        if not self._writes_json:
            return None
        if tail is not None:
            args = f"{args[:-1]},{encode_basestring_ascii(tail)}]"
        packet = f"42{args}" if nsp == "/" else f"42{nsp},{args}"
        frames = (EncodedFrames if compress else PlainFrames).of_text(packet, True)
        if tail is not None:
            frames.offset = tail
        return frames

    def join(self, frames: Sequence[Frames]) -> Frames:
        """Join several packets to one: sent together, and not dropped for a slow client."""
        return JoinedFrames(cast("Sequence[EncodedFrames]", frames))

    def deliver(self, outlets: Sequence[Outlet], frames: Frames, *, volatile: bool = False) -> Awaitable[None] | None:
        """Hand frames to many outlets: no task, no await, no copy per recipient."""
        cork = self.eio.table.cork if len(outlets) >= _MANY else None
        if cork is not None:
            self.eio.table.runner.begin_broadcast()
            cork.broadcast()
        try:
            if volatile:
                for outlet in outlets:
                    outlet.send(frames, volatile=True)
            else:
                for outlet in outlets:
                    outlet.send(frames)
        finally:
            if cork is not None:
                cork.end_broadcast()
                self.eio.table.runner.end_broadcast()
        return self.eio.room_for(outlets)
