"""Bytes in JSON: placeholders in their places, and the bytes beside it, as Socket.IO has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ..exceptions import DecodeError

_DEPTH: Final = 64
"""Levels at which placeholders are looked for in a client's message."""


def cut(attachments: bytes, lengths: Sequence[int]) -> list[bytes]:
    """Cut attachments apart. Raises ``DecodeError``."""
    if min(lengths, default=0) < 0 or sum(lengths) != len(attachments):
        raise DecodeError("illegal attachments")
    parts, at = [], 0
    for length in lengths:
        parts.append(attachments[at : at + length])
        at += length
    return parts


def fill(value: Any, parts: list[bytes], depth: int = _DEPTH) -> Any:
    """Replace the placeholders in a value, in place."""
    if not depth:
        return value
    if type(value) is list:
        for index, each in enumerate(value):
            if type(each) in (dict, list):
                value[index] = fill(each, parts, depth - 1)
        return value
    if value.get("_placeholder") is True:
        number = value.get("num")
        if type(number) is not int or not 0 <= number < len(parts):
            raise DecodeError("illegal attachments")
        return parts[number]
    for key, each in value.items():
        if type(each) in (dict, list):
            value[key] = fill(each, parts, depth - 1)
    return value


def emptied(value: Any, attachments: list[bytes]) -> Any:
    """Copy a value, with placeholders for its bytes, which are added to the attachments."""
    if isinstance(value, bytes | bytearray | memoryview):
        attachments.append(bytes(value))
        return {"_placeholder": True, "num": len(attachments) - 1}
    if isinstance(value, list | tuple):
        return [emptied(each, attachments) for each in value]
    if isinstance(value, dict):
        return {key: emptied(each, attachments) for key, each in value.items()}
    return value
