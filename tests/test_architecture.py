"""The layers: which module may import which. The table below is the map."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent

# module: what it may import of the project | which libraries. "engine.*" is every module of that package, "*" all.
MAP: Final = {
    "rtframework.exceptions": ("", ""),
    "rtframework.types": ("", "msgspec"),
    "rtframework.counts": ("types", ""),
    "rtframework.stats": ("", ""),
    "rtframework.options": ("exceptions", ""),
    "rtframework.patterns": ("exceptions", ""),
    "rtframework.notices": ("", ""),
    "rtframework.running": ("", ""),
    "rtframework.room_events": ("exceptions", ""),
    "rtframework.rooms": ("room_events", ""),
    "rtframework.protocols": ("types", ""),
    "rtframework.annotations": ("", "msgspec"),
    "rtframework.conversion": ("", "msgspec pydantic pydantic_core"),
    "rtframework.injection": ("annotations exceptions", ""),
    "rtframework.plans": ("annotations exceptions injection", ""),
    "rtframework.middleware": ("annotations exceptions injection plans signatures", ""),
    "rtframework.packets": ("exceptions types", ""),
    "rtframework.plugins": ("exceptions", ""),
    "rtframework.authenticators": ("exceptions types protocols", ""),
    "rtframework.serializers": ("conversion exceptions types protocols packets", "msgspec"),
    "rtframework.recovery": ("exceptions types", ""),
    "rtframework.signatures": ("annotations conversion exceptions injection plans", ""),
    "rtframework.payloads": ("conversion", "msgspec"),
    "rtframework.events": ("annotations conversion exceptions injection plans signatures types", ""),
    "rtframework.returns": ("conversion events exceptions types", ""),
    "rtframework.exception_handlers": ("annotations events exceptions injection plans signatures types", ""),
    "rtframework.pen": ("types", ""),
    "rtframework.several": ("exceptions types events running", ""),
    "rtframework.listeners": ("annotations exceptions injection returns types events running several signatures", ""),
    "rtframework.tally": ("exceptions types events", ""),
    "rtframework.adapter": ("rooms types protocols tally", ""),
    "rtframework.session_aware_adapter": ("adapter recovery types protocols", ""),
    "rtframework.remote": ("exceptions types", ""),
    "rtframework.broadcast": ("exceptions types protocols remote", ""),
    "rtframework.socket": (
        "broadcast events exceptions injection listeners notices pen recovery running several types protocols",
        "",
    ),
    "rtframework.namespace": (
        "auditor broadcast counts declarations events exception_handlers exceptions injection listeners middleware "
        "notices patterns recovery running signatures socket types protocols",
        "",
    ),
    "rtframework.declarations": ("events exceptions payloads signatures", ""),
    "rtframework.auditor": ("conversion declarations exceptions payloads protocols types", "msgspec"),
    "rtframework.parent": ("declarations exceptions namespace patterns room_events running types protocols", ""),
    "rtframework.announcements": ("exceptions events", ""),
    "rtframework.dynamic": ("exceptions namespace notices parent patterns running types protocols", ""),
    "rtframework.engine": ("engine.*", ""),
    "rtframework.engine.*": (
        "counts exceptions notices options pen protocols types packets rooms running serializers engine.*",
        "aiohttp engineio multidict socketio",
    ),
    "rtframework.admin": ("admin.*", ""),
    "rtframework.admin.*": ("exceptions notices types protocols namespace admin.*", "bcrypt"),
    "rtframework.contracts": ("contracts.*", ""),
    "rtframework.contracts.*": (
        "admin annotations conversion declarations exceptions namespace parent patterns payloads protocols server "
        "signatures types contracts.*",
        "msgspec pydantic",
    ),
    "rtframework.server": ("*", "aiohttp"),
    "rtframework.cli": ("", ""),
    "rtframework.cli.*": (
        "contracts declarations exceptions exception_handlers types events namespace parent patterns server "
        "signatures cli.* cli.client",
        "aiohttp",
    ),
    # Talks to any server, as a client: the one exception to what the engine alone may import.
    "rtframework.cli.client": ("exceptions types cli.* rtframework_msgpack", "aiohttp socketio"),
    "rtframework.__main__": ("cli.*", ""),
    "rtframework.testing": ("* testing.*", ""),
    "rtframework.testing.*": ("*", "aiohttp msgspec"),
    "rtframework": ("*", ""),
    "rtframework_jwt": ("rtframework_jwt.*", ""),
    "rtframework_jwt.*": ("exceptions types protocols authenticators rtframework_jwt.*", "jwt"),
    "rtframework_opentelemetry": ("rtframework_opentelemetry.*", ""),
    "rtframework_opentelemetry.*": ("counts exceptions running types rtframework_opentelemetry.*", "opentelemetry"),
    "rtframework_prometheus": ("rtframework_prometheus.*", ""),
    "rtframework_prometheus.*": (
        "counts exceptions running rtframework_prometheus.*",
        "aiohttp prometheus_client",
    ),
    "rtframework_pytest": ("testing", "pytest"),
    "rtframework_msgpack": ("rtframework_msgpack.*", ""),
    "rtframework_msgpack.*": ("conversion exceptions types protocols packets rtframework_msgpack.*", "msgpack msgspec"),
}
PLANNED: Final[frozenset[str]] = frozenset()
"""Rows whose module is still to be written."""

PACKAGES: Final = {
    "rtframework": ROOT,
    **dict.fromkeys(
        (
            "rtframework_jwt",
            "rtframework_msgpack",
            "rtframework_opentelemetry",
            "rtframework_prometheus",
            "rtframework_pytest",
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


def imports_of(name: str) -> Iterator[Import]:
    """What a module imports, wherever in it the statement stands."""
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

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), False)


def row_of(name: str) -> str:
    """The row of the table that a module falls under."""
    return name if name in MAP else f"{name.rpartition('.')[0]}.*"


def is_ours(module: str) -> bool:
    """Whether a module is the project's."""
    return module.partition(".")[0] in PACKAGES


def allows(allowed: str, importer: str, target: str) -> bool:
    """Whether the words of a row let ``importer`` import the project's module ``target``."""
    for word in allowed.split():
        full = word if word.startswith("rtframework") else f"rtframework.{word}"
        if word == "*":
            # Of a package, others see its face only.
            inside = row_of(target).endswith(".*") and row_of(target) != row_of(importer)
            if not inside:
                return True
        elif target == full or (full.endswith(".*") and row_of(target) == full):
            return True
    return False


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_down(name: str) -> None:
    """A module that reaches upwards cannot be understood, tested or replaced alone any more."""
    assert row_of(name) in MAP, f"{name} has no row in the map of {Path(__file__).name}: say what it may import"
    project, libraries = MAP[row_of(name)]
    for found in imports_of(name):
        where = f"{MODULES[name].relative_to(ROOT)}:{found.line}"
        top = found.module.partition(".")[0]
        if found.for_types:
            continue
        if is_ours(found.module):
            allowed = f"may import of the project: {project or 'nothing'}"
            assert allows(project, name, found.module), f"{where} imports {found.module}; {name} {allowed}"
        elif top not in sys.stdlib_module_names:
            allowed = f"may import of libraries: {libraries or 'none'}"
            assert top in libraries.split(), f"{where} imports {found.module}; {name} {allowed}"


@pytest.mark.parametrize("name", MODULES)
def test_imports_for_types_name_modules_that_exist(name: str) -> None:
    """An import that never runs hides a wrong name from everybody but the type checker."""
    for found in imports_of(name):
        if is_ours(found.module):
            where = f"{MODULES[name].relative_to(ROOT)}:{found.line}"
            assert found.module in MODULES, f"{where} imports {found.module}, which is not there"


def test_the_map_names_modules_that_exist() -> None:
    """A row for a module that is gone misleads whoever reads the map."""
    rows = {row_of(name) for name in MODULES}
    assert set(MAP) - rows == PLANNED


def test_only_the_engine_knows_python_socketio() -> None:
    """If python-socketio leaks out of the engine, an upgrade of it touches everything."""
    for row, (_, libraries) in MAP.items():
        if row not in ("rtframework.engine.*", "rtframework.cli.client"):
            assert not {"socketio", "engineio"} & set(libraries.split()), row


def test_no_module_imports_itself_through_others() -> None:
    """A cycle makes the order of imports matter, and one day an import fails for no visible reason."""
    graph = {
        name: sorted({found.module for found in imports_of(name) if not found.for_types and found.module in MODULES})
        for name in MODULES
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            for target in graph[name]:
                visit(target, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())
