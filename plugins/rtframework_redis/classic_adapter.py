"""The wire of Node's classic adapter (``createAdapter`` of @socket.io/redis-adapter 8.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET

from rtframework.cluster.classic_messages import answer_of, message_of, request_of, response_of
from rtframework.cluster.classic_wire import (
    Request,
    RequestType,
    Response,
    broadcast_channel,
    decode_broadcast,
    decode_request,
    decode_response,
    encode_broadcast,
    encode_request,
    encode_response,
    own_start,
    read_packet,
    read_splice,
    request_channel,
    response_channel,
)
from rtframework.cluster.messages import Data, Message, MessageType, options_of, target_of
from rtframework.cluster.pubsub_wire import escape_pattern, public_channel
from rtframework.cluster.streams_wire import selects_any
from rtframework.types import Packet, Target

from .pubsub_adapter import PubSubAdapter, Take

if TYPE_CHECKING:
    from rtframework.protocols import Emitter

    from .pubsub import RedisPubSub

_NODES: Final = "?"
"""The uid of all servers of Node, whose answers have none."""

_NODES_IDS: Final = 6
"""Characters of the ids of Node's servers. Ours have more: they all have a channel for answers to them alone."""


class ClassicAdapter(PubSubAdapter):
    """One namespace, in the wire of the classic adapter: events are MessagePack, most requests and answers JSON."""

    __slots__ = ("_own", "_public", "_requests_to")

    _subscribe = "SUBSCRIBE"

    def __init__(self, backbone: RedisPubSub, nsp: str, emitter: Emitter) -> None:
        super().__init__(backbone, nsp, emitter)
        self._public = public_channel(nsp, backbone.channel_prefix)
        self._requests_to = request_channel(nsp, backbone.channel_prefix).encode()
        self._own = b""

    def _channels(self) -> Mapping[bytes, Take]:
        uid, prefix = self._backbone.uid, self._backbone.channel_prefix
        self._own = own_start(uid)
        events = {} if self._is_static else {self._public.encode(): self.hear_event}
        return {
            **events,
            self._requests_to: self._hear_request,
            response_channel(self.nsp, prefix).encode(): self._hear_response,
            response_channel(self.nsp, prefix, uid).encode(): self._hear_response,
        }

    def _counted(self) -> bytes:
        return self._requests_to

    @property
    def _is_static(self) -> bool:
        return self._backbone.subscription_mode == "static"

    def _patterns(self) -> tuple[bytes, ...]:
        return (f"{escape_pattern(self._public)}*".encode(),) if self._is_static else ()

    def _room_channel(self, room: str) -> bytes | None:
        return None if self._is_static else f"{self._public}{room}#".encode(errors="surrogatepass")

    # --- events -------------------------------------------------------------------------------------------------------

    def hear_event(self, payload: bytes) -> None:
        """Handle an event of a server or an emitter. It is decoded if it is for sockets of this server."""
        if payload.startswith(self._own):
            return
        self._backbone.received += 1
        splice = read_splice(payload)
        if splice is None:
            event = decode_broadcast(payload)
            uid, packet, opts = event.uid, event.packet, event.opts
        elif selects_any(splice.opts, self._rooms):
            uid, packet, opts = splice.uid, read_packet(splice), splice.opts
        else:
            return
        nsp = "/" if packet.nsp is UNSET else packet.nsp
        adapter = self if nsp == self.nsp else self._backbone.adapters.get(nsp)
        if adapter is not None and uid != self._backbone.uid:
            adapter.deliver_here(packet.data, target_of(opts))

    def _encode_event(self, packet: Packet, text: str | None, target: Target) -> tuple[bytes, bytes]:
        # The text is what clients of this server get, whatever the program has passed.
        args: list[Any] = packet.data if text is None else msgspec.json.decode(text)
        opts = options_of(target)
        channel = broadcast_channel(self.nsp, opts, self._backbone.channel_prefix)
        return channel.encode(errors="surrogatepass"), encode_broadcast(self._backbone.uid, self.nsp, args, opts)

    # --- requests -----------------------------------------------------------------------------------------------------

    def _hear_request(self, payload: bytes) -> None:
        request = decode_request(payload)
        if request.uid == self._backbone.uid:  # Node does to its own sockets what it hears of itself; we have done it
            return
        self._backbone.received += 1
        message = message_of(request, self.nsp)
        if message is not None:
            self.hear(message)
        else:
            self._answer(request)

    def _answer(self, request: Request) -> None:
        """Answer a request that only classic adapters have."""
        id, kind = request.requestId, request.type
        if id is UNSET:
            return
        if kind == RequestType.SOCKETS:
            rooms = frozenset() if request.rooms is UNSET else frozenset(request.rooms)
            self._respond(request.uid, Response(id, sockets=list(self.sockets(Target(rooms or None)))))
        elif kind == RequestType.ALL_ROOMS:
            self._respond(request.uid, Response(id, rooms=list(self.index.all_rooms())))
        elif request.sid is not UNSET and request.sid in self.index:
            target = Target(frozenset([request.sid]))
            if kind == RequestType.REMOTE_DISCONNECT:
                self.disconnect_here(target, request.close is True)
            elif kind in (RequestType.REMOTE_JOIN, RequestType.REMOTE_LEAVE) and request.room is not UNSET:
                self.move_here(target, [request.room], join=kind == RequestType.REMOTE_JOIN)
            else:
                return
            self._respond(request.uid, Response(id))

    def _hear_response(self, payload: bytes) -> None:
        self._backbone.received += 1
        if not len(self._requests):  # all servers read all answers
            return
        message = answer_of(decode_response(payload), self.nsp)
        if message is not None:
            if not message.uid:  # a server of Node
                self._name_of(_NODES)
            self._hear_answer(message)

    def _respond(self, uid: Any, response: Response) -> None:
        backbone = self._backbone
        is_direct = isinstance(uid, str) and (backbone.publishes_directly or len(uid) > _NODES_IDS)
        channel = response_channel(self.nsp, backbone.channel_prefix, uid if is_direct else None)
        self._post(channel, encode_response(response))

    # --- how messages travel ------------------------------------------------------------------------------------------

    async def _request(self, kind: MessageType, data: Data) -> None:
        await self._tell(kind, data)

    async def _tell(self, kind: MessageType, data: Data) -> None:
        message = encode_request(request_of(Message(int(kind), data, self._backbone.uid, self.nsp)))
        self.check_size(message)
        await self._publish(self._requests_to, message)

    def _reply(self, uid: str, kind: MessageType, data: Data) -> None:
        self._respond(uid, response_of(Message(int(kind), data, self._backbone.uid, self.nsp)))
