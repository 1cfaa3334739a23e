"""Answers of handlers as bytes, for clients that ask for one again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ..exceptions import DecodeError, EncodeError, EventError

ANSWER: Final = b"a"
"""First byte of an answer: a list of the arguments of the acknowledgement follows, as MessagePack."""
ERROR: Final = b"e"
"""First byte of an ``EventError``: its code, message and details follow, as MessagePack."""

_MISTAKES: Final = (msgspec.MsgspecError, ValueError, TypeError, RecursionError, OverflowError)


def encode_answer(args: Sequence[Any]) -> bytes:
    """Encode the arguments of an acknowledgement, which are plain values. Raises ``EncodeError``."""
    return ANSWER + _encode(list(args))


def encode_error(error: EventError, details: Any) -> bytes:
    """Encode an error; ``details``: its details as plain values. Raises ``EncodeError``."""
    return ERROR + _encode([error.code, error.message, details])


def is_answer(kept: bytes) -> bool:
    """Tell whether bytes are an answer or an error."""
    return kept[:1] in (ANSWER, ERROR)


def read_answer(kept: bytes) -> Any:
    """Return what a handler returns for the same acknowledgement. Raises its ``EventError``, or ``DecodeError``."""
    try:
        found = msgspec.msgpack.decode(kept[1:])
        if kept[:1] == ERROR:
            code, message, details = found
            error = EventError(str(code), str(message), details)
        elif not isinstance(found, list):
            raise TypeError("no list")
        else:
            single = found[0] if len(found) == 1 else None
            if single is not None:
                return single
            return tuple(found) if found else None
    except _MISTAKES as mistake:
        raise DecodeError(f"invalid answer in the store: {mistake}") from None
    raise error


def _encode(value: Any) -> bytes:
    try:
        return msgspec.msgpack.encode(value)
    except _MISTAKES as error:
        raise EncodeError(f"cannot be kept: {error}") from error
