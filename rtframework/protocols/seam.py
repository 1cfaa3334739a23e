"""The seam between the framework and the engine, which use nothing else of each other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from ..types import Handshake, Packet

F = TypeVar("F")


class Frames(Protocol):
    """A packet encoded for all transports; each form is made at most once. The framework does not look inside.

    It sets ``rooms`` to the names of the rooms that a packet was emitted to, for protocols that tell their clients.
    """

    @property
    def websocket(self) -> bytes:
        """The packet as websocket frames, joined."""

    @property
    def polling(self) -> str:
        """The packet as part of a polling payload."""

    @property
    def size(self) -> int:
        """Number of bytes on a websocket, frame headers included."""

    @property
    def compress(self) -> bool:
        """True unless the emitter has switched compression off."""

    @property
    def droppable(self) -> bool:
        """True if the packet may be dropped for a slow client: an event that requests no acknowledgement."""

    offset: str | None
    """The offset that recovery has added behind the arguments of an event."""
    entry: str | None
    """The id of its entry in a history, behind the arguments; if the offset is another string, in front of that."""

    def deflated(self, window: int, threshold: int, level: int) -> bytes:
        """Return the packet as compressed websocket frames.

        ``window``: log2 of the window size. ``threshold``: bytes from which a message is compressed. ``level``: zlib's.
        """

    def form(self, key: object, make: Callable[[Sequence[str | bytes]], F]) -> F:
        """Return the packets in the form of another protocol, which is made once for each key and kept.

        ``make`` gets what the serializer has made of the packets: a text, or bytes, and after it its attachments.
        """


class Outlet(Protocol):
    """The destination of frames for one socket: its connection, or a buffer until the socket is admitted."""

    def send(self, frames: Frames, *, volatile: bool = False) -> None:
        """Send frames, or drop them if the client has gone. Never blocks, never raises."""


class Receiver(Protocol):
    """One client in one namespace, as the engine sees it."""

    def _receive(self, packet: Packet) -> Coroutine[Any, Any, None] | None:
        """Handle an EVENT or ACK. A coroutine that is returned is started at once, in the order of arrival."""

    def _disconnected(self, reason: str) -> None:
        """Handle the end: the client has left the namespace, or the connection was closed. Called once."""


class Connection(Outlet, Protocol):
    """One connection of a client, whatever carries its packets: ``socket.conn``."""

    @property
    def transport(self) -> str:
        """The current transport: ``"polling"``, ``"websocket"``, or the name of another protocol's carrier."""

    @property
    def protocol(self) -> int:
        """The version of Engine.IO that the client speaks: 4, 3 for clients of Socket.IO 2, 0 for another protocol."""

    @property
    def is_open(self) -> bool:
        """True until nothing more can be sent."""

    @property
    def has_dropped(self) -> bool:
        """True if an event was dropped because the client was too slow; volatile events do not count."""

    def count_dropped(self, reason: str, packets: int) -> None:
        """Count packets for this client that were dropped before :meth:`send`."""

    def close(self, reason: str) -> None:
        """Close the connection after all waiting packets are sent; every receiver gets the reason."""

    def began(self) -> int:
        """Count a handler that runs in the background for this client. Return the bytes of memory that it takes."""

    def ended(self, weight: int) -> None:
        """Count a handler that has ended, with the result of :meth:`began`."""


class Client(Protocol):
    """One client, on one connection, in any number of namespaces."""

    buckets: dict[Any, Any] | None
    """What rate limits remember of the connection; ``None`` at first."""
    received: int
    """Bytes of its messages since somebody has set it to 0, if they are counted."""

    @property
    def address(self) -> str | None:
        """The client's network address."""

    @property
    def prepare(self) -> Callable[[Any], Awaitable[None]] | None:
        """Called with the socket when that has joined a namespace, before its connection handlers; ``None``: nothing.

        What it raises refuses the client.
        """

    @property
    def conn(self) -> Connection:
        """The connection that its packets take."""

    def handshake(self, nsp: str, auth: Any) -> Handshake:
        """Describe the client as it asks for a namespace."""

    def new_id(self, nsp: str) -> str:
        """Make an id for a socket of this client in a namespace: public, and unique."""

    def greeting(self, data: dict[str, Any]) -> Any:
        """Make the payload of CONNECT for this client."""

    def refusal(self, nsp: str, message: str, data: Any = None) -> Any:
        """Make the payload of CONNECT_ERROR for this client, whom a namespace refuses."""

    def enter(self, nsp: str, receiver: Receiver) -> bool:
        """Hand packets of this namespace to the receiver from now on. False when the connection has gone."""

    def leave(self, nsp: str) -> None:
        """End this namespace: the receiver hears nothing more, the client may CONNECT again."""


class Application(Protocol):
    """The framework, as the engine sees it."""

    async def connect(self, client: Client, nsp: str, auth: Any) -> None:
        """Handle a client's CONNECT to a namespace, and answer with CONNECT or CONNECT_ERROR. Never raises."""


class Engine(Protocol):
    """The engine, as the framework sees it."""

    def encode(self, packet: Packet, *, compress: bool = True) -> Frames:
        """Encode a packet for any number of connections. Raises ``EncodeError``."""

    def text(self, packet: Packet) -> str | None:
        """Return a packet's data as JSON; ``None`` with bytes or another serializer. Raises ``EncodeError``."""

    def plain(self, data: Sequence[Any]) -> list[Any]:
        """Turn arguments into JSON's own types and ``bytes``, as the serializer would. Raises ``EncodeError``."""

    def splice(self, nsp: str, args: str, tail: str | None = None, *, compress: bool = True) -> Frames | None:
        """Make an event of its arguments as JSON; ``tail``: one more. ``None`` with a serializer of another format."""

    def join(self, frames: Sequence[Frames]) -> Frames:
        """Join several packets into one, which is sent as a whole and not dropped for a slow client."""

    def deliver(self, outlets: Sequence[Outlet], frames: Frames, *, volatile: bool = False) -> Awaitable[None] | None:
        """Send frames to many outlets in one plain loop.

        Return an awaitable if emitters should wait for slow clients, else ``None``.
        """


class ConnectionMonitor(Protocol):
    """The engine's connections, as the Admin UI and the statistics see them."""

    def count_clients(self) -> Mapping[str, int]:
        """Return the number of open connections by the name of their transport, "polling" and "websocket" at least."""

    def waiting_bytes(self) -> int:
        """Return the number of bytes that have not left the process yet, for all clients together."""

    def inbound_bytes(self) -> int:
        """Return the bytes of memory that messages of clients take, for all clients together."""

    def waiting_handlers(self) -> int:
        """Return the number of event handlers that have started and wait for something."""

    def measure(self, meter: Meter) -> None:
        """Start to count traffic in a meter, besides those that count already."""

    def unmeasure(self, meter: Meter) -> None:
        """Stop counting traffic in a meter."""


class Meter(Protocol):
    """Counts of the traffic of a server; plain attributes, because they are incremented for every packet."""

    opened: int
    """Connections that were opened."""
    closed: int
    """Connections that have ended."""
    packets_in: int
    """Messages that were received."""
    bytes_in: int
    packets_out: int
    """Packets that were sent; a packet with its attachments counts as one, as does a ping."""
    bytes_out: int
