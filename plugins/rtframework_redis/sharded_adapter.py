"""The wire of Node's sharded adapter (``createShardedAdapter`` of @socket.io/redis-adapter 8.3)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET

from rtframework.cluster.messages import Broadcast, Data, EventPacket, Message, MessageType, options_of, target_of
from rtframework.cluster.pubsub_wire import (
    SubscriptionMode,
    decode,
    encode_sharded,
    encode_text,
    own_end,
    private_channel,
    public_channel,
    read_splice,
    room_has_channel,
    sharded_channel,
)
from rtframework.cluster.streams_wire import selects_any
from rtframework.types import Packet, PacketType, Target

from .pubsub_adapter import PubSubAdapter, Take

if TYPE_CHECKING:
    from rtframework.protocols import Emitter

    from .pubsub import RedisPubSub

_EVENT: Final = int(PacketType.EVENT)


class ShardedAdapter(PubSubAdapter):
    """One namespace, in the wire of the sharded adapter: the messages of ``ClusterAdapter``, most of them JSON."""

    __slots__ = ("_mode", "_own", "_public")

    _subscribe = "SSUBSCRIBE"

    def __init__(self, backbone: RedisPubSub, nsp: str, emitter: Emitter) -> None:
        super().__init__(backbone, nsp, emitter)
        self._mode: SubscriptionMode = backbone.subscription_mode
        self._public = public_channel(nsp, backbone.channel_prefix)
        self._own = b""

    def _channels(self) -> Mapping[bytes, Take]:
        uid = self._backbone.uid
        self._own = own_end(uid, self.nsp)
        private = private_channel(self.nsp, uid, self._backbone.channel_prefix)
        return {self._public.encode(): self.hear_event, private.encode(): self.hear_event}

    def _counted(self) -> bytes:
        return self._public.encode()

    def _patterns(self) -> tuple[bytes, ...]:
        return ()

    def _room_channel(self, room: str) -> bytes | None:
        if not room_has_channel(room, self._mode):
            return None
        return f"{self._public}{room}#".encode(errors="surrogatepass")

    def hear_event(self, payload: bytes) -> None:
        """Handle a message. The arguments of an event for clients stay as they are."""
        if payload.endswith(self._own):
            return
        self._backbone.received += 1
        splice = read_splice(payload)
        if splice is not None and splice.nsp == self.nsp:
            data = splice.data
            if data.requestId is UNSET:
                if not selects_any(data.opts, self._rooms):
                    return
                text = data.args()
                if text is not None:
                    self.deliver_text(text, partial(_packet, self.nsp, text), target_of(data.opts))  # type: ignore[arg-type]
                    return
        message = decode(payload)
        adapter = self if message.nsp == self.nsp else self._backbone.adapters.get(message.nsp)
        if adapter is not None and message.uid != self._backbone.uid:
            adapter.hear(message)

    def _encode_event(self, packet: Packet, text: str | None, target: Target) -> tuple[bytes, bytes]:
        uid, prefix = self._backbone.uid, self._backbone.channel_prefix
        if text is not None:
            rooms = target.rooms
            channel = self._public.encode()
            if rooms is not None and len(rooms) == 1:
                (room,) = rooms
                channel = self._room_channel(room) or channel
            return channel, encode_text(uid, self.nsp, text, target)
        data = Broadcast(EventPacket(_EVENT, packet.data), opts=options_of(target))
        message = Message(int(MessageType.BROADCAST), data, uid, self.nsp)
        return sharded_channel(message, self._mode, prefix).encode(errors="surrogatepass"), encode_sharded(message)

    async def _request(self, kind: MessageType, data: Data) -> None:
        await self._tell(kind, data)

    async def _tell(self, kind: MessageType, data: Data) -> None:
        message = self._encode(kind, data)
        self.check_size(message)
        await self._publish(self._public.encode(), message)

    def _reply(self, uid: str, kind: MessageType, data: Data) -> None:
        channel = private_channel(self.nsp, uid, self._backbone.channel_prefix)
        self._post(channel, self._encode(kind, data))

    def _ask_again(self, name: str, kind: MessageType, data: Data) -> None:
        uid = self._backbone.leases.uid_of(name)
        if uid is not None:
            self._reply(uid, kind, data)

    def _encode(self, kind: MessageType, data: Data) -> bytes:
        return encode_sharded(Message(int(kind), data, self._backbone.uid, self.nsp))


def _packet(nsp: str, text: str) -> Packet:
    args: Any = msgspec.json.decode(text)
    return Packet(_EVENT, nsp, args)
