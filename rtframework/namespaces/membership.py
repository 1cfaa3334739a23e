"""The sockets of a namespace: the states of each, who is in, and the way out."""

from __future__ import annotations

import asyncio
import enum
import logging
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from ..adapters.buffered_outlet import BufferedOutlet
from ..adapters.packet_log import RECOVERABLE
from ..concurrency import is_cancelled
from ..exceptions import Disconnected, EventError
from ..handlers.event import DISCONNECT, DISCONNECTING
from ..logs import ThrottledLog
from ..protocols import Session
from ..types import DisconnectReason, Packet, PacketType, Target
from .kick import coming_back, kicked, read_reason
from .own_rooms import rooms_of
from .sightings import key_of_device, key_of_user

if TYPE_CHECKING:
    from ..protocols import Outlet
    from ..types import Device
    from .namespace import Namespace
    from .socket import Socket

log: Final = logging.getLogger("rtframework.namespace")

_not_kept: Final = ThrottledLog(log, logging.ERROR, "unhandled error while a session is kept")
_failed: Final = ThrottledLog(log, logging.ERROR, "unhandled error in a %r handler")
_still_runs: Final = ThrottledLog(
    log, logging.WARNING, "a disconnect handler of %s still runs: its client has come back meanwhile"
)

_LIKE_AN_ID: Final = re.compile("[0-9A-Za-z_-]{20}")
"""Ids as this server and Node make them."""

_FAREWELL_TIMEOUT: Final = 10.0
"""Seconds for which a client that has come back waits for the disconnect handlers of the socket that it continues."""


class State(enum.IntEnum):
    """The states of a socket; the numbers are in the order of the way in and out."""

    CONNECTING = 0
    """Authentication and middleware run: the socket is in no room and receives nothing."""
    RESUMED = 1
    """CONNECTING with an earlier session: the socket is in its rooms again, and packets for it are held back."""
    JOINED = 2
    """Connection handlers run: the socket can be selected, and packets for it are held back."""
    CONNECTED = 3
    """The client has been told that it is connected."""
    DISCONNECTED = 4
    """The client has left, or was refused."""


class Membership:
    """The sockets of one namespace on this server. Whatever ends a socket ends it here, and only here.

    ``sockets``: those that have joined, by id. ``outlets``: the way to each of those that packets may be sent to.
    ``by_pid``: those that have a private id. ``departing``: those that have left and whose handlers still run.
    """

    __slots__ = ("_nsp", "_told", "by_pid", "departing", "outlets", "sockets")

    def __init__(self, nsp: Namespace) -> None:
        self._nsp = nsp
        self.sockets: dict[str, Socket] = {}
        self.outlets: dict[str, Outlet] = {}
        self.by_pid: dict[str, Socket] = {}
        self.departing: dict[str, Socket] = {}
        self._told: dict[str, str] = {}
        """By socket id: the reason that its disconnect handlers are to hear, if it is not that of the connection."""

    # --- the way out ------------------------------------------------------------------------------------------------

    def disconnect(self, socket: Socket, close: bool, reason: str | None = None) -> None:
        """Disconnect a client from the namespace, or, with ``close``, close its connection. Nothing here waits.

        ``reason``: what its disconnect handlers hear in place of "server namespace disconnect"; one of
        :func:`coming_back` closes the connection so that a stock client comes back by itself.
        """
        if not socket.connected:
            return
        socket.accept()
        self._release_all(socket)
        reason, comes_back = read_reason(reason)
        if self._nsp._guard.audit.is_on:
            socket._audit("kick", reason)
        if reason is not None:
            self._told[socket.id] = reason
        if comes_back:
            socket._client.conn.close(DisconnectReason.KICKED)
        elif close:
            socket._client.conn.close(DisconnectReason.SERVER_NAMESPACE_DISCONNECT)
        else:
            socket._client.leave(self._nsp.name)
            self.disconnected(socket, DisconnectReason.SERVER_NAMESPACE_DISCONNECT)

    def kick(self, socket: Socket, close: bool, reason: str | None, reconnect: bool) -> None:
        """Tell a client that it is thrown out, and disconnect it; ``reconnect``: it is to come back."""
        if not socket.connected:
            return
        socket.accept()
        nsp = self._nsp
        packet = kicked(nsp.name, reason, reconnect)
        if nsp._outgoing.tapped:
            nsp._outgoing.show((socket.id,), packet)
        if socket._outlet is not None:
            socket._outlet.send(nsp._engine.encode(packet))
        self.disconnect(socket, close, coming_back(reason) if reconnect else reason)

    def revoke(self, socket: Socket) -> None:
        """Close the connection of a client whose token is taken back; it has no session to come back to."""
        if not socket.connected:
            return
        if self._nsp._guard.audit.is_on:
            socket._audit("kick", DisconnectReason.TOKEN_REVOKED)
        self.forgo_recovery(socket)
        socket._client.conn.close(DisconnectReason.TOKEN_REVOKED)

    def hand_over(self, socket: Socket, close: bool, reason: str | None = None) -> None:
        """Take out a socket that another continues, mostly on another server: its session is that one's now.

        Its connection is dead, so nothing is sent to its client.
        """
        conn = socket._client.conn
        self.forgo_recovery(socket, forget=False)
        if socket.connected:
            if reason is not None:
                self._told[socket.id] = reason
            socket._farewell = asyncio.Event()  # its client may come back here before its handlers have ended
            self.departing[socket.id] = socket
            socket._client.leave(self._nsp.name)
            self.disconnected(socket, DisconnectReason.TRANSPORT_CLOSE)
        else:
            self.evict(socket)  # its middleware still runs
        if close:
            conn.close(DisconnectReason.TRANSPORT_CLOSE)  # the client's other namespaces can be recovered

    def forgo_recovery(self, socket: Socket, *, forget: bool = True) -> None:
        """Let a socket have no session any more; ``forget``: have one that the adapter keeps for it forgotten."""
        pid = socket._pid
        if pid is None:
            return
        if forget:
            self._forget(socket)
        if self.by_pid.get(pid) is socket:
            del self.by_pid[pid]
        socket._pid = None

    def disconnected(self, socket: Socket, reason: str) -> None:
        """Take out a socket that has left, and, if it was accepted, run its disconnect handlers."""
        nsp = self._nsp
        before = socket._state
        if before is State.DISCONNECTED:
            return
        was_connected = before is State.CONNECTED
        if was_connected and reason == DisconnectReason.SERVER_NAMESPACE_DISCONNECT and socket._outlet is not None:
            # So that the client does not come back by itself.
            socket._outlet.send(nsp._engine.encode(Packet(PacketType.DISCONNECT, nsp.name)))
        socket._last_rooms = nsp.adapter.rooms(socket.id)
        if socket._pid is not None:
            if reason in RECOVERABLE and not socket._client.conn.has_dropped:
                self._persist(socket)
            else:
                self._forget(socket)
        of_connection = reason
        if self._told:
            reason = self._told.pop(socket.id, reason)
        socket._left = reason
        socket._state = State.DISCONNECTED
        nsp._free_seat(socket)
        socket._outlet = None
        if socket._pid is not None:  # its handlers still run, or are about to
            socket._farewell = asyncio.Event()
            self.departing[socket.id] = socket
        if was_connected and nsp._watcher is not None:
            nsp._watcher.gone(socket, reason)
        self._remove(socket)
        if nsp._presence is not None:
            nsp._presence.gone(socket.id, of_connection)
        if was_connected:
            if socket._authenticated is not None:
                self.note_user(socket, 0)
            if socket._device is not None:
                self._note_device(socket, socket._device)
            self.run_disconnect_handlers(socket, reason)
        for answer in (socket._acks or {}).values():
            if not answer.done():
                answer.set_exception(Disconnected("socket has been disconnected"))
        socket._acks = None
        if not self.sockets:
            nsp._emptied()

    def evict(self, socket: Socket) -> None:
        """Take out a socket that is refused, without a word to anybody."""
        self._nsp._free_seat(socket)
        joined = State.CONNECTING < socket._state < State.DISCONNECTED
        if joined:
            self._persist(socket)
        socket._state = State.DISCONNECTED
        socket._outlet = None
        if joined:
            self._remove(socket)
            if self._nsp._presence is not None:
                self._nsp._presence.gone(socket.id, None)
            if not self.sockets:
                self._nsp._emptied()
        socket._forget_listeners()

    def _remove(self, socket: Socket) -> None:
        """Leave nothing of a socket in the namespace."""
        self.sockets.pop(socket.id, None)
        self.outlets.pop(socket.id, None)
        self._nsp._outgoing.tapped.discard(socket.id)
        if socket._pid is not None:
            self.by_pid.pop(socket._pid, None)
        self._nsp.adapter.remove_all(socket.id)

    def note_user(self, socket: Socket, others: int) -> None:
        """Note that a user is here, with its first socket, or was here until now, with its last one.

        ``others``: the sockets that it has here then.
        """
        nsp = self._nsp
        if nsp._host is None:
            return
        settings, sightings = nsp._host.settings, nsp._host.sightings
        if settings.last_seen is not None:
            count: Callable[[str], int] | None = getattr(nsp.adapter, "member_count", None)
            for room in rooms_of(socket._authenticated, nsp.name):
                # One user may have all sockets: a list of them for each that comes would take too long.
                here = len(nsp.adapter.sockets(Target(frozenset((room,))))) if count is None else count(room)
                if here == others:
                    sightings.note(key_of_user(nsp.label, room), settings.last_seen)

    def _note_device(self, socket: Socket, device: Device) -> None:
        """Note that a device was here until now."""
        nsp = self._nsp
        if nsp._host is not None and nsp._host.settings.devices is not None:
            room = next(iter(rooms_of(socket._authenticated, nsp.name)), "")
            nsp._host.sightings.note(key_of_device(nsp.label, room, device.id), nsp._host.settings.devices)

    # --- the way to a client ----------------------------------------------------------------------------------------

    def connect_outlet(self, socket: Socket) -> BufferedOutlet:
        """Let packets reach a client that is accepted. Return the buffer of those that it has to get first."""
        held, above = socket._outlet, None
        assert isinstance(held, BufferedOutlet)
        while isinstance(held.below, BufferedOutlet):
            held, above = held.below, held
        self._set_outlet(socket, above, held.below)
        return held

    def hold(self, socket: Socket) -> BufferedOutlet | None:
        """Hold back what is sent to a socket from now on, until :meth:`release`; ``None`` if nothing reaches it now.

        What has to come first is sent to the result's ``below`` meanwhile.
        """
        if socket._outlet is None:
            return None
        held = BufferedOutlet(socket._client.conn, self._nsp._limits.max_outbox, socket._outlet)
        self._set_outlet(socket, None, held)
        return held

    def release(self, socket: Socket, held: BufferedOutlet) -> None:
        """Send what was held back, unless the client has left."""
        outlet = socket._outlet
        above: BufferedOutlet | None = None
        while outlet is not held:
            if not isinstance(outlet, BufferedOutlet):
                return
            above = outlet
            outlet = outlet.below
        self._set_outlet(socket, above, held.below)
        held.open()

    def _release_all(self, socket: Socket) -> None:
        """Send all that is held back: the client is about to be disconnected."""
        while isinstance(socket._outlet, BufferedOutlet) and socket._state is State.CONNECTED:
            held = socket._outlet
            while isinstance(held.below, BufferedOutlet):
                held = held.below
            self.release(socket, held)

    def _set_outlet(self, socket: Socket, above: BufferedOutlet | None, outlet: Outlet) -> None:
        """Make an outlet the one below a buffer, or, without one, that of the socket."""
        if above is None:
            socket._outlet = self.outlets[socket.id] = outlet
        else:
            above.below = outlet

    # --- rooms ------------------------------------------------------------------------------------------------------

    async def check_no_ids(self, names: Iterable[str], own: str) -> None:
        """Check rooms that a socket wants to join. Raises ``EventError`` for the id of another socket.

        Other servers are asked about names that look like ids. Raises ``FetchTimeout`` if one does not answer.
        """
        here = self.sockets
        backbone = self._nsp._host.settings.backbone if self._nsp._host is not None else None
        for name in names:
            if name == own:
                continue
            is_id = name in here
            if not is_id and backbone is not None and _LIKE_AN_ID.fullmatch(name):
                found = await self._nsp.adapter.fetch_sockets(Target(frozenset((name,))), None)
                is_id = any(each.id == name for each in found)
            if is_id:
                raise EventError(
                    "room_of_a_socket", "that room is another socket's own: join(id, socket_ids=True) joins it"
                )

    # --- sessions ---------------------------------------------------------------------------------------------------

    def session_of(self, socket: Socket) -> Session | None:
        """Return the state that a socket may recover; ``None`` if its client does not know how to ask for it."""
        nsp, before = self._nsp, socket._session
        recovery = nsp._host.settings.recovery if nsp._host is not None else None
        if recovery is None or socket._pid is None or not (socket._was_accepted or before is not None):
            return None
        replayed = before.replayed if before is not None else None
        left_at = None
        if not socket._was_accepted and before is not None:  # the session was not used after all
            left_at = before.left_at
        elif socket._client.conn.transport == "polling":
            # One payload of polling arrives whole or not at all; of a websocket's messages the first may have come.
            replayed = None
        user = socket._authenticated
        return Session(
            socket.id,
            socket._pid,
            nsp.adapter.rooms(socket.id),
            socket.data,
            socket.user,
            user,
            replayed,
            left_at,
            identity=recovery.identity(user),
            replaced=socket.user is not user,
        )

    def keep(self, socket: Socket) -> None:
        """Tell the adapter of a client that knows its private id from now on."""
        try:
            session = self.session_of(socket)
            if session is not None:
                self._nsp.adapter.keep_session(session)
        except Exception as error:  # noqa: BLE001 - logged, and the client is in all the same
            self._log(socket, error)

    def _persist(self, socket: Socket) -> None:
        """Have the state of a socket kept, if its client knows how to ask for it."""
        try:
            session = self.session_of(socket)
            if session is not None:
                self._nsp.adapter.persist_session(session)
        except Exception as error:  # noqa: BLE001 - logged, and the socket goes all the same
            self._log(socket, error)

    def _forget(self, socket: Socket) -> None:
        """Have the state of a socket forgotten that cannot come back."""
        if socket._pid is None or not (socket._was_accepted or socket._session is not None):
            return
        try:
            self._nsp.adapter.forget_session(socket._pid)
        except Exception as error:  # noqa: BLE001 - logged, and the socket goes all the same
            self._log(socket, error)

    def _log(self, socket: Socket, error: Exception) -> None:
        _not_kept(error=error, key=self._nsp.label, extra={"nsp": self._nsp.name, "sid": socket.id})

    # --- disconnect handlers ----------------------------------------------------------------------------------------

    def run_disconnect_handlers(self, socket: Socket, reason: str) -> None:
        """Run the handlers of a socket that has left, in the background."""
        lifecycle = self._nsp._listening.lifecycle
        if any(lifecycle[phase] or socket._listens_to(phase) for phase in (DISCONNECTING, DISCONNECT)):
            # They are the connection's work: a client that joins and leaves is read no faster than they end.
            self._nsp._spawn(self._run_disconnect_handlers(socket, reason, socket._client.conn.began()))
        else:
            socket._forget_listeners()
            self.departed(socket)

    async def _run_disconnect_handlers(self, socket: Socket, reason: str, weight: int) -> None:
        try:
            for phase in (DISCONNECTING, DISCONNECT):
                for handler in (*self._nsp._listening.take(phase), *socket._take_handlers(phase)):
                    try:
                        await handler(socket, reason)
                    except (Exception, asyncio.CancelledError) as error:
                        if is_cancelled(error):
                            raise
                        extra = {"nsp": self._nsp.name, "sid": socket.id}
                        _failed(phase, error=error, key=(self._nsp.label, phase), extra=extra)
                socket._last_rooms = frozenset()  # it shows them to "disconnecting" handlers only
        finally:
            socket._client.conn.ended(weight)
            socket._forget_listeners()
            self.departed(socket)

    def departed(self, socket: Socket | None) -> None:
        """Note that all connect and disconnect handlers of a socket have finished."""
        if socket is not None and socket._farewell is not None:
            socket._farewell.set()
            if self.departing.get(socket.id) is socket:
                del self.departing[socket.id]

    async def farewell(self, sid: str) -> None:
        """Wait, for a bounded time, for the handlers of the socket that had this id before.

        What they take down by the socket's id must not be what the connection handlers have just set up.
        """
        before = self.departing.get(sid)
        if before is not None and before._farewell is not None:
            try:
                async with asyncio.timeout(_FAREWELL_TIMEOUT):
                    await before._farewell.wait()
            except TimeoutError:
                extra = {"nsp": self._nsp.name, "sid": sid}
                _still_runs(self._nsp.name, key=self._nsp.label, extra=extra)
