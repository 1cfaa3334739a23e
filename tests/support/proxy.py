"""A TCP proxy that does to connections what networks do."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.support.inbox import DEFAULT_TIMEOUT
from tests.support.server import HOST, close_port, reset

_UPGRADE = re.compile(rb"^upgrade:[ \t]*websocket[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_MAX_HEAD = 65536
_REASONS = {400: "Bad Request", 403: "Forbidden", 404: "Not Found", 502: "Bad Gateway"}


@dataclass(eq=False, slots=True)
class _Link:
    """One connection that passes through."""

    client: asyncio.StreamWriter
    upstream: asyncio.StreamWriter
    flowing: asyncio.Event
    websocket: bool = False
    asked: bool = False
    """Whether the client's last bytes are still unanswered."""

    @property
    def missed(self) -> bool:
        """Whether a client would notice at once that this connection has gone."""
        return self.websocket or self.asked


class Proxy:
    """Stands between clients and one server; ``url`` is what clients are told.

    Settings may change at any time:

    - ``refuse_upgrades``: answer requests for a websocket with this HTTP status instead of passing them on. Only the
      first request of a connection is looked at: clients open a new one for a websocket.
    - ``delay``: seconds that data takes, each way.
    """

    def __init__(self, upstream: str, *, refuse_upgrades: int | None = None, delay: float = 0.0) -> None:
        self.lead_to(upstream)
        self._server: asyncio.Server | None = None
        self._tasks: dict[asyncio.Task[None], _Link | None] = {}
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._busy = asyncio.Event()
        self.refuse_upgrades = refuse_upgrades
        self.delay = delay
        self.port = 0
        self.refused = 0
        """Requests for a websocket that were refused."""
        self.accepted = 0
        """Connections accepted so far."""

    def lead_to(self, upstream: str) -> None:
        """Pass new connections on to the server at this URL, as a load balancer does; those that are open stay."""
        parts = urlsplit(upstream)
        if parts.hostname is None or parts.port is None:
            raise ValueError(f"{upstream!r} names no host and port")
        self._upstream = (parts.hostname, parts.port)

    @property
    def url(self) -> str:
        """Without a slash at the end."""
        return f"http://{HOST}:{self.port}"

    @property
    def open(self) -> int:
        """Connections that pass through at this moment."""
        return sum(link is not None for link in self._tasks.values())

    async def start(self) -> None:
        """Listen; after ``stop`` again, on the same port."""
        self._server = await asyncio.start_server(self._accept, HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse new connections and reset those that are open."""
        server, self._server = self._server, None
        if server is None:
            return
        await close_port(server)
        self._cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await server.wait_closed()

    async def cut(self, *, timeout: float = DEFAULT_TIMEOUT) -> int:
        """Reset every connection, on both sides; new ones pass. The number of connections that were cut.

        Waits for one that a client would miss, a websocket or a request without an answer: between two requests, a
        polling client would not notice.
        """
        async with asyncio.timeout(timeout):
            await self._busy.wait()
        return self._cut()

    def _cut(self) -> int:
        count = self.open
        for task, link in self._tasks.items():
            if link is not None:
                reset(link.client.transport)
                reset(link.upstream.transport)
            task.cancel()
        return count

    def strand(self) -> int:
        """Let every connection starve, for good, without a word to either side; new ones pass. How many there were.

        That is what a client sees that moves to another network: nobody tells the server that the old one is gone.
        """
        links = [link for link in self._tasks.values() if link is not None]
        for link in links:
            link.flowing = asyncio.Event()
        return len(links)

    def freeze(self) -> None:
        """Pass nothing on any more and say nothing: connections stay open, new ones are accepted and starve."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Pass on what was held back, and all that follows."""
        self._flowing.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks[task] = None
        self.accepted += 1
        try:
            await self._serve(task, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            reset(writer.transport)
        except asyncio.CancelledError:
            reset(writer.transport)  # and end quietly: the stream protocol would report a cancelled task
        finally:
            del self._tasks[task]
            self._look()
            writer.close()

    async def _serve(
        self, task: asyncio.Task[None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = b""
        if self.refuse_upgrades is not None:
            head = await reader.readuntil(b"\r\n\r\n")
            if _UPGRADE.search(head):
                await self._refuse(writer, self.refuse_upgrades)
                return
        up_reader, up_writer = await asyncio.open_connection(*self._upstream)
        link = self._tasks[task] = _Link(writer, up_writer, self._flowing)
        try:
            up_writer.write(head)
            self._passed(link, head, up=True)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(link, reader, up_writer))
                group.create_task(self._pump(link, up_reader, writer))
        except* ConnectionError:
            reset(writer.transport)
            reset(up_writer.transport)
        finally:
            up_writer.close()

    async def _refuse(self, writer: asyncio.StreamWriter, status: int) -> None:
        self.refused += 1
        head = f"HTTP/1.1 {status} {_REASONS.get(status, 'Refused')}"
        writer.write(f"{head}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()

    def _passed(self, link: _Link, data: bytes, *, up: bool) -> None:
        if not up and data.startswith(b"HTTP/1.1 101 "):
            link.websocket = True
        if data:
            link.asked = up
        self._look()

    def _look(self) -> None:
        if any(link is not None and link.missed for link in self._tasks.values()):
            self._busy.set()
        else:
            self._busy.clear()

    async def _pump(self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Reading and writing are apart, so that a delay makes data late and not slow.
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=64)
        loop = asyncio.get_running_loop()

        async def write() -> None:
            while True:
                due, data = await queue.get()
                if due > loop.time():
                    await asyncio.sleep(due - loop.time())
                await link.flowing.wait()
                if not data:
                    if writer.can_write_eof():
                        writer.write_eof()
                    return
                writer.write(data)
                self._passed(link, data, up=writer is link.upstream)
                await writer.drain()

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            while True:
                data = await reader.read(_MAX_HEAD)
                await queue.put((loop.time() + self.delay, data))
                if not data:
                    break


@contextlib.asynccontextmanager
async def running_proxy(
    upstream: str, *, refuse_upgrades: int | None = None, delay: float = 0.0
) -> AsyncIterator[Proxy]:
    """A proxy in front of the server at that URL."""
    proxy = Proxy(upstream, refuse_upgrades=refuse_upgrades, delay=delay)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
