"""Several redis-servers: a master and a replica that Sentinels watch, and a Cluster of three masters."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

from redis.asyncio.connection import Connection
from redis.exceptions import RedisError

from tests.support.cluster.processes import Program, find_program, lasting_port
from tests.support.cluster.redis_server import RedisServer, folder_of_logs, showing
from tests.support.server import HOST

MASTER: Final = "main"
"""Name by which the Sentinels know the master."""

_AT_ONCE: Final = ("--repl-diskless-sync-delay", "0")


class Sentinels:
    """One master, one replica and three Sentinels, two of which have to agree."""

    def __init__(self, folder: Path, *, down_after: float = 0.5) -> None:
        self.servers = [RedisServer(folder, name=name, options=_AT_ONCE) for name in ("first", "second")]
        self.ports = [lasting_port() for _ in range(3)]
        self._down_after = down_after
        self._folder = folder
        self.programs = [
            Program(
                f"sentinel{number}",
                [find_program("redis-sentinel"), str(self._configuration(number, port))],
                folder,
            )
            for number, port in enumerate(self.ports)
        ]

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of every Sentinel."""
        return [(HOST, port) for port in self.ports]

    def _configuration(self, number: int, port: int) -> Path:
        path = self._folder / f"sentinel{number}.conf"
        path.write_text(
            f"port {port}\nbind {HOST}\nprotected-mode no\ndir {self._folder}\n"
            f"sentinel monitor {MASTER} {HOST} {self.servers[0].port} 2\n"
            f"sentinel down-after-milliseconds {MASTER} {round(self._down_after * 1000)}\n"
            f"sentinel failover-timeout {MASTER} 3000\n"
        )
        return path

    async def start(self, *, timeout: float = 15.0) -> None:
        """Start everything; return when each Sentinel knows the replica and the two others."""
        for server in self.servers:
            await server.start()
        await self.servers[1].command("REPLICAOF", HOST, self.servers[0].port)
        for program in self.programs:
            program.start()
        await _until(self._ready, "the Sentinels do not know each other", self.programs, timeout)

    async def _ready(self) -> bool:
        states = [_fields(await _ask(port, "SENTINEL", "MASTER", MASTER)) for port in self.ports]
        return all(
            state.get("num-slaves") == "1"
            and state.get("num-other-sentinels") == "2"
            and state.get("flags") == "master"
            for state in states
        )

    async def master(self) -> RedisServer:
        """Return the server that the first Sentinel that answers takes for the master."""
        for port in self.ports:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                _, found = await _ask(port, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)
                return next(server for server in self.servers if server.port == int(found))
        raise RuntimeError("no Sentinel answers")

    async def replica(self) -> RedisServer:
        """Return the other server."""
        master = await self.master()
        return next(server for server in self.servers if server is not master)

    async def fail_over(self, *, kill: bool = False, timeout: float = 20.0) -> RedisServer:
        """Make the replica the master, and return it: by order, or with ``kill`` because the master has died."""
        before = await self.master()
        if kill:
            before.kill()
        else:
            await _ask(self.ports[0], "SENTINEL", "FAILOVER", MASTER)

        async def moved() -> bool:
            after = await self.master()
            return after is not before and (await after.command("ROLE"))[0] == b"master"

        await _until(moved, "no failover", self.programs, timeout)
        return await self.master()


class RedisCluster:
    """Three masters that share the 16,384 slots; no replicas."""

    def __init__(self, folder: Path) -> None:
        self.servers = [
            RedisServer(
                folder,
                name=f"node{number}",
                options=[
                    *("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"),
                    *("--cluster-node-timeout", "2000", "--cluster-port", str(lasting_port())),
                ],
            )
            for number in range(3)
        ]

    @property
    def url(self) -> str:
        """URL of one node, from which a client finds the others."""
        return self.servers[0].url

    @property
    def programs(self) -> list[Program]:
        """The programs of all nodes."""
        return [server.program for server in self.servers]

    async def start(self, *, timeout: float = 20.0) -> None:
        """Start the nodes and join them."""
        for server in self.servers:
            await server.start()
        await self._cli("create", *(f"{HOST}:{server.port}" for server in self.servers), "--cluster-yes")
        await _until(self._ready, "the nodes do not agree", self.programs, timeout)

    async def _ready(self) -> bool:
        states = [(await server.command("CLUSTER", "INFO")).decode() for server in self.servers]
        return all("cluster_state:ok" in state and "cluster_slots_assigned:16384" in state for state in states)

    async def _cli(self, *args: str, timeout: float = 20.0) -> None:
        process = await asyncio.create_subprocess_exec(
            find_program("redis-cli"),
            *("--cluster", *args),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(timeout):
                output, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
        if process.returncode:
            raise RuntimeError(f"redis-cli --cluster {args[0]} failed:\n{output.decode()}")

    async def slot_of(self, key: str) -> int:
        """Return the slot of a key."""
        return int(await self.servers[0].command("CLUSTER", "KEYSLOT", key))

    async def owner(self, slot: int) -> RedisServer:
        """Return the node that has a slot."""
        for first, last, master, *_ in await self.servers[0].command("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(server for server in self.servers if server.port == master[1])
        raise RuntimeError(f"nobody has slot {slot}")

    async def move(self, slot: int) -> RedisServer:
        """Move a slot with its keys to another node, as resharding does. Return the new owner."""
        source = await self.owner(slot)
        target = next(server for server in self.servers if server is not source)
        source_id = (await source.command("CLUSTER", "MYID")).decode()
        target_id = (await target.command("CLUSTER", "MYID")).decode()
        await target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        await source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
        while keys := await source.command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            await source.command("MIGRATE", HOST, target.port, "", 0, 5000, "KEYS", *keys)
        for server in (target, source, *self.servers):
            await server.command("CLUSTER", "SETSLOT", slot, "NODE", target_id)
        return target


async def _ask(port: int, *args: str) -> Any:
    """Ask a Sentinel, in RESP2: each answer is a list of names and values."""
    client = Connection(host=HOST, port=port, socket_timeout=2, socket_connect_timeout=2, protocol=2)
    try:
        await client.connect()  # type: ignore[no-untyped-call]
        await client.send_command(*args)
        return await client.read_response()
    finally:
        await client.disconnect()


def _fields(pairs: Sequence[bytes]) -> dict[str, str]:
    texts = [each.decode() for each in pairs]
    return dict(zip(texts[::2], texts[1::2], strict=True))


async def _until(
    condition: Callable[[], Awaitable[bool]], why: str, programs: Sequence[Program], timeout: float
) -> None:
    deadline = time.monotonic() + timeout
    while True:
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            if await condition():
                return
        if time.monotonic() > deadline:
            logs = "\n".join(program.logged() for program in programs)
            raise RuntimeError(f"{why} within {timeout:g} s\n{logs}")
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def running_sentinels(*, down_after: float = 0.5) -> AsyncIterator[Sentinels]:
    """A master, a replica and three Sentinels. ``down_after``: seconds of silence after which a master is down."""
    with contextlib.ExitStack() as stack:
        fleet = Sentinels(stack.enter_context(folder_of_logs("redis-server", "redis-sentinel")), down_after=down_after)
        stack.enter_context(showing([*(server.program for server in fleet.servers), *fleet.programs]))
        await fleet.start()
        yield fleet


@contextlib.asynccontextmanager
async def running_cluster() -> AsyncIterator[RedisCluster]:
    """A Redis Cluster of three masters."""
    with contextlib.ExitStack() as stack:
        cluster = RedisCluster(stack.enter_context(folder_of_logs("redis-server", "redis-cli")))
        stack.enter_context(showing(cluster.programs))
        await cluster.start()
        yield cluster
