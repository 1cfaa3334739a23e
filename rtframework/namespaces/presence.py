"""Who is in the rooms of a namespace: sockets that come and go are told to the store, and lists to sockets."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Collection, Coroutine, Iterable, Sequence
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final

from ..adapters.presence import Presence, encode_meta
from ..concurrency import maybe_await
from ..exceptions import ClusterUnavailable, ConfigurationError, EventError
from ..logs import ThrottledLog
from ..protocols import PresenceStore, PresenceTab
from ..types import DisconnectReason, Member
from .own_rooms import RESERVED, is_text, key_of_user
from .presence_lists import TIMEOUT, RoomLists

if TYPE_CHECKING:
    from ..adapters.buffered_outlet import BufferedOutlet
    from .namespace import Namespace
    from .socket import Socket

log: Final = logging.getLogger("rtframework.namespace")

_not_told: Final = ThrottledLog(log, logging.ERROR, "presence: unhandled error while a client of %s joins rooms")

_AT_ONCE: Final = frozenset(
    {
        DisconnectReason.CLIENT_NAMESPACE_DISCONNECT,
        DisconnectReason.SERVER_NAMESPACE_DISCONNECT,
        DisconnectReason.KICKED,
        DisconnectReason.TOKEN_REVOKED,
    }
)
"""The reasons after which a client does not come back by itself, or not as it was."""


class _Tab:
    """A socket in a room. ``key``: what the store calls it."""

    __slots__ = ("is_entered", "is_instant", "key", "meta", "needs_list", "rule")

    def __init__(self, key: PresenceTab, rule: Presence) -> None:
        self.key = key
        self.rule = rule
        self.meta: str | None = None
        """JSON, if the program has given it before the store knows the tab."""
        self.is_entered = False
        """True once the store has been told."""
        self.is_instant = False
        """True if the store did not have to be waited for."""
        self.needs_list = False
        """True if its client could not be told who is there."""


class RoomPresence:
    """The presence in the rooms of one namespace, as far as the sockets of this server are concerned."""

    __slots__ = ("_lists", "_lost", "_nsp", "_rules", "_store", "_tabs")

    def __init__(self, nsp: Namespace, rules: Sequence[Presence], store: PresenceStore) -> None:
        self._nsp = nsp
        self._rules = rules
        self._store = store
        self._lists = RoomLists(nsp, store)
        self._tabs: dict[str, dict[str, _Tab]] = {}
        """By socket id and room."""
        self._lost: dict[float, dict[PresenceTab, float]] = {}
        """By the grace of their rules: tabs whose connection was lost, the first that was lost first, with the time of
        the event loop until which they may come back."""

    # --- who comes ----------------------------------------------------------------------------------------------------

    def entered(
        self, socket: Socket, rooms: Iterable[str], entering: Awaitable[None] | None = None
    ) -> Awaitable[None] | None:
        """Tell that a socket is in rooms, and its client who is there.

        ``entering``: what the adapter has returned. Return what is to be waited for, which also raises what went wrong;
        the socket is in its rooms all the same.
        """
        tabs = [tab for room in rooms if (tab := self._tab(socket, room)) is not None]
        if not tabs:
            return entering
        steps = [] if entering is None else [entering]
        failed: Exception | None = None
        for tab in tabs:
            if tab.is_entered:
                continue
            try:
                meta = None if tab.rule.meta is None else tab.rule.meta(socket)
                if isawaitable(meta):
                    steps.append(self._enter_with(tab, meta))
                    continue
                text = self._encode(meta, tab.rule)
            except Exception as error:  # noqa: BLE001 - raised when the user is in the list all the same
                failed, text = error, "null"
            step = self._enter(tab, text)
            if step is not None:
                steps.append(step)
        if not steps and self._list_at_once(socket, tabs):
            return None if failed is None else _raising(failed)
        return self._spawn(self._finish(socket, tabs, steps, self._nsp._membership.hold(socket), failed))

    def _list_at_once(self, socket: Socket, tabs: Sequence[_Tab]) -> bool:
        """Send lists without waiting; return ``False``, and send none, if that is not possible for all."""
        if not all(tab.is_instant for tab in tabs):
            return False
        lists = []
        for tab in tabs:
            found = self._lists.at_once(tab.key.room, tab.rule)
            if found is None:
                return False
            lists.append(found)
        for each in lists:
            each.send(socket, socket._outlet)
        return True

    def admitted(self, socket: Socket, entering: Awaitable[None] | None) -> Awaitable[None] | None:
        """Do the same for a client that is let in, whom nothing that goes wrong keeps out.

        One that is recovered gets lists, too: the last ones may have been lost with its connection.
        """
        done = self.entered(socket, self._nsp.adapter.rooms(socket.id))
        return entering if done is None else self._admit(done, entering)

    async def _admit(self, done: Awaitable[None], entering: Awaitable[None] | None) -> None:
        try:
            if entering is not None:
                await entering
        finally:
            try:
                await done
            except ClusterUnavailable:
                pass  # the log says that the cluster is away
            except Exception as error:  # noqa: BLE001 - logged
                _not_told(self._nsp.name, error=error, key=self._nsp.label, extra={"nsp": self._nsp.name})

    def _tab(self, socket: Socket, room: str) -> _Tab | None:
        """Return the tab of a socket in a room, a new one if need be; ``None`` if the room has no presence."""
        tabs = self._tabs.get(socket.id)
        tab = None if tabs is None else tabs.get(room)
        if tab is None:
            rule = self.rule_of(room)
            if rule is None or room == socket.id or room in self._nsp._membership.sockets:
                return None
            user = key_of_user(socket._authenticated)
            tab = _Tab(PresenceTab(self._nsp.name, room, socket.id, socket.id if user is None else user), rule)
            self._tabs.setdefault(socket.id, {})[room] = tab
        return tab

    def rule_of(self, room: str) -> Presence | None:
        """Return the settings of a room; ``None`` if it has no presence."""
        if room.startswith(RESERVED):
            return None
        for rule in self._rules:
            if rule.fits(room):
                return rule if is_text(room) else None
        return None

    def _enter(self, tab: _Tab, meta: str) -> Awaitable[None] | None:
        tab.is_entered = True
        step = self._store.enter(tab.key, meta if tab.meta is None else tab.meta, tab.rule.grace)
        tab.is_instant = step is None
        return step

    async def _enter_with(self, tab: _Tab, waiting: Awaitable[Any]) -> None:
        """Enter a tab whose ``meta`` has to be awaited, unless the socket has left meanwhile."""
        failed: BaseException | None = None
        text = "null"
        try:
            text = self._encode(await waiting, tab.rule)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - raised below
            failed = error
        if self._tabs.get(tab.key.sid, {}).get(tab.key.room) is tab:
            step = self._enter(tab, text)
            if step is not None and failed is None:
                await step
        if failed is not None:
            raise failed

    async def _finish(
        self,
        socket: Socket,
        tabs: Sequence[_Tab],
        steps: Sequence[Awaitable[None]],
        held: BufferedOutlet | None,
        failed: Exception | None,
    ) -> None:
        """Wait until everybody knows of a socket, then send the lists."""
        unlisted = list(tabs)
        try:
            async with asyncio.timeout(TIMEOUT):
                for result in await asyncio.gather(*steps, return_exceptions=True):
                    if isinstance(result, Exception) and failed is None:
                        failed = result
                if not isinstance(failed, ClusterUnavailable):
                    for tab in tabs:
                        found = await self._lists.read(tab.key.room, tab.rule)
                        if self._is_current(tab):
                            found.send(socket, socket._outlet if held is None else held.below)
                        unlisted.remove(tab)
        except TimeoutError:
            failed = failed or ClusterUnavailable(f"the others were not told who has joined within {TIMEOUT:g} s")
        except ClusterUnavailable as error:
            failed = failed or error
        finally:
            for tab in unlisted:
                tab.needs_list = True
            if held is not None:
                self._nsp._membership.release(socket, held)
        if failed is not None:
            raise failed

    # --- who goes -----------------------------------------------------------------------------------------------------

    def left(self, sid: str, rooms: Collection[str], leaving: Awaitable[None] | None) -> Awaitable[None] | None:
        """Tell that a socket has left rooms. ``leaving``: what the adapter has returned."""
        tabs = self._tabs.get(sid)
        if tabs is None:
            return leaving
        waiting = [] if leaving is None else [leaving]
        for room in rooms:
            tab = tabs.pop(room, None)
            if tab is not None and tab.is_entered:
                told = self._store.leave(tab.key)
                if told is not None:
                    waiting.append(_quiet(told))
        if not tabs:
            del self._tabs[sid]
        return asyncio.gather(*waiting) if len(waiting) > 1 else waiting[0] if waiting else None  # type: ignore[return-value]

    def gone(self, sid: str, reason: str | None) -> None:
        """Tell that a socket has left the namespace. ``reason``: of its disconnect; ``None``: it was refused."""
        for tab in self._tabs.pop(sid, {}).values():
            if not tab.is_entered:
                continue
            if reason is None or reason in _AT_ONCE:
                told = self._store.leave(tab.key)
                if told is not None:
                    _quiet(told)
            else:
                self._store.away(tab.key, tab.rule.grace)
                self._note_lost(tab.key, tab.rule.grace)

    def _note_lost(self, key: PresenceTab, grace: float) -> None:
        now = asyncio.get_running_loop().time()
        lost = self._lost.setdefault(grace, {})
        while lost and lost[first := next(iter(lost))] <= now:
            del lost[first]
        lost.pop(key, None)  # it is the last one now
        lost[key] = now + grace

    def turned_away(self, user: str) -> None:
        """Tell that the tabs of a user whose connections were lost do not come back: the user is thrown out."""
        for lost in self._lost.values():
            for key in [key for key in lost if key.user == user]:
                del lost[key]
                if key.room not in self._tabs.get(key.sid, ()):  # else it is back
                    told = self._store.leave(key)
                    if told is not None:
                        _quiet(told)

    # --- what a program asks ------------------------------------------------------------------------------------------

    async def update(self, socket: Socket, room: str, meta: Any) -> None:
        """Replace what others are shown of a user, see :meth:`Socket.update_presence`."""
        tab = self._tabs.get(socket.id, {}).get(room)
        if tab is None:
            raise EventError("not_in_room", "the socket is not in that room, or the room has no presence")
        text = self._encode(meta, tab.rule)
        if not tab.is_entered:
            tab.meta = text
            return
        updating = self._store.update(tab.key.nsp, room, tab.key.user, text)
        if updating is not None:
            await updating

    async def members(self, room: str, limit: int, after: str | None) -> list[Member]:
        """Return who is in a room, see :meth:`Server.presence`."""
        if self.rule_of(room) is None:
            raise self._nsp._without_presence(room)
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            raise ConfigurationError(f"limit is a whole number from 1, not {limit!r}")
        found = await maybe_await(self._store.members(self._nsp.name, room, limit, after))
        return [Member(each.user, json.loads(each.meta), each.tabs, each.since) for each in found]

    # --- lists --------------------------------------------------------------------------------------------------------

    async def list_again(self, *, only_missing: bool) -> None:
        """Send lists anew, room by room: to clients that could not get one, or to all."""
        rooms: dict[str, list[_Tab]] = {}
        for tabs in self._tabs.values():
            for tab in tabs.values():
                if tab.is_entered and (tab.needs_list or not only_missing):
                    rooms.setdefault(tab.key.room, []).append(tab)
        for of_room in rooms.values():
            await self._list_to_all(of_room)

    async def _list_to_all(self, tabs: Sequence[_Tab]) -> None:
        sockets, membership = self._nsp._membership.sockets, self._nsp._membership
        held = [
            (tab, socket, membership.hold(socket))
            for tab in tabs
            if self._is_current(tab) and (socket := sockets.get(tab.key.sid)) is not None
        ]
        try:
            found = await self._lists.read(tabs[0].key.room, tabs[0].rule)
            for tab, socket, outlet in held:
                if self._is_current(tab):
                    found.send(socket, socket._outlet if outlet is None else outlet.below)
        except ClusterUnavailable:
            for tab in tabs:
                tab.needs_list = True
        else:
            for tab in tabs:
                tab.needs_list = False
        finally:
            for _, socket, outlet in held:
                if outlet is not None:
                    membership.release(socket, outlet)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _is_current(self, tab: _Tab) -> bool:
        return self._tabs.get(tab.key.sid, {}).get(tab.key.room) is tab

    def _encode(self, meta: Any, rule: Presence) -> str:
        """Encode what others are shown of a user. Raises ``EncodeError``."""
        return "null" if meta is None else encode_meta(self._nsp._engine.plain([meta])[0], rule.max_meta)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> Awaitable[None]:
        keeper = self._nsp._keeper
        assert keeper is not None
        task = keeper.spawn(work)
        task.add_done_callback(_ignore)
        return task


def _quiet(told: Awaitable[None]) -> Awaitable[None]:
    """Return what ends with an awaitable of the store, and raises nothing: it will be told when it can be."""
    outer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def done(told: asyncio.Future[None]) -> None:
        _ignore(told)
        if not outer.done():
            outer.set_result(None)

    asyncio.ensure_future(told).add_done_callback(done)
    return outer


def _raising(error: Exception) -> Awaitable[None]:
    """Return an awaitable that raises, or is dropped without a word."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    future.exception()
    return future


def _ignore(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
