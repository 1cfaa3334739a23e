"""Rules for the contents of packets, for all serializers: those of socket.io-parser, some of them stricter."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from typing import Any, Final

from .exceptions import ConfigurationError, DecodeError, EncodeError
from .types import RESERVED_EVENTS, Packet, PacketType

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


def check_attachments(text: str, attachments: int, most: int) -> None:
    """Check the text of a binary packet that is about to be sent. Raises ``EncodeError``.

    socket.io-parser from 4.2.6 on refuses a packet with more than 10 attachments, and every version takes an object
    with the key ``_placeholder`` for an attachment: the clients that receive such a packet would be disconnected.
    """
    if attachments > most:
        raise EncodeError(f"{attachments} binary attachments, and clients accept {most} (Limits.max_attachments)")
    if text.count('"_placeholder":') > attachments:
        raise EncodeError('an object with the key "_placeholder" cannot be sent in a packet with bytes')


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


def explain_failure(packet: Packet, error: EncodeError, encode: Callable[[Packet], object]) -> EncodeError:
    """Make an error that names the event and the value that cannot be encoded: ``'save': $[0].author: …``.

    ``$`` stands for the arguments. The value is searched for by encoding parts of the packet.
    """
    data = packet.data
    if packet.type not in (_EVENT, _ACK) or not isinstance(data, list):
        return error
    name, args = (repr(data[0]), data[1:]) if packet.type == _EVENT else ("the acknowledgement", data)

    def failure_of(value: Any) -> EncodeError | None:
        try:
            encode(Packet(_ACK, "/", [value], 0))
        except EncodeError as failure:
            return failure
        return None

    path, culprit = "$", error
    parts = [(f"[{index}]", each) for index, each in enumerate(args)]
    for _ in range(_DEEPEST):
        found = _first_failing(parts, failure_of)
        if found is None:
            break
        step, value, culprit = found
        path += step
        mistake = _mistake_of(value)
        if mistake is not None:
            culprit = EncodeError(mistake)
            break
        parts = _parts_of(value)
    return EncodeError(f"{name}: {culprit}" if path == "$" else f"{name}: {path}: {culprit}")


def _mistake_of(value: object) -> str | None:
    """Say what to do with a value that was sent by mistake; ``None`` for a value that is no mistake of this kind."""
    if inspect.isawaitable(value):
        name = getattr(value, "__qualname__", type(value).__name__)
        return f"{name} was not awaited: write await in front of it, and send its result"
    if inspect.isroutine(value):
        return (
            f"the function {getattr(value, '__qualname__', value)!s} cannot be sent: for the client's answer write "
            "answer = await socket.emit_with_ack(event, ...)"
        )
    return None


_DEEPEST: Final = 32
"""Levels of nested values in which a value that cannot be encoded is searched for."""

_Part = tuple[str, Any]


def _first_failing(
    parts: list[_Part], failure_of: Callable[[Any], EncodeError | None]
) -> tuple[str, Any, EncodeError] | None:
    """Find the first part that cannot be encoded by itself, by halving."""
    while parts:
        if len(parts) == 1:
            failure = failure_of(parts[0][1])
            return None if failure is None else (*parts[0], failure)
        half = len(parts) // 2
        first, second = parts[:half], parts[half:]
        parts = first if failure_of([value for _, value in first]) is not None else second
    return None


def _parts_of(value: Any) -> list[_Part]:
    """Return the values in a container, each with its step of the path."""
    if isinstance(value, Mapping):
        return [(_step(key), each) for key, each in value.items()]
    if isinstance(value, Sequence | Set) and not isinstance(value, str | bytes | bytearray | memoryview):
        return [(f"[{index}]", each) for index, each in enumerate(value)]
    return [(f".{name}", getattr(value, name, None)) for name in _field_names(value)]


def _field_names(value: Any) -> Iterable[str]:
    """Return the names of the fields of a dataclass, a msgspec Struct or a pydantic model."""
    if is_dataclass(value):
        return [each.name for each in fields(value)]
    for attribute in ("__struct_fields__", "model_fields"):
        names: Iterable[str] | None = getattr(type(value), attribute, None)
        if names is not None:
            return names
    return ()


def _step(key: object) -> str:
    return f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{key!r:.50}]"
