"""Ids of a stream's entries: ``<milliseconds>-<sequence>``, positions in it, and the offsets that clients keep."""

from __future__ import annotations

import re
from typing import Final

from ..exceptions import DecodeError

BEGINNING: Final = "0-0"
"""The position before the first entry."""

_ID: Final = re.compile(r"([0-9]{1,20})-([0-9]{1,20})", re.ASCII)
_LARGEST: Final = 2**64 - 1


def parse_id(id: str) -> tuple[int, int]:
    """Return the two numbers of an id, by which ids are compared. Raises ``DecodeError``."""
    match = _ID.fullmatch(id)
    if match is None:
        raise DecodeError("invalid id of an entry")
    at, sequence = int(match[1]), int(match[2])
    if at > _LARGEST or sequence > _LARGEST:
        raise DecodeError("invalid id of an entry: a number of more than 64 bits")
    return at, sequence


def is_id(offset: str) -> bool:
    """Tell whether an offset that a client sent is an id."""
    try:
        parse_id(offset)
    except DecodeError:
        return False
    return True


def next_id(id: str) -> str:
    """Return the smallest id after this one, for ranges in servers that know no exclusive ones (Redis before 6.2)."""
    at, sequence = parse_id(id)
    return f"{at}-{sequence + 1}" if sequence < _LARGEST else f"{at + 1}-0"
