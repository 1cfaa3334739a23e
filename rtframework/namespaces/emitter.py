"""The reach of an adapter: the sockets of its namespace on this server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Collection, Sequence
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final

from ..concurrency import is_cancelled
from ..exceptions import EventError
from ..logs import ThrottledLog, quote, show_event
from ..types import Packet, SocketDetails
from .membership import State

if TYPE_CHECKING:
    from ..protocols import Engine, Frames
    from .namespace import Namespace
    from .socket import Socket

log: Final = logging.getLogger("rtframework.namespace")

_failed: Final = ThrottledLog(log, logging.ERROR, "unhandled error in a handler of %s of another server")


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

    def send(
        self,
        sids: Collection[str],
        packet: Packet,
        *,
        volatile: bool = False,
        compress: bool = True,
        frames: Frames | None = None,
    ) -> Awaitable[None] | None:
        """Encode once and deliver. Encode even when nobody is here, so that a mistake shows at once."""
        if frames is None:
            frames = self._engine.encode(packet) if compress else self._engine.encode(packet, compress=False)
        if self._tapped:
            self._outgoing.show(sids, packet)
        outlets = self._outlets
        return self._engine.deliver([outlets[sid] for sid in sids if sid in outlets], frames, volatile=volatile)

    def encode(self, packet: Packet, *, compress: bool = True) -> Frames:
        """Encode a packet, for adapters that keep what they send."""
        return self._engine.encode(packet, compress=compress)

    def ask(
        self, sids: Collection[str], packet: Packet, *, volatile: bool = False, compress: bool = True
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
            self.send(list(asked), question, volatile=volatile, compress=compress)
        except BaseException:
            for answer in asked.values():
                answer.cancel()
            raise
        return asked

    def describe(self, sids: Collection[str]) -> list[SocketDetails]:
        """Describe the sockets for other servers."""
        return [SocketDetails(socket.id, socket.handshake, socket.rooms, socket.data) for socket in self._here(sids)]

    def join(self, sids: Collection[str], rooms: Collection[str]) -> None:
        """Make the sockets join rooms."""
        refused: EventError | None = None
        for socket in self._here(sids):
            try:
                socket._enter_rooms(rooms)
            except EventError as error:
                refused = error
        if refused is not None:
            raise refused

    def leave(self, sids: Collection[str], rooms: Collection[str]) -> None:
        """Make the sockets leave rooms."""
        for socket in self._here(sids):
            socket._leave_rooms(rooms)

    def disconnect(self, sids: Collection[str], close: bool) -> None:
        """Disconnect the sockets."""
        for socket in self._here(sids):
            self._nsp._membership.disconnect(socket, close)

    async def serve(self, args: Sequence[Any]) -> Any:
        """Run the handlers of an event of another server. Return the first answer that is not ``None``."""
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

    def _here(self, sids: Collection[str]) -> list[Socket]:
        sockets = self._sockets
        return [sockets[sid] for sid in sids if sid in sockets]


def _forget_question(socket: Socket, id: int, answer: asyncio.Future[list[Any]]) -> None:
    if answer.cancelled():
        socket._drop_ack(id)
