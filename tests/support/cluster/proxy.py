"""What networks do to the connections between servers and Redis; tests.support.proxy is the one for clients.

A ``Network`` has one proxy for each server, so that one can be cut off while the others are not. Faults may concern all
connections of a server, or only those that have sent a certain command: ``doing="XREAD"`` is the reader's.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from tests.support.cluster.processes import lasting_port
from tests.support.inbox import DEFAULT_TIMEOUT
from tests.support.server import HOST, close_port, reset
from tests.support.until import until

Direction: TypeAlias = Literal["to_redis", "to_server"]

_DIRECTIONS: Final[tuple[Direction, ...]] = ("to_redis", "to_server")
_COMMAND: Final = re.compile(rb"\*\d+\r\n\$\d+\r\n([A-Za-z]+)\r\n")
_CHUNK: Final = 65536


@dataclass(eq=False)
class Connection:
    """One connection that passes through."""

    server: asyncio.StreamWriter
    """Side of the Socket.IO server."""
    redis: asyncio.StreamWriter
    commands: set[str] = field(default_factory=set)
    """Names of the commands that were sent, in capitals."""
    lines: dict[Direction, Line] = field(default_factory=dict)
    cut_before_reply: bool = False

    def cut(self) -> None:
        """Reset both sides."""
        for side in (self.server, self.redis):
            reset(side.transport)

    @property
    def is_open(self) -> bool:
        """True until one of the sides is closed."""
        return not (self.server.transport.is_closing() or self.redis.transport.is_closing())


class Line:
    """One direction of a connection."""

    def __init__(self) -> None:
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.dropping = False
        self.held = 0
        """Bytes that wait while the line is frozen."""


class RedisProxy:
    """Stands between one server and Redis. ``url`` is what the server is told.

    ``delay``: seconds that data takes, each way. ``rate``: bytes in a second, each way, ``None`` for no bound.
    ``refusing``: new connections are closed at once.
    """

    def __init__(self, port: int, name: str = "server") -> None:
        self.name = name
        self.port = lasting_port()
        self.delay = 0.0
        self.rate: float | None = None
        self.refusing = False
        self.accepted = 0
        """Connections accepted so far."""
        self.refused = 0
        """Connections refused so far."""
        self.lost_replies = 0
        """Connections that were cut instead of passing on a reply."""
        self.connections: list[Connection] = []
        self._upstream = port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._frozen: set[Direction] = set()

    @property
    def url(self) -> str:
        """URL of the proxy."""
        return f"redis://{HOST}:{self.port}"

    def doing(self, command: str | None = None) -> list[Connection]:
        """Return the open connections that have sent a command, or all."""
        return [
            each for each in self.connections if each.is_open and (command is None or command.upper() in each.commands)
        ]

    async def start(self) -> None:
        """Listen; after ``stop`` again, on the same port."""
        self._server = await asyncio.start_server(self._accept, HOST, self.port)

    async def stop(self) -> None:
        """Stop listening and reset the connections that are open."""
        server, self._server = self._server, None
        if server is not None:
            await close_port(server)
            self.cut()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await server.wait_closed()

    # --- faults -----------------------------------------------------------------------------------------------------

    def cut(self, doing: str | None = None) -> int:
        """Reset connections now; new ones pass. Return their number."""
        found = self.doing(doing)
        for each in found:
            each.cut()
        return len(found)

    def lose_next_reply(self, doing: str | None = None) -> int:
        """Cut connections as soon as a reply would pass: the command was executed, its reply is lost.

        Return the number of connections. Those that open later are not concerned.
        """
        found = self.doing(doing)
        for each in found:
            each.cut_before_reply = True
        return len(found)

    async def reply_lost(self, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Wait until a reply was lost for which ``lose_next_reply`` has been called."""
        await until(
            lambda: not any(each.cut_before_reply and each.is_open for each in self.connections), timeout=timeout
        )

    def freeze(self, doing: str | None = None, *directions: Direction) -> None:
        """Pass nothing on and say nothing: connections stay open, and new ones are accepted and starve.

        With ``doing``, only the connections that have sent that command now.
        """
        if doing is None:
            self._frozen.update(directions or _DIRECTIONS)
        for each in self.doing(doing):
            for direction in directions or _DIRECTIONS:
                each.lines[direction].flowing.clear()

    def thaw(self) -> None:
        """Pass on what was held back, and all that follows, except what ``drop`` discards."""
        self._frozen.clear()
        for each in self.connections:
            for line in each.lines.values():
                line.flowing.set()

    def drop(self, direction: Direction, doing: str | None = None) -> int:
        """Discard what goes in one direction, for good: a connection that seems alive from one side.

        Return the number of connections. New ones pass.
        """
        found = self.doing(doing)
        for each in found:
            each.lines[direction].dropping = True
        return len(found)

    # --- passing on -------------------------------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            self.refused += 1
            reset(writer.transport)
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            reset(writer.transport)  # Redis is away, or the proxy stops: the stream protocol would report the task
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(HOST, self._upstream)
        connection = Connection(writer, up_writer, lines={direction: Line() for direction in _DIRECTIONS})
        for direction in self._frozen:
            connection.lines[direction].flowing.clear()
        self.connections.append(connection)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(connection, "to_redis", reader, up_writer))
                group.create_task(self._pump(connection, "to_server", up_reader, writer))
        except* ConnectionError:
            connection.cut()
        finally:
            self.connections.remove(connection)
            reset(up_writer.transport) if writer.transport.is_closing() else up_writer.close()

    async def _pump(
        self, connection: Connection, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        # Reading and writing are apart, so that a delay makes data late and not slow.
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=64)
        loop = asyncio.get_running_loop()
        line = connection.lines[direction]

        async def write() -> None:
            while True:
                due, data = await queue.get()
                if due > loop.time():
                    await asyncio.sleep(due - loop.time())
                await line.flowing.wait()
                line.held -= len(data)
                if not data:
                    connection.cut() if connection.cut_before_reply else writer.close()
                    raise ConnectionResetError  # one side has closed: so does the other
                if direction == "to_server" and connection.cut_before_reply:
                    self.lost_replies += 1
                    connection.cut()
                    raise ConnectionResetError
                if line.dropping:
                    continue
                writer.write(data)
                await writer.drain()
                if self.rate is not None:
                    await asyncio.sleep(len(data) / self.rate)

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            while True:
                data = await reader.read(_CHUNK)
                if direction == "to_redis":
                    connection.commands.update(name.decode().upper() for name in _COMMAND.findall(data))
                line.held += len(data)
                await queue.put((loop.time() + self.delay, data))
                if not data:
                    break


class Network:
    """The proxies of several servers in front of one Redis, by the servers' names."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.proxies: dict[str, RedisProxy] = {}

    async def url(self, name: str) -> str:
        """Return the URL at which a server finds Redis; a proxy is started for a new name."""
        if name not in self.proxies:
            proxy = self.proxies[name] = RedisProxy(self._port, name)
            await proxy.start()
        return self.proxies[name].url

    def __getitem__(self, name: str) -> RedisProxy:
        return self.proxies[name]

    def partition(self, *names: str) -> None:
        """Cut servers off from Redis without a word; the others are not concerned."""
        for name in names:
            self.proxies[name].freeze()

    def heal(self) -> None:
        """End every partition and freeze."""
        for proxy in self.proxies.values():
            proxy.thaw()

    async def stop(self) -> None:
        """Stop all proxies."""
        for proxy in self.proxies.values():
            await proxy.stop()


@contextlib.asynccontextmanager
async def running_network(port: int) -> AsyncIterator[Network]:
    """A network in front of the Redis at that port of this machine."""
    network = Network(port)
    try:
        yield network
    finally:
        await network.stop()
