"""Serializers over python-socketio's packet classes, so that programs with their own json or packet class run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from socketio import msgpack_packet, packet

from ...exceptions import DecodeError, EncodeError
from ...packets import MAX_ID, TooManyAttachments, check_attachments, check_payload
from ...serializers import JSONDecoder, JSONSerializer
from ...types import Packet, PacketType

_BINARY: Final = {
    int(PacketType.BINARY_EVENT): int(PacketType.EVENT),
    int(PacketType.BINARY_ACK): int(PacketType.ACK),
}
_TYPES: Final = frozenset(map(int, PacketType))
_SPREAD: Final = re.compile(r'"_placeholder"\s+:')
"""The key as json modules write it that do not heed ``separators``."""
_HEAD: Final = re.compile(r"\d(?:\d+-)?(?:/[^,]*,)?\d*")
"""What stands before the JSON of a packet."""
_UNDEFINED: Final = (0, b"\0")
"""The msgpack extension by which a JavaScript client says that it has no ``auth``."""


def packet_class_of(serializer: Any, json_module: Any = None) -> Any:
    """Return the packet class that ``serializer=`` names, with the json module of this one server.

    python-socketio sets the module on the class itself, for every server and client of the process; here it is set on
    a class derived for the one that asked.
    """
    found: Any = serializer
    if serializer == "default":
        found = packet.Packet
    elif serializer == "msgpack":
        found = msgpack_packet.MsgPackPacket
    return found if json_module is None else type(found.__name__, (found,), {"json": json_module})


def checked(packet_class: Any, max_attachments: int) -> Any:
    """Derive a packet class that encodes nothing that JavaScript clients refuse, for managers that encode packets.

    Raises ``EncodeError``; for a packet that asks for an answer already when it is made, because managers encode those
    in a task.
    """

    def __init__(self: Any, *args: Any, **packet: Any) -> None:
        packet_class.__init__(self, *args, **packet)
        if self.id is not None and packet.get("encoded_packet") is None:
            encode(self)

    def encode(self: Any) -> Any:
        return _encode(partial(packet_class.encode, self), max_attachments)

    return type(packet_class.__name__, (packet_class,), {"__init__": __init__, "encode": encode})


def _encode(encode: Callable[[], Any], max_attachments: int) -> Any:
    """Have a packet class encode a packet: as a text, or as a list of a text and attachments. Raises ``EncodeError``.

    What else it may make of a packet is the business of the class and its clients.
    """
    try:
        encoded = encode()
    except Exception as error:  # whatever the program's class or json module raises
        raise EncodeError(f"cannot be sent: {error!r}") from error
    text = encoded[0] if isinstance(encoded, list) else encoded
    if not isinstance(text, str):
        return encoded
    if isinstance(encoded, list):
        check_attachments(_SPREAD.sub('"_placeholder":', text), len(encoded) - 1, max_attachments)
    if "NaN" in text or "Infinity" in text:  # maybe in a string
        constant = _constant_in(_HEAD.sub("", text, count=1))
        if constant is not None:
            raise EncodeError(f"cannot be sent as JSON: {constant} does not exist there")
    return encoded


def _constant_in(text: str) -> str | None:
    """Return the first number of a text that JSON does not have; ``None`` without one, or if it is not JSON at all."""
    found: list[str] = []
    try:
        json.loads(text, parse_constant=found.append)
    except ValueError:
        return None
    except RecursionError:
        pass
    return found[0] if found else None


class PacketClassSerializer:
    """Speaks through a subclass of ``socketio.packet.Packet``.

    Whatever the class raises on what a client sent is a ``DecodeError``; attachments are bounded both ways.
    """

    __slots__ = ("_max_attachments", "_packet_class")

    def __init__(self, packet_class: Any, *, max_attachments: int = 10) -> None:
        self._packet_class = packet_class
        self._max_attachments = max_attachments

    def encode(self, packet: Packet) -> Sequence[str | bytes]:
        """Make the frames of a packet with the class. Raises ``EncodeError``."""

        def encode() -> Any:
            kind = int(packet.type)
            return self._packet_class(kind, data=packet.data, namespace=packet.nsp, id=packet.id).encode()

        encoded = _encode(encode, self._max_attachments)
        return encoded if isinstance(encoded, list) else [encoded]

    def decoder(self) -> PacketClassDecoder:
        """Make a decoder for one connection."""
        return PacketClassDecoder(self._packet_class, self._max_attachments)


class PacketClassDecoder:
    """Decodes the frames of one connection with a packet class."""

    __slots__ = ("_max_attachments", "_packet_class", "_pending")

    def __init__(self, packet_class: Any, max_attachments: int) -> None:
        self._packet_class = packet_class
        self._max_attachments = max_attachments
        self._pending: Any = None

    def decode(self, frame: str | bytes) -> Packet | None:
        """Return the packet that this frame completes, or ``None`` while attachments are missing."""
        try:
            return self._decode(frame)
        except DecodeError:
            raise
        except Exception as error:  # noqa: BLE001 - a packet class raises KeyError, TypeError … besides ValueError
            raise DecodeError(f"invalid packet: {error!r}") from None

    def _decode(self, frame: str | bytes) -> Packet | None:
        found = self._pending
        if found is not None:
            if isinstance(frame, str):
                raise DecodeError("a text frame where an attachment was expected")
            if not found.add_attachment(frame):
                return None
            self._pending = None
            return self._check(found)
        if not frame:
            raise DecodeError("an empty frame")
        attached = self._packet_class.uses_binary_events
        if attached and not isinstance(frame, str):
            raise DecodeError("a binary frame that belongs to no packet")
        found = self._packet_class(encoded_packet=frame)
        count = found.attachment_count
        if count:
            if found.packet_type not in _BINARY:
                raise DecodeError("attachments where there can be none")
            if count > self._max_attachments:
                raise TooManyAttachments(f"more than {self._max_attachments} attachments (Limits.max_attachments)")
            self._pending = found
            return None
        return self._check(found)

    def _check(self, found: Any) -> Packet:
        """Make a decoded packet one of ours, if it is one that a client may send."""
        kind, nsp, id = found.packet_type, found.namespace, found.id
        if type(kind) is not int or kind not in _TYPES:
            raise DecodeError("unknown packet type")
        if nsp is None:
            nsp = "/"
        elif type(nsp) is not str or not nsp.startswith("/"):
            raise DecodeError("illegal namespace")
        if id is not None and (type(id) is not int or not 0 <= id <= MAX_ID):
            raise DecodeError("illegal acknowledgement id")
        kind, data = _BINARY.get(kind, kind), found.data
        if kind == PacketType.CONNECT and data == _UNDEFINED:
            data = None
        return Packet(kind, nsp, check_payload(kind, data, id), id)


class _FiniteJSON:
    """The standard library's json, without NaN and infinities, which no JavaScript client can read."""

    @staticmethod
    def dumps(data: Any, separators: tuple[str, str] | None = None) -> str:
        return json.dumps(data, separators=separators, allow_nan=False)


class StandardSerializer:
    """The serializer of a program that asks for nothing special: JSON, by msgspec where it can.

    msgspec is several times faster than the standard library's json and refuses a few things that the latter takes,
    e.g. subclasses of ``str`` and dicts with ``None`` as a key. Those are encoded in the slow way.
    """

    __slots__ = ("_fast", "_slow")

    def __init__(self, *, max_attachments: int = 10) -> None:
        self._fast = JSONSerializer(max_attachments=max_attachments)
        self._slow = PacketClassSerializer(packet_class_of("default", _FiniteJSON), max_attachments=max_attachments)

    def encode(self, packet: Packet) -> Sequence[str | bytes]:
        """Make one text frame and the attachments, if any. Raises ``EncodeError``."""
        try:
            return self._fast.encode(packet)
        except EncodeError as error:
            try:
                return self._slow.encode(packet)
            except EncodeError:
                raise error from None

    def decoder(self) -> JSONDecoder:
        """Make a decoder for one connection."""
        return self._fast.decoder()
