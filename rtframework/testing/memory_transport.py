"""A simulated TCP connection in memory: the server's transport, with methods for the client's side."""

from __future__ import annotations

import asyncio
from contextvars import Context, copy_context
from typing import Final, Protocol, cast

_KERNEL: Final = 65_536
"""Bytes that the simulated network buffers for a client that does not read."""


class FarEnd(Protocol):
    """Receiver of the server's bytes on the client's side; an ``asyncio.StreamReader`` is one."""

    def feed_data(self, data: bytes) -> None:
        """Take bytes that the server has sent."""

    def feed_eof(self) -> None:
        """Take the end of the server's bytes."""

    def set_exception(self, exc: Exception) -> None:
        """Take the error that has broken the connection."""


class MemoryTransport(asyncio.Transport):
    """One simulated TCP connection: the server's transport, with methods for the client's side.

    The bytes that the server writes go to ``reader``, or to ``far_end`` if given; at once, or later if the client has
    stopped reading. ``segment``: size in bytes of the pieces in which the client's bytes arrive, 0 for no splitting.
    ``address``: the client's address, as the server sees it. ``context``: the context variables of the server's side;
    the current ones by default.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        protocol: asyncio.BaseProtocol,
        *,
        segment: int = 0,
        far_end: FarEnd | None = None,
        address: str = "192.0.2.1",
        context: Context | None = None,
    ) -> None:
        super().__init__({"peername": (address, 50_000), "sockname": ("192.0.2.2", 80)})
        self.reader = asyncio.StreamReader(limit=2**24, loop=loop)
        self._far_end: FarEnd = self.reader if far_end is None else far_end
        self.ended = False
        """True once the server has been told of the end."""
        self._loop = loop
        self._context = copy_context() if context is None else context
        self._protocol = cast("asyncio.Protocol", protocol)
        self._segment = segment
        self._arriving: list[bytes] = []
        self._paused = False
        self._waiting = bytearray()
        self._held = 0
        self._reads = True
        self._closing = False
        self._eof = False
        self._full = False
        self._dead = False
        self._context.run(self._protocol.connection_made, self)

    @property
    def _sendfile_compatible(self) -> object:
        # asyncio reads this attribute before it sends a file. Only NotImplementedError makes aiohttp read and write
        # the file itself.
        raise NotImplementedError("there is no file descriptor to send a file to")

    # --- the client's side ------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Send bytes to the server."""
        step = self._segment or max(1, len(data))
        self._arriving += [data[at : at + step] for at in range(0, len(data), step)]
        self._loop.call_soon(self._arrive, context=self._context)

    def hang_up(self) -> None:
        """Close the client's side properly: the server sees the end after all bytes sent."""
        self._eof = True
        self._loop.call_soon(self._arrive, context=self._context)

    def reset(self) -> None:
        """Break the connection, as by a TCP reset (RST)."""
        if not self._dead:
            self._end(ConnectionResetError("reset by peer"))

    def die(self) -> None:
        """Stop all bytes in both directions, telling neither side, as when a cable is pulled out."""
        self._dead = True
        self._arriving.clear()
        self.stop_reading()

    def bury(self) -> None:
        """Reset a connection that :meth:`die` has stopped, so that both sides learn of the end."""
        if self._dead:
            self._dead = False
            self.reset()

    def stop_reading(self) -> None:
        """Stop reading: the network buffers 64 KiB, the rest waits in the server's write buffer."""
        self._reads = False

    def start_reading(self) -> None:
        """Read again."""
        if not self._dead:
            self._reads = True
            self._held = 0
            self._deliver()

    # --- the server's side: asyncio.Transport -----------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes to the client."""
        if self.ended:
            return
        self._waiting += data
        self._deliver()

    def get_write_buffer_size(self) -> int:
        """Return the number of bytes in the write buffer."""
        return len(self._waiting)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Ignore the limits: asyncio's default of 64 KiB is kept."""

    def is_closing(self) -> bool:
        """Tell whether the server has closed the connection, or has been told of its end."""
        return self._closing or self.ended

    def close(self) -> None:
        """Close the connection after the write buffer is empty."""
        self._closing = True
        if not self._waiting:
            self._end(None)

    def abort(self) -> None:
        """Close the connection at once, dropping the write buffer."""
        self._waiting.clear()
        self._closing = True
        self._end(None)

    def pause_reading(self) -> None:
        """Stop reading: the client's bytes stay in the network."""
        self._paused = True

    def resume_reading(self) -> None:
        """Read again."""
        self._paused = False
        self._loop.call_soon(self._arrive, context=self._context)

    def can_write_eof(self) -> bool:
        """Return true, as for TCP without TLS."""
        return True

    def write_eof(self) -> None:
        """End the server's writing; the server can still read."""
        if not self._dead:
            self._far_end.feed_eof()

    def is_reading(self) -> bool:
        """Tell whether the server reads."""
        return not self._paused and not self.is_closing()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Replace the protocol."""
        self._protocol = cast("asyncio.Protocol", protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
        return self._protocol

    # --- inside -----------------------------------------------------------------------------------------------------

    def _arrive(self) -> None:
        """Hand the next segment to the server; one per turn of the event loop."""
        if self._paused or self._dead or self.is_closing():
            return
        if self._arriving:
            self._protocol.data_received(self._arriving.pop(0))
            self._loop.call_soon(self._arrive, context=self._context)
        elif self._eof and not self._protocol.eof_received():
            self.close()

    def _deliver(self) -> None:
        room = len(self._waiting) if self._reads else max(0, _KERNEL - self._held)
        if room and self._waiting:
            taken = bytes(self._waiting[:room])
            del self._waiting[:room]
            self._held += 0 if self._reads else len(taken)
            if not self.ended and not self._dead:
                self._far_end.feed_data(taken)
        if len(self._waiting) > _KERNEL and not self._full:
            self._full = True
            self._protocol.pause_writing()
        elif self._full and not self._waiting:
            self._full = False
            self._protocol.resume_writing()
        if self._closing and not self._waiting:
            self._end(None)

    def _end(self, error: Exception | None) -> None:
        if self.ended:
            return
        self.ended = True
        if not self._dead:
            if error is None:
                self._far_end.feed_eof()
            else:
                self._far_end.set_exception(error)
        self._loop.call_soon(self._protocol.connection_lost, error, context=self._context)
