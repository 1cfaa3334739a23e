"""Messages of programs that are no servers, in the two wires that servers listen to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from rtframework.adapters.history import History, history_of
from rtframework.cluster.classic_wire import (
    Request,
    RequestType,
    Selection,
    broadcast_channel,
    encode_broadcast,
    encode_request,
    request_channel,
)
from rtframework.cluster.messages import (
    EMITTER,
    Broadcast,
    DisconnectSockets,
    EventPacket,
    MessageType,
    ServerSideEmit,
    SocketsRooms,
    options_of,
)
from rtframework.cluster.streams_wire import encode_data, encode_text, room_of
from rtframework.exceptions import ConfigurationError, EncodeError
from rtframework.packets import check_event_name, explain_failure
from rtframework.serializers import JSONSerializer
from rtframework.types import Packet, PacketType, Target

from .history_scripts import RoomKey, room_key

_EVENT: Final = int(PacketType.EVENT)


class StreamMessage(NamedTuple):
    """An entry to be added to the stream, see ``fields_of``."""

    nsp: bytes
    kind: int
    data: bytes
    room: bytes | None = None
    kept: tuple[RoomKey, ...] = ()
    """The rooms in whose history it is kept."""


class ChannelMessage(NamedTuple):
    """A message to be published to a channel."""

    channel: str
    payload: bytes


Publication: TypeAlias = StreamMessage | ChannelMessage

Order: TypeAlias = SocketsRooms | DisconnectSockets
"""Something to be done to the sockets of all servers."""


class EventData:
    """The name and the arguments of an event, encoded as a server with this serializer does.

    Raises ``ConfigurationError`` for a name that clients refuse, and ``EncodeError``.
    """

    def __init__(self, serializer: JSONSerializer, name: str | int, args: Sequence[Any]) -> None:
        packet = Packet(_EVENT, "/", [check_event_name(name), *args])
        self.name: str | int = packet.data[0]
        self._serializer = serializer
        try:
            self._frames = serializer.encode(packet)
        except EncodeError as error:
            raise explain_failure(packet, error, serializer.encode) from error
        except Exception as error:  # a hook that was not written for such data
            raise EncodeError(f"cannot be sent: {error!r}") from error

    @property
    def text(self) -> str | None:
        """The name and the arguments as a JSON array; ``None`` with bytes."""
        frame = self._frames[0]
        return frame[1:] if len(self._frames) == 1 and isinstance(frame, str) else None

    @property
    def plain(self) -> list[Any]:
        """The name and the arguments as clients decode them."""
        decoder = self._serializer.decoder()
        packet = None
        for frame in self._frames:
            packet = decoder.decode(frame)
        assert packet is not None
        data: list[Any] = packet.data
        return data


class Wire(Protocol):
    """The form in which servers take messages. The methods raise ``EncodeError``."""

    def event(self, nsp: str, target: Target, event: EventData) -> Publication:
        """Encode an event for the sockets of a target."""

    def order(self, nsp: str, kind: MessageType, order: Order) -> Publication:
        """Encode something to be done to sockets."""

    def server_side(self, nsp: str, event: EventData) -> Publication:
        """Encode an event for the servers themselves."""


class StreamsWire:
    """Entries of the stream, for ``RedisStreams`` and ``@socket.io/redis-streams-adapter``.

    ``history``: the rooms whose history is kept, as the servers have them. ``stream``: the key of the stream.
    """

    def __init__(self, history: Sequence[History] = (), stream: str = "socket.io") -> None:
        self._history = history
        self._stream = stream

    def event(self, nsp: str, target: Target, event: EventData) -> StreamMessage:
        """Encode an event: as JSON, or as MessagePack with bytes."""
        if event.text is not None:
            data = encode_text(event.text, target)
        else:
            data = encode_data(3, Broadcast(EventPacket(_EVENT, event.plain), opts=options_of(target)))
        kept = self._kept(nsp, target, event.name) if self._history else ()
        return StreamMessage(nsp.encode(), MessageType.BROADCAST, data, room_of(target), kept)

    def _kept(self, nsp: str, target: Target, event: str | int) -> tuple[RoomKey, ...]:
        if target.volatile:
            return ()
        found = []
        for room in target.rooms or ():
            rule = history_of(self._history, nsp, room)
            if rule is not None and rule.keeps(event):
                found.append(room_key(self._stream, nsp, rule.of(room)))
        return tuple(found)

    def order(self, nsp: str, kind: MessageType, order: Order) -> StreamMessage:
        """Encode something to be done to sockets."""
        return StreamMessage(nsp.encode(), kind, encode_data(kind, order))

    def server_side(self, nsp: str, event: EventData) -> StreamMessage:
        """Encode an event for the servers themselves."""
        data = encode_data(9, ServerSideEmit(packet=event.plain))
        return StreamMessage(nsp.encode(), MessageType.SERVER_SIDE_EMIT, data)


class PubSubWire:
    """Messages of ``@socket.io/redis-emitter``, for servers with Node's classic adapter and those that take them too.

    ``prefix``: of the channels.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def event(self, nsp: str, target: Target, event: EventData) -> ChannelMessage:
        """Encode an event, as MessagePack; its integers have at most 64 bits."""
        opts = options_of(target)
        payload = encode_broadcast(EMITTER, nsp, event.plain, opts)
        return ChannelMessage(broadcast_channel(nsp, opts, self._prefix), payload)

    def order(self, nsp: str, kind: MessageType, order: Order) -> ChannelMessage:
        """Encode something to be done to sockets. Raises ``ConfigurationError`` for a reason, which it cannot carry."""
        opts = Selection(order.opts.rooms, order.opts.except_)
        if isinstance(order, SocketsRooms):
            request = Request(_REQUESTS[kind], opts=opts, rooms=order.rooms)
        elif isinstance(order.x, dict):
            raise ConfigurationError(
                'reason is for adapter="streams" only: the messages of "pubsub" have no place for it'
            )
        else:
            request = Request(_REQUESTS[kind], opts=opts, close=order.close)
        return self._request(nsp, request)

    def server_side(self, nsp: str, event: EventData) -> ChannelMessage:
        """Encode an event for the servers themselves, as JSON, which has no bytes."""
        if event.text is None:
            raise EncodeError('cannot be sent to servers with adapter="pubsub": bytes')
        return self._request(nsp, Request(RequestType.SERVER_SIDE_EMIT, EMITTER, data=event.plain))

    def _request(self, nsp: str, request: Request) -> ChannelMessage:
        return ChannelMessage(request_channel(nsp, self._prefix), encode_request(request))


_REQUESTS: Final = {
    MessageType.SOCKETS_JOIN: RequestType.REMOTE_JOIN,
    MessageType.SOCKETS_LEAVE: RequestType.REMOTE_LEAVE,
    MessageType.DISCONNECT_SOCKETS: RequestType.REMOTE_DISCONNECT,
}
