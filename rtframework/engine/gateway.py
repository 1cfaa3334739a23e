"""The protocol state machine: python-socketio's AsyncServer in the service of one application."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

import socketio

from ..exceptions import DecodeError, EncodeError
from ..logs import ThrottledLog
from ..packets import explain_failure
from ..types import DisconnectReason, PacketType
from .engine_server import EngineServer
from .frames import Frames as EncodedFrames
from .frames import JoinedFrames, PlainFrames

if TYPE_CHECKING:
    from aiohttp import web

    from ..options import EngineOptions
    from ..protocols import Application, Frames, Outlet, Serializer
    from ..types import Packet
    from .connection import Connection

log: Final = logging.getLogger("rtframework.engine")

_CONNECT: Final = int(PacketType.CONNECT)
_DISCONNECT: Final = int(PacketType.DISCONNECT)
_EVENT: Final = int(PacketType.EVENT)
_ACK: Final = int(PacketType.ACK)

_too_many: Final = ThrottledLog(log, logging.INFO, "closing a connection that wants to join too many namespaces")


class Gateway(socketio.AsyncServer):  # type: ignore[misc]  # socketio is not typed
    """Speaks Socket.IO v5 over Engine.IO v4 for an application, which it knows by its protocol only.

    It decodes packets and keeps each connection's namespaces; whom to let in, what an event means and who is in which
    room is the application's.
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
        self._application = application
        self._serializer = serializer
        self._engine_options = options
        self._encode = serializer.encode
        self._max_event_name = options.limits.max_event_name
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
            decoder=self._serializer.decoder,
            on_message=self._on_message,
            logger=logger,
            async_handlers=async_handlers,
        )

    def attach(self, app: web.Application, socketio_path: str = "socket.io") -> None:
        """Serve under a path of an application."""
        self.eio.attach(app, socketio_path)

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

    def join(self, frames: Sequence[Frames]) -> Frames:
        """Several packets as one: sent together, and not dropped for a slow client."""
        return JoinedFrames(cast("Sequence[EncodedFrames]", frames))

    def deliver(self, outlets: Sequence[Outlet], frames: Frames, *, volatile: bool = False) -> Awaitable[None] | None:
        """Hand frames to many outlets: no task, no await, no copy per recipient."""
        if volatile:
            for outlet in outlets:
                outlet.send(frames, volatile=True)
        else:
            for outlet in outlets:
                outlet.send(frames)
        return self.eio.room_for(outlets) if self.eio.congested else None

    # --- the state machine ------------------------------------------------------------------------------------------

    def _on_message(self, connection: Connection, data: str | bytes) -> Coroutine[Any, Any, None] | None:
        """One frame of the serializer (Socket.IO v5, "Packet types"); what it sets off, if anything."""
        try:
            packet = connection.decoder.decode(data)
        except DecodeError:
            connection.fail(DisconnectReason.PARSE_ERROR)
            return None
        except Exception:
            log.exception("the serializer's decoder raised something that is no DecodeError")
            connection.fail(DisconnectReason.PARSE_ERROR)
            return None
        if packet is None:
            return None
        nsp = packet.nsp
        receivers = connection.receivers
        kind = packet.type
        receiver = receivers.get(nsp)
        if receiver is not None:
            if kind == _EVENT:
                if len(packet.data[0]) > self._max_event_name:
                    connection.fail(DisconnectReason.PARSE_ERROR)
                    return None
                return receiver._receive(packet)
            if kind == _ACK:
                return receiver._receive(packet)
            if kind == _DISCONNECT:
                connection.leave(nsp)
                receiver._disconnected(DisconnectReason.CLIENT_NAMESPACE_DISCONNECT)
                return None
        elif kind == _CONNECT and nsp not in connection.attempts:
            if len(receivers) + len(connection.attempts) < self._engine_options.limits.max_namespaces:
                attempt = connection.attempts[nsp] = object()
                return self._connect(connection, nsp, packet.data, attempt)
            limit = self._engine_options.limits.max_namespaces
            address = connection.handshake(nsp, None).address
            _too_many(extra={"nsp": nsp, "address": address, "transport": connection.transport, "limit": limit})
        # CONNECT to a namespace it is in, an event for one it is not in, CONNECT_ERROR: Node closes, too.
        connection.close(DisconnectReason.FORCED_SERVER_CLOSE)
        return None

    async def _connect(self, connection: Connection, nsp: str, auth: Any, attempt: object) -> None:
        try:
            await self._application.connect(connection, nsp, auth)
        finally:
            if connection.attempts.get(nsp) is attempt:  # refused: the client may ask again
                del connection.attempts[nsp]
