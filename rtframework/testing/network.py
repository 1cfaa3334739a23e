"""A network in memory between an aiohttp server and aiohttp clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any

from aiohttp import BaseConnector, ClientConnectionError, ClientSession, ClientTimeout, DummyCookieJar

from .memory_transport import MemoryTransport

if TYPE_CHECKING:
    from aiohttp import ClientRequest
    from aiohttp.abc import AbstractCookieJar
    from aiohttp.client_proto import ResponseHandler


class ClientEnd(asyncio.Transport):
    """The client's side of a :class:`MemoryTransport`: the transport of a client's protocol."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._loop = loop
        self._protocol = protocol
        self._line: MemoryTransport | None = None
        self._closing = False

    def connect(self, line: MemoryTransport) -> None:
        """The line is there: begin."""
        self._line = line
        self._protocol.connection_made(self)

    # --- what the line calls ----------------------------------------------------------------------------------------

    def feed_data(self, data: bytes) -> None:
        """The server has sent something."""
        if not self._closing:
            self._protocol.data_received(data)

    def feed_eof(self) -> None:
        """The server has closed its side: close this one."""
        if not self._closing:
            self._protocol.eof_received()
            self.close()

    def set_exception(self, exc: Exception) -> None:
        """The connection is broken."""
        self._lose(exc)

    # --- what the client calls --------------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send to the server."""
        if self._line is not None and not self._closing:
            self._line.send(bytes(data))

    def close(self) -> None:
        """Close once what was written has arrived."""
        if self._line is not None and not self._closing:
            self._line.hang_up()
        self._lose(None)

    def abort(self) -> None:
        """Close now."""
        if self._line is not None and not self._closing:
            self._line.reset()
        self._lose(None)

    def die(self) -> None:
        """From now on nothing gets through, neither way, and nobody is told."""
        if self._line is not None:
            self._line.die()

    def bury(self) -> None:
        """If nothing gets through any more, let both sides hear of it."""
        if self._line is not None:
            self._line.bury()

    def is_closing(self) -> bool:
        """Return whether it is closed, or will be."""
        return self._closing

    def is_over(self) -> bool:
        """Return whether the server has heard of the end, too."""
        return self._closing and (self._line is None or self._line.ended)

    def pause_reading(self) -> None:
        """Leave what comes with the server."""
        if self._line is not None:
            self._line.stop_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if self._line is not None:
            self._line.start_reading()

    def get_write_buffer_size(self) -> int:
        """Nothing: the line takes all."""
        return 0

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Exchange the protocol."""
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The protocol."""
        return self._protocol

    def _lose(self, error: Exception | None) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self._protocol.connection_lost, error)


class MemoryConnector(BaseConnector):
    """Connects a client session to a server in the same process.

    ``serve`` makes the protocol for one connection, ``context`` the context variables that it sees.
    """

    def __init__(
        self, serve: Callable[[], asyncio.BaseProtocol | None], address: str, context: Callable[[], Context]
    ) -> None:
        super().__init__(limit=0)
        self._ends: list[ClientEnd] = []
        self._serve = serve
        self._address = address
        self._context = context

    async def _create_connection(self, req: ClientRequest, traces: Any, timeout: ClientTimeout) -> ResponseHandler:
        protocol = self._serve()
        if protocol is None:
            raise ClientConnectionError("the server does not run")
        client: ResponseHandler = self._factory()
        end = ClientEnd(self._loop, client)
        line = MemoryTransport(self._loop, protocol, far_end=end, address=self._address, context=self._context())
        self._ends = [end for end in self._ends if not end.is_over()]
        self._ends.append(end)
        end.connect(line)
        return client

    def die(self) -> None:
        """From now on nothing gets through, neither way, and nobody is told."""
        for end in self._ends:
            end.die()

    def bury(self) -> None:
        """Where nothing gets through any more, let both sides hear of it."""
        for end in self._ends:
            end.bury()

    def reset(self) -> None:
        """Break all connections: both sides hear of it, but for servers to which nothing gets through."""
        for end in self._ends:
            end.abort()


def memory_session(
    connector: MemoryConnector, base_url: str, cookies: AbstractCookieJar | None = None
) -> ClientSession:
    """A client session by a connector, without timeouts of its own."""
    return ClientSession(
        base_url,
        connector=connector,
        timeout=ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
        cookie_jar=DummyCookieJar() if cookies is None else cookies,
    )
