"""The clients of ``benchmarks/doors.py``: bare connections that count all bytes, with the heads that Chromium sends."""

from __future__ import annotations

import asyncio
import json
import re
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from .runner import Failed

HOST: Final = "127.0.0.1"
PATIENCE: Final = 30.0
_MARK: Final = re.compile(rb'"number":(\d+),"at":(\d+),')
_HEAD: Final = (
    "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: keep-alive\r\n"
    'sec-ch-ua-platform: "Linux"\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) '
    'Chrome/140.0.0.0 Safari/537.36\r\nsec-ch-ua: "Chromium";v="140", "Not=A?Brand";v="24"\r\nsec-ch-ua-mobile: ?0\r\n'
    "Accept: {accept}\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n"
    "Referer: http://127.0.0.1:{port}/\r\nAccept-Encoding: gzip, deflate\r\n"
    "Accept-Language: en-US,en;q=0.9\r\n{more}\r\n"
)
_UPGRADE: Final = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_CONNECT_PACKET: Final = "40"


@dataclass(slots=True)
class Traffic:
    """What has gone over the connections of all clients: requests, and bytes both ways."""

    requests: int = 0
    sent: int = 0
    received: int = 0
    connections: int = 0

    @property
    def bytes(self) -> int:
        """Both ways together."""
        return self.sent + self.received


@dataclass(slots=True)
class Heard:
    """The messages that a client has got: their numbers, and the seconds since they were emitted."""

    numbers: list[int] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    tail: bytes = b""

    def hear(self, data: bytes) -> None:
        """Take what has come, of whatever form: a message has its mark."""
        now = time.monotonic_ns() // 1000
        self.tail += data
        end = 0
        for found in _MARK.finditer(self.tail):
            self.numbers.append(int(found[1]))
            self.waits.append((now - int(found[2])) / 1e6)
            end = found.end()
        self.tail = self.tail[end:]
        self.news.set()

    async def until(self, content: bytes) -> None:
        """Wait until this has come."""
        async with asyncio.timeout(PATIENCE):
            while content not in self.tail:
                self.news.clear()
                await self.news.wait()

    async def until_there_are(self, count: int, patience: float) -> None:
        """Wait until so many messages have come, for so many seconds at most."""
        async with asyncio.timeout(patience):
            while len(self.numbers) < count:
                self.news.clear()
                await self.news.wait()

    def clear(self) -> None:
        """Forget everything."""
        self.numbers, self.waits, self.tail = [], [], b""


class Connection(asyncio.Protocol):
    """A connection of HTTP/1.1, and what it has become: a stream, or a websocket. ``hear`` gets all bodies."""

    def __init__(self, traffic: Traffic, port: int, hear: Callable[[bytes], None]) -> None:
        self.etag = ""
        self._traffic = traffic
        self._port = port
        self._hear = hear
        self._buffer = b""
        self._left: int | None = None
        """Bytes of the body that are still to come; ``None``: a head is."""
        self._is_chunked = False
        self._is_websocket = False
        self._inflater: Any = None
        self._status = 0
        self._body = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    @classmethod
    async def open(cls, traffic: Traffic, port: int, hear: Callable[[bytes], None]) -> Connection:
        """Connect."""
        _, connection = await asyncio.get_running_loop().create_connection(lambda: cls(traffic, port, hear), HOST, port)
        return connection

    async def request(self, method: str, path: str, body: str = "", **headers: str) -> tuple[int, bytes]:
        """Send a request. Return status and body."""
        self.begin(method, path, body, **headers)
        assert self._answer is not None
        return await self._answer

    def begin(self, method: str, path: str, body: str = "", **headers: str) -> None:
        """Send a request, whose response may be a stream."""
        accept = headers.pop("accept", "*/*")
        if body:
            headers |= {"Content-Type": "text/plain;charset=UTF-8", "Content-Length": str(len(body))}
        more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        self._answer = asyncio.get_running_loop().create_future()
        self._traffic.requests += 1
        self.write((_HEAD.format(method=method, path=path, port=self._port, accept=accept, more=more) + body).encode())

    def upgrade(self, path: str) -> None:
        """Ask for a websocket."""
        self._traffic.requests += 1
        self.write(_UPGRADE.format(path=path, port=self._port).encode())

    def say(self, text: str) -> None:
        """Send a short message through the websocket (RFC 6455, 5.2); its mask is of zeros."""
        self.write(bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text.encode())

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self._traffic.sent += len(data)
        self._transport.write(data)

    def close(self) -> None:
        """Hang up."""
        self._transport.abort()

    def connection_made(self, transport: Any) -> None:
        """Count it."""
        self._transport = transport
        self._traffic.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it."""
        self._traffic.connections -= 1
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Failed("the server has closed the connection"))
            self._answer.exception()  # a stream's is awaited by nobody

    def data_received(self, data: bytes) -> None:
        """Read what has come."""
        self._traffic.received += len(data)
        if self._is_websocket:
            self._hear(data)
            return
        self._buffer += data
        while self._step():
            pass

    def _step(self) -> bool:
        if self._left is None:
            return self._read_head()
        if self._is_chunked and self._left == 0:
            return self._read_size()
        part, self._buffer = self._buffer[: self._left], self._buffer[self._left :]
        self._left -= len(part)
        if part:
            part = part if self._inflater is None else self._inflater.decompress(part)
            self._body += part if self._status != 200 or not self._is_chunked else b""
            self._hear(part)
        if self._left:
            return False
        if self._is_chunked:
            self._buffer = self._buffer.removeprefix(b"\r\n")
            return bool(self._buffer)
        self._end()
        return bool(self._buffer)

    def _read_head(self) -> bool:
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return False
        self._buffer, self._body = rest, b""
        first, *lines = head.decode("latin-1").split("\r\n")
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        self._status = int(first.split(" ")[1])
        self.etag = fields.get("etag", "")
        self._inflater = zlib.decompressobj(47) if "content-encoding" in fields else None
        if self._status == 101:
            self._is_websocket, self._buffer = True, b""
            self._hear(rest)
            return False
        if self._status not in (200, 304):
            raise Failed(f"{first}: {rest.decode()}")
        self._is_chunked = "transfer-encoding" in fields
        self._left = int(fields.get("content-length", "0")) if self._status == 200 else 0
        return True

    def _read_size(self) -> bool:
        line, end, rest = self._buffer.removeprefix(b"\r\n").partition(b"\r\n")
        if not end:
            return False
        self._buffer, self._left = rest, int(line, 16)
        if not self._left:
            self._end()
        return bool(rest)

    def _end(self) -> None:
        self._left = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((self._status, self._body))


class Client:
    """A client of one kind. ``position``: its place among all, from 0 to 1."""

    def __init__(self, traffic: Traffic, port: int, position: float) -> None:
        self.traffic = traffic
        self.port = port
        self.position = position
        self.heard = Heard()
        self.connection: Connection | None = None
        self.task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect, and come into the room."""
        self.connection = await Connection.open(self.traffic, self.port, self.heard.hear)
        await self.enter(self.connection)

    async def enter(self, connection: Connection) -> None:
        """Come into the room over the connection."""
        raise NotImplementedError

    def close(self) -> None:
        """Hang up. Raises what went wrong meanwhile."""
        task, self.task = self.task, None
        if task is not None:
            if task.done():
                task.result()
            task.cancel()
        if self.connection is not None:
            self.connection.close()


class EngineWebSocket(Client):
    """A client of Socket.IO by websocket."""

    async def enter(self, connection: Connection) -> None:
        connection.upgrade("/socket.io/?EIO=4&transport=websocket")
        await self.heard.until(b'"sid"')
        connection.say(_CONNECT_PACKET)
        await self.heard.until(b"joined")


class PlainWebSocket(Client):
    """A plain websocket."""

    async def enter(self, connection: Connection) -> None:
        connection.upgrade("/ws")
        await self.heard.until(b"joined")


class LongPolling(Client):
    """A client of Socket.IO that polls: its request waits until there is something."""

    async def enter(self, connection: Connection) -> None:
        path = "/socket.io/?EIO=4&transport=polling"
        _, body = await connection.request("GET", path)
        path += f"&sid={json.loads(body[1:])['sid']}"
        await connection.request("POST", path, _CONNECT_PACKET)
        self.task = asyncio.create_task(self._poll(connection, path))
        await self.heard.until(b"joined")

    async def _poll(self, connection: Connection, path: str) -> None:
        while True:
            await connection.request("GET", path)


class EventStream(Client):
    """A client of server-sent events."""

    path = "/events"

    async def enter(self, connection: Connection) -> None:
        connection.begin("GET", self.path, accept="text/event-stream", Cache_Control="no-cache")
        await self.heard.until(b"joined")


class CompressedStream(EventStream):
    """The same, with gzip."""

    path = "/compressed"


class ShortPolling(Client):
    """A client that asks each second."""

    interval = 1.0

    async def enter(self, connection: Connection) -> None:
        _, body = await connection.request("GET", "/events/poll?room=kept")
        self.task = asyncio.create_task(self._poll(connection, json.loads(body)["next"]))

    async def _poll(self, connection: Connection, since: str) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + self.interval * self.position
        etag = connection.etag
        while True:
            await asyncio.sleep(due - loop.time())
            more = True
            while more:
                status, body = await connection.request(
                    "GET", f"/events/poll?room=kept&since={since}", If_None_Match=etag
                )
                answer: dict[str, Any] = json.loads(body) if status == 200 else {"next": since, "more": False}
                since, more, etag = answer["next"], answer["more"], connection.etag
            due += self.interval


class RarePolling(ShortPolling):
    """A client that asks each 5 seconds."""

    interval = 5.0


KINDS: Final[dict[str, type[Client]]] = {
    "short polling, every 5 s": RarePolling,
    "short polling, every second": ShortPolling,
    "long polling (Socket.IO)": LongPolling,
    "server-sent events": EventStream,
    "server-sent events, gzip": CompressedStream,
    "websocket (Socket.IO)": EngineWebSocket,
    "plain websocket": PlainWebSocket,
}
