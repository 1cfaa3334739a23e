"""Rules for the contents of packets, for all serializers: those of socket.io-parser, some of them stricter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from .exceptions import ConfigurationError, DecodeError
from .types import RESERVED_EVENTS, PacketType

_CONNECT: Final = int(PacketType.CONNECT)
_DISCONNECT: Final = int(PacketType.DISCONNECT)
_EVENT: Final = int(PacketType.EVENT)
_ACK: Final = int(PacketType.ACK)

MAX_ID: Final = 2**53 - 1
"""The largest acknowledgement id: JavaScript's largest safe integer."""


def check_event(data: Any) -> Any:
    """Check the data of an EVENT and return them unchanged. Raises ``DecodeError``.

    Stricter than Node: an event's name must be a string. Reserved names are refused, because a client could forge a
    lifecycle event with them.
    """
    if type(data) is not list or not data or type(data[0]) is not str:
        raise DecodeError("invalid payload: an event is a list that starts with its name")
    if data[0] in RESERVED_EVENTS:
        raise DecodeError("invalid payload: a reserved event name")
    return data


def check_payload(kind: int, data: Any, id: int | None) -> Any:
    """Check the data of a packet of any type and return them unchanged. Raises ``DecodeError``."""
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


def check_event_name(name: str) -> str:
    """Check that a program may register or emit an event name, and return it.

    Raises :class:`~rtframework.ConfigurationError`.
    """
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"an event name is a string that is not empty, not {name!r}")
    if name in RESERVED_EVENTS:
        raise ConfigurationError(f"{name!r} is a reserved event name")
    return name


def to_ack(result: Any) -> list[Any]:
    """Turn a handler's result into the arguments of the acknowledgement: a tuple is several, ``None`` is none."""
    if result is None:
        return []
    return list(result) if type(result) is tuple else [result]


def from_ack(args: Sequence[Any]) -> Any:
    """Turn the arguments of an acknowledgement into one value: ``None``, the argument, or a tuple of several."""
    if len(args) == 1:
        return args[0]
    return tuple(args) if args else None
