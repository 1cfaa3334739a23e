"""Reading what a websocket client sends (RFC 6455), without I/O: bytes in, messages out."""

from __future__ import annotations

import zlib
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from hashlib import sha1
from typing import Final, Protocol

TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10

NORMAL: Final = 1000
PROTOCOL_ERROR: Final = 1002
INVALID_DATA: Final = 1007
TOO_BIG: Final = 1009

VERSION: Final = "13"

_FIN: Final = 0x80
RSV1: Final = 0x40
"""Set in the first byte of a compressed message (RFC 7692, 6)."""
_RSV: Final = 0x70
_FIN_TEXT: Final = _FIN | TEXT
_MASKED: Final = 0x80
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
DEFLATE_TAIL: Final = b"\x00\x00\xff\xff"
"""The end of a flush, which a compressed message does not have (RFC 7692, 7.2.1)."""
_PER_FEED: Final = 256
"""Frames that are read in one go."""
_CLOSE_CODES: Final = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})
"""The codes below 3000 that may stand in a close frame (RFC 6455, 7.4, and IANA's registry)."""


def xor_mask(mask: bytes, data: bytearray) -> None:
    """Take the client's mask off, in place (RFC 6455, 5.3)."""
    size = len(data)
    key = (mask * (size // 4 + 1))[:size]
    data[:] = (int.from_bytes(data, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")


try:
    # The same in C: a third of the time for small messages, a hundredth for large ones. It is no public name.
    from aiohttp._websocket.helpers import websocket_mask
except ImportError:  # pragma: no cover
    websocket_mask = xor_mask

unmask: Final[Callable[[bytes, bytearray], None]] = websocket_mask


class FrameError(Exception):
    """Raised when the client broke the protocol; ``code`` goes into the close frame (RFC 6455, 7.4.1)."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def accept_of(key: str) -> str | None:
    """Answer a ``Sec-WebSocket-Key``; ``None`` when it is not 16 bytes in Base64 (RFC 6455, 4.2.1)."""
    try:
        if len(key) != 24 or len(a2b_base64(key, strict_mode=True)) != 16:
            return None
    except ValueError:
        return None
    return b2a_base64(sha1(key.encode() + _GUID, usedforsecurity=False).digest(), newline=False).decode()


class MessageReceiver(Protocol):
    """The receiver of the messages of a reader."""

    def receive(self, packet: str | bytes, /) -> None:
        """Take a message."""


class ControlReceiver(Protocol):
    """The receiver of the control frames of a reader."""

    def control(self, opcode: int, payload: bytes, /) -> None:
        """Take a control frame."""


class FrameReader:
    """Puts the frames of one client together.

    ``receiver`` takes the ``str`` or ``bytes`` of each message, and may be replaced at any time; ``controls`` takes the
    opcode and payload of each control frame. ``limit`` is the size of a message in bytes, decompressed if
    ``inflates`` (RFC 7692, without context takeover); it may be changed between two calls. Between frames it holds
    nothing, and never more than a message, a frame header, and what it was given last.
    """

    __slots__ = (
        "_buffer",
        "_compressed",
        "_inflated",
        "_need",
        "_opcode",
        "_so_far",
        "controls",
        "held",
        "inflates",
        "limit",
        "receiver",
    )

    def __init__(
        self,
        receiver: MessageReceiver,
        controls: ControlReceiver,
        limit: int,
        inflates: bool = False,
    ) -> None:
        self.receiver = receiver
        self.controls = controls
        self.limit = limit
        self.inflates = inflates
        self._buffer: bytearray | None = None
        self._need = 0
        self._opcode = 0
        """The opcode of the message that has begun and not ended; 0 when there is none."""
        self._compressed = False
        self._so_far: bytearray | None = None
        self._inflated = 0
        """Bytes of the messages that were decompressed since the last pause."""
        self.held = 0
        """Bytes that have come and are no message yet."""

    def feed(self, data: bytes) -> bool:
        """Read bytes from the network, for a bounded time: at most 256 frames, or the largest message decompressed.

        Return ``True`` if there may be more frames in what has come: ``feed(b"")`` goes on. Raises ``FrameError``,
        after which nothing more may be fed.
        """
        if self._buffer is not None:
            self._buffer += data
            self.held = len(self._buffer) + len(self._so_far or b"")
            if len(self._buffer) < self._need:
                return False
            data = bytes(self._buffer)
            self._buffer = None
        at, end = 0, len(data)
        left = _PER_FEED
        while end - at >= 2:
            if not left:
                self._keep(data[at:], 2)
                return True
            left -= 1
            first = data[at]
            length = data[at + 1] - _MASKED
            start = at + 6
            if length >= 126:
                start = at + (8 if length == 126 else 14)
                if start > end + 4:
                    break
                length = int.from_bytes(data[at + 2 : start - 4], "big")
            stop = start + length
            if first == _FIN_TEXT and not self._opcode and 0 <= length <= self.limit:
                if stop > end:
                    break
                payload = bytearray(data[start:stop])
                unmask(data[start - 4 : start], payload)
                try:
                    text = payload.decode()
                except UnicodeDecodeError:
                    raise FrameError(INVALID_DATA) from None
                at = stop
                self.receiver.receive(text)
                continue
            self._check(first, length, data[at + 1])
            if stop > end:
                break
            payload = bytearray(data[start:stop])
            unmask(data[start - 4 : start], payload)
            at = stop
            self._take(first, payload)
            if self._inflated >= self.limit:
                self._inflated = left = 0
        else:
            if at < end:
                self._keep(data[at:], 2)
            elif self.held or self._so_far is not None:
                self.held = len(self._so_far or b"")
            return False
        self._keep(data[at:], start - 4 - at if start > end + 4 else stop - at)
        return False

    def _keep(self, data: bytes, need: int) -> None:
        """Keep bytes until there are as many as are needed to go on."""
        self._buffer = bytearray(data)
        self._need = need
        self.held = len(data) + len(self._so_far or b"")

    def _check(self, first: int, length: int, second: int) -> None:
        """Refuse a frame by its header, before its payload has come."""
        opcode = first & 0x0F
        if length < 0 or opcode > PONG or BINARY < opcode < CLOSE:
            raise FrameError(PROTOCOL_ERROR)
        rsv = first & _RSV
        if rsv and not (rsv == RSV1 and self.inflates and opcode in (TEXT, BINARY)):
            raise FrameError(PROTOCOL_ERROR)
        if opcode >= CLOSE:
            if second - _MASKED > 125 or not first & _FIN:
                raise FrameError(PROTOCOL_ERROR)
            return
        if (opcode == 0) is not bool(self._opcode):
            raise FrameError(PROTOCOL_ERROR)
        if second == 0xFF and length >> 63:
            raise FrameError(PROTOCOL_ERROR)
        if length + len(self._so_far or b"") > self.limit:
            raise FrameError(TOO_BIG)

    def _take(self, first: int, payload: bytearray) -> None:
        opcode = first & 0x0F
        if opcode >= CLOSE:
            if opcode == CLOSE:
                check_close(payload)
            self.controls.control(opcode, bytes(payload))
            return
        if opcode:
            self._opcode = opcode
            self._compressed = bool(first & RSV1)
            self._so_far = payload
        else:
            assert self._so_far is not None
            self._so_far += payload  # not a list of parts: a part may be one byte
        if not first & _FIN:
            return
        opcode, self._opcode = self._opcode, 0
        whole, self._so_far = bytes(self._so_far), None
        if self._compressed:
            whole = inflate(whole, self.limit)
            self._inflated += len(whole)
        if opcode == BINARY:
            self.receiver.receive(whole)
            return
        try:
            text = whole.decode()
        except UnicodeDecodeError:
            raise FrameError(INVALID_DATA) from None
        self.receiver.receive(text)


def inflate(data: bytes, limit: int) -> bytes:
    """Decompress one message (RFC 7692, 7.2.2). Raises ``FrameError``, also for what would exceed ``limit`` bytes."""
    try:
        inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data + DEFLATE_TAIL, limit + 1)
    except zlib.error:
        raise FrameError(INVALID_DATA) from None
    if len(inflated) > limit:
        raise FrameError(TOO_BIG)
    return inflated


def check_close(payload: bytes | bytearray) -> None:
    """Refuse what a close frame may not say (RFC 6455, 5.5.1 and 7.4). Raises ``FrameError``."""
    if not payload:
        return
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not (code in _CLOSE_CODES or 3000 <= code < 5000):
        raise FrameError(PROTOCOL_ERROR)
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        raise FrameError(INVALID_DATA) from None
