"""The engine's tests, and what they share: a server that remembers what it heard, and HTTP by hand."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, cast

from aiohttp import ClientSession, DummyCookieJar, TCPConnector

from rtframework import Server, Socket
from rtframework.engine.engine_server import EngineServer
from rtframework.engine.inbound import Inbound
from tests.support.raw import RawClient, RawWebSocket
from tests.support.server import HOST, reset

PATIENCE = 15.0
"""Seconds that anything may take."""


class _Tidy(RawClient):
    """Keeps its websockets, to close them at the end of the test."""

    def __init__(self, session: ClientSession, url: str) -> None:
        super().__init__(session, url)
        self.opened: list[RawWebSocket] = []

    async def websocket(
        self, *, query: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> RawWebSocket:
        websocket = await super().websocket(query=query, headers=headers)
        self.opened.append(websocket)
        return websocket


@contextlib.asynccontextmanager
async def raw_client(url: str, *, keeps_alive: bool = True) -> AsyncIterator[RawClient]:
    """A client for one session, as ``tests.support.raw`` has it, that closes its websockets too."""
    connector = TCPConnector(force_close=not keeps_alive)
    async with ClientSession(cookie_jar=DummyCookieJar(), connector=connector) as session:
        client = _Tidy(session, url)
        try:
            yield client
        finally:
            for websocket in client.opened:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.5):
                        await websocket.close()


def roomy() -> Inbound:
    """An account that has room for everything."""
    return Inbound(10**12, 10**12, 30.0)


def engine_of(io: Server) -> EngineServer:
    """The inside of a server."""
    return cast("EngineServer", cast("Any", io)._server.eio)


async def eventually(condition: Callable[[], object], within: float = PATIENCE) -> None:
    """Wait until something has become true."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - a test may look at anything
            await asyncio.sleep(0.002)


async def turns_until(condition: Callable[[], object]) -> None:
    """The same for what takes a few turns of the event loop and no time."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - a test may look at anything
            await asyncio.sleep(0)


def block(seconds: float) -> None:
    """Hold the event loop up, as a handler does that computes."""
    time.sleep(seconds)


class Witness:
    """A server with the handlers that protocol tests need, which remembers what they heard.

    ``note`` keeps its first argument, ``echo`` answers with its arguments, ``hold`` answers when ``gate`` is opened.
    """

    def __init__(self, **options: Any) -> None:
        self.io = io = Server(**options)
        self.notes: list[Any] = []
        self.reasons: list[str] = []
        self.gate = asyncio.Event()
        self.holding = 0

        @io.on("note")
        def note(socket: Socket, value: Any) -> None:
            self.notes.append(value)

        @io.on("echo")
        def echo(socket: Socket, *args: Any) -> tuple[Any, ...]:
            return args

        @io.on("hold")
        async def hold(socket: Socket, value: Any = None) -> Any:
            self.holding += 1
            try:
                await self.gate.wait()
            finally:
                self.holding -= 1
            return value

        @io.on("disconnect")
        def disconnect(socket: Socket, reason: str) -> None:
            self.reasons.append(reason)

    @property
    def engine(self) -> EngineServer:
        """The inside."""
        return engine_of(self.io)

    @property
    def only(self) -> Socket:
        """The one socket of the main namespace."""
        (socket,) = self.io.sockets.values()
        return socket

    async def reason(self, within: float = PATIENCE) -> str:
        """Why the first client went away."""
        await eventually(lambda: self.reasons, within)
        return self.reasons[0]

    async def noted(self, *expected: Any, within: float = PATIENCE) -> None:
        """Wait until so many notes have come, and compare them."""
        await eventually(lambda: len(self.notes) >= len(expected), within)
        assert self.notes == list(expected)

    def assert_nothing_left(self) -> None:
        """Neither a connection nor a socket nor a room."""
        assert not self.engine.connections
        assert not self.engine.tasks
        for namespace in self.io.namespaces.values():
            assert not namespace.sockets
            assert not namespace._membership.outlets
            index = namespace.adapter.index  # type: ignore[attr-defined]
            assert len(index) == 0
            assert not index.all_rooms()


async def join(raw: RawClient, nsp: str = "") -> str:
    """Open a session by polling and join the main namespace; the socket's id."""
    await raw.handshake()
    assert (await raw.post("40" + nsp)).text == "ok"
    return _sid(await raw.receive())


async def join_websocket(raw: RawClient) -> RawWebSocket:
    """Open a session by websocket and join the main namespace."""
    websocket, _ = await raw.open_websocket()
    await websocket.send("40")
    _sid(await websocket.receive())
    return websocket


def _sid(packet: str | bytes) -> str:
    assert isinstance(packet, str)
    assert packet.startswith('40{"sid":"'), packet
    return packet[10:-2]


class Wire:
    """One TCP connection to a server, on which a test writes HTTP as badly as it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *lines: str, body: bytes = b"") -> None:
        """Write the lines of a request's head, and the beginning of its body."""
        self.writer.write("\r\n".join((*lines, "Host: localhost", "", "")).encode() + body)
        await self.writer.drain()

    async def more(self, data: bytes) -> None:
        """Write more, in a TCP segment of its own."""
        self.writer.write(data)
        await self.writer.drain()

    async def response(self) -> tuple[int, bytes]:
        """The status and body of the next response."""
        async with asyncio.timeout(PATIENCE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.split("content-length: ")[1].split("\r\n")[0]) if "content-length: " in head else 0
            return int(head.split()[1]), await self.reader.readexactly(length)

    def reset(self) -> None:
        """Go away without a word, as a phone in a tunnel does not, but the network after it."""
        reset(self.writer.transport)
        self.writer.transport.abort()


@contextlib.asynccontextmanager
async def wire(url: str) -> AsyncIterator[Wire]:
    """A TCP connection to the server at a URL."""
    reader, writer = await asyncio.open_connection(HOST, int(url.rpartition(":")[2]))
    writer.get_extra_info("socket").setsockopt(6, 1, 1)  # TCP_NODELAY: each write is a segment
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def line(raw: RawClient, method: str) -> str:
    """The first line of a request of this session, for :class:`Wire`."""
    return f"{method} /socket.io/?EIO=4&transport=polling&sid={raw.sid} HTTP/1.1"


def other_tasks() -> set[asyncio.Task[Any]]:
    """The tasks that run besides the test, with garbage gone."""
    gc.collect()
    return asyncio.all_tasks() - {task for task in (asyncio.current_task(),) if task is not None}
