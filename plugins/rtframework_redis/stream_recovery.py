"""Packets that a client has missed: read again from the stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET

from rtframework.cluster.messages import Broadcast, MessageType, target_of
from rtframework.cluster.stream_ids import is_id, parse_id
from rtframework.cluster.streams_wire import Entry, read_fields, read_message, read_splice
from rtframework.exceptions import DecodeError
from rtframework.types import Packet, PacketType

if TYPE_CHECKING:
    from rtframework.protocols import Frames

    from . import commands
    from .link import Link
    from .stream_sessions import Kept
    from .streams_adapter import StreamsAdapter

_EVENT: Final = int(PacketType.EVENT)

_PAGE: Final = 500
"""Entries of one XRANGE."""

_MOST_PAGES: Final = 200
"""Pages of one recovery; a client that has missed more starts anew."""


async def read_since(link: Link, stream: str, offset: str, position: Callable[[], str]) -> list[commands.Entry] | None:
    """Return the entries after an offset up to a position that moves on; it is reached when this returns.

    ``None`` if the entry of the offset, or one of those after it, is not there any more.
    """
    found: list[commands.Entry] = []
    last = offset
    for _ in range(_MOST_PAGES):
        page = await link.send("XRANGE", stream, last, "+", "COUNT", _PAGE)
        if not page or page[0][0].decode() != last:
            return None
        found += page[1:]
        last = page[-1][0].decode()
        end = parse_id(position())
        if parse_id(last) >= end:
            while found and parse_id(found[-1][0].decode()) > end:
                found.pop()
            return found
    return None


def missed_frames(adapter: StreamsAdapter, kept: Kept, entries: Sequence[commands.Entry]) -> list[Frames] | None:
    """Return what a client has missed of the entries since its offset; ``None`` if some of it is lost.

    Events that are volatile, or that ask for answers, are not sent again. An event to a room counts if the client had
    joined the room before.
    """
    since = {room: parse_id(position) for room, position in kept.since.items() if is_id(position)}
    seen: set[bytes | None] = {None}
    found = []
    for raw, fields in entries:
        try:
            entry = read_fields(fields)
            if entry.gap is not None:
                return None
            if entry.type != MessageType.BROADCAST or entry.nsp != adapter.nsp or (entry.again and entry.m in seen):
                continue
            seen.add(entry.m)
            frames = _frames(adapter, raw.decode(), entry, kept.session.rooms, since)
        except DecodeError:
            continue  # nobody has got it
        if frames is not None:
            found.append(frames)
    return found


def _frames(
    adapter: StreamsAdapter, id: str, entry: Entry, rooms: frozenset[str], since: dict[str, tuple[int, int]]
) -> Frames | None:
    """Make the frames of an entry; ``None`` if it is not for a client in these rooms."""
    splice = read_splice(entry.data)
    text = splice.args() if splice is not None else None
    event: Any = splice if text is not None else read_message(entry).data
    target = target_of(event.opts)
    if target.volatile or event.requestId is not UNSET or event.packet.id is not UNSET:
        return None
    at = parse_id(id)
    before = (0, 0)
    if target.rooms is not None and not any(since.get(room, before) < at for room in target.rooms & rooms):
        return None
    if target.except_ & rooms:
        return None
    return adapter.frames(text, partial(packet_of, adapter.nsp, entry), id, target.compress)


def packet_of(nsp: str, entry: Entry) -> Packet:
    """Decode the packet of a broadcast. Raises ``DecodeError``."""
    data = read_message(entry).data
    if not isinstance(data, Broadcast):
        raise DecodeError("invalid entry of the stream: no event")
    return Packet(_EVENT, nsp, data.packet.data)
