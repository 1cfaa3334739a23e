"""Several servers of any kinds on one Redis, each behind a proxy of its own, with light clients."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.cluster.clients import LightClient, LightClients, light_clients
from tests.support.cluster.driven import DrivenProgram, DrivenServer
from tests.support.cluster.node_server import NodeServer, node_server
from tests.support.cluster.processes import lasting_port
from tests.support.cluster.proxy import Network, running_network
from tests.support.cluster.python_server import InProcessServer, python_server
from tests.support.cluster.python_socketio_server import python_socketio_server
from tests.support.cluster.redis_server import Persistence, RedisServer, folder_of_logs, running_redis

STREAM, RECOVERY, REMOTE = "stream", "recovery", "remote"


@dataclass(frozen=True, slots=True)
class Kind:
    """How to make a server of one kind, and what its adapter can do at all.

    ``abilities``: ``stream`` (speaks by a stream), ``recovery`` (of connections, across servers), ``remote`` (sockets
    and events of other servers, acks of broadcasts).
    """

    make: Callable[..., DrivenServer]
    abilities: frozenset[str]


KINDS: Final[dict[str, Kind]] = {
    "node-streams": Kind(functools.partial(node_server, adapter="streams"), frozenset({STREAM, RECOVERY, REMOTE})),
    "node-streams-ioredis": Kind(
        functools.partial(node_server, adapter="streams", client="ioredis"), frozenset({STREAM, RECOVERY, REMOTE})
    ),
    "node-classic": Kind(functools.partial(node_server, adapter="classic", recovery=None), frozenset({REMOTE})),
    "node-classic-ioredis": Kind(
        functools.partial(node_server, adapter="classic", client="ioredis", recovery=None), frozenset({REMOTE})
    ),
    "node-sharded": Kind(functools.partial(node_server, adapter="sharded", recovery=None), frozenset({REMOTE})),
    "node-sharded-ioredis": Kind(
        functools.partial(node_server, adapter="sharded", client="ioredis", recovery=None), frozenset({REMOTE})
    ),
    "python-socketio": Kind(python_socketio_server, frozenset()),
}
"""Kinds of servers by name; ``add_kind`` adds one of ours."""


def add_kind(name: str, adapter: str, *abilities: str, **config: Any) -> None:
    """Add our server with an adapter, ``module:factory``, to the kinds. ``config``: as of ``python_server``.

    Example::

        add_kind("python-streams", "rtframework_redis:RedisStreams", STREAM, RECOVERY, REMOTE)
    """
    KINDS[name] = Kind(functools.partial(python_server, adapter=adapter, **config), frozenset(abilities))


def add_kind_in_process(name: str, factory: Callable[..., Any], *abilities: str, **options: Any) -> None:
    """Add our server in the test's own loop, for speed: it cannot be frozen, and what it computes delays the clients.

    ``factory``: called with the URL of Redis, returns what ``Server(adapter=…)`` takes. ``options``: of ``Program``.
    """

    def make(name: str, folder: Path, *, url: str, **more: Any) -> DrivenServer:
        return InProcessServer(name, adapter=factory(url), **{**options, **more})

    KINDS[name] = Kind(make, frozenset(abilities))


class Fleet:
    """Servers by name: ``a``, ``b``, ``c`` … in the order of their kinds."""

    def __init__(
        self, redis: RedisServer, network: Network, folder: Path, kinds: Sequence[str], **options: Any
    ) -> None:
        self.redis = redis
        self.network = network
        self.folder = folder
        self.kinds = dict(zip("abcdefghijklmnop", kinds, strict=False))
        self.options = options
        self.servers: dict[str, DrivenServer] = {}
        self.clients: LightClients
        self._emitter: NodeServer | None = None
        self._ended: list[DrivenServer] = []

    @property
    def a(self) -> DrivenServer:
        """First server."""
        return self.servers["a"]

    @property
    def b(self) -> DrivenServer:
        """Second server."""
        return self.servers["b"]

    @property
    def abilities(self) -> frozenset[str]:
        """What all servers can do."""
        return frozenset.intersection(*(KINDS[kind].abilities for kind in self.kinds.values()))

    def ways(self) -> Iterator[tuple[DrivenServer, DrivenServer]]:
        """Iterate over the first two servers, in both orders if they are of different kinds.

        What was restarted in the first order is the new server in the second.
        """
        yield self.a, self.b
        if self.kinds["a"] != self.kinds["b"]:
            yield self.b, self.a

    async def start(self, name: str, **options: Any) -> DrivenServer:
        """Start a server; in the place of one that has ended, on the same port."""
        before = self.servers.get(name)
        if before is not None:
            self._ended.append(before)
        options.setdefault("port", lasting_port() if before is None else before.port)
        url = await self.network.url(name)
        make = KINDS[self.kinds[name]].make
        server = self.servers[name] = make(name, self.folder, url=url, **{**self.options, **options})
        await server.start()
        return server

    async def emitter(self) -> NodeServer:
        """Return a Node process that has ``@socket.io/redis-emitter`` and is no part of the cluster."""
        if self._emitter is None:
            self._emitter = node_server("emitter", self.folder, url=self.redis.url, adapter="memory")
            await self._emitter.start()
        return self._emitter

    async def kill_redis(self) -> None:
        """Kill Redis. Servers are refused until ``start_redis``, as without a proxy that would accept them."""
        self.redis.kill()
        for proxy in self.network.proxies.values():
            await proxy.stop()

    async def start_redis(self) -> None:
        """Start Redis again, with the data that it had persisted."""
        await self.redis.start()
        for proxy in self.network.proxies.values():
            await proxy.start()

    async def mend(self) -> None:
        """End every fault that a case has left behind, so that the next one has a whole fleet."""
        self.network.heal()
        self.redis.thaw()
        if not self.redis.program.alive:
            await self.start_redis()
        for name, server in list(self.servers.items()):
            if isinstance(server, DrivenProgram):
                server.thaw()
            if not server.alive:
                await self.start(name)

    async def connect(self, server: DrivenServer, *, rooms: Sequence[str] = (), **options: Any) -> LightClient:
        """Connect a client to a server."""
        return await self.clients.connect(server.url, rooms=rooms, **options)

    async def close(self) -> None:
        """End every server."""
        for server in [*self._ended, *self.servers.values(), *([self._emitter] if self._emitter else [])]:
            await server.close()

    async def show(self, kind: type[BaseException] | None, *_: object) -> None:
        """Print what the servers have printed, if the body of the fleet failed."""
        if kind is not None:
            for server in self.servers.values():
                print(server.logged_output(), file=sys.stderr)


@contextlib.asynccontextmanager
async def running_fleet(
    *kinds: str, persistence: Persistence = "aof", redis: RedisServer | None = None, **options: Any
) -> AsyncIterator[Fleet]:
    """Servers of these kinds on a Redis of their own, or on ``redis``; clients are to be made by ``fleet.clients``.

    ``options``: of every server: ``recovery``, ``namespaces``.
    """
    async with contextlib.AsyncExitStack() as stack:
        folder = stack.enter_context(folder_of_logs())
        if redis is None:
            redis = await stack.enter_async_context(running_redis(persistence=persistence, folder=folder))
        network = await stack.enter_async_context(running_network(redis.port))
        fleet = Fleet(redis, network, folder, kinds, **options)
        stack.push_async_callback(fleet.close)
        stack.push_async_exit(fleet.show)
        for name in fleet.kinds:
            await fleet.start(name)
        fleet.clients = await stack.enter_async_context(light_clients())
        yield fleet


@contextlib.asynccontextmanager
async def fresh_clients(fleet: Fleet) -> AsyncIterator[None]:
    """Clients of one case, which are gone after it."""
    async with light_clients() as clients:
        before, fleet.clients = getattr(fleet, "clients", None), clients
        try:
            yield
        finally:
            if before is not None:
                fleet.clients = before
