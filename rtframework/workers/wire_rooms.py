"""What workers and their broker say to each other about rooms: who is in them, and what was said there.

The payloads are those of :mod:`rtframework.workers.wire`; the broker publishes and keeps them, and reads none.
"""

from __future__ import annotations

from struct import Struct
from typing import Any, Final

import msgspec

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


class PresenceDone(_About):
    """The answer to a change: it was made, and what it publishes stands before this."""

    request: int


class PresenceList(_About):
    """The answer to a question: id, meta, tabs and time of the first tab of each user."""

    request: int
    found: list[tuple[str, str, int, float]]


ToBroker: Final = EnterPresence | LeavePresence | AwayPresence | UpdatePresence | ReleasePresence | ListPresence
FromBroker: Final = PresenceDone | PresenceList

_HEAD: Final = Struct("<IB")
_encode: Final = msgspec.msgpack.Encoder().encode
_to_broker: Final = msgspec.msgpack.Decoder(ToBroker).decode
_from_broker: Final = msgspec.msgpack.Decoder(FromBroker).decode


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
