"""Pub/Sub at one server of Redis: a connection that publishes, one that subscribes, and a probe of both."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from rtframework.exceptions import ClusterUnavailable

from .address import Address
from .channel_publisher import ChannelPublisher
from .commander import Commander, ignore
from .errors import LinkError, LinkRefused, ReplyError
from .keeper import Keeper, Opened, Pauses
from .link import STALE, Link, LinkOptions, wall_time
from .subscriptions import Command, Subscriptions
from .topology import ClusterTopology, Place, SingleServer, Topology

if TYPE_CHECKING:
    from rtframework.cluster.pending import Emit

    from .node_leases import Connection

PROBE: Final = 4.0
"""Seconds between two messages of a server to itself; one that is late at two looks is lost."""

GRACE: Final = 2.0
"""Seconds that the channel of a room is listened to after its last socket has left."""

SETTLE: Final = 1.2
"""Seconds, after both connections were lost, in which the other servers may subscribe again before messages that have
waited are published: what is published before they have is lost. They try at least once a second."""

_MOST_SUBSCRIBING: Final = 64 * 1024 * 1024
"""Bytes of commands for subscriptions that may wait for their confirmations."""


class OnGap(Protocol):
    """Called when messages may have been missed, once they are received again."""

    def __call__(self, since: float, channels: Sequence[bytes] | None, /) -> None:
        """Take a time, in seconds since the epoch, and the channels; ``None``: all of them."""


class ChannelSet(Protocol):
    """Channels that servers publish to and subscribe to, wherever in Redis they are."""

    @property
    def is_up(self) -> bool:
        """True while everything that is published arrives, here and elsewhere."""

    @property
    def is_listening(self) -> bool:
        """True while what is subscribed to arrives; new subscriptions take a moment."""

    @property
    def problem(self) -> str:
        """The reason why it is not up."""

    @property
    def pending(self) -> int:
        """Bytes that are on their way to Redis."""

    @property
    def reconnects(self) -> int:
        """Connections that were opened again after one had ended."""

    async def start(self, timeout: float) -> None:
        """Connect, and subscribe. Raises ``LinkError``."""

    async def close(self) -> None:
        """Disconnect."""

    def subscribe(self, command: Command, *channels: bytes) -> asyncio.Future[None] | None:
        """Subscribe: see :meth:`Subscriptions.subscribe`."""

    def leave(self, *channels: bytes) -> None:
        """End subscriptions after a while: see :meth:`Subscriptions.leave`."""

    def drop(self, *channels: bytes) -> None:
        """End subscriptions at once: see :meth:`Subscriptions.drop`."""

    async def publish(self, channel: bytes, payload: bytes, emit: Emit | None = None) -> None:
        """Publish a message. Raises :class:`~rtframework.ClusterUnavailable`.

        ``emit``: is told if the message is lost after its emitter was cancelled.
        """

    def post(self, channel: bytes, payload: bytes) -> None:
        """Publish a message that may get lost."""

    def connection(self, key: bytes) -> Connection:
        """Return the connection for commands that concern a key."""

    async def count(self, channel: bytes) -> int:
        """Count the subscriptions to a channel. Raises :class:`~rtframework.ClusterUnavailable`."""


class Channels:
    """Channels at one server.

    ``topology``: called for each of the two connections, which each need their own. ``sharded``: SPUBLISH and
    SHARDNUMSUB in place of PUBLISH and NUMSUB. ``probe``: a channel of this connection alone. ``on_message``,
    ``takes``: see :class:`Subscriptions`. ``on_gap``: see :class:`OnGap`. ``on_state``: called when ``is_up`` may have
    changed. ``on_refused``, ``slot_of``, ``stale``, ``on_failure``: for a node of a Redis Cluster, see
    :class:`Subscriptions` and :class:`ChannelPublisher`.
    """

    def __init__(
        self,
        topology: Callable[[], Topology],
        *,
        sharded: bool,
        key: bytes,
        probe: bytes,
        timeout: float,
        max_pending: int,
        on_message: Callable[[bytes, bytes, bool], None],
        takes: Mapping[bytes, Callable[[bytes], None]] | None = None,
        on_gap: OnGap,
        on_state: Callable[[], None],
        on_refused: Callable[[Sequence[bytes], ReplyError | None], bool] | None = None,
        slot_of: Callable[[bytes], int] | None = None,
        stale: frozenset[str] = STALE,
        on_failure: Callable[[Exception], None] | None = None,
    ) -> None:
        self._publish: Literal["PUBLISH", "SPUBLISH"] = "SPUBLISH" if sharded else "PUBLISH"
        self._subscribe: Command = "SSUBSCRIBE" if sharded else "SUBSCRIBE"
        self._numsub = "SHARDNUMSUB" if sharded else "NUMSUB"
        self.probe = probe
        self._on_message = on_message
        self._on_gap = on_gap
        self._on_state = on_state
        self.publisher = ChannelPublisher(
            topology(),
            self._publish,
            key=key,
            timeout=timeout,
            max_pending=max_pending,
            on_state=on_state,
            stale=stale,
            on_failure=on_failure,
            may_begin=lambda: self._settled_at,
        )
        self.subscriptions = Subscriptions(
            self._hear,
            takes=takes,
            timeout=timeout,
            grace=GRACE,
            on_late=lambda channels, since: on_gap(since, channels),
            on_refused=on_refused,
            slot_of=slot_of,
        )
        self.subscriber = Keeper(
            topology(),
            key=key,
            name="rtframework-subscriber",
            on_up=self._up,
            on_push=self.subscriptions.push,
            on_down=on_failure,
            on_failure=on_failure,
            options=LinkOptions(max_pending=_MOST_SUBSCRIBING, stale=stale),
            pauses=Pauses(eager=True),
        )
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._probing: _Probe | None = None
        self._ping: _Probe | None = None
        self._whole_at: float | None = None
        """The last time at which everything surely arrived, in seconds since the epoch; ``None`` at first."""
        self._settled_at = 0.0
        """The time, by ``wall_time``, from which messages are published on a new connection."""
        self._number = 0

    @property
    def whole_at(self) -> float:
        """The last time at which everything that was published surely arrived here, in seconds since the epoch."""
        return time.time() if self._whole_at is None else self._whole_at

    def move_probe(self, probe: bytes) -> None:
        """Take another channel for messages of this server to itself."""
        self.subscriptions.forget(self.probe)
        self._probing = None
        self.probe = probe
        self.subscriptions.subscribe(self._subscribe, probe)

    @property
    def is_up(self) -> bool:
        """True while both connections are."""
        return self.publisher.is_up and self.is_listening

    @property
    def is_listening(self) -> bool:
        """True while there is a connection with all subscriptions."""
        return self.subscriptions.is_restored

    @property
    def problem(self) -> str:
        """The reason why it is not up."""
        return self.subscriber.health.problem or self.publisher.problem

    @property
    def pending(self) -> int:
        """Bytes that are on their way to Redis."""
        return self.publisher.pending

    @property
    def reconnects(self) -> int:
        """Connections that were opened again after one had ended."""
        return sum(max(0, each.health.connects - 1) for each in (self.subscriber, self.publisher.keeper))

    async def start(self, timeout: float) -> None:
        """Connect, and subscribe. Raises ``LinkError``, and ``ClusterUnavailable`` if the user may not publish."""
        self.begin()
        await asyncio.gather(self.subscriber.up(timeout), self.publisher.keeper.up(timeout))
        await self.publish(self.probe, b"0")  # the user may do so

    def begin(self) -> None:
        """Connect in the background."""
        self.subscriptions.subscribe(self._subscribe, self.probe)
        self.subscriber.start()
        self.publisher.keeper.start()
        self._timer = self._loop.call_later(PROBE, self._tick)

    async def close(self) -> None:
        """Disconnect."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.subscriptions.close()
        await self.publisher.close()
        await self.subscriber.close()

    # --- what is sent -------------------------------------------------------------------------------------------------

    def subscribe(self, command: Command, *channels: bytes) -> asyncio.Future[None] | None:
        """Subscribe to channels."""
        return self.subscriptions.subscribe(command, *channels)

    def leave(self, *channels: bytes) -> None:
        """End subscriptions after a while."""
        self.subscriptions.leave(*channels)

    def drop(self, *channels: bytes) -> None:
        """End subscriptions at once."""
        self.subscriptions.drop(*channels)

    async def publish(self, channel: bytes, payload: bytes, emit: Emit | None = None) -> None:
        """Publish a message."""
        try:
            await self.publisher.publish(channel, payload, emit=emit)
        except ReplyError as error:
            raise ClusterUnavailable(
                f"the message was not published: this is one node of a Redis Cluster, write redis+cluster://…: {error}"
            ) from error

    def post(self, channel: bytes, payload: bytes) -> None:
        """Publish a message that may get lost."""
        self.publisher.send(self._publish, channel, payload)

    def connection(self, key: bytes) -> Connection:
        """Return the connection that publishes; in a Redis Cluster it is at the node of ``key`` of this object."""
        return self.publisher

    async def count(self, channel: bytes) -> int:
        """Count the subscriptions to a channel, this server's among them."""
        return await count_at(self.publisher, self._numsub, channel)

    # --- the subscriber -----------------------------------------------------------------------------------------------

    async def _up(self, opened: Opened) -> None:
        link = opened.link
        if not link.resp3:
            raise LinkRefused("Redis 6 or newer is needed: this one does not speak RESP3")
        await self.subscriptions.restore(link)
        self._probing = None
        since, self._whole_at = self._whole_at, time.time()
        link.lost.add_done_callback(lambda _: self._lost())
        if since is not None:
            self._settled_at = wall_time() + SETTLE
            self._on_gap(since, None)
        self._loop.call_soon(self._on_state)

    def _lost(self) -> None:
        self._settled_at = math.inf
        self._on_state()

    def _hear(self, channel: bytes, payload: bytes, by_pattern: bool) -> None:
        if channel == self.probe and not by_pattern:
            if self._probing is not None and payload == self._probing.mark:
                self._probing = None
                self._whole_at = time.time()
            return
        self._on_message(channel, payload, by_pattern)

    def _tick(self) -> None:
        """Publish a message to this server itself and send a PING, or find that the last ones have got lost.

        Each has to be late at two looks: Redis, or this process, may have stood still.
        """
        self._timer = self._loop.call_later(PROBE, self._tick)
        self.subscriptions.retry()
        link, probe, ping = self.subscriber.link, self._probing, self._ping
        if ping is not None and (ping.link is not link or ping.reply.done()):
            ping = self._ping = None
        if probe is not None and (probe.link is not link or _has_failed(probe.reply)):
            probe = self._probing = None
        if probe is not None and probe.reply.done():  # Redis has published it
            if probe.is_late:
                self.subscriber.suspect("a message of this server to itself was published and has not come")
            probe.is_late = True
        elif ping is not None and probe is None:  # Redis lives: what it has published since has come
            if ping.is_late:
                self.subscriber.suspect("a PING is not answered, though messages come")
            ping.is_late = True
        if link is not None and link.is_usable:
            self._probe_link(link)

    def _probe_link(self, link: Link) -> None:
        if self._ping is None:
            reply = link.send("PING")
            reply.add_done_callback(ignore)
            self._ping = _Probe(b"", reply, link)
        if self._probing is None and self.is_up and self.subscriptions.is_active(self.probe):
            self._number += 1
            mark = b"%d" % self._number
            published = self.publisher.send(self._publish, self.probe, mark)
            if published is not None:
                self._probing = _Probe(mark, published, link)


@dataclass(eq=False, slots=True)
class _Probe:
    """A message of a server to itself that has not come yet, or a PING; with its reply."""

    mark: bytes
    reply: asyncio.Future[Any]
    link: Link
    """The connection on which it is to come."""
    is_late: bool = False


def _has_failed(reply: asyncio.Future[Any]) -> bool:
    return reply.done() and (reply.cancelled() or reply.exception() is not None)


async def count_at(commander: Commander, what: str, channel: bytes) -> int:
    """Count the subscriptions to a channel at one server."""
    found = await commander.command("PUBSUB", what, channel)
    return int(next(iter(found.values())) if isinstance(found, dict) else found[1])


class _Counter(Commander):
    """A connection to one node of a Redis Cluster, for questions."""

    def __init__(self, address: Address, timeout: float) -> None:
        self._timeout = timeout
        self.keeper = Keeper(SingleServer(address), name="rtframework-counter")
        self.keeper.start()


class CountingChannels(Channels):
    """Channels of ordinary Pub/Sub in a Redis Cluster: each node carries everything, and counts only its own.

    ``nodes``: a topology of its own, for the addresses of all nodes.
    """

    def __init__(self, nodes: ClusterTopology, *args: Any, timeout: float, **options: Any) -> None:
        super().__init__(*args, timeout=timeout, **options)
        self._timeout = timeout
        self._nodes = nodes
        self._counters: dict[Place, _Counter] = {}

    async def start(self, timeout: float) -> None:
        """Connect, and subscribe."""
        await super().start(timeout)
        await self._find_nodes()

    async def close(self) -> None:
        """Disconnect."""
        await super().close()
        counters, self._counters = self._counters, {}
        await asyncio.gather(*(each.keeper.close() for each in counters.values()))

    async def count(self, channel: bytes) -> int:
        """Count the subscriptions to a channel at all nodes, replicas among them: clients subscribe at any.

        A node that does not answer is left out if it has left the cluster.
        """
        try:
            return await self._count(channel)
        except ClusterUnavailable:
            await self._find_nodes()
            return await self._count(channel)

    async def _count(self, channel: bytes) -> int:
        counts = [count_at(each, self._numsub, channel) for each in self._counters.values()]
        return sum(await asyncio.gather(*counts))

    async def _find_nodes(self) -> None:
        try:
            places = (await self._nodes.table()).nodes
        except LinkError as error:
            raise ClusterUnavailable(f"Redis cannot be reached: {error}") from error
        for place in [each for each in self._counters if each not in places]:
            await self._counters.pop(place).keeper.close()
        for place in places:
            if place not in self._counters:
                self._counters[place] = _Counter(self._nodes.address_of(place, must_be_master=False), self._timeout)
