"""A packet on its way out: encoded once for all receivers."""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, TypeVar

from .transports.rfc6455 import DEFLATE_TAIL, RSV1

F = TypeVar("F")

SEPARATOR: Final = "\x1e"
"""Between the packets of one polling payload (Engine.IO v4, "HTTP long-polling")."""


def websocket_frame(opcode: int, payload: bytes) -> bytes:
    """One unfragmented, unmasked frame (RFC 6455, 5.2): what a server sends is the same for all its clients."""
    length = len(payload)
    if length < 126:
        return bytes((0x80 | opcode, length)) + payload
    if length < 65536:
        return bytes((0x80 | opcode, 126)) + length.to_bytes(2, "big") + payload
    return bytes((0x80 | opcode, 127)) + length.to_bytes(8, "big") + payload


def frame_of(packet: str | bytes) -> bytes:
    """Make the websocket frame of a packet."""
    return websocket_frame(1, packet.encode()) if isinstance(packet, str) else websocket_frame(2, packet)


_new: Final = object.__new__
_SHORT_TEXT: Final = tuple(bytes((0x81, length)) for length in range(126))
"""The heads of short text frames."""
_pack_head: Final = struct.Struct(">BBH").pack


def _text_head(length: int) -> bytes:
    """The head of a text frame of 126 to 65,535 bytes."""
    return _pack_head(0x81, 126, length)


class EncodedFrames:
    """Engine.IO packets that belong together, in each form that a transport needs, each made at most once.

    ``packets`` are Engine.IO packets in their text form (type digit and data) or the ``bytes`` of a binary message.
    ``websocket`` holds their websocket frames, joined; ``size`` is its length in bytes.
    """

    __slots__ = (
        "_base64",
        "_deflated",
        "_entry",
        "_forms",
        "_offset",
        "_packets",
        "_polling",
        "droppable",
        "rooms",
        "size",
        "v3",
        "websocket",
    )

    _entry: str | None
    _offset: str | None
    """Both are unset where there is none."""

    _base64: EncodedFrames
    """The form for clients without binary messages; unset until one needs it."""
    _forms: dict[object, Any]
    """The forms of other protocols, by their keys; unset until one needs its form."""
    rooms: Collection[str]
    """The rooms to which it was emitted; unset if it was to no rooms."""
    v3: Any
    """The forms for clients of Engine.IO 3; unset until one needs them, see ``v3.frames.forms_of``."""

    compress: bool = True
    """True unless the emitter has switched compression off."""

    def __init__(self, packets: Sequence[str | bytes], droppable: bool = False) -> None:
        self._packets = packets
        self.droppable = droppable
        """True for what a client can do without: an event that nobody answers."""
        self._deflated: dict[tuple[int, int, int], bytes] | None = None
        self._polling: str | None = None
        if len(packets) == 1:
            self.websocket = frame_of(packets[0])
        else:
            self.websocket = b"".join(map(frame_of, packets))
        self.size = len(self.websocket)

    @classmethod
    def of_messages(cls, messages: Sequence[str | bytes], droppable: bool = False) -> EncodedFrames:
        """Make the frames of Engine.IO "message" packets, e.g. what a serializer made of one Socket.IO packet."""
        first = messages[0]
        if len(messages) == 1 and type(first) is str:
            packet = "4" + first
            payload = packet.encode()
            length = len(payload)
            if length >= 65536:
                return cls((packet,), droppable)
            frames = _new(cls)  # by far the most frequent: no detours
            frames._packets = (packet,)
            frames._polling = packet
            frames._deflated = None
            frames.droppable = droppable
            head = _SHORT_TEXT[length] if length < 126 else _text_head(length)
            frames.websocket = head + payload
            frames.size = length + len(head)
            return frames
        return cls([f"4{message}" if isinstance(message, str) else message for message in messages], droppable)

    @classmethod
    def of_text(cls, packet: str, droppable: bool = False) -> EncodedFrames:
        """Make the frame of one Engine.IO packet that is text, its type digit included."""
        payload = packet.encode()
        length = len(payload)
        if length >= 65536:
            return cls((packet,), droppable)
        frames = _new(cls)
        frames._packets = (packet,)
        frames._polling = packet
        frames._deflated = None
        frames.droppable = droppable
        head = _SHORT_TEXT[length] if length < 126 else _pack_head(0x81, 126, length)
        frames.websocket = head + payload
        frames.size = length + len(head)
        return frames

    @property
    def packets(self) -> Sequence[str | bytes]:
        """The packets, as they were given."""
        return self._packets

    @property
    def polling(self) -> str:
        """The packets as they stand in a polling payload: binary ones as ``b`` and Base64."""
        if self._polling is None:
            self._polling = SEPARATOR.join(
                packet if isinstance(packet, str) else "b" + b64encode(packet).decode() for packet in self._packets
            )
        return self._polling

    @property
    def base64(self) -> EncodedFrames:
        """The frames for websockets of clients without binary messages: ``b`` and Base64, as text."""
        if all(isinstance(packet, str) for packet in self._packets):
            return self
        try:
            return self._base64
        except AttributeError:
            packets = [each if isinstance(each, str) else "b" + b64encode(each).decode() for each in self._packets]
            self._base64 = EncodedFrames(packets, self.droppable)
            return self._base64

    def deflated(self, window: int, threshold: int, level: int) -> bytes:
        """The websocket frames, those of ``threshold`` bytes and more compressed (RFC 7692), with ``window`` bits."""
        key = (window, threshold, level)
        if self._deflated is None:
            self._deflated = {}
        frames = self._deflated.get(key)
        if frames is None:
            frames = b"".join(_deflated_frame_of(packet, *key) for packet in self._packets)
            self._deflated[key] = frames
        return frames

    @property
    def offset(self) -> str | None:
        """The offset that recovery has added behind the arguments of an event."""
        try:
            return self._offset
        except AttributeError:
            return None

    @offset.setter
    def offset(self, offset: str | None) -> None:
        self._offset = offset

    @property
    def entry(self) -> str | None:
        """The id of its entry in a history, which stands behind the arguments, and in front of another offset."""
        try:
            return self._entry
        except AttributeError:
            return None

    @entry.setter
    def entry(self, entry: str | None) -> None:
        self._entry = entry

    def form(self, key: object, make: Callable[[Sequence[str | bytes]], F]) -> F:
        """Return the packets in the form of another protocol, which is made once for each key and kept.

        ``make`` gets the messages that they carry: what a serializer has made, without Engine.IO's type digit.
        """
        try:
            form: F = self._forms[key]
        except AttributeError:
            form = make(self._messages)
            self._forms = {key: form}
        except KeyError:
            form = self._forms[key] = make(self._messages)
        return form

    @property
    def _messages(self) -> Sequence[str | bytes]:
        return [
            packet[1:] if isinstance(packet, str) else packet
            for packet in self._packets
            if not isinstance(packet, str) or packet[:1] == "4"
        ]


class PlainFrames(EncodedFrames):
    """EncodedFrames that are not worth compressing: what they carry is compressed already."""

    __slots__ = ()

    compress = False

    def deflated(self, window: int, threshold: int, level: int) -> bytes:
        """The websocket frames as they are."""
        return self.websocket


class JoinedFrames(EncodedFrames):
    """The frames of several packets as one that no client can do without; each is compressed as if it were alone."""

    __slots__ = ("compress", "parts")

    def __init__(self, parts: Sequence[EncodedFrames]) -> None:
        super().__init__([packet for part in parts for packet in part._packets])
        self.parts: Final = parts
        self.compress = any(part.compress for part in parts)

    def deflated(self, window: int, threshold: int, level: int) -> bytes:
        """The websocket frames of the parts."""
        return b"".join(part.deflated(window, threshold, level) for part in self.parts)


def _deflated_frame_of(packet: str | bytes, window: int, threshold: int, level: int) -> bytes:
    opcode, payload = (1, packet.encode()) if isinstance(packet, str) else (2, packet)
    if len(payload) < threshold:
        return websocket_frame(opcode, payload)
    compressor = zlib.compressobj(level, zlib.DEFLATED, -window)
    compressed = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return websocket_frame(RSV1 | opcode, compressed.removesuffix(DEFLATE_TAIL))


CLOSE: Final = EncodedFrames(["1"])
PING: Final = EncodedFrames(["2"])
PROBE_ANSWER: Final = EncodedFrames(["3probe"])
NOOP: Final = EncodedFrames(["6"])
