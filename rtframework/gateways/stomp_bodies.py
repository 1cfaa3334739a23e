"""The bodies of STOMP frames: the arguments of an event, by their content type."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..exceptions import DecodeError
from ..serializers import parse_json
from .attachments import cut, emptied, fill
from .stomp_frames import StompError

if TYPE_CHECKING:
    from .packets import Outgoing

JSON: Final = "application/json"
TEXT: Final = "text/plain;charset=UTF-8"
BYTES: Final = "application/octet-stream"

_COUNT: Final = re.compile(r"[0-9]{1,6}\Z", re.ASCII)
_LENGTHS: Final = re.compile(r"[0-9]{1,12}(?:,[0-9]{1,12})*\Z", re.ASCII)
_CHARSETS: Final = {"utf-8": "utf-8", "utf8": "utf-8", "us-ascii": "ascii", "iso-8859-1": "latin-1"}

_encode: Final = msgspec.json.Encoder().encode


class Body:
    """A body, and the headers that say what it is."""

    __slots__ = ("content", "headers")

    def __init__(self, headers: list[tuple[str, str]], content: str | bytes) -> None:
        self.headers = headers
        self.content = content


def read_args(headers: Mapping[str, str], body: bytes, *, max_attachments: int) -> list[Any]:
    """Return the arguments that a body is. Raises ``StompError``.

    One argument, unless the header ``args`` says that it is an array of so many. JSON, text or bytes by its
    ``content-type``; without one it is JSON if it can be read as JSON, else text, or bytes if it is no UTF-8.
    """
    kind, charset = _kind_of(headers.get("content-type"))
    lengths = headers.get("attachments")
    if lengths is not None:
        value = _filled(body, lengths, max_attachments)
    elif not body and kind in ("", JSON):
        return []
    elif kind == "":
        value = _guessed(body)
    elif kind == JSON:
        value = _json(body, "the body is no JSON, as its content-type says")
    elif kind == "text":
        try:
            value = body.decode(charset)
        except UnicodeDecodeError:
            raise StompError("the body is no text of its charset") from None
    else:
        value = body
    count = headers.get("args")
    if count is None:
        return [value]
    if _COUNT.match(count) is None or not isinstance(value, list) or len(value) != int(count):
        raise StompError("the header args is the length of the array that the body is")
    return value


def body_of(outgoing: Outgoing, args: list[Any], *, all_of_it: bool = True) -> Body:
    """Make the body of arguments; ``all_of_it``: they are all that the packet has."""
    if not args:
        return Body([("args", "0")], "")
    if len(args) == 1:
        (value,) = args
        if isinstance(value, str):
            return Body([("content-type", TEXT)], value)
        if isinstance(value, bytes | bytearray | memoryview):
            return Body([("content-type", BYTES)], bytes(value))
        headers = [("content-type", JSON)]
    else:
        headers = [("content-type", JSON), ("args", str(len(args)))]
    if outgoing.text is not None and all_of_it:
        text = _spliced(outgoing)
        if text is not None:
            return Body(headers, text if len(args) > 1 else text[1:-1])
    attachments: list[bytes] = []
    plain = emptied(args if len(args) > 1 else args[0], attachments)
    encoded = _encode(plain)
    if not attachments:
        return Body(headers, encoded.decode())
    headers.append(("attachments", ",".join(str(len(each)) for each in attachments)))
    return Body(headers, b"".join((encoded, *attachments)))


def _spliced(outgoing: Outgoing) -> str | None:
    """Return the arguments as the JSON that the serializer has made."""
    if outgoing.type == 3:
        return outgoing.text
    parts = outgoing.name_and_args()
    return None if parts is None else parts[1]


def _kind_of(content_type: str | None) -> tuple[str, str]:
    """Return what a content type means, and the name of its charset for Python. Raises ``StompError``."""
    if not content_type:
        return "", ""
    kind, _, parameters = content_type.partition(";")
    kind = kind.strip().lower()
    if kind == JSON or kind.endswith("+json"):
        return JSON, ""
    if not kind.startswith("text/"):
        return kind or BYTES, ""
    charset = "utf-8"
    for each in parameters.split(";"):
        name, _, value = each.partition("=")
        if name.strip().lower() == "charset":
            charset = value.strip().strip('"').lower()
    if charset not in _CHARSETS:
        raise StompError("a charset that is not known: text is UTF-8")
    return "text", _CHARSETS[charset]


def _json(body: bytes, otherwise: str) -> Any:
    try:
        return parse_json(body.decode())
    except (DecodeError, ValueError, RecursionError):
        raise StompError(otherwise) from None


def _guessed(body: bytes) -> Any:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return body
    try:
        return parse_json(text)
    except (DecodeError, ValueError, RecursionError):
        return text


def _filled(body: bytes, lengths: str, most: int) -> Any:
    """Return JSON with the attachments behind it in their places."""
    if _LENGTHS.match(lengths) is None:
        raise StompError("the header attachments has their lengths, with commas in between")
    sizes = [int(each) for each in lengths.split(",")]
    if len(sizes) > most:
        raise StompError(f"more than {most} attachments (Limits.max_attachments)")
    end = len(body) - sum(sizes)
    if end < 0:
        raise StompError("the attachments are longer than the body")
    value = _json(body[:end], "what is in front of the attachments is no JSON")
    try:
        return fill(value, cut(body[end:], sizes)) if isinstance(value, dict | list) else value
    except DecodeError as error:
        raise StompError(str(error)) from None
