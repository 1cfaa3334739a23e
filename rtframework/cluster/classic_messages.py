"""The classic adapter's requests and answers, from and to the messages of ``ClusterAdapter``.

Node's classic adapter has types of its own for what the other adapters ask each other; two of them, SOCKETS and
ALL_ROOMS, nobody else has. Node's answers name neither the server nor the client; ours do, under ``x``.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import UNSET, UnsetType

from .classic_wire import Request, RequestType, Response, Selection
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
    SocketRecord,
    SocketsRooms,
)

_ROOMS: Final = {
    MessageType.SOCKETS_JOIN: RequestType.REMOTE_JOIN,
    MessageType.SOCKETS_LEAVE: RequestType.REMOTE_LEAVE,
}


def request_of(message: Message) -> Request:
    """Turn a message to all other servers into a request. Raises ``ValueError`` for one that is none."""
    data, uid = message.data, message.uid
    if isinstance(data, Broadcast) and data.requestId is not UNSET:
        packet = EventPacket(data.packet.type, data.packet.data, message.nsp)
        opts = Selection(data.opts.rooms, data.opts.except_, data.opts.flags)
        return Request(int(RequestType.BROADCAST), uid, data.requestId, opts, packet=packet)
    if isinstance(data, SocketsRooms):
        return Request(int(_ROOMS[MessageType(message.type)]), uid, opts=_selection(data.opts), rooms=data.rooms)
    if isinstance(data, DisconnectSockets):
        kind = int(RequestType.REMOTE_DISCONNECT)
        return Request(kind, uid, opts=_selection(data.opts), close=data.close, x=data.x)
    if isinstance(data, FetchSockets):
        return Request(int(RequestType.REMOTE_FETCH), uid, data.requestId, _selection(data.opts))
    if isinstance(data, ServerSideEmit):
        return Request(int(RequestType.SERVER_SIDE_EMIT), uid, data.requestId, data=data.packet)
    raise ValueError(f"no request: type {message.type}")


def message_of(request: Request, nsp: str) -> Message | None:
    """Turn a request into a message.

    Return ``None`` for a request that only the classic adapter has: types 0 and 1, and the form of older servers that
    names one socket, ``sid``.
    """
    kind, data = request.type, _data_of(request)
    found = _TYPES.get(kind)
    uid = "" if request.uid is UNSET else request.uid
    return None if data is None or found is None else Message(int(found), data, uid, nsp)


_TYPES: Final[dict[int, MessageType]] = {
    RequestType.REMOTE_JOIN: MessageType.SOCKETS_JOIN,
    RequestType.REMOTE_LEAVE: MessageType.SOCKETS_LEAVE,
    RequestType.REMOTE_DISCONNECT: MessageType.DISCONNECT_SOCKETS,
    RequestType.REMOTE_FETCH: MessageType.FETCH_SOCKETS,
    RequestType.SERVER_SIDE_EMIT: MessageType.SERVER_SIDE_EMIT,
    RequestType.BROADCAST: MessageType.BROADCAST,
}


def _data_of(request: Request) -> Data | None:
    kind, id, opts = request.type, request.requestId, _options(request.opts)
    if kind == RequestType.SERVER_SIDE_EMIT:
        return None if request.data is UNSET else ServerSideEmit(id, request.data)
    if opts is None:
        return None
    if kind in (RequestType.REMOTE_JOIN, RequestType.REMOTE_LEAVE):
        return None if request.rooms is UNSET else SocketsRooms(opts, request.rooms)
    if kind == RequestType.REMOTE_DISCONNECT:
        return DisconnectSockets(opts, request.close is True, request.x)
    if kind == RequestType.REMOTE_FETCH:
        return None if id is UNSET else FetchSockets(opts, id)
    if kind == RequestType.BROADCAST:
        return None if request.packet is UNSET else Broadcast(request.packet, id, opts)
    return None


def response_of(message: Message) -> Response:
    """Turn an answer into a response. Raises ``ValueError`` for a message that is none."""
    data, x = message.data, {"uid": message.uid}
    if isinstance(data, FetchedSockets):
        return Response(data.requestId, sockets=list(data.sockets), x=x)
    if isinstance(data, ClientCount):
        kind = int(RequestType.BROADCAST_CLIENT_COUNT)
        return Response(data.requestId, kind, clientCount=data.clientCount, x=x)
    if isinstance(data, Answer) and message.type == MessageType.SERVER_SIDE_EMIT_RESPONSE:
        return Response(data.requestId, int(RequestType.SERVER_SIDE_EMIT), data=data.packet, x=x)
    if isinstance(data, Answer):
        more = data.x if isinstance(data.x, dict) else {}
        return Response(data.requestId, int(RequestType.BROADCAST_ACK), packet=data.packet, x={**x, **more})
    raise ValueError(f"no answer: type {message.type}")


def answer_of(response: Response, nsp: str) -> Message | None:
    """Turn a response into an answer, ``None`` if only the classic adapter has it. Its ``uid`` is empty if unknown."""
    x: dict[str, Any] = {} if response.x is UNSET else response.x
    uid, id = x.get("uid"), response.requestId
    uid = uid if isinstance(uid, str) else ""
    data: Data
    if response.sockets is not UNSET:
        records = [each for each in response.sockets if isinstance(each, SocketRecord)]
        kind, data = MessageType.FETCH_SOCKETS_RESPONSE, FetchedSockets(id, records)
    elif response.type == RequestType.BROADCAST_CLIENT_COUNT:
        count = 0 if response.clientCount is UNSET else response.clientCount
        kind, data = MessageType.BROADCAST_CLIENT_COUNT, ClientCount(id, count)
    elif response.type == RequestType.SERVER_SIDE_EMIT:
        value = None if response.data is UNSET else response.data
        kind, data = MessageType.SERVER_SIDE_EMIT_RESPONSE, Answer(id, value)
    elif response.type == RequestType.BROADCAST_ACK:
        value = None if response.packet is UNSET else response.packet
        kind, data = MessageType.BROADCAST_ACK, Answer(id, value, x)
    else:
        return None
    return Message(int(kind), data, uid, nsp)


def _selection(opts: Options) -> Selection:
    return Selection(opts.rooms, opts.except_)


def _options(selection: Selection | UnsetType) -> Options | None:
    if selection is UNSET:
        return None
    return Options(selection.rooms, selection.except_, {} if selection.flags is UNSET else selection.flags)
