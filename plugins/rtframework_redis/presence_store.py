"""Who is in the rooms of all servers, in Redis."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import random
from collections import deque
from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Any, Final, Protocol

from rtframework.adapters.presence import JOIN, LEAVE, UPDATE, diff_text
from rtframework.exceptions import ClusterUnavailable
from rtframework.logs import ThrottledLog
from rtframework.protocols import PresenceTab, StoredMember

from .errors import ReplyError
from .link import STALE
from .presence_script import AT_ONCE, LEASE, RENEW, SCRIPT, SHA

log: Final = logging.getLogger("rtframework.cluster")

_refused: Final = ThrottledLog(
    log, logging.ERROR, "Redis refuses presence; see the rights in docs/cluster/redis.md", period=60.0
)

_STOP: Final = 2.0
"""Seconds in which the tabs of a server that stops are given up."""

_AGAIN: Final = 30.0
"""Seconds after which everything is entered again if Redis has refused a call."""

_PAGE: Final = 1_024
"""Users that one call reads: a reply is never large."""

_JITTER: Final = 1.0
"""Seconds by which servers look for others' late tabs at different times."""

_NOT_NOW: Final = ClusterUnavailable("who is in the room cannot be told or read now: Redis cannot be reached")


class Carrier(Protocol):
    """What the store needs of a backbone."""

    timeout: float
    """Seconds for a reply."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The beginning of all keys, and the stream if there is one."""

    @property
    def command(self) -> str:
        """The command that publishes."""

    @property
    def target(self) -> str | int | bytes:
        """The length of the stream, or the channel to this server itself."""

    @property
    def uid(self) -> str:
        """The id of this server, another one after each start."""

    @property
    def is_ready(self) -> bool:
        """True while what is sent comes behind everything that was emitted before."""

    def send(self, *args: Any) -> asyncio.Future[Any] | None:
        """Send a command behind everything that was emitted before; ``None`` if that is not possible."""

    def message(self, nsp: str, room: str, text: str, but: str | None) -> tuple[bytes, bytes]:
        """Return the channel and the message of an event for a room. ``text``: its arguments as JSON."""

    def delivered(self, number: int, position: bytes) -> asyncio.Future[None] | None:
        """Return a future that is done when everything up to a position is delivered here; ``None``: it is.

        ``number``: of the call. ``position``: the id of the entry that the script has returned, if there is one.
        """


class _Own:
    """A tab of this server. ``ends``: the loop's time when it is not away any more, if it is.

    ``came``: the time of Redis at which it was entered, in milliseconds, once Redis has told it.
    """

    __slots__ = ("came", "ends", "grace", "meta", "tab")

    def __init__(self, tab: PresenceTab, meta: str, grace: float) -> None:
        self.tab = tab
        self.meta = meta
        self.grace = grace
        self.ends: float | None = None
        self.came: int | None = None


class _Call:
    """A call of the script. ``key``: the tab that it concerns; only the last call for a tab is repeated."""

    __slots__ = ("args", "future", "key", "number", "op", "timer")

    def __init__(self, op: str, args: tuple[Any, ...], key: Any = None) -> None:
        self.op = op
        self.args = args
        self.key = key
        self.number = 0
        self.future: asyncio.Future[Any] | None = None
        self.timer: asyncio.TimerHandle | None = None


class RedisPresence:
    """Keeps who is in the rooms of all servers of a cluster; see :class:`rtframework.protocols.PresenceStore`.

    Each call is one script, which also publishes. It may be repeated after a broken connection: what is there already
    changes nothing. A server that Redis has forgotten, because it was away or because Redis was emptied, enters all its
    tabs again.
    """

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self._own: dict[tuple[str, str, str], _Own] = {}
        self._waiting: deque[_Call] = deque()
        self._latest: dict[Any, _Call] = {}
        """By tab: the last call that is not answered."""
        self._numbers = itertools.count(1)
        self._counted = -math.inf
        """Calls of this server that Redis has counted, as it has said last; with fewer, it has lost some, or has taken
        this server for dead: the answer that said so may be lost."""
        self._again_at: float | None = None
        """The loop's time when what was refused is tried again."""
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._is_open = self._is_sweeping = False

    # --- what is kept -------------------------------------------------------------------------------------------------

    def enter(self, tab: PresenceTab, meta: str, grace: float) -> Awaitable[None]:
        """Add a tab of this server, or take it over from another one."""
        own = self._own[_key(tab)] = _Own(tab, meta, grace)
        return self._call(self._entering(own))

    def leave(self, tab: PresenceTab) -> Awaitable[None]:
        """Remove a tab, if it is this server's."""
        self._own.pop(_key(tab), None)
        return self._call(_Call("leave", (_room(tab.nsp, tab.room), tab.sid), _key(tab)))

    def away(self, tab: PresenceTab, seconds: float) -> None:
        """Remove a tab after a while, unless it is entered again."""
        own = self._own.get(_key(tab))
        if own is not None:
            own.ends = asyncio.get_running_loop().time() + seconds
        self._call(self._leaving(tab, seconds))
        self._wake(seconds)

    def update(self, nsp: str, room: str, user: str, meta: str) -> Awaitable[None]:
        """Replace the ``meta`` of a user."""
        changed, left = self._message(nsp, room, UPDATE, user, meta), self._message(nsp, room, LEAVE, user, meta)
        done = self._call(_Call("update", (_room(nsp, room), user, meta, changed, left)))
        for own in self._own.values():
            if own.tab.user == user and own.tab.room == room and own.tab.nsp == nsp:
                own.meta = meta  # for the case that Redis forgets it
        return done

    async def members(self, nsp: str, room: str, limit: int, after: str | None) -> Sequence[StoredMember]:
        """Return the users in a room, in the order of their ids."""
        members: list[StoredMember] = []
        while len(members) < limit:
            start = f"({members[-1].user}" if members else "-" if after is None else f"({after}"
            most = min(_PAGE, limit - len(members))
            ids, *chunks = await self._call(_Call("members", (_room(nsp, room), most, start)))
            values = itertools.chain.from_iterable(chunks)
            for user, (meta, tabs, since) in zip(ids, zip(*[values] * 3, strict=True), strict=True):
                time = int(since.partition(b" ")[0]) / 1000
                members.append(StoredMember(user.decode(), meta.decode(), int(tabs), time))
            if len(ids) < most:
                break
        return members

    # --- with the server ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to give signs of life."""
        self._is_open = True
        self.connected()

    async def close(self) -> None:
        """Let all tabs of this server be away, each for its grace."""
        self._is_open = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            async with asyncio.timeout(_STOP):
                while True:
                    (released,) = await self._call(_Call("stop", (AT_ONCE,)))
                    if released < AT_ONCE:
                        break
        except (ClusterUnavailable, TimeoutError):
            pass  # the others find out
        for call in (*self._waiting, *self._latest.values()):
            self._end(call, _NOT_NOW)
        self._waiting.clear()
        self._latest.clear()
        self._own.clear()

    def connected(self) -> None:
        """Hear that calls can be sent again."""
        if not self._is_open:
            return
        reply = self._carrier.send("SCRIPT", "LOAD", SCRIPT)
        if reply is not None:
            self._is_sweeping = False
            self._sweep()
            self._flush()

    # --- calls --------------------------------------------------------------------------------------------------------

    def _call(self, call: _Call) -> asyncio.Future[Any]:
        """Send a call behind those before it. What the result tells is delivered here when it is done."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        future.add_done_callback(_ignore)
        if call.key is not None:
            self._latest[call.key] = call
        if not self._carrier.is_ready:
            if call.key is not None:
                self._wait(call)
            future.set_exception(ClusterUnavailable(str(_NOT_NOW)))
            return future
        call.future = future
        call.timer = loop.call_later(self._carrier.timeout, self._late, call)
        if self._waiting:
            self._waiting.append(call)
            self._flush()
        else:
            self._send(call)
        return future

    def _wait(self, call: _Call) -> None:
        waiting = self._waiting
        waiting.append(call)
        if len(waiting) > 2 * len(self._latest) + 1_000:  # clients come and go while Redis is away
            self._waiting = deque(each for each in waiting if self._is_wanted(each))

    def _is_wanted(self, call: _Call) -> bool:
        if call.key is None:
            return call.future is not None or call.op == "mine"
        return self._latest.get(call.key) is call

    def _flush(self) -> None:
        waiting = self._waiting
        while waiting and self._carrier.is_ready:
            call = waiting.popleft()
            if self._is_wanted(call):
                if not self._send(call):
                    return
            else:
                self._end(call, _NOT_NOW)

    def _send(self, call: _Call) -> bool:
        carrier = self._carrier
        call.number = next(self._numbers)
        head = (call.op, carrier.uid, carrier.command, carrier.target, call.number, _ms(LEASE), _ms(RENEW))
        keys = carrier.keys
        reply = carrier.send("EVALSHA", SHA, len(keys), *keys, *head, *call.args)
        if reply is None:
            self._waiting.appendleft(call)
            return False
        reply.add_done_callback(partial(self._replied, call))
        return True

    def _replied(self, call: _Call, reply: asyncio.Future[Any]) -> None:
        error = _NOT_NOW if reply.cancelled() else reply.exception()
        if error is None:
            self._done(call, reply.result())
        elif isinstance(error, ReplyError) and error.code not in STALE and error.code != "NOSCRIPT":
            _refused(error=error)
            if self._latest.get(call.key) is call:
                del self._latest[call.key]
                if self._again_at is None:
                    self._again_at = asyncio.get_running_loop().time() + _AGAIN
            self._end(call, ClusterUnavailable(f"Redis refuses presence: {error}"))
            self._is_sweeping = self._is_sweeping and call.op != "sweep"
        elif call.op == "update" and not isinstance(error, ReplyError):
            self._end(
                call, ClusterUnavailable(f"it is not known whether presence was updated: {error}", uncertain=True)
            )
        elif call.op == "sweep":
            self._is_sweeping = False
        elif self._is_wanted(call):
            self._wait(call)
        else:
            self._end(call, _NOT_NOW)
        if isinstance(error, ReplyError) and error.code == "NOSCRIPT":
            self.connected()

    def _done(self, call: _Call, result: Any) -> None:
        key = call.key
        if key is not None and self._latest.get(key) is call:
            del self._latest[key]
            own = self._own.get(key)
            if call.op == "enter" and own is not None and own.came is None:
                own.came = result[3]
        if call.op == "sweep":
            self._swept(*result)
        elif call.op == "mine":
            self._look(*result)
        elif call.op in ("members", "stop"):
            self._end(call, None, result)
        else:
            known, position, counted, _ = result
            self._check(known, counted, counted <= self._counted)
            if call.future is not None and not call.future.done():
                delivered = self._carrier.delivered(call.number, position)
                if delivered is None:
                    self._end(call, None)
                else:
                    delivered.add_done_callback(lambda _: self._end(call, None))

    def _end(self, call: _Call, error: Exception | None, result: Any = None) -> None:
        if call.timer is not None:
            call.timer.cancel()
            call.timer = None
        future, call.future = call.future, None
        if future is not None and not future.done():
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

    def _late(self, call: _Call) -> None:
        call.timer = None
        uncertain = call.op == "update"
        self._end(call, ClusterUnavailable("Redis did not answer in time", uncertain=uncertain))

    # --- signs of life ------------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        """Give a sign of life, and remove what is late, of servers that are dead, too."""
        self._timer = None
        if not self._is_open:
            return
        self._wake(RENEW)
        now = asyncio.get_running_loop().time()
        for key in [key for key, own in self._own.items() if own.ends is not None and own.ends <= now]:
            del self._own[key]
        self._flush()
        if self._carrier.is_ready and not self._is_sweeping:
            self._is_sweeping = True
            call = _Call("sweep", (AT_ONCE,))
            if not self._send(call):
                self._waiting.popleft()
                self._is_sweeping = False

    def _swept(self, known: int, more: int, soonest: int, counted: int) -> None:
        self._is_sweeping = False
        if not self._is_open:
            return
        loop = asyncio.get_running_loop()
        is_due = self._again_at is not None and self._again_at <= loop.time()
        self._check(known, counted, is_due or counted < self._counted)
        if more:
            self._sweep()
        else:
            self._wake(min(RENEW, soonest / 1000 + random.uniform(0.001, _JITTER)))

    def _check(self, known: int, counted: int, has_lost: bool) -> None:
        """Enter everything again if Redis has forgotten this server, or has lost some of its calls.

        It has lost some if a replica that lagged is the master now, an older file was read, or calls were refused.
        """
        self._counted = counted
        if self._is_open and (has_lost or not known):
            self._again_at = None
            self._enter_all()
            if known:
                self._repeat(_Call("mine", (AT_ONCE, 0)))

    def _wake(self, seconds: float) -> None:
        """Sweep in so many seconds, or sooner."""
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds + 0.002
        if self._timer is not None:
            if self._due <= due:
                return
            self._timer.cancel()
        if self._is_open:
            self._due = due
            self._timer = loop.call_later(seconds + 0.002, self._sweep)

    def _enter_all(self) -> None:
        """Enter all tabs of this server again: Redis has forgotten it."""
        now = asyncio.get_running_loop().time()
        for own in list(self._own.values()):
            if _key(own.tab) in self._latest:
                continue  # it is on its way
            if own.ends is not None and own.ends <= now:
                continue
            left = 0.0 if own.ends is None else own.ends - now
            call = self._latest[_key(own.tab)] = self._entering(own, left, to_all=True)  # its own list may lack it
            self._repeat(call)

    def _look(self, cursor: bytes, refs: Sequence[bytes]) -> None:
        """Remove tabs that Redis has for this server, and that have left: it has lost that they did."""
        for each in refs:
            size, _, rest = each.partition(b":")
            sid, room = rest[: int(size)].decode(), rest[int(size) :].decode()
            nsp, _, name = room.partition(",")
            key = nsp, name, sid
            if key not in self._own and key not in self._latest:
                call = self._latest[key] = _Call("leave", (room, sid), key)
                self._repeat(call)
        if int(cursor):
            self._repeat(_Call("mine", (AT_ONCE, cursor)))

    def _repeat(self, call: _Call) -> None:
        """Send a call that nobody awaits."""
        if not self._carrier.is_ready or self._waiting:
            self._wait(call)
        else:
            self._send(call)

    # --- the calls of the script --------------------------------------------------------------------------------------

    def _entering(self, own: _Own, left: float = 0.0, *, to_all: bool = False) -> _Call:
        """Make the call that enters a tab.

        ``left``: seconds that it is away, if it is; then only if nobody has it. ``to_all``: tell it, too. What Redis
        has had before is left to a server that has entered it since.
        """
        tab, meta = own.tab, own.meta
        args = (
            *(_room(tab.nsp, tab.room), tab.sid, tab.user, _ms(own.grace), meta),
            self._message(tab.nsp, tab.room, JOIN, tab.user, meta, None if to_all else tab.sid),
            self._message(tab.nsp, tab.room, LEAVE, tab.user, meta),
            _ms(left),
            "" if own.came is None else own.came,
        )
        return _Call("enter", args, _key(tab))

    def _leaving(self, tab: PresenceTab, seconds: float) -> _Call:
        return _Call("away", (_room(tab.nsp, tab.room), tab.sid, _ms(seconds)), _key(tab))

    def _message(self, nsp: str, room: str, event: str, user: str, meta: str, but: str | None = None) -> bytes:
        channel, payload = self._carrier.message(nsp, room, diff_text(event, room, user, meta), but)
        return b"%d:%b%b" % (len(channel), channel, payload)


def _key(tab: PresenceTab) -> tuple[str, str, str]:
    return tab.nsp, tab.room, tab.sid


def _room(nsp: str, room: str) -> str:
    """Return the name of a room in keys: no namespace has a comma in its name."""
    return f"{nsp},{room}"


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _ignore(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
