"""``RedisStreams``: several servers, of this framework and of Node, as one, over a stream of Redis."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Awaitable, Container
from typing import Any, Final, Literal

from rtframework.cluster.cursor import Gap
from rtframework.cluster.messages import new_id
from rtframework.cluster.pending import PendingLimits
from rtframework.cluster.pubsub_wire import decode, public_channel
from rtframework.cluster.python_socketio_wire import CHANNEL
from rtframework.cluster.stream_ids import BEGINNING, parse_id
from rtframework.cluster.streams_wire import Fields, is_for, is_of_room, message_id, read_event, read_fields, read_text
from rtframework.exceptions import ClusterUnavailable, ConfigurationError, DecodeError
from rtframework.logs import ThrottledLog
from rtframework.protocols import Emitter
from rtframework.types import ClusterNode, ClusterTraffic, Health, Target

from .background import Background
from .emitters import Emitters
from .link import Link
from .node_leases import NodeLeases
from .presence_carriers import StreamCarrier
from .presence_store import RedisPresence
from .starting import starting
from .stream_reader import StreamReader
from .stream_sessions import Sessions
from .stream_writer import StreamWriter
from .streams_adapter import StreamsAdapter
from .topology import ClusterTopology, Source, make_topology
from .value_store import RedisStore

log: Final = logging.getLogger("rtframework.cluster")

_rubbish: Final = ThrottledLog(log, logging.WARNING, "a message of another server is not understood")

_MANAGERS: Final = CHANNEL.encode()

_CATCH_UP: Final = 5.0
"""Seconds that a client that comes back waits until this server has read what the others have."""

_STOP: Final = 2.0
"""Seconds for what is to be written at the end."""


class RedisStreams:
    """Joins servers by a stream of Redis, in the wire of ``@socket.io/redis-streams-adapter`` 0.3.1.

    ``redis``: a URL (``redis://``, ``rediss://``, ``unix://``, with Sentinel or Cluster), or a client of redis-py whose
    settings are used. ``name``: the name of this server in the cluster, which no other has. ``delivery``:
    ``"local-first"`` gives events to this server's own clients at once, ``"stream"`` when they are read back, in the
    same order on all servers; by default ``"stream"`` if the server has connection state recovery, which needs it.
    ``max_len``: entries that the stream keeps, about. ``publish_timeout``: seconds after which ``emit`` raises
    ``ClusterUnavailable``. ``max_pending``: bytes on their way to Redis beyond which ``emit`` waits. ``max_message``:
    bytes that one message may have. ``emitters``: listen to ``@socket.io/redis-emitter`` and to python-socketio's
    ``write_only`` managers, too; then each answer of one server to another reaches all. ``stream``,
    ``channel_prefix`` and ``session_prefix`` have Node's defaults.

    Example::

        io = Server(adapter=RedisStreams("redis://localhost"), connection_state_recovery=Recovery())
    """

    def __init__(
        self,
        redis: Source,
        *,
        name: str | None = None,
        delivery: Literal["stream", "local-first"] = "local-first",
        stream: str = "socket.io",
        channel_prefix: str = "socket.io",
        session_prefix: str | None = None,
        max_len: int = 10_000,
        read_count: int = 100,
        publish_timeout: float = 5.0,
        max_pending: int = 8 * 1024 * 1024,
        max_message: int = 4_000_000,
        emitters: bool = True,
    ) -> None:
        if delivery not in ("stream", "local-first"):
            raise ConfigurationError(f'delivery is "stream" or "local-first", not {delivery!r}')
        for option, value in (("max_len", max_len), ("read_count", read_count), ("max_pending", max_pending)):
            if not isinstance(value, int) or value < 1:
                raise ConfigurationError(f"{option} is a whole number from 1, not {value!r}")
        if not publish_timeout > 0:
            raise ConfigurationError(f"publish_timeout is a time in seconds, not {publish_timeout!r}")
        topology = make_topology(redis)  # a mistake in the address shows here
        if session_prefix is None:
            # In a Cluster, a connection reaches the keys of the stream's slot alone.
            tag = f"{{{stream}}}:" if isinstance(topology, ClusterTopology) else ""
            session_prefix = f"sio:session:{tag}"
        self._redis = redis
        self._node = name or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self.delivery = delivery
        self.stream = stream
        self.channel_prefix = channel_prefix
        self.max_message = max_message
        self.uid = new_id()
        self.gaps = 0
        """Gaps that were found so far."""
        self.published = 0
        """Messages that were sent to the other servers, but for those that the present writer has added."""
        self._received = self._reconnects = self._untold = 0
        self._session_prefix = session_prefix
        self._max_len = max_len
        self._read_count = read_count
        self._limits = PendingLimits(max_bytes=max_pending, timeout=publish_timeout)
        self._adapters: dict[str, StreamsAdapter] = {}
        self._named: dict[bytes, StreamsAdapter] = {}
        self._rooms: dict[bytes, Container[str]] = {}
        self._own = b""
        self._uids: frozenset[bytes] = frozenset()
        self._emitters = Emitters(channel_prefix, self._adapters) if emitters else None
        self._background = Background()
        self._is_up = self._has_server = False
        self._reader: StreamReader | None = None
        self._writer: StreamWriter | None = None
        self.store = RedisStore(lambda: self.writer, stream, publish_timeout)
        """Small values of all servers."""
        self._presence: RedisPresence | None = None
        self.sessions: Sessions
        self.leases: NodeLeases

    def __call__(self, nsp: str, emitter: Emitter) -> StreamsAdapter:
        """Make the adapter of a namespace. Raises ``ConfigurationError`` for a second server."""
        if nsp == "/":
            if self._has_server:
                raise ConfigurationError("this RedisStreams joins another server already: each server needs its own")
            self._has_server = True
        return StreamsAdapter(self, nsp, emitter)

    def __repr__(self) -> str:
        return f"<RedisStreams {self._node}>"

    @property
    def node(self) -> str:
        """The name of this server in the cluster."""
        return self._node

    @property
    def health(self) -> Health:
        """The state of the connections to Redis."""
        if self._reader is None or self._writer is None:
            return Health(False, "not started")
        if self._is_up and self._reader.keeper.link is not None and self._writer.keeper.link is not None:
            return Health(True)
        for keeper in (self._reader.keeper, self._writer.keeper):
            if keeper.health.problem:
                return Health(False, keeper.health.problem)
        return Health(False, "the connections to Redis are being settled")

    async def nodes(self) -> list[ClusterNode]:
        """Describe all servers of the cluster, this one among them. Node's servers are only counted.

        Raises :class:`~rtframework.ClusterUnavailable`.
        """
        if self._writer is None:
            return []
        return await self.leases.nodes(public_channel("/", self.channel_prefix))

    @property
    def traffic(self) -> ClusterTraffic:
        """What was sent and received so far."""
        pending, added = (0, 0) if self._writer is None else (self._writer.pending.size, self._writer.added)
        now = _reconnects(self._reader, self._writer)
        taken = self._reader.taken if self._reader is not None else 0
        return ClusterTraffic(self.published + added, self._received + taken, pending, self._reconnects + now)

    @property
    def writer(self) -> StreamWriter:
        """What is sent. Raises :class:`~rtframework.ClusterUnavailable` before the start."""
        if self._writer is None:
            raise ClusterUnavailable("the server has not started, and is not connected to Redis")
        return self._writer

    @property
    def at(self) -> str:
        """Position of this server in the stream: everything up to it has been delivered here."""
        return BEGINNING if self._reader is None else self._reader.at

    def presence_store(self) -> RedisPresence:
        """Make the store of presence, which shares the connection."""
        self._presence = RedisPresence(StreamCarrier(self, max_len=self._max_len, timeout=self._limits.timeout))
        return self._presence

    @property
    def is_writing(self) -> bool:
        """True while messages are sent."""
        return self._writer is not None and self._writer.is_writing

    @property
    def position(self) -> str:
        """Id of the last entry of those that were read together: everything up to it has been delivered here."""
        return BEGINNING if self._reader is None else self._reader.cursor.position

    async def progress(self) -> None:
        """Wait until something has been read. Raises :class:`~rtframework.ClusterUnavailable` after the end."""
        if self._reader is None:
            raise ClusterUnavailable("the server is stopping")
        await self._reader.progress()

    # --- with the server ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect. Raises :class:`~rtframework.ClusterUnavailable` if Redis cannot be reached."""
        self.uid = new_id()
        self._own = self.uid.encode()
        self._uids = frozenset([self._own])
        reader = self._reader = StreamReader(
            make_topology(self._redis),
            self.stream,
            uid=self.uid,
            max_len=self._max_len,
            count=self._read_count,
            take=self._take,
            on_gap=self._gap,
            on_state=self._state,
        )
        writer = self._writer = StreamWriter(
            make_topology(self._redis),
            self.stream,
            uid=self.uid,
            max_len=self._max_len,
            limits=self._limits,
            reader=reader,
            on_message=self._hear,
            on_state=self._state,
            on_up=self._up,
        )
        self.sessions = Sessions(writer, self._session_prefix, self._node)
        self.leases = NodeLeases(
            writer,
            tag=self.stream,
            name=self._node,
            uid=self.uid,
            sockets=self._count_sockets,
            timeout=self._limits.timeout,
        )
        with starting(lambda: reader.keeper.health.problem or writer.keeper.health.problem) as seconds:
            await reader.start(seconds)
            if self._emitters is not None:
                await writer.subscribe(*self._emitters.patterns, pattern=True)
                await writer.subscribe(CHANNEL)
            await writer.start(seconds)
            await self.leases.start()

    async def stop(self) -> None:
        """Write what is to be written, and disconnect."""
        reader, writer = self._reader, self._writer
        if writer is not None and reader is not None:
            await asyncio.gather(self.leases.close(_STOP), self.sessions.flush(_STOP))
            await writer.close()
            await reader.close()
            self._reconnects += _reconnects(reader, writer)
            self._received += reader.taken
            self.published += writer.added
        self._reader = self._writer = None
        self._is_up = False
        await self._background.stop()

    def open(self, adapter: StreamsAdapter) -> None:
        """Let a namespace take part."""
        self._adapters[adapter.nsp] = adapter
        self._named[adapter.name] = adapter
        self._rooms[adapter.name] = adapter.index.all_rooms()

    def close(self, adapter: StreamsAdapter) -> None:
        """Let a namespace take part no longer."""
        if self._adapters.get(adapter.nsp) is adapter:
            del self._adapters[adapter.nsp]
            del self._named[adapter.name]
            del self._rooms[adapter.name]

    def spawn(self, work: Awaitable[Any]) -> None:
        """Run something in the background."""
        self._background.spawn(work)

    async def catch_up(self, link: Link) -> bool:
        """Wait until everything is read that is in the stream now; false if it takes too long."""
        reader = self._reader
        if reader is None:
            return False
        last = await link.send("XREVRANGE", self.stream, "+", "-", "COUNT", 1)
        if not last:
            return False
        end = parse_id(last[0][0].decode())
        try:
            async with asyncio.timeout(_CATCH_UP):
                while parse_id(reader.cursor.position) < end:
                    await reader.progress()
        except TimeoutError:
            return False
        return True

    @property
    def knows_more(self) -> bool:
        """True while the others do not know of a gap that this server has found.

        Their clients have offsets behind it then, and have not been told that something is missing.
        """
        return self._untold > 0

    # --- what arrives -------------------------------------------------------------------------------------------------

    def _take(self, id: str, fields: Fields) -> None:
        """Handle an entry of the stream."""
        if fields[1] == self._own:
            writer = self._writer
            m = fields[9] if len(fields) > 9 and fields[8] == b"m" else message_id(fields)
            if m is not None and writer is not None:
                self._received -= 1
                message = writer.pending.read(m, id)
                if message is not None and message.frames is not None:
                    message.frames.read(id)
            return
        reader = self._reader
        if reader is None:
            return
        try:
            if is_of_room(fields):
                adapter = self._named.get(fields[3])
                room = fields[11].decode(errors="replace")
                sids = () if adapter is None else adapter.index.members(room)
                if adapter is None or not sids:
                    return
                text = read_text(fields[7], fields[11])
                if text is not None:
                    if reader.cursor.is_new(fields[9]):
                        adapter.take_text(id, text, sids, fields, room)
                    return
            elif not is_for(fields, self._uids, self._rooms):
                return
            kept = len(fields) > 10 and fields[-2] == b"h"
            event = read_event(fields[:-2] if kept else fields)
            if event is not None:
                adapter = self._named.get(fields[3])
                is_new = reader.cursor.is_new(fields[9] if len(fields) > 8 else None)
                if adapter is None or not is_new or adapter.take_event(id, event, fields, kept):
                    return
            entry = read_fields(fields)
            if entry.gap is not None:
                self._hear_gap(entry.gap)
                return
            adapter = self._adapters.get(entry.nsp)
            if adapter is not None and reader.cursor.is_new(entry.m, entry.again):
                adapter.take(id, entry)
        except DecodeError as error:
            _rubbish(error=error)

    def _hear(self, channel: bytes, payload: bytes, by_pattern: bool) -> None:
        """Handle a message of a channel."""
        emitters = self._emitters
        try:
            if emitters is not None:
                if by_pattern:
                    emitters.hear(channel, payload)
                    return
                if channel == _MANAGERS:
                    emitters.hear_manager(payload)
                    return
                if emitters.is_classic(payload):
                    return  # it comes by the pattern, too
            message = decode(payload)
        except DecodeError as error:
            _rubbish(error=error)
            return
        adapter = self._adapters.get(message.nsp)
        if adapter is not None and message.uid != self.uid:
            self._received += 1
            adapter.hear(message)

    # --- faults -------------------------------------------------------------------------------------------------------

    def _gap(self, gap: Gap, first: str | None) -> None:
        """Tell of entries that were lost."""
        reader, writer = self._reader, self._writer
        if reader is None or writer is None:
            return
        if gap.kind == "trimmed":
            if first is not None:
                writer.pending.cover(first)
        else:
            self._untold += 1
            writer.tell_gap(reader.cursor.notice).add_done_callback(self._has_told)
        self._tell_gap(reader.missing_after)

    def _has_told(self, told: asyncio.Future[str | None]) -> None:
        self._untold -= 1

    def _hear_gap(self, notice: str) -> None:
        try:
            gap = None if self._reader is None else self._reader.cursor.hears(notice)
        except DecodeError as error:
            _rubbish(error=error)
            return
        if gap is not None:
            self._tell_gap(gap.since)

    def _tell_gap(self, after: str) -> None:
        self.gaps += 1
        since = parse_id(after)[0] / 1000
        for adapter in list(self._adapters.values()):
            adapter._emitter.gap(since)

    def _state(self) -> None:
        """Tell the server if the others can be reached."""
        reader, writer = self._reader, self._writer
        is_up = reader is not None and writer is not None and reader.is_reading and writer.is_writing
        if is_up != self._is_up:
            self._is_up = is_up
            for adapter in list(self._adapters.values())[:1]:
                adapter._emitter.state(is_up)

    def _up(self, link: Link) -> None:
        self.sessions.resend()
        self.leases.connected()
        if self._presence is not None:
            self._presence.connected()

    def _count_sockets(self) -> int:
        return sum(len(adapter.sockets(Target())) for adapter in self._adapters.values())


def _reconnects(reader: StreamReader | None, writer: StreamWriter | None) -> int:
    keepers = [each.keeper for each in (reader, writer) if each is not None]
    return sum(max(0, each.health.connects - 1) for each in keepers)
