"""A client connection by a websocket that is not Socket.IO's: what all protocols on it have in common."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, Generic, Protocol, TypeVar

import aiohttp

from .client import explain
from .endpoint import Endpoint
from .errors import Exit, Failure
from .received import Received
from .sockjs_websocket import SockJSWebSocket, session_path
from .values import show_text

K = TypeVar("K")
M = TypeVar("M")
C = TypeVar("C", bound="WebSocketConnection[Any, Any]")

_GOODBYE: Final = 1.0
"""Seconds that a proper close may take."""
_REFUSALS: Final = (401, 403)


class AnyWebSocket(Protocol):
    """A websocket: aiohttp's, or one of SockJS."""

    @property
    def close_code(self) -> int | None:
        """The code with which it was closed."""

    async def send_str(self, message: str, /) -> None:
        """Send text."""

    async def send_bytes(self, message: bytes, /) -> None:
        """Send bytes."""

    async def receive(self) -> aiohttp.WSMessage:
        """Receive a message, or the end."""

    async def close(self) -> object:
        """Close it."""


class WebSocketConnection(ABC, Generic[M, K]):
    """A client of one server. A subclass makes messages of what comes, and takes events and answers out of them.

    ``M``: a message of the protocol; ``K``: what an event and its answer have in common.
    """

    def __init__(self, endpoint: Endpoint, websocket: AnyWebSocket) -> None:
        self.endpoint = endpoint
        self.id = ""
        self._websocket = websocket
        self._events: asyncio.Queue[Received] = asyncio.Queue()
        self._asked: dict[K, asyncio.Future[list[Any]]] = {}
        self._last_id = 0
        self._lost: asyncio.Future[Failure] = asyncio.get_running_loop().create_future()
        self._reading: asyncio.Task[None] | None = None

    @abstractmethod
    async def open(self) -> None:
        """Be let in, and call ``_begin``. Raises ``Failure``."""

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
                await self._say_goodbye()
                await self._websocket.close()

    # --- for subclasses ---------------------------------------------------------------------------------------------

    @abstractmethod
    async def _receive(self) -> M:
        """Receive a message, made of what ``_receive_data`` returns."""

    @abstractmethod
    def _take(self, message: M) -> None:
        """Take an event or an answer out of a message."""

    async def _say_goodbye(self) -> None:
        """Say what comes before the websocket is closed."""

    def _begin(self) -> None:
        """Read from now on."""
        self._reading = asyncio.create_task(self._read())

    async def _ask(self, event: str | int, id: K, send: Callable[[], Any], timeout: float) -> list[Any]:
        """Send an event, and wait for the answer that is taken as that of ``id``."""
        answer = self._asked[id] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout):
                await send()
                return list(await self._first(answer))
        except TimeoutError:
            raise Failure(f'"{event}" was not answered within {timeout:g} s', Exit.TIMED_OUT) from None

    def _answered(self, id: Any, args: list[Any]) -> bool:
        """Take an answer. ``False`` if nothing of this id was asked."""
        asked = self._asked.pop(id, None)
        if asked is not None and not asked.done():
            asked.set_result(args)
        return asked is not None

    async def _say(self, message: str | bytes) -> None:
        """Send a message."""
        websocket = self._websocket
        await (websocket.send_str(message) if isinstance(message, str) else websocket.send_bytes(message))

    async def _send(self, message: str | bytes) -> None:
        """Send a message. Raises ``Failure`` when the connection has ended."""
        try:
            await self._say(message)
        except ConnectionError:
            raise (await self._lost) from None

    async def _receive_data(self) -> str | bytes:
        """Receive data. Raises ``Failure`` at the end of the connection."""
        message = await self._websocket.receive()
        if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            code = self._websocket.close_code
            why = message.extra if message.type is aiohttp.WSMsgType.CLOSE else ""
            raise Failure(
                f"the connection was lost ({show_text(why or 'transport close')}, code {code or 1006})", Exit.LOST
            )
        data: str | bytes = message.data
        return data

    async def _read(self) -> None:
        try:
            while True:
                self._take(await self._receive())
        except Failure as failure:
            if not self._lost.done():
                self._lost.set_result(failure)

    async def _first(self, awaited: asyncio.Future[Any]) -> Any:
        """Wait for a future and return its result. Raises ``Failure`` if the connection is lost before."""
        try:
            await asyncio.wait((awaited, self._lost), return_when=asyncio.FIRST_COMPLETED)
            if awaited.done():
                return awaited.result()
            raise self._lost.result()
        finally:
            awaited.cancel()

    def _speaks_otherwise(self, name: str, why: str) -> Failure:
        """Make the failure for a server that speaks something else."""
        return Failure(f"what answers at {self.endpoint.resource} does not speak {name}: {why}", Exit.UNREACHABLE)


@contextlib.asynccontextmanager
async def connect_websocket(
    endpoint: Endpoint,
    make: Callable[[Endpoint, AnyWebSocket], C],
    subprotocol: str,
    query: Mapping[str, str],
) -> AsyncIterator[C]:
    """Connect to a server, and disconnect at the end. Raises ``Failure``."""
    async with aiohttp.ClientSession(headers=endpoint.headers) as session:
        connection: C | None = None
        try:
            try:
                async with asyncio.timeout(endpoint.timeout):
                    connection = make(endpoint, await _open(endpoint, session, subprotocol, query))
                    await connection.open()
            except TimeoutError:
                raise Failure(
                    f"{endpoint.resource}: it did not answer within {endpoint.timeout:g} s", Exit.UNREACHABLE
                ) from None
            yield connection
        finally:
            if connection is not None:
                await connection.close()


async def _open(
    endpoint: Endpoint, session: aiohttp.ClientSession, subprotocol: str, query: Mapping[str, str]
) -> AnyWebSocket:
    url = endpoint.query_url(query, session_path() if endpoint.sockjs else "")
    protocols = () if endpoint.sockjs else (subprotocol,)
    try:
        websocket = await session.ws_connect(url, protocols=protocols, max_msg_size=0, ssl=not endpoint.insecure)
        return SockJSWebSocket(websocket, endpoint.resource) if endpoint.sockjs else websocket
    except aiohttp.WSServerHandshakeError as error:
        if error.status in _REFUSALS:
            raise Failure(f"refused by {endpoint.resource} (HTTP {error.status})", Exit.FAILED) from None
        hint = ": see the path of the URL" if error.status == 404 else ""
        raise Failure(f"{endpoint.resource} opens no websocket (HTTP {error.status}){hint}", Exit.UNREACHABLE) from None
    except (aiohttp.ClientError, OSError) as error:
        raise Failure(explain(error, endpoint), Exit.UNREACHABLE) from None
