"""Rooms that the server itself puts sockets into, which no client can name: those of users and tokens."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Final
from uuid import UUID

from ..exceptions import ConfigurationError, EventError
from ..logs import ThrottledLog
from ..types import identity_of

log: Final = logging.getLogger("rtframework.namespace")

RESERVED: Final = "$"
"""The first character of the names of such rooms."""

_USER: Final = "$user:"

_TOKEN: Final = "$token:"

_no_room: Final = ThrottledLog(
    log,
    logging.WARNING,
    "io.user() does not reach a client of %s: the id of its user is empty, or has half a surrogate pair",
)


def room_of_user(id: object) -> str:
    """Return the room of a user's sockets: ``"$user:"`` and the id as text.

    Raises :class:`~rtframework.ConfigurationError` for an id that is no string, whole number or UUID, or that no room
    can be named after: one that is empty, or that UTF-8 cannot encode.
    """
    if isinstance(id, bool) or not isinstance(id, str | int | UUID):
        raise ConfigurationError(f"a user's id is a string, a whole number or a UUID, not {id!r}: write user.id")
    text = str(id)
    if not is_text(text):
        raise ConfigurationError(f"a user's id is a text that is not empty, not {id!r}")
    return _USER + text


def rooms_of(user: Any, nsp: str) -> frozenset[str]:
    """Return the rooms of the socket of a user that an authenticator has returned; none if it has no id."""
    text = _text_of(user)
    if text is None:
        return frozenset()
    if not is_text(text):
        _no_room(nsp, key=nsp, extra={"nsp": nsp})
        return frozenset()
    return frozenset((_USER + text,))


def user_of(rooms: Iterable[str]) -> str | None:
    """Return the id of a socket's user, as text; ``None`` if it has none. ``rooms``: the socket's."""
    return next((room.removeprefix(_USER) for room in rooms if room.startswith(_USER)), None)


def key_of_user(user: Any) -> str | None:
    """Return the id of a user that an authenticator has returned, as text; ``None`` if it has none."""
    text = _text_of(user)
    return text if text is not None and is_text(text) else None


def _text_of(user: Any) -> str | None:
    key = identity_of(user)
    return None if isinstance(key, bool) or not isinstance(key, str | int | UUID) else str(key)


def room_of_token(id: str | None) -> frozenset[str]:
    """Return the room of the sockets that were let in by a token with this id; none without one."""
    return frozenset((_TOKEN + id,)) if id is not None and is_text(id) else frozenset()


EVERY_TOKEN: Final = "$tokens"
"""Stands for all users and tokens, where rooms of the server's own stand for one of them; nobody is in it."""


def keys_of(rooms: Iterable[str]) -> frozenset[str]:
    """Return the room of a socket's token, or, if its token has no id, that of its user. ``rooms``: the socket's."""
    own = own_rooms(rooms)
    return frozenset(room for room in own if room.startswith(_TOKEN)) or own


def own_rooms(rooms: Iterable[str]) -> frozenset[str]:
    """Return those of some rooms that the server itself has put their socket into."""
    return frozenset(room for room in rooms if room.startswith(RESERVED))


def is_of_another(rooms: Iterable[str], own: frozenset[str]) -> bool:
    """Tell whether some rooms are those of another user's socket. ``own``: the result of :func:`rooms_of`."""
    return any(room.startswith(_USER) and room not in own for room in rooms)


def check_names(rooms: Iterable[str]) -> None:
    """Check rooms that sockets are to join or leave. Raises :class:`~rtframework.EventError` for the server's own."""
    for room in rooms:
        if room.startswith(RESERVED):
            raise EventError("reserved_room", f'rooms that begin with "{RESERVED}" are the server\'s own')


def is_text(text: str) -> bool:
    """Tell whether a text is not empty, and can be encoded as UTF-8."""
    try:
        return bool(text.encode())
    except UnicodeEncodeError:
        return False
