"""Sessions as a worker writes them for the broker, and reads those of other workers; without I/O."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from ..adapters.packet_log import Attendance
from ..cluster.payloads import to_msgpack, to_plain
from ..exceptions import EncodeError
from ..protocols import UNKNOWN, Session


class _Value(msgspec.Struct, array_like=True):
    sid: str
    rooms: list[str]
    data: dict[str, Any]
    node: str
    identity: Any
    identified: bool
    replaced: bool
    replayed: str | None
    left_at: float | None
    birth: int
    known_from: int
    since: dict[str, int]
    past: list[tuple[str, int, int]]


class _Change(msgspec.Struct, array_like=True, gc=False):
    """Rooms that a client has joined, or left, after a message."""

    joins: bool
    rooms: list[str]
    at: int


_read_value: Final = msgspec.msgpack.Decoder(_Value).decode
_read_change: Final = msgspec.msgpack.Decoder(_Change).decode
_encode: Final = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class KeptSession:
    """A session as it was read: ``version`` names this state of it."""

    session: Session
    attendance: Attendance
    version: int


def encode_session(session: Session, attendance: Attendance, node: str, *, has_left: bool) -> bytes:
    """Write a session down. Raises ``EncodeError`` for data, or an identity, that cannot be read back."""
    left_at = None
    if has_left:
        left_at = time.time() if session.left_at is None else session.left_at
    identified = session.identity is not UNKNOWN
    return to_msgpack(
        _Value(
            session.sid,
            list(session.rooms),
            to_plain(session.data),
            node,
            _readable(session.identity) if identified else None,
            identified,
            session.replaced,
            session.replayed,
            left_at,
            attendance.birth,
            attendance.known_from,
            attendance.since,
            list(attendance.past),
        )
    )


def encode_change(joins: bool, rooms: Iterable[str], at: int) -> bytes:
    """Write down that a client has joined or left rooms after message ``at``."""
    return _encode(_Change(joins, list(rooms), at))


def read_session(pid: str, version: int, value: bytes, changes: Sequence[bytes]) -> KeptSession:
    """Read a session, as it is after the changes. Raises ``msgspec.MsgspecError``."""
    it = _read_value(value)
    attendance = Attendance(it.birth)
    attendance.known_from = it.known_from
    attendance.since = it.since
    attendance.past = deque(it.past)
    rooms = set(it.rooms)
    for each in changes:
        change = _read_change(each)
        if change.joins:
            rooms.update(change.rooms)
            attendance.join(change.rooms, change.at)
        else:
            rooms.difference_update(change.rooms)
            attendance.leave(change.rooms, change.at)
    session = Session(
        it.sid,
        pid,
        frozenset(rooms),
        it.data,
        replayed=it.replayed,
        left_at=it.left_at,
        identity=it.identity if it.identified else UNKNOWN,
        replaced=it.replaced,
        origin=it.node,
    )
    return KeptSession(session, attendance, version)


def was_for(
    attendance: Attendance, rooms: Collection[str] | None, except_: Collection[str], number: int, after: int
) -> bool:
    """Tell whether message ``number`` was for a client that has all messages up to ``after``."""
    if number <= after or (rooms is not None and not attendance.was_in(rooms, number)):
        return False
    return not except_ or not attendance.was_in(except_, number)


def _readable(identity: Any) -> Any:
    """Return an identity if it comes back as an equal value. Raises ``EncodeError``."""
    try:
        if msgspec.msgpack.decode(msgspec.msgpack.encode(identity)) == identity:
            return identity
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError):
        pass
    raise EncodeError("the session cannot be kept: Recovery.identity has made a key that cannot be read back")
