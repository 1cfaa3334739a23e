"""The messages of a websocket of SockJS: what protocols by websocket send and get, without SockJS's frames."""

from __future__ import annotations

import json
import secrets
from collections import deque
from typing import Final

import aiohttp

from .errors import Exit, Failure
from .values import show_text

_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz0123456789"


def session_path() -> str:
    """Make the end of the path of a websocket, behind that of SockJS: a server, a session."""
    session = "".join(secrets.choice(_LETTERS) for _ in range(8))
    return f"/{secrets.randbelow(1_000):03}/{session}/websocket"


class SockJSWebSocket:
    """A websocket of SockJS (sockjs-protocol 0.3.3), with the methods of aiohttp's; ``where``: its URL."""

    def __init__(self, websocket: aiohttp.ClientWebSocketResponse, where: str) -> None:
        self.close_code: int | None = None
        self._websocket = websocket
        self._where = where
        self._messages: deque[str] = deque()

    async def send_str(self, message: str) -> None:
        """Send a message. Raises ``ConnectionError`` when the connection has ended."""
        await self._websocket.send_str(json.dumps([message]))

    async def send_bytes(self, message: bytes) -> None:
        """Raise ``Failure``: SockJS carries text."""
        raise Failure("bytes cannot be sent over SockJS, which carries text", Exit.USAGE)

    async def receive(self) -> aiohttp.WSMessage:
        """Receive a message, or the end. Raises ``Failure`` for what is no frame of SockJS."""
        while not self._messages:
            message = await self._websocket.receive()
            if message.type is not aiohttp.WSMsgType.TEXT:
                self.close_code = self._websocket.close_code
                return message
            code = self._take(message.data)
            if code is not None:
                return code
        return aiohttp.WSMessage(aiohttp.WSMsgType.TEXT, self._messages.popleft(), None)

    async def close(self) -> None:
        """Close it."""
        await self._websocket.close()

    def _take(self, frame: str) -> aiohttp.WSMessage | None:
        """Take the messages out of a frame. Return the end, if it says so."""
        kind, content = frame[:1], frame[1:]
        if frame in ("o", "h"):
            return None
        try:
            read = json.loads(content) if kind in ("a", "m", "c") else None
        except (ValueError, RecursionError):
            read = None
        match kind, read:
            case "a", [*messages] if all(isinstance(each, str) for each in messages):
                self._messages.extend(messages)
                return None
            case "m", str(message):
                self._messages.append(message)
                return None
            case "c", [int(code), str(reason)]:
                self.close_code = code
                return aiohttp.WSMessage(aiohttp.WSMsgType.CLOSE, code, reason)
        raise Failure(
            f"what answers at {self._where} does not speak SockJS: it said {show_text(frame[:80])}", Exit.UNREACHABLE
        )
