"""The reach of an adapter into a python-socketio program: the clients of one namespace on this server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from ...adapters.moving import all_moved
from ...exceptions import Disconnected, EventError
from ...types import Packet, SocketDetails

if TYPE_CHECKING:
    from ...protocols import Frames, Session
    from ...types import Target
    from .adapter_manager import AdapterManager


class Answer:
    """The callback of a question that was asked for an adapter."""

    __slots__ = ("future",)

    def __init__(self) -> None:
        self.future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()

    def __call__(self, *args: Any) -> None:
        """Take the client's answer."""
        if not self.future.done():
            self.future.set_result(list(args))

    def lose(self) -> None:
        """Note that the client has left before it answered."""
        if not self.future.done():
            self.future.set_exception(Disconnected())
            self.future.exception()  # looked at, also if nobody waits for it any more


class ClientEmitter:
    """Reaches the clients of one namespace on this server, for its adapter; see ``rtframework.protocols.Emitter``.

    There is no connection state recovery, so ``recovery`` and :meth:`session` are ``None``.
    """

    __slots__ = ("_manager", "_nsp")

    recovery: None = None

    def __init__(self, manager: AdapterManager, nsp: str) -> None:
        self._manager = manager
        self._nsp = nsp

    @property
    def linger(self) -> float:
        """The seconds that the server may take to notice that a client has gone."""
        options = self._manager.server.eio.options
        return float(options.ping_interval + options.ping_timeout)

    @property
    def node(self) -> str:
        """The name of this server in its cluster."""
        return self._manager.node

    # --- sending ------------------------------------------------------------------------------------------------------

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
        server = self._manager.server
        if frames is None:
            frames = server.encode(packet() if callable(packet) else packet, compress=compress)
        outlets = self._manager.outlets(self._nsp)
        slow: Awaitable[None] | None = server.deliver(
            [outlets[sid] for sid in sids if sid in outlets], frames, volatile=volatile
        )
        return slow

    def encode(self, packet: Packet, *, compress: bool = True) -> Frames:
        """Encode a packet. Raises ``EncodeError``."""
        frames: Frames = self._manager.server.encode(packet, compress=compress)
        return frames

    def text(self, packet: Packet) -> str | None:
        """Return the arguments of an event as JSON, for other servers."""
        text: str | None = self._manager.server.text(packet)
        return text

    def plain(self, data: Sequence[Any]) -> list[Any]:
        """Turn arguments into JSON's own types and bytes, for other servers."""
        found: list[Any] = self._manager.server.plain(data)
        return found

    def splice(self, args: str, tail: str | None = None, *, compress: bool = True) -> Frames | None:
        """Make the frames of an event of its arguments as JSON."""
        frames: Frames | None = self._manager.server.splice(self._nsp, args, tail, compress=compress)
        return frames

    def ask(
        self,
        sids: Collection[str],
        packet: Packet,
        *,
        volatile: bool = False,
        compress: bool = True,
        rooms: Collection[str] | None = None,
    ) -> dict[str, asyncio.Future[list[Any]]]:
        """Send, with one id for all, to clients that were let in; return a future answer for each."""
        manager = self._manager
        id = manager.next_ack_id()
        frames = self.encode(Packet(packet.type, packet.nsp, packet.data, id), compress=compress)
        asked = {}
        for sid in sids:
            if manager.is_connected(sid, self._nsp):
                asked[sid] = manager.expect(sid, id)
        self.send(asked, packet, volatile=volatile, frames=frames)
        return asked

    # --- the clients --------------------------------------------------------------------------------------------------

    def describe(self, sids: Collection[str]) -> list[SocketDetails]:
        """Describe the clients for other servers. ``data`` is empty: a session is the program's own."""
        found = []
        for sid in sids:
            member = self._manager.server.member(sid, self._nsp)
            if member is not None:
                found.append(SocketDetails(sid, member.handshake, self._manager.names(sid, self._nsp), {}))
        return found

    def session(self, sid: str) -> Session | None:
        """Return ``None``: nothing is recovered."""
        return None

    def join(self, sids: Collection[str], rooms: Collection[str]) -> Awaitable[None] | None:
        """Make clients join rooms. Raises ``EventError``, after all others have joined."""
        waiting: list[Awaitable[None]] = []
        refused: EventError | None = None
        for sid in sids:
            for room in rooms:
                try:
                    entering = self._manager.join_here(sid, self._nsp, room)
                except KeyError:  # it has gone
                    continue
                except ValueError as error:
                    refused = EventError("refused", str(error))
                    continue
                if entering is not None:
                    waiting.append(entering)
        if waiting:
            return all_moved(waiting, refused)
        if refused is not None:
            raise refused
        return None

    def leave(self, sids: Collection[str], rooms: Collection[str]) -> Awaitable[None] | None:
        """Make clients leave rooms."""
        leaving = [self._manager.leave_here(sid, self._nsp, room) for sid in sids for room in rooms]
        waiting = [each for each in leaving if each is not None]
        return all_moved(waiting) if waiting else None

    def disconnect(
        self, sids: Collection[str], close: bool, *, reason: str | None = None, persist: bool = True
    ) -> None:
        """Disconnect clients; one whose connect handler still runs is refused."""
        for sid in sids:
            member = self._manager.server.member(sid, self._nsp)
            if member is not None:
                member.send_away(close=close, reason=reason, tell=persist)

    # --- the cluster --------------------------------------------------------------------------------------------------

    async def serve(self, args: Sequence[Any]) -> Any:
        """Ignore an event of another server: a python-socketio program has no handlers for them."""
        self._manager.ignore(self._nsp, args[0])

    def gap(self, since: float) -> None:
        """Tell that packets may have been missed."""
        self._manager.cluster.gap(self._nsp, since)

    def state(self, up: bool) -> None:
        """Tell whether the other servers can be reached."""
        self._manager.cluster.state(up)

    def lost(self, packet: Packet, target: Target, error: Exception) -> None:
        """Tell that the other servers do not get an event whose emitter has gone."""
        self._manager.cluster.loss(self._nsp, packet, target, error)
