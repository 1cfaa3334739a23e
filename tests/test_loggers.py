"""The loggers: one for each part, structured fields, and a table in the documentation that is true."""

from __future__ import annotations

import ast
import functools
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.support.markdown import read_page

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = ROOT / "docs" / "observability.md"

FIELDS: Final = frozenset(
    {
        "nsp",
        "sid",
        "event",
        "code",
        "address",
        "transport",
        "limit",
        "left_out",
        "user",
        "room",
        "kind",
        "since",
        "node",
        "count",
    }
)
"""What extra fields are called, everywhere."""
_LEVELS: Final = {
    "debug": "DEBUG",
    "info": "INFO",
    "warning": "WARNING",
    "error": "ERROR",
    "exception": "ERROR",
}
_LIMITED: Final = "ThrottledLog"
"""Writes at most one line a second, with this field more."""


class Module:
    """What one module logs: found in its source."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self.logger: str | None = None
        self.levels: set[str] = set()
        self.fields: set[str] = set()
        self.bare: list[int] = []
        """Lines of calls whose message has parameters, and no field for them."""
        notices: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.AnnAssign | ast.Assign) and isinstance(node.value, ast.Call):
                called = ast.unparse(node.value.func)
                target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
                if called == "logging.getLogger" and isinstance(target, ast.Name) and target.id == "log":
                    self.logger = ast.literal_eval(node.value.args[0])
                elif called == _LIMITED:
                    notices.add(ast.unparse(target))
                    self.levels.add(ast.unparse(node.value.args[1]).removeprefix("logging."))
                    self.fields.add("left_out")
        for function in ast.walk(self.tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
                    name = ast.unparse(call.func)
                    level = _LEVELS.get(name.removeprefix("log.")) if name.startswith("log.") else None
                    if level is not None or name in notices:
                        self.levels |= {level} if level is not None else set()
                        self._look(call, function, message=level is not None)

    def _look(self, call: ast.Call, function: ast.FunctionDef | ast.AsyncFunctionDef, *, message: bool) -> None:
        extra = next((each.value for each in call.keywords if each.arg == "extra"), None)
        if extra is None:
            if len(call.args) > message:
                self.bare.append(call.lineno)
            return
        self.fields.update(self._keys(extra, function))

    def _keys(self, node: ast.AST, function: ast.AST) -> Iterator[str]:
        """The keys of a dict that is written, assigned to a name before, or what a function of the module returns."""
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                yield from [ast.literal_eval(key)] if key is not None else self._keys(value, function)
        elif isinstance(node, ast.Name):
            assigned = [
                each.value
                for each in ast.walk(function)
                if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == node.id
            ]
            assert assigned, f"{self.path.name}:{node.lineno}: what is {node.id}?"
            for value in assigned:
                yield from self._keys(value, function)
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func).removeprefix("self.")
            for other in ast.walk(self.tree):
                if isinstance(other, ast.FunctionDef) and other.name == name:
                    for each in ast.walk(other):
                        if isinstance(each, ast.Return) and each.value is not None:
                            yield from self._keys(each.value, other)


@functools.cache
def modules() -> Sequence[Module]:
    """Every module that has a logger. Read when a test asks, since each worker of pytest imports this file."""
    found = []
    for path in sorted([*ROOT.glob("rtframework/**/*.py"), *ROOT.glob("plugins/**/*.py")]):
        if "testing" not in path.parts and "logging.getLogger(" in path.read_text(encoding="utf-8"):
            module = Module(path)
            if module.logger is not None:
                found.append(module)
    return found


def test_the_table_of_loggers_is_true() -> None:
    """Who filters by a logger or a field of it would filter nothing."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    for module in modules():
        assert module.logger is not None
        levels, fields = found.setdefault(module.logger, (set(), set()))
        levels |= module.levels
        fields |= module.fields
    order = ("DEBUG", "INFO", "WARNING", "ERROR")
    actual = {
        name: (", ".join(each for each in order if each in levels), ", ".join(f"`{each}`" for each in sorted(fields)))
        for name, (levels, fields) in found.items()
        if levels
    }
    rows = [row.cells for row in read_page(PAGE).rows if row.section == "Logs" and len(row.cells) == 4]
    assert {cells[0].strip("`"): (cells[2], cells[3]) for cells in rows} == actual


def test_fields_are_called_the_same_everywhere() -> None:
    """A search for ``sid`` would find half of what concerns a client."""
    assert {str(module.path): sorted(module.fields - FIELDS) for module in modules() if module.fields - FIELDS} == {}


def test_what_a_message_says_is_in_a_field() -> None:
    """Who keeps logs as JSON would have to take sentences apart."""
    bare = {module.path.name for module in modules() if module.bare}
    assert bare == {"client_files.py", "starting.py"}  # which say what is missing, at start-up


AT_MOST_ONCE: Final = {
    "cli/serving.py": "an application that did not start",
    "engine/http/client_files.py": "files that are not there, at start-up",
    "adapters/base.py": "once",
    "development/emits.py": "in development mode alone",
    "development/events.py": "in development mode alone",
    "engine/python_socketio/adapter_table.py": "adapters that fail to close; once, or for each namespace of clients",
    "namespaces/admission.py": "once",
    "adapters/partial_views.py": "once",
    "plugins/rtframework_redis/starting.py": "once for each start",
    "adapters/cluster_events.py": "once for each time that the cluster is lost",
    "namespaces/server_presence.py": "once, when a server is made",
    "namespaces/host.py": "namespaces that the program makes; once, at shutdown",
}
"""Modules with warnings or errors that no client can repeat at will, and why."""


def test_no_client_can_repeat_a_line() -> None:
    """A client that has found what goes wrong would fill the disk with it."""
    lines = {
        str(module.path.relative_to(ROOT)).removeprefix("rtframework/")
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("log.warning", "log.error", "log.exception")
    }
    assert lines == set(AT_MOST_ONCE)


def test_the_framework_leaves_loggers_alone() -> None:
    """What is logged, and where to, is for the program to say."""
    for name in {module.logger for module in modules()}:
        logger = logging.getLogger(name)
        assert (logger.level, logger.handlers, logger.propagate) == (logging.NOTSET, [], True), name
