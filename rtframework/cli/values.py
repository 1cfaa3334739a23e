"""Parsing values of a command line, and showing values in a terminal."""

from __future__ import annotations

import argparse
import base64
import datetime
import json
import math
import sys
from pathlib import Path
from typing import Any, Final, NoReturn

from ..packets import number_of
from ..types import RESERVED_EVENTS
from .errors import Exit, Failure

_CONTROLS: Final = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029)}
"""Escapes for characters that JSON allows unescaped, but that a terminal or a reader of lines takes for controls."""


def parse_event(text: str) -> str | int:
    """Parse an event's name: ``1`` is a number, ``"1"`` in quotes and ``one`` are strings.

    Raises ``Failure`` for a name that no event can have.
    """
    if not text:
        raise Failure("an event needs a name", Exit.USAGE)
    if text in RESERVED_EVENTS:
        raise Failure(f'"{text}" can be no event: the name is reserved', Exit.USAGE)
    if text[0] == text[-1] == '"' and number_of(text[1:-1]) is not None:
        return text[1:-1]
    number = number_of(text)
    return text if number is None else number


def parse_value(text: str) -> Any:
    """Parse JSON; text that is not JSON is a string: ``1`` is a number, ``"1"`` and ``one`` are strings."""
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError):
        return text


def read_file(text: str) -> bytes:
    """Read the file of ``@file``, or stdin for ``@-``. Raises ``Failure``."""
    name = text.removeprefix("@")
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise Failure(f"{name} cannot be read: {error.strerror}", Exit.USAGE) from None


def parse_object(text: str, option: str) -> dict[str, Any]:
    """Parse a JSON object, or ``@file`` that contains one. Raises ``Failure``."""
    content = read_file(text).decode("utf-8", "replace") if text.startswith("@") else text
    try:
        found = json.loads(content, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise Failure(f'{option} is no JSON ({error}): write it as \'{{"token": "…"}}\' or @file', Exit.USAGE) from None
    if not isinstance(found, dict):
        raise Failure(f'{option} has to be a JSON object, as in \'{{"token": "…"}}\'', Exit.USAGE)
    return found


def parse_seconds(text: str) -> float:
    """Parse a number of seconds, 0 or more, for argparse."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return seconds


def show(value: Any, *, exact: bool = False) -> str:
    """Write a value as one line of JSON; binary data as their size, or with ``exact`` as ``{"$base64": "…"}``."""
    return json.dumps(_plain(value, exact), ensure_ascii=False, separators=(", ", ": ")).translate(_CONTROLS)


def show_text(text: str) -> str:
    """Write a text from outside within a line: unchanged, or as JSON if it is not printable."""
    return text if text.isprintable() else show(text)


def _plain(value: Any, exact: bool) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        if exact:
            return {"$base64": base64.b64encode(value).decode("ascii")}
        return f"<{len(value)} byte{'s' * (len(value) != 1)}>"
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(key): _plain(each, exact) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, exact) for each in value]
    return value


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is too large")
    return number


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
