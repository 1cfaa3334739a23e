"""STOMP frames, read and written (STOMP 1.2, "STOMP Frames"): bytes in, frames out, without I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from ..exceptions import DecodeError

V11: Final = "1.1"
V12: Final = "1.2"

MAX_HEADERS: Final = 100
"""Headers of a frame."""
MAX_LINE: Final = 8_192
"""Bytes of a header, or of a command."""
MOST_AT_ONCE: Final = 64
"""Frames that are read in one go: others are served in between."""

_UNESCAPED: Final = frozenset({"CONNECT", "STOMP", "CONNECTED"})
_WITH_BODY: Final = frozenset({"SEND", "MESSAGE", "ERROR"})
_BLANK_LINE: Final = re.compile(rb"\n\r?\n")
_BEGINNING: Final = re.compile(rb"[A-Za-z\r]")
_BYTES: Final = re.compile(rb"\[object [A-Z]|[0-9]{1,3},[0-9]{1,3},")
"""What ``sockjs-client`` makes of an ``ArrayBuffer``, and of a ``Uint8Array``."""
_OF_BYTES: Final = "no frame, but what SockJS makes of bytes: it carries text, so send no binaryBody"
_ESCAPE: Final = re.compile(r"\\(.?)", re.DOTALL)
_TO_ESCAPE: Final = re.compile(r"[\\:\n\r]")
_PLAIN: Final = {"\\n": "\n", "\\c": ":", "\\\\": "\\", "\\r": "\r"}
_ESCAPED: Final = {plain: escaped for escaped, plain in _PLAIN.items()}
_DIGITS: Final = re.compile(r"[0-9]{1,15}\Z", re.ASCII)


class StompError(DecodeError):
    """A client broke the protocol: it gets the text in an ERROR frame, and the connection ends."""

    frames: Sequence[Frame] = ()
    """The frames that were complete before."""


class TooLong(StompError):
    """A frame has more bytes, or more headers, than it may have."""


class Frame:
    """One frame: ``command``, its ``headers`` as they came, each but once, and its ``body``."""

    __slots__ = ("body", "command", "headers", "size")

    def __init__(self, command: str, headers: dict[str, str], body: bytes = b"", size: int = 0) -> None:
        self.command = command
        self.headers = headers
        self.body = body
        self.size = size
        """Bytes that it had on the wire."""

    def __repr__(self) -> str:
        return f"<Frame {self.command} {self.headers!r} {self.body[:40]!r}>"

    def unescaped(self, version: str) -> dict[str, str]:
        """Return the headers without their escapes (STOMP 1.2, "Value Encoding"). Raises ``StompError``."""
        if self.command in _UNESCAPED:
            return self.headers
        found: dict[str, str] = {}
        for name, value in self.headers.items():
            if "\\" in name or "\\" in value:
                name, value = _unescape(name, version), _unescape(value, version)
            found.setdefault(name, value)
        return found


class StompReader:
    """Reads frames that come in pieces of any size; a line end between two frames is a heart-beat.

    ``limit``: the bytes of a frame.
    """

    __slots__ = ("_buffer", "_end", "_frame", "_looked_at", "limit", "more")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._buffer = bytearray()
        self._looked_at = 0
        """Bytes in which what is looked for is not."""
        self._frame: Frame | None = None
        """The frame whose body is on its way."""
        self._end: int | None = None
        """The place of its last byte, if that is known."""
        self.more = False
        """True if there may be more frames in what has come: ``feed(b"")`` returns them."""

    @property
    def held(self) -> int:
        """Bytes of the frame that is on its way."""
        return len(self._buffer)

    def feed(self, data: str | bytes) -> list[Frame]:
        """Read what has come, and return the frames that are complete, or the first of them.

        Raises ``StompError``, which has those that are before the mistake; nothing more may be read then.
        """
        frames: list[Frame] = []
        try:
            self._feed(data, frames)
        except StompError as error:
            error.frames = frames
            raise
        return frames

    def _feed(self, data: str | bytes, frames: list[Frame]) -> None:
        buffer = self._buffer
        buffer += data.encode(errors="surrogatepass") if isinstance(data, str) else data
        at = 0  # where the next frame begins
        self.more = False
        while True:
            if self._frame is None:
                if len(frames) >= MOST_AT_ONCE:
                    self.more = True
                    break
                at = _after_line_ends(buffer, at)
                if at == len(buffer):
                    break
                begun = self._read_head(at)
                if begun is None:
                    break
                self._frame, body = begun
                self._looked_at = body
                length = self._frame.headers.get("content-length")
                self._end = None if length is None else body + self._length(length, body - at)
                self._frame.size = body - at
            frame = self._frame
            body = at + frame.size
            end = self._end
            if end is None:
                end = buffer.find(0, max(self._looked_at, body))
                if end < 0:
                    self._looked_at = len(buffer)
                    break
            elif end >= len(buffer):
                break
            elif buffer[end]:
                raise StompError("there is no NUL behind the body: content-length is wrong")
            frame.body = bytes(buffer[body:end])
            if frame.body and frame.command not in _WITH_BODY:
                raise StompError(f"{frame.command} has no body")
            frame.size = end + 1 - at
            self._check_size(frame.size)
            frames.append(frame)
            at, self._frame, self._looked_at = end + 1, None, 0
        if at:
            del buffer[:at]
            self._looked_at = max(0, self._looked_at - at)
            if self._end is not None:
                self._end -= at
        if not self.more:
            self._check_size(len(buffer))

    def _read_head(self, at: int) -> tuple[Frame, int] | None:
        """Read a command and headers; ``None`` if they are not complete. Return the place of the body, too."""
        buffer = self._buffer
        found = _BLANK_LINE.search(buffer, max(at, self._looked_at - 2))
        end = len(buffer) if found is None else found.start()
        if found is None:
            if not self._looked_at and _BEGINNING.match(buffer, at) is None:
                raise StompError(_OF_BYTES if _BYTES.match(buffer, at) else "no command of STOMP")
            if buffer.find(0, max(at, self._looked_at)) >= 0:
                raise StompError("no blank line behind the headers")
            if end - at > MAX_LINE and buffer.rfind(b"\n", at) < end - MAX_LINE - 1:
                raise TooLong(f"a header has at most {MAX_LINE} bytes")
            if self._looked_at < end:
                self._looked_at = end
            if end - at > (MAX_HEADERS + 1) * (MAX_LINE + 2):
                raise TooLong(f"a frame has at most {MAX_HEADERS} headers")
            return None
        lines = bytes(buffer[at:end]).split(b"\n")
        if len(lines) > MAX_HEADERS + 1:
            raise TooLong(f"a frame has at most {MAX_HEADERS} headers")
        if max(map(len, lines)) > MAX_LINE:
            raise TooLong(f"a header has at most {MAX_LINE} bytes")
        try:
            command, *rest = [line.removesuffix(b"\r").decode() for line in lines]
        except UnicodeDecodeError:
            raise StompError("headers are UTF-8") from None
        if "\0" in command or not command.isascii() or not command.isalpha():
            raise StompError("no command of STOMP")
        headers: dict[str, str] = {}
        for line in rest:
            name, colon, value = line.partition(":")
            if not colon or not name:
                raise StompError("a header is name:value")
            if "\0" in line:
                raise StompError("a header has no NUL")
            headers.setdefault(name, value)  # the first one counts ("Repeated Header Entries")
        return Frame(command, headers), found.end()

    def _length(self, value: str, head: int) -> int:
        value = value.strip(" ")
        if _DIGITS.match(value) is None:
            raise StompError("content-length is a number")
        self._check_size(head + int(value) + 1)
        return int(value)

    def _check_size(self, size: int) -> None:
        if size > self.limit:
            raise TooLong(f"a frame has at most {self.limit} bytes")


def escape(text: str, version: str) -> str:
    """Escape a name or a value of a header (STOMP 1.2, "Value Encoding"); 1.1 has no carriage returns."""
    if version == V12:
        return _TO_ESCAPE.sub(_escaped_character, text)
    return _TO_ESCAPE.sub(_escaped_character, text.replace("\r", " "))


def header_line(name: str, value: str, version: str) -> str:
    """Write a header whose name needs no escapes."""
    return f"{name}:{escape(value, version)}\n"


def encode_head(command: str, headers: Iterable[tuple[str, str]], version: str | None) -> str:
    """Write a command and headers, without the blank line; ``version``: ``None`` for a frame without escapes."""
    if version is None:
        return "\n".join([command, *(f"{name}:{one_line(value)}" for name, value in headers)]) + "\n"
    return (
        "\n".join([command, *(f"{escape(name, version)}:{escape(value, version)}" for name, value in headers)]) + "\n"
    )


def encode_frame(
    command: str, headers: Sequence[tuple[str, str]], body: str | bytes = "", *, version: str | None
) -> str | bytes:
    """Write a frame: text, or bytes if the body is bytes."""
    if body:
        size = len(body if isinstance(body, bytes) else body.encode())
        headers = [*headers, ("content-length", str(size))]
    head = encode_head(command, headers, version) + "\n"
    return head.encode() + body + b"\0" if isinstance(body, bytes) else f"{head}{body}\0"


def one_line(text: str) -> str:
    """Replace what would end a header, where nothing can be escaped."""
    return text.replace("\n", " ").replace("\r", " ").replace("\0", " ")


def read_heart_beat(value: str) -> tuple[int, int]:
    """Read the header ``heart-beat``: the milliseconds that a client can send in, and wants. Raises ``StompError``."""
    parts = [each.strip() for each in value.split(",")]
    if len(parts) != 2 or not all(each.isascii() and each.isdigit() and len(each) < 10 for each in parts):
        raise StompError("heart-beat is two numbers of milliseconds")
    return int(parts[0]), int(parts[1])


def _after_line_ends(buffer: bytearray, at: int) -> int:
    """Return the place behind the line ends at this one."""
    end = len(buffer)
    while at < end:
        if buffer[at] == 10:
            at += 1
        elif buffer[at] == 13:
            if at + 1 == end:
                break  # its line feed is still to come
            if buffer[at + 1] != 10:
                raise StompError("a carriage return without a line feed")
            at += 2
        else:
            break
    return at


def _unescape(text: str, version: str) -> str:
    def plain(match: re.Match[str]) -> str:
        found = _PLAIN.get(match[0])
        if found is None or (found == "\r" and version != V12):
            raise StompError(f"an escape that does not exist: {match[0]}")
        return found

    return _ESCAPE.sub(plain, text) if "\\" in text else text


def _escaped_character(match: re.Match[str]) -> str:
    return _ESCAPED[match[0]]
