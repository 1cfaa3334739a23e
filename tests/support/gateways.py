"""Peers for the conformance suite of gateways: a client of each of our gateways, by hand."""

from __future__ import annotations

import asyncio
import json
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
