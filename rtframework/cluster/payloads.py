"""JSON and MessagePack between servers: plain values, and errors of one kind only."""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Callable
from typing import Any, Final, NoReturn

import msgspec

from ..exceptions import DecodeError, EncodeError

BYTES: Final = (bytes, bytearray, memoryview)

_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)

_MISTAKES: Final = (msgspec.MsgspecError, ValueError, TypeError, RecursionError, OverflowError)
_MOST_VALUES: Final = 50_000_000
"""Values of a message; one with more contains itself, and would be walked through without end."""

_SURROGATE: Final = re.compile(rb"\\u[dD][89abAB]|\\u[dD][c-fC-F]")


def to_plain(value: Any, enc_hook: Callable[[Any], Any] | None = None) -> Any:
    """Turn arguments of an event into JSON's own types and ``bytes``; a ``datetime`` becomes its ISO string.

    A ``datetime`` is a string for every client, with and without bytes beside it. Raises ``EncodeError``.
    """
    try:
        return msgspec.to_builtins(value, builtin_types=BYTES, str_keys=True, enc_hook=enc_hook)
    except _MISTAKES as error:
        raise EncodeError(f"cannot be sent to other servers: {error}") from error


def to_json(value: Any) -> bytes:
    """Encode plain values as JSON. NaN and infinities become ``null``, as in Node. Raises ``EncodeError``."""
    try:
        return msgspec.json.encode(value)
    except _MISTAKES as error:
        raise EncodeError(f"cannot be sent to other servers: {error}") from error


def to_msgpack(value: Any) -> bytes:
    """Encode plain values as MessagePack. Integers have at most 64 bits. Raises ``EncodeError``."""
    try:
        return msgspec.msgpack.encode(value)
    except OverflowError:
        raise EncodeError("cannot be sent to other servers: an integer of more than 64 bits beside bytes") from None
    except _MISTAKES as error:
        raise EncodeError(f"cannot be sent to other servers: {error}") from error


def holds_bytes(value: Any) -> bool:
    """Tell whether plain values hold bytes at any depth. Raises ``EncodeError`` for values nested without end."""
    stack = [value]
    steps = 0
    while stack:
        each = stack.pop()
        kind = type(each)
        if kind in BYTES:
            return True
        if kind is dict:
            stack.extend(each.values())
        elif kind is list or kind is tuple:
            stack.extend(each)
        elif isinstance(each, msgspec.Struct):
            stack.extend(getattr(each, name) for name in each.__struct_fields__)
        steps += 1
        if steps > _MOST_VALUES:
            raise EncodeError("cannot be sent to other servers: contains itself, or too many values")
    return False


def may_hold_dates(packed: bytes) -> bool:
    """Tell whether MessagePack may hold a ``Date``. Other bytes can look like one."""
    return any(mark in packed for mark in _DATES)


def as_javascript(value: Any) -> Any:
    """Return plain values as ``JSON.stringify`` writes them: ``None`` for NaN, the text of a ``datetime``."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, dict):
        return {key: as_javascript(each) for key, each in value.items()}
    if isinstance(value, list):
        return [as_javascript(each) for each in value]
    return value


_DATES: Final = (b"\xd6\xff", b"\xd7\xff", b"\xc7\x0c\xff", b"\xd7\x00")
"""Beginnings of a ``Date``: three forms of the timestamp, and that of older versions of notepack.io."""


class JSONReader:
    """Decoder of JSON of one type. The only error is ``DecodeError``."""

    __slots__ = ("_decode", "type")

    def __init__(self, type: Any = Any) -> None:
        self.type = type
        self._decode = msgspec.json.Decoder(type).decode

    def __call__(self, text: bytes | str) -> Any:
        """Decode. Halves of surrogate pairs, which JSON.stringify escapes, become U+FFFD."""
        try:
            return self._decode(text)
        except _MISTAKES as error:
            mended = _mend(text.encode("utf-8", "replace") if isinstance(text, str) else text)
            if mended is None:
                raise DecodeError(f"invalid message of another server: {error}") from None
        try:
            return self._decode(mended)
        except _MISTAKES as error:
            raise DecodeError(f"invalid message of another server: {error}") from None


class MsgpackReader:
    """Decoder of MessagePack of one type, of @msgpack/msgpack and of notepack.io. The only error is ``DecodeError``."""

    __slots__ = ("_decode", "type")

    def __init__(self, type: Any = Any) -> None:
        self.type = type
        self._decode = msgspec.msgpack.Decoder(type, ext_hook=_extension).decode

    def __call__(self, data: bytes | memoryview) -> Any:
        """Decode. ``undefined`` becomes ``None``, a ``Date`` a ``datetime`` in UTC."""
        try:
            return self._decode(data)
        except _MISTAKES as error:
            raise DecodeError(f"invalid message of another server: {error}") from None


def _extension(code: int, data: memoryview) -> Any:
    """Decode an extension of notepack.io: ``undefined``, ``Date`` (milliseconds) or ``ArrayBuffer``, told by length.

    An ArrayBuffer of 1 or 8 bytes is taken for one of the others; Node's ``Buffer`` is no extension.
    """
    if code != 0:
        raise DecodeError(f"an extension of unknown type {code}")
    if len(data) == 1:
        return None
    if len(data) != 8:
        return bytes(data)
    try:
        return _EPOCH + datetime.timedelta(milliseconds=int.from_bytes(data, "big", signed=True))
    except OverflowError:
        raise DecodeError("a Date outside of the years 1 to 9999") from None


def _mend(text: bytes) -> bytes | None:
    """Replace halves of surrogate pairs; ``None`` if there is nothing to mend."""
    if not _SURROGATE.search(text):
        return None
    try:
        value = json.loads(text, parse_constant=_refuse)
        whole = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return whole.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
    except (ValueError, RecursionError):
        return None


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)
