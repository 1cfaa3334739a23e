"""What workers and their broker say to each other about rooms: who is in them, and what was said there.

The payloads are those of :mod:`rtframework.workers.wire`; the broker publishes and keeps them, and reads none.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Any, Final

import msgspec

from ..types import KeptRoom
from . import wire


class _About(msgspec.Struct, array_like=True, tag=True, gc=False):
    """Base class. ``key``: a namespace, and the server in the process."""


# --- who is in them ---------------------------------------------------------------------------------------------------


class EnterPresence(_About):
    """Add a tab of this worker. ``flags``: of the publications; ``join`` and ``leave``: their payloads.

    ``join`` is published if it is the first tab of its user, ``leave`` after the last one has gone.
    """

    request: int
    key: str
    room: str
    sid: str
    user: str
    meta: str
    grace: float
    flags: int
    join: bytes
    leave: bytes


class LeavePresence(_About):
    """Remove a tab of this worker."""

    request: int
    key: str
    room: str
    sid: str


class AwayPresence(_About):
    """Remove a tab of this worker after so many seconds, unless it is entered again."""

    request: int
    key: str
    room: str
    sid: str
    seconds: float


class UpdatePresence(_About):
    """Replace what others are shown of a user: publish ``update`` now, and ``leave`` when the user goes."""

    request: int
    key: str
    room: str
    user: str
    meta: str
    flags: int
    update: bytes
    leave: bytes


class ReleasePresence(_About):
    """Let all tabs of one server of this worker be away, each for its grace. ``prefix``: the beginning of its keys; if
    it is empty, of those without any."""

    prefix: str


class ListPresence(_About):
    """Ask for at most ``limit`` users in a room, those behind the id ``after``."""

    request: int
    key: str
    room: str
    limit: int
    after: str | None


class PresenceList(_About):
    """The answer to a question: id, meta, tabs and time of the first tab of each user."""

    request: int
    found: list[tuple[str, str, int, float]]


# --- what was said there ----------------------------------------------------------------------------------------------


class KeepHistory(_About):
    """Keep so many bytes in all rooms at least, and so many rooms; of several such messages, the most counts."""

    size: int
    rooms: int


class ReadHistory(_About):
    """Ask for a page of a room: see :class:`rtframework.types.HistoryQuery`. ``size`` and ``ttl``: what the room keeps.

    ``without``: ids of entries that are left out.
    """

    request: int
    key: str
    room: str
    size: int
    ttl: float | None
    after: str | None
    before: str | None
    upto: str | None
    limit: int
    max_bytes: int
    oldest: bool
    without: list[str]


class ClearHistory(_About):
    """Forget what was said in a room."""

    request: int
    key: str
    room: str


class HistoryFound(_About):
    """The answer: ids and payloads, oldest first. ``head``: the number of the last message before this."""

    request: int
    head: int
    gap: bool
    more: bool
    found: list[tuple[str, bytes]]


# --- both -------------------------------------------------------------------------------------------------------------


class Changed(_About):
    """The answer to a change: it was made, and what it publishes stands before this."""

    request: int


ToBroker: Final = (
    EnterPresence
    | LeavePresence
    | AwayPresence
    | UpdatePresence
    | ReleasePresence
    | ListPresence
    | KeepHistory
    | ReadHistory
    | ClearHistory
)
FromBroker: Final = Changed | PresenceList | HistoryFound

_HEAD: Final = Struct("<IB")
_SIZE: Final = Struct("<I")
_KEPT: Final = bytes([wire.KEPT])
_PUBLISH: Final = bytes([wire.PUBLISH])
_encode: Final = msgspec.msgpack.Encoder().encode
_to_broker: Final = msgspec.msgpack.Decoder(ToBroker).decode
_from_broker: Final = msgspec.msgpack.Decoder(FromBroker).decode
_read_rooms: Final = msgspec.msgpack.Decoder(tuple[str, list[KeptRoom]]).decode


def frame_of(message: _About) -> bytes:
    """Make the frame of a struct."""
    data = _encode(message)
    return _HEAD.pack(1 + len(data), wire.ROOMS) + data


def read_by_broker(frame: bytes) -> Any:
    """Decode a frame of a worker."""
    return _to_broker(memoryview(frame)[1:])


def read_by_worker(frame: bytes) -> Any:
    """Decode a frame of the broker."""
    return _from_broker(memoryview(frame)[1:])


def publish_kept(flags: int, buckets: Sequence[int], key: str, rooms: Sequence[KeptRoom], payload: bytes) -> bytes:
    """Make the frame of a message that the history of rooms keeps."""
    kept_by = _encode((key, rooms))
    frame = wire.publish(flags, buckets, _SIZE.pack(len(kept_by)) + kept_by + payload)
    return frame[:4] + _KEPT + frame[5:]


def read_kept(frame: bytes) -> tuple[str, list[KeptRoom], bytes]:
    """Return namespace and rooms of such a frame, and the frame of the message alone."""
    _, start = wire.buckets_of(frame)
    end = start + 4 + _SIZE.unpack_from(frame, start)[0]
    key, rooms = _read_rooms(frame[start + 4 : end])
    return key, rooms, _PUBLISH + frame[1:start] + frame[end:]
