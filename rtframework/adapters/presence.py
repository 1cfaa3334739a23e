"""Who is in a room: the settings, and what clients are told."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ..exceptions import ConfigurationError, EncodeError
from ..options import LONGEST_WAIT, whole_number
from .room_rules import RoomRule, compile_rule

LIST: Final = "presence"
"""The event that a socket gets when it joins: who is there."""
JOIN: Final = "presence_join"
LEAVE: Final = "presence_leave"
UPDATE: Final = "presence_update"

LARGEST_LIST: Final = 1_000_000
"""Characters of the members in one list."""


@dataclass(frozen=True, slots=True)
class Presence:
    r"""Rooms in which everybody is told who is there: ``Server(presence=Presence("chat:{id}"))``.

    A user with several sockets ("tabs") in a room is there once; a socket without a user stands for itself. Users whose
    connection is lost leave after ``grace`` seconds, unless they are back. Raises
    :class:`~rtframework.ConfigurationError`.

    Example::

        io = Server(presence=Presence("chat:{id}", meta=lambda socket: {"name": socket.data["name"]}, grace=20))
    """

    room: RoomRule
    r"""A room's name; a template, ``"chat:{id}"`` or ``r"chat:{id:\d+}"``; an expression of ``re.compile``, which has
    to match all of a name; or a function ``(room) -> bool``. The server's own rooms are never meant."""

    meta: Callable[[Any], Any] | None = field(default=None, kw_only=True)
    """``(socket) -> meta``, ``async`` or not: what others are shown of a user; plain values without bytes. It is asked
    when the user's first socket joins. ``None``: nothing."""

    grace: float = field(default=10.0, kw_only=True)
    """Seconds that a user whose connection was lost has to come back; 0: none."""

    nsp: str | None = field(default=None, kw_only=True)
    """The name of the only namespace that is meant, or the template of several; ``None``: all."""

    max_list: int = field(default=1_000, kw_only=True)
    """Users in the list that a socket gets. Beyond: those with the first ids, and ``more`` is true."""

    max_meta: int = field(default=2_048, kw_only=True)
    """Bytes of ``meta`` as JSON."""

    fits: Callable[[str], bool] = field(init=False, repr=False, compare=False)
    """Tells whether a room is meant."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "fits", compile_rule(self.room, "Presence"))
        if self.meta is not None and not callable(self.meta):
            raise ConfigurationError(f"meta is a function (socket) -> meta, not {self.meta!r}")
        grace = self.grace
        if not isinstance(grace, int | float) or isinstance(grace, bool) or not 0 <= grace < math.inf:
            raise ConfigurationError(f"grace is a number of seconds, not {grace!r}")
        if grace > LONGEST_WAIT:
            raise ConfigurationError(
                f"grace is at most {LONGEST_WAIT:g} seconds, not {grace:g}: are these milliseconds?"
            )
        if self.nsp is not None and not (isinstance(self.nsp, str) and self.nsp.startswith("/")):
            raise ConfigurationError(f'nsp is the name of a namespace, which starts with "/", not {self.nsp!r}')
        for name in ("max_list", "max_meta"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name), least=1))


def all_presence(given: object) -> tuple[Presence, ...]:
    """Return what the option ``presence=`` of a server means: one, several or none. Raises ``ConfigurationError``."""
    several = () if given is None else (given,) if isinstance(given, Presence) else given
    if not isinstance(several, Sequence) or isinstance(several, str | bytes):
        raise ConfigurationError(f'presence is a Presence or several, not {given!r}: write Presence("chat:{{id}}")')
    for each in several:
        if not isinstance(each, Presence):
            raise ConfigurationError(f'presence has {each!r} in it: write Presence("chat:{{id}}")')
    return tuple(several)


def encode_meta(meta: object, most: int) -> str:
    """Encode plain values as JSON. Raises ``EncodeError`` for bytes, NaN, and more than ``most`` bytes."""
    try:
        text = json.dumps(meta, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise EncodeError(f"meta of presence cannot be sent: {error}") from None
    if size > most:
        raise EncodeError(f"meta of presence has {size} bytes, more than max_meta={most}")
    return text


def to_text(value: object) -> str:
    """Encode a name as JSON."""
    return json.dumps(value, ensure_ascii=False)


def diff_text(event: str, room: str, user: str, meta: str) -> str:
    """Make the arguments of an event that tells a room of a change, its name first, as JSON. ``meta``: JSON."""
    return f'["{event}",{{"room":{to_text(room)},"user":{to_text(user)},"meta":{meta}}}]'
