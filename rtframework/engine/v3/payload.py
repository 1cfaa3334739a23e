"""The payloads of HTTP long-polling in Engine.IO 3 ("Payload"): as text, and as bytes for clients that can read them.

A packet is ``str`` or, when it is binary, ``bytes`` that begin with the packet's type. Lengths of text are counted in
UTF-16 code units, as JavaScript does.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator
from typing import Final

from ..base64 import decode_base64

MESSAGE: Final = b"\x04"
"""The first byte of a binary packet; there are no others than messages."""

_SHORT: Final = "a packet that is shorter than announced"
_KINDS: Final = frozenset("0123456")
_MAX_DIGITS: Final = 10
_TEXT: Final = 0
_BINARY: Final = 1
_END: Final = b"\xff"
"""The byte behind the digits of a length, in a payload of bytes."""
_TO_DIGITS: Final = bytes.maketrans(bytes(range(10)), b"0123456789")
_FROM_DIGITS: Final = bytes.maketrans(b"0123456789", bytes(range(10)))


def units(text: str) -> int:
    """Count the UTF-16 code units of a text, its length in JavaScript."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def to_base64(packet: bytes) -> str:
    """Encode a binary packet as text."""
    return "b4" + b64encode(packet[1:]).decode()


def from_base64(packet: str) -> bytes:
    """Decode a binary packet that came as text. Raises ``ValueError``."""
    if packet[:2] != "b4":
        raise ValueError("no binary message")
    return MESSAGE + decode_base64(packet[2:])


def encode_text(packets: Iterable[str | bytes]) -> str:
    """Make a payload of text, or a part of one: binary packets go as Base64."""
    texts = [packet if isinstance(packet, str) else to_base64(packet) for packet in packets]
    return "".join([f"{units(text)}:{text}" for text in texts])


def encode_binary(packets: Iterable[str | bytes]) -> bytes:
    """Make a payload of bytes, or a part of one."""
    parts = []
    for packet in packets:
        kind, data = (_TEXT, packet.encode()) if isinstance(packet, str) else (_BINARY, packet)
        parts.append(b"%c%b\xff%b" % (kind, str(len(data)).encode().translate(_FROM_DIGITS), data))
    return b"".join(parts)


def decode_text(body: bytes) -> Iterator[str | bytes]:
    """Yield the packets of a payload of text. Raises ``ValueError`` at the first that is none."""
    text = body.decode()
    if text == "0:":
        return
    if not text.isascii():
        wide = text.encode("utf-16-le")
        if len(wide) != 2 * len(text):  # some characters are two units
            yield from _decode_wide(wide)
            return
    at, end = 0, len(text)
    if not end:
        raise ValueError("no packet")
    while at < end:
        colon = text.find(":", at, at + _MAX_DIGITS + 1)
        digits = text[at:colon] if colon > 0 else ""
        if not digits.isdigit() or not digits.isascii():
            raise ValueError("illegal length")
        at = colon + 1 + int(digits)
        if at > end:
            raise ValueError(_SHORT)
        packet = text[colon + 1 : at]
        yield packet if packet[:1] in _KINDS else _take(packet)


def _decode_wide(wide: bytes) -> Iterator[str | bytes]:
    """Yield the packets of a payload of text in UTF-16. Raises ``ValueError`` at the first that is none."""
    at, end = 0, len(wide)
    while at < end:
        head = wide[at : at + 2 * _MAX_DIGITS + 2].decode("utf-16-le", "replace")
        digits, colon, _ = head.partition(":")
        if not colon or not digits.isdigit() or not digits.isascii():
            raise ValueError("illegal length")
        start = at + 2 * (len(digits) + 1)
        at = start + 2 * int(digits)
        if at > end:
            raise ValueError(_SHORT)
        yield _take(wide[start:at].decode("utf-16-le"))  # raises when it ends within a character


def decode_binary(body: bytes) -> Iterator[str | bytes]:
    """Yield the packets of a payload of bytes. Raises ``ValueError`` at the first that is none."""
    at, end = 0, len(body)
    if not end:
        raise ValueError("no packet")
    while at < end:
        kind = body[at]
        stop = body.find(_END, at + 1, at + _MAX_DIGITS + 2)
        digits = body[at + 1 : stop] if stop > 0 else b""
        if kind > _BINARY or not digits or max(digits) > 9:
            raise ValueError("illegal length")
        at = stop + 1 + int(digits.translate(_TO_DIGITS))
        if at > end:
            raise ValueError(_SHORT)
        data = body[stop + 1 : at]
        if kind == _TEXT:
            yield _take(data.decode())
        elif data[:1] == MESSAGE:
            yield data
        else:
            raise ValueError("a binary packet that is no message")


def _take(packet: str) -> str | bytes:
    kind = packet[:1]
    if kind in _KINDS:
        return packet
    if kind == "b":
        return from_base64(packet)
    raise ValueError("unknown packet type")
