"""Names with parameters in them, ``"chat:{room}"`` or ``"/room/{id:\\d+}"`` as in aiohttp's routes. Without I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..exceptions import ConfigurationError


def split_template(template: str) -> Iterator[tuple[str, str]]:
    """Yield the parts in order: ``("", text)``, or ``(name, expression)`` of a parameter, ``""`` without one.

    Raises ``ConfigurationError`` for a malformed template, when its mistake is reached.
    """
    position = start = 0
    while position < len(template):
        if template[position] == "}":
            raise ConfigurationError(f"{template!r}: a brace is closed that was not opened")
        if template[position] != "{":
            position += 1
            continue
        if start < position:
            yield "", template[start:position]
        end = _end_of_parameter(template, position)
        name, colon, expression = template[position + 1 : end].partition(":")
        if not name.isidentifier() or (colon and not expression):
            raise ConfigurationError(f"{template!r}: a parameter is {{name}} or {{name:expression}}")
        yield name, expression
        position = start = end + 1
    if start < position:
        yield "", template[start:]


def compile_template(template: str, parameter: str, flags: int = 0) -> re.Pattern[str]:
    """Compile a template to an expression; ``parameter`` is that of a parameter without one of its own.

    Raises ``ConfigurationError`` for a malformed template.
    """
    expression = "".join(
        f"(?P<{name}>{value or parameter})" if name else re.escape(value) for name, value in split_template(template)
    )
    try:
        return re.compile(expression, flags)
    except re.error as error:
        raise ConfigurationError(f"{template!r}: {error}") from error


def _end_of_parameter(template: str, start: int) -> int:
    """Find the brace that closes the one at ``start``; an expression may have pairs of braces in it."""
    depth = 0
    for position in range(start, len(template)):
        if template[position] == "{":
            depth += 1
        elif template[position] == "}":
            depth -= 1
            if not depth:
                return position
    raise ConfigurationError(f"{template!r}: a brace is opened and not closed")
