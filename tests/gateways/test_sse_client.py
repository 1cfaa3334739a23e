"""Clients of server-sent events are clients like all others: what the conformance suite of gateways asks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Self

from aiohttp import web

from rtframework import Server
from rtframework.gateways.event_stream import EventStreamReader, ServerSentEvent
from rtframework.testing.conformance.gateway_peer import GatewayPeer, GatewayRefused
from rtframework.testing.conformance.gateways import GatewayConformance
from tests.support.server import reset

OF_THE_SERVER = frozenset({"connect", "disconnect", "gap"})


class EventSourcePeer(GatewayPeer):
    """A stream over a connection of its own, and a connection for each POST."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        self._reader = reader
        self._writer = writer
        self._port = port
        self._events: list[ServerSentEvent] = []
        self._stream = EventStreamReader()
        self._session = ""

    @classmethod
    async def connect(cls, url: str, path: str, headers: Mapping[str, str]) -> Self:
        """Open a stream, and wait until it is let in."""
        port = int(url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", *(f"{name}: {it}" for name, it in headers.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        head = await reader.readuntil(b"\r\n\r\n")
        self = cls(reader, writer, port)
        if not head.startswith(b"HTTP/1.1 200 "):
            length = int(head.lower().partition(b"content-length:")[2].split()[0])
            told = await reader.readexactly(length)
            writer.close()
            raise GatewayRefused(told.decode())
        connect = await self._next()
        assert connect.event == "connect"
        self._session = json.loads(connect.data)["session"]
        return self

    async def receive(self) -> tuple[str | int, list[Any]]:
        event = await self._next()
        while event.event in OF_THE_SERVER:
            event = await self._next()
        return event.event, json.loads(event.data)

    async def emit(self, event: str, *args: Any) -> None:
        await self.ask(event, *args)

    async def ask(self, event: str, *args: Any) -> list[Any]:
        answer: list[Any] = json.loads(await self._post(json.dumps([event, *args]).encode()))
        return answer

    async def send_raw(self, message: str | bytes) -> None:
        await self._post(message.encode() if isinstance(message, str) else message)

    async def leave(self) -> None:
        self._writer.close()

    def drop(self) -> None:
        reset(self._writer.transport)

    def stop_reading(self) -> None:
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    @staticmethod
    def garbage() -> Sequence[str | bytes]:
        return ("", "{", "[]", '{"event":1.5}', '["disconnect"]', b"\xff", "[" * 5_000, '{"event":"a","args":{}}')

    async def _next(self) -> ServerSentEvent:
        """Return the next event of the stream, which is in chunks."""
        while not self._events:
            try:
                size = int(await self._reader.readuntil(b"\r\n"), 16)
                data = await self._reader.readexactly(size + 2)
            except (asyncio.IncompleteReadError, ConnectionError):
                raise EOFError from None
            if not size:
                raise EOFError
            self._events += self._stream.feed(data[:-2].decode())
        return self._events.pop(0)

    async def _post(self, body: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        head = f"POST /events?sid={self._session} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        try:
            answer = await reader.readuntil(b"\r\n\r\n")
            return await reader.readexactly(int(answer.lower().partition(b"content-length:")[2].split()[0]))
        except asyncio.IncompleteReadError:
            raise EOFError from None
        finally:
            writer.close()


class TestServerSentEvents(GatewayConformance):
    """Server-sent events."""

    transport = "sse"
    answers = False
    carries_bytes = False

    def attach(self, io: Server, app: web.Application) -> None:
        io.attach_sse(app, arrays=True)

    async def connect(self, url: str, *, token: str, headers: Mapping[str, str]) -> GatewayPeer:
        return await EventSourcePeer.connect(url, f"/events?token={token}", headers)
