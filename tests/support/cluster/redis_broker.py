"""A real Redis as the broker of the conformance suite for clusters, each server behind a proxy of its own."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rtframework.protocols import Backbone
from rtframework.testing import ClusterBroker
from tests.support.cluster.proxy import Network, running_network
from tests.support.cluster.redis_server import RedisServer, folder_of_logs, running_redis


async def spoil(redis: RedisServer, nsp: str) -> None:
    """Add entries to the stream, and publish messages, that no server of a namespace understands."""
    for fields in (
        ("x", "y"),
        ("uid", "u", "nsp", nsp, "type", "3", "data", "{"),
        ("uid", "u", "nsp", nsp, "type", "3"),
        ("uid", "u", "nsp", nsp, "type", "x", "data", "{}"),
        ("uid", "u", "nsp", nsp, "type", "99", "data", "{}"),
        ("uid", "u", "nsp", nsp, "type", "3", "data", "AAAA"),
        ("uid", b"\xff", "nsp", b"\xfe", "type", "3", "data", b"\xff"),
        ("uid", "u", "nsp", nsp, "type", "3", "data", '{"packet":{"type":2,"data":{}},"opts":{"rooms":[]}}'),
        ("uid", "u", "nsp", "/", "type", "2", "gap", "rubbish"),
    ):
        await redis.command("XADD", "socket.io", "*", *fields)
    for channel in (f"socket.io#{nsp}#", f"socket.io#{nsp}#x#", f"socket.io-request#{nsp}#", "socketio"):
        for payload in (b"", b"\xff", b"{", b"\x93\x01", b"null", b'{"type":99}', b'{"uid":1}'):
            await redis.command("PUBLISH", channel, payload)


class RedisBroker(ClusterBroker):
    """``make``: called with the URL of Redis and the name of a server, returns its backbone.

    ``publishes``, ``listens``: the commands by which a server's connections are known.
    """

    def __init__(
        self, make: Callable[[str, str], Backbone], *, publishes: str = "XADD", listens: str = "XREAD"
    ) -> None:
        self._make = make
        self._publishes = publishes
        self._listens = listens
        self._stack = contextlib.AsyncExitStack()
        self._saved: Path | None = None
        self.redis: RedisServer
        self.network: Network

    async def start(self) -> None:
        """Start Redis."""
        folder = self._stack.enter_context(folder_of_logs("redis-server"))
        self.redis = await self._stack.enter_async_context(running_redis(persistence="aof", folder=folder))
        self.network = await self._stack.enter_async_context(running_network(self.redis.port))
        for name in ("n0", "n1", "n2"):
            await self.network.url(name)

    async def stop(self) -> None:
        """Stop it."""
        await self._stack.aclose()

    def backbone(self, name: str) -> Backbone:
        """Make a server's backbone, behind its own proxy."""
        return self._make(self.network[name].url, name)

    # --- the broker ---------------------------------------------------------------------------------------------------

    async def kill(self) -> None:
        """Kill Redis; connections are refused."""
        self.redis.kill()
        for proxy in self.network.proxies.values():
            await proxy.stop()

    async def revive(self, *, empty: bool = False) -> None:
        """Start it again."""
        await self._start(None, empty)

    async def _start(self, data: Path | None, empty: bool) -> None:
        if empty or data is not None:
            shutil.rmtree(self.redis.folder)
        if data is not None:
            shutil.copytree(data, self.redis.folder)
        self.redis.folder.mkdir(exist_ok=True)
        await self.redis.start()
        for proxy in self.network.proxies.values():
            await proxy.start()

    async def freeze(self) -> None:
        """Stop the process (SIGSTOP)."""
        self.redis.freeze()

    async def thaw(self) -> None:
        """Let it go on."""
        self.redis.thaw()

    async def empty(self) -> None:
        """Delete everything."""
        await self.redis.flush()

    async def trim(self) -> None:
        """Discard all entries of the stream but one."""
        await self.redis.trim(1)

    async def save(self) -> None:
        """Copy what Redis has written down."""
        self._saved = self.redis.folder.with_name("saved")
        shutil.copytree(self.redis.folder, self._saved)

    async def rewind(self) -> None:
        """Start Redis with the copy."""
        await self.kill()
        await self._start(self._saved, empty=False)

    async def rubbish(self) -> None:
        """Add and publish what no server understands."""
        await spoil(self.redis, "/n")

    # --- one server's connections -------------------------------------------------------------------------------------

    async def cut(self, name: str) -> None:
        """Reset a server's connections."""
        self.network[name].cut()

    async def isolate(self, name: str) -> None:
        """Pass nothing on."""
        self.network[name].freeze()

    async def rejoin(self, name: str) -> None:
        """Pass everything on."""
        self.network[name].thaw()

    async def crash(self, name: str) -> None:
        """Reset a server's connections, and refuse new ones."""
        proxy = self.network[name]
        proxy.refusing = True
        proxy.cut()

    async def lose_reply(self, name: str) -> None:
        """Cut the writing connection before its next reply."""
        self.network[name].lose_next_reply(self._publishes)

    async def deafen(self, name: str) -> None:
        """Discard what comes on the reading connection."""
        assert self.network[name].drop("to_server", self._listens)

    # --- what the suite asks ------------------------------------------------------------------------------------------

    async def connections(self) -> int:
        """Count the connections."""
        return len(await self.redis.clients())

    async def subscriptions(self) -> int:
        """Count the subscriptions."""
        kinds = ("sub", "psub", "ssub")
        return sum(int(client.get(kind, 0)) for client in await self.redis.clients() for kind in kinds)

    async def messages(self) -> Sequence[Any]:
        """Return the entries of the stream."""
        return [
            {**fields, "data": json.loads(fields["data"])}
            for _, fields in await self.redis.entries()
            if fields.get("data", "").startswith("{")
        ]
