"""A connection to Redis that is opened again whenever it ends, and the state of it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from rtframework.concurrency import is_cancelled, maybe_await

from .address import Address
from .errors import LinkError, LinkLost, LinkRefused, ReplyError
from .handshake import Former, connect, end_former
from .link import Link, LinkOptions, OnPush, Traffic
from .topology import Topology

T = TypeVar("T")

SHORTEST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0
"""Seconds between two attempts to connect: the upper bound grows from the first to the second."""

_FIRST_PAUSE: Final = 0.01
"""Seconds before the first attempt of those that are eager, at most."""

_SETTLED: Final = 1.0
"""Seconds that a connection must last before the pauses begin again with the shortest one."""
_LOCATE_TIMEOUT: Final = 10.0
"""Seconds for a topology to say where the master is, over all of its servers."""


class Pauses:
    """Pauses between attempts: random, so that many servers do not come back together, and growing up to a bound.

    ``eager``: the first one is at most 10 ms, for connections without which messages are lost.
    """

    def __init__(self, *, eager: bool = False, random_number: Callable[[], float] = random.random) -> None:
        self._random = random_number
        self._bound = SHORTEST_PAUSE
        self._eager = self._is_first = eager

    def reset(self) -> None:
        """Begin again with the shortest pause."""
        self._bound = SHORTEST_PAUSE
        self._is_first = self._eager

    def take(self) -> float:
        """Return the next pause in seconds: between the shortest one and the bound, which doubles."""
        if self._is_first:
            self._is_first = False
            return _FIRST_PAUSE * self._random()
        self._bound = min(self._bound * 2, LONGEST_PAUSE)
        return SHORTEST_PAUSE + (self._bound - SHORTEST_PAUSE) * self._random()


@dataclass(frozen=True, slots=True)
class Health:
    """The state of a kept connection at one moment."""

    up: bool
    since: float
    """Seconds that this state has lasted."""
    address: str
    """The server, without a password; the one that was tried last while the connection is down."""
    problem: str
    """The reason why it is down; empty while it is up."""
    attempts: int
    """Attempts to connect that have failed since it was up."""
    connects: int
    """Connections opened so far."""
    losses: int
    """Connections that ended, but for the one that was closed."""
    client_id: int | None
    pending: int
    """Bytes of commands that wait for their replies."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A new connection, as :class:`Keeper` gives it to ``on_up``."""

    link: Link
    former_ended: bool
    """Redis surely reads nothing more from the connection before this one. If it is false, what that one has written
    may still be executed: the user may not kill clients, or the former server is another one."""


class Keeper:
    """Keeps a connection to the master of a key: connects, connects again, and asks the topology each time.

    ``on_up``: called, and awaited, with each new connection before it counts as up, to subscribe and to settle what is
    open; if it raises a ``LinkError``, the connection is given up and another one tried. ``on_down``: called with the
    reason when a connection that was up has ended. ``on_failure``: called with the reason of each attempt that failed.
    ``on_push``: see :class:`Link`. Commands are never repeated here.
    """

    def __init__(
        self,
        topology: Topology,
        *,
        key: bytes = b"",
        name: str = "rtframework",
        on_up: Callable[[Opened], Awaitable[None] | None] | None = None,
        on_down: Callable[[LinkLost], None] | None = None,
        on_failure: Callable[[Exception], None] | None = None,
        on_push: OnPush | None = None,
        options: LinkOptions | None = None,
        pauses: Pauses | None = None,
    ) -> None:
        self._topology = topology
        self._key = key
        self._name = name
        self._on_up = on_up
        self._on_down = on_down
        self._on_failure = on_failure
        self._on_push = on_push
        self._options = options or LinkOptions()
        self._pauses = pauses or Pauses()
        self._task: asyncio.Task[None] | None = None
        self._link: Link | None = None
        self._opening: Link | None = None
        self._former: Former | None = None
        self._waiters: set[asyncio.Future[Link]] = set()
        self._closed = False
        self._since = time.monotonic()
        self._address = ""
        self._problem = "not started"
        self._attempts = self._connects = self._losses = 0
        self._past = Traffic()

    @property
    def link(self) -> Link | None:
        """The connection while it is up."""
        return self._link if self._link is not None and self._link.is_usable else None

    @property
    def health(self) -> Health:
        """The state now."""
        link = self.link
        return Health(
            up=link is not None,
            since=time.monotonic() - self._since,
            address=self._address,
            problem="" if link is not None else self._latest_problem(),
            attempts=self._attempts,
            connects=self._connects,
            losses=self._losses,
            client_id=link.client_id if link is not None else None,
            pending=link.unanswered if link is not None else 0,
        )

    @property
    def traffic(self) -> Traffic:
        """The numbers of all connections so far, as a new value."""
        total = Traffic()
        total.add(self._past)
        if self._opening is not None:
            total.add(self._opening.traffic)
        return total

    def start(self) -> None:
        """Begin to connect in the background."""
        if self._task is None and not self._closed:
            self._problem = f"connecting to {self._topology}"
            self._task = asyncio.get_running_loop().create_task(self._keep())

    async def up(self, timeout: float | None = None) -> Link:
        """Return the connection, waiting for it if it is down.

        Raises ``LinkRefused`` with the last problem when ``timeout`` seconds have passed, and ``LinkLost`` after
        ``close``.
        """
        if self._closed:
            raise LinkLost("the connection was closed")
        if self.link is not None:
            return self.link
        waiter: asyncio.Future[Link] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            async with asyncio.timeout(timeout):
                return await waiter
        except TimeoutError:
            raise LinkRefused(self._problem) from None
        finally:
            self._waiters.discard(waiter)

    def suspect(self, reason: str) -> None:
        """Give the connection up and ask the topology again: replies that are on their way are awaited for a moment."""
        if self._opening is not None:
            self._opening.retire(reason)

    async def close(self) -> None:
        """End the connection and the attempts; return when no task and no transport is left."""
        self._closed = True
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        if self._opening is not None:
            await self._opening.close()
            self._forget(self._opening)
        self._link = None
        self._problem = "closed"
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(LinkLost("the connection was closed"))
        await self._topology.close()

    async def _keep(self) -> None:
        while True:
            opened_at = time.monotonic()
            try:
                await self._live()
            except asyncio.CancelledError as error:
                if is_cancelled(error):
                    raise
                self._note(LinkLost("what was awaited for the new connection was cancelled"))
            except Exception as error:  # noqa: BLE001 - whatever it is, the next attempt may succeed
                self._note(error)
            else:
                if time.monotonic() - opened_at >= _SETTLED:
                    self._pauses.reset()
            await asyncio.sleep(self._pauses.take())

    def _note(self, error: Exception) -> None:
        self._attempts += 1
        self._problem = str(error) or type(error).__name__
        if not isinstance(error, LinkError | OSError):
            _report("an attempt to connect to Redis failed", error)
        _tell(self._on_failure, error)

    async def _live(self) -> None:
        """Open a connection and wait for its end. Raises ``LinkError`` if it never was up."""
        address = await self._locate()
        link = await connect(
            address, name=self._name, on_push=self._on_push, on_stale=self._refute, options=self._options
        )
        self._opening = link
        self._connects += 1
        try:
            former_ended = await self._end_former(link, address)
            if link.client_id is not None and link.name:
                self._former = Former(address.place, link.client_id, link.name)
            if self._on_up is not None:
                await maybe_await(self._on_up(Opened(link, former_ended)))
            if not link.is_usable:
                raise LinkLost(str(await link.lost))
            self._say_up(link)
            lost = await asyncio.shield(link.lost)
        except BaseException as error:
            if is_cancelled(error):
                raise  # by close(), which also closes the link
            self._losses += 1
            await link.close()
            self._forget(link)
            raise
        self._losses += 1
        self._say_down(lost)
        await link.close()
        self._forget(link)

    async def _locate(self) -> Address:
        try:
            async with asyncio.timeout(_LOCATE_TIMEOUT):
                address = await self._topology.locate(self._key)
        except TimeoutError:
            problem = f"{self._topology} did not say within {_LOCATE_TIMEOUT:g} s where the master is"
            raise LinkRefused(problem) from None
        self._address = str(address)
        return address

    async def _end_former(self, link: Link, address: Address) -> bool:
        former = self._former
        if former is None:
            return self._connects == 1
        return former.place == address.place and await end_former(link, former)

    def _refute(self, error: ReplyError) -> None:
        self._topology.refute(error, self._key)
        self.suspect(str(error))

    def _say_up(self, link: Link) -> None:
        self._link = link
        self._since = time.monotonic()
        self._attempts = 0
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(link)

    def _say_down(self, lost: LinkLost) -> None:
        self._link = None
        self._since = time.monotonic()
        self._problem = str(lost)
        _tell(self._on_down, lost)

    def _latest_problem(self) -> str:
        """Return the reason of the last end, also in the moment in which it has not been handled yet."""
        opening = self._opening
        return str(opening.lost.result()) if opening is not None and opening.lost.done() else self._problem

    def _forget(self, link: Link) -> None:
        if self._opening is link:
            self._opening = None
            self._past.add(link.traffic)


def _tell(listener: Callable[[T], None] | None, error: T) -> None:
    if listener is not None:
        try:
            listener(error)
        except Exception as problem:  # noqa: BLE001 - a listener's fault must not end the attempts
            _report("a listener for connections to Redis failed", problem)


def _report(message: str, error: Exception) -> None:
    asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})
