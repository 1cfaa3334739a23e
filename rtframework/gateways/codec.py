"""The wire of a plain websocket, for programs that have one of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..types import Packet

if TYPE_CHECKING:
    from ..types import Handshake
    from .packets import Outgoing


@dataclass(frozen=True, slots=True)
class Reply:
    """A message that is sent back at once, for a message that is no packet: the ``"pong"`` to a ``"ping"``."""

    message: str | bytes


class WebSocketCodec:
    """Turns the messages of plain websockets into packets, and packets into messages; a base class.

    One object serves all clients, so it keeps nothing of any: ``socket.data`` is for that. ``str`` messages are text,
    ``bytes`` are binary.

    Example::

        import json

        class Codec(WebSocketCodec):
            def decode(self, message):
                return Packet(PacketType.EVENT, data=["message", json.loads(message)])

            def encode(self, packet):
                return json.dumps(packet.data[1]) if packet.type == PacketType.EVENT else None

        io.attach_websocket(app, "/ws", codec=Codec())
    """

    subprotocols: Sequence[str] = ()
    """The subprotocols (``Sec-WebSocket-Protocol``) that it speaks; of those that a client offers, the first counts."""
    names_namespaces: ClassVar[bool] = False
    """True if its packets name their namespace, ``""`` for the one with which the connection has begun."""

    def decode(self, message: str | bytes) -> Packet | Reply | None:
        """Make a packet of a client's message.

        EVENT: ``Packet(PacketType.EVENT, data=[name, *arguments])``, with an ``id`` if the client wants the answer.
        ACK: ``Packet(PacketType.ACK, data=[*arguments], id=id)``. ``None``: nothing is to be done. Raises
        :class:`~rtframework.DecodeError` or ``ValueError`` for a message that is wrong: the client gets :meth:`error`,
        and is closed with the code 4400.
        """
        raise NotImplementedError

    def encode(self, packet: Packet) -> str | bytes | None:
        """Make the message of a packet, once for all clients that get it; ``None``: they are not sent it.

        EVENT: ``packet.data`` is ``[name, *arguments]``, and ``packet.id`` a number if an answer is expected. ACK: the
        answer to the client's event of that ``id``. CONNECT: the client has been let in; ``{"sid": …}``.
        CONNECT_ERROR: it has been refused; ``{"message": …, "data": …}``. DISCONNECT: it has been sent away.
        """
        raise NotImplementedError

    def auth(self, handshake: Handshake) -> Mapping[str, Any] | None:
        """Return the ``auth`` with which a client asks to be let in when it opens its websocket: ``?token=``, if given.

        ``None``: it is let in later, by a message of which :meth:`decode` makes
        ``Packet(PacketType.CONNECT, data=auth)``. Cookies and headers are in the handshake anyway.
        """
        return {key: handshake.query[key] for key in ("token", "pid", "offset") if key in handshake.query}

    def error(self, message: str, packet: Packet | None = None) -> str | bytes | None:
        """Make the message that tells a client of its mistake; ``None``: it is not told.

        ``packet``: the packet with the mistake, if one could be made.
        """
        return None

    def encode_outgoing(self, outgoing: Outgoing) -> str | bytes | None:
        """Make the message of a packet that is not decoded yet, if that can be avoided; :meth:`encode` does it else."""
        return self.encode(outgoing.packet)
