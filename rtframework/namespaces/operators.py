"""Selections of sockets to emit to. They are immutable: each step makes a new one, so that they can be kept."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Never, Protocol

from ..adapters.connecting import is_connecting
from ..exceptions import ClusterUnavailable, ConfigurationError, Disconnected, FetchTimeout
from ..handlers.mistakes import Advising, unknown_keywords
from ..options import check_timeout
from ..types import AckResponses, Packet, Target
from .kick import check_disconnect, kick
from .own_rooms import check_names, keys_of

if TYPE_CHECKING:
    from typing import Self

    from ..protocols import Adapter
    from ..types import Handshake, Member, SocketDetails
    from .history import NamespaceHistory
    from .socket import Socket

Rooms = str | Iterable[str]


class Audience(Protocol):
    """The namespace, as an operator sees it."""

    @property
    def name(self) -> str:
        """The name, e.g. ``"/"``."""

    @property
    def adapter(self) -> Adapter:
        """The adapter, which delivers."""

    @property
    def _history(self) -> NamespaceHistory | None:
        """What stands in front of the adapter, if rooms have a history."""

    def _packet(self, event: str | int, args: tuple[Any, ...]) -> Packet:
        """Make the packet of an event. Raises ``ConfigurationError`` for a reserved name."""

    def _audience_of(self, details: SocketDetails) -> Audience:
        """Return the namespace of a socket that was selected here."""

    def _lost(self, packet: Packet, target: Target, error: ClusterUnavailable) -> None:
        """Tell the program that the other servers do not get an event."""

    async def _revoke(self, keys: Collection[str], code: str) -> None:
        """Refuse credentials of users or tokens, by their rooms, that were issued until now; on all servers."""

    async def _members_of(self, room: str, limit: int, after: str | None) -> list[Member]:
        """Return who is in a room, see :meth:`rtframework.Namespace.presence`."""

    async def _revoke_tokens(self, id: str | None, user: object, issued_before: float | None) -> None:
        """Take tokens back, see :meth:`rtframework.Namespace.revoke_tokens`."""

    async def _forget_sessions_in(self, room: str) -> int:
        """Forget the sessions that are kept for sockets in a room. Return their number."""

    def _last_seen(self, room: str) -> Callable[[], Awaitable[float | None]]:
        """Return what finds the time at which a user was there last. Raises ``ConfigurationError`` if nothing does."""


class BroadcastOperator(Advising):
    """A selection of the sockets of a namespace, made by ``io.to()``, ``socket.broadcast`` and their like.

    Example::

        await io.to("a", "b").except_("muted").emit("news", 1)
    """

    __slots__ = ("_audience", "_target", "_timeout")

    def __init__(self, audience: Audience, target: Target, timeout: float | None = None) -> None:
        self._audience = audience
        self._target = target
        self._timeout = timeout

    def to(self, *rooms: Rooms) -> Self:
        """Add the sockets in any of these rooms. Without an argument, or with an empty list, nobody is added.

        A socket's id is a room that this socket alone is in.
        """
        return self._with(rooms=(self._target.rooms or frozenset()).union(room_names(rooms)))

    def in_(self, *rooms: Rooms) -> Self:
        """Add as :meth:`to` does; Node's ``in``."""
        return self.to(*rooms)

    def except_(self, *rooms: Rooms) -> Self:
        """Leave out the sockets in any of these rooms."""
        return self._with(except_=self._target.except_.union(room_names(rooms)))

    @property
    def broadcast(self) -> Self:
        """The selection itself: ``socket.volatile.broadcast`` works as well as ``socket.broadcast.volatile``."""
        return self

    @property
    def volatile(self) -> Self:
        """Drop the packet for clients that cannot take it at once: a position, a cursor, a typing hint.

        A client to which something was emitted in the same turn of the event loop cannot, as with Node.
        """
        return self._with(volatile=True)

    @property
    def local(self) -> Self:
        """Select only sockets of this server, when there is a cluster."""
        return self._with(local=True)

    def compress(self, compress: bool) -> Self:
        """Choose if packets are compressed where the transport can do that; they are by default.

        ``False`` is for data that is compressed already, such as pictures.
        """
        return self._with(compress=compress)

    def timeout(self, seconds: float) -> Self:
        """Limit the time for which :meth:`emit_with_ack` and :meth:`fetch_sockets` wait."""
        check_timeout("timeout()", seconds)
        return type(self)(self._audience, self._target, seconds)

    async def emit(self, event: str | int, *args: Any, **unknown: Never) -> None:
        """Emit an event with any number of arguments.

        It is encoded once for all receivers. Raises ``EncodeError`` when the arguments cannot be sent: then nobody
        receives anything. In a cluster it raises :class:`~rtframework.ClusterUnavailable` when the other servers do not
        get it: then nobody has it, or, if the error is ``local``, this server's clients alone; if it is ``uncertain``,
        nobody can know. A connection handler whose client is not in yet goes on instead: see docs/guarantees.md.
        """
        if unknown:
            raise unknown_keywords("emit", unknown)
        packet = self._audience._packet(event, args)
        delivery: Awaitable[None] | None = None
        try:
            audience = self._audience
            delivery = (audience._history or audience.adapter).broadcast(packet, self._target)
            await delivery
        except ClusterUnavailable as error:
            self._audience._lost(packet, self._target, error)
            if not is_connecting():
                raise
        except asyncio.CancelledError:
            tell_missed(self._audience, packet, self._target, delivery)
            raise

    async def emit_with_ack(self, event: str | int, *args: Any, **unknown: Never) -> AckResponses:
        """Emit an event and collect the acknowledgement of every selected socket, by socket id.

        Raises :class:`~rtframework.AckTimeout`, with the answers so far, when the time of :meth:`timeout` is over
        before all have answered; without a timeout it waits until each has answered or left. Sockets whose connection
        handlers still run are not asked.
        """
        if unknown:
            raise unknown_keywords("emit_with_ack", unknown)
        packet = self._audience._packet(event, args)
        try:
            return await self._audience.adapter.broadcast_with_ack(packet, self._target, self._timeout)
        except ClusterUnavailable as error:
            self._audience._lost(packet, self._target, error)
            raise

    # --- the sockets themselves -------------------------------------------------------------------------------------

    async def fetch_sockets(self) -> list[RemoteSocket]:
        """Describe the selected sockets of all servers of a cluster, also those whose connection handlers still run.

        Raises :class:`~rtframework.FetchTimeout`, with the sockets of those that did answer, when another server does
        not answer within the time of :meth:`timeout`; by default within a time that the adapter chooses.
        """
        try:
            found = await self._audience.adapter.fetch_sockets(self._target, self._timeout)
        except FetchTimeout as error:
            raise FetchTimeout(str(error), self._remote(error.sockets), error.missing) from error
        return self._remote(found)

    def _remote(self, found: Iterable[SocketDetails]) -> list[RemoteSocket]:
        return [
            RemoteSocket(BroadcastOperator(self._audience._audience_of(each), Target(frozenset((each.id,)))), each)
            for each in found
        ]

    async def sockets_join(self, *rooms: Rooms) -> None:
        """Make the selected sockets join rooms.

        Raises :class:`~rtframework.EventError` when ``Limits`` forbid it to one of this server's; the others join. Also
        for a room whose name begins with ``$``: those are the server's own.
        """
        names = room_names(rooms)
        check_names(names)
        await self._audience.adapter.add_sockets(self._target, names)

    async def sockets_leave(self, *rooms: Rooms) -> None:
        """Make the selected sockets leave rooms. Rooms that one is not in are skipped.

        Raises :class:`~rtframework.EventError` for a room whose name begins with ``$``.
        """
        names = room_names(rooms)
        check_names(names)
        await self._audience.adapter.del_sockets(self._target, names)

    async def disconnect_sockets(self, *, close: bool = False, reason: str | None = None) -> None:
        """Disconnect the selected sockets, or, with ``close=True``, close their connections.

        ``reason``: what their disconnect handlers hear in place of "server namespace disconnect"; clients are not told.
        """
        check_disconnect(close, reason)
        await self._audience.adapter.disconnect_sockets(self._target, close, reason)

    def _with(self, **changes: Any) -> Self:
        return type(self)(self._audience, dataclasses.replace(self._target, **changes), self._timeout)


def tell_missed(audience: Audience, packet: Packet, target: Target, delivery: Awaitable[None] | None) -> None:
    """Tell of an error of an event whose emitter was cancelled at the moment at which it came."""
    if isinstance(delivery, asyncio.Future) and delivery.done() and not delivery.cancelled():
        error = delivery.exception()
        if isinstance(error, ClusterUnavailable):
            audience._lost(packet, target, error)


def room_names(rooms: tuple[Rooms, ...]) -> list[str]:
    """Flatten rooms that are given one by one or in collections. Raises ``ConfigurationError`` for a non-string."""
    names: list[Any] = []
    for room in rooms:
        if isinstance(room, str):
            names.append(room)
        elif isinstance(room, Iterable) and not isinstance(room, Mapping | bytes | bytearray | memoryview):
            names.extend(room)
        else:
            names.append(room)
    for name in names:
        if not isinstance(name, str):
            raise ConfigurationError(f"a room's name is a string, not {name!r}{_instead_of_room(name)}")
    return names


def _instead_of_room(given: object) -> str:
    """Say what to write instead of something that is no room's name."""
    if given is None:
        return ": to reach everybody, leave to() out and write io.emit(event, ...)"
    if isinstance(given, Mapping):
        return ": write the rooms one by one, to('a', 'b'), or in a list"
    if isinstance(getattr(given, "id", None), str):
        return ": the room of one client is its socket's id, write to(socket.id)"
    return ": write str(...), or f'user:{id}' for instance" if isinstance(given, int) else ""


class SocketOperator(Advising):
    """One socket to emit to, with options; immutable. Made by ``socket.volatile``, ``timeout()`` and ``compress()``."""

    __slots__ = ("_compress", "_socket", "_timeout", "_volatile")

    def __init__(
        self, socket: Socket, *, volatile: bool = False, timeout: float | None = None, compress: bool = True
    ) -> None:
        self._socket = socket
        self._volatile = volatile
        self._timeout = timeout
        self._compress = compress

    @property
    def volatile(self) -> SocketOperator:
        """Drop the packet unless the client can take it at once: no packet waits, not even one emitted just before."""
        return SocketOperator(self._socket, volatile=True, timeout=self._timeout, compress=self._compress)

    @property
    def local(self) -> BroadcastOperator:
        """Select all sockets on this server except this one."""
        return self.broadcast.local

    def timeout(self, seconds: float) -> SocketOperator:
        """Limit the time for which :meth:`emit_with_ack` waits."""
        check_timeout("timeout()", seconds)
        return SocketOperator(self._socket, volatile=self._volatile, timeout=seconds, compress=self._compress)

    def compress(self, compress: bool) -> SocketOperator:
        """Choose if the packet is compressed where the transport can do that; it is by default."""
        return SocketOperator(self._socket, volatile=self._volatile, timeout=self._timeout, compress=compress)

    async def emit(self, event: str | int, *args: Any, **unknown: Never) -> None:
        """Emit an event to the client."""
        if unknown:
            raise unknown_keywords("emit", unknown)
        packet = self._socket._nsp._packet(event, args)
        await self._socket._emit(packet, volatile=self._volatile, compress=self._compress)

    async def emit_with_ack(self, event: str | int, *args: Any, **unknown: Never) -> Any:
        """Emit an event and wait for the answer. Raises ``AckTimeout`` or ``Disconnected``."""
        if unknown:
            raise unknown_keywords("emit_with_ack", unknown)
        return await self._socket._ask(event, args, self._timeout, self._volatile, self._compress)

    @property
    def broadcast(self) -> BroadcastOperator:
        """Select all sockets in the namespace except this one, with the same options."""
        operator = self._socket.broadcast
        if self._volatile:
            operator = operator.volatile
        if not self._compress:
            operator = operator.compress(False)
        return operator if self._timeout is None else operator.timeout(self._timeout)

    def to(self, *rooms: Rooms) -> BroadcastOperator:
        """Select the sockets in any of these rooms, except this one."""
        return self.broadcast.to(*rooms)

    def in_(self, *rooms: Rooms) -> BroadcastOperator:
        """Select as :meth:`to` does; Node's ``in``."""
        return self.broadcast.to(*rooms)

    def except_(self, *rooms: Rooms) -> BroadcastOperator:
        """Select all sockets except this one and those in any of these rooms."""
        return self.broadcast.except_(*rooms)


class RemoteSocket(Advising):
    """A socket of this server or of another, as it was when ``fetch_sockets`` described it.

    ``rooms`` does not change any more. ``data`` is the socket's own on this server and a copy on another: to change it
    there, tell the server of the socket with ``server_side_emit``.

    Example::

        for remote in await io.to("lobby").fetch_sockets():
            if remote.data.get("muted"):
                await remote.leave("lobby")
    """

    __slots__ = ("_details", "_operator", "data", "handshake", "id", "nsp", "rooms")

    def __init__(self, operator: BroadcastOperator, details: SocketDetails) -> None:
        self.id = details.id
        self.handshake: Handshake = details.handshake
        self.rooms: frozenset[str] = details.rooms
        self.data: dict[str, Any] = details.data
        self.nsp: str = details.handshake.nsp
        self._operator = operator
        self._details = details

    def __repr__(self) -> str:
        return f"<RemoteSocket {self.id} of {self.nsp}>"

    async def join(self, *rooms: Rooms) -> None:
        """Make the socket join rooms."""
        await self._operator.sockets_join(*rooms)

    async def leave(self, *rooms: Rooms) -> None:
        """Make the socket leave rooms."""
        await self._operator.sockets_leave(*rooms)

    async def emit(self, event: str | int, *args: Any, **unknown: Never) -> None:
        """Emit an event to this client. The event is lost silently when the client has left."""
        if unknown:
            raise unknown_keywords("emit", unknown)
        await self._operator.emit(event, *args)

    async def emit_with_ack(self, event: str | int, *args: Any, **unknown: Never) -> Any:
        """Emit an event and wait for the client's answer: ``None``, one value, or a tuple of several.

        Raises :class:`~rtframework.AckTimeout` when the time given by :meth:`timeout` is over, and
        :class:`~rtframework.Disconnected` when the client has left.
        """
        if unknown:
            raise unknown_keywords("emit_with_ack", unknown)
        for answer in (await self._operator.emit_with_ack(event, *args)).values():
            return answer
        raise Disconnected("socket has been disconnected")

    async def disconnect(
        self, close: bool = False, *, reason: str | None = None, reconnect: bool | None = None
    ) -> None:
        """Disconnect the client from this namespace, or, with ``close=True``, from all of them and the transport.

        ``reason``: what its disconnect handlers hear in place of "server namespace disconnect". ``reconnect``: tell the
        client before, see :meth:`Socket.disconnect`.
        """
        if reconnect is None:
            await self._operator.disconnect_sockets(close=close, reason=reason)
            return
        check_disconnect(close, reason)
        target = Target(frozenset((self.id,)))
        await kick(self._operator._audience, target, close, reason, reconnect, keys_of(self.rooms))

    def timeout(self, seconds: float) -> RemoteSocket:
        """Limit the time for which :meth:`emit_with_ack` waits."""
        return self._with(self._operator.timeout(seconds))

    def compress(self, compress: bool) -> RemoteSocket:
        """Choose if packets are compressed where the transport can do that; they are by default."""
        return self._with(self._operator.compress(compress))

    @property
    def volatile(self) -> RemoteSocket:
        """Emit only if the client can take the packet at once."""
        return self._with(self._operator.volatile)

    def _with(self, operator: BroadcastOperator) -> RemoteSocket:
        return RemoteSocket(operator, self._details)
