"""An event on its way to its handlers, and what answers it."""

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
    "connect": CONNECTION,  # Node knows both
    "disconnecting": DISCONNECTING,
    "disconnect": DISCONNECT,
}
NEW_NAMESPACE: Final = "new_namespace"
"""The server tells of it, and no namespace."""


class Event:
    """An event on its way to its handler, as event middleware sees it. ``name`` and ``args`` may be changed."""

    __slots__ = ("_packet", "args", "found", "name")

    def __init__(self, name: str, args: list[Any], packet: Packet | None = None) -> None:
        self.name = name
        self.args = args
        self._packet = packet
        self.found: Mapping[Hashable, Any] | None = None

    def __repr__(self) -> str:
        return f"<Event {self.name!r} with {len(self.args)} argument(s)>"

    @property
    def packet(self) -> Packet | None:
        """As it came: what an :class:`Ack` answers to."""
        return self._packet


class Acknowledging(Protocol):
    """A socket, as an :class:`Ack` sees it."""

    id: str

    @property
    def nsp(self) -> str:
        """The name of its namespace."""

    def _acknowledge(self, packet: Packet, args: list[Any]) -> None:
        """Send the answer to an event, unless it has one. Raises ``EncodeError``."""

    async def _explain(self, error: BaseException, packet: Packet | None) -> Any:
        """Ask the exception handlers. Return an answer, another exception, or the one that was given."""

    def _answer(self, packet: Packet, args: list[Any]) -> bool:
        """The same; what cannot be sent is logged and answered with ``internal_error``: then it is ``False``."""


class Ack:
    """Answers one event: given to handlers that have a parameter named ``ack``.

    Call it with any number of arguments, when you like; what the handler returns does not count then. The first call
    answers, later ones do nothing, as with Node, and so does every call when the client asked for no answer. Raises
    ``EncodeError`` when the arguments cannot be sent.

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
        """Return whether the client still waits for an answer."""
        return self._packet.id is not None


class Deferred:
    """The result of a handler that answers by :class:`Ack`."""

    def __repr__(self) -> str:
        return "<answered by ack()>"


DEFERRED: Final = Deferred()
