"""Content codings that a client accepts, and those of a body (RFC 9110, 12.5.3 and 8.4)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aiohttp import web

_QUALITY: Final = re.compile(r"[;\s]q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*(?:;|$)")


def choose_coding(accept_encoding: Iterable[str], ours: Sequence[str]) -> str | None:
    """Choose the coding that the client prefers; among equals the first of ours. ``None``: send as it is.

    ``accept_encoding``: the lines of the header. A coding that is not named is not accepted, unless by ``*``; ``q=0``
    refuses one.
    """
    weights: dict[str, float] = {}
    for word in (word for line in accept_encoding for word in line.lower().split(",")):
        coding, semicolon, parameters = word.partition(";")
        quality = _QUALITY.search(semicolon + parameters)
        weights[coding.strip()] = 1.0 if quality is None else float(quality[1])
    best, most = None, 0.0
    for coding in ours:
        weight = weights.get(coding, weights.get("*", 0.0))
        if weight > most:
            best, most = coding, weight
    return best


def is_coded(request: web.Request) -> bool:
    """Return whether the body is compressed (RFC 9110, 8.4). Reading it would inflate it, a thousandfold if need be."""
    codings = ",".join(request.headers.getall("Content-Encoding", ())).lower().split(",")
    return any(coding.strip() not in ("", "identity") for coding in codings)
