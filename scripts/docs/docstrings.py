"""Docstrings as Markdown, for the reference: they are written in the few words of reStructuredText that read well.

=============================  ===========================================================================
in a docstring                 on the site
=============================  ===========================================================================
```` ``code`` ````             code
``:class:`~package.Name```     a link to what is meant, which is looked up from the place where it stands
``docs/testing.md``            a link to the page
``Example::``, then indented   a block of code, highlighted when it is Python
````name``: what it is``       a line of a list, when a paragraph begins or a line of one goes on like that
=============================  ===========================================================================
"""

from __future__ import annotations

import ast
import html
import re
import textwrap
from typing import TYPE_CHECKING, Any, Final

from griffe import (
    Alias,
    AliasResolutionError,
    Attribute,
    Class,
    CyclicAliasError,
    Extension,
    Function,
    GriffeLoader,
    Module,
    Object,
    get_logger,
)

if TYPE_CHECKING:
    from collections.abc import Callable

log: Final = get_logger("docstrings")

_ROLE: Final = re.compile(r":[a-z]+:`(~?)([\w.]+)`")
_CODE: Final = re.compile(r"``(.+?)``", re.DOTALL)
_PAGE: Final = re.compile(r"(?:``)?docs/([\w/-]+\.md)(?:``)?")
_ITEM: Final = re.compile(r"(?m)^(?=``[\w.]+``(?:, ``[\w.]+``)*(?: \([^)\n]*\))?:(?:\s|$))")
_LITERAL: Final = re.compile(r"(?P<lead>[^\n]*)::\n\n?(?P<code>(?:[ \t]+[^\n]*(?:\n|$)|\n)+)")


class DocstringsToMarkdown(Extension):
    """Rewrites every docstring of a package once it has been read as a whole."""

    def on_package(self, *, pkg: Module, loader: GriffeLoader, **_: Any) -> None:
        """Begin at the package; a module of another package is not its."""
        _convert(pkg, loader, set())


def _convert(found: Object, loader: GriffeLoader, seen: set[int]) -> None:
    if id(found) in seen:
        return
    seen.add(id(found))
    if found.docstring is not None:
        found.docstring.value = to_markdown(found.docstring.value, lambda name: _look_up(found, name, loader))
    if isinstance(found, Function):
        for parameter in found.parameters:
            if "lambda" in str(parameter.default):  # how griffe writes the default_factory of a dataclass
                parameter.default = "…"
    if isinstance(found, Attribute) and str(found.value).startswith("field("):
        found.value = None  # says how it is stored, nothing that a reader wants
    for member in list(found.members.values()):
        if not isinstance(member, Alias):
            _convert(member, loader, seen)


def _look_up(place: Object, name: str, loader: GriffeLoader) -> str | None:
    """The path of what a name means where it stands; ``None`` when there is nothing of that name."""
    scope: Object | None = place
    while scope is not None:
        for path in (name, f"{scope.path}.{name}"):
            if found := _find(path, loader):
                return str(found.path)
            owner, _, member = path.rpartition(".")
            holder = _find(owner, loader) if owner else None
            if isinstance(holder, Class) and any(member in base.members for base in holder.mro()):
                return f"{holder.path}.{member}"
        if isinstance(scope, Class):
            for base in scope.mro():
                if name in base.members:
                    return str(base.members[name].path)
        scope = scope.parent
    log.warning("%s: a docstring speaks of %s, which is not there", place.path, name)
    return None


def _find(path: str, loader: GriffeLoader) -> Object | None:
    """The object at a path, or the one that an import leads to."""
    try:
        found = loader.modules_collection.get_member(path)
        return found.final_target if isinstance(found, Alias) else found
    except (KeyError, AliasResolutionError, CyclicAliasError):
        return None


def to_markdown(text: str, look_up: Callable[[str], str | None]) -> str:
    """One docstring."""
    parts: list[str] = []
    at = 0
    for match in _LITERAL.finditer(text):
        parts.append(_prose(text[at : match.start()], look_up))
        lead, code = match["lead"].strip(), textwrap.dedent(match["code"]).strip("\n")
        if lead:
            parts.append(f"{_prose(lead, look_up)}:\n")
        parts.append(f"\n```{'python' if is_python(code) else 'text'}\n{code}\n```\n\n")
        at = match.end()
    parts.append(_prose(text[at:], look_up))
    return "".join(parts).strip()


def is_python(code: str) -> bool:
    """Whether a block is Python, where ``await`` may stand outside of a function."""
    try:
        compile(code, "<docstring>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST)
    except SyntaxError:
        return False
    return True


def _prose(text: str, look_up: Callable[[str], str | None]) -> str:
    paragraphs = [_listed(paragraph) for paragraph in text.split("\n\n")]
    text = _PAGE.sub(r"[the page on it](../\1)", "\n\n".join(paragraphs))
    text = _CODE.sub(lambda match: f"`{match[1]}`", text)
    return _ROLE.sub(lambda match: _link(match[1], match[2], look_up), text)


def _listed(paragraph: str) -> str:
    """Lines that say what one thing after the other is, as a list."""
    first, *items = _ITEM.split(paragraph) if _ITEM.search(paragraph) else [paragraph]
    lines = ["- " + textwrap.indent(item.rstrip("\n"), "  ").lstrip() for item in items]
    return "\n".join([first.rstrip("\n") + "\n" if first.strip() else "", *lines]).lstrip("\n") if lines else first


def _link(short: str, name: str, look_up: Callable[[str], str | None]) -> str:
    path = look_up(name)
    text = html.escape(name.rpartition(".")[2] if short else name)
    if path is None:
        return f"`{text}`"
    return f'<autoref identifier="{path}" optional><code>{text}</code></autoref>'
