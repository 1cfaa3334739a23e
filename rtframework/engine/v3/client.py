"""A client of Socket.IO 2.

It is in the main namespace without asking, its CONNECT to another one carries a query and no object, it computes the
ids of its sockets itself, and a refusal is a value of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from ...exceptions import DecodeError
from ...types import PacketType
from ..client import Client

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from ...options import Limits
    from ...protocols import Application, Decoder
    from ...types import Handshake, Packet
    from ..interfaces import ClientConnection

_CONNECT: Final = int(PacketType.CONNECT)
_MAX_FIELDS: Final = 1000
"""Names in the query of a namespace."""


class Client3(Client):
    """A client of Socket.IO 2; ``session_id`` is that of its connection, which it knows, too."""

    __slots__ = ("_session_id",)

    def __init__(
        self,
        conn: ClientConnection,
        handshake: Handshake,
        *,
        application: Application,
        decoder: Decoder,
        limits: Limits,
        session_id: str,
    ) -> None:
        super().__init__(conn, handshake, application=application, decoder=NamespaceDecoder(decoder), limits=limits)
        self._session_id = session_id

    def join(self) -> Coroutine[Any, Any, None] | None:
        """Ask for the main namespace, which the client does not do itself."""
        return self._ask("/", None)

    def new_id(self, nsp: str) -> str:
        """Make the id that the client computes for itself, too."""
        return self._session_id if nsp == "/" else f"{nsp}#{self._session_id}"

    def greeting(self, data: dict[str, Any]) -> Any:
        """Make no payload of CONNECT: the client would take anything for an error."""
        return None

    def refusal(self, nsp: str, message: str, data: Any = None) -> Any:
        """Make what the client's "error" event is given."""
        return message if data is None else data


class NamespaceDecoder:
    """The decoder of a connection, for CONNECT packets as Socket.IO 2 has them.

    The query of ``/admin?token=1`` takes the place of the object that a newer client sends.
    """

    __slots__ = ("_decoder",)

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    def decode(self, frame: str | bytes) -> Packet | None:
        """Return the packet that this frame completes, or ``None`` while attachments are missing."""
        packet = self._decoder.decode(frame)
        if packet is not None and (packet.type == _CONNECT or "?" in packet.nsp):
            packet.nsp, _, query = packet.nsp.partition("?")
            if packet.type == _CONNECT:
                packet.data = _fields_of(query)
        return packet


def _fields_of(query: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_FIELDS))
    except ValueError:
        raise DecodeError("a namespace with too long a query") from None
