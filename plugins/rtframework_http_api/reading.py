"""Requests read: the body and the query, bounded, and checked against a struct."""

from __future__ import annotations

import asyncio
import difflib
import re
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web

from .problems import Problem

T = TypeVar("T", bound=msgspec.Struct)

BODY_TIMEOUT: Final = 30.0
"""Seconds for the body of a request."""

_JSON_TYPE: Final = re.compile(r"application/(?:[\w.-]+\+)?json", re.IGNORECASE)
_AT: Final = re.compile(r"(?P<what>.*) - at (?:`key` in )?`(?P<path>\$[^`]*)`", re.DOTALL)
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)
_LONGEST: Final = 100
"""Characters of a caller's text that are told back."""


async def read_body(request: web.Request, most: int) -> bytes:
    """Read the body of a request, as bytes of JSON; empty without one. Raises :class:`Problem`.

    ``most``: bytes that it may have, inflated. Its media type is checked before it is read.
    """
    if not request.body_exists:
        return b""
    length = request.content_length
    if length is not None and length > most:
        raise _too_large(most)
    given = request.headers.get("Content-Type", "").partition(";")[0].strip()
    if length != 0 and not _JSON_TYPE.fullmatch(given):
        shown = repr(given[:_LONGEST]) if given else "none"
        hint = "write -H 'Content-Type: application/json' with curl, which says something else by itself"
        raise Problem(
            "unsupported_media_type",
            f"the Content-Type is application/json, not {shown}: {hint}",
            headers={"Accept-Post": "application/json"},
        )
    charset = (request.charset or "utf-8").lower()
    if charset not in ("utf-8", "utf8", "us-ascii"):
        raise Problem("unsupported_media_type", f"JSON is in UTF-8 (RFC 8259, 8.1), not in {charset[:_LONGEST]!r}")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            while chunk := await request.content.readany():
                body += chunk
                if len(body) > most:
                    raise _too_large(most)
    except TimeoutError:
        raise Problem("body_timeout", f"the body has not arrived within {BODY_TIMEOUT:g} seconds") from None
    except (web.RequestPayloadError, ConnectionError):
        detail = "the body cannot be read: it has ended early, or is not in the Content-Encoding that is declared"
        raise Problem("invalid_json", detail) from None
    return bytes(body)


def decode_body(body: bytes, kind: type[T]) -> T:
    """Decode a body, strictly; without one, ``{}``. Raises :class:`Problem`."""
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise _misfit("invalid_body", error, kind) from None
    except (ValueError, RecursionError) as error:
        detail = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Problem("invalid_json", f"the body is no JSON: {detail}") from None


def decode_query(request: web.Request, kind: type[T]) -> T:
    """Decode the parameters of the query. Raises :class:`Problem`."""
    query = request.query
    for name in query:
        if len(query.getall(name)) > 1:
            raise Problem("invalid_query", f"the parameter {name[:_LONGEST]!r} is given twice", path=f"$.{name}")
    try:
        return msgspec.convert(dict(query), kind, strict=False)
    except msgspec.ValidationError as error:
        raise _misfit("invalid_query", error, kind) from None


def _too_large(most: int) -> Problem:
    return Problem("body_too_large", f"a body has at most {most:,} bytes (max_body)", max_body=most)


def _misfit(code: str, error: msgspec.ValidationError, kind: type[Any]) -> Problem:
    """Say what does not fit, where, and what was meant."""
    text, path = str(error), "$"
    found = _AT.fullmatch(text)
    if found is not None:
        text, path = found["what"], found["path"]
    unknown = _UNKNOWN.fullmatch(text)
    if unknown is None:
        return Problem(code, text[: 4 * _LONGEST] if path == "$" else f"{path}: {text[: 4 * _LONGEST]}", path=path)
    name = unknown["name"]
    known = kind.__struct_encode_fields__
    close = difflib.get_close_matches(name[:_LONGEST], known, 1)
    meant = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}" if known else "there are none"
    what = "field" if code == "invalid_body" else "parameter"
    return Problem(code, f"there is no {what} {name[:_LONGEST]!r}: {meant}", path=path)
