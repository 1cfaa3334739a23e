"""A worker's connection to its broker."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from itertools import count
from typing import Any, Final, cast

from ..exceptions import ClusterUnavailable
from . import wire

_BEAT: Final = 1.0
"""Seconds between two signs of life."""
_SILENT: Final = 5.0
"""Seconds of silence after which the broker is taken to be away."""
_CONNECT: Final = 10.0
"""Seconds in which a worker has to be welcomed."""
_AT_ONCE: Final = 64 * 1024
"""Bytes that are written before the turn of the event loop has ended."""
_LONGEST_WELCOME: Final = 1 << 20


class Link(asyncio.Protocol):
    """One connection: what is written in one turn of the event loop leaves in one piece.

    ``on_frame``: called with each frame that is no answer to :meth:`ask`; it must not wait. ``on_lost``: called once,
    when the connection has ended, unless :meth:`close` has ended it.
    """

    def __init__(self, on_frame: Callable[[bytes], None], on_lost: Callable[[], None], max_pending: int) -> None:
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._max_pending = max_pending
        self._reader = wire.FrameReader()
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._size = 0
        """Bytes in it."""
        self._requests: dict[int, Callable[[Any], None]] = {}
        self._numbers = count(1)
        self._room: asyncio.Future[None] | None = None
        """Done when there is room for more bytes; ``None`` while there is."""
        self._is_closing = False
        self.is_ready = False
        """True while something can be sent at once: the connection is open, and not too much waits."""
        self._beating: asyncio.TimerHandle | None = None
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.heard = time.monotonic()
        self.is_frozen = False
        """True in tests of a connection on which nothing passes."""

    # --- its life -----------------------------------------------------------------------------------------------------

    async def open(self, path: str, hello: wire.Hello) -> tuple[wire.Welcome, int]:
        """Connect. Return the broker's welcome, and the descriptor of the table. Raises ``OSError``."""
        loop = asyncio.get_running_loop()
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        try:
            async with asyncio.timeout(_CONNECT):
                await loop.sock_connect(sock, path)
                await loop.sock_sendall(sock, wire.control(hello))
                data, fd = await _receive_welcome(loop, sock)
        except BaseException:
            sock.close()
            raise
        frames = self._reader.feed(data)
        await loop.create_unix_connection(lambda: self, sock=sock)
        self._beating = loop.call_later(_BEAT, self._beat)
        welcome = wire.read_by_worker(frames[0])
        assert isinstance(welcome, wire.Welcome)
        return welcome, fd

    async def close(self) -> None:
        """Write what waits, and end the connection."""
        self._is_closing, self.is_ready = True, False
        if self._transport is not None and not self._ended.done():
            self._flush()
            self._transport.close()
            done, _ = await asyncio.wait([self._ended], timeout=_BEAT)
            if not done:
                self._transport.abort()
                await self._ended

    def abort(self) -> None:
        """End the connection as a crash does."""
        self._is_closing, self.is_ready = True, False
        if self._transport is not None:
            self._transport.abort()

    @property
    def is_open(self) -> bool:
        """True while something can be sent."""
        return self._transport is not None and not self._is_closing and not self._ended.done()

    @property
    def problem(self) -> str:
        """The reason why the broker does not get anything; empty if it does."""
        if self._transport is None or self._is_closing:
            return "not started"
        if self._ended.done():
            return "the broker has gone"
        silence = time.monotonic() - self.heard
        return f"the broker has said nothing for {silence:.0f} s" if silence > _SILENT else ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        it = self._transport = cast("asyncio.Transport", transport)  # uvloop's derive from nothing
        it.set_write_buffer_limits(high=self._max_pending)
        self.heard = time.monotonic()
        self.is_ready = True

    def connection_lost(self, error: Exception | None) -> None:
        if self._beating is not None:
            self._beating.cancel()
        self._ended.set_result(None)
        self._out.clear()
        self._size = 0
        requests, self._requests = self._requests, {}
        for answered in requests.values():
            answered(None)
        self.resume_writing()
        if not self._is_closing:
            self._on_lost()

    def _beat(self) -> None:
        self.send(_ALIVE)
        self._beating = asyncio.get_running_loop().call_later(_BEAT, self._beat)

    # --- what is sent -------------------------------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """Bytes that wait to be written."""
        return self._size if self._transport is None else self._size + self._transport.get_write_buffer_size()

    def send(self, frame: bytes) -> None:
        """Write a frame at the end of this turn; it is lost if the connection has ended."""
        out = self._out
        if not out:
            asyncio.get_running_loop().call_soon(self._flush)
        out.append(frame)
        self._size += len(frame)
        if self._size > _AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        out = self._out
        transport = self._transport
        if out and transport is not None and not transport.is_closing():
            transport.write(out[0] if len(out) == 1 else b"".join(out))
        out.clear()
        self._size = 0

    def pause_writing(self) -> None:
        if self._room is None:
            self._room = asyncio.get_running_loop().create_future()
            self.is_ready = False

    def resume_writing(self) -> None:
        room, self._room = self._room, None
        self.is_ready = self.is_open
        if room is not None and not room.done():
            room.set_result(None)

    def check(self) -> None:
        """Raise :class:`~rtframework.ClusterUnavailable` if nothing can be sent."""
        if not self.is_open:
            raise ClusterUnavailable("the broker of the workers has gone" if self._ended.done() else "not started")

    async def ready(self, timeout: float) -> None:
        """Wait until bytes that wait have left. Raises :class:`~rtframework.ClusterUnavailable`, also after ``timeout``
        seconds."""
        while self._room is not None:
            done, _ = await asyncio.wait([self._room], timeout=timeout)
            if not done:
                raise ClusterUnavailable(f"the broker of the workers has taken nothing for {timeout:g} s")
        self.check()

    def ask(self, answered: Callable[[Any], None]) -> int:
        """Return the number of a new request. ``answered``: called with the answer, at its place in the order of all
        messages, or with ``None`` when the connection has ended."""
        number = next(self._numbers)
        self._requests[number] = answered
        return number

    async def request(self, make: Callable[[int], bytes]) -> Any:
        """Ask the broker, and return its answer. ``make``: returns the frame, by the number of the request.

        Raises :class:`~rtframework.ClusterUnavailable` when the connection has ended.
        """
        self.check()
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def answered(found: Any) -> None:
            if not answer.done():
                answer.set_result(found)

        self.send(make(self.ask(answered)))
        found = await answer
        if found is None:
            raise ClusterUnavailable("the broker of the workers has gone")
        return found

    # --- what arrives -------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self.heard = time.monotonic()
        on_frame = self._on_frame
        for frame in self._reader.feed(data):
            on_frame(frame)

    def answered(self, request: int, answer: Any) -> None:
        """Take the answer to a request."""
        answered = self._requests.pop(request, None)
        if answered is not None:
            answered(answer)

    def freeze(self) -> None:
        """Let nothing be read or written, as if the process hung; for tests."""
        assert self._transport is not None
        self._transport.pause_reading()

    def thaw(self) -> None:
        """Go on after :meth:`freeze`."""
        assert self._transport is not None
        self._transport.resume_reading()


_ALIVE: Final = wire.control(wire.Alive())


async def _receive_welcome(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> tuple[bytes, int]:
    """Receive the first frame and the descriptor that comes with it. Raises ``ConnectionError``."""
    data, fds = b"", []
    while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:4], "little"):
        readable: asyncio.Future[None] = loop.create_future()
        loop.add_reader(sock.fileno(), _set, readable)
        try:
            await readable
        finally:
            loop.remove_reader(sock.fileno())
        most = 4 if len(data) < 4 else 4 + int.from_bytes(data[:4], "little")
        more, found, _, _ = socket.recv_fds(sock, most - len(data), 1)
        fds += found
        data += more
        if not more or len(data) > _LONGEST_WELCOME:
            for fd in fds:
                os.close(fd)
            raise ConnectionError("the broker of the workers has refused the connection")
    return data, fds[0]


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
