"""The adapter of one namespace over Pub/Sub: what is emitted, and the channels of rooms."""

from __future__ import annotations

import asyncio
import contextlib
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from rtframework.cluster.adapter import ClusterAdapter, wait_for_slow
from rtframework.exceptions import ClusterUnavailable, ConfigurationError
from rtframework.types import Packet, PacketType, Target

from .own_messages import OwnEmit

if TYPE_CHECKING:
    from rtframework.protocols import Emitter
    from rtframework.types import SocketDetails

    from .pubsub import RedisPubSub
    from .subscriptions import Command

_EVENT: Final = int(PacketType.EVENT)

Take = Callable[[bytes], None]
"""Handles a message of a channel. Raises ``DecodeError``."""


class PubSubAdapter(ClusterAdapter):
    """One namespace of a server with ``RedisPubSub``. A subclass speaks the wire of one of Node's adapters."""

    __slots__ = ("_backbone", "_is_open", "_mine", "_rooms", "name")

    def __init__(self, backbone: RedisPubSub, nsp: str, emitter: Emitter) -> None:
        super().__init__(nsp, emitter, max_message=backbone.max_message)
        if emitter.recovery is not None:
            raise ConfigurationError(
                "RedisPubSub keeps no packets for clients that come back: use RedisStreams, "
                "or leave out connection_state_recovery"
            )
        self._backbone = backbone
        self.name = nsp.encode()
        self._rooms = self.index.all_rooms()
        self._is_open = False
        self._mine: Mapping[bytes, Take] = {}
        """The channels of the namespace itself, and what handles their messages."""

    # --- for subclasses -----------------------------------------------------------------------------------------------

    _subscribe: Command
    """The command for channels of this kind."""

    @abstractmethod
    def _channels(self) -> Mapping[bytes, Take]:
        """Return the channels of the namespace itself, with what handles their messages."""

    @abstractmethod
    def _counted(self) -> bytes:
        """Return the channel by whose subscriptions servers are counted."""

    @abstractmethod
    def _patterns(self) -> tuple[bytes, ...]:
        """Return patterns of the namespace that are subscribed to."""

    @abstractmethod
    def _room_channel(self, room: str) -> bytes | None:
        """Return the channel that a room's sockets need; ``None`` if they need none of their own."""

    @abstractmethod
    def hear_event(self, payload: bytes) -> None:
        """Handle an event of a channel. Raises ``DecodeError``."""

    @abstractmethod
    def _encode_event(self, packet: Packet, text: str | None, target: Target) -> tuple[bytes, bytes]:
        """Return the channel and the message of an event. ``text``: its arguments as JSON, if they are JSON."""

    # --- its life -----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take part in the cluster."""
        self._is_open = True
        self._mine = self._channels()
        self._backbone.open(self, self._mine)
        channels = self._backbone.channels
        waiting = [
            channels.subscribe(self._subscribe, *self._mine),
            channels.subscribe("PSUBSCRIBE", *self._patterns()),
        ]
        if channels.is_listening:
            for each in waiting:
                if each is not None:
                    with contextlib.suppress(ClusterUnavailable):  # it comes later, and what was missed is a gap
                        await each
        self._backbone.leases.serve(self.nsp)  # not before: nobody is to wait for a server that does not hear

    async def close(self) -> None:
        """Leave the cluster."""
        if not self._is_open:
            return
        self._is_open = False
        self._backbone.leases.withdraw(self.nsp)
        self._backbone.close(self, self._mine)
        await super().close()
        rooms = [channel for room in self.index.all_rooms() if (channel := self._room_channel(room)) is not None]
        self._backbone.channels.drop(*self._mine, *self._patterns(), *rooms)

    # --- rooms --------------------------------------------------------------------------------------------------------

    def add(self, sid: str, rooms: Iterable[str]) -> Awaitable[None] | None:
        """Put a socket into rooms, and subscribe to their channels.

        While Redis is down, a client is let in all the same: what it misses is a gap, like what the others miss.
        """
        rooms = tuple(rooms)
        self.index.add(sid, rooms)
        channels = [channel for room in rooms if (channel := self._room_channel(room)) is not None]
        if not channels or not self._is_open:
            return None
        waiting = self._backbone.channels.subscribe(self._subscribe, *channels)
        if waiting is None or sid not in rooms:
            return waiting
        return _without_error(waiting) if self._backbone.channels.is_listening else None

    def remove(self, sid: str, rooms: Iterable[str]) -> Awaitable[None] | None:
        """Take a socket out of rooms."""
        rooms = tuple(rooms)
        self.index.remove(sid, rooms)
        self._leave(rooms)
        return None

    def remove_all(self, sid: str) -> frozenset[str]:
        """Forget a socket."""
        rooms = self.index.remove_all(sid)
        self._leave(rooms)
        return rooms

    def _leave(self, rooms: Iterable[str]) -> None:
        left = self.index.all_rooms()
        channels = [channel for room in rooms if room not in left and (channel := self._room_channel(room)) is not None]
        if channels and self._is_open:
            self._backbone.channels.leave(*channels)

    # --- what is emitted ----------------------------------------------------------------------------------------------

    async def broadcast(self, packet: Packet, target: Target) -> None:
        """Deliver a packet to the sockets that a target selects: to those of this server at once."""
        if packet.type != _EVENT or packet.id is not None:
            await wait_for_slow(self.send(packet, target, None))
            return
        text = self._emitter.text(packet)
        if text is None:
            packet = Packet(_EVENT, self.nsp, self._emitter.plain(packet.data))
        if target.rooms is not None and not target.rooms:
            return
        message = None if target.local else self._encode_event(packet, text, target)
        if message is not None:
            self.check_size(message[1])
        frames = None if text is None else self._emitter.splice(text, compress=target.compress)
        slow = self.send(packet, target, frames)
        if message is None:
            await wait_for_slow(slow)
            return
        try:
            await self._publish(*message, OwnEmit(self, packet, target))
        except ClusterUnavailable as error:
            error.local = True
            raise
        finally:
            await wait_for_slow(slow)

    def lost(self, packet: Packet, target: Target, error: ClusterUnavailable) -> None:
        """Tell of an event whose emitter waits no longer: the others do not get it."""
        error.local = True
        self._emitter.lost(packet, target, error)

    def deliver_text(self, text: str, packet: Callable[[], Packet], target: Target) -> None:
        """Deliver an event of another server to the sockets here. ``text``: its arguments as JSON, not decoded."""
        sids = self.index.select(target.rooms, target.except_)
        if not sids:
            return
        frames = self._emitter.splice(text, compress=target.compress)
        it: Any = packet if frames is not None else packet()
        slow = self._emitter.send(
            sids, it, volatile=target.volatile, compress=target.compress, frames=frames, rooms=target.rooms
        )
        if slow is not None:
            self._spawn(slow)

    # --- how messages travel ------------------------------------------------------------------------------------------

    async def _others(self) -> int | Collection[str]:
        """Return the names of the other servers of the namespace, or their number if Node's are among them."""
        return await self._backbone.others(self, self._counted())

    def _name_of(self, uid: str) -> str:
        return self._backbone.leases.heard(self.nsp, uid)

    async def _publish(self, channel: bytes, payload: bytes, emit: OwnEmit | None = None) -> None:
        backbone = self._backbone
        await backbone.channels.publish(channel, payload, emit)
        backbone.published += 1

    def _post(self, channel: str, payload: bytes) -> None:
        self._backbone.channels.post(channel.encode(), payload)
        self._backbone.published += 1

    def _spawn(self, work: Awaitable[Any]) -> None:
        self._backbone.spawn(work)

    async def fetch_sockets(self, target: Target, timeout: float | None) -> list[SocketDetails]:
        """Describe the sockets of all servers."""
        return await super().fetch_sockets(target, self._backbone.requests_timeout if timeout is None else timeout)


def _without_error(future: asyncio.Future[None]) -> asyncio.Future[None]:
    """Return a future that ends with another one, and has no error: what was missed then is a gap."""
    outer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def done(outer: asyncio.Future[None], future: asyncio.Future[None]) -> None:
        if not outer.done():
            outer.set_result(None)

    future.add_done_callback(partial(done, outer))
    return outer
