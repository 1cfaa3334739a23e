"""A client's way into a namespace: from CONNECT to accepted or refused."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from .. import counters as outcomes
from ..adapters.buffered_outlet import BufferedOutlet
from ..adapters.connecting import connecting
from ..authenticators import authenticate
from ..concurrency import is_cancelled
from ..counters import MAX_CONNECTIONS_PER_USER
from ..exceptions import ConnectionRefused, Disconnected, EncodeError, EventError
from ..handlers.event import CONNECTION, Passage
from ..logs import ThrottledLog, quote
from ..protocols import UNKNOWN
from ..types import DisconnectReason, Packet, PacketType
from .devices import look_at, read_device
from .membership import State
from .own_rooms import EVERY_TOKEN, is_of_another, own_rooms, room_of_token, rooms_of
from .sightings import key_of_device

if TYPE_CHECKING:
    from ..authenticators import TokenDetails
    from ..options import Recovery
    from ..protocols import Authenticator, Client, Engine, Frames, Outlet, Session
    from ..types import Handshake
    from .host import Host
    from .namespace import Namespace
    from .socket import Socket

log: Final = logging.getLogger("rtframework.namespace")

INTERNAL: Final = ConnectionRefused("Internal server error", {"code": "internal_error"})
"""The refusal for whatever went wrong and is not the client's business."""

TOO_MANY: Final = ConnectionRefused("Too many connections", {"code": "too_many_connections"})
"""The refusal for a user with as many connections as ``Limits.max_connections_per_user`` allows."""

_another_user: Final = ThrottledLog(log, logging.WARNING, "a session of %s was asked for by another user")

_no_way_through: Final = ThrottledLog(
    log, logging.WARNING, "a connect middleware of %s neither called call_next() nor refused"
)

_slow_handler: Final = ThrottledLog(
    log,
    logging.WARNING,
    "a connection handler of %s has been running for %g s and keeps its client out: "
    "if it is meant to go on, call socket.accept() first",
)

_failed: Final = ThrottledLog(log, logging.ERROR, "unhandled error while a client connects")

_not_restored: Final = ThrottledLog(log, logging.ERROR, "unhandled error while a session is restored")

_unsendable: Final = ThrottledLog(log, logging.ERROR, "a ConnectionRefused cannot be sent as it is")

_not_authenticated: Final = ThrottledLog(log, logging.WARNING, "the authenticator refused a client of %s: %s")

_HANDLER_WARNING: Final = 10.0
"""Seconds after which a connection handler that keeps a client out is worth a warning."""


def _is_out(socket: Socket) -> bool:
    """Tell whether a client still waits to be let in."""
    return socket._state is State.JOINED


class Admission:
    """Lets clients into one namespace: authentication, recovery, middleware, connection handlers, in this order.

    Whatever goes wrong on the way refuses the client and leaves nothing behind; it receives nothing before it is
    accepted. A socket's state changes here until it is CONNECTED, and nowhere else.
    """

    __slots__ = ("_nsp",)

    def __init__(self, nsp: Namespace) -> None:
        self._nsp = nsp

    async def connect(self, client: Client, auth: Any) -> str:
        """Decide about a client. Return one of ``rtframework.counters.CONNECTS``."""
        nsp = self._nsp
        handshake = client.handshake(nsp.name, auth)
        socket: Socket | None = None
        try:
            authenticator = nsp._authenticator
            user, token = (None, None) if authenticator is None else await self._authenticate(authenticator, handshake)
            own = self.own_rooms(user, token)
            recovery = self._host.settings.recovery
            if recovery is None or client.conn.protocol == 3:  # older clients cannot ask for it
                recovery = None
                socket = nsp._make_socket(client, client.new_id(nsp.name), handshake, user)
            else:
                socket = await self._make_socket(client, handshake, user, recovery, own)
            socket._token = token
            socket._last_rooms |= own
            if user is not None and not nsp._take_seat(socket):
                guard = self._host.guard
                guard.hit(MAX_CONNECTIONS_PER_USER, address=client.address, user=user, nsp=nsp.name)
                return self._refuse(client, socket, TOO_MANY, outcomes.LIMITED_CONNECT)
            if self._host.settings.devices is not None and "device" in handshake.auth:
                await self._look_at_device(socket, self._host.settings.devices)
            if socket._session is not None:
                await nsp._membership.farewell(socket.id)
            if nsp._connect_links and not (recovery is not None and self._skips(socket, recovery)):
                await self._run_middleware(socket)
            self._check(own, token)  # as they are now: until it has joined, nobody could throw it out
            entering = self._join(socket)
            if not (entering is None or await self._entered(socket, entering)):
                return self._count(outcomes.GONE)
            if client.prepare is not None:
                with connecting(socket, _is_out):
                    await client.prepare(socket)
            if nsp._listening.lifecycle[CONNECTION]:
                await self._run_connection_handlers(socket)
        except ConnectionRefused as refused:
            return self._refuse(client, socket, refused)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - logged, and refuses the client
            explained: Any = error
            try:
                if socket is not None and not is_cancelled(error):
                    explained = await socket._explain(error, None)
            except asyncio.CancelledError as cancelled:
                explained = cancelled
            outcome = self._refuse(client, socket, self._refusal_for(explained, socket))
            try:
                if is_cancelled(explained):
                    raise explained
            finally:
                del explained  # what is raised holds this frame
            return outcome
        if socket._left is None:
            self.accept(socket)
        elif not socket._was_accepted:
            # The handlers have run to their end, so what they set up has to be taken down.
            nsp._membership.run_disconnect_handlers(socket, socket._left)
        return outcomes.CONNECTED if socket._was_accepted else self._count(outcomes.GONE)

    async def vouch_for(self, client: Client, auth: Any) -> Socket:
        """Decide about a client that only reads what is kept, by authentication and middleware: it does not join.

        Return a socket of it, which is in no room but those of its user. Raises ``ConnectionRefused``, whatever went
        wrong.
        """
        nsp = self._nsp
        socket: Socket | None = None
        user: Any = None
        try:
            handshake = client.handshake(nsp.name, auth)
            authenticator = nsp._authenticator
            user, token = (None, None) if authenticator is None else await self._authenticate(authenticator, handshake)
            own = self.own_rooms(user, token)
            socket = nsp._make_socket(client, client.new_id(nsp.name), handshake, user)
            socket._token = token
            socket._last_rooms |= own
            if nsp._connect_links:
                await self._run_middleware(socket)
            return socket
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled(error):
                raise
            refused = self._refusal_for(error, socket)
        finally:
            if socket is not None:
                socket._forget_listeners()
        try:
            self._host.refused(client, nsp.name, refused, user)
            raise ConnectionRefused(refused.message, refused.data)
        finally:
            del refused  # whose traceback has this frame: nothing is to wait for the garbage collector

    def accept(self, socket: Socket) -> None:
        """Tell a client that it is connected, and send what was held for it. Nothing happens in another state."""
        if socket._state is not State.JOINED:
            return
        nsp, conn = self._nsp, socket._client.conn
        held = nsp._membership.connect_outlet(socket)
        socket._state = State.CONNECTED
        socket._was_accepted = True
        if socket._pid is not None:
            nsp._membership.by_pid[socket._pid] = socket
        self._count(outcomes.CONNECTED)
        conn.send(self._greeting(socket))
        if socket._pid is not None:
            nsp._membership.keep(socket)
        held.open()
        if socket._token is not None:
            self._host.renewals.add(socket)
        if socket._authenticated is not None:
            nsp._membership.note_user(socket, 1)
        if nsp._watcher is not None:
            nsp._watcher.admitted(socket)
        if socket._authenticated is not None and nsp._guard.audit.is_on:
            socket._audit("login")

    # --- the steps --------------------------------------------------------------------------------------------------

    async def _authenticate(
        self, authenticator: Authenticator, handshake: Handshake
    ) -> tuple[Any, TokenDetails | None]:
        """Return the user, and what is known of its token. Raise ``ConnectionRefused``."""
        user, token = await authenticate(authenticator, handshake)
        if user is None:
            raise ConnectionRefused("Unauthorized", {"code": "unauthorized"})
        return user, token

    def own_rooms(self, user: Any, token: TokenDetails | None) -> frozenset[str]:
        """Return the rooms of a client's user and token. Raise ``ConnectionRefused`` if they are refused by now."""
        if user is None:
            return frozenset()
        own = rooms_of(user, self._nsp.name)
        if token is not None:
            own |= room_of_token(token.id)
            if token.expires_at is not None and token.issued_at is not None:
                self._host.revocations.note_lifetime(token.expires_at - token.issued_at)
        self._check(own, token)
        return own

    def _check(self, own: frozenset[str], token: TokenDetails | None) -> None:
        """Raise ``ConnectionRefused`` for credentials that are not accepted any more. ``own``: the client's rooms."""
        find = self._host.revocations.find
        code = find(own, None) if token is None else find((*own, EVERY_TOKEN), token.issued_at)
        if code is not None:
            raise ConnectionRefused("These credentials are not accepted any more", {"code": code})

    async def _make_socket(
        self, client: Client, handshake: Handshake, user: Any, recovery: Recovery, own: frozenset[str]
    ) -> Socket:
        """Make a client's socket: the continuation of an earlier one, if the client asks for it and may have it."""
        nsp = self._nsp
        pid, offset = handshake.auth.get("pid"), handshake.auth.get("offset")
        if isinstance(pid, str) and (offset is None or isinstance(offset, str)):
            socket = await self._recover(client, handshake, user, pid, offset, recovery, own)
            if socket is not None:
                return socket
            log.debug("a client of %s is not recovered", nsp.name, extra={"nsp": nsp.name})
        return nsp._make_socket(client, client.new_id(nsp.name), handshake, user, secrets.token_urlsafe(15))

    async def _look_at_device(self, socket: Socket, seconds: float) -> None:
        """Find out whether the server knows the device that a client says it runs on."""
        device = read_device(socket.handshake.auth)
        if device is not None:
            room = next(iter(rooms_of(socket._authenticated, self._nsp.name)), "")
            key = key_of_device(self._nsp.label, room, device.id)
            socket._device = await look_at(device, key, self._host.sightings, seconds)

    def _skips(self, socket: Socket, recovery: Recovery) -> bool:
        """Tell whether a client is recovered and passes middleware by.

        Warn of it, once, if the program has not said so. A session of another server whose user was replaced by
        middleware goes through it again: the object did not travel.
        """
        session = socket._session
        if session is None or (session.origin is not None and session.replaced):
            return False
        if recovery.skip_middlewares is None and not self._host.has_told_of_skipping:
            self._host.has_told_of_skipping = True
            log.warning(
                "a client of %s was recovered without its connect middleware: if that decides who may be here, as for "
                "bans or roles, write Recovery(skip_middlewares=False), else Recovery(skip_middlewares=True)",
                self._nsp.name,
                extra={"nsp": self._nsp.name},
            )
        return recovery.skip_middlewares is not False

    async def _run_middleware(self, socket: Socket) -> None:
        passage = Passage()
        await self._nsp._connect_chain(socket, passage)
        if not passage.is_through:
            name = self._nsp.name
            extra = {"nsp": name, "sid": socket.id}
            _no_way_through(name, key=self._nsp.label, extra=extra)
            raise ConnectionRefused

    def _join(self, socket: Socket) -> Awaitable[None] | bool | None:
        """Put a socket into the namespace and its rooms, and hold its packets back; ``False`` when it has left.

        Return what is to be waited for by :meth:`_entered`, if packets of other servers do not reach it yet.
        """
        nsp = self._nsp
        if socket._state is State.DISCONNECTED or not socket._client.enter(nsp.name, nsp._receiver_of(socket)):
            nsp._membership.evict(socket)
            return False
        resumed = socket._state is State.RESUMED
        socket._state = State.JOINED
        nsp._membership.sockets[socket.id] = socket
        if not resumed:
            self._hold(socket)
            entering = nsp.adapter.add(socket.id, {socket.id, *socket._last_rooms})
        else:  # it is in them; the adapter says again what there is to wait for
            entering = nsp.adapter.add(socket.id, nsp.adapter.rooms(socket.id))
        return entering if nsp._presence is None else nsp._presence.admitted(socket, entering)

    async def _entered(self, socket: Socket, entering: Awaitable[None] | bool) -> bool:
        """Wait until packets of other servers reach a socket. Return ``False`` when it has left."""
        if isinstance(entering, bool):
            return entering
        await entering
        if socket._state is State.DISCONNECTED:
            socket._forget_listeners()
            self._nsp._membership.departed(socket)
            return False
        return True

    def _hold(self, socket: Socket) -> None:
        """Hold packets for a socket back until it is accepted."""
        nsp = self._nsp
        held: Outlet = BufferedOutlet(socket._client.conn, nsp._limits.max_outbox)
        socket._outlet = nsp._membership.outlets[socket.id] = held

    async def _run_connection_handlers(self, socket: Socket) -> None:
        warning = asyncio.get_running_loop().call_later(_HANDLER_WARNING, self._warn, socket)
        try:
            with connecting(socket, _is_out):
                for handler in self._nsp._listening.take(CONNECTION):
                    await handler(socket)
        finally:
            warning.cancel()

    def _warn(self, socket: Socket) -> None:
        if socket._state is State.JOINED:
            extra = {"nsp": self._nsp.name, "sid": socket.id}
            _slow_handler(self._nsp.name, _HANDLER_WARNING, key=self._nsp.label, extra=extra)

    # --- what the client is told ------------------------------------------------------------------------------------

    def _greeting(self, socket: Socket) -> Frames:
        """Make CONNECT for a client, behind the packets that it has missed.

        They come first, as with Node: the client holds them until it knows that it is connected.
        """
        engine, name = self._nsp._engine, self._nsp.name
        if socket._pid is None:
            return engine.encode(Packet(PacketType.CONNECT, name, socket._client.greeting({"sid": socket.id})))
        connect = engine.encode(Packet(PacketType.CONNECT, name, {"sid": socket.id, "pid": socket._pid}))
        session = socket._session
        if session is None:
            return connect
        missed = session.missed
        offset = socket.handshake.auth.get("offset") or ""
        # A client of another protocol takes each packet as it comes, and knows how far it is.
        replayed = offset if missed and socket._client.conn.protocol else None
        socket._session = dataclasses.replace(session, missed=(), replayed=replayed)
        return engine.join([*missed, connect]) if missed else connect

    def _refusal_for(self, error: Any, socket: Socket | None) -> ConnectionRefused:
        """Turn what was raised while a client connected, or what exception handlers made of it, into a refusal."""
        if isinstance(error, ConnectionRefused):
            return error
        if isinstance(error, EventError):
            return ConnectionRefused(error.message, error.to_payload()["error"])
        # A client that left while a handler waited for its answer is no error.
        if not (isinstance(error, Disconnected) and socket is not None and socket._left is not None):
            failure = error if isinstance(error, BaseException) else TypeError(f"no EventError: {error!r}")
            extra = {"nsp": self._nsp.name, "sid": socket.id if socket is not None else None}
            _failed(error=failure, key=self._nsp.label, extra=extra)
        return INTERNAL

    def _refuse(
        self, client: Client, socket: Socket | None, refused: ConnectionRefused, limited: str | None = None
    ) -> str:
        """Refuse a client, or disconnect it when it is accepted already. Return the outcome.

        ``limited``: the outcome, if it is not to be taken from how far the client has come.
        """
        nsp = self._nsp
        if socket is None:
            outcome = outcomes.AUTHENTICATION
        else:
            outcome = outcomes.CONNECTION_HANDLER if socket.connected else outcomes.MIDDLEWARE
            try:
                if socket._state is State.CONNECTED:  # it has been told so: all that is left is to disconnect it
                    if client.conn.is_open:
                        nsp._spawn(socket.disconnect())
                    return outcomes.CONNECTED
                socket._forget_listeners()
                if socket._left is not None:
                    # Nobody is there to be told; the namespace may be somebody else's already.
                    return outcomes.CONNECTED if socket._was_accepted else self._count(outcomes.GONE)
                nsp._membership.evict(socket)
            finally:
                if not socket._was_accepted:  # else its disconnect handlers run, and come last
                    nsp._membership.departed(socket)
        if not client.conn.is_open:
            return self._count(outcomes.GONE)
        if socket is None and refused is not INTERNAL:
            _not_authenticated(nsp.name, quote(code_of(refused)), extra={"nsp": nsp.name})
        client.leave(nsp.name)
        refuse(nsp._engine, client, nsp.name, refused)
        outcome = self._count(outcomes.INTERNAL_ERROR if refused is INTERNAL else limited or outcome)
        self._host.refused(client, nsp.name, refused, None if socket is None else socket._authenticated)
        return outcome

    def _count(self, outcome: str) -> str:
        self._host.counts.connects[outcome] += 1
        return outcome

    @property
    def _host(self) -> Host:
        host = self._nsp._host
        assert host is not None
        return host

    # --- connection state recovery ----------------------------------------------------------------------------------

    async def _recover(
        self,
        client: Client,
        handshake: Handshake,
        user: Any,
        pid: str,
        offset: str | None,
        recovery: Recovery,
        own: frozenset[str],
    ) -> Socket | None:
        """Return the socket that continues a session, or ``None`` when the client cannot have that session."""
        nsp = self._nsp
        before = nsp._membership.by_pid.get(pid)
        if before is not None and before._client is not client and recovery.is_same(before._authenticated, user):
            # The client is here again, so its old connection is dead, though nobody has noticed yet.
            before._client.conn.close(DisconnectReason.TRANSPORT_CLOSE)
            if before._left is None:
                nsp._membership.evict(before)  # its middleware still runs
        outcome = outcomes.NOT_FOUND
        identity = recovery.identity(user)

        def accept(session: Session) -> bool:
            nonlocal outcome
            outcome = self._judge(session, offset, identity, own) if client.conn.is_open else outcomes.GONE
            return outcome == outcomes.RECOVERED

        session = await self._restore(pid, offset, accept)
        # Nothing is waited for from here on, so that no packet falls between what was missed and what comes.
        if session is None and outcome == outcomes.RECOVERED:  # the adapter could not take it after all
            outcome = outcomes.NOT_FOUND
        elif session is not None and outcome != outcomes.RECOVERED and not accept(session):  # it has not asked
            self._nsp.adapter.persist_session(session)
            session = None
        if outcome != outcomes.GONE:
            self._host.counts.recoveries[outcome] += 1
        if session is None:
            return None
        before = nsp._membership.by_pid.get(pid)
        if before is not None:  # it has come back twice, and the adapter has let the other go
            nsp._membership.hand_over(before, close=before._client is not client)
        socket = nsp._make_socket(client, session.sid, handshake, user, pid)
        socket._session = session
        socket.data = session.data
        if session.origin is None and session.replaced:  # middleware has made another of it, and may be skipped now
            socket.user = session.user
        socket._state = State.RESUMED
        self._hold(socket)
        # What these return is asked for again, and waited for, in _join.
        nsp.adapter.add(socket.id, session.rooms | own)
        stale = own_rooms(session.rooms) - own
        if stale:
            nsp.adapter.remove(socket.id, stale)
        nsp._membership.by_pid[pid] = socket
        return socket

    async def _restore(self, pid: str, offset: str | None, accept: Callable[[Session], bool]) -> Session | None:
        try:
            return await self._nsp.adapter.restore_session(pid, offset, accept)
        except Exception as error:  # noqa: BLE001 - logged, and the client starts anew
            _not_restored(error=error, key=self._nsp.label, extra={"nsp": self._nsp.name})
            return None

    def _judge(self, session: Session, offset: str | None, identity: Any, own: frozenset[str]) -> str:
        """Decide whether a client may have a session. Return one of ``rtframework.counters.RECOVERIES``.

        ``own``: the rooms of its user. No session gives a client what was said in the room of another.
        """
        is_known_as_another = session.identity is not UNKNOWN and session.identity != identity
        if is_known_as_another or is_of_another(session.rooms, own):
            _another_user(self._nsp.name, extra={"nsp": self._nsp.name, "sid": session.sid})
            return outcomes.ANOTHER_USER
        if session.replayed == (offset or ""):
            return outcomes.UNCERTAIN  # which of the packets that were sent again it has got, nobody knows
        if sum(frames.size for frames in session.missed) > self._nsp._limits.max_outbox:
            return outcomes.TOO_MUCH
        return outcomes.RECOVERED


def code_of(refused: ConnectionRefused) -> str:
    """Return the code of a refusal, or its message: what the client is told, and no token."""
    code = refused.data.get("code") if isinstance(refused.data, dict) else None
    return code if isinstance(code, str) else refused.message


def refuse(engine: Engine, client: Client, nsp: str, refused: ConnectionRefused) -> None:
    """Send CONNECT_ERROR. What cannot be encoded is logged, and the client gets the message alone."""
    try:
        refusal = client.refusal(nsp, refused.message, refused.data)
        frames = engine.encode(Packet(PacketType.CONNECT_ERROR, nsp, refusal))
    except EncodeError as error:
        _unsendable(error=error, extra={"nsp": nsp})
        refusal = client.refusal(nsp, ConnectionRefused().message)
        frames = engine.encode(Packet(PacketType.CONNECT_ERROR, nsp, refusal))
    client.conn.send(frames)
