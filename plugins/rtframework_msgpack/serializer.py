"""The serializer of MessagePack packets: one binary frame each, as ``socket.io-msgpack-parser`` 3 and notepack.io 2."""

from __future__ import annotations

import datetime
import re
import struct
from collections.abc import Callable
from typing import Any, Final, Literal

import msgpack
import msgspec

from rtframework.exceptions import ConfigurationError, DecodeError, EncodeError
from rtframework.handlers.validation import plainly
from rtframework.packets import MAX_ID, check_payload
from rtframework.types import Packet, PacketType

_CONNECT: Final = int(PacketType.CONNECT)
_CONNECT_ERROR: Final = int(PacketType.CONNECT_ERROR)

_BYTES: Final = (bytes, bytearray, memoryview)
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MILLISECOND: Final = datetime.timedelta(milliseconds=1)
_SKIM_FROM: Final = 512

# An extension of type 0 with 1 byte is undefined, with 8 bytes a Date, but with these heads an ArrayBuffer that long.
_BUFFER_HEADS: Final = {1: b"\xc7\x01\x00", 8: b"\xc7\x08\x00"}
_HEADS: Final = {1: re.compile(rb"\xd4\x00|\xc7\x01\x00"), 8: re.compile(rb"\xd7\x00|\xc7\x08\x00")}

_BINARY_HEADS: Final = (b"\xc4", b"\xc5", b"\xc6")
"""The heads of bin 8, bin 16 and bin 32."""


class MsgpackSerializer:
    """Serializer of MessagePack packets, byte for byte those of ``socket.io-msgpack-parser`` in JavaScript.

    Server and clients must both use it. It sends the types that :class:`~rtframework.JSONSerializer` sends, with these
    differences: ``bytes``, ``bytearray`` and ``memoryview`` are part of the packet, NaN and infinities are allowed,
    integers have at most 64 bits, and ``datetimes`` selects the form of a ``datetime``:

    - ``"date"`` (default): a JS ``Date``, to the millisecond. A ``datetime`` without a time zone is refused, because
      its moment is unknown.
    - ``"iso"``: the string that :class:`~rtframework.JSONSerializer` sends.

    A received JS ``Date`` becomes a ``datetime`` in UTC, ``undefined`` becomes ``None``, ``Buffer`` and
    ``ArrayBuffer`` become ``bytes``. ``enc_hook(obj)`` turns an object of another type into one that can be sent.

    Example::

        io = Server(serializer=MsgpackSerializer())
        # JS: import parser from "socket.io-msgpack-parser"; const socket = io({ parser });
    """

    __slots__ = ("_builtin_types", "_enc_hook")

    def __init__(
        self, *, datetimes: Literal["date", "iso"] = "date", enc_hook: Callable[[Any], Any] | None = None
    ) -> None:
        if datetimes not in ("date", "iso"):
            raise ConfigurationError('datetimes is "date" or "iso"')
        self._builtin_types: tuple[type, ...] = (*_BYTES, datetime.datetime) if datetimes == "date" else _BYTES
        self._enc_hook = plainly(enc_hook)

    def encode(self, packet: Packet) -> list[str | bytes]:
        """Encode a packet as one binary frame.

        Raises :class:`~rtframework.EncodeError`, which names the type that cannot be sent.
        """
        kind = int(packet.type)
        if not _CONNECT <= kind <= _CONNECT_ERROR:
            raise EncodeError(f"cannot be sent as MessagePack: there is no packet type {kind}")
        message: dict[str, Any] = {"type": kind}
        try:
            if packet.data is not None:
                message["data"] = msgspec.to_builtins(
                    packet.data, builtin_types=self._builtin_types, str_keys=True, enc_hook=self._convert
                )
            message["nsp"] = packet.nsp
            if packet.id is not None:
                message["id"] = packet.id
            return [msgpack.packb(message, default=_pack_other)]
        except RecursionError:
            raise EncodeError("cannot be sent as MessagePack: nested too deeply, or contains itself") from None
        except OverflowError:
            raise EncodeError("cannot be sent as MessagePack: an integer of more than 64 bits") from None
        except (TypeError, ValueError, BufferError, NotImplementedError) as error:
            raise EncodeError(f"cannot be sent as MessagePack: {error}") from error

    def decoder(self) -> MsgpackSerializer:
        """Return the serializer itself: a packet is one frame, so no state is kept between frames."""
        return self

    def decode(self, frame: str | bytes) -> Packet:
        """Decode a frame into a packet. Raises :class:`~rtframework.DecodeError` for an invalid one."""
        if not isinstance(frame, bytes):
            raise DecodeError("a text frame, where packets are MessagePack")
        return _packet(_unpack(frame))

    def _convert(self, value: Any) -> Any:
        """Convert types that msgspec does not support: subclasses of ``datetime``, and what the hook takes."""
        if isinstance(value, datetime.datetime):
            return datetime.datetime.combine(value.date(), value.timetz())
        return self._enc_hook(value)


def _pack_other(value: Any) -> msgpack.ExtType:
    if isinstance(value, int):
        raise OverflowError  # msgpack also calls this for integers of more than 64 bits
    if not isinstance(value, datetime.datetime):
        raise TypeError(f"objects of type {type(value).__name__} are unsupported")
    if value.utcoffset() is None:
        raise ValueError('a datetime without time zone (give it one, or use MsgpackSerializer(datetimes="iso"))')
    return msgpack.ExtType(0, struct.pack(">q", (value - _EPOCH) // _MILLISECOND))


def _unpack(frame: bytes) -> Any:
    ambiguous = any(head in frame for head in _BUFFER_HEADS.values())
    extension = _exact_extension(frame) if ambiguous else _extension
    try:
        if len(frame) > _SKIM_FROM:
            # msgpack allocates as many items as a list announces: nested lists that announce too many would take a
            # thousand times the memory of the frame. This check reads the frame without making objects.
            msgspec.msgpack.decode(frame, type=msgspec.Raw)
        # Keys that are bytes need one of these heads somewhere: frames without binary data are not looked through.
        hook = _check_keys if any(head in frame for head in _BINARY_HEADS) else None
        return msgpack.unpackb(frame, ext_hook=extension, object_hook=hook, strict_map_key=True, timestamp=3)
    except DecodeError:
        raise
    except (
        ValueError,
        TypeError,
        OverflowError,
        RecursionError,
        msgpack.UnpackException,
        msgspec.DecodeError,
    ) as error:
        raise DecodeError(f"invalid MessagePack: {str(error) or type(error).__name__}") from None


def _check_keys(found: dict[Any, Any]) -> dict[Any, Any]:
    """Refuse bytes as keys, which msgpack lets through and no JavaScript client sends."""
    if found and bytes in map(type, found):  # the fastest form: a message may be of 300,000 maps
        raise DecodeError("invalid MessagePack: a map with bytes for keys")
    return found


def _extension(code: int, data: bytes) -> Any:
    """Decode an extension of notepack.io; all are of type 0 and differ by length alone."""
    if code != 0:
        raise DecodeError(f"an extension of unknown type {code}")
    if len(data) == 1:
        return None
    if len(data) == 8:
        return _date(data)
    return data


def _exact_extension(frame: bytes) -> Callable[[int, bytes], Any]:
    """Make an ``_extension`` for a frame that may hold an ArrayBuffer of 1 or 8 bytes.

    Such an ArrayBuffer differs from ``undefined`` and ``Date`` by its head, which msgpack does not pass on. But msgpack
    calls in the order of the frame, so the head is the next one that is followed by the extension's data. Only a
    string or buffer before it that contains the same head and data leads to a wrong result.
    """
    heads = {length: pattern.finditer(frame) for length, pattern in _HEADS.items()}
    end = 0

    def extension(code: int, data: bytes) -> Any:
        nonlocal end
        if code == 0 and len(data) in heads:
            for head in heads[len(data)]:
                if head.start() >= end and frame.startswith(data, head.end()):
                    end = head.end() + len(data)
                    if head[0] == _BUFFER_HEADS[len(data)]:
                        return data
                    break
        return _extension(code, data)

    return extension


def _date(data: bytes) -> datetime.datetime:
    (milliseconds,) = struct.unpack(">q", data)
    try:
        return _EPOCH + datetime.timedelta(milliseconds=milliseconds)
    except OverflowError:
        raise DecodeError("a Date outside the years 1 to 9999") from None


def _packet(message: Any) -> Packet:
    """Make a packet of a message, with the checks of ``socket.io-msgpack-parser``, and of the event's name."""
    if type(message) is not dict or any(type(key) is not str for key in message):
        raise DecodeError("invalid packet: not a map with names for keys")
    kind = message.get("type")
    if type(kind) is not int or not _CONNECT <= kind <= _CONNECT_ERROR:
        raise DecodeError("invalid packet type")
    nsp = message.get("nsp")
    if type(nsp) is not str:
        raise DecodeError("invalid namespace")
    id = message.get("id")
    if id is not None and (type(id) is not int or not 0 <= id <= MAX_ID):
        raise DecodeError("invalid packet id")
    # For a packet without data, Python clients write nil, JS clients undefined or no key.
    data = message.get("data")
    return Packet(kind, nsp, check_payload(kind, data, id), id)
