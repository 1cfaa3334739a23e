"""Peers for the conformance suite of gateways: a client of each of our gateways, by hand."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Self

from rtframework.testing.conformance.gateway_peer import GatewayPeer, GatewayRefused
from tests.support.server import reset
from tests.support.websocket import BINARY, CLOSE, REQUEST, TEXT, Frame, Peer, frame


class PlainPeer(GatewayPeer):
    """A plain websocket that speaks ``rtframework.v1``."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self._id = 0

    @classmethod
    async def connect(cls, url: str, path: str, headers: Mapping[str, str]) -> Self:
        """Open a websocket, and wait until it is let in."""
        host, _, port = url.removeprefix("http://").partition(":")
        _, peer = await asyncio.get_running_loop().create_connection(Peer, host, int(port))
        peer.patience = 60.0
        self = cls(peer)
        lines = [f"Host: {host}:{port}", *REQUEST[1:], *(f"{name}: {value}" for name, value in headers.items())]
        head = await peer.request(*lines, first=f"GET {path} HTTP/1.1")
        if head.status != 101:
            peer.transport.abort()
            raise GatewayRefused(f"status {head.status}")
        answer = await self._read()
        if answer["type"] != "connected":
            await self.closed()
            raise GatewayRefused(answer["message"])
        return self

    async def receive(self) -> tuple[str | int, list[Any]]:
        content = await self._read()
        while content["type"] != "event":
            content = await self._read()
        return content["event"], content["args"]

    async def emit(self, event: str, *args: Any) -> None:
        self._say(event=event, args=args)

    async def ask(self, event: str, *args: Any) -> list[Any]:
        self._id += 1
        self._say(event=event, args=args, id=self._id)
        content = await self._read()
        while (content["type"], content.get("id")) != ("ack", self._id):
            content = await self._read()
        answer: list[Any] = content["args"]
        return answer

    async def answer(self, *args: Any) -> tuple[str | int, list[Any]]:
        content = await self._read()
        self._say(type="ack", id=content["id"], args=args)
        return content["event"], content["args"]

    async def send_raw(self, message: str | bytes) -> None:
        self.peer.send(frame(TEXT, message.encode()) if isinstance(message, str) else frame(BINARY, message))

    async def leave(self) -> None:
        self.peer.send(frame(CLOSE, (1000).to_bytes(2, "big")))
        await self.closed()

    def drop(self) -> None:
        reset(self.peer.transport)

    def stop_reading(self) -> None:
        self.peer.transport.pause_reading()

    @staticmethod
    def garbage() -> Sequence[str | bytes]:
        return ("", "{", "[]", '{"type":"shout"}', '{"event":"disconnect"}', b"", b"\xff\xff\xff\xff{}", "[" * 5_000)

    def _say(self, **content: Any) -> None:
        self.peer.send(frame(TEXT, json.dumps(content).encode()))

    async def _read(self) -> Any:
        """Read a message; its bytes in their places."""
        found = await self.peer.next_message()
        if found is None or isinstance(found, Frame):
            if found is not None and not self.peer.transport.is_closing():
                self.peer.send(frame(CLOSE, found.payload[:2]))
            raise EOFError
        if isinstance(found, str):
            return json.loads(found)
        end = 4 + int.from_bytes(found[:4], "big")
        content, rest = json.loads(found[4:end]), found[end:]
        parts = []
        for length in content["attachments"]:
            parts.append(rest[:length])
            rest = rest[length:]

        def fill(value: Any) -> Any:
            if isinstance(value, list):
                return [fill(each) for each in value]
            if isinstance(value, dict):
                if value.get("_placeholder"):
                    return parts[value["num"]]
                return {key: fill(each) for key, each in value.items()}
            return value

        content["args"] = fill(content["args"])
        return content


class SockJSPeer(PlainPeer):
    """A websocket of SockJS that carries ``rtframework.v1``."""

    def __init__(self, peer: Peer) -> None:
        super().__init__(peer)
        self._messages: deque[str] = deque()

    async def send_raw(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            await super().send_raw(message)
        else:
            self.peer.send(frame(TEXT, json.dumps([message]).encode()))

    @staticmethod
    def garbage() -> Sequence[str | bytes]:
        return ("", "{", "[]", '{"type":"shout"}', '{"event":"disconnect"}', b"", b"\xff", b'["a"]', "[" * 5_000)

    def _say(self, **content: Any) -> None:
        self.peer.send(frame(TEXT, json.dumps([json.dumps(content)]).encode()))

    async def _read(self) -> Any:
        """Read a message, which a frame may have brought with others."""
        while not self._messages:
            found = await self.peer.next_message()
            if found is None or isinstance(found, Frame):
                if found is not None and not self.peer.transport.is_closing():
                    self.peer.send(frame(CLOSE, found.payload[:2]))
                raise EOFError
            assert isinstance(found, str)
            if found[0] == "a":
                self._messages.extend(json.loads(found[1:]))
        return json.loads(self._messages.popleft())


class SockJSStreamPeer(PlainPeer):
    """A stream of SockJS that carries ``rtframework.v1``, with a POST for each message."""

    def __init__(self, url: str, path: str, headers: Mapping[str, str]) -> None:
        self._id = 0
        host, _, port = url.removeprefix("http://").partition(":")
        self._where = host, int(port)
        self._path, _, self._query = path.partition("?")
        self._head = "".join(f"{name}: {value}\r\n" for name, value in {"Host": f"{host}:{port}", **headers}.items())
        self._messages: deque[str] = deque()
        self._stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._posts: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._posting: asyncio.Task[None] | None = None

    @classmethod
    async def connect(cls, url: str, path: str, headers: Mapping[str, str]) -> Self:
        """Open a stream, and wait until it is let in."""
        self = await cls.open(url, path, headers)
        try:
            answer = await self._read()
        except EOFError:
            raise GatewayRefused("it has ended") from None
        if answer["type"] != "connected":
            await self.closed()
            raise GatewayRefused(answer["message"])
        return self

    @classmethod
    async def open(cls, url: str, path: str, headers: Mapping[str, str]) -> Self:
        """Open a stream."""
        self = cls(url, path, headers)
        status = await self._open()
        if status != 200:
            self.drop()
            raise GatewayRefused(f"status {status}")
        self._posting = asyncio.create_task(self._post_all())
        return self

    async def _open(self) -> int:
        reader, writer = await asyncio.open_connection(*self._where)
        self._stream = reader, writer
        first = f"POST {self._path}/xhr_streaming?{self._query} HTTP/1.1\r\nContent-Length: 0\r\n"
        writer.write(f"{first}{self._head}\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        return int(head.split()[1])

    async def _post_all(self) -> None:
        """Send bodies, one after another."""
        reader, writer = await asyncio.open_connection(*self._where)
        try:
            while (body := await self._posts.get()) is not None:
                first = f"POST {self._path}/xhr_send?{self._query} HTTP/1.1\r\nContent-Length: {len(body)}\r\n"
                writer.write(f"{first}{self._head}\r\n".encode() + body)
                head = await reader.readuntil(b"\r\n\r\n")
                if b" 204 " not in head:
                    return
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def send_raw(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self._posts.put_nowait(message)
        else:
            self.post(message)

    def post(self, *messages: str) -> None:
        """Send messages, in one POST."""
        self._posts.put_nowait(json.dumps(messages).encode())

    def _say(self, **content: Any) -> None:
        self.post(json.dumps(content))

    async def leave(self) -> None:
        self.drop()

    def drop(self) -> None:
        self._end_posts()
        if self._stream is not None:
            reset(self._stream[1].transport)

    def stop_reading(self) -> None:
        assert self._stream is not None
        transport: Any = self._stream[1].transport
        transport.pause_reading()

    async def closed(self) -> None:
        """Wait for the end."""
        try:
            while True:
                await self.next_text()
        except EOFError:
            pass
        finally:
            self._end_posts()
            assert self._stream is not None
            self._stream[1].close()

    def _end_posts(self) -> None:
        if self._posting is not None:
            self._posting.cancel()

    async def _read(self) -> Any:
        return json.loads(await self.next_text())

    async def next_text(self) -> str:
        """Receive a message. Raises ``EOFError`` after the end."""
        assert self._stream is not None
        reader = self._stream[0]
        async with asyncio.timeout(60):
            while not self._messages:
                try:
                    size = int(await reader.readuntil(b"\r\n"), 16)
                    chunk = (await reader.readexactly(size + 2))[:-3].decode()
                except (OSError, asyncio.IncompleteReadError):
                    raise EOFError from None
                if not size:
                    raise EOFError
                if chunk[0] == "a":
                    self._messages.extend(json.loads(chunk[1:]))
                elif chunk[0] == "c" and "2010" not in chunk:
                    raise EOFError
        return self._messages.popleft()
