"""Serving packets in the order they came, without a task for each.

Transports put packets into the inbox of a connection; one task of the server, the leader, takes them out. Most
handlers never wait: they run to their end in the leader's task, at no cost. One that does wait keeps the task, so that
``asyncio.current_task()``, timeouts and cancellation work in it as in any coroutine, and a new task takes the lead
(leader and followers).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..concurrency import go_on
from ..logs import ThrottledLog

if TYPE_CHECKING:
    from .inbound import Inbound
    from .outbox import Cork

log: Final = logging.getLogger("rtframework.engine")

_failed: Final = ThrottledLog(log, logging.ERROR, "unhandled error while serving a packet")

_PER_VISIT: Final = 32
"""Packets of one connection that are served before the next connection has its turn."""
_PER_TURN: Final = 128
"""Packets that are served before the event loop has its turn: others have to be read, and written to."""
_LONGEST: Final = 0.005
"""Seconds for which events to many hold up the event loop; one of them is never cut."""


class Served(Protocol):
    """A connection, as the runner sees it."""

    inbox: deque[Any] | None
    """Packets that are still to be served; ``None`` rather than empty."""
    blocked: bool
    """True while as many of its handlers are at work as it may have."""
    context: Context | None
    """The context variables that its handlers are to see, if they are other than the server's."""

    def take(self, packet: Any) -> Coroutine[Any, Any, None] | None:
        """Serve a packet. Return what it sets off, if that is more than could be done at once."""

    def emptied(self) -> None:
        """Hear that everything in the inbox has been taken."""

    def began(self, packet: Any) -> int:
        """Hear that the handler of a packet waits for something. Return the bytes of memory that it holds."""

    def ended(self, weight: int) -> None:
        """Hear that a handler that waited is done, and holds these bytes no more."""


class Runner:
    """The leader and its followers. ``tasks`` holds the tasks that handlers have kept, and no leader.

    ``inbound``: the account of the memory that is taken by what is served, and by what waits for it. ``cork``: what
    handlers send leaves through it, as soon as nobody waits to be served.
    """

    def __init__(
        self,
        tasks: set[asyncio.Task[Any]],
        idle: Callable[[], bool],
        inbound: Inbound,
        cork: Cork,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.inbound = inbound
        self.cork = cork
        self._clock = clock
        self._yields = False
        self._end = 0.0
        """The time at which this turn of the event loop is to end; 0 before the first event to many."""
        self._tasks = tasks
        self._idle = idle
        self._ready: deque[Served] = deque()
        """Connections that had nothing in their inbox before: they come first, so who sends little waits little."""
        self._backlog: deque[Served] = deque()
        """Connections that have more in it than was served in their turn."""
        self._heavy: deque[Served] = deque()
        """Connections whose next message takes long. Of these, and of the backlog, one at least is served in each turn
        of the event loop, and more when nobody else waits."""
        self._turn: Served | None = None
        """The one of them whose turn it is."""
        self._deferred = False
        """True if the connection that is being visited has to wait for that turn."""
        self._leader: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._context = copy_context()

    def start(self) -> None:
        """Have handlers see the context variables as they are now, unless their connection has others."""
        self._context = copy_context()
        leader = self._leader
        if leader is not None and leader.get_loop() is not asyncio.get_running_loop():  # it went with its event loop
            self._leader = self._waiter = None
            self._ready.clear()
            self._backlog.clear()
            self._heavy.clear()

    def context(self) -> Context | None:
        """Return the context of the caller, if it is other than the one in which handlers run."""
        context = copy_context()
        return None if context == self._context else context

    def add(self, one: Served) -> None:
        """Have a connection served that has something in its inbox, and does not wait for that yet."""
        self._ready.append(one)
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)
        elif self._leader is None:
            self._lead()

    def defers(self, one: Served) -> bool:
        """Tell whether a message that takes long has to wait for its turn: then it goes back into the inbox."""
        if self._turn is one:
            self._turn = None
            return False
        self._deferred = bool(self._ready or self._backlog or self._heavy)
        return self._deferred

    def yield_soon(self) -> None:
        """Let the event loop have its turn after this packet: it takes long."""
        self._yields = True

    def begin_broadcast(self) -> None:
        """Hear that an event is about to go to many."""
        if not self._end and self.cork.is_held:
            self._end = self._clock() + _LONGEST

    def end_broadcast(self) -> None:
        """Hear that it went: when such events have taken long, the event loop has its turn after this packet."""
        if self._end and self.cork.is_held and self._clock() >= self._end:
            self._yields = True

    def rest(self) -> None:
        """End the leader, if there is nothing to do: there may be nothing for a while."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
            self._waiter = None

    def _run_alone(self, one: Served, work: Coroutine[Any, Any, None], packet: Any, context: Context) -> None:
        """Run what a packet sets off in a task of its own, with a copy of these context variables."""
        weight = one.began(packet)
        self._keep(asyncio.get_running_loop().create_task(_finish(one, work, weight), context=context.copy()))

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _lead(self) -> None:
        self._leader = asyncio.get_running_loop().create_task(self._work(), context=self._context.copy())

    def _follow(self, task: asyncio.Task[Any]) -> None:
        """Have another task lead: the leader has to stay where it is."""
        self._keep(task)
        self._lead()

    async def _work(self) -> None:
        me = asyncio.current_task()
        assert me is not None
        try:
            await self._serve(me)
        except GeneratorExit:  # the event loop has gone
            if self._leader is me:
                self._leader = self._waiter = None
            raise
        finally:
            if self._leader is me:  # it has nothing to do, or was cancelled
                self._leader = self._waiter = None
                if self._ready or self._backlog or self._heavy:
                    self._lead()

    async def _serve(self, me: asyncio.Task[Any]) -> None:
        loop = asyncio.get_running_loop()
        ready, backlog, heavy = self._ready, self._backlog, self._heavy
        base = copy_context()
        served = 0
        due = 2  # what is served in this turn in any case: one of the backlog, then a heavy one
        cork = self.cork
        cork.hold()
        while True:
            while ready or backlog or heavy:
                if ready and served < _PER_TURN:
                    one = ready.popleft()
                elif backlog and (due == 2 or (served < _PER_TURN and not (heavy and due))):
                    due = min(due, 1)
                    one = backlog.popleft()
                elif heavy:
                    due = 0
                    one = self._turn = heavy.popleft()
                else:
                    served, due = 0, 2
                    self._end = 0.0
                    cork.flush()
                    await asyncio.sleep(0)
                    cork.hold()
                    continue
                inbox = one.inbox
                if inbox is None or one.blocked:
                    continue
                left = _PER_VISIT
                while inbox and left and not self._yields:
                    left -= 1
                    try:
                        packet = inbox.popleft()
                        started = one.take(packet)
                        if started is None:
                            if one.blocked or self._deferred:  # it is in the inbox again
                                break
                            continue
                        if one.context is not None:
                            self._run_alone(one, started, packet, one.context)
                            if one.blocked:
                                break
                            continue
                        waits_for = started.send(None)
                    except StopIteration:
                        # What it has set for itself must not show in the next handler.
                        if copy_context() == base:
                            continue
                        self._put_back(one, backlog.appendleft)
                        cork.release()
                        self._lead()
                        return
                    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - logged
                        _failed(error=error)
                        continue
                    except BaseException:  # ends this task, but not what the others, or this client, have to say
                        self._put_back(one, backlog.append)
                        cork.release()
                        raise
                    weight = one.began(packet)
                    packet = None  # the handler may run for long
                    self._put_back(one, backlog.appendleft)
                    cork.release()
                    self._follow(me)
                    await _finish(one, go_on(started, waits_for), weight)
                    return
                self._turn = None
                if self._deferred:
                    self._deferred = False
                    heavy.append(one)
                else:
                    self._put_back(one, backlog.append)
                if me.cancelling():  # by a handler that did not wait: it is meant for nobody else
                    cork.release()
                    self._lead()
                    return
                served += _PER_VISIT - left
                if self._yields:
                    self._yields = False
                    served, due = 0, 2
                    self._end = 0.0
                    cork.flush()
                    await asyncio.sleep(0)
                    cork.hold()
            cork.flush()
            if ready:  # a write has set off something
                cork.hold()
                continue
            if self._idle():
                return
            served, due = 0, 2
            self._end = 0.0
            self._waiter = waiter = loop.create_future()
            await waiter
            cork.hold()

    def _put_back(self, one: Served, put: Callable[[Served], None]) -> None:
        """Go on with this one later, if it has more that may be served."""
        if not one.inbox:
            one.inbox = None
            one.emptied()
        elif not one.blocked:
            put(one)


async def _finish(one: Served, work: Awaitable[None], weight: int) -> None:
    try:
        await work
    except Exception as error:  # noqa: BLE001 - logged
        _failed(error=error)
    finally:
        one.ended(weight)
