"""One client in one namespace."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Coroutine
from typing import TYPE_CHECKING, Any, Final, Protocol

from .broadcast import Audience, BroadcastOperator, Rooms
from .events import from_ack, to_ack
from .exceptions import AckTimeout, ConfigurationError, Disconnected, EncodeError, EventError
from .recovery import RECOVERABLE, Session
from .types import DisconnectReason, Packet, PacketType, Target

if TYPE_CHECKING:
    from .options import Limits
    from .protocols import Connection, Engine, Frames, Outlet
    from .types import Handshake

log: Final = logging.getLogger("rtframework.socket")

_ACK: Final = int(PacketType.ACK)
_INTERNAL_ERROR: Final = EventError("internal_error", "Internal server error").to_payload()
_CANCELLED: Final = EventError("cancelled", "The handler was cancelled").to_payload()

_ARRIVING: Final = 0
"""Being authenticated: in no room, receives nothing."""
_ENTERED: Final = 1
"""Its connection handlers run: it can be selected, but what is sent to it is held back."""
_ADMITTED: Final = 2
_GONE: Final = 3


class Home(Audience, Protocol):
    """The namespace, as its sockets see it."""

    engine: Engine
    limits: Limits

    def next_ack_id(self) -> int:
        """A number that no packet of this namespace has had."""

    def is_ordered(self, event: str) -> bool:
        """Whether this event waits for the one before it."""

    def dispatch(self, socket: Socket, name: str, args: list[Any]) -> Awaitable[Any]:
        """Run middleware and handler; what goes into the acknowledgement."""

    def admit(self, socket: Socket, outlet: Outlet) -> None:
        """Frames for this socket go to that outlet from now on."""

    def remove(self, socket: Socket, reason: str, *, notify: bool) -> None:
        """The socket has gone; ``notify``: its disconnect handlers are to be run."""


class _Pen:
    """Holds what is emitted to a socket until it is let in."""

    __slots__ = ("_limit", "_size", "_socket", "frames")

    def __init__(self, socket: Socket, limit: int) -> None:
        self.frames: list[Frames] = []
        self._size = 0
        self._limit = limit
        self._socket = socket

    def send(self, frames: Frames, *, volatile: bool = False) -> None:
        if volatile:
            return
        if self._size and self._size + frames.size > self._limit:
            self.frames.clear()
            asyncio.get_running_loop().call_soon(self._socket.conn.close, DisconnectReason.SLOW_CONSUMER)
            return
        self._size += frames.size
        self.frames.append(frames)


class Socket:
    """One client in one namespace: what handlers are given.

    ``id`` is public and unique; ``data`` is a dict for whatever the program wants to keep with the socket; ``user`` is
    what the authenticator returned, ``None`` without one.
    """

    __slots__ = (
        "__weakref__",
        "_acks",
        "_last_rooms",
        "_nsp",
        "_outlet",
        "_session",
        "_state",
        "_turn",
        "authenticated",
        "conn",
        "data",
        "farewell",
        "handshake",
        "id",
        "left",
        "pid",
        "user",
        "was_admitted",
    )

    def __init__(
        self, nsp: Home, conn: Connection, id: str, handshake: Handshake, user: Any, pid: str | None = None
    ) -> None:
        self.id = id
        self.conn = conn
        self.handshake = handshake
        self.user = user
        self.authenticated = user
        """What the authenticator returned, whatever middleware makes of ``user``."""
        self.pid = pid
        """A secret between this client and the server, by which it is known again; ``None`` without recovery."""
        self.data: dict[str, Any] = {}
        self._session: Session | None = None
        self.farewell: asyncio.Event | None = None
        """Set when its handlers are done, after it has gone; only with recovery."""
        self._nsp = nsp
        self._acks: dict[int, asyncio.Future[list[Any]]] | None = None
        self._outlet: Outlet | None = None
        self._state = _ARRIVING
        self._turn: asyncio.Lock | None = None
        self._last_rooms: frozenset[str] = frozenset()
        self.left: str | None = None
        """Why it has gone, once it has."""
        self.was_admitted = False

    def __repr__(self) -> str:
        return f"<Socket {self.id} of {self._nsp.name}>"

    # --- who and where ----------------------------------------------------------------------------------------------

    @property
    def nsp(self) -> str:
        """The name of its namespace."""
        return self._nsp.name

    @property
    def connected(self) -> bool:
        """True from its connection handlers on, until it leaves."""
        return self._state in (_ENTERED, _ADMITTED)

    @property
    def recovered(self) -> bool:
        """Whether it is the continuation of a socket whose connection was lost, with its id, rooms and data."""
        return self._session is not None

    @property
    def transport(self) -> str:
        """``"polling"`` or ``"websocket"``: the transport at this moment."""
        return self.conn.transport

    @property
    def rooms(self) -> frozenset[str]:
        """The rooms it is in, its own id among them; in a "disconnecting" handler, those it has just left."""
        return self._nsp.adapter.rooms(self.id) if self._has_rooms else self._last_rooms

    async def join(self, *rooms: Rooms) -> None:
        """Join rooms. A socket that has gone joins nothing.

        Raises :class:`~rtframework.EventError` for more rooms, or longer names, than ``Limits`` allows.
        """
        names = _flatten(rooms)
        if self._state == _GONE:
            return
        limits = self._nsp.limits
        if any(len(name) > limits.max_room_name for name in names):
            raise EventError("room_name_too_long", f"a room's name has at most {limits.max_room_name} characters")
        joined = self.rooms
        if len(joined) + len(names) > limits.max_rooms and len(joined.union(names)) > limits.max_rooms:
            raise EventError("too_many_rooms", f"a socket is in at most {limits.max_rooms} rooms")
        if not self._has_rooms:  # in middleware: they count from the moment it is in
            self._last_rooms |= frozenset(names)
        else:
            self._nsp.adapter.add(self.id, names)

    async def leave(self, *rooms: Rooms) -> None:
        """Leave rooms; those it is not in are passed over."""
        names = _flatten(rooms)
        if self._has_rooms:
            self._nsp.adapter.remove(self.id, names)
        elif self._state == _ARRIVING:
            self._last_rooms -= frozenset(names)

    # --- to this client ---------------------------------------------------------------------------------------------

    async def emit(self, event: str, *args: Any) -> None:
        """Emit an event to this client; lost without a word when it has gone and is not recovered.

        Raises ``EncodeError`` when the arguments cannot be sent.
        """
        await self._emit(self._nsp.packet(event, args))

    async def emit_with_ack(self, event: str, *args: Any) -> Any:
        """Emit an event and wait for the client's answer: ``None``, one value, or a tuple of several.

        Raises :class:`~rtframework.Disconnected` as soon as the client has gone. Give a time with
        ``socket.timeout(seconds).emit_with_ack(...)``. In a connection handler it lets the client in first, as
        :meth:`accept` does, because nobody could answer otherwise.
        """
        return await self._ask(event, args, None)

    @property
    def volatile(self) -> SocketOperator:
        """Emit to this client only if it can take the packet at once."""
        return SocketOperator(self, volatile=True)

    def timeout(self, seconds: float) -> SocketOperator:
        """How long ``emit_with_ack`` waits for the client's answer."""
        return SocketOperator(self, timeout=seconds)

    # --- to others --------------------------------------------------------------------------------------------------

    @property
    def broadcast(self) -> BroadcastOperator:
        """Everybody in the namespace but this socket."""
        return BroadcastOperator(self._nsp, Target(except_=frozenset((self.id,))))

    @property
    def local(self) -> BroadcastOperator:
        """Everybody on this server but this socket."""
        return self.broadcast.local

    def to(self, *rooms: Rooms) -> BroadcastOperator:
        """The sockets in any of these rooms, without this one."""
        return self.broadcast.to(*rooms)

    def in_(self, *rooms: Rooms) -> BroadcastOperator:
        """The same as :meth:`to`, Node's ``in``: this socket is left out, too."""
        return self.broadcast.to(*rooms)

    def except_(self, *rooms: Rooms) -> BroadcastOperator:
        """Everybody but this socket and the sockets in any of these rooms."""
        return self.broadcast.except_(*rooms)

    # --- coming and going -------------------------------------------------------------------------------------------

    def accept(self) -> None:
        """Let the client in now, before the connection handlers have returned; at the latest that does it.

        Only a handler that goes on for long needs it, e.g. one that keeps sending. After it, an exception in the
        handler disconnects the client instead of refusing it.
        """
        if self._state != _ENTERED:
            return
        pen = self._outlet
        assert isinstance(pen, _Pen)
        self._state = _ADMITTED
        self.was_admitted = True
        self._outlet = self.conn
        self._nsp.admit(self, self.conn)
        if self.pid is None:
            self._send(Packet(PacketType.CONNECT, self._nsp.name, {"sid": self.id}))
        else:
            self._connect_with_pid()
        for frames in pen.frames:
            self.conn.send(frames)

    async def disconnect(self, close: bool = False) -> None:
        """Disconnect the client from this namespace, or, with ``close=True``, from all of them and the transport."""
        if self._state not in (_ENTERED, _ADMITTED):
            return
        self.accept()
        if close:
            self.conn.close(DisconnectReason.SERVER_NAMESPACE_DISCONNECT)
        else:
            self.conn.leave(self._nsp.name)
            self.disconnected(DisconnectReason.SERVER_NAMESPACE_DISCONNECT)

    # --- what the engine and the namespace call ---------------------------------------------------------------------

    def enter(self) -> Outlet | None:
        """It is authenticated: where frames for it go for the time being; ``None`` when it has left meanwhile."""
        if self._state == _GONE or not self.conn.enter(self._nsp.name, self):
            self.evict()
            return None
        self._state = _ENTERED
        if self._outlet is None:
            self._outlet = _Pen(self, self._nsp.limits.max_outbox)
            self._nsp.adapter.add(self.id, {self.id, *self._last_rooms})
        return self._outlet

    def restore(self, session: Session) -> Outlet:
        """It continues this session: from now on it is in its rooms; where frames for it go for the time being."""
        self._session = session
        self.data = session.data
        if session.user is not session.authenticated:  # middleware has made another of it, and may be skipped now
            self.user = session.user
        self._outlet = pen = _Pen(self, self._nsp.limits.max_outbox)
        self._nsp.adapter.add(self.id, session.rooms)
        return pen

    @property
    def admitted(self) -> bool:
        """Whether the client has been told that it is connected."""
        return self._state == _ADMITTED

    def receive(self, packet: Packet) -> Coroutine[Any, Any, None] | None:
        """An EVENT or an ACK of this client."""
        if self._state != _ADMITTED:
            if self._state == _ENTERED:  # it cannot know yet that it is connected
                self.conn.close(DisconnectReason.FORCED_SERVER_CLOSE)
            return None
        if packet.type == _ACK:
            future = self._acks.pop(packet.id or 0, None) if self._acks else None
            if future is not None and not future.done():
                future.set_result(packet.data)
            return None
        if self._nsp.is_ordered(packet.data[0]):
            return self._serve_in_turn(packet)
        return self._serve(packet)

    def disconnected(self, reason: str) -> None:
        """The client has left the namespace."""
        if self._state == _GONE:
            return
        was = self._state
        if reason == DisconnectReason.SERVER_NAMESPACE_DISCONNECT and was == _ADMITTED:
            self._send(Packet(PacketType.DISCONNECT, self._nsp.name))  # so that the client does not come back by itself
        self._last_rooms = self._nsp.adapter.rooms(self.id)
        if self.pid is not None and reason in RECOVERABLE and not self.conn.has_dropped:
            self._persist()
        self.left = reason
        self._state = _GONE
        self._outlet = None
        self._nsp.remove(self, reason, notify=was == _ADMITTED)
        if self._acks:
            for future in self._acks.values():
                if not future.done():
                    future.set_exception(Disconnected("socket has been disconnected"))
            self._acks.clear()

    def evict(self) -> None:
        """It is refused: take it out again without a word to anybody."""
        if self._has_rooms:
            self._persist()
            self._nsp.remove(self, "", notify=False)
        self._state = _GONE
        self._outlet = None

    def forget_rooms(self) -> None:
        """The "disconnecting" handlers are done."""
        self._last_rooms = frozenset()

    def expect_ack(self, id: int) -> asyncio.Future[list[Any]]:
        """The answer that the client will give to a packet with this id."""
        if self._acks is None:
            self._acks = {}
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._acks[id] = future
        return future

    def drop_ack(self, id: int) -> None:
        """Nobody waits for this answer any more."""
        if self._acks is not None:
            self._acks.pop(id, None)

    # --- inside -----------------------------------------------------------------------------------------------------

    @property
    def _has_rooms(self) -> bool:
        """Whether the adapter knows it; else it keeps its rooms itself."""
        state = self._state
        return state in (_ENTERED, _ADMITTED) or (state == _ARRIVING and self._session is not None)

    def _connect_with_pid(self) -> None:
        """What was missed comes before CONNECT, as with Node: the client holds it until it knows that it is let in."""
        engine = self._nsp.engine
        connect = engine.encode(Packet(PacketType.CONNECT, self._nsp.name, {"sid": self.id, "pid": self.pid}))
        missed = self._session.missed if self._session is not None else ()
        self.conn.send(engine.join([*missed, connect]) if missed else connect)

    def _persist(self) -> None:
        """Have its state kept, if its client knows how to ask for it."""
        session = self._session
        if self.pid is None or not (self.was_admitted or session is not None):
            return
        replayed = left_at = None
        if not self.was_admitted and session is not None:  # it was not used after all
            replayed, left_at = session.replayed, session.left_at
        elif session is not None and session.missed and self.conn.transport != "polling":
            # One payload of polling arrives whole or not at all; of a websocket's messages the first may have come.
            replayed = self.handshake.auth.get("offset") or ""
        adapter = self._nsp.adapter
        rooms = adapter.rooms(self.id)
        kept = Session(self.id, self.pid, rooms, self.data, self.user, self.authenticated, replayed, left_at)
        try:
            adapter.persist_session(kept)
        except Exception:  # the socket goes all the same
            log.exception("unhandled error while a session is kept", extra={"nsp": self.nsp, "sid": self.id})

    def _send(self, packet: Packet) -> None:
        if self._outlet is not None:
            self._outlet.send(self._nsp.engine.encode(packet))

    async def _emit(self, packet: Packet, *, volatile: bool = False) -> None:
        if self.pid is not None and self._state != _ARRIVING:  # also when it has gone: it may come back
            await self._nsp.adapter.broadcast(packet, Target(frozenset((self.id,)), volatile=volatile))
            return
        outlet = self._outlet
        if outlet is not None:
            engine = self._nsp.engine
            slow = engine.deliver((outlet,), engine.encode(packet), volatile=volatile)
            if slow is not None:
                await slow
        elif self._state == _ARRIVING:
            raise ConfigurationError("the client is not in yet: emit to it in a connection handler, not in middleware")

    async def _ask(self, event: str, args: tuple[Any, ...], timeout: float | None) -> Any:
        packet = self._nsp.packet(event, args)
        packet.id = id = self._nsp.next_ack_id()
        self.accept()
        if self._state != _ADMITTED:
            raise Disconnected("socket has been disconnected")
        future = self.expect_ack(id)
        try:
            self._send(packet)
            async with asyncio.timeout(timeout):
                return from_ack(await future)
        except TimeoutError:
            raise AckTimeout from None
        finally:
            self.drop_ack(id)

    async def _serve(self, packet: Packet) -> None:
        """Run the handlers of one event and acknowledge it. Raises nothing: a failing handler harms nobody else."""
        name, *args = packet.data
        try:
            result = to_ack(await self._nsp.dispatch(self, name, args))
        except EventError as error:
            log.debug("event %r refused: %s", name, error, extra={"nsp": self.nsp, "sid": self.id, "event": name})
            result = [error.to_payload()]
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled(error):  # by the program or at shutdown; it is not for us to catch
                self._acknowledge(packet, [_CANCELLED])
                raise
            log.exception(
                "unhandled error in a handler of %r", name, extra={"nsp": self.nsp, "sid": self.id, "event": name}
            )
            result = [_INTERNAL_ERROR]
        self._acknowledge(packet, result)

    def _acknowledge(self, packet: Packet, result: list[Any]) -> None:
        if packet.id is None:
            return
        try:
            self._send(Packet(_ACK, self._nsp.name, result, packet.id))
        except EncodeError:
            event = packet.data[0]
            extra = {"nsp": self.nsp, "sid": self.id, "event": event}
            log.exception("the acknowledgement of %r cannot be sent", event, extra=extra)
            self._send(Packet(_ACK, self._nsp.name, [_INTERNAL_ERROR], packet.id))

    async def _serve_in_turn(self, packet: Packet) -> None:
        if self._turn is None:
            self._turn = asyncio.Lock()  # first come, first served
        async with self._turn:
            await self._serve(packet)


class SocketOperator:
    """Emits to one socket, with options; immutable. Made by ``socket.volatile`` and ``socket.timeout()``."""

    __slots__ = ("_socket", "_timeout", "_volatile")

    def __init__(self, socket: Socket, *, volatile: bool = False, timeout: float | None = None) -> None:
        self._socket = socket
        self._volatile = volatile
        self._timeout = timeout

    @property
    def volatile(self) -> SocketOperator:
        """Only if the client can take the packet at once: nothing else waits for it, not even of this very moment."""
        return SocketOperator(self._socket, volatile=True, timeout=self._timeout)

    @property
    def local(self) -> BroadcastOperator:
        """Everybody on this server but this socket."""
        return self.broadcast.local

    def timeout(self, seconds: float) -> SocketOperator:
        """How long :meth:`emit_with_ack` waits."""
        return SocketOperator(self._socket, volatile=self._volatile, timeout=seconds)

    async def emit(self, event: str, *args: Any) -> None:
        """Emit an event to the client."""
        await self._socket._emit(self._socket._nsp.packet(event, args), volatile=self._volatile)

    async def emit_with_ack(self, event: str, *args: Any) -> Any:
        """Emit an event and wait for the answer. Raises ``AckTimeout`` or ``Disconnected``."""
        return await self._socket._ask(event, args, self._timeout)

    @property
    def broadcast(self) -> BroadcastOperator:
        """Everybody in the namespace but this socket, with the same options."""
        operator = self._socket.broadcast
        if self._volatile:
            operator = operator.volatile
        return operator if self._timeout is None else operator.timeout(self._timeout)

    def to(self, *rooms: Rooms) -> BroadcastOperator:
        """The sockets in any of these rooms, without this one."""
        return self.broadcast.to(*rooms)

    def in_(self, *rooms: Rooms) -> BroadcastOperator:
        """The same as :meth:`to`."""
        return self.broadcast.to(*rooms)

    def except_(self, *rooms: Rooms) -> BroadcastOperator:
        """Everybody but this socket and the sockets in any of these rooms."""
        return self.broadcast.except_(*rooms)


def is_cancelled(error: BaseException) -> bool:
    """Whether the task that runs is cancelled, and not only something that it waited for."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def _flatten(rooms: tuple[Rooms, ...]) -> list[str]:
    names: list[str] = []
    for room in rooms:
        if isinstance(room, str):
            names.append(room)
        else:
            names.extend(room)
    for name in names:
        if not isinstance(name, str):
            raise ConfigurationError(f"a room's name is a string, not {name!r}")
    return names
