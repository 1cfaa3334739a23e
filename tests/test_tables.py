"""The tables of the documentation that go through something name by name: complete, and each row with what shows it.

``docs/coming-from-node.md``, ``docs/coming-from-python-socketio.md``, ``docs/security.md`` and the list of what
``docs/protocol.md`` accepts beyond the protocol's text name a test behind every row.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from rtframework import Cookie, Cors, Idempotency, Limits, RateLimit, Recovery, Server
from tests.support.markdown import Row, read_page

ROOT: Final = Path(__file__).parent.parent
TESTS: Final = ROOT / "tests"
DOCS: Final = ROOT / "docs"

COMING_FROM: Final = ("coming-from-node.md", "coming-from-python-socketio.md")
BEYOND: Final = ("protocol.md", "Beyond the text")
"""The page and the section of what the server accepts beyond the protocol's text."""
SHOWN: Final = (*COMING_FROM, "security.md")
"""The pages whose rows name tests."""
NOTHING_TO_SHOW: Final = "—"
_NAMED: Final = re.compile(r"`([a-z0-9_/]+)::(\w+)`")
_PASSING: Final = frozenset({"skip", "skipif", "xfail", "importorskip"})
_PASSED_OVER: Final = re.compile(rf"pytest\.(mark\.)?({'|'.join(sorted(_PASSING))})")


def rows() -> Iterator[tuple[str, Row]]:
    """The rows of all these tables."""
    for name in (*SHOWN, BEYOND[0]):
        for row in read_page(DOCS / name).rows:
            if name in SHOWN or row.section == BEYOND[1]:
                yield name, row


ROWS: Final = [
    pytest.param(name, row, id=f"{name.removesuffix('.md')}-{row.line}-{row.cells[0][:40]}") for name, row in rows()
]


@dataclasses.dataclass(frozen=True)
class Shown:
    """The tests of a module, and those of them that may be passed over when the tests are run."""

    names: frozenset[str]
    passed_over: frozenset[str]


def passes_over(node: ast.AST) -> bool:
    """Whether ``pytest.skip``, ``pytest.mark.xfail`` or their like stands in the code."""
    attributes = (each for each in ast.walk(node) if isinstance(each, ast.Attribute) and each.attr in _PASSING)
    return any(_PASSED_OVER.fullmatch(ast.unparse(each)) for each in attributes)


@cache
def shown_by(module: str) -> Shown:
    """Look into a module below ``tests/``."""
    names, passed_over = set(), set()
    body = ast.parse((TESTS / f"{module}.py").read_text(encoding="utf-8")).body
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found = {node.name}
        elif isinstance(node, ast.Assign):
            found = {target.id for target in node.targets if isinstance(target, ast.Name)}
        else:
            found = set()
        found = {name for name in found if name.lower().startswith("test")}
        names |= found
        if passes_over(node):
            passed_over |= found
    of_all = [node for node in body if isinstance(node, ast.Assign | ast.Expr) and passes_over(node)]
    return Shown(frozenset(names), frozenset(names if of_all else passed_over))


def complaints_of(row: Row) -> Iterator[str]:
    """What is wrong with the last column of a row."""
    if len(row.cells) != 4:
        yield f"it has {len(row.cells)} columns, not 4: there, here, what differs (or accepted, who, bound), test"
        return
    _, here, why, shown = row.cells
    if shown == NOTHING_TO_SHOW:
        if not why:
            yield "there is no test, and no reason why"
        if not here.startswith(("none", "not yet")):
            yield "there is something here, and no test"
        return
    named = _NAMED.findall(shown)
    if not named or _NAMED.sub("", shown).strip(", "):
        yield f"the last column names no tests, or more than tests: {shown!r}"
    for module, name in named:
        if not (TESTS / f"{module}.py").is_file():
            yield f"there is no tests/{module}.py"
        elif name not in shown_by(module).names:
            yield f"tests/{module}.py has no {name}"
        elif name in shown_by(module).passed_over:
            yield f"{name} of tests/{module}.py may be skipped, or fail"


@pytest.mark.parametrize(("page", "row"), ROWS)
def test_what_shows_a_row_is_there(page: str, row: Row) -> None:
    """Who ports a program would rely on a sentence that nobody has checked, or that was right once."""
    assert list(complaints_of(row)) == [], f"docs/{page}:{row.line}"


@pytest.mark.parametrize(
    ("last", "complaint"),
    [
        ("`test_tables::test_what_shows_a_row_is_there`", None),
        ("`test_tables::test_gone`", "has no test_gone"),
        ("`test_gone::test_gone`", "there is no tests/test_gone.py"),
        ("by hand", "names no tests"),
        ("", "names no tests"),
        (NOTHING_TO_SHOW, "there is something here"),
    ],
)
def test_what_does_not_show_a_row_is_found(last: str, complaint: str | None) -> None:
    """The check above would let everything pass."""
    found = list(complaints_of(Row("", ("`x`", "`x`", "a reason", last), 1)))
    assert bool(found) is bool(complaint)
    assert complaint is None or complaint in found[0]


def test_a_test_that_is_skipped_is_found() -> None:
    """A row would be shown by a test that never runs."""
    for code in (
        "@pytest.mark.skip(reason='slow')\ndef test_x(): ...",
        "@pytest.mark.skipif(True, reason='')\nclass TestX: ...",
        "async def test_x():\n    pytest.importorskip('x')",
        "test_x = pytest.param(1, marks=pytest.mark.xfail)",
    ):
        assert passes_over(ast.parse(code)), code
    assert not passes_over(ast.parse("@pytest.mark.parametrize('x', [])\nasync def test_x(): ..."))


def test_no_row_stands_twice() -> None:
    """One of the two would be forgotten when the other is changed."""
    places = [(name, row.section, row.cells[0]) for name, row in rows() if row.cells[0] != "none"]
    assert sorted({place for place in places if places.count(place) > 1}) == []


def test_what_is_accepted_beyond_the_text_is_complete() -> None:
    """A tolerance that nobody knows of would be taken away, and a client with it: each row has all four columns."""
    found = [row.cells for name, row in rows() if name == BEYOND[0]]
    assert len(found) > 20
    assert [cells[0] for cells in found if not all(cells)] == []


# --- options ----------------------------------------------------------------------------------------------------------


def documented(page: str, section: str) -> list[str]:
    """The names in the first column of the table under a heading."""
    return [row.cells[0].strip("`") for row in read_page(DOCS / page).rows if row.section.strip("`") == section]


def fields_of(kind: type) -> list[str]:
    """The settings of a dataclass."""
    return [each.name for each in dataclasses.fields(kind)]


def test_every_option_of_the_server_is_documented() -> None:
    """An option would be found by nobody but those who read the source."""
    options = [name for name in inspect.signature(Server).parameters if name != "self"]
    assert sorted(documented("options.md", "Server")) == sorted(options)


@pytest.mark.parametrize(
    ("page", "section", "kind"),
    [
        ("options.md", "Limits", Limits),
        ("options.md", "rate_limit", RateLimit),
        ("options.md", "idempotency", Idempotency),
        ("options.md", "cookie", Cookie),
        ("options.md", "cors", Cors),
    ],
)
def test_every_field_of_the_settings_is_documented(page: str, section: str, kind: type) -> None:
    """A limit would end connections, and nobody could look up which it was."""
    assert sorted(documented(page, section)) == sorted(fields_of(kind))


def test_every_field_of_recovery_is_documented() -> None:
    """The same for what a client that is away may cost."""
    text = (DOCS / "connection-state-recovery.md").read_text(encoding="utf-8")
    assert [name for name in fields_of(Recovery) if not re.search(rf"\b{name}\b", text)] == []


SHORT_FORMS: Final = ("max_http_buffer_size", "cors_credentials")
"""Options whose default is that of what they are short for."""


def test_the_defaults_are_those_of_the_code() -> None:
    """Who relies on a documented default would have another one."""
    signature = inspect.signature(Server)
    for row in read_page(DOCS / "options.md").rows:
        name, default = row.cells[0].strip("`"), row.cells[1].strip("`")
        if row.section == "Limits":
            assert ast.literal_eval(default) == getattr(Limits(), name), name
        elif row.section == "Server" and default[0] in "\"'(-0123456789TFN" and name not in SHORT_FORMS:
            assert ast.literal_eval(default) == signature.parameters[name].default, name


# --- architecture -----------------------------------------------------------------------------------------------------


def listed(section: str) -> set[str]:
    """The files in the first column of a table of docs/architecture.md."""
    cells = [row.cells[0] for row in read_page(DOCS / "architecture.md").rows if row.section == section]
    return {name for cell in cells for name in re.findall(r"`([a-z0-9_]+(?:\.py|/))`", cell)}


FOLDERS: Final = (
    "limits",
    "handlers",
    "adapters",
    "namespaces",
    "engine",
    "engine/transports",
    "engine/http",
    "gateways",
)
"""Folders with a table of their own."""


@pytest.mark.parametrize("folder", ["", *FOLDERS])
def test_every_file_is_in_the_architecture(folder: str) -> None:
    """Somebody who looks for the place of something would find half of the places, or places that are gone."""
    place = ROOT / "rtframework" / folder
    files = {path.name for path in place.glob("*.py")} - {"__init__.py"}
    section = f"In `{folder}/`" if folder else "The files"
    assert listed(section) == files | {f"{path.parent.name}/" for path in place.glob("*/__init__.py")}


# --- symptoms ---------------------------------------------------------------------------------------------------------


def lines_of(path: Path) -> Iterator[tuple[str, bool]]:
    """The texts of a module's warnings, and of the lines that are limited in their rate; "…" is what differs.

    And whether it is an exception of the program, or of a plugin: a traceback says what to do better than a table.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and (name := ast.unparse(node.func)) in ("log.warning", "ThrottledLog"):
            text = node.args[0 if name == "log.warning" else 2]
            parts = text.values if isinstance(text, ast.JoinedStr) else [text]
            whole = "".join(str(each.value) if isinstance(each, ast.Constant) else "…" for each in parts)
            yield re.sub(r"%[a-z]", "…", whole), "logging.ERROR" in map(ast.unparse, node.args)


def test_every_warning_is_among_the_symptoms() -> None:
    """Who looks for a line of the log would find nothing, or a line that no version writes."""
    folders = (ROOT / "rtframework", ROOT / "plugins")
    modules = [path for folder in folders for path in folder.rglob("*.py") if path.parent.name != "development"]
    found = {line for path in modules for line in lines_of(path)}
    warnings = {text for text, is_exception in found if not is_exception}
    cells = [row.cells[0] for row in read_page(DOCS / "symptoms.md").rows if row.section == "In the log"]
    lines = [line for cell in cells for line in re.findall(r"“([^”]+)”", cell)]
    assert sorted(text for text in warnings if not any(line in text for line in lines)) == []
    assert [line for line in lines if not any(line in text for text, _ in found)] == []
