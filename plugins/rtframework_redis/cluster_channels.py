"""Sharded Pub/Sub in a Redis Cluster: each channel is at the node that has its slot, and moves with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from redis.crc import key_slot

from rtframework.exceptions import ClusterUnavailable

from .channel_publisher import ELSEWHERE
from .channels import Channels, OnGap
from .commander import ignore
from .errors import LinkError, LinkRefused, ReplyError
from .link import STALE, wall_time
from .subscriptions import Command, all_of
from .topology import ClusterTopology, Place, SingleServer

if TYPE_CHECKING:
    from rtframework.cluster.pending import Emit

    from .link import Link
    from .node_leases import Connection

_PAUSES: Final = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds between attempts to read the table of slots; the last one again and again."""

_APART: Final = 0.2
"""Seconds between two readings of the table, at least."""


class ClusterChannels:
    """Channels of sharded Pub/Sub in a Redis Cluster, over two connections to each master.

    When a slot moves, its channels are subscribed to at the new node, and what was published in between is a gap.
    ``probe``: the beginning of the names of channels by which connections are probed. For the others see
    :class:`Channels`.
    """

    def __init__(
        self,
        topology: ClusterTopology,
        *,
        probe: bytes,
        timeout: float,
        max_pending: int,
        on_message: Callable[[bytes, bytes, bool], None],
        takes: Mapping[bytes, Callable[[bytes], None]] | None = None,
        on_gap: OnGap,
        on_state: Callable[[], None],
    ) -> None:
        self._topology = topology
        self._probe = probe
        self._timeout = timeout
        self._max_pending = max_pending
        self._on_message = on_message
        self._takes = takes
        self._on_gap = on_gap
        self._on_state = on_state
        self._loop = asyncio.get_running_loop()
        self._masters: dict[int, Place] = {}
        self._shards: dict[Place, Channels] = {}
        self._homeless: dict[bytes, Command] = {}
        """Channels whose slot no node has."""
        self._refreshing: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._is_closed = self._is_stale = False
        self._problem = f"connecting to {topology}"
        """The reason why the nodes are not known; empty if they are."""
        self._reconnects = 0
        """Count of the connections to nodes that have left."""

    @property
    def is_up(self) -> bool:
        """True while both connections to each master are."""
        return bool(self._shards) and not self._homeless and all(each.is_up for each in self._shards.values())

    @property
    def is_listening(self) -> bool:
        """True while there is a connection with all subscriptions to each master."""
        return bool(self._shards) and not self._homeless and all(each.is_listening for each in self._shards.values())

    @property
    def problem(self) -> str:
        """The reason why it is not up."""
        for shard in self._shards.values():
            if not shard.is_up:
                return shard.problem
        return self._problem or "slots of the Redis Cluster have no node"

    @property
    def pending(self) -> int:
        """Bytes that are on their way to the nodes."""
        return sum(each.pending for each in self._shards.values())

    @property
    def reconnects(self) -> int:
        """Connections that were opened again after one had ended."""
        return self._reconnects + sum(each.reconnects for each in self._shards.values())

    async def start(self, timeout: float) -> None:
        """Read the table of slots, and connect to all masters."""
        try:
            async with asyncio.timeout(timeout):
                await self._find_masters()
        except TimeoutError:
            raise LinkRefused(self._problem) from None
        self._problem = ""
        homeless, self._homeless = self._homeless, {}
        for channel, command in homeless.items():
            self.subscribe(command, channel)
        for place in set(self._masters.values()) - self._shards.keys():
            self._shard_at(place)
        links = [
            each.up(timeout) for shard in self._shards.values() for each in (shard.subscriber, shard.publisher.keeper)
        ]
        await asyncio.gather(*links)

    async def _find_masters(self) -> None:
        for pause in _forever(_PAUSES):
            try:
                self._masters = (await self._topology.table()).masters
            except LinkError as error:
                self._problem = str(error)
            else:
                if self._masters:
                    return
                self._problem = f"{self._topology}: no node has any slot"
            await asyncio.sleep(pause)

    async def close(self) -> None:
        """Disconnect."""
        self._is_closed = True
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.wait([self._refreshing])
        shards, self._shards = self._shards, {}
        await asyncio.gather(*(each.close() for each in shards.values()), *self._closing)
        await self._topology.close()

    # --- what is listened to ------------------------------------------------------------------------------------------

    def subscribe(self, command: Command, *channels: bytes) -> asyncio.Future[None] | None:
        """Subscribe to channels, each at the node that has its slot."""
        waiting = []
        for channel in channels:
            shard = self._shard_of(channel)
            if shard is None:
                self._homeless[channel] = command
                if self._masters:
                    waiting.append(self._nowhere())
                continue
            future = shard.subscribe(command, channel)
            if future is not None:
                waiting.append(future)
        return all_of(waiting) if waiting else None

    def leave(self, *channels: bytes) -> None:
        """End subscriptions after a while."""
        for channel in channels:
            self._homeless.pop(channel, None)
            for shard in self._shards.values():
                shard.leave(channel)

    def drop(self, *channels: bytes) -> None:
        """End subscriptions at once."""
        for channel in channels:
            self._homeless.pop(channel, None)
            for shard in self._shards.values():
                if channel in shard.subscriptions:
                    shard.drop(channel)

    def _nowhere(self) -> asyncio.Future[None]:
        future: asyncio.Future[None] = self._loop.create_future()
        future.set_exception(ClusterUnavailable("no node of the Redis Cluster has the slot of the channel"))
        future.exception()
        self._refresh()
        return future

    # --- what is sent -------------------------------------------------------------------------------------------------

    async def publish(self, channel: bytes, payload: bytes, emit: Emit | None = None) -> None:
        """Publish a message at the node that has the channel's slot."""
        deadline = wall_time() + self._timeout
        for pause in _forever(_PAUSES):
            shard = self._shard_of(channel)
            if shard is not None:
                try:
                    await shard.publisher.publish(channel, payload, deadline, emit)
                except ReplyError as error:
                    self._follow(error)
                else:
                    return
            else:
                self._refresh()
            if wall_time() + pause >= deadline:
                raise ClusterUnavailable("the message was not published: no node of the Redis Cluster takes it")
            if self._shard_of(channel) in (shard, None):
                try:
                    await asyncio.sleep(pause)
                except asyncio.CancelledError:
                    if emit is not None:
                        emit.lost(ClusterUnavailable("the emitter was cancelled while no node took the message"))
                    raise

    def post(self, channel: bytes, payload: bytes) -> None:
        """Publish a message that may get lost."""
        shard = self._shard_of(channel)
        if shard is not None:
            shard.post(channel, payload)

    def connection(self, key: bytes) -> Connection:
        """Return the connection to whichever node has a key."""
        return _AtNode(self, key)

    def command(self, key: bytes, *args: Any) -> asyncio.Future[Any] | None:
        """Send a command that concerns a key to its node; return the future of its reply, ``None`` if there is none."""
        shard = self._shard_of(key)
        reply = None if shard is None else shard.publisher.send(*args)
        if reply is not None:
            reply.add_done_callback(self._replied)
        return reply

    def _replied(self, reply: asyncio.Future[Any]) -> None:
        error = None if reply.cancelled() else reply.exception()
        if isinstance(error, ReplyError) and error.code in ELSEWHERE:
            self._follow(error)

    async def link(self, key: bytes) -> Link:
        """Return the connection to the node of a key. Raises :class:`~rtframework.ClusterUnavailable`."""
        shard = self._shard_of(key)
        if shard is None:
            raise ClusterUnavailable("no node of the Redis Cluster has the slot of the key")
        return await shard.publisher.link()

    async def count(self, channel: bytes) -> int:
        """Count the subscriptions to a channel at the node that has its slot."""
        shard = self._shard_of(channel)
        if shard is None:
            raise ClusterUnavailable("no node of the Redis Cluster has the slot of the channel")
        return await shard.count(channel)

    # --- the nodes ----------------------------------------------------------------------------------------------------

    def _shard_of(self, channel: bytes) -> Channels | None:
        place = self._masters.get(key_slot(channel))
        return None if place is None or self._is_closed else self._shards.get(place) or self._shard_at(place)

    def _shard_at(self, place: Place) -> Channels:
        address = self._topology.address_of(place)
        shard = self._shards[place] = Channels(
            lambda: SingleServer(address),
            sharded=True,
            key=b"",
            probe=self._probe_at(place),
            timeout=self._timeout,
            max_pending=self._max_pending,
            on_message=self._on_message,
            takes=self._takes,
            on_gap=self._on_gap,
            on_state=self._on_state,
            on_refused=self._refused,
            slot_of=key_slot,
            stale=STALE - ELSEWHERE,
            on_failure=lambda error: self._refresh(),
        )
        shard.begin()
        return shard

    def _probe_at(self, place: Place) -> bytes:
        """Return the name of a channel that a node has."""
        for number in range(1_000_000):
            name = b"%b%d#" % (self._probe, number)
            if self._masters.get(key_slot(name)) == place:
                return name
        raise AssertionError("a node without slots")

    def _refused(self, channels: Sequence[bytes], error: ReplyError | None) -> bool:
        if error is not None and error.code not in ELSEWHERE:
            return False
        if error is None or not self._follow(error):
            self._refresh()
        return True

    def _follow(self, error: ReplyError) -> bool:
        """Learn the new place of a slot from an error, and move its channels there."""
        redirect = error.redirect
        if redirect is None or redirect.asking or not redirect.host:
            self._refresh()
            return False
        place = (redirect.host, redirect.port)
        if self._masters.get(redirect.slot) != place:
            self._masters[redirect.slot] = place
            self._loop.call_soon(self._move)
            self._refresh()  # it is rarely one slot alone
        return True

    def _refresh(self) -> None:
        """Read the table of slots again: what is done with it now may be out of date."""
        self._is_stale = True
        if not self._is_closed and (self._refreshing is None or self._refreshing.done()):
            self._refreshing = self._loop.create_task(self._read_table())

    async def _read_table(self) -> None:
        for pause in _forever(_PAUSES):
            self._is_stale = False
            try:
                table = await self._topology.table()
            except LinkError:
                await asyncio.sleep(pause)
                continue
            self._masters = table.masters
            self._move()
            await asyncio.sleep(_APART)
            if not self._homeless and not self._is_stale:
                return

    def _move(self) -> None:
        """Move channels to the nodes that have their slots now."""
        if self._is_closed:
            return
        masters = self._masters
        used = set(masters.values())
        moved: list[asyncio.Future[None]] = []
        times: dict[bytes, float] = {}
        for place, shard in list(self._shards.items()):
            subscriptions = shard.subscriptions
            if place in used and masters.get(key_slot(shard.probe)) != place:
                shard.move_probe(self._probe_at(place))
            for channel, command in subscriptions.wanted.items():
                if masters.get(key_slot(channel)) == place or (channel == shard.probe and place not in used):
                    continue
                waiter = subscriptions.take_waiting(channel)
                subscriptions.forget(channel)
                future = self.subscribe(command, channel)
                times[channel] = shard.whole_at
                if future is not None:
                    moved.append(future)
                    if waiter is not None:
                        future.add_done_callback(partial(_settle, waiter))
                elif waiter is not None and not waiter.done():
                    waiter.set_result(None)
            shard.publisher.give_up(partial(self._is_elsewhere, place))
            subscriptions.retry()
            if place not in used:
                del self._shards[place]
                self._reconnects += shard.reconnects
                task = self._loop.create_task(shard.close())
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)
        homeless, self._homeless = self._homeless, {}
        for channel, command in homeless.items():
            future = self.subscribe(command, channel)
            if future is not None and channel not in self._homeless:
                moved.append(future)
        if moved and times:
            all_of(moved).add_done_callback(partial(self._moved, list(times), min(times.values())))
        self._on_state()

    def _is_elsewhere(self, place: Place, channel: bytes) -> bool:
        return self._masters.get(key_slot(channel)) != place

    def _moved(self, channels: Sequence[bytes], since: float, future: asyncio.Future[None]) -> None:
        ignore(future)
        if not self._is_closed:
            self._on_gap(since, channels)
            self._on_state()


class _AtNode:
    """The connection to the node of a key, wherever that is at the moment."""

    def __init__(self, channels: ClusterChannels, key: bytes) -> None:
        self._channels = channels
        self._key = key

    async def link(self) -> Link:
        """Return the connection."""
        return await self._channels.link(self._key)

    def send(self, *args: Any) -> asyncio.Future[Any] | None:
        """Send a command whose reply nobody has to wait for."""
        return self._channels.command(self._key, *args)


def _settle(waiter: asyncio.Future[None], future: asyncio.Future[Any]) -> None:
    if waiter.done() or future.cancelled():
        return
    error = future.exception()
    if error is None:
        waiter.set_result(None)
    else:
        waiter.set_exception(error)
        waiter.exception()


def _forever(pauses: Sequence[float]) -> Any:
    yield from pauses
    while True:
        yield pauses[-1]
