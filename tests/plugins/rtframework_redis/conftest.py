"""A real Redis for one test, and servers that answer as a script says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from rtframework import History, JSONSerializer, Recovery, Server
from rtframework.protocols import Serializer
from rtframework_redis import RedisPubSub, RedisStreams
from tests.support.cluster.clients import LightClient, LightClients, light_clients
from tests.support.server import RunningServer
from tests.support.until import until

HELLO: Final = b"%3\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"
"""The answer to HELLO 3, shortened."""
GREETING: Final = {b"HELLO": HELLO, b"CLIENT": b":7\r\n", b"PING": b"+PONG\r\n", b"SELECT": b"+OK\r\n"}
"""Answers to the commands of a connection that is being opened."""


def free_port() -> int:
    """Return a free port of 127.0.0.1; the one 10,000 above it is free, too: the second port of a Cluster's node.

    Both are below those that systems give to outgoing connections, so that nobody takes one while a server restarts.
    """
    while True:
        port = random.SystemRandom().randrange(12_000, 22_000)
        with socket.socket() as probe, socket.socket() as second, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            second.bind(("127.0.0.1", port + 10_000))
            return port


class RedisServer:
    """One redis-server in a folder of its own, on a port and on a Unix socket."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.port = free_port()
        self.path = folder / "redis.sock"
        self._folder = folder
        self._arguments = arguments
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """The URL of the port."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def unix_url(self) -> str:
        """The URL of the Unix socket."""
        return f"unix://{self.path}?db=0"

    async def start(self) -> None:
        """Start it, and return when it takes connections."""
        self._process = await asyncio.create_subprocess_exec(
            *("redis-server", "--port", str(self.port), "--unixsocket", str(self.path), "--bind", "127.0.0.1"),
            *("--dir", str(self._folder), "--save", "", *self._arguments),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        await until(lambda: self._listens() or self._has_ended())
        assert not self._has_ended(), "redis-server has ended at once"

    def _has_ended(self) -> bool:
        return self._process is None or self._process.returncode is not None

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.path))
            except OSError:
                return False
            return True

    def freeze(self) -> None:
        """Stop it from running; its sockets stay open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it run again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def kill(self) -> None:
        """End it as a crash does."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
            await process.wait()
            self.path.unlink(missing_ok=True)


@pytest.fixture
async def redis_server() -> AsyncIterator[Callable[..., Awaitable[RedisServer]]]:
    """``server = await redis_server("--requirepass", "secret")``; skips the test without redis-server."""
    if shutil.which("redis-server") is None:
        pytest.skip("there is no redis-server")
    async with contextlib.AsyncExitStack() as stack:

        async def start(*arguments: str) -> RedisServer:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rtf")))  # short: it names a socket
            server = RedisServer(folder, *arguments)
            stack.push_async_callback(server.kill)
            await server.start()
            return server

        yield start


Answer = bytes | Callable[["Peer", list[bytes]], Awaitable[bytes | None] | bytes | None]


@dataclass
class Peer:
    """One connection to a scripted server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    received: list[list[bytes]] = field(default_factory=list)

    async def read_command(self) -> list[bytes] | None:
        """Return the next command, or ``None`` at the end."""
        try:
            count = int((await self.reader.readline())[1:])
            command = []
            for _ in range(count):
                size = int((await self.reader.readline())[1:])
                command.append((await self.reader.readexactly(size + 2))[:-2])
        except (ValueError, asyncio.IncompleteReadError, OSError):
            return None
        self.received.append(command)
        return command

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)


class FakeServer:
    """Answers commands by a table: bytes, or a function that gets the connection and the command.

    A command that the table lacks gets no answer.
    """

    def __init__(self, answers: dict[bytes, Any], tls: ssl.SSLContext | None) -> None:
        self.answers = {**GREETING, **answers}
        self.peers: list[Peer] = []
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """The URL, without TLS."""
        return f"redis://127.0.0.1:{self.port}/0"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        self.peers.append(peer)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            while (command := await peer.read_command()) is not None:
                answer = self.answers.get(command[0].upper())
                if callable(answer):
                    answer = answer(peer, command)
                    if asyncio.iscoroutine(answer):
                        answer = await answer
                if answer:
                    peer.write(answer)
        writer.transport.abort()

    async def stop(self) -> None:
        """Close all connections, and listen no more."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


Fake = Callable[..., Awaitable[FakeServer]]


@pytest.fixture
async def fake_server() -> AsyncIterator[Fake]:
    """``server = await fake_server({b"GET": b"+hello\\r\\n"})``."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(answers: dict[bytes, Any] | None = None, tls: ssl.SSLContext | None = None) -> FakeServer:
            server = FakeServer(answers or {}, tls)
            await server.start()
            stack.push_async_callback(server.stop)
            return server

        yield start


def write_certificates(folder: Path) -> tuple[Path, Path]:
    """Return a certificate for 127.0.0.1 that has signed itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    pkcs8 = serialization.PrivateFormat.PKCS8
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, pkcs8, plain))
    return paths


def count_sockets() -> int:
    """Return the number of open sockets of this process; 0 where the system has no ``/proc``."""
    count = 0
    for descriptor in Path("/proc/self/fd").glob("*"):
        with contextlib.suppress(OSError):  # the one by which the folder is read
            count += os.readlink(descriptor).startswith("socket:")
    return count


@pytest.fixture(autouse=True)
async def nothing_left() -> AsyncIterator[None]:
    """Fail a test that leaves a task behind, or a socket."""
    before = asyncio.all_tasks()
    sockets = count_sockets()
    yield
    await until(lambda: count_sockets() <= sockets)
    ours = {asyncio.current_task()}
    assert {task for task in asyncio.all_tasks() - before - ours if not task.done()} == set()


class Cluster:
    """Servers in the test's loop, on one Redis."""

    def __init__(self, stack: contextlib.AsyncExitStack, url: str, clients: LightClients) -> None:
        self._stack = stack
        self._url = url
        self.clients = clients
        self.told: list[tuple[Any, ...]] = []

    async def pair(self, url: str) -> tuple[list[Server], list[LightClient]]:
        """Start two servers at another Redis, and connect a client to each."""
        started = [await self.server(url=url) for _ in range(2)]
        clients = [await self.clients.connect(running.url) for _, running, _ in started]
        return [io for io, _, _ in started], clients

    async def server(
        self,
        *,
        recovery: bool = True,
        url: str | None = None,
        serializer: Serializer | None = None,
        history: Sequence[History] = (),
        **options: Any,
    ) -> tuple[Server, RunningServer, RedisStreams]:
        """Start a server."""
        streams = RedisStreams(url or self._url, **options)
        io = Server(
            adapter=streams,
            serializer=serializer or JSONSerializer(),
            connection_state_recovery=Recovery(skip_middlewares=True) if recovery else None,
            history=history,
        )
        return io, await self._run(io), streams

    async def pubsub(
        self, *, url: str | None = None, serializer: Serializer | None = None, **options: Any
    ) -> tuple[Server, RunningServer, RedisPubSub]:
        """Start a server with Pub/Sub."""
        pubsub = RedisPubSub(url or self._url, **options)
        io = Server(adapter=pubsub, serializer=serializer or JSONSerializer())
        return io, await self._run(io), pubsub

    async def _run(self, io: Server) -> RunningServer:
        io._host.cluster.hear(lambda *args: self.told.append(args))
        running = RunningServer(io)
        await running.start()
        self._stack.push_async_callback(running.stop)
        return running


@pytest.fixture
async def cluster(redis_server: Callable[..., Awaitable[RedisServer]]) -> AsyncIterator[tuple[Cluster, RedisServer]]:
    """``cluster, redis``."""
    redis = await redis_server()
    async with contextlib.AsyncExitStack() as stack:
        clients = await stack.enter_async_context(light_clients())
        yield Cluster(stack, redis.url, clients), redis
