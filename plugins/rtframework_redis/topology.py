"""The place of the master of a key: one server, servers watched by Sentinel, or Redis Cluster.

redis-py asks the servers. Each reconnect asks a topology again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, cast

from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import RedisClusterException, RedisError

from rtframework.exceptions import ConfigurationError

from .address import Address, without_password
from .errors import LinkRefused, ReplyError

Source: TypeAlias = "str | Redis | Sentinel | RedisCluster | Topology"
"""What programs pass for their Redis: a URL, a client of redis-py, or a topology."""

_Sentinel: Final = cast(Any, Sentinel)
"""The class without types, which its constructor does not have."""

Place: TypeAlias = tuple[str, int]
"""Host and port of a node of a Redis Cluster."""

PATIENCE: Final = 1.0
"""Seconds for one Sentinel, or one node of a Cluster, to say where a master is; then the next one is asked."""

_SENTINEL_PORT: Final = 26379
_REDIS_PORT: Final = 6379


_SHARED: Final = frozenset(
    {"username", "password", "credential_provider", "client_name", "protocol", "ssl", "socket_keepalive"}
    | {"socket_keepalive_options", "socket_connect_timeout", "ssl_keyfile", "ssl_certfile", "ssl_cert_reqs"}
    | {"ssl_ca_certs", "ssl_ca_data", "ssl_ca_path", "ssl_check_hostname", "ssl_min_version", "ssl_ciphers"}
    | {"ssl_password", "ssl_include_verify_flags", "ssl_exclude_verify_flags"}
)
"""Settings that redis-py's clients, pools and connections all have."""


class Topology(Protocol):
    """Tells where the master of a key is."""

    async def locate(self, key: bytes = b"") -> Address:
        """Return the address of the master of a key. Raises ``LinkRefused`` if nobody can say where it is."""

    def refute(self, error: ReplyError, key: bytes = b"") -> None:
        """Learn from an error, e.g. ``MOVED``, that the last answer for this key is out of date."""

    async def close(self) -> None:
        """Close the connections with which masters are looked for."""


class SingleServer:
    """One server at one address."""

    def __init__(self, address: Address) -> None:
        self.address = address

    def __str__(self) -> str:
        return str(self.address)

    async def locate(self, key: bytes = b"") -> Address:
        """Return the address."""
        return self.address

    def refute(self, error: ReplyError, key: bytes = b"") -> None:
        """Do nothing: there is no other address."""

    async def close(self) -> None:
        """Do nothing: no connection was needed."""


class SentinelTopology:
    """The master that the Sentinels name for ``service``.

    ``sentinel``: redis-py's, for its addresses and settings. Each is asked with a time-out of ``PATIENCE`` and
    without retries, so that a Sentinel that hangs does not delay a failover.
    """

    def __init__(self, sentinel: Sentinel, service: str) -> None:
        self._service = service
        self._sentinel = sentinel
        clients = sentinel.sentinels
        places = [_place_of(client.connection_pool.connection_kwargs) for client in clients]
        settings = _shared(clients[0].connection_pool) if clients else {}
        self._own = _Sentinel(
            places,
            min_other_sentinels=sentinel.min_other_sentinels,
            sentinel_kwargs={**settings, **_quick()},
            force_master_ip=getattr(sentinel, "_force_master_ip", None),
        )

    def __str__(self) -> str:
        places = (_place_of(each.connection_pool.connection_kwargs) for each in self._own.sentinels)
        return f"redis+sentinel://{','.join(f'{host}:{port}' for host, port in places)}/{self._service}"

    async def locate(self, key: bytes = b"") -> Address:
        """Ask one Sentinel after the other."""
        try:
            host, port = await self._own.discover_master(self._service)
        except (RedisError, OSError) as error:
            raise LinkRefused(f"{self}: {error}") from error
        settings = {**self._sentinel.connection_kwargs, "host": _text(host), "port": int(port)}
        return replace(_make_address(settings), must_be_master=True)

    def refute(self, error: ReplyError, key: bytes = b"") -> None:
        """Do nothing: the Sentinels are asked each time."""

    async def close(self) -> None:
        """Close the connections to the Sentinels."""
        with suppress(RedisError, OSError):
            await self._own.aclose()


class SlotTable(NamedTuple):
    """The nodes of a Redis Cluster: the master of each slot that has one, and all nodes, replicas among them."""

    masters: dict[int, Place]
    nodes: tuple[Place, ...]


class ClusterTopology:
    """The node of Redis Cluster that has a key's slot.

    ``nodes``: at least one node, as ``(host, port)``; the others are found. ``settings``: redis-py's, for connections
    to all of them. The table of slots is read at each question, since a question is asked at a reconnect only.
    """

    def __init__(self, nodes: Sequence[tuple[str, int]], settings: Mapping[str, Any] | None = None) -> None:
        if not nodes:
            raise ConfigurationError("Redis Cluster needs the address of at least one node")
        self._seeds = list(nodes)
        self._settings = dict(settings or {})
        self._redirects: dict[int, tuple[str, int, bool]] = {}
        """For a slot, the server that an error named since the table was read."""
        self._last: dict[int, tuple[str, int]] = {}
        self._found: list[tuple[str, int]] = []
        """All nodes of the last table: the one whose address the program knows may have gone."""
        self._reading: set[asyncio.Task[SlotTable]] = set()

    def __str__(self) -> str:
        return f"redis+cluster://{','.join(f'{host}:{port}' for host, port in self._seeds)}"

    async def locate(self, key: bytes = b"") -> Address:
        """Look the key's slot up, in the table or, after a redirection, in what that said."""
        slot = key_slot(key)
        if slot in self._redirects:
            host, port, asking = self._redirects.pop(slot)  # once: if it is wrong, the table tells
        else:
            host, port = await self._look_up(slot)
            asking = False
        self._last[slot] = (host, port)
        address = _make_address({**self._settings, "host": host, "port": port})
        return replace(address, must_be_master=not asking, asking=asking)

    def refute(self, error: ReplyError, key: bytes = b"") -> None:
        """Follow a redirection at the next question."""
        slot = key_slot(key)
        redirect = error.redirect
        if redirect is not None and redirect.slot == slot:
            host = redirect.host or self._last.get(slot, self._seeds[0])[0]
            self._redirects[slot] = (host, redirect.port, redirect.asking)

    async def close(self) -> None:
        """Wait for questions whose askers were cancelled; their connections are closed as soon as the table is read."""
        if self._reading:
            await asyncio.wait(self._reading, timeout=PATIENCE)

    async def table(self) -> SlotTable:
        """Read the table of slots. Raises ``LinkRefused`` if no node answers.

        A question goes on when who asks is cancelled: redis-py would leave its connections behind. It has time-outs.
        """
        reading = asyncio.get_running_loop().create_task(self._read())
        self._reading.add(reading)
        reading.add_done_callback(self._read_it)
        return await asyncio.shield(reading)

    def _read_it(self, reading: asyncio.Task[SlotTable]) -> None:
        self._reading.discard(reading)
        if not reading.cancelled():
            reading.exception()  # perhaps nobody waits any more

    def address_of(self, place: Place, *, must_be_master: bool = True) -> Address:
        """Return the address of a node of the table."""
        host, port = place
        return replace(_make_address({**self._settings, "host": host, "port": port}), must_be_master=must_be_master)

    async def _look_up(self, slot: int) -> Place:
        masters = (await self.table()).masters
        if slot not in masters:
            raise LinkRefused(f"{self}: no node has the slot {slot}")
        return masters[slot]

    async def _read(self) -> SlotTable:
        nodes = [ClusterNode(host, port) for host, port in dict.fromkeys([*self._found, *self._seeds])]
        cluster = RedisCluster(startup_nodes=nodes, require_full_coverage=False, **{**self._settings, **_quick()})
        try:
            await cluster.initialize()
            self._found = [_place(each) for each in cluster.get_nodes()]
            masters = {slot: _place(each[0]) for slot, each in cluster.nodes_manager.slots_cache.items() if each}
            return SlotTable(masters, tuple(self._found))
        except IndexError as error:  # redis-py's, for a table without a node
            raise LinkRefused(f"{self}: no node has any slot") from error
        except (RedisError, RedisClusterException, OSError) as error:
            raise LinkRefused(f"{self}: {error}") from error
        finally:
            await cluster.aclose()


def _place(node: ClusterNode) -> Place:
    return str(node.host), int(node.port)


def _quick() -> dict[str, Any]:
    """Return the settings for connections that only ask where a master is."""
    return {"socket_timeout": PATIENCE, "socket_connect_timeout": PATIENCE, "retry": Retry(NoBackoff(), 0)}


def make_topology(source: Source) -> Topology:
    """Return the topology for what a program passes as its Redis.

    URLs: ``redis://``, ``rediss://`` and ``unix://`` as redis-py has them;
    ``redis+sentinel://user:password@host:26379,host/service/db?sentinel_username=…&sentinel_password=…``;
    ``redis+cluster://user:password@host:6379,host``. With ``rediss+…`` all connections use TLS. Objects: a
    ``redis.asyncio.Redis`` or ``RedisCluster``, whose settings are taken, one of ``Sentinel.master_for`` among them.
    Raises ``ConfigurationError``.
    """
    if isinstance(source, str):
        return _from_url(source)
    if isinstance(source, RedisCluster):
        places = [(str(node.host), int(node.port)) for node in source.startup_nodes]
        settings = source.get_connection_kwargs()
        kind = settings.get("connection_class") or Connection
        return ClusterTopology(places, _pick(settings, kind))
    if isinstance(source, Redis):
        pool = source.connection_pool
        if isinstance(pool, SentinelConnectionPool):
            return SentinelTopology(pool.sentinel_manager, pool.service_name)
        return SingleServer(Address.from_client(source))
    if isinstance(source, Sentinel):
        raise ConfigurationError("a Sentinel knows many services: pass sentinel.master_for(name)")
    if not hasattr(source, "locate"):
        kind = f"{type(source).__module__.partition('.')[0]}'s {type(source).__name__}"
        raise ConfigurationError(f"Redis is a URL, or a client of redis.asyncio, not {kind}")
    return source


def _from_url(url: str) -> Topology:
    scheme, _, rest = url.partition("://")
    if scheme not in ("redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"):
        return SingleServer(Address.from_url(url))
    base, _, kind = scheme.partition("+")
    before, question, options = rest.partition("?")
    login, at, hosts_and_path = before.rpartition("@")
    hosts, _, path = hosts_and_path.partition("/")
    port = _SENTINEL_PORT if kind == "sentinel" else _REDIS_PORT
    shown = without_password(url)
    try:
        places = [_parse_place(place, port) for place in hosts.split(",")]
        service, _, db = path.partition("/")
        # redis-py reads the login and the options; any host will do.
        settings: dict[str, Any] = {**parse_url(f"{base}://{login}{at}host:1/{db}{question}{options}")}
        own = {"username": "sentinel_username", "password": "sentinel_password"}
        for_sentinels = {name: settings.pop(option) for name, option in own.items() if option in settings}
        kind_of_connection = settings.pop("connection_class", Connection)
        Address.from_settings(kind_of_connection, settings)  # raises for options that do not exist
        shared = _pick(settings, kind_of_connection)
        if kind == "cluster":
            if path:
                raise ValueError("Redis Cluster has one database, without a name")
            return ClusterTopology(places, shared)
        if not service:
            raise ValueError("the name of the service is missing: redis+sentinel://host:26379/service")
        for_sentinels |= {name: value for name, value in shared.items() if name.startswith(("ssl", "socket_"))}
        for_sentinels |= {"protocol": shared["protocol"]} if "protocol" in shared else {}
        sentinel = _Sentinel(places, sentinel_kwargs=for_sentinels, db=settings.get("db", 0), **shared)
        return SentinelTopology(sentinel, service)
    except (ValueError, TypeError, OSError, RedisError) as error:
        raise ConfigurationError(f"{shown}: {error}") from None


def _parse_place(text: str, port: int) -> tuple[str, int]:
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        number = rest.removeprefix(":")
    else:
        host, _, number = text.partition(":")
    if not host or (number and not number.isdecimal()):
        raise ValueError(f"{text!r} is no host and port")
    return host, int(number or port)


def _place_of(settings: Mapping[str, Any]) -> tuple[str, int]:
    return str(settings.get("host", "localhost")), int(settings.get("port", _SENTINEL_PORT))


def _pick(settings: Mapping[str, Any], kind: type[Any]) -> dict[str, Any]:
    picked = {name: value for name, value in settings.items() if name in _SHARED and value is not None}
    return picked | ({"ssl": True} if issubclass(kind, SSLConnection) else {})


def _shared(pool: ConnectionPool) -> dict[str, Any]:
    return _pick(pool.connection_kwargs, pool.connection_class)


def _make_address(settings: Mapping[str, Any]) -> Address:
    """Make an address of settings as clients have them, where ``ssl`` stands for a class of connections."""
    kind = SSLConnection if settings.get("ssl") else Connection
    return Address.from_settings(kind, {name: value for name, value in settings.items() if name != "ssl"})


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
