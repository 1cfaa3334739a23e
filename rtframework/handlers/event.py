"""An event on its way to its handlers, and its acknowledgement."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from ..types import Packet

CONNECTION: Final = "connection"
DISCONNECTING: Final = "disconnecting"
DISCONNECT: Final = "disconnect"
LIFECYCLE: Final = {
    "connection": CONNECTION,
    "connect": CONNECTION,  # Node has both names
    "disconnecting": DISCONNECTING,
    "disconnect": DISCONNECT,
}
NEW_NAMESPACE: Final = "new_namespace"
"""An event of the server only, for each new namespace; namespaces do not have it."""


class Event:
    """An event on its way to its handler, as event middleware sees it. ``name`` and ``args`` may be changed.

    ``name`` is a string, or an integer if that is what the client has sent.
    """

    __slots__ = ("_packet", "args", "found", "name")

    def __init__(self, name: str | int, args: list[Any], packet: Packet | None = None) -> None:
        self.name = name
        self.args = args
        self._packet = packet
        self.found: Mapping[Hashable, Any] | None = None

    def __repr__(self) -> str:
        return f"<Event {self.name!r} with {len(self.args)} argument(s)>"

    @property
    def packet(self) -> Packet | None:
        """The packet as the client sent it; an :class:`Ack` answers it."""
        return self._packet


class Passage:
    """A client on its way through connect middleware."""

    __slots__ = ("found", "is_through")

    def __init__(self) -> None:
        self.found: Mapping[Hashable, Any] | None = None
        self.is_through = False
        """True if every middleware has called ``call_next()``, so that the end of the chain was reached."""


class Acknowledging(Protocol):
    """A socket, as an :class:`Ack` sees it."""

    id: str

    @property
    def nsp(self) -> str:
        """Name of the socket's namespace."""

    def _acknowledge(self, packet: Packet, args: list[Any]) -> None:
        """Send the acknowledgement of an event, unless it has been sent. Raises ``EncodeError``."""

    async def _explain(self, error: BaseException, packet: Packet | None) -> Any:
        """Ask the exception handlers. Return their answer, another exception, or ``error`` itself."""

    def _answer(self, packet: Packet, args: list[Any]) -> bool:
        """Send the acknowledgement of an event, unless it has been sent.

        If the arguments cannot be encoded, log that, answer ``internal_error`` and return ``False``.
        """


class Ack:
    """A callable that acknowledges one event, passed to handlers with a parameter named ``ack``.

    Call it with any number of arguments, at any time; the return value of the handler is then ignored. The first call
    sends the acknowledgement; later calls do nothing, as in Node, and no call does anything if the client requested no
    acknowledgement. Raises ``EncodeError`` if the arguments cannot be sent.

    Example::

        @io.on("save")
        async def save(socket: Socket, text: str, ack: Ack) -> None:
            ack("received")
            await store(text)
    """

    __slots__ = ("_packet", "_socket")

    def __init__(self, socket: Acknowledging, packet: Packet) -> None:
        self._socket = socket
        self._packet = packet

    def __call__(self, *args: Any) -> None:
        self._socket._acknowledge(self._packet, list(args))

    @property
    def wanted(self) -> bool:
        """True while the client waits for an acknowledgement."""
        return self._packet.id is not None


class Deferred:
    """The result of a handler that answers by :class:`Ack`."""

    def __repr__(self) -> str:
        return "<answered by ack()>"


DEFERRED: Final = Deferred()
