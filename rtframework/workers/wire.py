"""What workers and their broker send to each other: frames of bytes, in which the broker decodes no event.

A frame is its length (4 bytes, little-endian, without itself), its kind (1 byte) and what the kind says. All of them
stay on one machine and belong to one version of the framework.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct
from typing import Any, Final

import msgspec

from ..exceptions import DecodeError

SOCKET: Final = "broker"
"""Name of the broker's socket in the directory of a group."""

CONTROL: Final = 0
"""One of the structs below, as MessagePack."""
PUBLISH: Final = 1
"""To the broker: flags (1 byte), the number of buckets (2), the buckets (2 each), the payload."""
DIRECT: Final = 2
"""The slot of the worker that it is for (1), or that it comes from; the payload."""
EVENT: Final = 3
"""From the broker: the slot of its worker (1), its number (8), the payload of a publication."""
OWN: Final = 4
"""From the broker: the number (8) of the next publication of this worker that it wanted to read back."""
ROOMS: Final = 5
"""One of the structs of :mod:`rtframework.workers.wire_rooms`, as MessagePack."""
KEPT: Final = 6
"""To the broker: as ``PUBLISH``, with the rooms whose history keeps it in front of the payload, see
:func:`rtframework.workers.wire_rooms.publish_kept`."""

KEEP: Final = 1
"""Keep it for clients that may come back."""
READ_BACK: Final = 2
"""Tell the worker that has published it when it is its turn."""
TO_ALL: Final = 4
"""Write it to all other workers, whatever rooms they have."""

JOINS: Final = 8
"""Sockets are to join rooms, whose buckets stand in front of the message: from now on, the workers that get this are
taken to have these rooms, until they say ``Done``."""

BROKER: Final = 255
"""In the place of a slot: the broker."""

_SIZE: Final = Struct("<I")
_PUBLISH: Final = Struct("<IBBH")
_PUBLISH_TO_ONE: Final = Struct("<IBBHH")
_DIRECT: Final = Struct("<IBB")
_EVENT: Final = Struct("<IBBQ")
_OWN: Final = Struct("<IBQ")
_CONTROL: Final = Struct("<IB")
_NUMBER: Final = Struct("<Q")
_KEPT: Final = Struct("<BQ")

EVENT_HEAD: Final = 10
"""Bytes of an event before its payload."""
KEPT_HEAD: Final = _KEPT.size
"""Bytes of the payload ``IS_KEPT`` before the event's own."""

_read_size: Final = _SIZE.unpack_from


class FrameReader:
    """Finds the frames in the bytes of a connection."""

    __slots__ = ("_have", "_need", "_parts")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._have = self._need = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return the frames that are whole now, without their lengths."""
        if self._parts:
            self._parts.append(data)
            self._have += len(data)
            if self._have < self._need:
                return []
            data = b"".join(self._parts)
            self._parts.clear()
        found = []
        at, end, need = 0, len(data), 4
        while end - at >= 4:
            stop = at + 4 + _read_size(data, at)[0]
            if stop > end:
                need = stop - at
                break
            found.append(data[at + 4 : stop])
            at = stop
        if at < end:
            self._parts.append(data[at:])
            self._have, self._need = end - at, need
        return found


# --- frames -----------------------------------------------------------------------------------------------------------


def publish(flags: int, buckets: Sequence[int], payload: bytes) -> bytes:
    """Make a frame that asks the broker to put a message in order, for the workers that have one of these buckets."""
    count = len(buckets)
    size = 4 + 2 * count + len(payload)
    if count == 1:
        return _PUBLISH_TO_ONE.pack(size, PUBLISH, flags, 1, buckets[0]) + payload
    return _PUBLISH.pack(size, PUBLISH, flags, count) + Struct(f"<{count}H").pack(*buckets) + payload


def buckets_of(frame: bytes) -> tuple[Sequence[int], int]:
    """Return the buckets of a publication, and the position of its payload."""
    count = frame[2] | frame[3] << 8
    if count == 1:
        return (frame[4] | frame[5] << 8,), 6
    return Struct(f"<{count}H").unpack_from(frame, 4), 4 + 2 * count


def direct(slot: int, payload: bytes) -> bytes:
    """Make a frame for one worker, or from one."""
    return _DIRECT.pack(2 + len(payload), DIRECT, slot) + payload


def event(slot: int, number: int, payload: bytes) -> bytes:
    """Make the frame of a message that is in order."""
    return _EVENT.pack(EVENT_HEAD + len(payload), EVENT, slot, number) + payload


def own(number: int) -> bytes:
    """Make the frame that tells a worker the number of its own message."""
    return _OWN.pack(9, OWN, number)


def number_of(frame: bytes) -> int:
    """Return the number of an event, or of an own message."""
    return int(_NUMBER.unpack_from(frame, 2 if frame[0] == EVENT else 1)[0])


def control(message: Control) -> bytes:
    """Make the frame of a struct."""
    data = _encode(message)
    return _CONTROL.pack(1 + len(data), CONTROL) + data


# --- what the structs say ---------------------------------------------------------------------------------------------


class Control(msgspec.Struct, array_like=True, tag=True, gc=False):
    """Base class of what is sent now and then."""


class Member(msgspec.Struct, array_like=True):
    """A worker, as it presents itself. ``serves``: keys of its namespaces."""

    slot: int
    name: str
    pid: int
    host: str
    version: str
    started: float
    serves: list[str] = []


class Hello(Control):
    """A worker's first frame. The slot of the member means nothing yet."""

    member: Member


class Welcome(Control):
    """The broker's first frame, which comes with the descriptor of the table. ``epoch``: names its life."""

    slot: int
    epoch: str
    members: list[Member]


class Joined(Control):
    """A worker has come."""

    member: Member


class Left(Control):
    """A worker has gone."""

    slot: int


class Alive(Control):
    """From each side, every second."""


class Serves(Control):
    """A worker serves a namespace, or no longer. ``slot`` is written by the broker."""

    key: str
    does: bool
    slot: int = -1


class Done(Control):
    """A worker has done what a publication with ``JOINS`` says: whether it has the rooms is in its table now."""

    buckets: list[int]


class KeepPackets(Control):
    """Keep packets for so many seconds at least, but not more than so many of them, and not more bytes."""

    seconds: float
    packets: int
    size: int


class KeepSession(Control):
    """Keep the session of a client that this worker has. ``seconds``: how long it outlives the worker."""

    pid: str
    key: str
    sid: str
    value: bytes
    seconds: float


class NoteSession(Control):
    """Remember a change of a session, which the next value has in it."""

    pid: str
    change: bytes


class LeaveSession(Control):
    """Keep the session of a client that has left, for so many seconds. ``most``: clients of the namespace."""

    pid: str
    key: str
    sid: str
    value: bytes
    seconds: float
    most: int


class ForgetSession(Control):
    """Forget a session."""

    pid: str


class FindSession(Control):
    """Ask for a session, which stays."""

    request: int
    pid: str


class FoundSession(Control):
    """The answer: ``version`` is 0 if there is none."""

    request: int
    version: int = 0
    value: bytes = b""
    changes: list[bytes] = []
    seconds: float = 0.0


class ReadPackets(Control):
    """Ask for the packets to some buckets, each after a number."""

    request: int
    after: list[tuple[int, int]]


class TakeSession(Control):
    """Take a session that is of this version, and ask for the packets to its buckets."""

    request: int
    pid: str
    version: int
    after: list[tuple[int, int]]


class Packets(Control):
    """The answer: payloads with their numbers up to ``head``. ``None``: one was discarded, or the session is taken."""

    request: int
    head: int
    found: list[tuple[int, bytes]] | None


class TakenSession(Control):
    """Another worker has the client of this session."""

    pid: str
    key: str
    sid: str


class ListSessions(Control):
    """Ask for all sessions of clients of a namespace that have left."""

    request: int
    key: str


class Sessions(Control):
    """The answer: private ids, versions, values and their changes."""

    request: int
    found: list[tuple[str, int, bytes, list[bytes]]]


class DropSessions(Control):
    """Forget sessions that are still of these versions."""

    request: int
    which: list[tuple[str, int]]


class Dropped(Control):
    """The answer: how many there were."""

    request: int
    count: int


class GetValue(Control):
    """Ask for a value."""

    request: int
    key: str


class SetValue(Control):
    """Keep a value for so many seconds."""

    request: int
    key: str
    value: bytes
    seconds: float


class AddValue(Control):
    """Keep a value if there is no other."""

    request: int
    key: str
    value: bytes
    seconds: float


class ReplaceValue(Control):
    """Keep a value in place of another."""

    request: int
    key: str
    old: bytes
    value: bytes
    seconds: float


class RemoveValue(Control):
    """Remove a value; ``old``: only this one."""

    request: int
    key: str
    old: bytes | None


class Value(Control):
    """The answer: the value that is there, ``None`` if there was none; ``done``: the request was fulfilled."""

    request: int
    value: bytes | None = None
    done: bool = True


class Missed(Control):
    """Messages for this worker since a time (seconds since the epoch) were dropped, because it did not read."""

    since: float


ToBroker: Final = (
    Hello
    | Alive
    | Serves
    | Done
    | KeepPackets
    | KeepSession
    | NoteSession
    | LeaveSession
    | ForgetSession
    | FindSession
    | ReadPackets
    | TakeSession
    | ListSessions
    | DropSessions
    | GetValue
    | SetValue
    | AddValue
    | ReplaceValue
    | RemoveValue
)
FromBroker: Final = (
    Welcome
    | Joined
    | Left
    | Alive
    | Serves
    | FoundSession
    | Packets
    | TakenSession
    | Sessions
    | Dropped
    | Value
    | Missed
)

_encode: Final = msgspec.msgpack.Encoder().encode
_to_broker: Final = msgspec.msgpack.Decoder(ToBroker).decode
_from_broker: Final = msgspec.msgpack.Decoder(FromBroker).decode


def read_by_broker(frame: bytes) -> Any:
    """Decode a control frame of a worker."""
    return _to_broker(memoryview(frame)[1:])


def read_by_worker(frame: bytes) -> Any:
    """Decode a control frame of the broker."""
    return _from_broker(memoryview(frame)[1:])


# --- payloads: between workers, which the broker does not read --------------------------------------------------------

IS_EVENT: Final = 0
"""First byte of a payload: an event as its JSON text."""
IS_MESSAGE: Final = 1
"""A message of :mod:`rtframework.cluster.messages`, whose namespace is the key."""
IS_QUESTION: Final = 2
IS_ANSWER: Final = 3
IS_JOIN: Final = 4
"""A message after the number of buckets of its rooms (2 bytes), and these (2 each)."""

IS_KEPT: Final = 5
"""An event that the history of rooms keeps: the time of its entry (milliseconds since the epoch, 8 bytes), and the
payload of the event, or of the message that it is."""

VOLATILE: Final = 1
NOT_COMPRESSED: Final = 2


class Event(msgspec.Struct, array_like=True, gc=False):
    """An event. ``key``: its namespace, and the server in the process. ``text``: its arguments as a JSON array."""

    key: str
    rooms: list[str] | frozenset[str]
    except_: list[str] | frozenset[str]
    flags: int
    text: str


class _EventRead(msgspec.Struct, array_like=True, gc=False):
    key: str
    rooms: list[str]
    except_: list[str]
    flags: int
    text: str


class Question(msgspec.Struct, array_like=True, gc=False):
    """A question to all workers."""

    id: int
    topic: str
    data: bytes


class Answer(msgspec.Struct, array_like=True, gc=False):
    """An answer. ``data``: ``None`` if nobody here knows the topic."""

    id: int
    data: bytes | None


_EVENT_BYTE: Final = bytes([IS_EVENT])
_read_event: Final = msgspec.msgpack.Decoder(_EventRead).decode
_read_question: Final = msgspec.msgpack.Decoder(Question).decode
_read_answer: Final = msgspec.msgpack.Decoder(Answer).decode


def encode_event(key: str, rooms: Iterable[str], except_: Iterable[str], flags: int, text: str) -> bytes:
    """Make the payload of an event."""
    return _EVENT_BYTE + _encode(Event(key, rooms, except_, flags, text))  # type: ignore[arg-type]  # sets are arrays


def read_event(payload: bytes) -> Any:
    """Decode the payload of an event. Raises ``DecodeError``."""
    try:
        return _read_event(payload[1:])
    except msgspec.MsgspecError as error:
        raise DecodeError(f"invalid event of another worker: {error}") from None


def encode_kept(at: int, payload: bytes) -> bytes:
    """Make the payload of an event that is in the history of rooms."""
    return _KEPT.pack(IS_KEPT, at) + payload


def kept_at(payload: bytes) -> int:
    """Return the time of an event that is in the history of rooms."""
    return int(_KEPT.unpack_from(payload)[1])


def encode_join(buckets: Sequence[int], message: bytes) -> bytes:
    """Make the payload of a message that lets sockets join rooms."""
    count = len(buckets)
    return bytes([IS_JOIN]) + Struct(f"<H{count}H").pack(count, *buckets) + message


def read_join(payload: bytes) -> tuple[Sequence[int], int]:
    """Return the buckets of the rooms that are joined, and the position of the message."""
    count = payload[1] | payload[2] << 8
    return Struct(f"<{count}H").unpack_from(payload, 3), 3 + 2 * count


def encode_question(question: Question) -> bytes:
    """Make the payload of a question."""
    return bytes([IS_QUESTION]) + _encode(question)


def encode_answer(answer: Answer) -> bytes:
    """Make the payload of an answer."""
    return bytes([IS_ANSWER]) + _encode(answer)


def read_question(payload: bytes) -> Question:
    """Decode the payload of a question."""
    return _read_question(memoryview(payload)[1:])


def read_answer(payload: bytes) -> Answer:
    """Decode the payload of an answer."""
    return _read_answer(memoryview(payload)[1:])
