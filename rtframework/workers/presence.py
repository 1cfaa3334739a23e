"""Who is in the rooms of all workers, for one server of a worker: the broker keeps it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from ..adapters.presence import JOIN, LEAVE, UPDATE, diff_text
from ..concurrency import TaskSet, start_now
from ..exceptions import ClusterUnavailable
from ..protocols import PresenceTab, StoredMember
from . import wire, wire_rooms

if TYPE_CHECKING:
    from .backbone import Workers
    from .link import Link

_GONE: Final = "the broker of the workers has gone"


class _Call:
    """A call of the broker. ``make``: the message, by the number of the request. ``done``: its result.

    ``is_kept``: carried out even if that takes longer than anybody waits.
    """

    __slots__ = ("done", "is_kept", "is_sent", "make", "timer")

    def __init__(self, make: Callable[[int], Any], is_kept: bool) -> None:
        self.make = make
        self.is_kept = is_kept
        self.is_sent = False
        self.done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.done.add_done_callback(_ignore)
        self.timer: asyncio.TimerHandle | None = None


class WorkersPresence:
    """Keeps who is in the rooms of all workers; see :class:`rtframework.protocols.PresenceStore`.

    A change and what it publishes are one step of the broker, and its answer comes behind what was published. The
    broker knows the tabs of each worker, and lets them be away when the connection ends.
    """

    def __init__(self, backbone: Workers) -> None:
        self._backbone = backbone
        self._link: Link | None = None
        self._is_closed = False
        self._waiting: deque[_Call] = deque()
        """Calls that wait because too much is on its way to the broker, or because the server has not started."""
        self._senders = 0
        """Tasks that send one of them each."""
        self._tasks = TaskSet()

    # --- what is kept -------------------------------------------------------------------------------------------------

    def enter(self, tab: PresenceTab, meta: str, grace: float) -> Awaitable[None]:
        """Add a tab of this server, or take it over from another one."""

        def make(request: int) -> Any:
            key, flags = self._place(tab.nsp)
            join = _payload(key, JOIN, tab.room, tab.user, meta, (tab.sid,))
            leave = _payload(key, LEAVE, tab.room, tab.user, meta)
            return wire_rooms.EnterPresence(request, key, tab.room, tab.sid, tab.user, meta, grace, flags, join, leave)

        return self._call(make)

    def leave(self, tab: PresenceTab) -> Awaitable[None]:
        """Remove a tab, if it is this server's."""
        return self._call(lambda request: wire_rooms.LeavePresence(request, self._place(tab.nsp)[0], tab.room, tab.sid))

    def away(self, tab: PresenceTab, seconds: float) -> None:
        """Remove a tab after a while, unless it is entered again."""
        ends = asyncio.get_running_loop().time() + seconds

        def make(request: int) -> Any:
            left = max(ends - asyncio.get_running_loop().time(), 0.0)
            return wire_rooms.AwayPresence(request, self._place(tab.nsp)[0], tab.room, tab.sid, left)

        self._call(make)

    def update(self, nsp: str, room: str, user: str, meta: str) -> Awaitable[None]:
        """Replace the ``meta`` of a user."""

        def make(request: int) -> Any:
            key, flags = self._place(nsp)
            changed, leave = (_payload(key, event, room, user, meta) for event in (UPDATE, LEAVE))
            return wire_rooms.UpdatePresence(request, key, room, user, meta, flags, changed, leave)

        return self._call(make, is_kept=False)

    async def members(self, nsp: str, room: str, limit: int, after: str | None) -> Sequence[StoredMember]:
        """Return the users in a room, in the order of their ids."""
        answer = await self._call(
            lambda request: wire_rooms.ListPresence(request, self._place(nsp)[0], room, limit, after), is_kept=False
        )
        return [StoredMember(*each) for each in answer.found]

    # --- with the server ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Tell the broker who has come before."""
        self._is_closed = False
        self._link = self._backbone.group.link
        self._senders = 0
        if self._waiting:
            self._send_soon(self._link)

    async def close(self) -> None:
        """Let all tabs of this server be away, each for its grace."""
        self._is_closed = True
        link, self._link = self._link, None
        await self._tasks.cancel()
        waiting, self._waiting = self._waiting, deque()
        if link is not None and link.is_open:
            for call in waiting:
                self._send(link, call)
            name = self._backbone.name
            link.send(wire_rooms.frame_of(wire_rooms.ReleasePresence(f"{name}\0" if name else "")))
        for call in waiting:
            self._finish(call, ClusterUnavailable("the server has stopped"))

    # --- calls --------------------------------------------------------------------------------------------------------

    def _call(self, make: Callable[[int], Any], *, is_kept: bool = True) -> asyncio.Future[Any]:
        """Call the broker behind what was sent before. Return what is done when it has answered."""
        call = _Call(make, is_kept)
        link = self._link
        if self._is_closed or (link is not None and not link.is_open):
            call.done.set_exception(ClusterUnavailable(_GONE))
            return call.done
        call.timer = asyncio.get_running_loop().call_later(self._backbone.publish_timeout, self._late, call)
        if link is None:
            self._waiting.append(call)
        elif not link.is_ready:
            self._waiting.append(call)
            self._send_soon(link)
        elif self._waiting:  # the tasks that send them are about to go on
            self._waiting.append(call)
        else:
            self._send(link, call)
        return call.done

    def _send_soon(self, link: Link) -> None:
        """Send the call that waits for longest when it is possible, behind the emits that wait already."""
        self._senders += 1
        start_now(self._send_next(link), self._tasks)

    async def _send_next(self, link: Link) -> None:
        while True:
            try:
                await link.ready(self._backbone.publish_timeout)
                break
            except ClusterUnavailable:
                if not link.is_open:
                    break
        self._senders -= 1
        self._send(link, self._waiting.popleft())
        while self._waiting and not self._senders:
            self._send(link, self._waiting.popleft())

    def _send(self, link: Link, call: _Call) -> None:
        if not link.is_open:
            self._finish(call, ClusterUnavailable(_GONE))
        elif call.is_kept or call.done.cancelled() or not call.done.done():
            request = link.ask(lambda answer: self._answered(call, answer))
            try:
                frame = wire_rooms.frame_of(call.make(request))
            except Exception as error:  # noqa: BLE001 - for the caller
                self._finish(call, error)
                link.answered(request, None)
            else:
                call.is_sent = True
                link.send(frame)

    def _answered(self, call: _Call, answer: Any) -> None:
        if answer is None:
            self._finish(call, ClusterUnavailable(_GONE, uncertain=True))
        else:
            self._finish(call, None, answer)

    def _finish(self, call: _Call, error: Exception | None, answer: Any = None) -> None:
        if call.timer is not None:
            call.timer.cancel()
            call.timer = None
        if call.done.done():
            return
        if error is None:
            call.done.set_result(answer)
        else:
            call.done.set_exception(error)

    def _late(self, call: _Call) -> None:
        call.timer = None
        seconds = self._backbone.publish_timeout
        message = f"the broker of the workers did not answer within {seconds:g} s"
        self._finish(call, ClusterUnavailable(message, uncertain=call.is_sent))

    def _place(self, nsp: str) -> tuple[str, int]:
        """Return the key of a namespace, and the flags of what is published there."""
        backbone = self._backbone
        key = backbone.key_of(nsp)
        adapter = backbone.group.adapters.get(key)
        return key, wire.KEEP if adapter is not None and adapter.recovers else 0


def _payload(key: str, event: str, room: str, user: str, meta: str, but: tuple[str, ...] = ()) -> bytes:
    return wire.encode_event(key, (room,), but, 0, diff_text(event, room, user, meta))


def _ignore(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
