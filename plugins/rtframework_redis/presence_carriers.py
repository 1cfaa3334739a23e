"""The ways of presence's changes: through the stream, or through channels."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec

from rtframework.cluster.classic_wire import broadcast_channel, encode_broadcast
from rtframework.cluster.messages import EMITTER, options_of
from rtframework.cluster.pubsub_wire import encode_text as encode_sharded_text
from rtframework.cluster.pubsub_wire import public_channel, room_has_channel
from rtframework.cluster.stream_ids import parse_id
from rtframework.cluster.streams_wire import encode_text
from rtframework.types import Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from .pubsub import RedisPubSub
    from .streams import RedisStreams

KEYS: Final = "sio:presence:"
"""The beginning of the keys of presence, before the tag in braces."""


class StreamCarrier:
    """Changes in the stream: delivered here, too, when they are read back."""

    command = "XADD"

    def __init__(self, backbone: RedisStreams, *, max_len: int, timeout: float) -> None:
        self._backbone = backbone
        self.target = max_len
        self.timeout = timeout
        self._unread: list[tuple[tuple[int, int], asyncio.Future[None]]] = []
        self._is_reading = False

    @property
    def keys(self) -> tuple[str, ...]:
        """The beginning of all keys, and the stream."""
        stream = self._backbone.stream
        return f"{KEYS}{{{stream}}}", stream

    @property
    def uid(self) -> str:
        """The id of this server."""
        return self._backbone.uid

    @property
    def is_ready(self) -> bool:
        """True while the writer sends."""
        return self._backbone.is_writing

    def send(self, *args: Any) -> asyncio.Future[Any] | None:
        """Send a command behind what was emitted before."""
        if not self.is_ready:
            return None
        writer = self._backbone.writer
        writer.flush()
        return writer.send(*args)

    def message(self, nsp: str, room: str, text: str, but: str | None) -> tuple[bytes, bytes]:
        """Return the data of an entry."""
        return b"", encode_text(text, _target(room, but))

    def delivered(self, number: int, position: bytes) -> asyncio.Future[None] | None:
        """Return a future that is done when the reader has passed an entry."""
        if not position:
            return None
        id = parse_id(position.decode())
        if parse_id(self._backbone.position) >= id:
            return None
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unread.append((id, future))
        if not self._is_reading:
            self._is_reading = True
            self._backbone.spawn(self._follow())
        return future

    async def _follow(self) -> None:
        try:
            while self._unread:
                await self._backbone.progress()
                at = parse_id(self._backbone.position)
                unread = [each for each in self._unread if each[0] > at and not each[1].done()]
                for id, future in self._unread:
                    if id <= at and not future.done():
                        future.set_result(None)
                self._unread = unread
        finally:
            self._is_reading = False
            for _, future in self._unread:
                future.cancel()
            self._unread.clear()


class ChannelCarrier:
    """Changes in channels: delivered here, too, when they come, and followed by a mark in a channel to this server."""

    def __init__(self, backbone: RedisPubSub, *, command: str, tag: str, timeout: float) -> None:
        self._backbone = backbone
        self.command = command
        self.keys: tuple[str, ...] = (f"{KEYS}{{{tag}}}",)
        self.timeout = timeout
        self._came = 0
        self._awaited: dict[int, asyncio.Future[None]] = {}

    @property
    def target(self) -> bytes:
        """The channel to this server."""
        return self._backbone.presence_channel

    @property
    def uid(self) -> str:
        """The id of this server."""
        return self._backbone.uid

    @property
    def is_ready(self) -> bool:
        """True while everything that is published arrives."""
        return self._backbone.health.up

    @property
    def send(self) -> Callable[..., asyncio.Future[Any] | None]:
        """Send a command on the connection that publishes."""
        return self._backbone.presence_connection.send

    def message(self, nsp: str, room: str, text: str, but: str | None) -> tuple[bytes, bytes]:
        """Return the channel and the message of an event, as an emitter publishes it: this server hears it, too."""
        target, prefix = _target(room, but), self._backbone.channel_prefix
        if self._backbone.sharded:
            public = public_channel(nsp, prefix)
            has_channel = room_has_channel(room, self._backbone.subscription_mode)
            channel = f"{public}{room}#" if has_channel else public
            return channel.encode(), encode_sharded_text(EMITTER, nsp, text, target)
        opts = options_of(target)
        args: Any = msgspec.json.decode(text)
        return broadcast_channel(nsp, opts, prefix).encode(), encode_broadcast(EMITTER, nsp, args, opts)

    def delivered(self, number: int, position: bytes) -> asyncio.Future[None] | None:
        """Return a future that is done when the mark of a call has come."""
        if self._came >= number:
            return None
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._awaited[number] = future
        return future

    def hear(self, mark: bytes) -> None:
        """Take a mark: everything that was published before it has come."""
        self._came = number = int(mark)
        for each in [each for each in self._awaited if each <= number]:
            future = self._awaited.pop(each)
            if not future.done():
                future.set_result(None)


def _target(room: str, but: str | None) -> Target:
    return Target(frozenset((room,)), frozenset() if but is None else frozenset((but,)))
