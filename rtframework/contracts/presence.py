"""The events by which clients are told who is in a room, declared as a program would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from msgspec import Struct

from ..handlers.declarations import Declaration, declare


class Member(Struct, frozen=True):
    """A user in a room. ``tabs``: its sockets that are connected."""

    user: str
    meta: Any
    tabs: int


class MemberList(Struct, frozen=True):
    """The users in a room. ``more``: true if these are not all."""

    room: str
    members: Sequence[Member]
    more: bool


class MemberChange(Struct, frozen=True):
    """A user who has come, has gone or is shown otherwise."""

    room: str
    user: str
    meta: Any


def _declare(event: str, kind: type[Struct], name: str, description: str) -> Declaration:
    return replace(declare(event, [kind], names=(name,), description=description), place="Server(presence=...)")


PRESENCE: Final = (
    _declare("presence", MemberList, "list", "Sent to a client that has joined a room."),
    _declare("presence_join", MemberChange, "member", "A user is in the room now."),
    _declare("presence_leave", MemberChange, "member", "A user is not in the room any more."),
    _declare("presence_update", MemberChange, "member", "A user is shown otherwise."),
)
"""What a server with presence sends, unless its program has declared the event."""
