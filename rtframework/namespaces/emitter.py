"""The reach of an adapter: the sockets of its namespace on this server."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final

from ..adapters.moving import all_moved
from ..concurrency import is_cancelled
from ..exceptions import EventError
from ..logs import ThrottledLog, quote, show_event
from ..types import DisconnectReason, KeptPacket, Packet, SocketDetails
from .membership import State
from .revocations import REVOCATIONS, REVOKED

if TYPE_CHECKING:
    from ..options import Recovery
    from ..protocols import Engine, Frames, Session
    from ..types import Target
    from .host import Host
    from .namespace import Namespace
    from .socket import Socket

log: Final = logging.getLogger("rtframework.namespace")

_failed: Final = ThrottledLog(log, logging.ERROR, "unhandled error in a handler of %s of another server")

_GAP_TIME: Final = 5.0
"""Seconds in which clients that may have missed packets are closed, so that they do not all come back at once."""


class NamespaceEmitter:
    """Reaches the sockets of one namespace on this server, for its adapter; see ``rtframework.protocols.Emitter``."""

    __slots__ = ("_engine", "_nsp", "_outgoing", "_outlets", "_sockets", "_tapped")

    def __init__(self, nsp: Namespace, engine: Engine) -> None:
        self._nsp = nsp
        self._engine = engine
        self._sockets = nsp._membership.sockets
        self._outlets = nsp._membership.outlets
        self._outgoing = nsp._outgoing
        self._tapped = nsp._outgoing.tapped

    @property
    def recovery(self) -> Recovery | None:
        """The settings of connection state recovery."""
        return self._host.settings.recovery

    @property
    def linger(self) -> float:
        """The seconds that the server may take to notice that a client has gone."""
        return self._host.settings.linger

    @property
    def node(self) -> str:
        """The name of this server in its cluster."""
        backbone = self._host.settings.backbone
        return "" if backbone is None else backbone.node

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
        """Encode once and deliver. Encode even when nobody is here, so that a mistake shows at once."""
        if frames is None:
            it: Any = packet  # a function comes with frames
            frames = self._engine.encode(it) if compress else self._engine.encode(it, compress=False)
        if self._nsp._history is not None and isinstance(packet, KeptPacket):
            frames.entry = packet.data[-1]
        if rooms is not None:
            noting: Any = frames
            noting.rooms = rooms
        if self._tapped:
            self._outgoing.show(sids, packet() if callable(packet) else packet)
        outlets = self._outlets
        return self._engine.deliver([outlets[sid] for sid in sids if sid in outlets], frames, volatile=volatile)

    def encode(self, packet: Packet, *, compress: bool = True) -> Frames:
        """Encode a packet, for adapters that keep what they send."""
        return self._engine.encode(packet, compress=compress)

    def text(self, packet: Packet) -> str | None:
        """Return the arguments of an event as JSON, for other servers."""
        return self._engine.text(packet)

    def plain(self, data: Sequence[Any]) -> list[Any]:
        """Turn arguments into JSON's own types and bytes, for other servers."""
        return self._engine.plain(data)

    def splice(self, args: str, tail: str | None = None, *, compress: bool = True) -> Frames | None:
        """Make the frames of an event of its arguments as JSON."""
        return self._engine.splice(self._nsp.name, args, tail, compress=compress)

    def ask(
        self,
        sids: Collection[str],
        packet: Packet,
        *,
        volatile: bool = False,
        compress: bool = True,
        rooms: Collection[str] | None = None,
    ) -> dict[str, asyncio.Future[list[Any]]]:
        """Send, with an id of this namespace, to sockets that are accepted; return a future answer for each."""
        id = self._nsp._next_ack_id()
        asked = {}
        sockets = [socket for socket in self._here(sids) if socket._state is State.CONNECTED]
        try:
            for socket in sockets:
                answer = asked[socket.id] = socket._expect_ack(id)
                answer.add_done_callback(partial(_forget_question, socket, id))
            question = Packet(packet.type, packet.nsp, packet.data, id)
            self.send(list(asked), question, volatile=volatile, compress=compress, rooms=rooms)
        except BaseException:
            for answer in asked.values():
                answer.cancel()
            raise
        return asked

    def describe(self, sids: Collection[str]) -> list[SocketDetails]:
        """Describe the sockets for other servers."""
        return [SocketDetails(socket.id, socket.handshake, socket.rooms, socket.data) for socket in self._here(sids)]

    def session(self, sid: str) -> Session | None:
        """Return the state that a socket may recover."""
        socket = self._sockets.get(sid)
        return None if socket is None else self._nsp._membership.session_of(socket)

    def join(self, sids: Collection[str], rooms: Collection[str]) -> Awaitable[None] | None:
        """Make the sockets join rooms."""
        refused: EventError | None = None
        entering = []
        for socket in self._here(sids):
            try:
                waiting = socket._enter_rooms(rooms)
            except EventError as error:
                refused = error
            else:
                if waiting is not None:
                    entering.append(waiting)
        if entering:
            return all_moved(entering, refused)
        if refused is not None:
            raise refused
        return None

    def leave(self, sids: Collection[str], rooms: Collection[str]) -> Awaitable[None] | None:
        """Make the sockets leave rooms."""
        leaving = [socket._leave_rooms(rooms) for socket in self._here(sids)]
        waiting = [each for each in leaving if each is not None]
        return all_moved(waiting) if waiting else None

    def disconnect(
        self, sids: Collection[str], close: bool, *, reason: str | None = None, persist: bool = True
    ) -> None:
        """Disconnect the sockets."""
        membership = self._nsp._membership
        for socket in self._here(sids):
            if persist:
                membership.disconnect(socket, close, reason)
            else:
                membership.hand_over(socket, close, reason)

    def gap(self, since: float) -> None:
        """Tell the program, and close the clients that would take what they have for complete."""
        self._host.cluster.gap(self._nsp.name, since)
        loop = asyncio.get_running_loop()
        membership = self._nsp._membership
        for socket in dict.fromkeys([*membership.by_pid.values(), *self._sockets.values()]):
            if socket._pid is None:
                continue
            membership.forgo_recovery(socket)
            if socket._state is State.CONNECTED:
                loop.call_later(random.uniform(0, _GAP_TIME), _close, socket)
            else:  # it is not told what it has missed
                _close(socket)

    def state(self, up: bool) -> None:
        """Tell the program whether the other servers can be reached."""
        self._host.cluster.state(up)

    def lost(self, packet: Packet, target: Target, error: Exception) -> None:
        """Tell the program that the other servers do not get an event whose emitter has gone."""
        self._host.cluster.loss(self._nsp.name, packet, target, error)

    async def serve(self, args: Sequence[Any]) -> Any:
        """Run the handlers of an event of another server. Return the first answer that is not ``None``."""
        if args[0] == REVOKED:
            self._host.take_over(args[1:])
            return None
        if args[0] == REVOCATIONS:
            return self._host.revocations.tell()
        answer = None
        for handler in self._nsp._server_side_handlers(args[0]):
            try:
                result = handler(self._nsp, args[1:])
                if handler.is_async or isawaitable(result):
                    result = await result
            except (Exception, asyncio.CancelledError) as error:
                if is_cancelled(error):
                    raise
                extra = {"nsp": self._nsp.name, "event": show_event(args[0])}
                _failed(quote(args[0]), error=error, key=self._nsp.label, extra=extra)
            else:
                answer = result if answer is None else answer
        return answer

    @property
    def _host(self) -> Host:
        host = self._nsp._host
        assert host is not None
        return host

    def _here(self, sids: Collection[str]) -> list[Socket]:
        sockets = self._sockets
        return [sockets[sid] for sid in sids if sid in sockets]


def _forget_question(socket: Socket, id: int, answer: asyncio.Future[list[Any]]) -> None:
    if answer.cancelled():
        socket._drop_ack(id)


def _close(socket: Socket) -> None:
    if socket._state is not State.DISCONNECTED:
        socket._client.conn.close(DisconnectReason.MISSED_PACKETS)
