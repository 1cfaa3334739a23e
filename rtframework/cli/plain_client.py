"""A client connection by plain websocket, in the protocol ``rtframework.v1``."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import aiohttp

from ..exceptions import DecodeError
from ..gateways.json_codec import SUBPROTOCOL, JSONCodec, read_content
from ..types import Packet, PacketType
from .client import explain, refusal
from .endpoint import Endpoint
from .errors import Exit, Failure
from .received import Received
from .values import show_text

_GOODBYE: Final = 1.0
"""Seconds that a proper close may take."""
_REFUSALS: Final = (401, 403)


class PlainConnection:
    """A client in one namespace of one server, by plain websocket."""

    transport: Final = "plain websocket"

    def __init__(self, endpoint: Endpoint, websocket: aiohttp.ClientWebSocketResponse) -> None:
        self.endpoint = endpoint
        self.id = ""
        self._websocket = websocket
        self._codec = JSONCodec()
        self._events: asyncio.Queue[Received] = asyncio.Queue()
        self._asked: dict[int, asyncio.Future[list[Any]]] = {}
        self._last_id = 0
        self._lost: asyncio.Future[Failure] = asyncio.get_running_loop().create_future()
        self._reading: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Ask for the namespace, and wait until it has let us in. Raises ``Failure``."""
        if self.endpoint.auth is not None:
            await self._say({"type": "connect", "auth": self.endpoint.auth})
        content = await self._receive()
        if content.get("type") == "refused":
            raise refusal(self.endpoint.namespace, content.get("message", ""), content.get("data"))
        if content.get("type") != "connected":
            raise self._no_plain_websocket(f"it began with {show_text(json.dumps(content)[:80])}")
        self.id = str(content.get("sid", ""))
        self._reading = asyncio.create_task(self._read())

    async def emit(self, event: str | int, args: Sequence[Any]) -> None:
        """Send an event; return when it has been written to the network. Raises ``Failure``."""
        await self._send(Packet(PacketType.EVENT, data=[event, *args]))

    async def ask(self, event: str | int, args: Sequence[Any], timeout: float) -> list[Any]:
        """Send an event and return the arguments of the acknowledgement. Raises ``Failure``."""
        self._last_id += 1
        answer = self._asked[self._last_id] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout):
                await self._send(Packet(PacketType.EVENT, data=[event, *args], id=self._last_id))
                return list(await self._first(answer))
        except TimeoutError:
            raise Failure(f'"{event}" was not answered within {timeout:g} s', Exit.TIMED_OUT) from None

    async def answer(self, received: Received, args: Sequence[Any]) -> None:
        """Send the acknowledgement of an event. Raises ``Failure``."""
        await self._send(Packet(PacketType.ACK, data=list(args), id=received.id))

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
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE):
                await self._websocket.close()

    # --- inside -----------------------------------------------------------------------------------------------------

    async def _send(self, packet: Packet) -> None:
        packet.nsp = "/"  # which is left out: the server knows with which namespace we have begun
        try:
            message = self._codec.encode(packet)
        except (TypeError, ValueError, RecursionError) as error:
            raise Failure(f"this cannot be sent: {error}", Exit.USAGE) from None
        assert message is not None
        try:
            await (
                self._websocket.send_str(message) if isinstance(message, str) else self._websocket.send_bytes(message)
            )
        except ConnectionError:
            raise (await self._lost) from None

    async def _say(self, content: dict[str, Any]) -> None:
        await self._websocket.send_str(json.dumps(content))

    async def _receive(self) -> dict[str, Any]:
        """Receive a message. Raises ``Failure`` at the end of the connection."""
        message = await self._websocket.receive()
        if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            code = self._websocket.close_code
            why = message.extra if message.type is aiohttp.WSMsgType.CLOSE else ""
            raise Failure(
                f"the connection was lost ({show_text(why or 'transport close')}, code {code or 1006})", Exit.LOST
            )
        try:
            return read_content(message.data)
        except DecodeError as error:
            raise self._no_plain_websocket(str(error)) from None

    async def _read(self) -> None:
        try:
            while True:
                self._take(await self._receive())
        except Failure as failure:
            if not self._lost.done():
                self._lost.set_result(failure)

    def _take(self, content: dict[str, Any]) -> None:
        kind, id, args = content.get("type"), content.get("id"), content.get("args")
        if kind == "event" and isinstance(args, list):
            self._events.put_nowait(Received(content.get("event", ""), args, id))
        elif kind == "ack" and isinstance(id, int) and isinstance(args, list):
            asked = self._asked.pop(id, None)
            if asked is not None and not asked.done():
                asked.set_result(args)

    async def _first(self, awaited: asyncio.Future[Any]) -> Any:
        """Wait for a future and return its result. Raises ``Failure`` if the connection is lost before."""
        try:
            await asyncio.wait((awaited, self._lost), return_when=asyncio.FIRST_COMPLETED)
            if awaited.done():
                return awaited.result()
            raise self._lost.result()
        finally:
            awaited.cancel()

    def _no_plain_websocket(self, why: str) -> Failure:
        return Failure(
            f"what answers at {self.endpoint.resource} does not speak {SUBPROTOCOL}: {why}", Exit.UNREACHABLE
        )


@contextlib.asynccontextmanager
async def connect_plain(endpoint: Endpoint) -> AsyncIterator[PlainConnection]:
    """Connect to a server by plain websocket, and disconnect at the end. Raises ``Failure``."""
    async with aiohttp.ClientSession(headers=endpoint.headers) as session:
        connection: PlainConnection | None = None
        try:
            try:
                async with asyncio.timeout(endpoint.timeout):
                    connection = PlainConnection(endpoint, await _open(endpoint, session))
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
    query = {} if endpoint.namespace == "/" else {"nsp": endpoint.namespace}
    if endpoint.auth is not None:
        query["auth"] = "message"
    url = endpoint.query_url(query)
    try:
        return await session.ws_connect(url, protocols=(SUBPROTOCOL,), max_msg_size=0, ssl=not endpoint.insecure)
    except aiohttp.WSServerHandshakeError as error:
        if error.status in _REFUSALS:
            raise Failure(f"refused by {endpoint.resource} (HTTP {error.status})", Exit.FAILED) from None
        hint = ": see the path of the URL" if error.status == 404 else ""
        raise Failure(f"{endpoint.resource} opens no websocket (HTTP {error.status}){hint}", Exit.UNREACHABLE) from None
    except (aiohttp.ClientError, OSError) as error:
        raise Failure(explain(error, endpoint), Exit.UNREACHABLE) from None
