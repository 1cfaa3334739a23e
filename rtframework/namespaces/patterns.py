"""Names of many namespaces: a template, a regular expression or a function. Without I/O: names in, parameters out."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from inspect import isawaitable
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

from ..adapters import templates
from ..exceptions import ConfigurationError

RuleKind: TypeAlias = Literal["template", "expression", "function"]
"""The kinds of rules that stand for many names."""

Predicate: TypeAlias = Callable[[str, Mapping[str, Any]], Awaitable[bool] | bool]
"""``(name, auth) -> bool``, async or not; ``auth``: the client's, an empty mapping when it gave none."""

NO_PARAMS: Final[Mapping[str, str]] = MappingProxyType({})

_PARAMETER: Final = "[^/]+"
"""The expression of a parameter that has none: one or more characters up to the next slash."""


def is_namespace(name: object) -> bool:
    """Tell whether this can be the name of a namespace.

    Socket.IO's encoding allows no comma in it. Control characters could forge lines in a log.
    """
    return isinstance(name, str) and name.startswith("/") and "," not in name and name.isprintable()


def is_template(name: object) -> bool:
    """Tell whether a name has parameters in it."""
    return isinstance(name, str) and ("{" in name or "}" in name)


def compile_template(template: str) -> re.Pattern[str]:
    r"""Compile a template, ``"/chat/{tenant}"`` or ``"/room/{id:\d+}"`` as in aiohttp's routes, to an expression.

    Raises ``ConfigurationError`` for a malformed template.
    """
    if not template.startswith("/"):
        raise ConfigurationError(f'a namespace starts with "/", not as {template!r} does')
    for name, value in templates.split_template(template):
        if not name and "," in value:
            raise ConfigurationError(f"{template!r}: the name of a namespace has no comma")
    return templates.compile_template(template, _PARAMETER)


def without_expressions(template: str) -> str:
    r"""Return a template without the expressions in it: ``"/room/{id}"`` for ``"/room/{id:\d+}"``."""
    return "".join(f"{{{name}}}" if name else text for name, text in templates.split_template(template))


class Pattern:
    """A rule that decides by the name alone: a regular expression that has to match all of it.

    Its parameters are the named groups that took part in the match.
    """

    def __init__(self, expression: str | re.Pattern[str]) -> None:
        if isinstance(expression, str):
            self.label = expression
            self.kind: RuleKind = "template"
            self._expression = compile_template(expression)
            return
        if not isinstance(expression.pattern, str):
            raise ConfigurationError(f"the name of a namespace is a string: {expression!r} matches bytes")
        self.label = expression.pattern
        self.kind = "expression"
        self._expression = expression

    @property
    def params(self) -> tuple[str, ...]:
        """The names of its parameters."""
        return tuple(self._expression.groupindex)

    def match(self, name: str) -> Mapping[str, str] | None:
        """Return the parameters in a name; ``None`` when the name does not match."""
        match = self._expression.fullmatch(name)
        if match is None:
            return None
        params = {key: value for key, value in match.groupdict().items() if value is not None}
        return MappingProxyType(params) if params else NO_PARAMS


class Question:
    """A rule that asks a function of the program, for each client."""

    kind: Final = "function"
    params: Final = ()

    def __init__(self, predicate: Predicate) -> None:
        self.label = getattr(predicate, "__qualname__", type(predicate).__name__)
        self._predicate = predicate
        try:
            if isinstance(predicate, type):
                raise TypeError("it is a class: give that as factory=")
            inspect.signature(predicate).bind("/", {})
        except TypeError as error:
            raise ConfigurationError(
                f"{self.label} cannot decide about namespaces ({error}): "
                f"write `async def {self.label.rpartition('.')[2]}(name, auth) -> bool`"
            ) from None

    async def ask(self, name: str, auth: Mapping[str, Any]) -> bool:
        """Ask whether this client may have a namespace of this name. Raises what the function raises."""
        answer = self._predicate(name, auth)
        return bool(await answer if isawaitable(answer) else answer)
