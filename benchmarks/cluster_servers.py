"""Servers of a cluster, their Redis, and clients that see what arrives: what benchmarks/cluster.py measures."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from rtframework_redis.address import Address
from rtframework_redis.handshake import connect
from rtframework_redis.link import Link

from .peers import HERE, MODULES, SERVERS
from .runner import Failed, free_port

PATIENCE: Final = 120.0
_TEST_MODULES: Final = HERE.parent / "tests/js/node_modules"
_START_TIMEOUT: Final = 120.0


@dataclass(frozen=True, slots=True)
class Kind:
    """A server and its adapter. ``ghosts``: it can have a receiver that costs nothing to send to."""

    key: str
    title: str
    ghosts: bool = True

    @property
    def is_node(self) -> bool:
        """True if it runs on Node."""
        return self.key.startswith("node:")


KINDS: Final = {
    kind.key: kind
    for kind in (
        Kind("ours:local-first", "rtframework, RedisStreams"),
        Kind("ours:stream", 'rtframework, RedisStreams, delivery="stream"'),
        Kind("ours:pubsub", "rtframework, RedisPubSub"),
        Kind("node:streams", "Node, redis-streams-adapter"),
        Kind("node:classic", "Node, redis-adapter"),
        Kind("node:sharded", "Node, redis-adapter, sharded"),
        Kind("python-socketio", "python-socketio, AsyncRedisManager", ghosts=False),
    )
}


def missing(kind: Kind) -> str | None:
    """Return why a kind cannot be had here, ``None`` if it can."""
    if kind.is_node:
        if shutil.which("node") is None:
            return "Node is missing"
        return None if node_folder() is not None else "Node's adapters are missing"
    if kind.key == "ours:pubsub":
        import rtframework_redis

        return None if hasattr(rtframework_redis, "RedisPubSub") else "there is no RedisPubSub yet"
    return None


def node_folder() -> Path | None:
    """Return the folder whose node_modules have Node's adapters: the benchmarks' own, or the tests'."""
    for modules in (MODULES, _TEST_MODULES):
        if (modules / "@socket.io/redis-streams-adapter").is_dir():
            return modules.parent
    return None


@dataclass(slots=True)
class Redis:
    """A Redis of its own."""

    port: int
    link: Link

    async def cpu(self) -> float:
        """Return the microseconds of CPU time that it has used."""
        found = {}
        for line in bytes(await self.link.send("INFO", "cpu")).decode().splitlines():
            name, _, value = line.partition(":")
            found[name] = value
        return (float(found["used_cpu_sys"]) + float(found["used_cpu_user"])) * 1e6

    async def connections(self) -> int:
        """Return the number of connections, but for this one."""
        return len(bytes(await self.link.send("CLIENT", "LIST")).splitlines()) - 1


@contextlib.asynccontextmanager
async def running_redis() -> AsyncIterator[Redis]:
    """Start a Redis with its default settings, but for what it writes to disk."""
    program = shutil.which("redis-server")
    if program is None:
        raise Failed("redis-server is missing")
    with tempfile.TemporaryDirectory(prefix="rtf") as folder:
        port = free_port()
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
        try:
            address = Address.from_url(f"redis://127.0.0.1:{port}")
            async with asyncio.timeout(_START_TIMEOUT):
                while True:
                    try:
                        link = await connect(address)
                        break
                    except Exception:  # noqa: BLE001 - it starts
                        await asyncio.sleep(0.05)
            yield Redis(port, link)
            await link.close()
        finally:
            process.kill()
            await process.wait()


@dataclass(slots=True)
class Server:
    """A server that takes commands."""

    kind: Kind
    port: int
    process: asyncio.subprocess.Process

    async def do(self, command: str, **options: Any) -> Any:
        """Have a command carried out. Raises ``Failed`` if it takes too long or the server ends."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": command, **options}).encode() + b"\n")
        return (await self._answer(PATIENCE))["value"]

    async def started(self) -> None:
        """Wait until it serves."""
        await self._answer(_START_TIMEOUT)

    async def _answer(self, timeout: float) -> dict[str, Any]:
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(timeout):
                line = await self.process.stdout.readline()
        except TimeoutError:
            raise Failed(f"{self.kind.title} does not answer") from None
        if not line:
            raise Failed(f"{self.kind.title} has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextlib.asynccontextmanager
async def running_servers(kind: Kind, redis: Redis | Path, count: int) -> AsyncIterator[list[Server]]:
    """Start servers on one Redis, or workers whose broker is in a directory."""
    where = str(redis.port if isinstance(redis, Redis) else redis)
    servers: list[Server] = []
    try:
        for _ in range(count):
            port = free_port()
            if kind.is_node:
                command = [
                    "node",
                    str(SERVERS / "cluster.mjs"),
                    kind.key,
                    str(port),
                    where,
                    str(node_folder()),
                ]
            else:
                command = [sys.executable, str(SERVERS / "cluster.py"), kind.key, str(port), where]
            pipe = asyncio.subprocess.PIPE
            process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
            servers.append(Server(kind, port, process))
        for server in servers:
            await server.started()
        yield servers
    finally:
        for server in servers:
            with contextlib.suppress(ProcessLookupError):
                server.process.kill()
        for server in servers:
            await server.process.wait()


@dataclass(slots=True)
class Client:
    """A client on a websocket: counts events, notes marks, and how long ago the times in events were."""

    _websocket: aiohttp.ClientWebSocketResponse
    events: int = 0
    marks: set[str] = field(default_factory=set)
    delays: list[float] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    """Namespaces that have let it in."""
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self) -> None:
        """Take everything that comes."""
        async for message in self._websocket:
            text = message.data
            if text == "2":
                await self._websocket.send_str("3")
            elif text.startswith('42["news"'):
                self.events += 1
            elif text.startswith('42["time",'):
                self.delays.append(time.monotonic() - float(text[10 : text.index("]", 10)].partition(",")[0]))
            elif text.startswith('42["mark",'):
                self.marks.add(json.loads(text[2:])[1])
                self._news.set()
            elif text.startswith("40"):
                self.seen.add(text[2 : text.find(",")] if text[2:3] == "/" else "/")
                self._news.set()
            elif text.startswith("44"):
                raise Failed(f"a client was refused: {text}")

    async def send(self, packet: str) -> None:
        """Send a packet of Engine.IO."""
        await self._websocket.send_str(packet)

    async def until(self, mark: str | None = None, nsp: str | None = None) -> None:
        """Wait for a mark, or until a namespace has let it in."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not (mark in self.marks if mark is not None else nsp in self.seen):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise Failed(f"a client has not seen {mark or nsp}") from None


@contextlib.asynccontextmanager
async def connected(server: Server) -> AsyncIterator[Client]:
    """Connect a client to the main namespace."""
    url = f"ws://127.0.0.1:{server.port}/socket.io/?EIO=4&transport=websocket"
    async with aiohttp.ClientSession() as session, session.ws_connect(url, compress=0, autoping=False) as websocket:
        client = Client(websocket)
        reading = asyncio.ensure_future(client.read())
        await client.send("40")
        await client.until(nsp="/")
        yield client
        reading.cancel()
        await asyncio.wait([reading])
