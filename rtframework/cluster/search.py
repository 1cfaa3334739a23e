"""Looking for messages in the stream by a program that does not read it: were they added before a connection broke?"""

from __future__ import annotations

from collections.abc import Container, Generator, Sequence
from typing import Any

from .stream_ids import parse_id

_LATEST = "+"


def find(wanted: Container[bytes], count: int, since: str) -> Generator[str, Sequence[Any], dict[bytes, str]]:
    """Look for ``count`` messages that were added after an entry, from the stream's end on; a state machine.

    It yields an id, gets the entries from there backwards (XREVRANGE) in lists of at least two, and returns the ids of
    the entries found, by ``m``.
    """
    first = parse_id(since)
    found: dict[bytes, str] = {}
    at = _LATEST
    while len(found) < count:
        page = yield at
        entries = [(raw.decode(), fields) for raw, fields in page]
        if not entries or entries[-1][0] == at:
            break
        for id, fields in entries:
            if parse_id(id) <= first:
                return found
            m = _m_of(fields)
            if m is not None and m in wanted:
                found[m] = id
        at = entries[-1][0]
    return found


def _m_of(fields: Sequence[bytes]) -> bytes | None:
    for name, value in zip(fields[::2], fields[1::2], strict=False):
        if name == b"m":
            return value
    return None
