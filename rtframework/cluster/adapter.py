"""The adapter of one namespace of a cluster: what its servers ask each other, whatever carries the messages.

It follows Node's ``ClusterAdapter`` (socket.io-adapter 2.5). A subclass delivers events, and sends these messages.
"""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ..adapters.ack_collector import AckCollector
from ..adapters.base import BaseAdapter
from ..exceptions import ClusterUnavailable, EncodeError, EventError
from ..logs import ThrottledLog
from ..types import AckResponses, Packet, PacketType, Target
from .messages import (
    Answer,
    Broadcast,
    ClientCount,
    Data,
    DisconnectSockets,
    EventPacket,
    FetchedSockets,
    FetchSockets,
    Message,
    MessageType,
    Options,
    ServerSideEmit,
    SocketsRooms,
    details_of,
    new_id,
    options_of,
    record_of,
    target_of,
    timeout_of,
)
from .payloads import as_javascript
from .requests import FetchRequest, Requests, ServerSideRequest

if TYPE_CHECKING:
    from ..protocols import Emitter, Frames
    from ..types import SocketDetails

log: Final = logging.getLogger("rtframework.cluster")

_beyond: Final = ThrottledLog(log, logging.WARNING, "a socket does not join rooms as another server wants: %s")

_EVENT: Final = int(PacketType.EVENT)
_FETCH_TIMEOUT: Final = 5.0
"""Seconds for the answers to a request that does not say how long it waits."""
_AGAIN: Final = 0.5
"""Seconds after which servers that have not answered are asked for their sockets again; then the double, and so on."""
_LONGEST: Final = 86_400.0
"""Seconds for answers that are sent to the others if the program waits for ever."""


class ClusterAdapter(BaseAdapter):
    """Base class for adapters whose servers exchange the messages of :mod:`rtframework.cluster.messages`.

    A subclass implements ``broadcast``, and how messages travel: ``_others``, ``_request``, ``_reply`` and ``_tell``.
    What arrives it gives to ``hear``, but for messages of its own.

    ``max_message``: bytes that one message may have.
    """

    __slots__ = ("_requests", "_timers", "max_message")

    def __init__(self, nsp: str, emitter: Emitter, *, max_message: int) -> None:
        super().__init__(nsp, emitter)
        self.max_message = max_message
        self._requests = Requests()
        self._timers: set[asyncio.TimerHandle] = set()

    async def close(self) -> None:
        """Give up what other servers have asked."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    # --- how messages travel ------------------------------------------------------------------------------------------

    @abstractmethod
    async def _others(self) -> int | Collection[str]:
        """Return the names of the other servers of the namespace, or only their number."""

    @abstractmethod
    async def _request(self, kind: MessageType, data: Data) -> None:
        """Send a request to the other servers. Raises :class:`~rtframework.ClusterUnavailable`."""

    @abstractmethod
    def _reply(self, uid: str, kind: MessageType, data: Data) -> None:
        """Answer a request of the server ``uid``. It is lost if the others cannot be reached."""

    @abstractmethod
    async def _tell(self, kind: MessageType, data: Data) -> None:
        """Send what needs no answer to the other servers. Raises :class:`~rtframework.ClusterUnavailable`."""

    def _name_of(self, uid: str) -> str:
        """Return the name by which the server of a message is awaited; by default its ``uid``."""
        return uid

    def _ask_again(self, name: str, kind: MessageType, data: Data) -> None:
        """Repeat a request to one server, of which nobody knows if it was connected before; does nothing by default."""

    @abstractmethod
    def _spawn(self, work: Awaitable[Any]) -> None:
        """Run something in the background, until the server stops."""

    def check_size(self, message: bytes) -> None:
        """Raise ``EncodeError`` for a message that is too long for the other servers."""
        if len(message) > self.max_message:
            most = self.max_message
            raise EncodeError(f"cannot be sent to other servers: {len(message)} bytes, more than max_message={most}")

    def send(self, packet: Packet, target: Target, frames: Frames | None) -> Awaitable[None] | None:
        """Send a packet, or frames in its place, to the sockets of this server."""
        sids = self.index.select(target.rooms, target.except_)
        return self._emitter.send(
            sids, packet, volatile=target.volatile, compress=target.compress, frames=frames, rooms=target.rooms
        )

    def frames(
        self, text: str | None, packet: Callable[[], Packet], offset: str | None, compress: bool
    ) -> Frames | None:
        """Make the frames of an event, with an offset as its last argument if there is one; ``None``: as the packet is.

        ``text``: its arguments as JSON, which are not decoded then.
        """
        frames = self._emitter.splice(text, offset, compress=compress) if text is not None else None
        if frames is None and offset is not None:
            it = packet()
            frames = self._emitter.encode(Packet(it.type, it.nsp, [*it.data, offset]), compress=compress)
            frames.offset = offset
        return frames

    # --- what arrives -------------------------------------------------------------------------------------------------

    def hear(self, message: Message) -> None:
        """Handle a message of another server."""
        data, uid = message.data, message.uid
        if isinstance(data, Broadcast):
            if data.requestId:
                self._ask(uid, data)
            else:
                self.deliver_here(data.packet.data, target_of(data.opts))
        elif isinstance(data, SocketsRooms):
            self.move_here(target_of(data.opts), data.rooms, join=message.type == MessageType.SOCKETS_JOIN)
        elif isinstance(data, DisconnectSockets):
            self._disconnect(data)
        elif isinstance(data, FetchSockets):
            found = self._emitter.describe(self.sockets(target_of(data.opts)))
            records = [record_of(each, self._plain) for each in found]
            self._reply(uid, MessageType.FETCH_SOCKETS_RESPONSE, FetchedSockets(data.requestId, records))
        elif isinstance(data, ServerSideEmit):
            self._spawn(self._serve(uid, data))
        else:
            self._hear_answer(message)

    def _hear_answer(self, message: Message) -> None:
        data, requests = message.data, self._requests
        uid = self._name_of(message.uid) if message.uid else None
        if isinstance(data, FetchedSockets):
            requests.fetched(data.requestId, [details_of(each, self.nsp) for each in data.sockets], uid)
        elif isinstance(data, ClientCount):
            requests.counted(data.requestId, data.clientCount, uid)
        elif isinstance(data, Answer) and message.type == MessageType.SERVER_SIDE_EMIT_RESPONSE:
            requests.answered(data.requestId, data.packet, uid)
        elif isinstance(data, Answer):
            x = data.x if isinstance(data.x, dict) else {}
            sid, args = x.get("sid"), x.get("args")
            if x.get("gone"):
                requests.gone(data.requestId, sid, uid)
            else:
                requests.acknowledged(data.requestId, args if isinstance(args, list) else [data.packet], sid, uid)

    @property
    def is_asking(self) -> bool:
        """True while a request to other servers waits for answers."""
        return len(self._requests) > 0

    def server_gone(self, name: str) -> None:
        """Let no request wait for a server that has died or left: it ends with what has come."""
        self._requests.server_gone(name)

    def deliver_here(self, args: list[Any], target: Target) -> None:
        """Deliver an event to the sockets of this server, as another server or another program wants."""
        sids = self.index.select(target.rooms, target.except_)
        if sids:
            try:
                slow = self._send_here(sids, args, target)
            except EncodeError:  # NaN in MessagePack, which Node's own clients get as null
                slow = self._send_here(sids, as_javascript(args), target)
            if slow is not None:
                self._spawn(slow)

    def _send_here(self, sids: Sequence[str], args: list[Any], target: Target) -> Awaitable[None] | None:
        packet = Packet(_EVENT, self.nsp, args)
        return self._emitter.send(sids, packet, volatile=target.volatile, compress=target.compress, rooms=target.rooms)

    def move_here(self, target: Target, rooms: Sequence[str], *, join: bool) -> None:
        """Make sockets of this server join or leave rooms, as another program wants."""
        sids = self.sockets(target)
        try:
            waiting = self._emitter.join(sids, rooms) if join else self._emitter.leave(sids, rooms)
        except EventError as error:
            _beyond(error, extra={"nsp": self.nsp})
        else:
            if waiting is not None:
                self._spawn(waiting)

    def disconnect_here(self, target: Target, close: bool) -> None:
        """Disconnect sockets of this server, as another program wants."""
        self._emitter.disconnect(self.sockets(target), close)

    def serve_here(self, args: list[Any]) -> None:
        """Run the handlers of an event for servers, which another program has emitted."""
        self._spawn(self._emitter.serve(args))

    def _disconnect(self, data: DisconnectSockets) -> None:
        x = data.x if isinstance(data.x, dict) else {}
        reason = x.get("reason")
        sids = self.sockets(target_of(data.opts))
        self._emitter.disconnect(sids, data.close, reason=reason if isinstance(reason, str) and reason else None)

    # --- the sockets of all servers -----------------------------------------------------------------------------------

    async def add_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        """Make the sockets that a target selects join rooms."""

        def join() -> Awaitable[None] | None:
            return self._emitter.join(self.sockets(target), rooms)

        await self._order(MessageType.SOCKETS_JOIN, SocketsRooms(_options(target), list(rooms)), target, join)

    async def del_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        """Make the sockets that a target selects leave rooms."""

        def leave() -> Awaitable[None] | None:
            return self._emitter.leave(self.sockets(target), rooms)

        await self._order(MessageType.SOCKETS_LEAVE, SocketsRooms(_options(target), list(rooms)), target, leave)

    async def disconnect_sockets(self, target: Target, close: bool, reason: str | None) -> None:
        """Disconnect the sockets that a target selects."""
        data = DisconnectSockets(_options(target), close)
        if reason is not None:
            data.x = {"reason": reason}

        def disconnect() -> None:
            self._emitter.disconnect(self.sockets(target), close, reason=reason)

        await self._order(MessageType.DISCONNECT_SOCKETS, data, target, disconnect)

    async def _order(
        self, kind: MessageType, data: Data, target: Target, act: Callable[[], Awaitable[None] | None]
    ) -> None:
        """Have something done here and on the other servers."""
        if target.rooms is not None and not target.rooms:
            return
        try:
            waiting = act()
        finally:
            if not target.local:
                try:
                    await self._tell(kind, data)
                except ClusterUnavailable as error:
                    error.local = True
                    raise
        if waiting is not None:
            await waiting

    async def fetch_sockets(self, target: Target, timeout: float | None) -> list[SocketDetails]:
        """Describe the sockets of all servers."""
        own = self._emitter.describe(self.sockets(target))
        if target.local or (target.rooms is not None and not target.rooms):
            return own
        request = FetchRequest(await self._others(), own)
        id = new_id()
        self._requests.open(id, request)
        data = FetchSockets(options_of(target), id)
        left, pause = _FETCH_TIMEOUT if timeout is None else timeout, _AGAIN
        try:
            await self._request(MessageType.FETCH_SOCKETS, data)
            while left > pause and not await request.wait(pause):
                for name in request.missing:
                    self._ask_again(name, MessageType.FETCH_SOCKETS, data)
                left, pause = left - pause, 2 * pause
            return await request.result(left)
        finally:
            self._requests.close(id)

    # --- acknowledgements ---------------------------------------------------------------------------------------------

    async def broadcast_with_ack(self, packet: Packet, target: Target, timeout: float | None) -> AckResponses:
        """Deliver a packet and collect the answers of the clients of all servers."""
        if target.rooms is not None and not target.rooms:
            return AckResponses({})
        self._emitter.encode(Packet(packet.type, packet.nsp, packet.data, 0))
        plain = self._emitter.plain(packet.data)
        collector = AckCollector(0 if target.local else await self._others())
        id = new_id()
        self._requests.open(id, collector)
        try:
            sids = self.sockets(target)
            collector.ask(self._ask_here(sids, packet, target))
            if not target.local:
                opts = options_of(target, _LONGEST if timeout is None else timeout)
                opts.flags["x"] = True  # servers of this framework tell of clients that have left
                try:
                    await self._request(MessageType.BROADCAST, Broadcast(EventPacket(_EVENT, plain), id, opts))
                except ClusterUnavailable as error:
                    error.local = True  # those of this server have got it
                    raise
            return await collector.result(timeout)
        finally:
            self._requests.close(id)

    def _ask_here(self, sids: Sequence[str], packet: Packet, target: Target) -> Mapping[str, asyncio.Future[list[Any]]]:
        return self._emitter.ask(sids, packet, volatile=target.volatile, compress=target.compress, rooms=target.rooms)

    def _ask(self, uid: str, data: Broadcast) -> None:
        """Ask the sockets here for another server."""
        target, id = target_of(data.opts), str(data.requestId)
        packet = Packet(_EVENT, self.nsp, data.packet.data)
        sids = self.sockets(target)
        asked = self._ask_here(sids, packet, target)
        self._reply(uid, MessageType.BROADCAST_CLIENT_COUNT, ClientCount(id, len(asked)))
        if not asked:
            return
        timeout = timeout_of(data.opts)
        timer = asyncio.get_running_loop().call_later(
            _FETCH_TIMEOUT if timeout is None else timeout, self._give_up, asked
        )
        self._timers.add(timer)
        left = set(asked)
        for sid, future in asked.items():
            future.add_done_callback(partial(self._answered, uid, id, sid, "x" in data.opts.flags, left, timer))

    def _give_up(self, asked: Any) -> None:
        for future in asked.values():
            future.cancel()

    def _answered(
        self,
        uid: str,
        id: str,
        sid: str,
        tells: bool,
        left: set[str],
        timer: asyncio.TimerHandle,
        future: asyncio.Future[list[Any]],
    ) -> None:
        left.discard(sid)
        if not left:
            timer.cancel()
            self._timers.discard(timer)
        if future.cancelled():
            return
        if future.exception() is not None:
            if tells:
                self._reply(uid, MessageType.BROADCAST_ACK, Answer(id, None, {"sid": sid, "gone": True}))
            return
        args = self._emitter.plain(future.result())
        x = {"sid": sid} if len(args) == 1 else {"sid": sid, "args": args}
        self._reply(uid, MessageType.BROADCAST_ACK, Answer(id, args[0] if args else None, x))

    # --- events between servers ---------------------------------------------------------------------------------------

    async def server_side_emit(self, args: Sequence[Any]) -> None:
        """Emit an event to the other servers."""
        await self._tell(MessageType.SERVER_SIDE_EMIT, ServerSideEmit(packet=self._emitter.plain(args)))

    async def server_side_emit_with_ack(self, args: Sequence[Any], timeout: float) -> AckResponses:
        """Emit an event to the other servers and collect their answers."""
        plain = self._emitter.plain(args)
        request = ServerSideRequest(await self._others())
        id = new_id()
        self._requests.open(id, request)
        try:
            await self._request(MessageType.SERVER_SIDE_EMIT, ServerSideEmit(id, plain))
            return await request.result(timeout)
        finally:
            self._requests.close(id)

    async def _serve(self, uid: str, data: ServerSideEmit) -> None:
        answer = await self._emitter.serve(data.packet)
        if data.requestId:
            self._reply(uid, MessageType.SERVER_SIDE_EMIT_RESPONSE, Answer(data.requestId, self._plain(answer)))

    def _plain(self, value: Any) -> Any:
        return self._emitter.plain([value])[0]


def _options(target: Target) -> Options:
    return options_of(target if target.rooms is None or target.rooms else Target())


async def wait_for_slow(slow: Awaitable[None] | None) -> None:
    """Wait for slow clients, if an emit has to."""
    if slow is not None:
        await slow
