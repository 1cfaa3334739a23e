"""What a client has missed that comes back to a worker: from the broker's log, and while it is on its way in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ..cluster.messages import Broadcast, target_of
from ..cluster.pubsub_wire import decode
from ..exceptions import DecodeError
from ..types import Packet, PacketType
from . import wire
from .sessions import KeptSession, was_for
from .shared_table import bucket_of

if TYPE_CHECKING:
    from ..adapters.packet_log import Attendance
    from ..protocols import Frames
    from .adapter import WorkersAdapter

_EVENT: Final = int(PacketType.EVENT)


class Returning:
    """The messages that come while a client is on its way in."""

    __slots__ = ("events",)

    def __init__(self) -> None:
        self.events: list[tuple[int, str | None, Any, Collection[str] | None, Collection[str], bool]] = []

    def add(
        self,
        number: int,
        text: str | None,
        packet: Packet | Callable[[], Packet],
        rooms: Collection[str] | None,
        except_: Collection[str],
        compress: bool,
    ) -> None:
        """Remember an event."""
        self.events.append((number, text, packet, rooms, except_, compress))

    def frames(self, adapter: WorkersAdapter, kept: KeptSession, after: int) -> list[Frames]:
        """Make the frames of those that the client has missed."""
        found = [
            adapter.numbered_frames(text, packet, number, compress)
            for number, text, packet, rooms, except_, compress in self.events
            if was_for(kept.attendance, rooms, except_, number, after)
        ]
        return [frames for frames in found if frames is not None]


def shelves_of(adapter: WorkersAdapter, attendance: Attendance, after: int) -> list[tuple[int, int]] | None:
    """Return the buckets of what a client may have missed, each with the number after which it may have."""
    if after < attendance.known_from:
        return None
    shelves: dict[int, int] = {}
    for room, start, _ in attendance.stays(after):
        bucket = adapter.bucket if room is None else bucket_of(adapter.key, room)
        shelves[bucket] = min(start, shelves.get(bucket, start))
    return list(shelves.items())


def missed_frames(
    adapter: WorkersAdapter, kept: KeptSession, after: int, found: Sequence[tuple[int, bytes]] | None
) -> list[Frames] | None:
    """Make the frames of what a client has missed."""
    if found is None:
        return None
    missed = []
    for number, payload in found:
        try:
            frames = _frames(adapter, kept.attendance, after, number, payload)
        except DecodeError:
            continue  # nobody has got it
        if frames is not None:
            missed.append(frames)
    return missed


def _frames(adapter: WorkersAdapter, attendance: Attendance, after: int, number: int, payload: bytes) -> Frames | None:
    if payload[0] == wire.IS_KEPT:  # its id is the offset
        payload = payload[wire.KEPT_HEAD :]
    if payload[0] == wire.IS_EVENT:
        event = wire.read_event(payload)
        if event.key != adapter.key or not was_for(attendance, event.rooms or None, event.except_, number, after):
            return None
        compress = not event.flags & wire.NOT_COMPRESSED
        return adapter.numbered_frames(event.text, partial(adapter.decoded, event.text), number, compress)
    message = decode(payload[1:])
    data = message.data
    if message.nsp != adapter.key or not isinstance(data, Broadcast):
        return None
    target = target_of(data.opts)
    if not was_for(attendance, target.rooms, target.except_, number, after):
        return None
    return adapter.numbered_frames(None, Packet(_EVENT, adapter.nsp, data.packet.data), number, target.compress)
