"""Docstrings as Markdown, which editors expect in JSDoc and readers of AsyncAPI in descriptions."""

from __future__ import annotations

import re
from typing import Final

_ROLE: Final = re.compile(r":[a-z:]+:`(~?)([\w.]+(?:\(\))?)`")
_CODE: Final = re.compile(r"(?<!`)``(?!`)(.+?)(?<!`)``(?!`)", re.DOTALL)


def to_markdown(text: str) -> str:
    """Turn the marks of reStructuredText, double backquotes and roles, into Markdown's."""
    return _CODE.sub(r"`\1`", _ROLE.sub(_name_of, text))


def _name_of(role: re.Match[str]) -> str:
    shortened, name = role.groups()
    return f"`{name.rpartition('.')[2] if shortened else name}`"
