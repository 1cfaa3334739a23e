"""Messages of python-socketio's managers (5.18): JSON on a channel, ``socketio``; the pickle of older ones is refused.

A ``write_only`` manager, as workers and scripts use it, sends these and reads nothing.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from ..exceptions import DecodeError
from ..packets import check_event
from ..types import EVERYBODY, Target
from .payloads import JSONReader

CHANNEL: Final = "socketio"

Method = Literal["emit", "disconnect", "enter_room", "leave_room", "close_room", "callback"]


class _Raw(msgspec.Struct):
    method: Method
    host_id: str = ""
    namespace: str | None = None
    event: str | int | None = None
    data: Any = None
    binary: bool | None = False
    room: str | int | list[str | int] | None = None
    skip_sid: str | list[str | None] | None = None
    callback: list[Any] | None = None
    sid: str = ""


_READ: Final = JSONReader(_Raw)


@dataclass(frozen=True, slots=True)
class ManagerMessage:
    """A message of a manager. ``args``: the event's name and arguments, for ``emit``.

    ``sid`` and ``room``: the socket, and the room that it enters or leaves, or that is closed. ``callback``: room,
    namespace and id of a callback, which only the server ``host_id`` can call.
    """

    method: Method
    host_id: str
    nsp: str
    args: tuple[Any, ...] = ()
    target: Target = EVERYBODY
    sid: str = ""
    room: str = ""
    callback: tuple[Any, ...] | None = None


def decode(payload: bytes) -> ManagerMessage:
    """Decode a message of a manager. Raises ``DecodeError``."""
    raw: _Raw = _READ(payload)
    nsp = raw.namespace or "/"
    if raw.method == "emit":
        args = check_event([raw.event, *_arguments(raw)])
        callback = tuple(raw.callback) if raw.callback is not None and len(raw.callback) == 3 else None
        return ManagerMessage("emit", raw.host_id, nsp, tuple(args), _target(raw), callback=callback)
    if raw.method in ("disconnect", "enter_room", "leave_room") and not raw.sid:
        raise DecodeError(f"invalid message of a manager: {raw.method} without a sid")
    if raw.method in ("enter_room", "leave_room", "close_room") and not isinstance(raw.room, str | int):
        raise DecodeError(f"invalid message of a manager: {raw.method} without a room")
    room = "" if raw.room is None or isinstance(raw.room, list) else str(raw.room)
    return ManagerMessage(raw.method, raw.host_id, nsp, sid=raw.sid, room=room)


def _target(raw: _Raw) -> Target:
    """Make the target of an emit. ``room`` may be a list; an empty one is nobody in python-socketio, too."""
    room, skip = raw.room, raw.skip_sid
    rooms = None if room is None else frozenset(map(str, room)) if isinstance(room, list) else frozenset((str(room),))
    except_ = (
        frozenset()
        if skip is None
        else frozenset((skip,))
        if isinstance(skip, str)
        else frozenset(each for each in skip if each)
    )
    return Target(rooms, except_)


def _arguments(raw: _Raw) -> list[Any]:
    """Return the arguments of an event. Bytes come as base64 after the data, which has placeholders for them."""
    data = raw.data
    if raw.binary:
        if not isinstance(data, list) or not data or not all(isinstance(each, str) for each in data[1:]):
            raise DecodeError("invalid message of a manager: binary data without attachments")
        try:
            attachments = [b64decode(each) for each in data[1:]]
        except (binascii.Error, ValueError) as error:
            raise DecodeError(f"invalid message of a manager: {error}") from None
        data = _fill(data[0], attachments)
    if data == [None]:
        return []  # no argument; python-socketio cannot send None alone
    return data if isinstance(data, list) else [data]


def _fill(value: Any, attachments: list[bytes]) -> Any:
    """Put attachments in the place of their placeholders. The depth is bounded by that of the JSON decoder."""
    if isinstance(value, list):
        return [_fill(each, attachments) for each in value]
    if not isinstance(value, dict):
        return value
    if value.get("_placeholder") is not True:
        return {key: _fill(each, attachments) for key, each in value.items()}
    number = value.get("num")
    if type(number) is not int or not 0 <= number < len(attachments):
        raise DecodeError("invalid message of a manager: a placeholder without its attachment")
    return attachments[number]
