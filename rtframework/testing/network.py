"""A simulated network in memory between an aiohttp server and aiohttp clients."""

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
    """The client's transport, the other end of a :class:`MemoryTransport`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._loop = loop
        self._protocol = protocol
        self._line: MemoryTransport | None = None
        self._closing = False

    def connect(self, line: MemoryTransport) -> None:
        """Connect to the server's transport, and start the client's protocol."""
        self._line = line
        self._protocol.connection_made(self)

    # --- called by the server's transport ---------------------------------------------------------------------------

    def feed_data(self, data: bytes) -> None:
        """Hand the server's bytes to the client's protocol."""
        if not self._closing:
            self._protocol.data_received(data)

    def feed_eof(self) -> None:
        """Close, because the server has ended its writing."""
        if not self._closing:
            self._protocol.eof_received()
            self.close()

    def set_exception(self, exc: Exception) -> None:
        """End the connection with an error."""
        self._lose(exc)

    # --- the client's side: asyncio.Transport -----------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes to the server."""
        if self._line is not None and not self._closing:
            self._line.send(bytes(data))

    def close(self) -> None:
        """Close after all bytes written have arrived."""
        if self._line is not None and not self._closing:
            self._line.hang_up()
        self._lose(None)

    def abort(self) -> None:
        """Break the connection at once."""
        if self._line is not None and not self._closing:
            self._line.reset()
        self._lose(None)

    def die(self) -> None:
        """Stop all bytes in both directions, telling neither side."""
        if self._line is not None:
            self._line.die()

    def bury(self) -> None:
        """Reset a connection that :meth:`die` has stopped, so that both sides learn of the end."""
        if self._line is not None:
            self._line.bury()

    def is_closing(self) -> bool:
        """Tell whether the transport is closed or closing."""
        return self._closing

    def is_over(self) -> bool:
        """Tell whether the connection has ended on both sides."""
        return self._closing and (self._line is None or self._line.ended)

    def pause_reading(self) -> None:
        """Stop reading: the server's bytes wait in its write buffer."""
        if self._line is not None:
            self._line.stop_reading()

    def resume_reading(self) -> None:
        """Read again."""
        if self._line is not None:
            self._line.start_reading()

    def get_write_buffer_size(self) -> int:
        """Return 0: the network takes all bytes at once."""
        return 0

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Replace the protocol."""
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
        return self._protocol

    def _lose(self, error: Exception | None) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self._protocol.connection_lost, error)


class MemoryConnector(BaseConnector):
    """Connects a client session to a server in the same process.

    ``serve``: makes the server's protocol for one connection; ``None`` if the server does not run. ``address``: the
    client's address, as the server sees it. ``context``: makes the context variables of the server's side.
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
        """Stop all bytes of all connections in both directions, telling neither side."""
        for end in self._ends:
            end.die()

    def bury(self) -> None:
        """Reset the connections that :meth:`die` has stopped, so that both sides learn of the end."""
        for end in self._ends:
            end.bury()

    def reset(self) -> None:
        """Break all connections. Both sides are told, except the server after :meth:`die`."""
        for end in self._ends:
            end.abort()


def memory_session(
    connector: MemoryConnector, base_url: str, cookies: AbstractCookieJar | None = None
) -> ClientSession:
    """Make a client session for a connector, without timeouts."""
    return ClientSession(
        base_url,
        connector=connector,
        timeout=ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
        cookie_jar=DummyCookieJar() if cookies is None else cookies,
    )
