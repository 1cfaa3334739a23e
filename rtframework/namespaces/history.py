"""The history of a namespace's rooms: events kept as they are emitted, pages for sockets that join later."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from json.decoder import scanstring  # type: ignore[attr-defined]  # it is there, and in no stub
from typing import TYPE_CHECKING, Any, Final

from ..adapters.connecting import is_connecting
from ..adapters.history import DEFAULT, no_history
from ..adapters.history_keepers import MemoryKeeper, StoreKeeper
from ..adapters.memory_history import MemoryHistory
from ..exceptions import ClusterUnavailable, ConfigurationError, EventError
from ..types import HistoryEntry, HistoryPage, HistoryQuery, KeptPacket, Packet, PacketType, Target, place_of
from .own_rooms import check_names

if TYPE_CHECKING:
    from ..adapters.history import History
    from ..protocols import Adapter, Emitter, Engine, Frames, HistoryKeeper, HistoryStore
    from .namespace import Namespace
    from .socket import Socket

HISTORY: Final = "history"
"""The event that brings a client the page of a room that it has joined."""

_PATIENCE: Final = 5.0
"""Seconds that reading a page may take."""

_REMEMBERED: Final = 10_000
"""Rooms of which it is remembered which history they have."""

_LONGEST_ID: Final = 64
"""Characters of the id of an entry; clients send longer ones in vain."""

_UNKNOWN: Final[Any] = object()


class Follower:
    """Hears the events of a room as they are delivered; see :meth:`NamespaceHistory.follow`."""

    __slots__ = ("_history", "_sid", "function")

    def __init__(self, history: NamespaceHistory, sid: str, function: Callable[[HistoryEntry], None]) -> None:
        self._history = history
        self._sid = sid
        self.function = function

    def hear(self, packet: Packet) -> None:
        """Take a packet that was sent to the room."""
        if isinstance(packet, KeptPacket):
            *data, id = packet.data
            self.function(HistoryEntry(id, packet.at, data=data))

    def close(self) -> None:
        """Hear nothing more."""
        self._history.unfollow(self._sid)


class NamespaceHistory:
    """The history of the rooms of one namespace; there is none in a namespace that no ``History`` is for.

    It stands in front of the adapter: :meth:`broadcast` keeps what is to be kept, and leaves the rest to it.
    """

    __slots__ = ("_last", "_nsp", "_numbers", "_of_room", "_rules")

    def __init__(self, nsp: Namespace, rules: Sequence[tuple[History, HistoryKeeper]]) -> None:
        self._nsp = nsp
        self._rules = rules
        self._of_room: dict[str, tuple[History, HistoryKeeper] | None] = {}
        self._numbers = itertools.count()
        self._last: tuple[HistoryPage, str, Frames] | None = None
        """The page that was sent last, and its frames."""

    # --- what is emitted ----------------------------------------------------------------------------------------------

    def broadcast(self, packet: Packet, target: Target) -> Awaitable[None]:
        """Deliver an event as the adapter does, and keep it where it is to be kept."""
        rooms = target.rooms
        if rooms and not target.volatile and not target.local:
            event = packet.data[0]
            kept = []
            for room in rooms:
                found = self._find(room)
                if found is not None and found[0].keeps(event):
                    kept.append((room, *found))
            if kept:
                keeper = kept[0][2]
                if any(each is not keeper for _, _, each in kept):
                    names = ", ".join(repr(room) for room, _, _ in kept)
                    raise ConfigurationError(f"rooms with different stores: emit to each of {names} by itself")
                return keeper.broadcast(packet, target, [rule.of(room) for room, rule, _ in kept])
        return self._nsp.adapter.broadcast(packet, target)

    # --- pages --------------------------------------------------------------------------------------------------------

    async def join(self, socket: Socket, room: str, limit: int | None, since: str | None) -> HistoryPage:
        """Put a socket into a room, and send its client the page before anything that is said from then on."""
        rule, keeper = self._get(room)
        query = _query(rule, DEFAULT if limit is None else limit, after=since)
        membership = self._nsp._membership
        held = membership.hold(socket)
        if held is None:
            if socket._left is not None:
                return HistoryPage()
            raise ConfigurationError("the client is not in yet: join with history in a connection handler")
        opening = None
        try:
            entering = socket._enter_rooms((room,))
            opening = keeper.open(room)
            if entering is not None:
                try:
                    await entering
                except ClusterUnavailable:
                    if not is_connecting():
                        raise
            page = self._for(socket, await self._read(rule, keeper, room, query, opening))
            if socket._left is not None or room not in socket.rooms:  # the connection may be another socket's by now
                return HistoryPage()
            self._send(socket, room, page, held.below.send)
            return page
        finally:
            if opening is not None:
                keeper.close(room, opening)
            membership.release(socket, held)

    async def join_all(
        self,
        socket: Socket,
        rooms: Sequence[str],
        deal: Callable[[Callable[[Frames], None], dict[str, HistoryPage]], None],
        *,
        after: str | None = None,
        limit: int | None = None,
        most: int = 0,
    ) -> None:
        """Put a socket into rooms, and have what was said in those that have a history dealt with before all else.

        ``deal`` is called with a function that sends frames to the client, and with a page of each such room: the
        newest ``limit`` entries, or, without a limit, all of them, of ``most`` bytes about; those after an entry, if
        one is given. Without a limit, ``gap`` is true if some are missing.
        """
        names = list(rooms)
        check_names(names)
        membership = self._nsp._membership
        await membership.check_no_ids(names, socket.id)
        held = membership.hold(socket)
        if held is None:
            return
        openings: list[tuple[str, Any]] = []
        try:
            entering = socket._enter_rooms(names)
            openings += [(room, self._get(room)[1].open(room)) for room in names if self._find(room) is not None]
            if entering is not None:
                try:
                    await entering
                except ClusterUnavailable:
                    if not is_connecting():
                        raise
            pages: dict[str, HistoryPage] = {}
            for room, opening in openings:
                page = await self._catch_up(room, opening, after, limit, most)
                pages[room] = self._for(socket, page)
                most -= sum(entry.size for entry in page.entries)
            deal(held.below.send, pages)
        finally:
            for room, opening in openings:
                self._get(room)[1].close(room, opening)
            membership.release(socket, held)

    async def _catch_up(self, room: str, opening: Any, after: str | None, limit: int | None, most: int) -> HistoryPage:
        """Return the newest entries, or all."""
        rule, keeper = self._get(room)
        query = _query(rule, rule.page if limit is None else limit, after=after)
        page = await self._read(rule, keeper, room, query, opening)
        if limit is not None:
            return page
        if after is not None and page.gap:
            return await self._newer(room, opening, after, most)
        entries, gap, more = page.entries, page.gap, page.more
        while more and entries and most > 0:
            query = dataclasses.replace(query, before=entries[0].id)
            page = await self._read(rule, keeper, room, query, opening)
            entries, gap, more = (*page.entries, *entries), gap or page.gap, page.more and bool(page.entries)
            most -= sum(entry.size for entry in page.entries)
        is_cut = more or (after is None and len(entries) >= rule.size)  # nobody knows what the room had before
        return HistoryPage(entries, gap or is_cut, more)

    async def _newer(self, room: str, opening: Any, after: str, most: int) -> HistoryPage:
        """Return the entries after one of another room, as far as the ids tell; it has to be known what came before.

        A store knows no more than its rooms: who reads several at once has the last id of one.
        """
        rule, keeper = self._get(room)
        query, bound = _query(rule, rule.page), place_of(after)
        entries: tuple[HistoryEntry, ...] = ()
        more = True
        while more and most > 0:
            page = await self._read(rule, keeper, room, query, opening)
            entries, more = (*page.entries, *entries), page.more and bool(page.entries)
            first = place_of(entries[0].id) if entries else None
            if bound is None or first is None or first[0] != bound[0]:
                break
            if first <= bound:
                return HistoryPage(tuple(each for each in entries if (place_of(each.id) or bound) > bound))
            query = dataclasses.replace(query, before=entries[0].id)
            most -= sum(entry.size for entry in page.entries)
        return HistoryPage(entries, True, more)

    async def page_for(
        self, socket: Socket, room: str, before: str | None, after: str | None, limit: int
    ) -> HistoryPage:
        """Return a page for a client that is in the room. Raises ``EventError`` if it is not."""
        if room not in socket.rooms:
            raise EventError("not_in_room", "only who is in a room reads its history")
        return self._for(socket, await self.page(room, before, after, limit))

    async def page(self, room: str, before: str | None, after: str | None, limit: int) -> HistoryPage:
        """Return a page of all that was said in a room."""
        rule, keeper = self._get(room)
        query = _query(rule, limit, after=after, before=before, oldest=after is not None)
        return await self._read(rule, keeper, room, query, None)

    async def page_after(self, room: str, after: str | None, limit: int) -> HistoryPage:
        """Return the first entries after one, or the oldest of all that are there."""
        rule, keeper = self._get(room)
        query = _query(rule, limit, after=after, oldest=True)
        page = await self._read(rule, keeper, room, query, None)
        if after is None or not page.gap:
            return page
        newer = await self._newer(room, None, after, rule.size * rule.page_bytes)
        if newer.gap:
            return page
        return HistoryPage(newer.entries[: query.limit], False, len(newer.entries) > query.limit)

    async def clear(self, room: str) -> None:
        """Forget what was said in a room."""
        _, keeper = self._get(room)
        await _in_time(keeper.clear(room))

    async def _read(
        self, rule: History, keeper: HistoryKeeper, room: str, query: HistoryQuery, opening: Any
    ) -> HistoryPage:
        is_strange = query.after is not None and not _is_id(query.after)
        if is_strange:  # a client may send anything: it is told what there is, and of a gap
            query = dataclasses.replace(query, after=None)
        if query.before is not None and not _is_id(query.before):
            return HistoryPage(gap=is_strange)
        page = self._bounded(await _in_time(keeper.read(rule.of(room), query, opening)), query)
        return HistoryPage(page.entries, True, page.more) if is_strange else page

    def _bounded(self, page: HistoryPage, query: HistoryQuery) -> HistoryPage:
        """Cut a page to as many attachments as a packet may have."""
        if all(entry.text is not None for entry in page.entries) or self._nsp._engine.splice("/", '["a"]') is None:
            return page
        left = self._nsp._limits.max_attachments
        taken: list[HistoryEntry] = []
        for entry in page.entries if query.oldest else reversed(page.entries):
            left -= 0 if entry.text is not None else _count_bytes(entry.data)
            if left < 0 and taken:
                break
            taken.append(entry)
        if not query.oldest:
            taken.reverse()
        return HistoryPage(tuple(taken), page.gap, page.more or len(taken) < len(page.entries))

    def _for(self, socket: Socket, page: HistoryPage) -> HistoryPage:
        """Leave out what was not for a socket."""
        if not any(entry.except_ for entry in page.entries):
            return page
        rooms = socket.rooms
        entries = tuple(entry for entry in page.entries if rooms.isdisjoint(entry.except_))
        return page if len(entries) == len(page.entries) else HistoryPage(entries, page.gap, page.more)

    def _send(self, socket: Socket, room: str, page: HistoryPage, send: Callable[[Frames], None]) -> None:
        nsp, last = self._nsp, self._last
        if last is None or last[0] is not page or last[1] != room:  # after a restart many get the same
            last = self._last = (page, room, frames_of(nsp._engine, nsp.name, room, page))
        send(last[2])
        if nsp._outgoing.tapped:
            nsp._outgoing.show((socket.id,), packet_of(nsp.name, room, page))

    # --- what is delivered from now on --------------------------------------------------------------------------------

    async def follow(
        self, room: str, function: Callable[[HistoryEntry], None], after: str | None = None, limit: int = 0
    ) -> tuple[HistoryPage, Follower]:
        """Call a function with each entry of a room that is delivered on this server from now on, without waiting.

        Return what came before, after an id if one is given, as for a socket that joins; the function has to hold what
        it hears until the page was dealt with. It hears only events that are kept.
        """
        rule, keeper = self._get(room)
        sid = f"$follower:{next(self._numbers)}"
        follower = Follower(self, sid, function)
        outgoing, adapter = self._nsp._outgoing, self._nsp.adapter
        outgoing.followers[sid] = follower.hear
        outgoing.tapped.add(sid)
        opening = None
        try:
            entering = adapter.add(sid, (room,))
            opening = keeper.open(room)
            if entering is not None:
                await entering
            page = await self._read(rule, keeper, room, _query(rule, limit, after=after), opening)
        except BaseException:
            follower.close()
            raise
        finally:
            if opening is not None:
                keeper.close(room, opening)
        return page, follower

    def unfollow(self, sid: str) -> None:
        """Let a follower hear nothing more."""
        self._nsp._outgoing.followers.pop(sid, None)
        self._nsp._outgoing.tapped.discard(sid)
        self._nsp.adapter.remove_all(sid)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _find(self, room: str) -> tuple[History, HistoryKeeper] | None:
        """Return the history of a room, the first that fits; ``None`` without one."""
        found: tuple[History, HistoryKeeper] | None = self._of_room.get(room, _UNKNOWN)
        if found is _UNKNOWN:
            if len(self._of_room) >= _REMEMBERED:
                self._of_room.clear()
            is_own = room.startswith("$")
            found = None if is_own else next((each for each in self._rules if each[0].fits(room)), None)
            self._of_room[room] = found
        return found

    def _get(self, room: str) -> tuple[History, HistoryKeeper]:
        found = self._find(room)
        if found is None:
            raise no_history(room)
        return found


def make_history(
    nsp: Namespace, rules: Iterable[History], adapter: Adapter, emitter: Emitter, memory: MemoryHistory | None
) -> NamespaceHistory | None:
    """Make the history of a namespace; ``None`` if no rule is for it.

    ``memory``: for rooms without a store; ``None`` if there are other servers, whose events would be missing in it.
    Raises ``ConfigurationError`` if the adapter does not keep history then.
    """
    keepers: dict[int, HistoryKeeper] = {}
    found: list[tuple[History, HistoryKeeper]] = []
    for rule in rules:
        if rule.nsp in (None, nsp.name, nsp.label):
            key = id(rule.store)
            if key not in keepers:
                keepers[key] = _make_keeper(nsp.name, rule.store, adapter, emitter, memory)
            found.append((rule, keepers[key]))
    return NamespaceHistory(nsp, found) if found else None


def _make_keeper(
    nsp: str, store: HistoryStore | None, adapter: Adapter, emitter: Emitter, memory: MemoryHistory | None
) -> HistoryKeeper:
    own: HistoryKeeper | None = getattr(adapter, "history_keeper", None)
    if store is None and own is not None:
        return own
    is_alone = memory is not None
    store = store or memory
    if store is None or (isinstance(store, MemoryHistory) and not is_alone):
        raise ConfigurationError(
            f"{type(adapter).__name__} does not keep the history of rooms: take RedisStreams, or a store that all "
            "servers use, History(..., store=...)"
        )
    if isinstance(store, MemoryHistory):
        return MemoryKeeper(nsp, adapter, emitter, store)
    return StoreKeeper(nsp, adapter, emitter, store)


def _query(
    rule: History, limit: int, *, after: str | None = None, before: str | None = None, oldest: bool = False
) -> HistoryQuery:
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
        raise ConfigurationError(f"history is a number of entries from 0, not {limit!r}")
    for name, id in (("since", after), ("before", before)):
        if id is not None and not isinstance(id, str):
            raise ConfigurationError(f"{name} is the id of an entry, a string, not {id!r}")
    limit = min(limit, rule.page)
    return HistoryQuery(after=after, before=before, limit=limit, max_bytes=rule.page_bytes, oldest=oldest)


def _is_id(id: str) -> bool:
    return 0 < len(id) <= _LONGEST_ID and id.isascii() and id.isprintable()


async def _in_time(reading: Awaitable[Any]) -> Any:
    try:
        async with asyncio.timeout(_PATIENCE):
            return await reading
    except TimeoutError as error:
        raise ClusterUnavailable(f"the history was not read within {_PATIENCE:g} s") from error


def _count_bytes(value: Any) -> int:
    """Count the attachments that a value makes."""
    if isinstance(value, bytes | bytearray | memoryview):
        return 1
    if isinstance(value, dict):
        return sum(map(_count_bytes, value.values()))
    return sum(map(_count_bytes, value)) if isinstance(value, list | tuple) else 0


# --- the packet -------------------------------------------------------------------------------------------------------


def packet_of(nsp: str, room: str, page: HistoryPage) -> Packet:
    """Make the packet that brings a page."""
    entries = [{"id": each.id, "event": each.event, "args": list(each.args), "at": each.at} for each in page.entries]
    data = {"room": room, "entries": entries, "gap": page.gap, "more": page.more}
    return Packet(PacketType.EVENT, nsp, [HISTORY, data])


def frames_of(engine: Engine, nsp: str, room: str, page: HistoryPage) -> Frames:
    """Encode the packet; entries that are JSON already are not decoded for it."""
    if all(each.text is not None for each in page.entries):
        entries = ",".join(map(_json_of, page.entries))
        flags = f'"gap":{_BOOL[page.gap]},"more":{_BOOL[page.more]}'
        text = f'["{HISTORY}",{{"room":{json.dumps(room)},"entries":[{entries}],{flags}}}]'
        frames = engine.splice(nsp, text)
        if frames is not None:
            return frames
    return engine.encode(packet_of(nsp, room, page))


_BOOL: Final = ("false", "true")


def _json_of(entry: HistoryEntry) -> str:
    text = entry.text or ""
    # The event's name ends the string that the array begins with, or the number.
    end = scanstring(text, 2)[1] if text[:2] == '["' else min(text.find(",") % len(text), len(text) - 1)
    args = f"[{text[end + 1 :]}" if text[end] == "," else "[]"
    return f'{{"id":"{entry.id}","event":{text[1:end]},"args":{args},"at":{entry.at}}}'
