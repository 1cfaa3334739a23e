"""Rules for the names of rooms: a name, a template, a regular expression or a function. Without I/O."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Final, TypeAlias

from ..exceptions import ConfigurationError

Rooms: TypeAlias = str | re.Pattern[str] | Callable[[str], bool]
"""A room's name; a template such as ``"chat:{id}"``; an expression that matches all of the name; or a function."""

Fits: TypeAlias = Callable[[str], bool]
"""Tells whether a room is meant."""

_PARAMETER: Final = r"(?s:.+?)"
"""The expression of a parameter that has none: one or more characters, up to what follows it in the template."""


def compile_rooms(rooms: object) -> Fits:
    r"""Make the function that tells whether a room is meant.

    ``"chat:{id}"``: a parameter stands for one or more characters of any kind; ``"chat:{id:\d+}"`` has an expression of
    its own. Raises :class:`~rtframework.ConfigurationError` for anything that is no :data:`Rooms`.
    """
    if isinstance(rooms, str):
        if "{" in rooms or "}" in rooms:
            return _matching(_compile_template(rooms))
        if not rooms:
            raise ConfigurationError("a room's name is not empty")
        return rooms.__eq__
    if isinstance(rooms, re.Pattern):
        if not isinstance(rooms.pattern, str):
            raise ConfigurationError(f"a room's name is a string: {rooms!r} matches bytes")
        return _matching(rooms)
    if not callable(rooms) or isinstance(rooms, type):
        raise ConfigurationError(
            'rooms are a name, a template as "chat:{id}", a compiled expression or a function (room) -> bool, '
            f"not {rooms!r}"
        )
    if inspect.iscoroutinefunction(rooms):
        raise ConfigurationError(f"a function that tells whether a room is meant is not async: {rooms!r}")
    return rooms


def _matching(expression: re.Pattern[str]) -> Fits:
    match = expression.fullmatch
    return lambda room: match(room) is not None


def _compile_template(template: str) -> re.Pattern[str]:
    expression, position = "", 0
    while position < len(template):
        character = template[position]
        if character == "{":
            end = _end_of_parameter(template, position)
            name, colon, own = template[position + 1 : end].partition(":")
            if not name.isidentifier() or (colon and not own):
                raise ConfigurationError(f"{template!r}: a parameter is {{name}} or {{name:expression}}")
            expression += f"(?P<{name}>{own or _PARAMETER})"
            position = end
        elif character == "}":
            raise ConfigurationError(f"{template!r}: a brace is closed that was not opened")
        else:
            expression += re.escape(character)
        position += 1
    try:
        return re.compile(expression)
    except re.error as error:
        raise ConfigurationError(f"{template!r}: {error}") from error


def _end_of_parameter(template: str, start: int) -> int:
    """Find the brace that closes the one at ``start``; an expression may have pairs of braces in it."""
    depth = 0
    for position in range(start, len(template)):
        depth += {"{": 1, "}": -1}.get(template[position], 0)
        if not depth:
            return position
    raise ConfigurationError(f"{template!r}: a brace is opened and not closed")
