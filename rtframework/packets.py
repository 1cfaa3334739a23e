"""What a packet may carry, whatever serializer brought it: socket.io-parser's rules, some of them stricter."""

from __future__ import annotations

from typing import Any, Final

from .exceptions import DecodeError
from .types import RESERVED_EVENTS, PacketType

_CONNECT: Final = int(PacketType.CONNECT)
_DISCONNECT: Final = int(PacketType.DISCONNECT)
_EVENT: Final = int(PacketType.EVENT)
_ACK: Final = int(PacketType.ACK)

MAX_ID: Final = 2**53 - 1
"""The largest acknowledgement id: JavaScript's largest safe integer."""


def check_event(data: Any) -> Any:
    """The data of an EVENT, as they are. Raises ``DecodeError``.

    Stricter than Node: an event's name is a string. Reserved names would let a client forge a lifecycle event.
    """
    if type(data) is not list or not data or type(data[0]) is not str:
        raise DecodeError("invalid payload: an event is a list that starts with its name")
    if data[0] in RESERVED_EVENTS:
        raise DecodeError("invalid payload: a reserved event name")
    return data


def check_payload(kind: int, data: Any, id: int | None) -> Any:
    """The data of a packet of this type, as they are. Raises ``DecodeError``."""
    if kind == _EVENT:
        return check_event(data)
    if kind == _ACK:
        if type(data) is not list or id is None:
            raise DecodeError("invalid payload: an acknowledgement is a list with an id")
    elif kind == _CONNECT:
        if data is not None and type(data) is not dict:
            raise DecodeError("invalid payload: CONNECT carries an object")
    elif kind == _DISCONNECT:
        if data is not None:
            raise DecodeError("invalid payload: DISCONNECT carries nothing")
    elif type(data) not in (dict, str):
        raise DecodeError("invalid payload: CONNECT_ERROR carries an object or a string")
    return data
