"""Bytes in JSON, both ways: an object with the key ``$base64``."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from rtframework.handlers.validation import BYTES, plainly

from .problems import Problem

MARK: Final = "$base64"


def to_bytes(value: Any, path: str = "$.args") -> Any:
    """Replace each ``{"$base64": text}`` in a value of JSON by its bytes. Raises :class:`Problem` for another text."""
    if isinstance(value, list):
        return [to_bytes(each, f"{path}[{number}]") for number, each in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if len(value) == 1 and MARK in value:
        text = value[MARK]
        try:
            return base64.b64decode(text, validate=True)
        except (TypeError, ValueError, binascii.Error):
            message = f"{path}: {MARK} has a text in Base64 (RFC 4648, 4)"
            raise Problem("invalid_body", message, path=path) from None
    return {key: to_bytes(each, f"{path}.{key[:100]}") for key, each in value.items()}


def to_json(value: Any) -> bytes:
    """Encode a value as JSON: bytes as ``{"$base64": text}``, what JSON does not have by the name of its class."""
    plain = msgspec.to_builtins(value, builtin_types=BYTES, str_keys=True, enc_hook=_known)
    return msgspec.json.encode(_mark(plain))


_hook: Final = plainly(None)


def _known(value: Any) -> Any:
    try:
        return _hook(value)
    except TypeError:
        return f"<{type(value).__name__}>"


def _mark(value: Any) -> Any:
    if isinstance(value, BYTES):
        return {MARK: base64.b64encode(value).decode()}
    if isinstance(value, Mapping):
        return {str(key): _mark(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_mark(each) for each in value]
    return value
