"""An Engine.IO 4 client: one connection by polling or websocket, modelled on the JavaScript client."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from aiohttp import ClientError, ClientWebSocketResponse, WSMsgType, WSServerHandshakeError

from ..concurrency import TaskSet
from ..exceptions import ConnectionRefused

if TYPE_CHECKING:
    from aiohttp import ClientSession

    from .network import MemoryConnector

Transport: TypeAlias = Literal["polling", "websocket"]

_SEPARATOR: Final = "\x1e"


class EngineClient:
    """One Engine.IO connection.

    ``on_message`` is called with each message, ``on_close`` with the reason in the JavaScript client's words.
    """

    def __init__(
        self,
        session: ClientSession,
        connector: MemoryConnector,
        path: str,
        *,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        on_message: Callable[[str | bytes], None],
        on_close: Callable[[str], None],
    ) -> None:
        self.sid = ""
        self.transport: Transport = "polling"
        self.reason: str | None = None
        """The reason why the connection has ended; ``None`` before."""
        self._session = session
        self._connector = connector
        self._path = path
        self._query = dict(query)
        self._headers = dict(headers)
        self._on_message = on_message
        self._on_close = on_close
        self._websocket: ClientWebSocketResponse | None = None
        self._outgoing: list[str | bytes] = []
        self._sending = asyncio.Lock()
        self._tasks = TaskSet()
        self._poller: asyncio.Task[None] | None = None
        self._moving = False
        self._silent = False
        self._patience = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def open(self, transport: Transport) -> None:
        """Make the handshake. Raises ``ConnectionRefused`` if the HTTP request is refused."""
        self.transport = transport
        try:
            if transport == "websocket":
                self._websocket = await self._open_websocket()
                packets: list[str | bytes] = [await self._websocket.receive_str()]
            else:
                packets = await self._get()
        except ClientError as error:
            raise ConnectionRefused(str(error) or type(error).__name__) from error
        assert isinstance(packets[0], str)
        opened = json.loads(packets[0][1:])
        self.sid = opened["sid"]
        self._patience = (opened["pingInterval"] + opened["pingTimeout"]) / 1000
        self._hear()
        if self._websocket is not None:
            self.spawn(self._read(self._websocket))
        else:
            for packet in packets[1:]:
                self._take(packet)
            self._poller = self.spawn(self._poll())

    async def send(self, messages: Sequence[str | bytes]) -> None:
        """Send messages; they are dropped silently if the connection has ended."""
        await self._send([f"4{message}" if isinstance(message, str) else message for message in messages])

    async def upgrade(self) -> None:
        """Upgrade from polling to a websocket. Raises ``ConnectionRefused`` if the server does not allow it."""
        if self.transport != "polling" or self._poller is None:
            raise RuntimeError("only a connection by polling can be upgraded")
        websocket = await self._open_websocket()
        await websocket.send_str("2probe")
        answer = await websocket.receive()
        if answer.data != "3probe":
            await websocket.close()
            raise ConnectionRefused(f"the websocket was not accepted: {answer.data!r}")
        self._moving = True
        await asyncio.wait({self._poller})  # the server answers the pending poll
        async with self._sending:
            await websocket.send_str("5")
            self._websocket = websocket
            self.transport = "websocket"
        self.spawn(self._read(websocket))

    def close(self) -> None:
        """Close the connection after everything sent before has arrived."""
        if self.reason is None and not self._silent:
            if self._websocket is not None:
                self.spawn(self._close(self._websocket))
            else:
                self._outgoing.append("1")
                self.spawn(self._flush())
        self.end("forced close")

    def cut(self, silently: bool) -> None:
        """Lose the network: the connection breaks, or (``silently``) nothing gets through and nobody is told."""
        if silently:
            self._silent = True
            self._connector.die()
        else:
            self._connector.reset()

    def be_missed(self) -> None:
        """Reset the connection if :meth:`cut` has silently cut it, so that the server learns of the end."""
        self._connector.bury()

    def fail(self, reason: str) -> None:
        """Break the connection because the server has sent invalid data."""
        self.end(reason)
        self._connector.reset()

    def end(self, reason: str) -> None:
        """End the connection and call ``on_close``, once."""
        if self.reason is not None:
            return
        self.reason = reason
        if self._timer is not None:
            self._timer.cancel()
        self._on_close(reason)

    async def dispose(self) -> None:
        """Release all resources, without telling the server."""
        self.end("forced close")
        await self._tasks.cancel()
        self._connector.reset()
        if self._websocket is not None:
            await self._websocket.close()
        await self._session.close()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine as a task, which :meth:`dispose` cancels."""
        return self._tasks.spawn(work)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _params(self, transport: Transport) -> dict[str, str]:
        sid = {"sid": self.sid} if self.sid else {}
        return {**self._query, "EIO": "4", "transport": transport, **sid}

    async def _open_websocket(self) -> ClientWebSocketResponse:
        try:
            return await self._session.ws_connect(
                self._path, params=self._params("websocket"), headers=self._headers, max_msg_size=0, compress=15
            )
        except WSServerHandshakeError as error:
            raise ConnectionRefused(f"HTTP {error.status}", {"status": error.status}) from error

    async def _get(self) -> list[str | bytes]:
        params = self._params("polling")
        async with self._session.get(self._path, params=params, headers=self._headers) as response:
            body = await response.text()
        if response.status != 200:
            raise ConnectionRefused(f"HTTP {response.status}", {"status": response.status, "body": body})
        return [b64decode(packet[1:]) if packet[:1] == "b" else packet for packet in body.split(_SEPARATOR)]

    async def _send(self, packets: list[str | bytes]) -> None:
        if self._silent or self.reason is not None:
            return
        self._outgoing += packets
        if self._websocket is None:
            self.spawn(self._flush())  # without waiting for the response: the server may delay it
        else:
            await self._flush()

    async def _flush(self) -> None:
        async with self._sending:
            # All packets that were sent during another request go into one, as the protocol asks for.
            packets, self._outgoing = self._outgoing, []
            if not packets:
                return
            try:
                if self._websocket is None:
                    await self._post(packets)
                    return
                for packet in packets:
                    if isinstance(packet, str):
                        await self._websocket.send_str(packet)
                    else:
                        await self._websocket.send_bytes(packet)
            except (ClientError, ConnectionError):
                self.end("transport error" if self._websocket is None else "transport close")

    async def _post(self, packets: list[str | bytes]) -> None:
        payload = _SEPARATOR.join(
            packet if isinstance(packet, str) else "b" + b64encode(packet).decode() for packet in packets
        )
        headers = {"Content-Type": "text/plain;charset=UTF-8", **self._headers}
        params = self._params("polling")
        async with self._session.post(self._path, data=payload.encode(), params=params, headers=headers) as response:
            await response.read()
        if response.status != 200:
            self.end("transport error")

    async def _close(self, websocket: ClientWebSocketResponse) -> None:
        await websocket.close()

    async def _poll(self) -> None:
        while self.reason is None and not self._moving:
            try:
                packets = await self._get()
            except (ClientError, ConnectionError, ConnectionRefused):
                self.end("transport error")
                return
            for packet in packets:
                self._take(packet)

    async def _read(self, websocket: ClientWebSocketResponse) -> None:
        while True:
            message = await websocket.receive()
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                self.end("transport close")
                return
            self._take(message.data)

    def _take(self, packet: str | bytes) -> None:
        if self.reason is not None:
            return
        if isinstance(packet, bytes):
            self._on_message(packet)
        elif packet[:1] == "4":
            self._on_message(packet[1:])
        elif packet[:1] == "2":
            self._hear()
            self.spawn(self._send(["3"]))
        elif packet[:1] == "1":
            self.end("transport close")

    def _hear(self) -> None:
        """Restart the heartbeat timer: the server is alive."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._patience, self._give_up)

    def _give_up(self) -> None:
        self.end("ping timeout")
        self._connector.reset()
