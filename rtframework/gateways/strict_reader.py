"""Websocket frames read so that text that is no UTF-8 is refused at its first wrong byte (RFC 6455, 8.1)."""

from __future__ import annotations

import codecs
from typing import Any, Final

from ..engine.transports.rfc6455 import CLOSE, INVALID_DATA, RSV1, TEXT, FrameError, FrameReader, unmask

_new_decoder: Final = codecs.getincrementaldecoder("utf-8")


class StrictFrameReader(FrameReader):
    """A reader that looks at text while it comes: a long message that is wrong is not awaited to its end."""

    __slots__ = ("_at_start", "_decoder", "_looked_at")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._decoder = _new_decoder()
        self._at_start: tuple[bytes, int] = (b"", 0)
        """The state of the decoder at the beginning of the frame that is on its way."""
        self._looked_at = 0
        """Bytes of the payload of that frame that were looked at."""

    def feed(self, data: bytes) -> bool:
        """Read bytes from the network, as ``FrameReader`` does. Raises ``FrameError``."""
        if self._looked_at and len(self._buffer or b"") + len(data) >= self._need:  # the frame is complete
            self._decoder.setstate(self._at_start)
            self._looked_at = 0
        more = super().feed(data)
        if self._buffer is not None and not more:
            self._look_ahead(self._buffer)
        return more

    def _look_ahead(self, frame: bytearray) -> None:
        """Look at the text of a frame that is not complete."""
        if len(frame) < 6:
            return
        opcode = frame[0] & 0x0F
        is_text = (opcode == TEXT and not frame[0] & RSV1) or (not opcode and self._is_text)
        length = frame[1] & 0x7F
        start = 6 if length < 126 else 8 if length == 126 else 14
        if not is_text or len(frame) <= start + self._looked_at:
            return
        if not self._looked_at:
            if opcode:
                self._decoder.reset()
            self._at_start = self._decoder.getstate()
        mask = bytes(frame[start - 4 : start])
        turn = self._looked_at % 4
        part = frame[start + self._looked_at :]
        unmask(mask[turn:] + mask[:turn], part)
        self._looked_at += len(part)
        self._decode(part)

    @property
    def _is_text(self) -> bool:
        """True while a message has begun that is text as it is."""
        return self._opcode == TEXT and not self._compressed

    def _take(self, first: int, payload: bytearray) -> None:
        opcode = first & 0x0F
        if opcode < CLOSE:
            if opcode:
                self._decoder.reset()
            if (opcode == TEXT and not first & RSV1) or (not opcode and self._is_text):
                self._decode(payload)
        super()._take(first, payload)

    def _decode(self, part: bytearray) -> None:
        try:
            self._decoder.decode(part)
        except UnicodeDecodeError:
            raise FrameError(INVALID_DATA) from None
