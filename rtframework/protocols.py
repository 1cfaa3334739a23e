"""Every extension point on one screen. They are structural: an object with the right methods will do.

Authenticator, Serializer and Adapter are for plugins; Application, Receiver, Connection, Frames and Engine are the
seam between the framework and the engine: neither side knows more of the other than what stands here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    import asyncio

    from aiohttp import web

    from .types import AckResponses, Handshake, Packet, SocketDetails, Target

F = TypeVar("F", bound=Callable[..., Any])


class Authenticator(Protocol):
    """Says who a client is, before it is let into a namespace."""

    async def authenticate(self, handshake: Handshake) -> Any:
        """Return the user (any object but ``None``), which becomes ``socket.user``.

        Raise :class:`~rtframework.ConnectionRefused` to refuse with a message and data for the client. ``None``
        refuses too, so that a forgotten ``return`` lets nobody in; any other exception is logged and refuses
        without telling the client anything of the inside.
        """


class Serializer(Protocol):
    """Turns packets into frames and back; one per server. Frames are ``str`` (text) or ``bytes`` (binary)."""

    def encode(self, packet: Packet) -> Sequence[str | bytes]:
        """The frames of one packet, in the order they are sent. Raise ``EncodeError`` when it cannot be sent."""

    def decoder(self) -> Decoder:
        """A decoder for one connection. A serializer whose packets are one frame each may return itself."""


class Decoder(Protocol):
    """Collects the frames of one connection into packets: it holds what a packet still misses."""

    def decode(self, frame: str | bytes) -> Packet | None:
        """The packet that this frame completes, or ``None`` when more frames are needed.

        Raise ``DecodeError`` for anything that is no valid packet: the connection is then closed.
        """


@dataclass(frozen=True, slots=True)
class Session:
    """What is kept of a client that has gone and may come back, and what it has missed when it does."""

    sid: str
    pid: str
    """Its private id: whoever knows it can take the session up."""
    rooms: frozenset[str]
    data: dict[str, Any]
    user: Any
    authenticated: Any
    """What the authenticator returned, whatever middleware has made ``user``."""
    replayed: str | None = None
    """The offset (``""`` for none) from which missed packets were sent that the client may hold without having seen
    CONNECT: from there it cannot be told what it has."""
    left_at: float | None = None
    """When it went, in seconds of the adapter's clock; ``None``: now."""
    missed: Sequence[Frames] = ()


class Adapter(Protocol):
    """Keeps the rooms of one namespace and delivers to them; made by an :data:`AdapterFactory`.

    Room membership is local and synchronous, so that a socket that leaves is gone at once; what may cross a network
    is awaited. A ``target`` that is ``local`` means the sockets of this server alone.
    """

    def add(self, sid: str, rooms: Iterable[str]) -> None:
        """Put a socket into rooms; the first call for a sid makes it known."""

    def remove(self, sid: str, rooms: Iterable[str]) -> None:
        """Take a socket out of rooms it may or may not be in."""

    def remove_all(self, sid: str) -> frozenset[str]:
        """Forget a socket; the rooms it was in."""

    def rooms(self, sid: str) -> frozenset[str]:
        """The rooms of a socket; empty when it is not known."""

    def sockets(self, target: Target) -> list[str]:
        """The ids of this process's sockets that a target selects."""

    async def broadcast(self, packet: Packet, target: Target) -> None:
        """Deliver a packet to the sockets that a target selects, here and on the other servers of a cluster."""

    async def broadcast_with_ack(self, packet: Packet, target: Target, timeout: float | None) -> AckResponses:
        """Deliver a packet and collect the answers, see :class:`rtframework.adapters.ack_collector.AckCollector`.

        Raise :class:`~rtframework.AckTimeout`, with what did come, when not all have answered within ``timeout``
        seconds; ``None``: until each has answered or left.
        """

    async def fetch_sockets(self, target: Target) -> list[SocketDetails]:
        """Describe the sockets that a target selects. Raise ``TimeoutError`` when a server does not answer."""

    async def add_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        """Make the sockets that a target selects join rooms."""

    async def del_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        """Make the sockets that a target selects leave rooms."""

    async def disconnect_sockets(self, target: Target, close: bool) -> None:
        """Disconnect the sockets that a target selects; ``close``: from all namespaces, and their transport."""

    async def server_side_emit(self, args: Sequence[Any]) -> None:
        """Hand an event (its name first) to this namespace on the other servers; never to this one."""

    async def server_side_emit_with_ack(self, args: Sequence[Any], timeout: float) -> AckResponses:
        """The same, and collect what each answers, by a name of that server.

        Raise :class:`~rtframework.AckTimeout`, with what did come, after ``timeout`` seconds.
        """

    def persist_session(self, session: Session) -> None:
        """Keep the state of a socket that goes and may come back; it is still in its rooms.

        Also called with a session that was handed out and has not been used. Called only when the server has
        connection state recovery; ``pass`` keeps nothing.
        """

    async def restore_session(self, pid: str, offset: str | None) -> Session | None:
        """Hand out a session and everything that its client has missed since that offset; it is not kept any more.

        ``None`` when it is not known, or when anything that was missed is not there. The caller puts the socket into
        its rooms before it waits for anything, so nothing may be emitted between looking for what was missed and
        returning.
        """

    def session_time(self) -> float:
        """Seconds for which sessions may be asked for that would be lost if it were closed now; 0.0 for none.

        For so long a namespace that clients have brought into being is kept though nobody is in it.
        """

    async def start(self) -> None:
        """The application starts, or a namespace is made while it runs."""

    async def close(self) -> None:
        """The application stops, or the namespace goes: every socket has been closed already.

        It is started again when the server serves another application, maybe in another event loop.
        """

    def on(self, event: str) -> Callable[[F], F]:
        """Register the decorated plain function for changes of this process's rooms.

        ``"create_room"`` and ``"delete_room"`` are told ``(room)``, ``"join_room"`` and ``"leave_room"`` are told
        ``(room, sid)``, after the change. ``rtframework.adapters.RoomIndex`` does all of that.
        """

    def off(self, event: str, function: Callable[..., Any]) -> None:
        """Forget a function; nothing happens when it was not registered."""


class Emitter(Protocol):
    """What an adapter may do to its namespace, on this server. An id of a socket that has gone is passed over."""

    def send(
        self,
        sids: Collection[str],
        packet: Packet,
        *,
        volatile: bool = False,
        compress: bool = True,
        frames: Frames | None = None,
    ) -> Awaitable[None] | None:
        """Encode the packet once and hand it to those sockets.

        ``frames``: what is sent in its place, from :meth:`encode`; the program's catch-alls are shown the packet.

        What is returned, if anything, is to be awaited: some of the clients are slow, and emitters should wait.
        """

    def encode(self, packet: Packet, *, compress: bool = True) -> Frames:
        """Encode a packet, for adapters that keep what they send or add to it. Raises ``EncodeError``."""

    def ask(
        self, sids: Collection[str], packet: Packet, *, volatile: bool = False, compress: bool = True
    ) -> Mapping[str, asyncio.Future[list[Any]]]:
        """Send the packet with an id of this server; by socket id, the arguments that each client will answer with.

        Sockets that are not let in yet are not asked. A future fails with ``Disconnected`` when its socket leaves;
        cancel those that nobody waits for any more.
        """

    def describe(self, sids: Collection[str]) -> list[SocketDetails]:
        """What other servers may know of those sockets."""

    def join(self, sids: Collection[str], rooms: Collection[str]) -> None:
        """Make those sockets join rooms. Raises ``EventError``, after the others have, when limits forbid it to one."""

    def leave(self, sids: Collection[str], rooms: Collection[str]) -> None:
        """Make those sockets leave rooms."""

    def disconnect(self, sids: Collection[str], close: bool) -> None:
        """Disconnect those sockets."""

    async def serve(self, args: Sequence[Any]) -> Any:
        """Another server has emitted this event (its name first): run the handlers; what they answer."""


AdapterFactory: TypeAlias = Callable[[str, Emitter], Adapter]
"""``(namespace, emitter) -> Adapter``: called once per namespace."""


# --- between the framework and the engine ---------------------------------------------------------------------------


class Frames(Protocol):
    """A packet, encoded for every transport; each form is made at most once. Opaque to the framework."""

    @property
    def websocket(self) -> bytes:
        """The packet's websocket frames, joined."""

    @property
    def polling(self) -> str:
        """The packet's part of a polling payload."""

    @property
    def size(self) -> int:
        """Bytes on a websocket, frame headers included."""

    @property
    def compress(self) -> bool:
        """False when it is not worth compressing, as far as whoever emitted it knows."""

    @property
    def droppable(self) -> bool:
        """True for what a client can do without: an event that nobody answers."""

    def deflated(self, window: int, threshold: int, level: int) -> bytes:
        """Make the packet's websocket frames, compressed for those who can read that."""


class Outlet(Protocol):
    """The way of frames to one socket: its connection, or the pen that holds them until it is let in."""

    def send(self, frames: Frames, *, volatile: bool = False) -> None:
        """Take the frames; never blocks, never raises. Dropped when the client has gone."""


class Receiver(Protocol):
    """One client in one namespace, as the engine sees it."""

    def _receive(self, packet: Packet) -> Coroutine[Any, Any, None] | None:
        """Serve an EVENT or ACK. A coroutine that is returned is started at once, in the order of arrival."""

    def _disconnected(self, reason: str) -> None:
        """Hear that the client left the namespace or the connection closed. Called once."""


class Connection(Outlet, Protocol):
    """One connection of a client, whatever carries its packets: ``socket.conn``."""

    @property
    def transport(self) -> str:
        """``"polling"``, ``"websocket"``, or the name of what carries another protocol."""

    @property
    def protocol(self) -> int:
        """The version of Engine.IO that the client speaks: 4, 3 for clients of Socket.IO 2, 0 for another protocol."""

    @property
    def is_open(self) -> bool:
        """False from the moment that nothing more can be sent."""

    @property
    def has_dropped(self) -> bool:
        """True when an event was dropped because the client was too slow; volatile ones do not count."""

    def count_dropped(self, reason: str, packets: int) -> None:
        """Count packets for this client that were dropped before they came here."""

    def close(self, reason: str) -> None:
        """Close the connection once what waits was sent; every receiver hears the reason."""


class Client(Protocol):
    """One client, on one connection, in any number of namespaces."""

    @property
    def conn(self) -> Connection:
        """The connection that its packets take."""

    def handshake(self, nsp: str, auth: Any) -> Handshake:
        """Describe the client as it asks for a namespace."""

    def new_id(self, nsp: str) -> str:
        """Make an id for a socket of this client in a namespace: public, and unique."""

    def greeting(self, data: dict[str, Any]) -> Any:
        """Make the payload of CONNECT for this client."""

    def refusal(self, message: str, data: Any = None) -> Any:
        """Make the payload of CONNECT_ERROR for this client."""

    def enter(self, nsp: str, receiver: Receiver) -> bool:
        """Hand packets of this namespace to the receiver from now on. False when the connection has gone."""

    def leave(self, nsp: str) -> None:
        """End this namespace: the receiver hears nothing more, the client may CONNECT again."""


class Application(Protocol):
    """The framework, as the engine calls it."""

    async def connect(self, client: Client, nsp: str, auth: Any) -> None:
        """Let a client into a namespace, or refuse it: answer with CONNECT or CONNECT_ERROR. Never raises."""


class Engine(Protocol):
    """The engine, as the framework calls it."""

    def encode(self, packet: Packet, *, compress: bool = True) -> Frames:
        """Encode a packet for any number of connections. Raises ``EncodeError``."""

    def join(self, frames: Sequence[Frames]) -> Frames:
        """Join several packets to one: sent together, and not dropped for a slow client."""

    def deliver(self, outlets: Sequence[Outlet], frames: Frames, *, volatile: bool = False) -> Awaitable[None] | None:
        """Hand frames to many outlets in one plain loop.

        What is returned, if anything, is to be awaited: some of the clients are slow, and emitters should wait.
        """


class ConnectionMonitor(Protocol):
    """The engine's connections, as the Admin UI and statistics see them."""

    def count_clients(self) -> tuple[int, int]:
        """Count the connections that are open, and those of them that are polling."""

    def waiting_bytes(self) -> int:
        """Count the bytes for all clients that have not left the process yet."""

    def waiting_handlers(self) -> int:
        """Count the event handlers that have begun and wait for something."""

    def measure(self, meter: Meter) -> None:
        """Tell the meter, too, what passes from now on."""

    def unmeasure(self, meter: Meter) -> None:
        """Tell the meter nothing more."""


class Meter(Protocol):
    """Counts what passes on the connections of a server. Numbers, not methods: they are added to at every packet."""

    opened: int
    """Connections that were opened."""
    closed: int
    """Connections that have ended."""
    packets_in: int
    """Messages that came in."""
    bytes_in: int
    packets_out: int
    """Packets that were sent; one with its attachments, or a ping, is one."""
    bytes_out: int


class Watcher(Protocol):
    """Hears who comes into a namespace and who leaves it, in the middle of it: it may not fail."""

    def admitted(self, socket: Any) -> None:
        """The socket was told that it is connected."""

    def gone(self, socket: Any, reason: str) -> None:
        """A socket that was admitted has left; its rooms are left after this."""


class Observer(Protocol):
    """Sees each client that asks for a namespace and each event of a server from outside; see ``Server.observe``.

    It changes nothing: it awaits ``call_next()`` once, and returns or raises what that does.
    """

    async def connect(self, handshake: Handshake, call_next: Callable[[], Awaitable[str]]) -> str:
        """A client asks for the namespace ``handshake.nsp``; ``call_next`` says what became of it.

        That is one of ``rtframework.counters.CONNECTS``. It comes when all connection handlers have returned.
        """

    async def event(self, socket: Any, event: Any, call_next: CallNext) -> Any:
        """An event came; outside of all event middleware. ``event.name`` is the client's word."""

    def start(self) -> None:
        """The server serves an application, in the running loop."""

    def stop(self) -> None:
        """… and does not any more."""


CallNext: TypeAlias = Callable[[], Awaitable[Any]]
"""Runs the rest of a middleware chain; called at most once."""

ConnectMiddleware: TypeAlias = Callable[[Any, CallNext], Awaitable[None]]
"""``async (socket, call_next) -> None``: runs before a socket is let in; raises ConnectionRefused to refuse."""

EventMiddleware: TypeAlias = Callable[[Any, Any, CallNext], Awaitable[Any]]
"""``async (socket, event, call_next) -> Any``: what it returns is the acknowledgement."""


class HandleRequest(Protocol):
    """Serves the rest of an HTTP request: what engine middleware gets as ``call_next``; called at most once."""

    def __call__(self, request: web.Request = ..., /) -> Awaitable[web.StreamResponse]:
        """The response, which is not sent yet. Another request may be given, e.g. one made by ``request.clone``."""


EngineMiddleware: TypeAlias = "Callable[[web.Request, HandleRequest], Awaitable[web.StreamResponse | None]]"
"""``async (request, call_next) -> response``: runs around each HTTP request of the protocol; see ``io.engine.use``."""
