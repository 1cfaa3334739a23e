"""The payloads of HTTP long-polling in Engine.IO 3 ("Payload"): as text, and as bytes for clients that can read them.

A packet is ``str`` or, when it is binary, ``bytes`` that begin with the packet's type. Lengths of text are counted in
UTF-16 code units, as JavaScript does.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import Final

MESSAGE: Final = b"\x04"
"""The first byte of a binary packet; there are no others than messages."""

_KINDS: Final = frozenset("0123456")
_MAX_DIGITS: Final = 10
_TEXT: Final = 0
_BINARY: Final = 1
_END: Final = 0xFF
"""Behind the digits of a length, in a payload of bytes."""
_TO_DIGITS: Final = bytes.maketrans(bytes(range(10)), b"0123456789")
_FROM_DIGITS: Final = bytes.maketrans(b"0123456789", bytes(range(10)))


def units(text: str) -> int:
    """The length of a text as JavaScript has it."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def to_base64(packet: bytes) -> str:
    """A binary packet as text."""
    return "b4" + b64encode(packet[1:]).decode()


def from_base64(packet: str) -> bytes:
    """The inverse. Raises ``ValueError``."""
    if packet[:2] != "b4":
        raise ValueError("no binary message")
    try:
        return MESSAGE + b64decode(packet[2:], validate=True)
    except binascii.Error as error:
        raise ValueError("illegal Base64") from error


def encode_text(packets: Iterable[str | bytes]) -> str:
    """A payload of text, or a part of one: binary packets go as Base64."""
    texts = [packet if isinstance(packet, str) else to_base64(packet) for packet in packets]
    return "".join([f"{units(text)}:{text}" for text in texts])


def encode_binary(packets: Iterable[str | bytes]) -> bytes:
    """A payload of bytes, or a part of one."""
    parts = []
    for packet in packets:
        kind, data = (_TEXT, packet.encode()) if isinstance(packet, str) else (_BINARY, packet)
        parts.append(b"%c%b\xff%b" % (kind, str(len(data)).encode().translate(_FROM_DIGITS), data))
    return b"".join(parts)


def decode_text(body: bytes) -> list[str | bytes]:
    """The packets of a payload of text. Raises ``ValueError``."""
    text = body.decode()
    if text == "0:":
        return []
    wide = None if text.isascii() else text.encode("utf-16-le")
    if wide is not None and len(wide) == 2 * len(text):
        wide = None  # every character is one unit
    packets: list[str | bytes] = []
    # "at" counts characters, "unit" the code units up to there: they differ where there are surrogate pairs.
    at = unit = 0
    while at < len(text):
        colon = text.find(":", at, at + _MAX_DIGITS + 1)
        length = _length_of(text[at:colon] if colon >= 0 else "")
        if wide is None:
            packet = text[colon + 1 : colon + 1 + length]
            complete = len(packet) == length
        else:
            unit += colon + 1 - at
            packet = wide[2 * unit : 2 * (unit + length)].decode("utf-16-le")  # not so if it ends within a pair
            complete = 2 * (unit + length) <= len(wide)
            unit += length
        if not complete:
            raise ValueError("a packet that is shorter than announced")
        at = colon + 1 + len(packet)
        packets.append(_check(packet))
    if not packets:
        raise ValueError("an empty payload")
    return packets


def decode_binary(body: bytes) -> list[str | bytes]:
    """The packets of a payload of bytes. Raises ``ValueError``."""
    packets: list[str | bytes] = []
    at = 0
    while at < len(body):
        kind = body[at]
        end = body.find(_END, at + 1, at + _MAX_DIGITS + 2)
        if kind not in (_TEXT, _BINARY) or end < 0 or max(body[at + 1 : end], default=10) > 9:
            raise ValueError("illegal length")
        length = _length_of(body[at + 1 : end].translate(_TO_DIGITS).decode())
        data = body[end + 1 : end + 1 + length]
        if len(data) != length:
            raise ValueError("a packet that is shorter than announced")
        at = end + 1 + length
        if kind == _TEXT:
            packets.append(_check(data.decode()))
        elif data[:1] == MESSAGE:
            packets.append(data)
        else:
            raise ValueError("a binary packet that is no message")
    if not packets:
        raise ValueError("an empty payload")
    return packets


def _length_of(digits: str) -> int:
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError("illegal length")
    return int(digits)


def _check(packet: str) -> str | bytes:
    kind = packet[:1]
    if kind in _KINDS:
        return packet
    if kind == "b":
        return from_base64(packet)
    raise ValueError("unknown packet type")
