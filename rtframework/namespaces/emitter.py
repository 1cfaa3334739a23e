"""The reach of an adapter: the sockets of its namespace on this server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Collection, Mapping, Sequence
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final

from ..exceptions import EventError
from ..types import Packet, SocketDetails

if TYPE_CHECKING:
    from ..protocols import Engine, Frames, Outlet
    from .namespace import Namespace
    from .socket import Socket

log: Final = logging.getLogger("rtframework.namespace")


class NamespaceEmitter:
    """Reaches the sockets of one namespace on this server, for its adapter; see ``rtframework.protocols.Emitter``."""

    __slots__ = ("_engine", "_nsp", "_outlets", "_tapped")

    def __init__(self, nsp: Namespace, engine: Engine, outlets: Mapping[str, Outlet]) -> None:
        self._nsp = nsp
        self._engine = engine
        self._outlets = outlets
        self._tapped = nsp.tapped

    def send(
        self,
        sids: Collection[str],
        packet: Packet,
        *,
        volatile: bool = False,
        compress: bool = True,
        frames: Frames | None = None,
    ) -> Awaitable[None] | None:
        """Encode once, deliver to those that are here. Encoded even for nobody: a mistake shows at once."""
        if frames is None:
            frames = self._engine.encode(packet) if compress else self._engine.encode(packet, compress=False)
        if self._tapped:
            self._nsp.tell(sids, packet)
        outlets = self._outlets
        return self._engine.deliver([outlets[sid] for sid in sids if sid in outlets], frames, volatile=volatile)

    def encode(self, packet: Packet, *, compress: bool = True) -> Frames:
        """Encode for those who keep what they send."""
        return self._engine.encode(packet, compress=compress)

    def ask(
        self, sids: Collection[str], packet: Packet, *, volatile: bool = False, compress: bool = True
    ) -> dict[str, asyncio.Future[list[Any]]]:
        """Send to those that are let in, with an id of this namespace; what each will answer."""
        id = self._nsp.next_ack_id()
        asked = {}
        sockets = [socket for socket in self._sockets(sids) if socket._admitted]
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
        """What other servers may know of those that are here."""
        return [SocketDetails(socket.id, socket.handshake, socket.rooms, socket.data) for socket in self._sockets(sids)]

    def join(self, sids: Collection[str], rooms: Collection[str]) -> None:
        """Make those that are here join rooms."""
        refused: EventError | None = None
        for socket in self._sockets(sids):
            try:
                socket._enter_rooms(rooms)
            except EventError as error:
                refused = error
        if refused is not None:
            raise refused

    def leave(self, sids: Collection[str], rooms: Collection[str]) -> None:
        """Make those that are here leave rooms."""
        for socket in self._sockets(sids):
            socket._leave_rooms(rooms)

    def disconnect(self, sids: Collection[str], close: bool) -> None:
        """Disconnect those that are here."""
        for socket in self._sockets(sids):
            socket._dismiss(close)

    async def serve(self, args: Sequence[Any]) -> Any:
        """Run the handlers of an event of another server; the first answer that is not ``None``."""
        answer = None
        for handler in self._nsp.server_side_handlers(args[0]):
            try:
                result = handler(self._nsp, args[1:])
                if handler.is_async or isawaitable(result):
                    result = await result
            except Exception:
                extra = {"nsp": self._nsp.name, "event": args[0]}
                log.exception("unhandled error in a handler of %r of another server", args[0], extra=extra)
            else:
                answer = result if answer is None else answer
        return answer

    def _sockets(self, sids: Collection[str]) -> list[Socket]:
        sockets = self._nsp.sockets
        return [sockets[sid] for sid in sids if sid in sockets]


def _forget_question(socket: Socket, id: int, answer: asyncio.Future[list[Any]]) -> None:
    if answer.cancelled():
        socket._drop_ack(id)
