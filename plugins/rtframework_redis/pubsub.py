"""``RedisPubSub``: several servers, of this framework and of Node, as one, over Pub/Sub of Redis."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final

from rtframework.cluster.classic_wire import request_channel
from rtframework.cluster.messages import new_id
from rtframework.cluster.pubsub_wire import SubscriptionMode, public_channel
from rtframework.cluster.python_socketio_wire import CHANNEL
from rtframework.exceptions import ClusterUnavailable, ConfigurationError
from rtframework.protocols import Emitter
from rtframework.types import ClusterNode, ClusterTraffic, Health, Target

from .background import Background
from .channels import Channels, ChannelSet, CountingChannels
from .classic_adapter import ClassicAdapter
from .cluster_channels import ClusterChannels
from .emitters import Emitters
from .node_leases import Connection, NodeLeases
from .presence_carriers import ChannelCarrier
from .presence_store import RedisPresence
from .pubsub_adapter import PubSubAdapter, Take
from .sharded_adapter import ShardedAdapter
from .starting import starting
from .topology import ClusterTopology, Source, make_topology
from .value_store import RedisStore

_MANAGERS: Final = CHANNEL.encode()

_STOP: Final = 2.0
"""Seconds in which the lease is given back at the end."""

_MODES: Final = {False: ("dynamic", "static"), True: ("dynamic", "static", "dynamic-private")}


class RedisPubSub:
    """Joins servers by Pub/Sub of Redis, in the wire of ``@socket.io/redis-adapter`` 8.3. It keeps nothing.

    ``redis``: a URL (``redis://``, ``rediss://``, ``unix://``, with Sentinel or Cluster), or a client of redis-py whose
    settings are used. ``sharded``: the wire of Node's ``createShardedAdapter``, for Redis 7 and newer. ``name``: the
    name of this server in the cluster. ``subscription_mode``: ``"dynamic"`` subscribes to the channels of rooms that
    have a socket here, ``"static"`` to all of a namespace; ``"dynamic-private"``, for ``sharded``, to those of single
    sockets, too. All servers with ``sharded`` have the same mode. ``channel_prefix``: Node's ``key`` or
    ``channelPrefix``. ``requests_timeout``: seconds for the answers to ``fetch_sockets``, Node's ``requestsTimeout``.
    ``publish_on_specific_response_channel``: Node's option for the classic adapter. ``publish_timeout``: seconds after
    which ``emit`` raises ``ClusterUnavailable``. ``max_pending``: bytes on their way to Redis beyond which ``emit``
    waits. ``max_message``: bytes that one message may have. ``emitters``: listen to python-socketio's ``write_only``
    managers, too, and with ``sharded`` to ``@socket.io/redis-emitter``, which classic servers hear anyway.

    Connection state recovery is not possible: use :class:`RedisStreams`.

    Example::

        io = Server(adapter=RedisPubSub("redis://localhost"))
    """

    def __init__(
        self,
        redis: Source,
        *,
        sharded: bool = False,
        name: str | None = None,
        subscription_mode: SubscriptionMode = "dynamic",
        channel_prefix: str = "socket.io",
        requests_timeout: float = 5.0,
        publish_on_specific_response_channel: bool = False,
        publish_timeout: float = 5.0,
        max_pending: int = 8 * 1024 * 1024,
        max_message: int = 4_000_000,
        emitters: bool = True,
    ) -> None:
        modes = _MODES[bool(sharded)]
        if subscription_mode not in modes:
            raise ConfigurationError(f"subscription_mode is one of {', '.join(modes)}, not {subscription_mode!r}")
        for option, size in (("max_pending", max_pending), ("max_message", max_message)):
            if not isinstance(size, int) or size < 1:
                raise ConfigurationError(f"{option} is a whole number from 1, not {size!r}")
        for option, seconds in (("publish_timeout", publish_timeout), ("requests_timeout", requests_timeout)):
            if not seconds > 0:
                raise ConfigurationError(f"{option} is a time in seconds, not {seconds!r}")
        make_topology(redis)  # a mistake in the address shows here
        self._redis = redis
        self._node = name or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self.sharded = sharded
        self.subscription_mode: SubscriptionMode = subscription_mode
        self.channel_prefix = channel_prefix
        self.requests_timeout = requests_timeout
        self.publishes_directly = publish_on_specific_response_channel
        self.max_message = max_message
        self.uid = new_id()
        self.gaps = 0
        """Gaps that were found so far."""
        self.published = 0
        """Messages that were sent to the other servers."""
        self.received = 0
        """Messages of the other servers that have come."""
        self._reconnects = 0
        self._timeout = publish_timeout
        self._max_pending = max_pending
        self.adapters: dict[str, PubSubAdapter] = {}
        self._takes: dict[bytes, Take] = {}
        self._emitters = Emitters(channel_prefix, self.adapters) if emitters else None
        if self._emitters is not None:
            self._takes[_MANAGERS] = self._emitters.hear_manager
        self._prefix_length = len(channel_prefix.encode())
        self._background = Background()
        self._channels: ChannelSet | None = None
        self._is_up = self._has_server = False
        self._came_up = asyncio.Event()
        self.store = RedisStore(lambda: self.channels.connection(self._leases_key), self._tag, publish_timeout)
        """Small values of all servers."""
        self._presence: RedisPresence | None = None
        self._carrier: ChannelCarrier | None = None
        self.leases: NodeLeases

    def __call__(self, nsp: str, emitter: Emitter) -> PubSubAdapter:
        """Make the adapter of a namespace. Raises ``ConfigurationError`` for a second server, or one with recovery."""
        if nsp == "/":
            if self._has_server:
                raise ConfigurationError("this RedisPubSub joins another server already: each server needs its own")
            self._has_server = True
        return (ShardedAdapter if self.sharded else ClassicAdapter)(self, nsp, emitter)

    def __repr__(self) -> str:
        return f"<RedisPubSub {self._node}>"

    @property
    def node(self) -> str:
        """The name of this server in the cluster."""
        return self._node

    @property
    def health(self) -> Health:
        """The state of the connections to Redis."""
        channels = self._channels
        if channels is None:
            return Health(False, "not started")
        return Health(True) if channels.is_up else Health(False, channels.problem)

    @property
    def traffic(self) -> ClusterTraffic:
        """What was sent and received so far."""
        channels = self._channels
        pending, now = (0, 0) if channels is None else (channels.pending, channels.reconnects)
        return ClusterTraffic(self.published, self.received, pending, self._reconnects + now)

    @property
    def channels(self) -> ChannelSet:
        """The channels in Redis. Raises :class:`~rtframework.ClusterUnavailable` before the start."""
        if self._channels is None:
            raise ClusterUnavailable("the server has not started, and is not connected to Redis")
        return self._channels

    def presence_store(self) -> RedisPresence:
        """Make the store of presence. Raises ``ConfigurationError`` for sharded channels in a Redis Cluster."""
        if self.sharded and isinstance(make_topology(self._redis), ClusterTopology):
            raise ConfigurationError(
                "presence is told in one step with its change, and sharded channels of a Redis Cluster are at many "
                "nodes: use RedisStreams, or RedisPubSub without sharded"
            )
        command = "SPUBLISH" if self.sharded else "PUBLISH"
        self._carrier = ChannelCarrier(self, command=command, tag=self._tag, timeout=self._timeout)
        self._presence = RedisPresence(self._carrier)
        return self._presence

    @property
    def presence_channel(self) -> bytes:
        """The channel that tells this server that everything before has come."""
        return f"{self.channel_prefix}-presence#{self.uid}#".encode()

    @property
    def presence_connection(self) -> Connection:
        """The connection for commands of presence."""
        return self.channels.connection(self._leases_key)

    # --- with the server ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect. Raises :class:`~rtframework.ClusterUnavailable` if Redis cannot be reached, or refuses."""
        self.uid = new_id()
        self._came_up = asyncio.Event()
        channels = self._channels = self._make_channels()
        self.leases = NodeLeases(
            channels.connection(self._leases_key),
            tag=self._tag,
            name=self._node,
            uid=self.uid,
            sockets=self._count_sockets,
            timeout=self._timeout,
            count=self._count,
        )
        if self._carrier is not None:
            self._takes[self.presence_channel] = self._carrier.hear
            channels.subscribe("SSUBSCRIBE" if self.sharded else "SUBSCRIBE", self.presence_channel)
        if self._emitters is not None:
            channels.subscribe("SUBSCRIBE", _MANAGERS)
            if self.sharded:
                channels.subscribe("PSUBSCRIBE", *(each.encode() for each in self._emitters.patterns))
        with starting(lambda: channels.problem) as seconds:
            await channels.start(seconds)
            await self.leases.start()

    def _make_channels(self) -> ChannelSet:
        probe = f"{self.channel_prefix}-probe#{self.uid}#"
        shared: dict[str, Any] = {
            "timeout": self._timeout,
            "max_pending": self._max_pending,
            "on_message": self._hear,
            "takes": self._takes,
            "on_gap": self._gap,
            "on_state": self._state,
        }
        topology = make_topology(self._redis)
        if isinstance(topology, ClusterTopology):
            if self.sharded:
                return ClusterChannels(topology, probe=probe.encode(), **shared)
            more: dict[str, Any] = {"sharded": False, "key": self._leases_key, "probe": probe.encode()}
            return CountingChannels(topology, lambda: make_topology(self._redis), **more, **shared)
        return Channels(
            lambda: make_topology(self._redis), sharded=self.sharded, key=b"", probe=probe.encode(), **shared
        )

    async def stop(self) -> None:
        """Disconnect."""
        channels = self._channels
        if channels is not None:
            self._takes.pop(self.presence_channel, None)
            await self.leases.close(_STOP)
            self._reconnects += channels.reconnects
            self._channels = None
            await channels.close()
        self._is_up = False
        await self._background.stop()

    def open(self, adapter: PubSubAdapter, takes: Mapping[bytes, Take]) -> None:
        """Let a namespace take part, with its channels and what handles their messages."""
        self.adapters[adapter.nsp] = adapter
        self._takes.update(takes)

    def close(self, adapter: PubSubAdapter, takes: Mapping[bytes, Take]) -> None:
        """Let a namespace take part no longer."""
        if self.adapters.get(adapter.nsp) is adapter:
            del self.adapters[adapter.nsp]
            for channel in takes:
                self._takes.pop(channel, None)

    def spawn(self, work: Awaitable[Any]) -> None:
        """Run something in the background."""
        self._background.spawn(work)

    async def nodes(self) -> list[ClusterNode]:
        """Describe all servers of the cluster, this one among them. Node's servers are only counted.

        Raises :class:`~rtframework.ClusterUnavailable`.
        """
        if self._channels is None:
            return []
        channel = public_channel if self.sharded else request_channel
        return await self.leases.nodes(channel("/", self.channel_prefix))

    async def others(self, adapter: PubSubAdapter, channel: bytes) -> dict[str, str] | int:
        """Return the names of the other servers that subscribe to a channel, or their number if Node's are among them.

        Raises :class:`~rtframework.ClusterUnavailable`.
        """
        channels = self.channels
        if not channels.is_up:  # their answers would not arrive
            await self._until_up(channels)
        return await self.leases.others(adapter.nsp, channel.decode(), adapter)

    async def _count(self, channel: str) -> int:
        return await self.channels.count(channel.encode())

    def _count_sockets(self) -> int:
        return sum(len(adapter.sockets(Target())) for adapter in self.adapters.values())

    @property
    def _tag(self) -> str:
        """What stands between braces in the keys of leases: servers with another wire are another cluster."""
        return f"{self.channel_prefix}-{'sharded' if self.sharded else 'classic'}"

    @property
    def _leases_key(self) -> bytes:
        return f"sio:nodes:{{{self._tag}}}".encode()

    async def _until_up(self, channels: ChannelSet) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                while not channels.is_up:
                    self._came_up.clear()
                    await self._came_up.wait()
        except TimeoutError:
            raise ClusterUnavailable(f"Redis cannot be reached: {channels.problem}") from None

    # --- what arrives -------------------------------------------------------------------------------------------------

    def _hear(self, channel: bytes, payload: bytes, by_pattern: bool) -> None:
        """Handle a message of a room's channel, or of a pattern."""
        if by_pattern and self.sharded:
            if self._emitters is not None:
                self._emitters.hear(channel, payload)
            return
        adapter = self._adapter_of(channel)
        if adapter is not None:
            adapter.hear_event(payload)

    def _adapter_of(self, channel: bytes) -> PubSubAdapter | None:
        """Return the adapter of a channel: of a room, or of a namespace itself."""
        rest = channel[self._prefix_length :].partition(b"#")[2].decode(errors="replace")
        found = self.adapters.get(rest.partition("#")[0])
        if found is None:  # the namespace's name has a # itself
            for nsp, adapter in self.adapters.items():
                if "#" in nsp and rest.startswith(f"{nsp}#"):
                    return adapter
        return found

    # --- faults -------------------------------------------------------------------------------------------------------

    def _gap(self, since: float, channels: Sequence[bytes] | None) -> None:
        """Tell of messages that may have been missed, in all namespaces or in those of some channels."""
        self.gaps += 1
        adapters = list(self.adapters.values()) if channels is None else dict.fromkeys(map(self._adapter_of, channels))
        for adapter in adapters:
            if adapter is not None:
                adapter._emitter.gap(since)

    def _state(self) -> None:
        """Tell the server if the others can be reached."""
        is_up = self._channels is not None and self._channels.is_up
        if is_up != self._is_up:
            self._is_up = is_up
            if is_up:
                self._came_up.set()
                self.leases.connected()
                if self._presence is not None:
                    self._presence.connected()
            for adapter in list(self.adapters.values())[:1]:
                adapter._emitter.state(is_up)
