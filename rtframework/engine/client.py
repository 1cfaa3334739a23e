"""Socket.IO's state of one client: the namespaces that it is in, and those that it asks for."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from ..exceptions import DecodeError
from ..logs import ThrottledLog, printable
from ..packets import TooManyAttachments, is_name_within
from ..types import DisconnectReason, PacketType
from .ids import new_id
from .inbound import estimate

if TYPE_CHECKING:
    from ..options import Limits
    from ..protocols import Application, Decoder, Receiver
    from ..types import Handshake
    from .interfaces import ClientConnection

log: Final = logging.getLogger("rtframework.engine")

_CONNECT: Final = int(PacketType.CONNECT)
_DISCONNECT: Final = int(PacketType.DISCONNECT)
_EVENT: Final = int(PacketType.EVENT)
_ACK: Final = int(PacketType.ACK)

_other_serializer: Final = ThrottledLog(
    log,
    logging.WARNING,
    "closing a connection whose first packet cannot be read: does the client have another parser than the server's "
    "serializer?",
)
_invalid: Final = ThrottledLog(log, logging.INFO, "closing a connection that sent an invalid packet: %s")
_beyond: Final = ThrottledLog(log, logging.WARNING, "closing a connection that sent a packet with %s")
_long_name: Final = ThrottledLog(
    log,
    logging.WARNING,
    "closing a connection that sent an event whose name has more than %d characters (Limits.max_event_name)",
)
_decoder_failed: Final = ThrottledLog(
    log, logging.ERROR, "the serializer's decoder raised something that is no DecodeError"
)
_leaving_failed: Final = ThrottledLog(log, logging.ERROR, "unhandled error while a client leaves")
_outdated: Final = ThrottledLog(log, logging.INFO, "dropping packets of a client that joins a namespace anew")
_too_many: Final = ThrottledLog(log, logging.INFO, "closing a connection that wants to join too many namespaces")
_large_connect: Final = ThrottledLog(
    log,
    logging.WARNING,
    "closing a connection whose CONNECT, auth included, has more than %d bytes (Limits.max_connect_size)",
)

_SMALL: Final = 256
"""Bytes up to which a CONNECT is not counted."""


class _Attempt:
    """A CONNECT that the client cannot know to be answered yet."""

    __slots__ = ("auth", "left", "replaces")

    def __init__(self, auth: Any, *, replaces: bool) -> None:
        self.auth = auth
        """What the client gave with its latest CONNECT."""
        self.replaces = replaces
        """True if the client may take an earlier CONNECT for answered: its packets are of that time, and dropped."""
        self.left = False
        """True if the client has left meanwhile."""


class Client:
    """One client in any number of namespaces, over any connection; see ``rtframework.protocols.Client``.

    It decodes messages, hands the packets of each namespace to their receiver (Socket.IO v5), and has the application
    decide on clients that ask for one. The meaning of events, and rooms, are the application's.
    """

    __slots__ = (
        "_application",
        "_attempts",
        "_auths",
        "_collected",
        "_decoder",
        "_handshake",
        "_limits",
        "_receivers",
        "_size",
        "_starting",
        "buckets",
        "conn",
        "received",
    )

    def __init__(
        self,
        conn: ClientConnection,
        handshake: Handshake,
        *,
        application: Application,
        decoder: Decoder,
        limits: Limits,
    ) -> None:
        self.conn = conn
        self._handshake = handshake
        self._application = application
        self._decoder = decoder
        self._limits = limits
        self._receivers: dict[str, Receiver] = {}
        """The receivers of packets, by the name of the namespace."""
        self._attempts: dict[str, _Attempt] | None = None
        """Namespaces whose CONNECT the client cannot know to be answered yet. A client may leave and ask again while
        the handlers of its first attempt still run. ``None`` rather than empty."""
        self._auths: dict[str, int] | None = None
        """Bytes of memory that a large ``auth`` takes, by the name of the namespace. ``None`` rather than empty."""
        self._collected = 0
        """Bytes of memory of the packet that is to be completed by attachments."""
        self._size = 0
        """Bytes of that packet on the wire."""
        self._starting = 0
        """Bytes of memory of such packets that are complete, and whose handlers have not begun."""
        self.buckets: dict[Any, Any] | None = None
        self.received = 0

    # --- for the application ----------------------------------------------------------------------------------------

    @property
    def address(self) -> str | None:
        """The client's network address."""
        return self._handshake.address

    def handshake(self, nsp: str, auth: Any) -> Handshake:
        """Describe the client as it asks for a namespace."""
        if not auth and nsp == "/":
            return self._handshake
        return dataclasses.replace(self._handshake, nsp=nsp, auth=auth if isinstance(auth, dict) else {})

    @property
    def prepare(self) -> Callable[[Any], Awaitable[None]] | None:
        """Called with the socket before its connection handlers: nothing."""
        return None

    def new_id(self, nsp: str) -> str:
        """Make an id for a socket of this client: public, and unique."""
        return new_id()

    def greeting(self, data: dict[str, Any]) -> Any:
        """Make the payload of CONNECT (Socket.IO v5, "Connection to a namespace")."""
        return data

    def refusal(self, nsp: str, message: str, data: Any = None) -> Any:
        """Make the payload of CONNECT_ERROR."""
        return {"message": message} if data is None else {"message": message, "data": data}

    def enter(self, nsp: str, receiver: Receiver) -> bool:
        """Hand packets of this namespace to the receiver from now on. False when the connection has gone."""
        if not self.conn.is_open:
            return False
        self._receivers[nsp] = receiver
        self.conn.keep()
        return True

    def leave(self, nsp: str) -> None:
        """End this namespace: the receiver hears nothing more, the client may CONNECT again."""
        self._receivers.pop(nsp, None)
        if self._attempts is not None:
            self._attempts.pop(nsp, None)
            self._attempts = self._attempts or None
        self._release_auth(nsp)

    # --- for the connection -----------------------------------------------------------------------------------------

    def receive(self, data: str | bytes) -> Coroutine[Any, Any, None] | None:
        """Handle a frame of the serializer (Socket.IO v5, "Packet types"). Return what it sets off, if anything."""
        try:
            packet = self._decoder.decode(data)
        except Exception as error:  # noqa: BLE001 - whatever a serializer raises
            self._fail(error)
            return None
        if packet is None:
            self._collect(data)
            return None
        nsp = packet.nsp
        kind = packet.type
        receiver = self._receivers.get(nsp)
        if self._attempts is not None and kind != _CONNECT and self._is_outdated(nsp, kind):
            if self._collected:
                self._serve_collected(None)
            return None
        if receiver is not None:
            if kind == _EVENT:
                try:
                    fits = len(packet.data[0]) <= self._limits.max_event_name
                except TypeError:  # an integer: asking first would cost every event something
                    fits = is_name_within(packet.data[0], self._limits.max_event_name)
                if not fits:
                    limit = self._limits.max_event_name
                    _long_name(limit, extra={"nsp": nsp, "limit": limit, **self._where()})
                    self.conn.fail(DisconnectReason.PARSE_ERROR)
                    return None
                work = receiver._receive(packet)
                return work if not self._collected else self._serve_collected(work)
            if kind == _ACK:
                work = receiver._receive(packet)
                return work if not self._collected else self._serve_collected(work)
            if kind == _DISCONNECT:
                self._part(nsp, receiver)
                return None
        if kind == _CONNECT:
            return self._ask(nsp, packet.data, data)
        # An event for a namespace that it is not in, CONNECT_ERROR: Node closes, too.
        self.conn.close(DisconnectReason.FORCED_SERVER_CLOSE)
        return None

    def ended(self, reason: str) -> None:
        """Tell every receiver that the connection has ended."""
        receivers = list(self._receivers.values())
        self._receivers.clear()
        if self._collected or self._starting or self._auths:
            self.conn.release(self._collected + self._starting + sum((self._auths or {}).values()))
            self._collected, self._starting, self._auths = 0, 0, None
        for receiver in receivers:
            _tell(receiver, reason)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _fail(self, error: Exception) -> None:
        """Close the connection of a client that has sent no valid packet."""
        if not isinstance(error, DecodeError):
            _decoder_failed(error=error)
        if not self._receivers and self._attempts is None:
            _other_serializer(extra=self._where())
        elif isinstance(error, TooManyAttachments):
            _beyond(error, extra=self._where())
        elif isinstance(error, DecodeError):
            _invalid(printable(error), extra=self._where())
        self.conn.fail(DisconnectReason.PARSE_ERROR)

    def _where(self) -> dict[str, object]:
        """Return the extra fields of a log line."""
        return {"address": self._handshake.address, "transport": self.conn.transport}

    def _collect(self, data: str | bytes) -> None:
        """Count a part of a packet whose attachments are still to come.

        Before the client has joined a namespace, nothing that it may send has attachments.
        """
        if not self._receivers and self._attempts is None:
            self.conn.close(DisconnectReason.FORCED_SERVER_CLOSE)
            return
        weight = estimate(data) if isinstance(data, str) else len(data)
        self._collected += weight
        self.conn.hold(weight)
        self._size += len(data)
        if self._size > self._limits.max_http_buffer_size:
            self.conn.fail_of_size()

    def _serve_collected(self, work: Coroutine[Any, Any, None] | None) -> Coroutine[Any, Any, None] | None:
        """Serve a packet that came in parts, and count them until that is done."""
        weight, self._collected, self._size = self._collected, 0, 0
        if work is not None:
            self._starting += weight
            return self._holding(weight, work)
        self.conn.release(weight)
        return None

    async def _holding(self, weight: int, work: Coroutine[Any, Any, None]) -> None:
        weight = min(weight, self._starting)  # nothing, if the connection has ended meanwhile: it is counted no more
        self._starting -= weight
        try:
            await work
        finally:
            self.conn.release(weight)

    def _admits(self, nsp: str, asked: str | bytes) -> bool:
        """Count the ``auth`` of a CONNECT, which is kept; close the connection of a client that asks for too much."""
        if len(asked) > self._limits.max_connect_size:
            details = {"nsp": nsp, **self._where()}
            _large_connect(self._limits.max_connect_size, extra={**details, "limit": self._limits.max_connect_size})
            self.conn.fail(DisconnectReason.PARSE_ERROR)
            return False
        if len(asked) > _SMALL:
            self._release_auth(nsp)
            self._auths = self._auths or {}
            weight = self._auths[nsp] = estimate(asked)
            if not self.conn.hold(weight) and len(self._auths) > 1:
                _too_many(extra={"nsp": nsp, **self._where()})
                self.conn.close(DisconnectReason.FORCED_SERVER_CLOSE)
                return False
        return True

    def _ask(self, nsp: str, auth: Any, asked: str | bytes = "") -> Coroutine[Any, Any, None] | None:
        """Begin an attempt to join a namespace, unless one is under way.

        The JavaScript client sends CONNECT twice when a program calls ``connect()``, ``disconnect()`` and ``connect()``
        before the first answer is there, as React's strict mode does. A second CONNECT that was sent before the answer
        can have arrived is ignored: the client gets one answer. If it gives other credentials, they are the ones that
        count: the client joins again with them. A later CONNECT means that the client has missed the answer, or has
        thrown it away: it leaves the namespace, and joins it again.

        Node answers both in the first case, and keeps a socket that no client knows of. In the second it closes the
        connection, and all other namespaces with it.
        """
        if len(asked) > _SMALL and not self._admits(nsp, asked):
            return None
        attempt = None if self._attempts is None else self._attempts.get(nsp)
        if attempt is not None:
            attempt.auth, attempt.left = auth, False
            return None
        receiver = self._receivers.get(nsp)
        if receiver is not None:
            self._part(nsp, receiver)
        attempts = self._attempts or {}
        most = self._limits.max_namespaces
        if len(self._receivers) + len(attempts) >= most <= len(self._receivers.keys() | attempts.keys()):
            details = {"nsp": nsp, **self._where()}
            _too_many(extra={**details, "limit": most})
            self.conn.close(DisconnectReason.FORCED_SERVER_CLOSE)
            return None
        self._attempts = attempts
        attempt = attempts[nsp] = _Attempt(auth, replaces=receiver is not None)
        return self._connect(nsp, attempt)

    async def _connect(self, nsp: str, attempt: _Attempt) -> None:
        while True:
            auth = attempt.auth
            try:
                await self._application.connect(self, nsp, auth)
            except BaseException:
                self._decide(nsp, attempt)
                raise
            if attempt.left or attempt.auth == auth or not self.conn.is_open:
                break
            other = None if self._attempts is None else self._attempts.get(nsp)
            if other is not None and other is not attempt:
                return  # the client has left, and asked again, meanwhile
            receiver = self._receivers.get(nsp)
            if receiver is not None:
                self._part(nsp, receiver)
            attempt.replaces = True
            self._attempts = {**(self._attempts or {}), nsp: attempt}
        receiver = self._receivers.get(nsp)
        if receiver is not None and attempt.left:
            self._part(nsp, receiver)
        elif receiver is not None:  # what has come already was sent before the answer
            asyncio.get_running_loop().call_soon(self._decide, nsp, attempt)
        else:
            self._decide(nsp, attempt)

    def _is_outdated(self, nsp: str, kind: int) -> bool:
        """Tell whether a packet was sent in a namespace that the client is about to join anew; if so, note a leave."""
        attempt = self._attempts.get(nsp) if self._attempts is not None else None
        if attempt is None or not attempt.replaces:
            return False
        if kind == _DISCONNECT:
            attempt.left = True
            return nsp not in self._receivers
        _outdated(extra={"nsp": nsp, **self._where()})
        return True

    def _decide(self, nsp: str, attempt: _Attempt) -> None:
        """Let the client ask again: it knows of the answer, or will."""
        if self._attempts is not None and self._attempts.get(nsp) is attempt:
            del self._attempts[nsp]
            self._attempts = self._attempts or None
        if nsp not in self._receivers:
            self._release_auth(nsp)

    def _release_auth(self, nsp: str) -> None:
        if self._auths is not None:
            self.conn.release(self._auths.pop(nsp, 0))
            self._auths = self._auths or None

    def _part(self, nsp: str, receiver: Receiver) -> None:
        """Take the client out of a namespace by its own will."""
        self.leave(nsp)
        _tell(receiver, DisconnectReason.CLIENT_NAMESPACE_DISCONNECT)


def _tell(receiver: Receiver, reason: str) -> None:
    try:
        receiver._disconnected(reason)
    except Exception as error:  # noqa: BLE001 - logged; the others are to hear it, and the client is to go on
        _leaving_failed(error=error)
