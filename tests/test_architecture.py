"""The layers: which module may import which. The table below is the map."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent

# folder (or module at the root): the floors below it that it may import | libraries.
# A folder also imports from itself; "*" is everything of the project.
MAP: Final = {
    # the ground
    "exceptions": ("", ""),
    "types": ("", "msgspec"),
    "logs": ("", ""),
    "concurrency": ("", ""),
    # values, settings and extension points
    "limits": ("exceptions types logs counters", ""),
    "options": ("exceptions types limits", ""),
    "packets": ("exceptions types", ""),
    "protocols": ("types options", ""),
    "counters": ("types", ""),
    "authenticators": ("exceptions types protocols", ""),
    "plugins": ("exceptions", ""),
    # what serves an event; who is where, and who gets what
    "handlers": ("exceptions types logs concurrency limits packets protocols", "msgspec pydantic pydantic_core"),
    "adapters": ("exceptions types logs concurrency packets protocols options", ""),
    "cluster": (
        "exceptions types logs counters concurrency packets options protocols adapters",
        "msgspec",
    ),
    "workers": (
        "exceptions types logs counters concurrency packets options protocols adapters cluster",
        "msgspec",
    ),
    "stats": ("types protocols counters", ""),
    # who is let in, what becomes of an event, whom to emit to
    "namespaces": (
        "exceptions types logs concurrency limits packets protocols options counters authenticators handlers adapters",
        "",
    ),
    "serializers": ("exceptions types packets protocols handlers", "msgspec"),
    # protocols and aiohttp; the Admin UI
    "engine": (
        "exceptions types logs concurrency limits packets protocols options counters adapters serializers",
        "aiohttp engineio multidict socketio",
    ),
    "admin": ("exceptions types logs concurrency limits protocols namespaces", "bcrypt"),
    # other protocols to the same namespaces: they are clients of the seam, on connections of the engine
    "gateways": (
        "exceptions types logs concurrency limits packets protocols options counters authenticators serializers engine",
        "aiohttp msgspec",
    ),
    # on top
    "server": ("*", "aiohttp"),
    "contracts": ("exceptions types concurrency protocols handlers namespaces server admin", "msgspec pydantic"),
    "testing": (
        "exceptions types logs concurrency packets protocols options handlers adapters serializers namespaces gateways "
        "server",
        "aiohttp msgspec",
    ),
    "development": ("exceptions types logs protocols options handlers namespaces engine server", ""),
    "rtframework": ("*", ""),
    "cli": (
        "exceptions types packets concurrency adapters workers engine gateways handlers namespaces server contracts "
        "development rtframework_msgpack rtframework_redis",
        "aiohttp",
    ),
    "__main__": ("cli", ""),
    # plugins: extension points alone
    "rtframework_http_api": (
        "exceptions types concurrency logs options packets limits handlers adapters namespaces workers engine "
        "rtframework",
        "aiohttp msgspec",
    ),
    "rtframework_jwt": ("exceptions types concurrency protocols authenticators", "jwt"),
    "rtframework_msgpack": ("exceptions types packets protocols handlers", "msgpack msgspec"),
    "rtframework_opentelemetry": (
        "exceptions types concurrency logs protocols counters namespaces rtframework",
        "opentelemetry",
    ),
    "rtframework_prometheus": (
        "exceptions concurrency protocols counters namespaces workers rtframework",
        "aiohttp msgspec prometheus_client",
    ),
    "rtframework_pytest": ("protocols testing", "pytest"),
    "rtframework_sqlite": ("exceptions types", ""),
    "rtframework_redis": (
        "exceptions types concurrency logs packets protocols handlers adapters cluster namespaces serializers",
        "hiredis msgspec redis",
    ),
}

MORE: Final = {"rtframework.cli.client": "socketio", "rtframework.engine.http.full_request": "yarl"}
"""Libraries of single modules. The command line's client talks to any server: it is the one exception to what the
engine alone may import. URLs of aiohttp's requests are yarl's."""

UPWARD: Final = {
    ("rtframework.namespaces.host", "rtframework.server"),
    ("rtframework.namespaces.namespace", "rtframework.server"),
    ("rtframework.namespaces.socket", "rtframework.server"),
}
"""Imports for types alone that point to a floor above: users' type checkers follow ``socket.server``."""

LONGEST_CHAIN: Final = 12
"""Modules that may have to be imported, one for the other, before one can be; see the test."""

LONGEST_MODULE: Final = 600
"""Lines of a module."""

PACKAGES: Final = {
    "rtframework": ROOT,
    **dict.fromkeys(
        (
            "rtframework_http_api",
            "rtframework_jwt",
            "rtframework_msgpack",
            "rtframework_opentelemetry",
            "rtframework_prometheus",
            "rtframework_pytest",
            "rtframework_redis",
            "rtframework_sqlite",
        ),
        ROOT / "plugins",
    ),
}


@dataclass(frozen=True, slots=True)
class Import:
    """One import statement's target, as a full module name."""

    module: str
    line: int
    for_types: bool
    """Under ``if TYPE_CHECKING``: never runs."""


def find_modules() -> dict[str, Path]:
    """Every module of the project by its full name."""
    modules = {}
    for package, base in PACKAGES.items():
        for path in sorted((base / package).rglob("*.py")):
            parts = path.relative_to(base).with_suffix("").parts
            modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


MODULES: Final = find_modules()


@functools.cache
def imports_of(name: str) -> Sequence[Import]:
    """List what a module imports, wherever in it the statement stands."""
    path = MODULES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]

    def absolute(node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        base = package.split(".")[: len(package.split(".")) - node.level + 1]
        return ".".join([*base, *([node.module] if node.module else [])])

    def walk(node: ast.AST, for_types: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, for_types)
        elif isinstance(node, ast.ImportFrom):
            module = absolute(node)
            submodules = [f"{module}.{alias.name}" for alias in node.names if f"{module}.{alias.name}" in MODULES]
            for target in submodules or [module]:
                yield Import(target, node.lineno, for_types)
        elif isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for statement in node.body:
                yield from walk(statement, True)
            for statement in node.orelse:
                yield from walk(statement, for_types)
        else:
            for child in ast.iter_child_nodes(node):
                yield from walk(child, for_types)

    return list(walk(ast.parse(path.read_text(encoding="utf-8")), False))


def row_of(name: str) -> str:
    """The row of the table that a module falls under: its folder, or the module itself at the root."""
    parts = name.split(".")
    return parts[0] if parts[0] != "rtframework" or len(parts) == 1 else parts[1]


def is_ours(module: str) -> bool:
    """Whether a module is the project's."""
    return module.partition(".")[0] in PACKAGES


def allows(importer: str, target: str) -> bool:
    """Whether the table lets the module ``importer`` import the project's module ``target``."""
    row, below = row_of(importer), MAP[row_of(importer)][0].split()
    return row_of(target) == row or row_of(target) in below or (below == ["*"] and row_of(target) not in ABOVE)


ABOVE: Final = ("contracts", "development", "testing", "rtframework", "cli", "__main__")
"""Floors above the server, which imports from all others."""


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_down(name: str) -> None:
    """A module that reaches upwards cannot be understood, tested or replaced alone any more."""
    assert row_of(name) in MAP, f"{name} has no row in the map of {Path(__file__).name}: say what it may import"
    project, libraries = MAP[row_of(name)]
    for found in imports_of(name):
        where = f"{MODULES[name].relative_to(ROOT)}:{found.line}"
        top = found.module.partition(".")[0]
        if found.for_types and (not is_ours(found.module) or (name, found.module) in UPWARD):
            continue
        if name == "rtframework" and is_ours(found.module):
            continue
        if is_ours(found.module):
            allowed = f"may import of the project: {project or 'nothing'}"
            assert allows(name, found.module), f"{where} imports {found.module}; {row_of(name)} {allowed}"
        elif top not in sys.stdlib_module_names:
            allowed = f"may import of libraries: {libraries or 'none'}"
            assert top in f"{libraries} {MORE.get(name, '')}".split(), (
                f"{where} imports {found.module}; {name} {allowed}"
            )


def test_a_violation_is_found() -> None:
    """The table would hold nothing."""
    assert not allows("rtframework.handlers.handler", "rtframework.namespaces.socket")
    assert not allows("rtframework.engine.connection", "rtframework.server")
    assert not allows("rtframework.server", "rtframework.cli.main")
    assert allows("rtframework.namespaces.socket", "rtframework.handlers.handler")


@pytest.mark.parametrize("name", MODULES)
def test_imports_for_types_name_modules_that_exist(name: str) -> None:
    """An import that never runs hides a wrong name from everybody but the type checker."""
    for found in imports_of(name):
        if is_ours(found.module):
            where = f"{MODULES[name].relative_to(ROOT)}:{found.line}"
            assert found.module in MODULES, f"{where} imports {found.module}, which is not there"


def test_the_map_names_folders_that_exist() -> None:
    """A row for a folder that is gone misleads whoever reads the map."""
    assert set(MAP) == {row_of(name) for name in MODULES}
    assert all(name in MODULES and target in MODULES for name, target in UPWARD)


def test_the_root_has_few_modules() -> None:
    """A newcomer cannot tell, of forty modules in one folder, which to read first."""
    modules = {path.name for path in (ROOT / "rtframework").glob("*.py")} - {"__init__.py"}
    assert len(modules) <= 14, sorted(modules)


@pytest.mark.parametrize("name", MODULES)
def test_no_module_is_long(name: str) -> None:
    """A module of a thousand lines is read by nobody."""
    lines = len(MODULES[name].read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST_MODULE


def test_only_the_engine_knows_python_socketio() -> None:
    """If python-socketio leaks out of the engine, an upgrade of it touches everything."""
    for row, (_, libraries) in MAP.items():
        assert row == "engine" or not {"socketio", "engineio"} & set(libraries.split()), row


def test_no_module_imports_itself_through_others() -> None:
    """A cycle makes the order of imports matter, and one day an import fails for no visible reason.

    And a long chain is one that somebody has to read to its end before the first module makes sense.
    """
    graph = {
        name: sorted({found.module for found in imports_of(name) if not found.for_types and found.module in MODULES})
        for name in MODULES
    }
    chains: dict[str, tuple[str, ...]] = {}

    def visit(name: str, path: tuple[str, ...]) -> tuple[str, ...]:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in chains:
            below = [visit(target, (*path, name)) for target in graph[name] if target != name]
            chains[name] = (name, *max(below, key=len, default=()))
        return chains[name]

    longest = max((visit(name, ()) for name in graph), key=len)
    assert len(longest) <= LONGEST_CHAIN, " -> ".join(longest)
