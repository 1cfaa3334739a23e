"""A websocket that is not Socket.IO's, as a test has it: messages both ways."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, Self

from aiohttp import ClientSession, ClientWebSocketResponse, CookieJar, WSMsgType, WSServerHandshakeError

from ..exceptions import ConnectionRefused, Disconnected
from .client import PATIENCE
from .idle import settle, wait
from .inbox import Inbox
from .network import MemoryConnector, memory_session

_ABNORMAL: Final = 1006
_SHOWN: Final = 120


class Host(Protocol):
    """What a client needs of its test server."""

    @property
    def http(self) -> ClientSession:
        """The session for the application's own routes, whose cookies clients send."""

    def connector(self, address: str) -> MemoryConnector:
        """Return a connector for a client with this address."""

    def raise_breach(self) -> None:
        """Raise a ``ContractError`` of the program that has not been raised yet, if any."""


class WebSocketClient:
    """A client on a websocket of its own; a subclass says what a message is."""

    def __init__(self, host: Host, websocket: ClientWebSocketResponse, session: ClientSession) -> None:
        self.close_code: int | None = None
        """The code with which the websocket was closed; 1006: it was cut off. ``None`` while it is open."""
        self.close_reason = ""
        """What the server said with it."""
        self._host = host
        self._websocket = websocket
        self._session = session
        self._inbox = Inbox()
        self._error: Exception | None = None
        self._reading = asyncio.get_running_loop().create_task(self._read())

    @classmethod
    async def open(
        cls,
        host: Host,
        path: str,
        *,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        protocols: Sequence[str],
        address: str,
        within: float,
    ) -> Self:
        """Open a websocket. Raises ``ConnectionRefused`` with the status of HTTP."""
        cookies = host.http.cookie_jar
        assert isinstance(cookies, CookieJar)
        session = memory_session(host.connector(address), "http://localhost", cookies)
        opening = asyncio.get_running_loop().create_task(
            session.ws_connect(path, params=query or None, headers=headers, protocols=protocols, max_msg_size=0)
        )
        try:
            if not await wait(opening, within):
                raise AssertionError(f"the server has not answered the handshake within {within:g} s")
            return cls(host, await opening, session)
        except WSServerHandshakeError as error:
            await session.close()
            raise ConnectionRefused(f"HTTP {error.status}", {"status": error.status}) from None
        except BaseException:
            opening.cancel()
            await session.close()
            raise

    @property
    def connected(self) -> bool:
        """True while the websocket is open."""
        return self.close_code is None

    async def receive_close(self, *, within: float = PATIENCE) -> int:
        """Wait until the websocket is closed, and return the code. Raises ``AssertionError`` if it stays open."""
        await self._until(lambda: not self.connected, within)
        if self.close_code is None:
            raise AssertionError(f"{self!r}: has not been closed within {within:g} s\n{self._received_so_far()}")
        return self.close_code

    async def close(self, code: int = 1000) -> None:
        """Close the websocket, as a page does that is left."""
        await self._websocket.close(code=code)
        self._ended("")
        await settle()

    async def lose_connection(self, *, silently: bool = False) -> None:
        """Break the connection; with ``silently`` nothing gets through any more, and the server is not told."""
        connector = self._session.connector
        assert isinstance(connector, MemoryConnector)
        if silently:
            connector.die()
        else:
            connector.reset()
        await settle()

    async def dispose(self) -> None:
        """Let go of everything, when the server has stopped."""
        self._reading.cancel()
        await asyncio.wait((self._reading,))
        connector = self._session.connector
        if isinstance(connector, MemoryConnector):
            connector.reset()
        await self._websocket.close()
        await self._session.close()

    def be_missed(self) -> None:
        """Have the server learn of a connection that was lost silently."""
        connector = self._session.connector
        if isinstance(connector, MemoryConnector):
            connector.bury()

    # --- for subclasses ---------------------------------------------------------------------------------------------

    def _take(self, data: str | bytes) -> None:
        """Take a message."""
        raise NotImplementedError

    def _received_so_far(self) -> str:
        """List what was received, for the message of a failure."""
        raise NotImplementedError

    async def _say(self, message: str | bytes) -> None:
        """Send a message. Raises ``Disconnected``."""
        await settle()
        if not self.connected:
            raise Disconnected(f"{self!r} has been closed")
        try:
            if isinstance(message, str):
                await self._websocket.send_str(message)
            else:
                await self._websocket.send_bytes(message)
        except ConnectionError:
            raise Disconnected(f"{self!r} has been closed") from None
        await settle()
        self._host.raise_breach()

    async def _until(self, condition: Any, within: float) -> None:
        """Wait for a condition, for up to so many real seconds."""
        await self._inbox.until(lambda: condition() or self._error is not None, within)
        self._host.raise_breach()
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    # --- inside -----------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        try:
            while True:
                message = await self._websocket.receive()
                if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                    break
                self._take(message.data)
                self._inbox.changed()
        except Exception as error:  # noqa: BLE001 - of a message that cannot be read: raised in the test
            self._error = error
            self._inbox.changed()
            return
        if message.type is not WSMsgType.CLOSING:  # it is we who close: close() knows the code
            self._ended(message.extra or "" if message.type is WSMsgType.CLOSE else "")

    def _ended(self, reason: str) -> None:
        if self.close_code is None:
            self.close_code = self._websocket.close_code or _ABNORMAL
            self.close_reason = reason
        self._inbox.changed()


class TestWebSocket(WebSocketClient):
    """A plain websocket of a :class:`TestServer`, made by its ``connect_websocket``.

    Messages are those of the wire, whatever codec it has. Each method returns when the server has done everything that
    it can do without time passing. ``within``: real seconds to wait for results of other threads and processes.

    Example::

        page = await server.connect_websocket("/ws", query={"token": "a"})
        assert (await page.receive())["type"] == "connected"
        await page.send({"event": "say", "args": ["hi"]})
        assert await page.receive() == {"type": "event", "event": "said", "args": ["hi"]}
    """

    __test__ = False

    def __init__(self, host: Host, websocket: ClientWebSocketResponse, session: ClientSession) -> None:
        self.received: list[Any] = []
        """All messages so far, taken or not."""
        self._taken = 0
        super().__init__(host, websocket, session)

    def __repr__(self) -> str:
        state = "open" if self.connected else f"closed: {self.close_code} {self.close_reason}".rstrip()
        return f"<TestWebSocket {state}>"

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the server has chosen."""
        return self._websocket.protocol

    async def send(self, message: Any) -> None:
        """Send a message: ``str`` and ``bytes`` as they are, anything else as JSON. Raises ``Disconnected``."""
        await self._say(message if isinstance(message, str | bytes) else json.dumps(message))

    async def receive(self, *, within: float = PATIENCE) -> Any:
        """Take the oldest message not taken yet. Text that is a JSON object or array is decoded.

        Raises ``AssertionError``, listing all messages received, if there is none.
        """
        await self._until(lambda: len(self.received) > self._taken or not self.connected, within)
        if len(self.received) <= self._taken:
            raise AssertionError(f"{self!r}: has received nothing more within {within:g} s\n{self._received_so_far()}")
        self._taken += 1
        return self.received[self._taken - 1]

    async def receive_nothing(self, *, within: float = 0.0) -> None:
        """Assert that every message has been taken, and that none is on its way. Raises ``AssertionError``."""
        await self._until(lambda: len(self.received) > self._taken, within)
        if len(self.received) > self._taken:
            raise AssertionError(f"{self!r}: has received {self.received[self._taken]!r}")

    def _take(self, data: str | bytes) -> None:
        message: Any = data
        if isinstance(data, str) and data.lstrip()[:1] in ("{", "["):
            try:
                message = json.loads(data)
            except ValueError:  # of a codec whose texts are no JSON
                message = data
        self.received.append(message)

    def _received_so_far(self) -> str:
        shown = "".join(f"\n  {repr(each)[:_SHOWN]}" for each in self.received)
        return f"received so far:{shown or ' nothing'}"
