"""All extension points, as structural protocols: any object with the right methods will do.

Authenticator, Serializer and Adapter are for plugins. What the framework and the engine know of each other is in
:mod:`rtframework.protocols.seam`, what is kept of rooms in :mod:`rtframework.protocols.stores`; their names are here
as well.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypeVar, runtime_checkable

from .history_store import HistoryKeeper as HistoryKeeper
from .history_store import HistoryStore as HistoryStore
from .seam import Application as Application
from .seam import Client as Client
from .seam import Connection as Connection
from .seam import ConnectionMonitor as ConnectionMonitor
from .seam import Engine as Engine
from .seam import Frames as Frames
from .seam import Meter as Meter
from .seam import Outlet as Outlet
from .seam import Receiver as Receiver
from .stores import KeepsPresence as KeepsPresence
from .stores import PresenceStore as PresenceStore
from .stores import PresenceTab as PresenceTab
from .stores import StoredMember as StoredMember

if TYPE_CHECKING:
    import asyncio

    from aiohttp import web

    from ..options import Recovery
    from ..types import AckResponses, Handshake, Health, Packet, SocketDetails, Target

F = TypeVar("F", bound=Callable[..., Any])


class Authenticator(Protocol):
    """Authenticates a client before it is admitted to a namespace."""

    async def authenticate(self, handshake: Handshake) -> Any:
        """Return the user (any object but ``None``), which becomes ``socket.user``.

        Raise :class:`~rtframework.ConnectionRefused` to refuse with a message and data for the client. ``None`` refuses
        too, so that a forgotten ``return`` admits nobody. Any other exception is logged and refuses, with no details
        for the client.
        """


class Serializer(Protocol):
    """Encodes packets as frames and makes decoders; one per server. Frames are ``str`` (text) or ``bytes`` (binary)."""

    def encode(self, packet: Packet) -> Sequence[str | bytes]:
        """Return the frames of a packet, in the order of sending. Raise ``EncodeError`` if it cannot be encoded."""

    def decoder(self) -> Decoder:
        """Return a decoder for one connection. A serializer with one frame per packet may return itself."""


class Decoder(Protocol):
    """Decodes the frames of one connection into packets, and holds the frames of a packet that is incomplete."""

    def decode(self, frame: str | bytes) -> Packet | None:
        """Return the packet that this frame completes, ``None`` if more frames are needed.

        Raise ``DecodeError`` for an invalid packet: the connection is then closed.
        """


UNKNOWN: Final = object()
"""The ``identity`` of a session that was kept by a server which does not say whose it is: the pid alone decides."""


@dataclass(frozen=True, slots=True)
class Session:
    """The state of a disconnected client that may come back, and the packets that it has missed when it does."""

    sid: str
    pid: str
    """The private id, a secret: a client that knows it can recover the session."""
    rooms: frozenset[str]
    data: dict[str, Any]
    user: Any = None
    authenticated: Any = None
    """The result of the authenticator, which middleware may have replaced in ``user``."""
    replayed: str | None = None
    """Offset from which packets were last replayed, ``""`` for a client without one; ``None`` if none were replayed.

    Recovering from this offset again is unsafe: the client may have received some of the packets without CONNECT.
    """
    left_at: float | None = None
    """Time of the disconnect, in seconds of the adapter's clock; ``None``: now."""
    missed: Sequence[Frames] = ()
    """Packets that the client has missed, in order; filled by :meth:`Adapter.restore_session`."""
    identity: Any = None
    """The key that ``Recovery.identity`` made of ``authenticated``; :data:`UNKNOWN` if nobody knows it.

    An adapter that writes sessions down keeps only those whose identity it can read back as an equal value.
    """
    replaced: bool = False
    """True if middleware had replaced ``user``."""
    origin: str | None = None
    """The name of the server that kept it; ``None``: this one.

    A session of another server has no objects of Python: ``user`` and ``authenticated`` are ``None``.
    """


class Adapter(Protocol):
    """Keeps the rooms of one namespace and delivers packets to them; made by an :data:`AdapterFactory`.

    Room membership is local and synchronous, so that a socket that leaves is gone at once; methods that may use a
    network are coroutines. A ``target`` with ``local`` selects the sockets of this server only.
    """

    def add(self, sid: str, rooms: Iterable[str]) -> Awaitable[None] | None:
        """Put a socket into rooms; the first call for a socket id makes it known, even without rooms.

        The socket is in the rooms when this returns. Return an awaitable if packets of other servers to one of them do
        not reach this server yet, also if the socket was in that room before: it is done when they do, and raises if
        they will not, e.g. :class:`~rtframework.ClusterUnavailable`; the socket stays in its rooms. The work has begun
        before this returns, because the awaitable may be dropped: return a future or a task, not a coroutine.
        """

    def remove(self, sid: str, rooms: Iterable[str]) -> Awaitable[None] | None:
        """Take a socket out of rooms; rooms that it is not in are ignored. Return as :meth:`add` does."""

    def remove_all(self, sid: str) -> frozenset[str]:
        """Forget a socket. Return the rooms that it was in."""

    def rooms(self, sid: str) -> frozenset[str]:
        """Return the rooms of a socket; empty if it is unknown."""

    def sockets(self, target: Target) -> list[str]:
        """Return the ids of this process's sockets that a target selects."""

    def broadcast(self, packet: Packet, target: Target) -> Awaitable[None]:
        """Deliver a packet to the sockets that a target selects, here and on the other servers of a cluster.

        Raise ``EncodeError``, before anything is delivered, if the packet cannot be encoded. Raise
        :class:`~rtframework.ClusterUnavailable` if the other servers do not get it: then nobody has it, or, if the
        error is ``local``, only the sockets of this server.
        """

    async def broadcast_with_ack(self, packet: Packet, target: Target, timeout: float | None) -> AckResponses:
        """Deliver a packet and collect the answers, see :class:`rtframework.adapters.ack_collector.AckCollector`.

        Raise :class:`~rtframework.AckTimeout`, with the answers so far, if not all have answered within ``timeout``
        seconds; ``None``: wait until each socket has answered or left.
        """

    async def fetch_sockets(self, target: Target, timeout: float | None) -> list[SocketDetails]:
        """Describe the sockets that a target selects.

        Raise :class:`~rtframework.FetchTimeout`, with those described so far, if a server does not answer within
        ``timeout`` seconds; ``None``: a time that the adapter chooses.
        """

    async def add_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        """Make the sockets that a target selects join rooms."""

    async def del_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        """Make the sockets that a target selects leave rooms."""

    async def disconnect_sockets(self, target: Target, close: bool, reason: str | None) -> None:
        """Disconnect the sockets that a target selects; ``close``: also close their connections.

        ``reason``: what their disconnect handlers hear in place of "server namespace disconnect".
        """

    async def server_side_emit(self, args: Sequence[Any]) -> None:
        """Emit an event (its name first in ``args``) to this namespace on all other servers, not on this one."""

    async def server_side_emit_with_ack(self, args: Sequence[Any], timeout: float) -> AckResponses:
        """Emit an event to this namespace on all other servers, and return their answers, by a name of each server.

        Raise :class:`~rtframework.AckTimeout`, with the answers so far, after ``timeout`` seconds.
        """

    def keep_session(self, session: Session) -> None:
        """Hear of a client that is told that it is in, and of the state that it may recover when this process dies.

        Called once for each socket. An adapter that writes sessions down asks ``Emitter.session`` for the state of
        later: a program changes ``socket.data`` as it likes, so nobody could tell when it has changed. Called, as the
        next three, only if the server has connection state recovery.
        """

    def persist_session(self, session: Session) -> None:
        """Keep the state of a socket that disconnects and may come back; the socket is still in its rooms.

        Also called to give back a session that was restored but not used: the client was refused, or went away. An
        adapter that keeps no sessions does nothing.
        """

    def forget_session(self, pid: str) -> None:
        """Forget the session of a socket that disconnects and cannot come back: its client has left, say."""

    async def restore_session(self, pid: str, offset: str | None, accept: Callable[[Session], bool]) -> Session | None:
        """Remove a session and return it with all packets that its client has missed since an offset.

        Return ``None`` if the session is unknown, or if any missed packet has been discarded. Ask ``accept(session)``
        with the missed packets before anything is removed: a session that it refuses stays as it is, and the result is
        ``None``. It may be asked again, e.g. when more packets have come meanwhile.

        The caller puts the socket into its rooms before it waits for anything. So no packet may be emitted between
        collecting the missed packets and returning.
        """

    async def forget_sessions(self, belongs: Callable[[Session], bool]) -> int:
        """Forget the sessions for which ``belongs`` returns true: no client can restore them. Return their number."""

    def session_time(self) -> float:
        """Return the seconds until the last of the sessions expires that closing the adapter would lose; 0.0 for none.

        For this time, an empty namespace that was made for clients is kept.
        """

    async def start(self) -> None:
        """Start the adapter: the application starts, or the namespace is made while it runs."""

    async def close(self) -> None:
        """Stop the adapter: the application stops, or the namespace is removed. All sockets have been closed before.

        The adapter is started again if the server serves another application, possibly in another event loop.
        """

    def on(self, event: str) -> Callable[[F], F]:
        """Register the decorated plain function for changes of this process's rooms.

        Functions for ``"create_room"`` and ``"delete_room"`` are called with ``(room)``, those for ``"join_room"`` and
        ``"leave_room"`` with ``(room, sid)``, after the change. ``rtframework.adapters.RoomIndex`` implements this.
        """

    def off(self, event: str, function: Callable[..., Any]) -> None:
        """Remove a function; does nothing if it was not registered."""


class Emitter(Protocol):
    """The actions of an adapter on its namespace, on this server. Ids of sockets that have gone are ignored."""

    @property
    def recovery(self) -> Recovery | None:
        """The settings of connection state recovery; ``None``: the server has none, and no session is kept."""

    @property
    def linger(self) -> float:
        """The seconds that the server may take to notice that a client has gone: ping interval and ping timeout."""

    @property
    def node(self) -> str:
        """The name of this server in its cluster: that of the :class:`Backbone`; ``""`` without one."""

    def send(
        self,
        sids: Collection[str],
        packet: Packet | Callable[[], Packet],
        *,
        volatile: bool = False,
        compress: bool = True,
        frames: Frames | None = None,
        rooms: Collection[str] | None = None,
    ) -> Awaitable[None] | None:
        """Encode a packet once and send it to sockets.

        ``frames``: frames of :meth:`encode` or :meth:`splice` to send in its place. The program's catch-alls still get
        the packet; with ``frames`` it may be a function, which is called only if there are any.

        ``rooms``: the rooms of the target, for clients of protocols that tell them; ``None`` for everybody.

        Return an awaitable if emitters should wait for slow clients, else ``None``.
        """

    def encode(self, packet: Packet, *, compress: bool = True) -> Frames:
        """Encode a packet, for adapters that keep packets or add to them. Raises ``EncodeError``."""

    def text(self, packet: Packet) -> str | None:
        """Return the arguments of an event, its name first, as a JSON array: what other servers get.

        Return ``None`` if there are bytes among them, or if the serializer does not write JSON. Raises ``EncodeError``.
        """

    def plain(self, data: Sequence[Any]) -> list[Any]:
        """Turn arguments or answers into JSON's own types and ``bytes``, for messages to other servers.

        They are what the server's serializer makes of them; a ``datetime`` is an ISO string. Raises ``EncodeError``.
        """

    def splice(self, args: str, tail: str | None = None, *, compress: bool = True) -> Frames | None:
        """Make the frames of an event of its arguments as a JSON array, which is not decoded.

        ``args`` is valid JSON, e.g. of :meth:`text` or from another server. ``tail``: one more argument at the end.
        Return ``None`` if the serializer does not write JSON: decode the arguments, and use :meth:`encode`.
        """

    def ask(
        self,
        sids: Collection[str],
        packet: Packet,
        *,
        volatile: bool = False,
        compress: bool = True,
        rooms: Collection[str] | None = None,
    ) -> Mapping[str, asyncio.Future[list[Any]]]:
        """Send a packet that requests an acknowledgement. Return futures of the clients' answers, by socket id.

        Sockets that are not admitted yet are left out. A future has the arguments of the answer, or fails with
        ``Disconnected`` if its socket leaves; cancel the futures that are no longer needed. ``rooms``: as for
        :meth:`send`.
        """

    def describe(self, sids: Collection[str]) -> list[SocketDetails]:
        """Return the data of sockets that other servers may get."""

    def session(self, sid: str) -> Session | None:
        """Return the state that a connected socket may recover, as it is now; ``None`` if it has no such state."""

    def join(self, sids: Collection[str], rooms: Collection[str]) -> Awaitable[None] | None:
        """Make sockets join rooms. Raises ``EventError``, after all others have joined, for one beyond its limits.

        Return an awaitable if :meth:`Adapter.add` has returned one, else ``None``; the error is then raised by it.
        """

    def leave(self, sids: Collection[str], rooms: Collection[str]) -> Awaitable[None] | None:
        """Make sockets leave rooms. Return an awaitable if :meth:`Adapter.remove` has returned one, else ``None``."""

    def disconnect(
        self, sids: Collection[str], close: bool, *, reason: str | None = None, persist: bool = True
    ) -> None:
        """Disconnect sockets; ``close``: also close their connections.

        ``reason``: what their disconnect handlers hear in place of "server namespace disconnect". ``persist=False``:
        another server continues the socket, whose connection is dead. Its session is neither kept nor forgotten here,
        its client is told nothing, and its disconnect handlers hear "transport close" if there is no ``reason``.
        """

    async def serve(self, args: Sequence[Any]) -> Any:
        """Run the handlers for an event of another server (its name first in ``args``). Return their answer."""

    def gap(self, since: float) -> None:
        """Tell that packets of other servers may have been missed since a time, in seconds since the epoch.

        The program is told. No client may take what it has for complete: those that can recover are closed, within 5
        seconds and not all at once, and start anew when they come back.
        """

    def state(self, up: bool) -> None:
        """Tell the program that the connection to the other servers was lost or is there again; repeat as you like."""

    def lost(self, packet: Packet, target: Target, error: Exception) -> None:
        """Tell that the others do not get an event whose emitter has gone; errors that are raised are told anyway."""


class Backbone(Protocol):
    """A factory of adapters with something that they share, e.g. one connection to a broker: ``Server(adapter=...)``.

    One backbone serves all namespaces of one server, also those that come and go.
    """

    def __call__(self, nsp: str, emitter: Emitter, /) -> Adapter:
        """Return the adapter of a namespace. Called before :meth:`start`, and while it runs."""

    @property
    def node(self) -> str:
        """The name of this server in the cluster; no other server has it."""

    @property
    def health(self) -> Health:
        """The state of the connection to the other servers."""

    async def start(self) -> None:
        """Start: the server begins to serve an application. Called before any adapter is started.

        What it raises is why the application does not start; :meth:`stop` is called then, too. Called again when the
        server serves another application, possibly in another event loop.
        """

    async def stop(self) -> None:
        """Stop: the server no longer serves an application. Called when all adapters have been closed."""


class KeyValueStore(Protocol):
    """Keeps small values for all servers of a cluster, each for a time: which events were served, say.

    Keys are ASCII text of up to 200 characters, values are bytes. Each method does its work in one step: of two servers
    that call at once, one is first. If it is unknown whether something was done, because the connection was lost, an
    implementation finds out or raises. Raises :class:`~rtframework.ClusterUnavailable` when nothing can be done.
    """

    async def get(self, key: str) -> bytes | None:
        """Return a value; ``None`` if there is none, or if its time is over."""

    async def set(self, key: str, value: bytes, seconds: float) -> None:
        """Keep a value for so many seconds, whatever was there before."""

    async def add(self, key: str, value: bytes, seconds: float) -> bytes | None:
        """Keep a value if there is none, and return ``None``; otherwise return the value that is there.

        A value equal to the one given counts as none: it was added by a call whose reply was lost.
        """

    async def replace(self, key: str, old: bytes, value: bytes, seconds: float) -> bool:
        """Keep a value in place of another one. Return ``False``, and do nothing, if that is not there."""

    async def remove(self, key: str, old: bytes | None = None) -> bool:
        """Remove a value; ``old``: only this one. Return ``False``, and do nothing, if it is not there."""


@runtime_checkable
class KeepsValues(Protocol):
    """A :class:`Backbone` that keeps values for all servers. Not all do."""

    @property
    def store(self) -> KeyValueStore:
        """The store of all servers that are joined."""


AdapterFactory: TypeAlias = Callable[[str, Emitter], Adapter]
"""``(namespace, emitter) -> Adapter``: called once per namespace. It may be a :class:`Backbone`."""


class Watcher(Protocol):
    """Is called when sockets connect to and disconnect from a namespace. Its methods must not raise."""

    def admitted(self, socket: Any) -> None:
        """Handle a socket that has been sent CONNECT."""

    def gone(self, socket: Any, reason: str) -> None:
        """Handle an admitted socket that has disconnected; it leaves its rooms after this call."""


class Observer(Protocol):
    """Wraps each CONNECT to a namespace and each event of a server, outside of middleware; see ``Server.observe``.

    An observer changes nothing: it awaits ``call_next()`` once, and returns its result or lets its exception pass.
    """

    async def connect(self, handshake: Handshake, call_next: Callable[[], Awaitable[str]]) -> str:
        """Observe a client that connects to the namespace ``handshake.nsp``.

        ``call_next()`` returns the outcome, one of ``rtframework.counters.CONNECTS``, after all connection handlers
        have returned.
        """

    async def event(self, socket: Any, event: Any, call_next: CallNext) -> Any:
        """Observe an event, outside of all event middleware.

        ``event.name``, a string or an integer, is chosen by the client.
        """

    def start(self) -> None:
        """Start, in the running loop: the server begins to serve an application."""

    def stop(self) -> None:
        """Stop: the server no longer serves an application."""


CallNext: TypeAlias = Callable[[], Awaitable[Any]]
"""``async () -> result``: runs the rest of a middleware chain; called at most once."""

ConnectMiddleware: TypeAlias = Callable[[Any, CallNext], Awaitable[None]]
"""``async (socket, call_next) -> None``: runs before a socket is admitted; raises ConnectionRefused to refuse."""

EventMiddleware: TypeAlias = Callable[[Any, Any, CallNext], Awaitable[Any]]
"""``async (socket, event, call_next) -> Any``: runs around the handlers; its result is the acknowledgement."""


class HandleRequest(Protocol):
    """The ``call_next`` of engine middleware: handles the rest of an HTTP request; called at most once."""

    def __call__(self, request: web.Request = ..., /) -> Awaitable[web.StreamResponse]:
        """Return the response, which is not sent yet.

        ``request``: another request to handle instead, e.g. one made by ``request.clone``.
        """


EngineMiddleware: TypeAlias = "Callable[[web.Request, HandleRequest], Awaitable[web.StreamResponse | None]]"
"""``async (request, call_next) -> response``: runs around each HTTP request of the protocol; see ``io.engine.use``."""
