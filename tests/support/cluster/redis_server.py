"""A real redis-server that a test can kill, freeze, empty and fill."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError
from redis.exceptions import ConnectionError as NotConnected
from redis.exceptions import TimeoutError as NotAnswered

from tests.support.cluster.processes import Program, find_program, lasting_port
from tests.support.server import HOST

STREAM: Final = "socket.io"
"""Key of the stream of Node's adapter."""

Persistence: TypeAlias = Literal["none", "aof"]


class RedisServer:
    """One redis-server on a port and a Unix socket, which keep their names when it is started again."""

    def __init__(
        self, folder: Path, *, name: str = "redis", persistence: Persistence = "none", options: Sequence[str] = ()
    ) -> None:
        self.port = lasting_port()
        self.socket = folder / f"{name}.sock"
        self.folder = folder / f"{name}-data"
        self.folder.mkdir()
        aof = ("--appendonly", "yes", "--appendfsync", "always") if persistence == "aof" else ()
        command = [
            find_program("redis-server"),
            *("--bind", HOST, "--port", str(self.port), "--unixsocket", str(self.socket), "--dir", str(self.folder)),
            *("--save", "", "--protected-mode", "no", "--daemonize", "no", *aof, *options),
        ]
        self.program = Program(name, command, folder)

    @property
    def url(self) -> str:
        """URL of the TCP port."""
        return f"redis://{HOST}:{self.port}"

    @property
    def unix_url(self) -> str:
        """URL of the Unix socket."""
        return f"unix://{self.socket}"

    # --- its life ---------------------------------------------------------------------------------------------------

    async def start(self, *, timeout: float = 5.0) -> None:
        """Start the server and wait until it answers and has loaded its data."""
        self.program.start()
        await self.answers(timeout=timeout)

    async def answers(self, *, timeout: float = 5.0) -> None:
        """Wait until the server answers a PING."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                await self.command("PING", timeout=1.0)
            except (OSError, NotConnected, BusyLoadingError, NotAnswered):
                if not self.program.alive or time.monotonic() > deadline:
                    raise RuntimeError(f"redis-server does not answer\n{self.program.logged()}") from None
                await asyncio.sleep(0.01)
            else:
                return

    def kill(self) -> None:
        """Kill the server (SIGKILL): clients are told at once, and what was not persisted is gone."""
        self.program.kill()

    async def restart(self, *, empty: bool = False) -> None:
        """Kill the server and start it again on the same port. ``empty``: without the data that it had persisted."""
        self.kill()
        if empty:
            shutil.rmtree(self.folder)
            self.folder.mkdir()
        await self.start()

    def freeze(self) -> None:
        """Stop the process: connections stay open, new ones are accepted by the kernel, and nobody answers."""
        self.program.freeze()

    def thaw(self) -> None:
        """Let the process go on."""
        self.program.thaw()

    # --- its clients and data ---------------------------------------------------------------------------------------

    async def command(self, *args: str | bytes | int | float, timeout: float = 5.0) -> Any:
        """Run one command on a connection of its own, which no fault of a client can touch, and never twice."""
        client = Redis(
            host=HOST,
            port=self.port,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
            single_connection_client=True,
            decode_responses=False,
        )
        try:
            return await client.execute_command(*args)  # type: ignore[no-untyped-call]
        finally:
            await client.aclose()

    async def kill_clients(self, kind: Literal["normal", "pubsub", "all"] = "all") -> int:
        """Close the connections of clients: those that subscribe, the others, or all. Return their number."""
        kinds = ("normal", "pubsub") if kind == "all" else (kind,)
        return sum([int(await self.command("CLIENT", "KILL", "TYPE", each, "SKIPME", "yes")) for each in kinds])

    async def clients(self) -> list[dict[str, str]]:
        """List the connections of clients, without that of this command."""
        text = (await self.command("CLIENT", "LIST")).decode()
        rows = [dict(field.split("=", 1) for field in line.split(" ")) for line in text.splitlines()]
        return [row for row in rows if not row["cmd"].startswith("client|list")]

    async def info(self, section: str = "default") -> dict[str, Any]:
        """Return the fields of INFO."""
        found: dict[str, Any] = await self.command("INFO", section)
        return found

    async def set_maxmemory(self, size: int, policy: str = "noeviction") -> None:
        """Bound the memory, in bytes, 0 for no bound: beyond it, commands that write fail or keys are evicted."""
        await self.command("CONFIG", "SET", "maxmemory", size, "maxmemory-policy", policy)

    async def trim(self, keep: int = 0, *, stream: str = STREAM) -> None:
        """Discard all but the last entries of a stream. The key, and the last id, stay."""
        await self.command("XTRIM", stream, "MAXLEN", "=", keep)

    async def delete(self, *ids: str, stream: str = STREAM) -> None:
        """Delete entries of a stream, or without ids the stream itself, with its last id."""
        await (self.command("XDEL", stream, *ids) if ids else self.command("DEL", stream))

    async def entries(self, *, stream: str = STREAM) -> list[tuple[str, dict[str, str]]]:
        """Return the entries of a stream: the id and the fields."""
        found = await self.command("XRANGE", stream, "-", "+")
        return [
            (id.decode(), {key.decode(): value.decode() for key, value in _pairs(fields).items()})
            for id, fields in found
        ]

    async def flush(self) -> None:
        """Delete everything."""
        await self.command("FLUSHALL")

    async def subscribers(self, channel: str) -> int:
        """Count the subscriptions of a channel, as servers do to know how many answers to expect."""
        found = await self.command("PUBSUB", "NUMSUB", channel)
        return int(_pairs(found)[channel.encode()])


def _pairs(found: Any) -> dict[bytes, Any]:
    if isinstance(found, dict):
        return found
    return dict(zip(found[::2], found[1::2], strict=True)) if found and isinstance(found[0], bytes) else dict(found)


@contextlib.contextmanager
def folder_of_logs(*programs: str) -> Iterator[Path]:
    """A folder that is removed at the end. Raises ``MissingProgram`` if one of the programs is not installed."""
    for program in programs:
        find_program(program)
    with tempfile.TemporaryDirectory(prefix="rtf-cluster-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextlib.contextmanager
def showing(programs: Sequence[Program]) -> Iterator[None]:
    """End the programs, whatever happens; print their logs if the body fails."""
    try:
        yield
    except BaseException:
        for program in programs:
            print(program.logged(), file=sys.stderr)
        raise
    finally:
        for program in programs:
            program.kill()


@contextlib.asynccontextmanager
async def running_redis(
    *, persistence: Persistence = "none", options: Sequence[str] = (), folder: Path | None = None, name: str = "redis"
) -> AsyncIterator[RedisServer]:
    """A redis-server that is gone at the end. Its log is printed if the body fails."""
    with contextlib.ExitStack() as stack:
        place = folder or stack.enter_context(folder_of_logs("redis-server"))
        server = RedisServer(place, name=name, persistence=persistence, options=options)
        stack.enter_context(showing([server.program]))
        await server.start()
        yield server
