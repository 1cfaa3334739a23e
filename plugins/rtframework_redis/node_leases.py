"""Leases of servers in Redis: who is there, which namespaces they serve, and who has gone.

Each server has a key that Redis forgets after 15 seconds, and renews it every 5. Which names there are, and which of
them serve a namespace, is in hashes from names to uids; an entry whose lease has ended counts for nothing. All keys
have one hash tag, so that in a Redis Cluster they are in one slot, and nobody's clock but Redis' own matters.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

import msgspec

from rtframework.adapters.cluster_view import VERSION
from rtframework.cluster.leases import Lease, awaited, encode_lease, read_lease
from rtframework.cluster.messages import EMITTER
from rtframework.exceptions import ClusterUnavailable, DecodeError
from rtframework.logs import ThrottledLog, quote
from rtframework.types import ClusterNode

from .errors import LinkError, LinkLost, ReplyError
from .link import Link, wall_time

log: Final = logging.getLogger("rtframework.cluster")

_refused: Final = ThrottledLog(
    log,
    logging.WARNING,
    "Redis refuses the leases of servers: they are counted, and not named; see the rights in docs/cluster/redis.md",
)
_rubbish: Final = ThrottledLog(log, logging.WARNING, "the lease of another server is not understood")
_doubled: Final = ThrottledLog(
    log, logging.ERROR, "another server of the cluster has the name %s, too: give each a name of its own"
)

LEASE: Final = 15.0
"""Seconds after which a server counts as gone that has not renewed its lease."""
RENEW: Final = 5.0
"""Seconds between two renewals."""
_KEPT: Final = 10_800_000
"""Milliseconds for which Redis keeps the entries of a namespace that nobody has entered anew."""
_ANEW: Final = 720
"""Renewals after which all entries are made anew: an hour."""
_FRESH: Final = 1.0
"""Seconds for which a lease that was read counts as read, and between two looks while requests wait."""
_DEAD: Final = 5.0
"""Seconds for which an entry without a lease is not looked at again."""
_STRANGE: Final = 60.0
"""Seconds for which a server without a lease is remembered that was heard."""
_AT_ONCE: Final = 500
"""Commands that are sent together."""
_REMEMBERED: Final = 1024
"""Uids whose names are remembered."""

_FORGET: Final = """
local lease = redis.call('GET', KEYS[2])
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] and not (lease and string.find(lease, ARGV[2], 1, true)) then
  redis.call('HDEL', KEYS[1], ARGV[1])
end
"""
"""Removes an entry of a hash, unless its server has a lease (again): both in one step, so that it loses none."""


class Connection(Protocol):
    """The connection that leases use: a writer, a publisher, or what finds the node of a Redis Cluster."""

    async def link(self) -> Link:
        """Return the connection. Raises :class:`~rtframework.ClusterUnavailable`."""

    def send(self, *args: Any) -> asyncio.Future[Any] | None:
        """Send a command whose reply nobody has to wait for."""


class Asker(Protocol):
    """An adapter that asks other servers."""

    @property
    def is_asking(self) -> bool:
        """True while a request waits for answers."""

    def server_gone(self, name: str) -> None:
        """Let no request wait for a server."""


class _Reading:
    """A request that finds out whom it waits for. ``left``: uids of servers that were counted and have left since."""

    __slots__ = ("count", "left")

    def __init__(self) -> None:
        self.count: asyncio.Future[Any] | None = None
        self.left: set[str] = set()


class NodeLeases:
    """The leases of all servers, as one of them sees them.

    ``tag``: what stands between braces in all keys. ``uid``: of this server, since its start. ``sockets``: counts the
    sockets of this server. ``count``: counts the subscriptions to a channel; by default NUMSUB on the connection.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        tag: str,
        name: str,
        uid: str,
        sockets: Callable[[], int],
        timeout: float,
        count: Callable[[str], Awaitable[int]] | None = None,
    ) -> None:
        self._count = count
        self._connection = connection
        self._tag = f"{{{tag}}}"
        self._timeout = timeout
        self._sockets = sockets
        self._me = Lease(
            name=name, uid=uid, host=socket.gethostname(), pid=os.getpid(), version=VERSION, started=time.time()
        )
        self._serving: dict[str, None] = {}
        self._alive: dict[str, Lease] = {}
        """By name: the leases of the others, as they were read last."""
        self._read_at = -_FRESH
        self._names: dict[str, str] = {}
        """By uid: names, also of servers that have gone: an answer of theirs may be on its way."""
        self._dead: dict[tuple[str, str], float] = {}
        self._strangers: dict[tuple[str, str], float] = {}
        """By namespace and uid: when a server without a lease was heard last."""
        self._readings: list[_Reading] = []
        self._askers: dict[Asker, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._watch: asyncio.Task[None] | None = None
        self._entering: asyncio.TimerHandle | None = None
        self._renewals = 0
        self._namesakes = 0
        """Renewals in a row before which somebody else had taken the lease."""
        self._is_closed = self._is_to_enter = False
        self._withdrawn: dict[str, None] = {}
        """Namespaces whose entry is to be taken back when there is a connection."""

    # --- this server's own lease --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take a lease; return when the others can see it, or when Redis has refused it, which the log tells."""
        self._timer = asyncio.get_running_loop().call_later(RENEW, self._tick)
        try:
            link = await self._connection.link()
            async with asyncio.timeout(self._timeout):
                await asyncio.gather(*(link.send(*each) for each in (self._renewal(), *self._entry(self._index))))
        except ReplyError as error:
            _refused(error=error)
        except (LinkError, ClusterUnavailable, TimeoutError):
            pass  # the next renewal will do it

    async def close(self, timeout: float) -> None:
        """Give the lease back, in a bounded time."""
        self._is_closed = True
        for timer in (self._timer, self._entering):
            if timer is not None:
                timer.cancel()
        self._timer = self._entering = None
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
            await asyncio.wait([watch])
        reply = self._connection.send("GET", self._key(self._me.name))
        if reply is None:
            return
        try:
            async with asyncio.timeout(timeout):
                if self._is_mine(await reply):  # else another server has the name now
                    sent = [
                        self._connection.send("DEL", self._key(self._me.name)),
                        self._connection.send("HDEL", self._index, self._me.name),
                    ]
                    await asyncio.gather(*(each for each in sent if each is not None))
        except (LinkError, TimeoutError):
            pass  # it ends by itself

    def renew(self) -> None:
        """Renew the lease, and make the entries anew if Redis has lost it: emptied, or this server stood still."""
        before = None if self._is_closed else self._connection.send("GET", self._key(self._me.name))
        if before is not None:
            before.add_done_callback(self._renewed)
            self._connection.send(*self._renewal())

    def connected(self) -> None:
        """Hear of a new connection: what was on its way on the last one may not have arrived."""
        self._withdrawn, withdrawn = {}, self._withdrawn
        for nsp in withdrawn:
            self.withdraw(nsp)
        self._is_to_enter = True
        self.renew()

    def serve(self, nsp: str) -> None:
        """Enter this server for a namespace; to be called when it hears requests, so that it is not awaited before."""
        self._serving[nsp] = None
        self._withdrawn.pop(nsp, None)
        for command in self._entry(self._hash(nsp)):
            self._connection.send(*command)

    def withdraw(self, nsp: str) -> None:
        """Take this server's entry for a namespace back."""
        self._serving.pop(nsp, None)
        reply = self._connection.send("HDEL", self._hash(nsp), self._me.name)
        if reply is None:
            self._withdrawn[nsp] = None
        else:
            reply.add_done_callback(partial(self._withdrew, nsp))

    def _withdrew(self, nsp: str, reply: asyncio.Future[Any]) -> None:
        if not reply.cancelled() and isinstance(reply.exception(), LinkLost) and nsp not in self._serving:
            self._withdrawn[nsp] = None

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(RENEW, self._tick)
        self.renew()

    def _renewed(self, before: asyncio.Future[Any]) -> None:
        if before.cancelled() or self._is_closed:
            return
        error = before.exception()
        if error is not None:
            if isinstance(error, ReplyError):
                _refused(error=error)
            return
        value = before.result()
        self._namesakes = self._namesakes + 1 if value is not None and not self._is_mine(value) else 0
        if self._namesakes > 1:  # once, it is the lease of one that has ended
            _doubled(quote(self._me.name), extra={"node": self._me.name})
        self._renewals += 1
        if self._is_to_enter or not self._is_mine(value) or not self._renewals % _ANEW:
            self._is_to_enter = False
            for command in self._entry(self._index):
                self._connection.send(*command)
            self._enter(list(self._serving))

    def _enter(self, namespaces: Sequence[str]) -> None:
        """Make entries for namespaces, some at a time."""
        self._entering = None
        for nsp in namespaces[:_AT_ONCE]:
            if nsp in self._serving:
                self.serve(nsp)
        if len(namespaces) > _AT_ONCE:
            self._entering = asyncio.get_running_loop().call_later(0, self._enter, namespaces[_AT_ONCE:])

    def _is_mine(self, value: bytes | None) -> bool:
        return value is not None and self._me.uid.encode() in value

    def _renewal(self) -> Sequence[Any]:
        value = encode_lease(msgspec.structs.replace(self._me, sockets=self._sockets()))
        return ("SET", self._key(self._me.name), value, "PX", round(LEASE * 1000))

    def _entry(self, key: str) -> Iterable[Sequence[Any]]:
        return ("HSET", key, self._me.name, self._me.uid), ("PEXPIRE", key, _KEPT)

    # --- the others ---------------------------------------------------------------------------------------------------

    async def nodes(self, channel: str) -> list[ClusterNode]:
        """Describe all servers that have a lease, and one without a name for each other that is subscribed.

        ``channel``: the public channel of the main namespace, which every server subscribes to. Raises
        :class:`~rtframework.ClusterUnavailable`.
        """
        try:
            async with asyncio.timeout(self._timeout):
                link = await self._connection.link()
                count, found = await self._ask(link, channel, self._index)
                await self._read(link, self._index, found, known=True)
        except TimeoutError as error:
            raise ClusterUnavailable(f"Redis did not answer within {self._timeout:g} s") from error
        except LinkError as error:
            raise ClusterUnavailable(f"Redis did not answer: {error}") from error
        here = msgspec.structs.replace(self._me, sockets=self._sockets()).describe(is_self=True)
        named = [here, *(self._alive[name].describe() for name in found if name in self._alive)]
        return [*named, *[ClusterNode("?", runtime="unknown")] * (count - len(named))]

    async def others(self, nsp: str, channel: str, asker: Asker) -> dict[str, str] | int:
        """Return the servers that a request in a namespace waits for: names with uids, or only their number.

        ``channel``: the public channel of the namespace. It costs one way to Redis and back; a second one if a server
        is there that this one does not know yet. The caller registers its request without awaiting anything before:
        who leaves from now on is told to ``asker``. Raises :class:`~rtframework.ClusterUnavailable`.
        """
        reading = _Reading()
        self._readings.append(reading)
        try:
            async with asyncio.timeout(self._timeout):
                link = await self._connection.link()
                known = list(self._alive) if wall_time() - self._read_at >= _FRESH else []
                leases = link.send("MGET", *map(self._key, known)) if known else None
                if leases is not None:
                    leases.add_done_callback(_check)
                count, serving = await self._ask(link, channel, self._hash(nsp), reading)
                if leases is not None:
                    self._take(known, await leases)
                    self._read_at = wall_time()
                await self._read(link, self._hash(nsp), serving)
        except TimeoutError as error:
            raise ClusterUnavailable(f"Redis did not answer within {self._timeout:g} s") from error
        except LinkError as error:
            raise ClusterUnavailable(f"Redis did not answer: {error}") from error
        finally:
            self._readings.remove(reading)
        alive = {name: lease.uid for name, lease in self._alive.items()}
        found = awaited(count - 1, serving, alive, reading.left, strangers=self._has_strangers(nsp))
        if isinstance(found, dict) and found:
            self._askers[asker] = None
            if self._watch is None:
                self._watch = asyncio.get_running_loop().create_task(self._look())
        return found

    def heard(self, nsp: str, uid: str) -> str:
        """Return the name of a server that was heard in a namespace; its uid if it has none, which is remembered."""
        found = self._names.get(uid)
        if found is None and uid != EMITTER:
            self._strangers.pop((nsp, uid), None)
            self._strangers[nsp, uid] = wall_time()
            if len(self._strangers) > _REMEMBERED:
                del self._strangers[next(iter(self._strangers))]
        return uid if found is None else found

    def uid_of(self, name: str) -> str | None:
        """Return the uid of a server that has a lease."""
        lease = self._alive.get(name)
        return None if lease is None else lease.uid

    def left(self, nsp: str, uid: str) -> str:
        """Hear that a server has left a namespace, and return its name: requests that begin do not wait for it."""
        for reading in self._readings:
            if reading.count is not None and reading.count.done():  # it was counted before it left
                reading.left.add(uid)
        self._strangers.pop((nsp, uid), None)
        return self._names.get(uid, uid)

    async def _ask(
        self, link: Link, channel: str, key: str, reading: _Reading | None = None
    ) -> tuple[int, dict[str, str]]:
        """Return the number of servers that are subscribed, and the entries of a hash without this server's."""
        count: Any
        entries: Any
        counted: asyncio.Future[Any]
        if self._count is None:
            counted = link.send("PUBSUB", "NUMSUB", channel)
        else:
            counted = asyncio.ensure_future(self._count(channel))
        if reading is not None:
            reading.count = counted
        named: asyncio.Future[Any] = link.send("HGETALL", key)
        count, entries = await asyncio.gather(counted, named, return_exceptions=True)
        if isinstance(count, BaseException):
            raise count
        if isinstance(entries, ReplyError):  # forbidden: nobody has a name
            _refused(error=entries)
            entries = {}
        elif isinstance(entries, BaseException):
            raise entries
        found = _texts(entries)
        found.pop(self._me.name, None)
        return count if isinstance(count, int) else _subscribers(count), found

    async def _read(self, link: Link, key: str, entries: Mapping[str, str], *, known: bool = False) -> None:
        """Read the leases of servers that are not known, or of all, and remove the entries of those that have none."""
        now = wall_time()
        for each in [each for each, at in self._dead.items() if now - at >= _DEAD]:
            del self._dead[each]
        wanted = [
            name for name, uid in entries.items() if known or not (self._has(name, uid) or (name, uid) in self._dead)
        ]
        if not wanted:
            return
        self._take(wanted, await link.send("MGET", *map(self._key, wanted)))
        for name in wanted:
            uid = entries[name]
            if not self._has(name, uid) and (name, uid) not in self._dead:
                self._dead[name, uid] = now
                forgotten = self._connection.send("EVAL", _FORGET, 2, key, self._key(name), name, uid)
                if forgotten is not None:
                    forgotten.add_done_callback(_check)

    def _has(self, name: str, uid: str) -> bool:
        lease = self._alive.get(name)
        return lease is not None and lease.uid == uid

    def _take(self, names: Sequence[str], values: Sequence[bytes | None]) -> None:
        """Take leases as they were read."""
        for name, value in zip(names, values, strict=True):
            lease = None
            try:
                lease = read_lease(value) if value is not None else None
            except DecodeError as error:
                _rubbish(error=error)
            before = self._alive.pop(name, None)
            if before is not None and (lease is None or lease.uid != before.uid):
                for asker in self._askers:
                    asker.server_gone(name)
            if lease is not None:
                self._alive[name] = lease
                self._names.pop(lease.uid, None)
                self._names[lease.uid] = name
                if len(self._names) > _REMEMBERED:
                    del self._names[next(iter(self._names))]

    def _has_strangers(self, nsp: str) -> bool:
        now = wall_time()
        for each in [each for each, at in self._strangers.items() if now - at >= _STRANGE or each[1] in self._names]:
            del self._strangers[each]
        return any(each[0] == nsp for each in self._strangers)

    async def _look(self) -> None:
        """While requests wait, look whose lease has ended."""
        try:
            while True:
                await asyncio.sleep(_FRESH)
                self._askers = {each: None for each in self._askers if each.is_asking}
                if not self._askers:
                    return
                try:
                    async with asyncio.timeout(self._timeout):
                        names = list(self._alive)
                        link = await self._connection.link()
                        self._take(names, await link.send("MGET", *map(self._key, names)) if names else ())
                except (LinkError, ClusterUnavailable, TimeoutError):
                    pass  # Redis is away: the requests have their time-outs
        finally:
            self._watch = None

    # --- keys ---------------------------------------------------------------------------------------------------------

    @property
    def _index(self) -> str:
        return f"sio:nodes:{self._tag}"

    def _key(self, name: str) -> str:
        return f"sio:n:{self._tag}:{name}"

    def _hash(self, nsp: str) -> str:
        return f"sio:nodes:{self._tag}:{nsp}"


def _check(reply: asyncio.Future[Any]) -> None:
    error = None if reply.cancelled() else reply.exception()
    if isinstance(error, ReplyError):
        _refused(error=error)


def _texts(entries: Any) -> dict[str, str]:
    """Read the reply to HGETALL: a dict in RESP3, a list otherwise."""
    pairs = entries.items() if isinstance(entries, dict) else zip(entries[::2], entries[1::2], strict=True)
    return {name.decode(errors="replace"): uid.decode(errors="replace") for name, uid in pairs}


def _subscribers(reply: Any) -> int:
    """Read the reply to PUBSUB NUMSUB for one channel."""
    return int(next(iter(reply.values())) if isinstance(reply, dict) else reply[1])
