"""The examples in docstrings: they are Python, and what they use is there."""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.util
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

import rtframework
import rtframework.protocols
import rtframework.testing
from rtframework import Namespace, Server, Socket
from rtframework.testing import Clock, TestClient, TestServer

ROOT: Final = Path(__file__).parent.parent
SOURCES: Final = sorted([*ROOT.glob("rtframework/**/*.py"), *ROOT.glob("plugins/**/*.py")])
_LITERAL: Final = re.compile(r"(?P<lead>[^\n]*)::\n\n?(?P<code>(?:[ \t]+[^\n]*(?:\n|$)|\n)+)")

KINDS: Final[dict[str, Any]] = {
    "io": Server,
    "admin": Namespace,
    "socket": Socket,
    "server": TestServer,
    "alice": TestClient,
    "bob": TestClient,
    "client": TestClient,
    "clock": Clock,
}
"""What these names stand for in every example: their attributes are looked up."""

STAND_INS: Final = frozenset(
    {
        *KINDS,
        *("app", "asyncio", "os", "socketio", "web"),
        *("KEY", "POOL", "Database", "MySerializer", "TestMySerializer", "config", "store", "table"),
        *("packet", "request_id", "self", "sids", "timeout"),  # of an adapter
    }
)
"""What a reader knows to fill in."""


@dataclass(frozen=True)
class Example:
    """A block of a docstring that says ``Example``, or that is Python anyway."""

    place: str
    code: str
    names: frozenset[str]


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every docstring of a module, with its line; strings below attributes are docstrings, too."""
    for node in ast.walk(tree):
        body = getattr(node, "body", ())
        for each in body if isinstance(body, list) else ():
            match each:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    yield each.lineno, inspect.cleandoc(text)


def examples() -> Iterator[Any]:
    """All of them."""
    for path in SOURCES:
        source = path.read_text(encoding="utf-8")
        if "::\n" not in source:  # most files, which each worker of pytest would parse when it collects
            continue
        tree = ast.parse(source)
        own = {
            node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom | ast.Import):
                own |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        for line, text in docstrings(tree):
            for match in _LITERAL.finditer(text):
                code = textwrap.dedent(match["code"])
                place = f"{path.relative_to(ROOT)}:{line}"
                if "Example" in match["lead"] or is_python(code):
                    yield pytest.param(Example(place, code, frozenset(own)), id=place)


def parse(code: str) -> ast.Module:
    """Python, with ``await`` outside of functions."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST
    tree: ast.Module = compile(code, "<docstring>", "exec", flags=flags)
    return tree


def is_python(code: str) -> bool:
    """Whether a block can be parsed."""
    try:
        parse(code)
    except SyntaxError:
        return False
    return True


def bound_in(tree: ast.Module) -> set[str]:
    """Names that the example itself gives a meaning."""
    bound = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()):
                bound.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                bound.add(name)
            case ast.arg(arg=name):
                bound.add(name)
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                bound |= {alias.asname or alias.name.partition(".")[0] for alias in names}
    return bound


@pytest.mark.parametrize("example", list(examples()))
def test_what_an_example_uses_is_there(example: Example) -> None:
    """Who copies it out of ``help()`` or the reference would get a NameError, or an attribute that has gone."""
    tree = parse(example.code)
    bound = bound_in(tree)
    known = bound | example.names | STAND_INS | set(vars(builtins)) | set(rtframework.__all__)
    known |= set(rtframework.testing.__all__) | set(vars(rtframework.protocols))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    assert sorted(used - known) == [], example.place
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in KINDS:
            kind = KINDS[node.value.id]
            has = hasattr(kind, node.attr) or node.attr in inspect.getsource(kind)
            assert has, f"{example.place}: {node.value.id}.{node.attr}"
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            if importlib.util.find_spec(node.module.partition(".")[0]) is None:
                continue
            module = importlib.import_module(node.module)
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == [], example.place


def test_there_are_examples() -> None:
    """The test above would pass if it found none."""
    assert len(list(examples())) > 25
