"""One client in one namespace."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Collection
from typing import TYPE_CHECKING, Any, Final, Literal, Never, overload

from ..adapters.connecting import is_connecting
from ..adapters.history import DEFAULT
from ..exceptions import AckTimeout, ClusterUnavailable, ConfigurationError, Disconnected, EventError
from ..handlers.dependencies import supply
from ..handlers.mistakes import unknown_keywords
from ..handlers.registration import Registration
from ..options import check_timeout
from ..packets import from_ack
from ..types import Packet, Target
from .devices import read_device
from .dispatch import EventDispatch
from .kick import KICKED, check_disconnect, credentials_unknown
from .membership import State
from .operators import BroadcastOperator, Rooms, SocketOperator, room_names
from .own_rooms import check_names, keys_of, own_rooms

if TYPE_CHECKING:
    from ..authenticators import TokenDetails
    from ..handlers.handler import Handler, LifecycleHandler
    from ..handlers.registry import HandlerRegistry
    from ..protocols import Client, Connection, Session
    from ..server import Server
    from ..types import Device, Handshake, HistoryPage
    from .namespace import Namespace

_CONNECTING: Final = State.CONNECTING
_JOINED: Final = State.JOINED
_CONNECTED: Final = State.CONNECTED
_DISCONNECTED: Final = State.DISCONNECTED
_NOTHING: Final[Any] = object()


class Socket(EventDispatch, Registration):
    """One client in one namespace: the first parameter of handlers.

    ``id``: public and unique.
    ``data``: a dict for whatever the program wants to keep with the socket.
    ``user``: what the authenticator returned, ``None`` without one.
    ``handshake``: the :class:`~rtframework.Handshake`: headers, query, address and ``auth`` of the client.

    Handlers that are registered with a socket (``socket.on``) hear this client alone and are called without the socket.
    """

    _spoken_of_as = "socket"

    __slots__ = (
        "__weakref__",
        "_authenticated",
        "_device",
        "_farewell",
        "_last_rooms",
        "_left",
        "_pid",
        "_session",
        "_token",
        "_was_accepted",
        "data",
        "handshake",
        "user",
    )

    def __init__(
        self, nsp: Namespace, client: Client, id: str, handshake: Handshake, user: Any, pid: str | None = None
    ) -> None:
        self.id = id
        self.handshake = handshake
        self.user = user
        self.data: dict[str, Any] = {}
        self._nsp = nsp
        self._client = client
        self._authenticated = user
        """The user that the authenticator returned, whatever middleware makes of ``user``."""
        self._token: TokenDetails | None = None
        """What the authenticator has told of its token."""
        self._device: Device | None = None
        """The device of the client, with what the server knows of it, if that is remembered."""
        self._pid = pid
        """A secret between this client and the server, by which it is known again; ``None`` without recovery."""
        self._session: Session | None = None
        """The session that it continues."""
        self._state = _CONNECTING
        self._outlet = None
        self._own = None
        self._acks = None
        self._turn = None
        self._last_rooms: frozenset[str] = frozenset()
        """The rooms before the adapter knows the socket, and after."""
        self._left: str | None = None
        """The reason of its disconnect."""
        self._was_accepted = False
        self._farewell: asyncio.Event | None = None
        """Set when its handlers are done, after it has left; only with recovery."""

    def __repr__(self) -> str:
        return f"<Socket {self.id} of {self._nsp.name}>"

    # --- who and where ------------------------------------------------------------------------------------------------

    @property
    def namespace(self) -> Namespace:
        """The namespace that it is in."""
        return self._nsp

    @property
    def server(self) -> Server:
        """The server."""
        return self.namespace.server

    @property
    def conn(self) -> Connection:
        """The connection below: ``transport``, ``protocol``, ``close(reason)``."""
        return self._client.conn

    @property
    def connected(self) -> bool:
        """True while the client is in the namespace: from its connection handlers until it leaves."""
        return self._state in (_JOINED, _CONNECTED)

    @property
    def disconnected(self) -> bool:
        """True while the client is not in the namespace: before its connection handlers, and after it has left."""
        return not self.connected

    @property
    def recovered(self) -> bool:
        """True if it continues a socket whose connection was lost, with that socket's id, rooms and data."""
        return self._session is not None

    @property
    def transport(self) -> str:
        """``"polling"`` or ``"websocket"``: the transport at this moment."""
        return self.conn.transport

    @property
    def device(self) -> Device | None:
        """The device that the client says it runs on, by ``auth.device``; ``None`` if it says nothing that is valid.

        It is no proof of anything: never let somebody in because of it.
        """
        return self._device or read_device(self.handshake.auth)

    @property
    def rooms(self) -> frozenset[str]:
        """The rooms it is in, its own id among them; in a "disconnecting" handler, those it has just left."""
        return self._nsp.adapter.rooms(self.id) if self._has_rooms else self._last_rooms

    @overload
    async def join(self, *rooms: Rooms, socket_ids: bool = False) -> None: ...

    @overload
    async def join(
        self, room: str, /, *, socket_ids: bool = False, history: int, since: str | None = None
    ) -> HistoryPage: ...

    @overload
    async def join(self, room: str, /, *, socket_ids: bool = False, since: str | None) -> HistoryPage: ...

    async def join(
        self, *rooms: Rooms, socket_ids: bool = False, history: int | None = None, since: Any = _NOTHING
    ) -> HistoryPage | None:
        """Join rooms. A socket that has left joins nothing.

        It is in the rooms at once. In a cluster this returns when what other servers emit to them reaches it, too.

        Names may come from a client: :class:`~rtframework.EventError` refuses those that begin with ``$``, which are
        the server's own, and the ids of other sockets, whose rooms are theirs alone. ``socket_ids=True``: join the
        rooms of other sockets, too. In a cluster, other servers are asked about a name of 20 characters that may be an
        id; then this may raise :class:`~rtframework.FetchTimeout`, and nothing is joined.

        Raises ``EventError`` also for more rooms, or longer names, than ``Limits`` allows, and, except in its
        connection handlers, :class:`~rtframework.ClusterUnavailable` when the other servers will not reach it; it is in
        the rooms all the same.

        ``history``: for one room that has a :class:`~rtframework.History`: send the client so many of the events that
        were said in it, as the event ``"history"``, before all that is said from now on, and return them. ``since``:
        those alone that came after the entry with this id, the last one that the client has; ``None``: it has none.
        Raises :class:`~rtframework.ConfigurationError` for a room without history, and in middleware; when the history
        cannot be read, ``ClusterUnavailable``, also in connection handlers: the socket is in the room all the same.
        """
        names = room_names(rooms)
        check_names(names)
        if not socket_ids:
            await self._nsp._membership.check_no_ids(names, self.id)
        if history is not None or since is not _NOTHING:
            if len(names) != 1:
                raise ConfigurationError("history is sent for one room at a time: join each by itself")
            after = None if since is _NOTHING else since
            return await self._nsp._room_history(names[0]).join(self, names[0], history, after)
        entering = self._enter_rooms(names)
        if entering is not None:
            try:
                await entering
            except ClusterUnavailable:
                if not is_connecting():
                    raise
        return None

    async def history(
        self, room: str, *, before: str | None = None, after: str | None = None, limit: int = DEFAULT
    ) -> HistoryPage:
        """Return a page of what was said in a room that it is in, as :meth:`rtframework.Namespace.history` does.

        What was emitted to all but this socket, or to all but a room that it is in, is left out. Raises
        :class:`~rtframework.EventError` ("not_in_room") if it is not in the room.
        """
        return await self._nsp._room_history(room).page_for(self, room, before, after, limit)

    def _enter_rooms(self, names: Collection[str]) -> Awaitable[None] | None:
        """Join rooms; does not wait. Return what the adapter has returned."""
        if self._state is _DISCONNECTED:
            return None
        limits = self._nsp._limits
        if any(len(name) > limits.max_room_name for name in names):
            raise EventError("room_name_too_long", f"a room's name has at most {limits.max_room_name} characters")
        joined = self.rooms if self._has_rooms else self._last_rooms.union((self.id,))  # that room is yet to come
        if len(joined) + len(names) > limits.max_rooms and _count(joined.union(names)) > limits.max_rooms:
            raise EventError("too_many_rooms", f"a socket is in at most {limits.max_rooms} rooms")
        if not self._has_rooms:  # in middleware: they count from the moment it is in
            self._last_rooms |= frozenset(names)
            return None
        nsp = self._nsp
        entering = nsp.adapter.add(self.id, names)
        return entering if nsp._presence is None else nsp._presence.entered(self, names, entering)

    async def leave(self, *rooms: Rooms) -> None:
        """Leave rooms. Rooms that it is not in are skipped.

        Raises :class:`~rtframework.EventError` for a room whose name begins with ``$``: it stays its user's socket.
        """
        names = room_names(rooms)
        check_names(names)
        leaving = self._leave_rooms(names)
        if leaving is not None:
            await leaving

    def _leave_rooms(self, names: Collection[str]) -> Awaitable[None] | None:
        """Leave rooms; does not wait. Return what the adapter has returned."""
        if self._has_rooms:
            nsp = self._nsp
            leaving = nsp.adapter.remove(self.id, names)
            return leaving if nsp._presence is None else nsp._presence.left(self.id, names, leaving)
        if self._state is _CONNECTING:
            self._last_rooms -= frozenset(names)
        return None

    async def update_presence(self, room: str, meta: Any) -> None:
        """Replace the ``meta`` of this user in a room; everybody in it gets ``presence_update``.

        ``meta``: plain values without bytes, at most ``Presence.max_meta`` bytes as JSON. It is the user's, in all of
        its tabs. Raises :class:`~rtframework.EventError` if the socket is not in the room, or the room has no presence;
        ``EncodeError``, and :class:`~rtframework.ClusterUnavailable` when the other servers are not told.

        Example::

            await socket.update_presence("chat:1", {"name": "Ada", "status": "busy"})
        """
        await self._nsp._presence_in(room).update(self, room, meta)

    # --- to this client -----------------------------------------------------------------------------------------------

    async def emit(self, event: str | int, *args: Any, **unknown: Never) -> None:
        """Emit an event to this client. The event is lost silently when the client has left and is not recovered.

        Raises ``EncodeError`` when the arguments cannot be sent.
        """
        if unknown:
            raise unknown_keywords("emit", unknown)
        await self._emit(self._nsp._packet(event, args))

    async def emit_with_ack(self, event: str | int, *args: Any, **unknown: Never) -> Any:
        """Emit an event and wait for the client's answer: ``None``, one value, or a tuple of several.

        Raises :class:`~rtframework.Disconnected` as soon as the client has left. Limit the time with
        ``socket.timeout(seconds).emit_with_ack(...)``. In a connection handler it accepts the client first, as
        :meth:`accept` does, because the client could not answer otherwise.
        """
        if unknown:
            raise unknown_keywords("emit_with_ack", unknown)
        return await self._ask(event, args)

    @property
    def volatile(self) -> SocketOperator:
        """Emit to this client only if it can take the packet at once."""
        return SocketOperator(self, volatile=True)

    def timeout(self, seconds: float) -> SocketOperator:
        """Limit the time for which ``emit_with_ack`` waits for the client's answer, to an hour at most.

        To wait longer, use ``asyncio.timeout`` around a call without a limit.
        """
        check_timeout("timeout()", seconds)
        return SocketOperator(self, timeout=seconds)

    def compress(self, compress: bool) -> SocketOperator:
        """Choose if packets are compressed where the transport can do that; they are by default."""
        return SocketOperator(self, compress=compress)

    # --- to others ----------------------------------------------------------------------------------------------------

    @property
    def broadcast(self) -> BroadcastOperator:
        """Select all sockets in the namespace except this one."""
        return BroadcastOperator(self._nsp, Target(except_=frozenset((self.id,))))

    @property
    def local(self) -> BroadcastOperator:
        """Select all sockets on this server except this one."""
        return self.broadcast.local

    def to(self, *rooms: Rooms) -> BroadcastOperator:
        """Select the sockets in any of these rooms, except this one."""
        return self.broadcast.to(*rooms)

    def in_(self, *rooms: Rooms) -> BroadcastOperator:
        """Select as :meth:`to` does; Node's ``in``."""
        return self.broadcast.to(*rooms)

    def except_(self, *rooms: Rooms) -> BroadcastOperator:
        """Select all sockets except this one and those in any of these rooms."""
        return self.broadcast.except_(*rooms)

    # --- coming and going ---------------------------------------------------------------------------------------------

    def accept(self) -> None:
        """Accept the client now, without waiting for the end of the connection handlers.

        Only a handler that goes on for long needs it, e.g. one that keeps sending. After it, an exception in the
        handler disconnects the client instead of refusing it.
        """
        self._nsp._admission.accept(self)

    async def disconnect(
        self, close: bool = False, *, reason: str | None = None, reconnect: bool | None = None
    ) -> None:
        """Disconnect the client from this namespace, or, with ``close=True``, from all of them and the transport.

        ``reason``: what the disconnect handlers hear in place of "server namespace disconnect".
        ``reconnect``: tell the client before, by the event ``"kicked"`` with ``{"reason": reason or "", "reconnect":
        reconnect}``. With ``False`` it stays away. With ``True`` its connection is closed, and it comes back by itself;
        it is refused with the code ``"kicked"`` unless its token was issued later. This holds for its token, if that
        has an id, else for its user.

        Raises :class:`~rtframework.ConfigurationError` in connect middleware, where there is nothing to disconnect yet,
        and for ``reconnect=True`` without a user; :class:`~rtframework.ClusterUnavailable` when the other servers do
        not hear that the token is refused.

        Example::

            await socket.disconnect(reason="spam", reconnect=False)
        """
        if self._state < _JOINED:
            raise ConfigurationError(
                "the client is not in yet and cannot be disconnected: in middleware, refuse it with "
                "raise ConnectionRefused(message)"
            )
        check_disconnect(close, reason)
        membership = self._nsp._membership
        if reconnect is None:
            membership.disconnect(self, close, reason)
            return
        keys = keys_of(self.rooms) if reconnect else frozenset()
        if reconnect and not keys:
            raise credentials_unknown()
        try:
            if reconnect:
                await self._nsp._revoke(keys, KICKED)
        finally:
            membership.kick(self, close, reason, reconnect)

    def _disconnected(self, reason: str) -> None:
        """Hear from the engine that the client has left."""
        self._nsp._membership.disconnected(self, reason)

    def _audit(self, kind: Literal["login", "kick"], code: str | None = None) -> None:
        """Write an entry to the audit log. ``code``: the reason that the program has given."""
        audit, user = self._nsp._guard.audit, self._authenticated
        audit.write(kind, address=self._client.address, user=user, nsp=self.nsp, sid=self.id, code=code)

    # --- handlers of its own ------------------------------------------------------------------------------------------

    def _registry(self) -> HandlerRegistry:
        if self._own is None:
            self._own = self._nsp._make_registry(self)
        return self._own

    def _registered(self) -> HandlerRegistry | None:
        return self._own

    @property
    def _outgoing(self) -> tuple[Handler, ...]:
        """The catch-alls of this socket for outgoing events."""
        return () if self._own is None else self._own.outgoing

    def _listens_to(self, lifecycle: str) -> bool:
        """Tell whether it has handlers for its "disconnecting" or its "disconnect"."""
        return self._own is not None and bool(self._own.lifecycle[lifecycle])

    def _take_handlers(self, lifecycle: str) -> tuple[LifecycleHandler, ...]:
        """Return its handlers for its "disconnecting" or its "disconnect"."""
        return () if self._own is None else self._own.take(lifecycle)

    def _forget_listeners(self) -> None:
        """Drop its handlers, which hold the socket in turn: nothing will come any more."""
        if self._own is not None:
            self._own = None
            self._nsp._outgoing.socket_changed(self)

    # --- inside -------------------------------------------------------------------------------------------------------

    @property
    def _has_rooms(self) -> bool:
        """True while the adapter knows it; before and after, it keeps its rooms itself."""
        return _CONNECTING < self._state < _DISCONNECTED

    async def _emit(self, packet: Packet, *, volatile: bool = False, compress: bool = True) -> None:
        if self._pid is not None:
            if self._state < _JOINED:
                raise _too_early()
            if packet.id is None:  # also when it has gone: it may come back
                target = Target(frozenset((self.id,)), volatile=volatile, compress=compress)
                try:
                    await self._nsp.adapter.broadcast(packet, target)
                except ClusterUnavailable as error:
                    if is_connecting() and not error.uncertain:  # its client is here, and is not known elsewhere yet
                        await self._nsp.adapter.broadcast(packet, dataclasses.replace(target, local=True))
                        return
                    self._nsp._lost(packet, target, error)
                    if not is_connecting():
                        raise
                return
        outlet = self._outlet
        if outlet is not None:
            nsp = self._nsp
            engine = nsp._engine
            frames = engine.encode(packet) if compress else engine.encode(packet, compress=False)
            if nsp._outgoing.tapped:
                nsp._outgoing.show((self.id,), packet)
            slow = engine.deliver((outlet,), frames, volatile=volatile)
            if slow is not None:
                await slow
        elif self._state is _CONNECTING:
            raise _too_early()

    async def _ask(
        self,
        event: str | int,
        args: tuple[Any, ...],
        timeout: float | None = None,
        volatile: bool = False,
        compress: bool = True,
    ) -> Any:
        return await self._ask_packet(self._nsp._packet(event, args), timeout, volatile, compress)

    async def _ask_packet(
        self, packet: Packet, timeout: float | None = None, volatile: bool = False, compress: bool = True
    ) -> Any:
        packet.id = id = self._nsp._next_ack_id()
        self.accept()
        if self._state is not _CONNECTED:
            raise _too_early() if self._state < _JOINED else Disconnected("socket has been disconnected")
        future = self._expect_ack(id)
        try:
            async with asyncio.timeout(timeout):
                await self._emit(packet, volatile=volatile, compress=compress)
                return from_ack(await future)
        except TimeoutError:
            raise AckTimeout from None
        finally:
            self._drop_ack(id)

    def _expect_ack(self, id: int) -> asyncio.Future[list[Any]]:
        """Return a future for the client's answer to the packet with this id."""
        if self._acks is None:
            self._acks = {}
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._acks[id] = future
        return future

    def _drop_ack(self, id: int) -> None:
        """Stop waiting for an answer."""
        if self._acks is not None:
            self._acks.pop(id, None)


def _count(rooms: Collection[str]) -> int:
    """Count rooms for ``Limits.max_rooms``: those that the server itself has put a socket into are free."""
    return len(rooms) - len(own_rooms(rooms))


def _too_early() -> ConfigurationError:
    return ConfigurationError("the client is not in yet: emit to it in a connection handler, not in middleware")


supply(Socket, "socket", lambda scope: scope.caller)
