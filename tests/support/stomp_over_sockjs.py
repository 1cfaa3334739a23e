"""STOMP clients by hand over SockJS: by its websocket, and by a stream with a POST for each message."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from typing import Self

from rtframework.engine.ids import new_id
from tests.support.gateways import SockJSStreamPeer
from tests.support.stomp import StompPeer
from tests.support.websocket import BINARY, TEXT, Peer, frame


class StompSockJSPeer(StompPeer):
    """A websocket of SockJS that carries STOMP."""

    path = "/spring/000/any/websocket"

    def __init__(self, peer: Peer) -> None:
        super().__init__(peer)
        self._texts: deque[str] = deque()

    @classmethod
    async def open(cls, url: str, path: str = path, headers: Mapping[str, str] = {}) -> Self:
        """Open a websocket, which greets."""
        self = await super().open(url, path, headers)
        assert await self.peer.next_message() == "o"
        return self

    def send(self, data: bytes) -> None:
        self.peer.send(frame(TEXT, json.dumps([data.decode(errors="replace")]).encode()))

    async def send_raw(self, message: str | bytes) -> None:
        self.peer.send(frame(BINARY, message) if isinstance(message, bytes) else _array(message))

    async def next_data(self) -> bytes:
        while not self._texts:
            frame_of_sockjs = (await super().next_data()).decode()
            if frame_of_sockjs[0] == "a":
                self._texts.extend(json.loads(frame_of_sockjs[1:]))
        return self._texts.popleft().encode()


class StompSockJSStreamPeer(StompPeer):
    """A stream of SockJS that carries STOMP."""

    def __init__(self, stream: SockJSStreamPeer) -> None:
        super().__init__(Peer())
        self.stream = stream

    @classmethod
    async def open(cls, url: str, path: str = "", headers: Mapping[str, str] = {}) -> Self:
        """Open a stream."""
        return cls(await SockJSStreamPeer.open(url, path or f"/spring/000/{new_id()}", headers))

    def send(self, data: bytes) -> None:
        self.stream.post(data.decode(errors="replace"))

    async def send_raw(self, message: str | bytes) -> None:
        await self.stream.send_raw(message)

    async def next_data(self) -> bytes:
        return (await self.stream.next_text()).encode()

    def drop(self) -> None:
        self.stream.drop()

    def stop_reading(self) -> None:
        self.stream.stop_reading()

    async def closed(self) -> None:
        await self.stream.closed()


def _array(message: str) -> bytes:
    return frame(TEXT, json.dumps([message]).encode())
