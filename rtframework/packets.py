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
"""The largest acknowledgement id, and the largest event name: JavaScript's largest safe integer."""

_DIGITS: Final = frozenset("0123456789")
_LONGEST: Final = len(str(-MAX_ID))


class TooManyAttachments(DecodeError):
    """A client's packet has more attachments than ``Limits.max_attachments``."""


def check_event(data: Any) -> Any:
    """Check the data of an EVENT and return them unchanged. Raises ``DecodeError``.

    The name is a string or an integer from ``-MAX_ID`` to ``MAX_ID``. Stricter than Node, which takes any number, also
    1.5, and infinity for an integer of 400 digits. Reserved names are refused, because a client could forge a lifecycle
    event with them.
    """
    if type(data) is not list or not data or type(data[0]) is not str:
        return _check_numbered(data)  # the rarer kind last: a string costs nothing more
    if data[0] in RESERVED_EVENTS:
        raise DecodeError("invalid payload: a reserved event name")
    return data


def _check_numbered(data: Any) -> Any:
    """Check the data of an EVENT whose name is no string, and return them unchanged. Raises ``DecodeError``."""
    if type(data) is not list or not data or type(data[0]) is not int:
        raise DecodeError("invalid payload: an event is a list that starts with its name")
    if not -MAX_ID <= data[0] <= MAX_ID:
        raise DecodeError("invalid payload: an event's name is an integer beyond those that JavaScript has exactly")
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


def check_event_name(name: str | int) -> str | int:
    """Check that a program may register or emit an event name, and return it; for a member of an enum, its value.

    Raises :class:`~rtframework.ConfigurationError`.
    """
    if type(name) is not str or not name:
        return _check_other_name(name)
    if name in RESERVED_EVENTS:
        raise ConfigurationError(f"{name!r} is a reserved event name")
    return name


def _check_other_name(name: object) -> str | int:
    """Check an event name that is an integer, a member of an enum, or a mistake."""
    if isinstance(name, str) and name:
        return check_event_name(str.__str__(name))
    if not isinstance(name, int) or isinstance(name, bool):
        raise ConfigurationError(f"an event name is a string that is not empty, or an integer, not {name!r}")
    if not -MAX_ID <= name <= MAX_ID:
        raise ConfigurationError("an event name that is an integer is from -(2**53 - 1) to 2**53 - 1")
    return int(name)


def is_name_within(name: object, most: int) -> bool:
    """Tell whether an event name of a client that is no string is an integer of at most ``most`` characters."""
    return type(name) is int and -MAX_ID <= name <= MAX_ID and len(str(name)) <= most


def event_key(name: str | int) -> str:
    """Return the key under which an event is registered: ``1`` and ``"1"`` are the same event, as in JavaScript.

    Node's and the JavaScript client's emitters keep listeners as properties, whose names are strings.
    """
    if isinstance(name, int) and not isinstance(name, bool):
        return str(int(name))
    return name if isinstance(name, str) else str(name)


def number_of(key: str) -> int | None:
    """Return the integer that has this key, ``None`` if there is none: ``"01"`` and ``"-0"`` are of no integer."""
    if key[-1:] not in _DIGITS or len(key) > _LONGEST:
        return None
    try:
        number = int(key)
    except ValueError:
        return None
    return number if str(number) == key and -MAX_ID <= number <= MAX_ID else None


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
