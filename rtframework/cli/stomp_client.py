"""A client connection by STOMP 1.2 over a websocket."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import aiohttp

from ..exceptions import DecodeError
from ..gateways.attachments import emptied
from ..gateways.stomp_bodies import read_args
from ..gateways.stomp_frames import V12, Frame, StompReader, encode_frame
from .client import explain, refusal
from .endpoint import Endpoint
from .errors import Exit, Failure
from .received import Received
from .values import show_text

_GOODBYE: Final = 1.0
"""Seconds that a proper close may take."""
_REFUSALS: Final = (401, 403)
_SUBPROTOCOL: Final = "v12.stomp"
_MUCH: Final = 2**31
_QUEUES: Final = "/user/queue/*"
_REPLY: Final = "/reply/"


class StompConnection:
    """A client that reads all of its own events, and rooms that it is told to read."""

    transport: Final = "stomp"

    def __init__(self, endpoint: Endpoint, websocket: aiohttp.ClientWebSocketResponse) -> None:
        self.endpoint = endpoint
        self.id = ""
        self._websocket = websocket
        self._reader = StompReader(_MUCH)
        self._frames: list[Frame] = []
        self._events: asyncio.Queue[Received] = asyncio.Queue()
        self._asked: dict[str, asyncio.Future[list[Any]]] = {}
        self._last_id = 0
        self._lost: asyncio.Future[Failure] = asyncio.get_running_loop().create_future()
        self._reading: asyncio.Task[None] | None = None

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
            raise self._no_stomp(f"it began with {show_text(frame.command)}")
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
        self._reading = asyncio.create_task(self._read())

    async def emit(self, event: str | int, args: Sequence[Any]) -> None:
        """Send an event; return when it has been written to the network. Raises ``Failure``."""
        await self._send(f"/app/{event}", args)

    async def ask(self, event: str | int, args: Sequence[Any], timeout: float) -> list[Any]:
        """Send an event and return what its handler has returned. Raises ``Failure``."""
        self._last_id += 1
        id = str(self._last_id)
        answer = self._asked[id] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout):
                await self._send(f"/app/{event}", args, ("correlation-id", id))
                return list(await self._first(answer))
        except TimeoutError:
            raise Failure(f'"{event}" was not answered within {timeout:g} s', Exit.TIMED_OUT) from None

    async def answer(self, received: Received, args: Sequence[Any]) -> None:
        """Answer an event. Raises ``Failure``."""
        await self._send(f"{_REPLY}{received.id}", args)

    async def next(self) -> Received:
        """Wait for the next event. Raises ``Failure`` once the connection has ended and all events were returned."""
        if not self._events.empty():
            return self._events.get_nowait()
        found: Received = await self._first(asyncio.ensure_future(self._events.get()))
        return found

    async def close(self) -> None:
        """Disconnect."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait((self._reading,))
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(_GOODBYE):
                await self._say(encode_frame("DISCONNECT", [], version=V12))
                await self._websocket.close()

    # --- inside -----------------------------------------------------------------------------------------------------

    def _auth(self) -> dict[str, Any]:
        return self.endpoint.auth or {}

    async def _send(self, destination: str, args: Sequence[Any], *more: tuple[str, str]) -> None:
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
        try:
            await self._say(encode_frame("SEND", headers, body if attachments else body.decode(), version=V12))
        except ConnectionError:
            raise (await self._lost) from None

    async def _say(self, message: str | bytes) -> None:
        websocket = self._websocket
        await (websocket.send_str(message) if isinstance(message, str) else websocket.send_bytes(message))

    async def _receive(self) -> Frame:
        """Receive a frame. Raises ``Failure`` at the end of the connection."""
        while not self._frames:
            message = await self._websocket.receive()
            if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                code = self._websocket.close_code
                why = message.extra if message.type is aiohttp.WSMsgType.CLOSE else ""
                raise Failure(
                    f"the connection was lost ({show_text(why or 'transport close')}, code {code or 1006})", Exit.LOST
                )
            try:
                self._frames = self._reader.feed(message.data)
            except DecodeError as error:
                raise self._no_stomp(str(error)) from None
        return self._frames.pop(0)

    async def _read(self) -> None:
        try:
            while True:
                self._take(await self._receive())
        except Failure as failure:
            if not self._lost.done():
                self._lost.set_result(failure)

    def _take(self, frame: Frame) -> None:
        """Take an event or an answer. Raises ``Failure`` for the server's last word."""
        try:
            headers = frame.unescaped(V12)
            if frame.command == "ERROR":
                raise Failure(f"the server says: {show_text(headers.get('message', ''))}", Exit.LOST)
            if frame.command != "MESSAGE":
                return
            args = read_args(headers, frame.body, max_attachments=_MUCH)
        except DecodeError as error:
            raise self._no_stomp(str(error)) from None
        asked = self._asked.pop(headers.get("correlation-id", ""), None)
        if asked is not None:
            if not asked.done():
                asked.set_result(args)
        elif "event" in headers:
            id = headers.get("reply-to", "").removeprefix(_REPLY)
            self._events.put_nowait(Received(headers["event"], args, int(id) if id.isdecimal() else None))

    async def _first(self, awaited: asyncio.Future[Any]) -> Any:
        """Wait for a future and return its result. Raises ``Failure`` if the connection is lost before."""
        try:
            await asyncio.wait((awaited, self._lost), return_when=asyncio.FIRST_COMPLETED)
            if awaited.done():
                return awaited.result()
            raise self._lost.result()
        finally:
            awaited.cancel()

    def _no_stomp(self, why: str) -> Failure:
        return Failure(f"what answers at {self.endpoint.resource} does not speak STOMP: {why}", Exit.UNREACHABLE)


@contextlib.asynccontextmanager
async def connect_stomp(endpoint: Endpoint) -> AsyncIterator[StompConnection]:
    """Connect to a server by STOMP, and disconnect at the end. Raises ``Failure``."""
    async with aiohttp.ClientSession(headers=endpoint.headers) as session:
        connection: StompConnection | None = None
        try:
            try:
                async with asyncio.timeout(endpoint.timeout):
                    connection = StompConnection(endpoint, await _open(endpoint, session))
                    await connection.open()
            except TimeoutError:
                raise Failure(
                    f"{endpoint.resource}: it did not answer within {endpoint.timeout:g} s", Exit.UNREACHABLE
                ) from None
            yield connection
        finally:
            if connection is not None:
                await connection.close()


async def _open(endpoint: Endpoint, session: aiohttp.ClientSession) -> aiohttp.ClientWebSocketResponse:
    try:
        return await session.ws_connect(
            endpoint.query_url({}), protocols=(_SUBPROTOCOL,), max_msg_size=0, ssl=not endpoint.insecure
        )
    except aiohttp.WSServerHandshakeError as error:
        if error.status in _REFUSALS:
            raise Failure(f"refused by {endpoint.resource} (HTTP {error.status})", Exit.FAILED) from None
        hint = ": see the path of the URL" if error.status == 404 else ""
        raise Failure(f"{endpoint.resource} opens no websocket (HTTP {error.status}){hint}", Exit.UNREACHABLE) from None
    except (aiohttp.ClientError, OSError) as error:
        raise Failure(explain(error, endpoint), Exit.UNREACHABLE) from None


def _data_of(frame: Frame) -> Any:
    """Return what a refusal says besides its message."""
    try:
        args = read_args(frame.unescaped(V12), frame.body, max_attachments=_MUCH)
    except DecodeError:
        return None
    return args[0] if args else None
