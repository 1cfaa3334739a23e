"""A Redis in memory behind a network in memory, in simulated time: the link's own bytes, and faults to the millisecond.

Only the process and the network are simulated. What the plugin sends is parsed as Redis does, and answered in RESP3.
``test_simulated_redis`` compares the answers with those of a real one.
"""

from __future__ import annotations

import asyncio
import copy
import fnmatch
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any, Final, cast
from unittest.mock import patch

import hiredis

from rtframework.cluster.stream_ids import parse_id
from rtframework_redis.history_scripts import APPEND, key_of
from rtframework_redis.keeper import Pauses
from tests.support.simulation import SimulatedLoop

LATENCY: Final = 0.0003
"""Seconds that bytes take at least, each way; some connections are slower."""

_WAIT: Final = object()
_LATE: Final = 0.3
"""Seconds that bytes are held up which were on their way when a connection broke."""
_DEAD: Final = 1.0
"""Seconds in which Redis still executes what came by a connection that the server has lost."""


class Simple(bytes):
    """A simple string: ``+OK``."""


class Failure(bytes):
    """An error."""


class Push(list[Any]):
    """A message that nobody has asked for."""


def encode(value: Any) -> bytes:
    """Encode a reply in RESP3."""
    if value is None:
        return b"_\r\n"
    if isinstance(value, Simple):
        return b"+%b\r\n" % value
    if isinstance(value, Failure):
        return b"-%b\r\n" % value
    if isinstance(value, bytes):
        return b"$%d\r\n%b\r\n" % (len(value), value)
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, dict):
        return b"%%%d\r\n" % len(value) + b"".join(encode(each) for pair in value.items() for each in pair)
    sign = b">" if isinstance(value, Push) else b"*"
    return sign + b"%d\r\n" % len(value) + b"".join(map(encode, value))


class Data:
    """The keys of one Redis."""

    def __init__(self) -> None:
        self.streams: dict[bytes, list[tuple[bytes, list[bytes]]]] = {}
        self.last: dict[bytes, tuple[int, int]] = {}
        self.strings: dict[bytes, tuple[bytes, float | None]] = {}
        self.used: set[tuple[int, int]] = set()
        """Ids that were ever given: a stream that began anew does not repeat one, as real time would not."""


class Connection(asyncio.Transport):
    """One connection, as the server's transport and as Redis' client."""

    def __init__(self, redis: SimulatedRedis, name: str, protocol: asyncio.Protocol, number: int) -> None:
        super().__init__()
        self.redis = redis
        self.node = name
        self.number = number
        self.client_name = b""
        self.commands: set[str] = set()
        self.channels: dict[bytes, bool] = {}
        """What it has subscribed to; true for patterns."""
        self.blocked: tuple[bytes, bytes, int, asyncio.TimerHandle] | None = None
        self.is_known = self.is_served = True
        """Known to the server; served by Redis."""
        self.latency = LATENCY * (1, 4, 2, 6)[number % 4]
        self.held_until = 0.0
        self.drops = False
        self.loses_reply = False
        self._protocol = protocol
        self._parser = hiredis.Reader()
        self._there: deque[bytes] = deque()
        self._back: deque[bytes] = deque()
        self._queue: deque[list[bytes]] = deque()
        self._transaction: list[list[bytes]] | None = None
        """Commands since MULTI."""
        protocol.connection_made(self)

    # --- the server's side --------------------------------------------------------------------------------------------

    def write(self, data: Any) -> None:
        """Send bytes to Redis."""
        if self.is_known:
            self._there.append(bytes(data))
            self.redis.loop.call_later(self.latency, self.arrive)

    def is_closing(self) -> bool:
        """Tell whether it has ended for the server."""
        return not self.is_known

    def close(self) -> None:
        """End it in order: what was sent arrives."""
        self._end_known(None)
        self.redis.loop.call_later(2 * self.latency, self.end_served)

    def abort(self) -> None:
        """End it at once: Redis may still execute what was sent, for a while."""
        self._end_known(None)
        self.redis.loop.call_later(_DEAD, self.end_served)

    def get_write_buffer_size(self) -> int:
        """Return the bytes that the network has not taken: all are taken."""
        return 0

    def _end_known(self, error: Exception | None) -> None:
        if self.is_known:
            self.is_known = False
            self.redis.loop.call_soon(self._protocol.connection_lost, error)

    def lose(self) -> None:
        """Break it for the server; what it has sent comes to Redis a while later."""
        self.held_until = self.redis.loop.time() + _LATE
        self.redis.loop.call_later(_LATE, self.arrive)
        self._end_known(ConnectionResetError("the connection was reset"))
        self.redis.loop.call_later(_DEAD, self.end_served)

    # --- the network --------------------------------------------------------------------------------------------------

    @property
    def is_frozen(self) -> bool:
        """True while nothing passes."""
        return self.node in self.redis.isolated

    def arrive(self) -> None:
        """Let what was sent come to Redis, unless something is in the way."""
        if self.is_frozen or not self.is_served or self.redis.loop.time() < self.held_until:
            return
        while self._there:
            self._parser.feed(self._there.popleft())
            while (command := self._parser.gets()) is not False:
                self._queue.append(command)
        self.work()

    def come_back(self) -> None:
        """Let replies come to the server."""
        while self._back and not self.is_frozen:
            data = self._back.popleft()
            if self.is_known and not self.drops:
                self._protocol.data_received(data)

    # --- Redis' side --------------------------------------------------------------------------------------------------

    def work(self) -> None:
        """Execute what has come, in order, until something blocks."""
        while self._queue and self.blocked is None and self.is_served and self.redis.is_running:
            command = self._queue.popleft()
            name = command[0].decode().upper()
            self.commands.add(name)
            if name == "MULTI":
                self._transaction = []
                self.reply(Simple(b"OK"))
            elif name == "EXEC" and self._transaction is not None:
                commands, self._transaction = self._transaction, None
                self.reply([self.redis.execute(self, each[0].decode(), each[1:]) for each in commands], name)
            elif self._transaction is not None:
                self._transaction.append(command)
                self.reply(Simple(b"QUEUED"))
            elif (reply := self.redis.execute(self, name, command[1:])) is not _WAIT:
                self.reply(reply, name)

    def reply(self, value: Any, name: str = "") -> None:
        """Send a reply or a push."""
        if self.loses_reply and name in ("XADD", "EVAL", "EXEC"):
            self.loses_reply = False
            self.lose()
        self._back.append(encode(value))
        self.redis.loop.call_later(self.latency, self.come_back)

    def unblock(self) -> None:
        """Answer a read that has waited, and go on."""
        if self.blocked is not None and self.redis.is_running:
            stream, after, count, timer = self.blocked
            found = self.redis.entries_after(stream, after, count)
            timer.cancel()
            self.blocked = None
            self.reply({stream: found} if found else None)
            self.work()

    def end_served(self) -> None:
        """Forget it in Redis."""
        if self.is_served:
            self.is_served = False
            if self.blocked is not None:
                self.blocked[3].cancel()
            self.redis.connections.discard(self)
            self._end_known(ConnectionResetError("Redis closed the connection"))


class SimulatedRedis:
    """One Redis and the connections to it, each known by the server (the host of its URL) that has opened it."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self.loop = loop
        self.data = Data()
        self.connections: set[Connection] = set()
        self.isolated: set[str] = set()
        self.refused: set[str] = set()
        self.is_up = self.is_running = True
        self.run = 1
        self.connected = 0
        self.added: list[list[bytes]] = []
        """Fields of all entries that were ever added."""
        self._replica = Data()

    # --- faults -------------------------------------------------------------------------------------------------------

    def of(self, node: str, doing: str | None = None) -> list[Connection]:
        """Return a server's connections, those that have sent a command or all, the oldest first."""
        found = [each for each in self.connections if each.node == node and each.is_known]
        return sorted((each for each in found if doing is None or doing in each.commands), key=lambda each: each.number)

    def kill(self) -> None:
        """End the process."""
        self.is_up = False
        for each in sorted(self.connections, key=lambda each: each.number):
            each.end_served()

    def start(self) -> None:
        """Start another one with the data that there are."""
        self.run += 1
        self.is_up = self.is_running = True

    def empty(self) -> None:
        """Throw all data away."""
        used, self.data = self.data.used, Data()
        self.data.used = used

    def replicate(self) -> None:
        """Let the replica have what the master has."""
        self._replica = copy.deepcopy(self.data)

    def fail_over(self) -> None:
        """Go on with the replica's data in another process."""
        used = self.data.used
        self.kill()
        self.data = copy.deepcopy(self._replica)
        self.data.used = used
        self.start()

    def trim(self, keep: int) -> None:
        """Cut the streams."""
        for name, entries in self.data.streams.items():
            if not name.startswith(b"sio:h:"):
                del entries[: max(0, len(entries) - keep)]

    def freeze(self) -> None:
        """Execute nothing."""
        self.is_running = False

    def thaw(self) -> None:
        """Go on."""
        self.is_running = True
        for each in sorted(self.connections, key=lambda each: each.number):
            each.unblock()
            each.work()

    def isolate(self, node: str) -> None:
        """Let nothing pass between a server and Redis."""
        self.isolated.add(node)

    def rejoin(self, node: str) -> None:
        """Let everything pass."""
        self.isolated.discard(node)
        for each in sorted(self.connections, key=lambda each: each.number):
            if each.node == node:
                each.come_back()
                each.arrive()

    # --- connecting ---------------------------------------------------------------------------------------------------

    async def connect(self, make: Callable[[], asyncio.Protocol], host: str, port: int, **_: Any) -> Any:
        """Take the place of ``loop.create_connection``."""
        await asyncio.sleep(LATENCY)
        if not self.is_up or host in self.refused:
            raise ConnectionRefusedError(111, "Connection refused")
        self.connected += 1
        connection = Connection(self, host, make(), self.connected)
        self.connections.add(connection)
        return connection, connection._protocol

    # --- commands -----------------------------------------------------------------------------------------------------

    def execute(self, connection: Connection, name: str, args: list[bytes]) -> Any:
        """Execute one command."""
        run = getattr(self, f"_{name.lower()}", None)
        return Failure(b"ERR unknown command '%b'" % name.encode()) if run is None else run(connection, *args)

    def _hello(self, connection: Connection, *args: bytes) -> Any:
        return {b"server": b"redis", b"version": b"7.0.15", b"proto": 3, b"role": b"master"}

    def _ping(self, connection: Connection) -> Any:
        return Simple(b"PONG")

    def _info(self, connection: Connection, *args: bytes) -> Any:
        return b"# Server\r\nrun_id:run%d\r\n" % self.run

    def _client(self, connection: Connection, what: bytes, *args: bytes) -> Any:
        if what == b"SETNAME":
            connection.client_name = args[0]
            return Simple(b"OK")
        if what == b"ID":
            return connection.number
        found = [each for each in self.connections if each.number == int(args[-1])]
        if what == b"LIST":
            return b"".join(b"id=%d name=%b \n" % (each.number, each.client_name) for each in found)
        for each in found:
            each.end_served()
        return len(found)

    # --- streams ------------------------------------------------------------------------------------------------------

    def _xadd(self, connection: Connection | None, stream: bytes, *args: bytes) -> Any:
        given = list(args)
        most = None
        if given[0] == b"MAXLEN":
            most = int(given[2])
            del given[:3]
        at = self.data.last.get(stream, (0, 0))
        now = int(self.loop.time() * 1000)
        id = (now, 0) if now > at[0] else (at[0], at[1] + 1)
        while id in self.data.used:
            id = (id[0], id[1] + 1)
        self.data.used.add(id)
        self.data.last[stream] = id
        name = b"%d-%d" % id
        entries = self.data.streams.setdefault(stream, [])
        entries.append((name, given[1:]))
        self.added.append(given[1:])
        if most is not None and len(entries) >= most + 100:
            del entries[:100]
        self.loop.call_soon(self._serve_blocked, stream)
        return name

    def _eval(self, connection: Connection | None, script: bytes, count: bytes, *rest: bytes) -> Any:
        """Execute the script that adds to the history of rooms, too."""
        if script != APPEND:
            return Failure(b"ERR no such script here")
        keys, args = rest[: int(count)], rest[int(count) :]
        fields = args[2 * len(keys) - 1 :]
        id = self._xadd(connection, keys[0], b"MAXLEN", b"~", args[0], b"*", *fields)
        for room, size in zip(keys[1:], args[1::2], strict=False):
            entries = self.data.streams.setdefault(room, [])
            if fields[-2] != b"a" or all(entry[3] != fields[9] for _, entry in entries):
                del entries[: max(0, len(entries) - int(size))]
                entries.append((id, [b"d", fields[7], b"m", fields[9]]))
        return id

    def history(self, nsp: str, room: str) -> list[tuple[str, bytes]]:
        """Return the entries of a room's history: ids and data."""
        key = key_of("socket.io", nsp, room)
        return [(id.decode(), fields[1]) for id, fields in self.data.streams.get(key, [])]

    def add(self, *fields: bytes) -> bytes:
        """Add an entry as another program does."""
        return cast(bytes, self._xadd(None, b"socket.io", b"*", *fields))

    def _serve_blocked(self, stream: bytes) -> None:
        for each in sorted(self.connections, key=lambda each: each.number):
            if self.is_running and each.blocked is not None and each.blocked[0] == stream:
                each.unblock()

    def entries_after(self, stream: bytes, id: bytes, count: int) -> list[Any]:
        """Return entries after an id."""
        after = parse_id(id.decode())
        entries = self.data.streams.get(stream, [])
        return [[name, fields] for name, fields in entries if parse_id(name.decode()) > after][:count]

    def _range(self, stream: bytes, low: bytes, high: bytes) -> list[Any]:
        least = (0, 0) if low == b"-" else parse_id(low.decode())
        most = (2**63, 2**63) if high == b"+" else parse_id(high.decode())
        entries = self.data.streams.get(stream, [])
        return [[name, fields] for name, fields in entries if least <= parse_id(name.decode()) <= most]

    def _xrange(self, connection: Connection, stream: bytes, low: bytes, high: bytes, *count: bytes) -> Any:
        return self._range(stream, low, high)[: int(count[1]) if count else None]

    def _xrevrange(self, connection: Connection, stream: bytes, high: bytes, low: bytes, *count: bytes) -> Any:
        return self._range(stream, low, high)[::-1][: int(count[1]) if count else None]

    def _xread(self, connection: Connection, *args: bytes) -> Any:
        count, block, stream, after = int(args[1]), int(args[3]), args[5], args[6]
        found = self.entries_after(stream, after, count)
        if found:
            return {stream: found}
        timer = self.loop.call_later(block / 1000, connection.unblock)
        connection.blocked = (stream, after, count, timer)
        return _WAIT

    # --- strings ------------------------------------------------------------------------------------------------------

    def _find(self, key: bytes) -> bytes | None:
        value, until = self.data.strings.get(key, (None, None))
        if until is not None and until <= self.loop.time():
            del self.data.strings[key]
            return None
        return value

    def _get(self, connection: Connection, key: bytes) -> Any:
        return self._find(key)

    def _set(self, connection: Connection, key: bytes, value: bytes, *options: bytes) -> Any:
        if b"XX" in options and self._find(key) is None:
            return None
        at = options.index(b"PX") + 1 if b"PX" in options else None
        until = None if at is None else self.loop.time() + int(options[at]) / 1000
        self.data.strings[key] = (value, until)
        return Simple(b"OK")

    def _pexpire(self, connection: Connection, key: bytes, milliseconds: bytes) -> Any:
        value = self._find(key)
        if value is None:
            return 0
        self.data.strings[key] = (value, self.loop.time() + int(milliseconds) / 1000)
        return 1

    def _rename(self, connection: Connection, key: bytes, to: bytes) -> Any:
        if self._find(key) is None:
            return Failure(b"ERR no such key")
        self.data.strings[to] = self.data.strings.pop(key)
        return Simple(b"OK")

    def _del(self, connection: Connection, *keys: bytes) -> Any:
        return sum(self.data.strings.pop(key, None) is not None for key in keys if self._find(key) is not None)

    # --- publish and subscribe ----------------------------------------------------------------------------------------

    def _subscribe(self, connection: Connection, *channels: bytes, kind: bytes = b"subscribe") -> Any:
        for each in channels:
            if b"un" in kind:
                connection.channels.pop(each, None)
            else:
                connection.channels[each] = kind == b"psubscribe"
            connection.reply(Push([kind, each, len(connection.channels)]))
        return _WAIT

    def _psubscribe(self, connection: Connection, *channels: bytes) -> Any:
        return self._subscribe(connection, *channels, kind=b"psubscribe")

    def _unsubscribe(self, connection: Connection, *channels: bytes) -> Any:
        return self._subscribe(connection, *channels, kind=b"unsubscribe")

    def _publish(self, connection: Connection, channel: bytes, payload: bytes) -> Any:
        count = 0
        for each in sorted(self.connections, key=lambda each: each.number):
            for name, is_pattern in each.channels.items():
                if not is_pattern and name == channel:
                    each.reply(Push([b"message", channel, payload]))
                    count += 1
                elif is_pattern and fnmatch.fnmatchcase(channel.decode(), name.decode()):
                    each.reply(Push([b"pmessage", name, channel, payload]))
                    count += 1
        return count

    def _pubsub(self, connection: Connection, what: bytes, *channels: bytes) -> Any:
        names = [name for each in self.connections for name, is_pattern in each.channels.items() if not is_pattern]
        return [part for each in channels for part in (each, names.count(each))]


@contextmanager
def simulated(loop: SimulatedLoop, redis: SimulatedRedis, random: Callable[[], float] = lambda: 0.5) -> Iterator[None]:
    """Let the plugin's modules see the simulated time and network, and chance that is none."""
    clock = SimpleNamespace(time=loop.time, monotonic=loop.time)
    with ExitStack() as stack:
        stack.enter_context(patch.object(loop, "create_connection", redis.connect))
        for name, module in list(sys.modules.items()):
            if name.startswith("rtframework_redis."):
                if hasattr(module, "wall_time"):
                    stack.enter_context(patch.object(module, "wall_time", loop.time))
                if getattr(module, "time", None) is time:
                    stack.enter_context(patch.object(module, "time", clock))
        stack.enter_context(patch.dict(cast(Any, Pauses.__init__).__kwdefaults__, random_number=random))
        yield
