"""Rules that say which rooms a setting is for: a name, a template, an expression or a function. Without I/O."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import TypeAlias

from ..exceptions import ConfigurationError
from .templates import compile_template

RoomRule: TypeAlias = "str | re.Pattern[str] | Callable[[str], bool]"
"""The rooms that a setting is for.

``"lobby"``: the room of that name. ``"chat:{room}"``: all names that fit; a parameter is one or more characters of any
kind, or, as ``{id:\\\\d+}``, what its expression matches. A regular expression: all names that it matches as a whole. A
function ``(room) -> bool``: all names for which it returns true; it is asked once for a name, and remembered.
"""


def compile_rule(rule: RoomRule, option: str) -> Callable[[str], bool]:
    """Return a function that tells whether a room fits a rule. Raises ``ConfigurationError`` for what is no rule."""
    if isinstance(rule, str):
        if not rule:
            raise ConfigurationError(f"{option}: the name of a room is not empty")
        if "{" not in rule and "}" not in rule:
            return rule.__eq__
        try:
            expression = compile_template(rule, ".+", re.DOTALL)
        except ConfigurationError as error:
            raise ConfigurationError(f"{option}: {error}") from error
    elif isinstance(rule, re.Pattern):
        if not isinstance(rule.pattern, str):
            raise ConfigurationError(f"{option}: the name of a room is a string: {rule!r} matches bytes")
        expression = rule
    else:
        return _function(rule, option)
    match = expression.fullmatch
    return lambda room: match(room) is not None


def _function(rule: Callable[[str], bool], option: str) -> Callable[[str], bool]:
    wanted = "a room's name, a template, a regular expression or a function (room) -> bool"
    if not callable(rule) or isinstance(rule, type):
        raise ConfigurationError(f"{option} takes {wanted}, not {rule!r}")
    if inspect.iscoroutinefunction(rule):
        raise ConfigurationError(f"{option}: the function cannot be async: it is asked in the middle of an emit")
    try:
        inspect.signature(rule).bind("room")
    except TypeError as error:
        raise ConfigurationError(f"{option} takes {wanted}: {error}") from None
    return rule
