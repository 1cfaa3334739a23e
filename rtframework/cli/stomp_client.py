"""A client connection by STOMP 1.2 over a websocket."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from ..exceptions import DecodeError
from ..gateways.attachments import emptied
from ..gateways.stomp_bodies import read_args
from ..gateways.stomp_frames import V12, Frame, StompReader, encode_frame
from .client import refusal
from .endpoint import Endpoint
from .errors import Exit, Failure
from .received import Received
from .values import show_text
from .websocket_client import AnyWebSocket, WebSocketConnection, connect_websocket

_SUBPROTOCOL: Final = "v12.stomp"
_MUCH: Final = 2**31
_QUEUES: Final = "/user/queue/*"
_REPLY: Final = "/reply/"


class StompConnection(WebSocketConnection[Frame, str]):
    """A client that reads all of its own events, and rooms that it is told to read."""

    transport: Final = "stomp"

    def __init__(self, endpoint: Endpoint, websocket: AnyWebSocket) -> None:
        super().__init__(endpoint, websocket)
        self._reader = StompReader(_MUCH)
        self._frames: list[Frame] = []

    async def open(self) -> None:
        """Be let in, and subscribe. Raises ``Failure``."""
        auth = [(name, each if isinstance(each, str) else json.dumps(each)) for name, each in self._auth().items()]
        headers = [("accept-version", V12), ("host", self.endpoint.place), ("heart-beat", "0,0"), *auth]
        await self._say(encode_frame("CONNECT", headers, version=None))
        frame = await self._receive()
        headers_in = frame.unescaped(V12)
        if frame.command == "ERROR":
            raise refusal(self.endpoint.namespace, headers_in.get("message", ""), _data_of(frame))
        if frame.command != "CONNECTED":
            raise self._speaks_otherwise("STOMP", f"it began with {show_text(frame.command)}")
        self.id = headers_in.get("session", "")
        topics = [f"/topic/{each}" for each in self.endpoint.topics]
        for number, destination in enumerate((_QUEUES, *topics)):
            lines = [("id", str(number)), ("destination", destination), ("receipt", str(number))]
            await self._say(encode_frame("SUBSCRIBE", lines, version=V12))
        waiting = 1 + len(topics)
        while waiting:
            frame = await self._receive()
            if frame.command == "RECEIPT":
                waiting -= 1
            else:
                self._take(frame)
        self._begin()

    async def emit(self, event: str | int, args: Sequence[Any]) -> None:
        """Send an event; return when it has been written to the network. Raises ``Failure``."""
        await self._send_to(f"/app/{event}", args)

    async def ask(self, event: str | int, args: Sequence[Any], timeout: float) -> list[Any]:
        """Send an event and return what its handler has returned. Raises ``Failure``."""
        self._last_id += 1
        id = str(self._last_id)
        send = partial(self._send_to, f"/app/{event}", args, ("correlation-id", id))
        return await self._ask(event, id, send, timeout)

    async def answer(self, received: Received, args: Sequence[Any]) -> None:
        """Answer an event. Raises ``Failure``."""
        await self._send_to(f"{_REPLY}{received.id}", args)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _auth(self) -> dict[str, Any]:
        return self.endpoint.auth or {}

    async def _say_goodbye(self) -> None:
        await self._say(encode_frame("DISCONNECT", [], version=V12))

    async def _send_to(self, destination: str, args: Sequence[Any], *more: tuple[str, str]) -> None:
        headers = [("destination", destination), *more, ("args", str(len(args)))]
        try:
            attachments: list[bytes] = []
            body = json.dumps(emptied(list(args), attachments), ensure_ascii=False).encode() if args else b""
        except (TypeError, ValueError, RecursionError) as error:
            raise Failure(f"this cannot be sent: {error}", Exit.USAGE) from None
        headers += [("content-type", "application/json")] if args else []
        if attachments:
            headers.append(("attachments", ",".join(str(len(each)) for each in attachments)))
            body += b"".join(attachments)
        await self._send(encode_frame("SEND", headers, body if attachments else body.decode(), version=V12))

    async def _receive(self) -> Frame:
        while not self._frames:
            data = await self._receive_data()
            try:
                self._frames = self._reader.feed(data)
            except DecodeError as error:
                raise self._speaks_otherwise("STOMP", str(error)) from None
        return self._frames.pop(0)

    def _take(self, message: Frame) -> None:
        """Take an event or an answer. Raises ``Failure`` for the server's last word."""
        try:
            headers = message.unescaped(V12)
            if message.command == "ERROR":
                raise Failure(f"the server says: {show_text(headers.get('message', ''))}", Exit.LOST)
            if message.command != "MESSAGE":
                return
            args = read_args(headers, message.body, max_attachments=_MUCH)
        except DecodeError as error:
            raise self._speaks_otherwise("STOMP", str(error)) from None
        if not self._answered(headers.get("correlation-id", ""), args) and "event" in headers:
            id = headers.get("reply-to", "").removeprefix(_REPLY)
            self._events.put_nowait(Received(headers["event"], args, int(id) if id.isdecimal() else None))


def connect_stomp(endpoint: Endpoint) -> contextlib.AbstractAsyncContextManager[StompConnection]:
    """Connect to a server by STOMP, and disconnect at the end. Raises ``Failure``."""
    return connect_websocket(endpoint, StompConnection, _SUBPROTOCOL, {})


def _data_of(frame: Frame) -> Any:
    """Return what a refusal says besides its message."""
    try:
        args = read_args(frame.unescaped(V12), frame.body, max_attachments=_MUCH)
    except DecodeError:
        return None
    return args[0] if args else None
