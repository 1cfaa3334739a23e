"""What the broker keeps of rooms, beside who gets what: who is in them, and what was said there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from ..types import HistoryQuery, KeptRoom
from . import wire, wire_rooms
from .broker_history import BrokerHistory
from .broker_presence import PresenceTable, Told
from .shared_table import bucket_of

if TYPE_CHECKING:
    from .broker import Broker, _Worker


_AT_ONCE: Final = 500
"""Tabs that are removed before the broker handles other messages."""


class BrokerRooms:
    """The rooms of one broker."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.presence = PresenceTable()
        self.history = BrokerHistory(broker.epoch)
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def stop(self) -> None:
        """Wait for nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def handle(self, source: _Worker, frame: bytes, now: float) -> None:
        """Handle a frame of a worker."""
        message = wire_rooms.read_by_broker(frame)
        _HANDLERS[type(message)](self, source, message, now)

    def worker_gone(self, slot: int, now: float) -> None:
        """Let the people of a worker that has gone be away."""
        self.presence.worker_gone(slot, now)
        self._tell((), now)

    # --- who is in them -----------------------------------------------------------------------------------------------

    def _enter(self, source: _Worker, message: wire_rooms.EnterPresence, now: float) -> None:
        self._tell(self.presence.enter(source.slot, message, time.time()), now, source, message.request)

    def _leave(self, source: _Worker, message: wire_rooms.LeavePresence, now: float) -> None:
        it = message
        self._tell(self.presence.leave(source.slot, it.key, it.room, it.sid), now, source, it.request)

    def _set_away(self, source: _Worker, message: wire_rooms.AwayPresence, now: float) -> None:
        it = message
        told = self.presence.away(source.slot, it.key, it.room, it.sid, it.seconds, now)
        self._tell(told, now, source, it.request)

    def _update(self, source: _Worker, message: wire_rooms.UpdatePresence, now: float) -> None:
        self._tell(self.presence.update(message), now, source, message.request)

    def _release(self, source: _Worker, message: wire_rooms.ReleasePresence, now: float) -> None:
        self.presence.release(source.slot, message.prefix, now)
        self._tell((), now)

    def _list(self, source: _Worker, message: wire_rooms.ListPresence, now: float) -> None:
        it = message
        found = self.presence.members(it.key, it.room, it.limit, it.after)
        source.out.append(wire_rooms.frame_of(wire_rooms.PresenceList(it.request, found)))

    # --- what was said there ------------------------------------------------------------------------------------------

    def keep(self, source: _Worker, frame: bytes, now: float) -> None:
        """Put a message in order, and keep it in the history of rooms under its number."""
        key, rooms, message = wire_rooms.read_kept(frame)
        self._broker.publish(source, message, now)
        self.history.keep(self._broker.table.head, key, rooms, message[wire.buckets_of(message)[1] :])

    def _bound(self, source: _Worker, message: wire_rooms.KeepHistory, now: float) -> None:
        self.history.bound(message.size, message.rooms)

    def _read(self, source: _Worker, message: wire_rooms.ReadHistory, now: float) -> None:
        it = message
        query = HistoryQuery(
            after=it.after, before=it.before, upto=it.upto, limit=it.limit, max_bytes=it.max_bytes, oldest=it.oldest
        )
        page = self.history.find_without(it.key, KeptRoom(it.room, it.size, it.ttl), query, frozenset(it.without))
        found = [(entry.id, entry.data[0]) for entry in page.entries]
        answer = wire_rooms.HistoryFound(it.request, self._broker.table.head, page.gap, page.more, found)
        source.out.append(wire_rooms.frame_of(answer))

    def _clear(self, source: _Worker, message: wire_rooms.ClearHistory, now: float) -> None:
        self.history.forget(message.key, message.room)
        source.out.append(wire_rooms.frame_of(wire_rooms.Changed(message.request)))

    # --- inside -------------------------------------------------------------------------------------------------------

    def _tell(
        self, told: Iterable[Told], now: float, source: _Worker | None = None, request: int | None = None
    ) -> None:
        """Publish changes, and answer the worker that has made them behind them."""
        for key, room, flags, payload in told:
            self._broker.tell(source, flags, bucket_of(key, room), payload, now)
        if source is not None and request is not None:
            source.out.append(wire_rooms.frame_of(wire_rooms.Changed(request)))
        due = self.presence.due
        if due is not None and (self._timer is None or due < self._due):
            self.stop()
            self._due = due
            self._timer = asyncio.get_running_loop().call_later(max(due - now, 0.0), self._expire)

    def _expire(self) -> None:
        self._timer = None
        now = time.monotonic()
        self._tell(self.presence.expire(now, _AT_ONCE), now)
        self._broker.flush()


_HANDLERS: Final[dict[type, Callable[[BrokerRooms, Any, Any, float], None]]] = {
    wire_rooms.EnterPresence: BrokerRooms._enter,
    wire_rooms.LeavePresence: BrokerRooms._leave,
    wire_rooms.AwayPresence: BrokerRooms._set_away,
    wire_rooms.UpdatePresence: BrokerRooms._update,
    wire_rooms.ReleasePresence: BrokerRooms._release,
    wire_rooms.ListPresence: BrokerRooms._list,
    wire_rooms.KeepHistory: BrokerRooms._bound,
    wire_rooms.ReadHistory: BrokerRooms._read,
    wire_rooms.ClearHistory: BrokerRooms._clear,
}
