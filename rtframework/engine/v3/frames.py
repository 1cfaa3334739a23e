"""A packet on its way to clients of Engine.IO 3: in each form that one of them needs, each made at most once."""

from __future__ import annotations

from collections.abc import Sequence

from ..frames import EncodedFrames
from .payload import MESSAGE, encode_binary, encode_text, to_base64


class Forms:
    """The forms that differ from those for Engine.IO 4: binary packets begin with their type, payloads have lengths."""

    __slots__ = ("_as_text", "_base64", "_binary", "_frames", "_packets", "_payload", "has_binary")

    def __init__(self, frames: EncodedFrames) -> None:
        self._frames = frames
        self.has_binary = any(not isinstance(packet, str) for packet in frames.packets)
        """True when there are binary packets: they make a payload binary, for clients that can read that."""
        self._packets: Sequence[str | bytes] = frames.packets
        if self.has_binary:
            self._packets = [packet if isinstance(packet, str) else MESSAGE + packet for packet in frames.packets]
        self._binary: EncodedFrames | None = None
        self._base64: EncodedFrames | None = None
        self._as_text: str | None = None
        self._payload: bytes | None = None

    @property
    def binary(self) -> EncodedFrames:
        """The form for websockets; text is as it is in Engine.IO 4."""
        if not self.has_binary:
            return self._frames
        if self._binary is None:
            self._binary = EncodedFrames(self._packets, self._frames.droppable)
        return self._binary

    @property
    def base64(self) -> EncodedFrames:
        """The form for websockets of clients that cannot read binary messages."""
        if not self.has_binary:
            return self._frames
        if self._base64 is None:
            packets = [packet if isinstance(packet, str) else to_base64(packet) for packet in self._packets]
            self._base64 = EncodedFrames(packets, self._frames.droppable)
        return self._base64

    @property
    def as_text(self) -> str:
        """The packet's part of a payload of text."""
        if self._as_text is None:
            self._as_text = encode_text(self._packets)
        return self._as_text

    @property
    def payload(self) -> bytes:
        """The packet's part of a payload of bytes."""
        if self._payload is None:
            self._payload = encode_binary(self._packets)
        return self._payload


def forms_of(frames: EncodedFrames) -> Forms:
    """Return the forms of these frames, which are kept with them."""
    try:
        forms: Forms = frames.v3
    except AttributeError:
        frames.v3 = forms = Forms(frames)
    return forms
