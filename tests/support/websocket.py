"""A websocket client that writes frames as badly as a test likes, and reads those of the server by the letter.

Example::

    async with websocket(server.url) as peer:
        await peer.join()
        peer.send(frame(TEXT, b'421["ec', fin=False) + frame(PING, b"?") + frame(CONTINUATION, b'ho"]'))
        assert await peer.receive() == "431[]"
        assert peer.pongs == [b"?"]
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import itertools
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any, Final, cast

CONTINUATION: Final = 0
TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10

RSV1: Final = 0x40
RSV2: Final = 0x20
RSV3: Final = 0x10

PATIENCE: Final = 3.0
"""Seconds that anything may take."""

PATH: Final = "/socket.io/?EIO=4&transport=websocket"
KEY: Final = "dGhlIHNhbXBsZSBub25jZQ=="
REQUEST: Final = (
    "Host: localhost",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {KEY}",
)
"""The headers of an opening handshake (RFC 6455, 4.1)."""

_MASK: Final = b"\x37\xfa\x21\x3d"


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = _MASK,
    length_bytes: int | None = None,
) -> bytes:
    """A frame as clients send it (RFC 6455, 5.2).

    ``length_bytes``: 0, 2 or 8, when the length is to be written in another form than the shortest.
    """
    if length_bytes is None:
        length_bytes = 0 if len(payload) < 126 else 2 if len(payload) < 65_536 else 8
    short = {0: len(payload), 2: 126, 8: 127}[length_bytes]
    head = bytes(((0x80 if fin else 0) | rsv | opcode, (0 if mask is None else 0x80) | short))
    if length_bytes:
        head += len(payload).to_bytes(length_bytes, "big")
    if mask is None:
        return head + payload
    repeated = mask * (len(payload) // 4 + 1)
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(repeated[: len(payload)], "big")
    return head + mask + masked.to_bytes(len(payload), "big")


def fragments(opcode: int, parts: Iterable[bytes], *, rsv: int = 0, between: bytes = b"") -> bytes:
    """A message in fragments; ``between`` comes before each but the first."""
    parts = list(parts)
    frames = [
        frame(CONTINUATION if number else opcode, part, fin=number == len(parts) - 1, rsv=0 if number else rsv)
        for number, part in enumerate(parts)
    ]
    return between.join(frames)


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame of the server."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0


@dataclass(frozen=True, slots=True)
class End:
    """How a connection ended: the server's close frame, if there was one, and what came before it."""

    code: int | None
    """``None``: there was a close frame without a code, or none; see ``clean``."""
    clean: bool
    """Whether there was a close frame."""
    messages: list[str | bytes]


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a response: every value of a header, in order, by its name in lower case."""

    status: int
    headers: dict[str, list[str]]

    def one(self, name: str) -> str | None:
        """The value of a header that may come once."""
        values = self.headers.get(name, [])
        assert len(values) < 2, f"{name} comes {len(values)} times"
        return values[0] if values else None


class Peer(asyncio.Protocol):
    """One TCP connection. What has come before it broke can still be read."""

    def __init__(self) -> None:
        self.transport = cast("asyncio.Transport", None)
        self.patience = PATIENCE
        """Seconds that it waits for anything."""
        self.pongs: list[bytes] = []
        """What came in PONG frames so far."""
        self.frames: list[Frame] = []
        """Every frame so far."""
        self.decompress: Any = None
        """``bytes -> bytes``, for messages with RSV1, if that was agreed."""
        self._data = bytearray()
        self._ended = False
        self._news = asyncio.Event()

    # --- asyncio's side ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Something came."""
        self._data += data
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        self._ended = True
        self._news.set()

    # --- the test's side --------------------------------------------------------------------------------------------

    def send(self, *data: bytes) -> None:
        """Write all of it in one segment."""
        self.transport.write(b"".join(data))

    async def trickle(self, data: bytes, cuts: Iterable[int] | None = None) -> None:
        """Write it in pieces, which the server gets one by one: single bytes, or cut at these places."""
        places = [0, *(range(1, len(data)) if cuts is None else cuts), len(data)]
        for start, end in itertools.pairwise(places):
            if end > start and not self.transport.is_closing():
                self.transport.write(data[start:end])
                await asyncio.sleep(0)

    async def request(self, *lines: str, first: str | None = None, behind: bytes = b"") -> Head:
        """Send a request, with bytes right behind it in the same segment; the head of the response."""
        self.send("\r\n".join((first or f"GET {PATH} HTTP/1.1", *lines, "", "")).encode("latin-1"), behind)
        return await self.head()

    async def head(self) -> Head:
        """The head of a response."""
        async with asyncio.timeout(self.patience):
            while (end := self._data.find(b"\r\n\r\n")) < 0:
                assert not self._ended, f"no response: {bytes(self._data)!r}"
                await self._more()
        first, *lines = self._take(end + 4)[:-4].decode("latin-1").split("\r\n")
        headers: dict[str, list[str]] = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers.setdefault(name.lower(), []).append(value.strip())
        return Head(int(first.split()[1]), headers)

    async def open(self, *more: str, behind: bytes = b"", path: str = PATH) -> Head:
        """The opening handshake, which must succeed (RFC 6455, 4.2.2)."""
        head = await self.request(*REQUEST, *more, first=f"GET {path} HTTP/1.1", behind=behind)
        assert head.status == 101, head
        assert head.headers["upgrade"][0].lower() == "websocket"
        assert head.headers["connection"][0].lower() == "upgrade"
        digest = hashlib.sha1(KEY.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        assert head.one("sec-websocket-accept") == base64.b64encode(digest).decode()
        return head

    async def join(self) -> None:
        """Read the session's opening packet, and join the main namespace."""
        opened = await self.receive()
        assert isinstance(opened, str)
        assert json.loads(opened.removeprefix("0"))["upgrades"] == []
        self.send(frame(TEXT, b"40"))
        assert str(await self.receive()).startswith('40{"sid":')

    async def next_frame(self) -> Frame | None:
        """The next frame; ``None`` when the connection has ended."""
        start = await self._bytes(2)
        if start is None:
            assert not self._data, f"half a frame: {bytes(self._data)!r}"
            return None
        assert not start[1] & 0x80, "a server masks nothing (5.1)"
        length = start[1] & 0x7F
        if length > 125:
            assert not start[0] & 0x08, "a control frame of more than 125 bytes (5.5)"
            told = await self._bytes(2 if length == 126 else 8)
            assert told is not None
            length = int.from_bytes(told, "big")
            assert length > (125 if len(told) == 2 else 65_535), "the length is not in its shortest form (5.2)"
        payload = await self._bytes(length)
        assert payload is not None, "half a frame"
        found = Frame(start[0] & 0x0F, payload, bool(start[0] & 0x80), start[0] & 0x70)
        assert found.fin or not found.opcode & 0x08, "a control frame in fragments (5.5)"
        self.frames.append(found)
        return found

    async def next_message(self) -> str | bytes | Frame | None:
        """The next message, or the close frame; ``None`` when the connection has ended. PONGs are kept."""
        parts: list[Frame] = []
        while (found := await self.next_frame()) is not None:
            if found.opcode == CLOSE:
                assert not found.rsv
                return found
            if found.opcode == PONG:
                assert not found.rsv
                self.pongs.append(found.payload)
                continue
            assert found.opcode in ((CONTINUATION,) if parts else (TEXT, BINARY)), found
            parts.append(found)
            if found.fin:
                return self._whole(parts)
        assert not parts, "half a message"
        return None

    async def receive(self) -> str | bytes:
        """The next message. PONGs that come before it are kept."""
        found = await self.next_message()
        assert not isinstance(found, Frame), f"closed: {found.payload!r}"
        assert found is not None, "the connection has ended"
        return found

    async def end(self, *, answer: bool = True) -> End:
        """Read until the server has closed TCP, and answer its close frame; it may send nothing after that."""
        messages: list[str | bytes] = []
        while isinstance(found := await self.next_message(), str | bytes):
            messages.append(found)
        if found is None:
            return End(None, False, messages)
        code = None
        if found.payload:
            assert len(found.payload) > 1, "half a close code (5.5.1)"
            code = int.from_bytes(found.payload[:2], "big")
            found.payload[2:].decode()
        if answer and not self.transport.is_closing():
            self.send(frame(CLOSE, found.payload[:2]))
        after = await self.next_frame()
        assert after is None, f"after its close frame the server sent {after} (5.5.1)"
        return End(code, True, messages)

    async def echoes(self, text: str = "still here") -> None:
        """A round trip, with nothing but its answer on the way back."""
        self.send(frame(TEXT, f"429{json.dumps(['echo', text])}".encode()))
        answer = await self.receive()
        assert isinstance(answer, str)
        assert json.loads(answer.removeprefix("439")) == [text]

    # --- inside -----------------------------------------------------------------------------------------------------

    def _whole(self, parts: list[Frame]) -> str | bytes:
        assert not any(part.rsv for part in parts[1:])
        data = b"".join(part.payload for part in parts)
        if parts[0].rsv:
            assert parts[0].rsv == RSV1
            assert self.decompress is not None, "compressed, but that was not agreed"
            data = self.decompress(data)
        return data.decode() if parts[0].opcode == TEXT else data

    async def _bytes(self, count: int) -> bytes | None:
        async with asyncio.timeout(self.patience):
            while len(self._data) < count:
                if self._ended:
                    return None
                await self._more()
        return self._take(count)

    def _take(self, count: int) -> bytes:
        taken = bytes(self._data[:count])
        del self._data[:count]
        return taken

    async def _more(self) -> None:
        self._news.clear()
        await self._news.wait()


@contextlib.asynccontextmanager
async def tcp(url: str) -> AsyncIterator[Peer]:
    """A TCP connection to the server at a URL."""
    host, _, port = url.removeprefix("http://").partition(":")
    _, peer = await asyncio.get_running_loop().create_connection(Peer, host, int(port))
    try:
        yield peer
    finally:
        peer.transport.abort()
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def websocket(url: str) -> AsyncIterator[Peer]:
    """A websocket to the server at a URL, which has joined no namespace yet."""
    async with tcp(url) as peer:
        await peer.open()
        yield peer
