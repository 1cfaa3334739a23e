"""A STOMP client by hand, over TCP and in memory: frames as they are on the wire."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Self

from aiohttp import ClientWebSocketResponse, WSMsgType, web

from rtframework import Server
from rtframework.gateways.stomp_topics import Topics
from rtframework.testing import Clock, TestServer
from rtframework.testing.conformance.gateway_peer import GatewayPeer, GatewayRefused
from tests.support.server import reset
from tests.support.websocket import BINARY, CLOSE, REQUEST, TEXT, Frame, Peer, frame

_ESCAPES: Final = {"\\n": "\n", "\\c": ":", "\\\\": "\\", "\\r": "\r"}


class Got(NamedTuple):
    """A frame of the server."""

    command: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def args(self) -> list[Any]:
        """The arguments that the body is."""
        kind, count = self.headers.get("content-type", ""), self.headers.get("args")
        if count == "0":
            return []
        if kind.startswith("text/plain"):
            return [self.body.decode()]
        if kind == "application/octet-stream":
            return [self.body]
        body, parts = self.body, []
        if "attachments" in self.headers:
            lengths = [int(each) for each in self.headers["attachments"].split(",")]
            at = len(body) - sum(lengths)
            body, rest = body[:at], body[at:]
            for length in lengths:
                parts.append(rest[:length])
                rest = rest[length:]
        value = _filled(json.loads(body), parts)
        return value if count is not None else [value]


def _filled(value: Any, parts: list[bytes]) -> Any:
    if isinstance(value, list):
        return [_filled(each, parts) for each in value]
    if isinstance(value, dict):
        return parts[value["num"]] if value.get("_placeholder") else {k: _filled(v, parts) for k, v in value.items()}
    return value


def stomp(command: str, body: str | bytes = "", /, **headers: Any) -> bytes:
    """Write a frame; underscores in names of headers are hyphens."""
    body = body.encode() if isinstance(body, str) else body
    lines = [command, *(f"{name.replace('_', '-')}:{escaped(str(value))}" for name, value in headers.items())]
    if body:
        lines.append(f"content-length:{len(body)}")
    return "\n".join(lines).encode() + b"\n\n" + body + b"\0"


def escaped(text: str) -> str:
    """Escape a value of a header."""
    return text.replace("\\", "\\\\").replace("\r", "\\r").replace("\n", "\\n").replace(":", "\\c")


def read(data: bytes) -> list[Got]:
    """Read the frames in a message; heart-beats are left out."""
    found = []
    data = data.lstrip(b"\r\n")
    while data:
        head, _, rest = data.partition(b"\n\n")
        command, *lines = head.decode().split("\n")
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            if command != "CONNECTED":
                value = re.sub(r"\\.", lambda match: _ESCAPES[match[0]], value)
            headers.setdefault(name, value)
        length = int(headers.get("content-length", rest.index(b"\0")))
        assert rest[length : length + 1] == b"\0", data
        found.append(Got(command, headers, rest[:length]))
        data = rest[length + 1 :].lstrip(b"\r\n")
    return found


class StompPeer(GatewayPeer):
    """A client that reads all of its own events, and speaks STOMP 1.2."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self._id = 0
        self._frames: list[Got] = []

    @classmethod
    async def open(cls, url: str, path: str = "/stomp", headers: Mapping[str, str] = {}) -> Self:
        """Open a websocket."""
        host, _, port = url.removeprefix("http://").partition(":")
        _, peer = await asyncio.get_running_loop().create_connection(Peer, host, int(port))
        peer.patience = 60.0
        self = cls(peer)
        lines = [f"Host: {host}:{port}", *REQUEST[1:], *(f"{name}: {value}" for name, value in headers.items())]
        head = await peer.request(*lines, first=f"GET {path} HTTP/1.1")
        if head.status != 101:
            peer.transport.abort()
            raise GatewayRefused(f"status {head.status}")
        return self

    @classmethod
    async def connect(cls, url: str, token: str, headers: Mapping[str, str]) -> Self:
        """Connect, and subscribe to all events for this client."""
        self = await cls.open(url, headers=headers)
        await self.enter(token)
        return self

    async def enter(self, token: str) -> None:
        """Connect, and subscribe to all events for this client, once the transport is there."""
        self.say("CONNECT", accept_version="1.2", host="x", heart_beat="0,0", token=token)
        answer = await self.next()
        if answer.command != "CONNECTED":
            await self.closed()
            raise GatewayRefused(answer.headers["message"])
        self.say("SUBSCRIBE", id="all", destination="/user/queue/*", ack="client-individual", receipt="in")
        assert await self.next() == Got("RECEIPT", {"receipt-id": "in"}, b"")

    def say(self, command: str, body: str | bytes = "", /, **headers: Any) -> None:
        """Send a frame."""
        self.send(stomp(command, body, **headers))

    def send(self, data: bytes) -> None:
        """Send a message."""
        try:
            data.decode()
        except UnicodeDecodeError:
            self.peer.send(frame(BINARY, data))
        else:
            self.peer.send(frame(TEXT, data))

    async def next(self) -> Got:
        """Receive a frame. Raises ``EOFError`` after the end."""
        while not self._frames:
            self._frames += read(await self.next_data())
        return self._frames.pop(0)

    async def next_data(self) -> bytes:
        """Receive a message. Raises ``EOFError`` after the end."""
        found = await self.peer.next_message()
        if found is None or isinstance(found, Frame):
            if found is not None and not self.peer.transport.is_closing():
                self.peer.send(frame(CLOSE, found.payload[:2]))
            self.code = None if found is None else int.from_bytes(found.payload[:2], "big")
            raise EOFError
        return found.encode() if isinstance(found, str) else found

    code: int | None = None
    """The close code."""

    async def receive(self) -> tuple[str | int, list[Any]]:
        got = await self.next()
        while got.command != "MESSAGE" or "event" not in got.headers:
            got = await self.next()
        return got.headers["event"], got.args

    async def emit(self, event: str, *args: Any) -> None:
        self._emit(event, args)

    async def ask(self, event: str, *args: Any) -> list[Any]:
        self._id += 1
        self._emit(event, args, correlation_id=self._id)
        got = await self.next()
        while got.headers.get("correlation-id") != str(self._id):
            got = await self.next()
        return got.args

    async def answer(self, *args: Any) -> tuple[str | int, list[Any]]:
        got = await self.next()
        self._answer(got.headers["reply-to"], args)
        return got.headers["event"], got.args

    async def send_raw(self, message: str | bytes) -> None:
        self.peer.send(frame(TEXT, message.encode()) if isinstance(message, str) else frame(BINARY, message))

    async def leave(self) -> None:
        self.say("DISCONNECT", receipt="bye")
        await self.closed()

    def drop(self) -> None:
        reset(self.peer.transport)

    def stop_reading(self) -> None:
        self.peer.transport.pause_reading()

    @staticmethod
    def garbage() -> Sequence[str | bytes]:
        return (
            *("SEND\n\0", "SEND\ndestination:/app/x\ncontent-length:x\n\n\0", "GET / HTTP/1.1\r\n\r\n\0", "\0"),
            *(b"\xff\xff\n\n\0", "SUBSCRIBE\nid:1\ndestination:/topic/x\n\n\0", "ACK\nid:x.y\n\n\0", "x" * 10_000),
            *("MESSAGE\n\n\0", "CONNECT\naccept-version:1.2\n\n\0", "COMMIT\ntransaction:x\n\n\0", "\r\r"),
        )

    def _emit(self, event: str, args: Sequence[Any], **headers: Any) -> None:
        self._answer(f"/app/{event}", args, **headers)

    def _answer(self, destination: str, args: Sequence[Any], **headers: Any) -> None:
        if len(args) == 1:
            (value,) = args
            self.say("SEND", json.dumps(value), destination=destination, content_type="application/json", **headers)
        elif args:
            self.say("SEND", json.dumps(args), destination=destination, args=len(args), **headers)
        else:
            self.say("SEND", destination=destination, **headers)


class StompTalk:
    """A STOMP client in memory, or over TCP, by aiohttp's websocket."""

    def __init__(self, websocket: ClientWebSocketResponse) -> None:
        self.websocket = websocket
        self._frames: list[Got] = []

    async def say(self, command: str, body: str | bytes = "", /, **headers: Any) -> None:
        """Send a frame."""
        await self.send(stomp(command, body, **headers))

    async def send(self, data: bytes) -> None:
        """Send a message."""
        try:
            await self.websocket.send_str(data.decode())
        except UnicodeDecodeError:
            await self.websocket.send_bytes(data)

    async def hear(self) -> Got:
        """Receive a frame."""
        while not self._frames:
            message = await self.websocket.receive(timeout=60)
            assert message.type in (WSMsgType.TEXT, WSMsgType.BINARY), message
            data = message.data.encode() if isinstance(message.data, str) else message.data
            self._frames = read(data)
        return self._frames.pop(0)

    async def subscribe(self, destination: str, id: str = "1", **headers: Any) -> None:
        """Subscribe, and wait for the receipt."""
        await self.say("SUBSCRIBE", id=id, destination=destination, receipt=id, **headers)
        got = await self.hear()
        assert (got.command, got.headers) == ("RECEIPT", {"receipt-id": id}), got

    async def error(self) -> str:
        """Receive an ERROR frame, and the end behind it. Return its message."""
        got = await self.hear()
        assert got.command == "ERROR", got
        end = await self.websocket.receive(timeout=60)
        assert end.type is WSMsgType.CLOSE, end
        self.code = end.data
        return got.headers["message"]

    code: int | None = None
    """The close code."""


@contextlib.asynccontextmanager
async def stomp_talk(
    server: TestServer, *, version: str = "1.2", joins: bool = True, path: str = "/stomp", **headers: Any
) -> AsyncIterator[StompTalk]:
    """Open a STOMP connection; it is let in, unless ``joins`` is ``False``."""
    async with server.http.ws_connect(path, protocols=("v12.stomp", "v11.stomp")) as websocket:
        talk = StompTalk(websocket)
        if joins:
            headers.setdefault("heart_beat", "0,0")
            await talk.say("CONNECT", accept_version=version, host="x", **headers)
            got = await talk.hear()
            assert (got.command, got.headers["version"]) == ("CONNECTED", version), got
        yield talk


@contextlib.asynccontextmanager
async def stomp_in_memory(
    io: Server, topics: Topics = None, *, clock: Clock | None = None, **options: Any
) -> AsyncIterator[TestServer]:
    """Serve STOMP, and Socket.IO, without a network."""
    app = web.Application()
    io.attach_stomp(app, topics=topics, **options)
    io.attach(app)
    async with TestServer(app, clock=clock, serializer=io.serializer) as server:
        yield server
