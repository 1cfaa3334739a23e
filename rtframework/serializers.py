"""The JSON serializer: the Socket.IO protocol's own packet encoding (v5, section "Packet encoding")."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from .exceptions import DecodeError, EncodeError
from .handlers.validation import plainly
from .packets import MAX_ID, TooManyAttachments, check_attachments, check_event, check_payload
from .types import RESERVED_EVENTS, Packet, PacketType

_EVENT: Final = int(PacketType.EVENT)
_ACK: Final = int(PacketType.ACK)
_BINARY_EVENT: Final = int(PacketType.BINARY_EVENT)
_BINARY_ACK: Final = int(PacketType.BINARY_ACK)

_BYTES: Final = (bytes, bytearray, memoryview)
_PLAIN: Final = frozenset({str, int, bool, type(None)})
_MAX_WALK: Final = 100
_HEADS: Final = {int(kind): str(int(kind)) for kind in PacketType}

_encode_json: Final = msgspec.json.Encoder().encode
_decode_json: Final = msgspec.json.Decoder().decode
# Escaped surrogates: a pair, or one alone. An even number of backslashes are escaped ones, and what follows is text.
_SURROGATES: Final = re.compile(
    r"(?<!\\)(\\++)u(?:[dD][89abAB][0-9a-fA-F]{2}(\\u[dD][c-fC-F][0-9a-fA-F]{2})?|[dD][c-fC-F][0-9a-fA-F]{2})"
)


class JSONSerializer:
    """Serializer of JSON packets with binary attachments, the default of all Socket.IO clients.

    Besides JSON's own types it sends the types that msgspec supports: Structs, dataclasses, attrs classes, ``datetime``
    (ISO 8601), ``UUID``, ``Decimal`` (as a string), enums, sets; and models of pydantic, by alias. ``bytes``,
    ``bytearray`` and ``memoryview`` are sent as binary attachments at any depth. NaN and infinities are refused,
    because JSON has none.

    ``enc_hook(obj)`` turns an object of another type into one of these. ``max_attachments``: attachments that a client
    may announce for one packet; the default is Node's.

    Example::

        io = Server(serializer=JSONSerializer(enc_hook=str))
    """

    __slots__ = ("_enc_hook", "_max_attachments")

    def __init__(self, *, enc_hook: Callable[[Any], Any] | None = None, max_attachments: int = 10) -> None:
        self._enc_hook = plainly(enc_hook)
        self._max_attachments = max_attachments

    def decoder(self) -> JSONDecoder:
        """Return a new decoder, for one connection."""
        return JSONDecoder(self._max_attachments)

    def encode(self, packet: Packet) -> Sequence[str | bytes]:
        """Encode a packet as one text frame, followed by its attachments. Raises :class:`EncodeError`."""
        data = packet.data
        attachments: list[bytes] = []
        if data is None:
            body = ""
        elif _is_plain(data):
            try:
                body = _encode_json(data).decode()
            except (TypeError, ValueError, RecursionError) as error:
                raise EncodeError(f"cannot be sent as JSON: {error}") from error
        else:
            body = self._encode_any(data, attachments)
        kind = packet.type
        head = _HEADS.get(kind) or str(int(kind))
        if attachments:
            check_attachments(body, len(attachments), self._max_attachments)
            if kind == _EVENT:
                head = f"{_BINARY_EVENT}{len(attachments)}-"
            elif kind == _ACK:
                head = f"{_BINARY_ACK}{len(attachments)}-"
            else:
                raise EncodeError(f"a {PacketType(kind).name} packet cannot carry bytes")
        if packet.nsp != "/":
            head = f"{head}{packet.nsp},"
        if packet.id is not None:
            head = f"{head}{packet.id}"
        return [head + body, *attachments]

    def text(self, data: Any) -> str | None:
        """Return data as JSON, ``None`` if there are bytes in them. Raises as :meth:`encode` does."""
        if _is_plain(data):
            try:
                return _encode_json(data).decode()
            except (TypeError, ValueError, RecursionError) as error:
                raise EncodeError(f"cannot be sent as JSON: {error}") from error
        attachments: list[bytes] = []
        body = self._encode_any(data, attachments)
        if not attachments:
            return body
        check_attachments(body, len(attachments), self._max_attachments)
        return None

    def plain(self, data: Any) -> Any:
        """Turn data into JSON's own types and ``bytes``, as :meth:`encode` does. Raises :class:`EncodeError`."""
        try:
            return self._to_builtins(data)
        except RecursionError as error:
            raise EncodeError("cannot be sent: nested too deeply, or contains itself") from error
        except (TypeError, ValueError, OverflowError) as error:
            raise EncodeError(f"cannot be sent: {error}") from error

    def _to_builtins(self, data: Any) -> Any:
        return msgspec.to_builtins(data, builtin_types=_BYTES, str_keys=True, enc_hook=self._enc_hook)

    def _encode_any(self, data: Any, attachments: list[bytes]) -> str:
        """Encode data of any type, appending binary values to ``attachments``; both passes are C code."""

        def attach(value: Any) -> dict[str, Any]:
            if isinstance(value, _BYTES):
                attachments.append(bytes(value))
                return {"_placeholder": True, "num": len(attachments) - 1}
            raise TypeError(f"objects of type {type(value).__name__} are unsupported")

        try:
            builtins = self._to_builtins(data)
            body = json.JSONEncoder(
                default=attach, allow_nan=False, ensure_ascii=False, separators=(",", ":"), check_circular=False
            ).encode(builtins)
            if not body.isascii():
                body.encode()
        except RecursionError as error:
            raise EncodeError("cannot be sent as JSON: nested too deeply, or contains itself") from error
        except (TypeError, ValueError) as error:
            if "Out of range float" in str(error):
                raise EncodeError("cannot be sent as JSON: NaN and infinities do not exist in JSON") from error
            raise EncodeError(f"cannot be sent as JSON: {error}") from error
        return body


class JSONDecoder:
    """Decodes the frames of one connection; holds a binary packet until its attachments have arrived."""

    __slots__ = ("_attachments", "_body", "_expected", "_max_attachments", "_packet")

    def __init__(self, max_attachments: int = 10) -> None:
        self._max_attachments = max_attachments
        self._packet: Packet | None = None
        self._body = ""
        self._expected = 0
        self._attachments: list[bytes] | None = None

    def decode(self, frame: str | bytes) -> Packet | None:
        """Decode a frame. Return the packet that it completes, ``None`` while attachments are missing.

        Raises :class:`DecodeError`.
        """
        if self._packet is not None:
            return self._attach(frame)
        if not isinstance(frame, str):
            raise DecodeError("a binary frame that belongs to no packet")
        if frame[:1] == "2":  # the most frequent packet by far: an event of the main namespace
            start = frame.find("[", 1, 17)  # at most 15 digits, so no id beyond MAX_ID
            digits = frame[1:start]
            if start == 1 or (start > 0 and digits.isascii() and digits.isdigit()):
                try:
                    data = _decode_json(frame[start:])
                except (ValueError, RecursionError):
                    data = parse_json(frame[start:])
                if type(data) is not list or not data or type(data[0]) is not str or data[0] in RESERVED_EVENTS:
                    check_event(data)  # takes an integer for a name, raises with the reason else
                return Packet(_EVENT, "/", data, int(digits) if digits else None)
        return self._decode_header(frame)

    def _decode_header(self, frame: str) -> Packet | None:
        kind = ord(frame[0]) - 48 if frame else -1
        if not 0 <= kind <= _BINARY_ACK:
            raise DecodeError("unknown packet type")
        at = 1
        attachments = 0
        if kind >= _BINARY_EVENT:
            dash = frame.find("-", 1, 12)
            digits = frame[1:dash]
            if dash < 0 or not _is_number(digits):
                raise DecodeError("illegal number of attachments")
            attachments = int(digits)
            if attachments > self._max_attachments:
                raise TooManyAttachments(f"more than {self._max_attachments} attachments (Limits.max_attachments)")
            at = dash + 1
        nsp = "/"
        if frame[at : at + 1] == "/":
            comma = frame.find(",", at)
            if comma < 0:
                comma = len(frame)
            nsp = frame[at:comma]
            at = comma + 1
        start = at
        end = min(len(frame), at + 17)
        while at < end and "0" <= frame[at] <= "9":
            at += 1
        id = None
        if at > start:
            id = int(frame[start:at])
            if id > MAX_ID:
                raise DecodeError("illegal acknowledgement id")
        body = frame[at:]
        if kind >= _BINARY_EVENT:
            packet = Packet(_EVENT if kind == _BINARY_EVENT else _ACK, nsp, None, id)
            self._body = body
            self._expected = attachments
            self._attachments = []
            if attachments:
                self._packet = packet
                return None
            return self._complete(packet)
        data = parse_json(body) if body else None
        if data is None and kind == _ACK and not body:
            data = []  # Node takes an acknowledgement without a payload for one without arguments
        return Packet(kind, nsp, check_payload(kind, data, id), id)

    def _attach(self, frame: str | bytes) -> Packet | None:
        packet, attachments = self._packet, self._attachments
        assert packet is not None
        assert attachments is not None
        if isinstance(frame, str):
            raise DecodeError("a text frame where an attachment was expected")
        attachments.append(bytes(frame))
        if len(attachments) < self._expected:
            return None
        self._packet = None
        return self._complete(packet)

    def _complete(self, packet: Packet) -> Packet:
        attachments, body = self._attachments or [], self._body
        self._attachments, self._body = None, ""

        def fill(value: dict[str, Any]) -> Any:
            if value.get("_placeholder") is not True:
                return value
            number = value.get("num")
            if type(number) is not int or not 0 <= number < len(attachments):
                raise DecodeError("illegal attachments")
            return attachments[number]

        try:
            data = json.loads(_mend(body), object_hook=fill, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise DecodeError(f"invalid payload: {error}") from None
        packet.data = check_payload(packet.type, data, packet.id)
        return packet


def _is_plain(data: Any) -> bool:
    """Tell whether msgspec alone may encode data: small, and of JSON's own types, without NaN and bytes.

    msgspec would not refuse NaN, and would encode bytes as base64.
    """
    if type(data) is not list or (budget := _MAX_WALK - len(data)) < 0:
        return _is_plain_within(data)
    for value in data:
        kind = type(value)
        if kind in _PLAIN:
            continue
        if kind is not dict:
            return _is_plain_within(data)
        budget -= len(value)  # an object of plain values: by far the most frequent of the others
        if budget < 0:
            return False
        for each in value.values():
            if type(each) not in _PLAIN:
                return _is_plain_within(data)
    return True


def _is_plain_within(data: Any) -> bool:
    """Do the same for data of any depth."""
    walk = [data]
    budget = _MAX_WALK
    for value in walk:  # grows meanwhile
        kind = type(value)
        if kind is dict:
            value = value.values()
        elif kind is not list and kind is not tuple:
            if kind in _PLAIN or (kind is float and math.isfinite(value)):
                continue
            return False
        budget -= len(value)
        if budget < 0:
            return False
        walk += [each for each in value if type(each) not in _PLAIN]
    return True


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _refuse_constant(name: str) -> Any:
    raise DecodeError(f"invalid payload: {name} is no JSON")


def parse_json(body: str) -> Any:
    """Read JSON as clients write it, lone surrogates included. Raises ``DecodeError``."""
    try:
        return _decode_json(body)
    except (ValueError, RecursionError) as error:
        mended = _mend(body)
        if mended is not body:
            try:
                return _decode_json(mended)
            except (ValueError, RecursionError):
                pass
        if "out of range" in str(error):  # as 1e400, which is JSON all the same
            try:
                return json.loads(mended, parse_constant=_refuse_constant)
            except (ValueError, RecursionError):
                pass
        raise DecodeError(f"invalid payload: {error}") from None


def _mend(body: str) -> str:
    """Replace lone surrogates: JSON.stringify escapes half of an emoji, which is not valid Unicode text."""
    if "\\ud" not in body and "\\uD" not in body:
        return body
    return _SURROGATES.sub(_mended, body)


def _mended(match: re.Match[str]) -> str:
    backslashes, low = match.groups()
    if len(backslashes) % 2:
        return match[0] if low is not None else f"{backslashes}ufffd"
    return match[0] if low is None else f"{match[0].removesuffix(low)}\\ufffd"
