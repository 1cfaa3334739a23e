"""The tests' floor plan: each module of the source has a module of tests under its own name, and nothing else is there.

``rtframework/handlers/group.py`` is tested by ``tests/handlers/test_group.py``, ``plugins/rtframework_jwt/keys.py`` by
``tests/plugins/rtframework_jwt/test_keys.py``, and what a package does in its ``__init__`` by ``test_<package>.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
TESTS: Final = ROOT / "tests"

ROOMS: Final = {
    "integration": "scenarios with real clients: what several modules do together",
    "js": "the JavaScript client's driver",
    "programs": "whole programs, run on this server and on others",
    "support": "the harness, and tests of it",
}
"""Folders that mirror nothing."""

COMMANDS: Final = {
    "attack.py": "one client against the others, measured",
    "fuzz.py": "searches for bytes that break the server",
    "soak.py": "cuts clients off and counts every packet",
}
"""Searches of any length: ``python -m tests.fuzz``."""

WHOLE: Final = {
    "test_architecture": "who imports whom",
    "test_benchmarks": "the benchmarks run",
    "test_defects": "what servers of this kind get wrong, row by row",
    "test_docs": "the documentation's programs run",
    "test_docstrings": "docstrings can be read",
    "test_exports": "the public names",
    "test_loggers": "loggers and their fields, against the documentation",
    "test_mirror": "this",
    "test_mistakes": "mistakes of programmers, and the words that tell them",
    "test_prose": "docstrings and comments are plain",
    "test_repository": "files of the repository",
    "test_seams": "what is overridden of python-socketio",
    "test_site": "the documentation's site",
    "test_tables": "the documentation's tables",
    "test_tutorials": "the tutorials' programs",
    "test_ways": "the four ways through the framework, as the documentation lists them",
    "test_wheel": "what is installed",
}
"""Tests of the whole repository, at the root."""

WHOLE_FOLDERS: Final = {
    "cluster/test_stateful": "three servers and a broker with faults, in any order, against a model",
    "gateways/test_sse_fuzz": "server-sent events against almost valid requests",
    "gateways/test_fuzz": "gateways against almost valid bytes",
    "gateways/test_stomp_fuzz": "STOMP against almost valid bytes",
    "gateways/test_sockjs_fuzz": "SockJS against almost valid requests",
    "engine/test_budget": "the account of what clients send, in any order, against a model",
    "engine/test_fuzz": "the engine against almost valid bytes",
    "engine/test_leaks": "what clients that go leave behind",
    "engine/test_limits": "what one client may cost",
    "engine/test_protocol": "the protocol, by raw transports",
    "engine/test_stateful": "sessions in any order, against a model",
    "plugins/rtframework_redis/test_stateful": "servers, clients and faults in any order, against a model",
}
"""Tests of a whole folder."""

WITHOUT: Final = {
    "__init__": "the public names: tests/test_exports.py",
    "__main__": "one call, which tests/cli/test_main.py makes",
    "adapters/__init__": "names of the package",
    "admin/__init__": "a name of the package",
    "cli/__init__": "a docstring",
    "cli/commands/__init__": "a docstring",
    "cluster/__init__": "a docstring",
    "contracts/__init__": "names of the package",
    "development/__init__": "a name of the package",
    "engine/__init__": "names of the package",
    "engine/http/__init__": "a docstring",
    "engine/python_socketio/__init__": "a docstring",
    "engine/transports/__init__": "a docstring",
    "engine/v3/__init__": "a docstring",
    "gateways/__init__": "a docstring",
    "handlers/__init__": "a docstring",
    "handlers/mistakes": "its rows are tests/test_mistakes.py",
    "limits/__init__": "a docstring",
    "namespaces/__init__": "a docstring",
    "plugins/rtframework_http_api/__init__": "names of the package",
    "plugins/rtframework_jwt/__init__": "a name of the package",
    "plugins/rtframework_msgpack/__init__": "a name of the package",
    "plugins/rtframework_opentelemetry/__init__": "names of the package, and a hint: tests/test_wheel.py",
    "plugins/rtframework_prometheus/__init__": "a name of the package, and a hint: tests/test_wheel.py",
    "plugins/rtframework_prometheus/traffic": "six numbers, which tests/test_protocols.py reads",
    "plugins/rtframework_redis/__init__": "a hint: tests/test_wheel.py",
    "plugins/rtframework_sqlite/__init__": "a name of the package",
    "protocols/history_store": "what is there fits: mypy, and tests/adapters/test_history_keepers.py",
    "protocols/seam": "what ships has what it asks for: tests/test_protocols.py",
    "testing/__init__": "names of the package",
    "testing/conformance/__init__": "names of the package",
    "workers/__init__": "a docstring",
}
"""Modules that need no tests of their own, and why."""


def sources() -> set[str]:
    """The modules of the source, as the tests' folders have them."""
    found = {str(path.relative_to(ROOT / "rtframework").with_suffix("")) for path in ROOT.glob("rtframework/**/*.py")}
    return found | {str(path.relative_to(ROOT).with_suffix("")) for path in ROOT.glob("plugins/*/**/*.py")}


def subject_of(module: str) -> str:
    """The module of the source that a module of tests names."""
    folder, _, name = module.rpartition("/")
    inside = f"{folder}/" if folder else ""
    subject = inside + name.removeprefix("test_")
    is_package = any((base / subject / "__init__.py").is_file() for base in (ROOT, ROOT / "rtframework"))
    return f"{subject}/__init__" if is_package else subject


def modules_of_tests() -> set[str]:
    """The modules of tests outside of the rooms that mirror nothing."""
    found = {path.relative_to(TESTS) for path in TESTS.glob("**/test_*.py") if "node_modules" not in path.parts}
    return {str(path.with_suffix("")) for path in found if path.parts[0] not in ROOMS}


SOURCES: Final = sources()
SUBJECTS: Final = {
    each: subject_of(each) for each in modules_of_tests() if each not in WHOLE and each not in WHOLE_FOLDERS
}


@pytest.mark.parametrize("module", sorted(SOURCES - set(WITHOUT)))
def test_every_module_has_its_tests(module: str) -> None:
    """Whoever changes a module would have to look for its tests, and find that there are none."""
    assert module in SUBJECTS.values(), f"write tests/{module.rpartition('/')[0]}/test_{module.rpartition('/')[2]}.py"


@pytest.mark.parametrize("module", sorted(SUBJECTS))
def test_every_module_of_tests_names_its_subject(module: str) -> None:
    """Tests would stay behind when their module is renamed, or be written where nobody looks for them."""
    assert SUBJECTS[module] in SOURCES, f"tests/{module}.py names no module of the source"


def test_what_has_got_its_tests_is_not_listed_any_more() -> None:
    """The list would never become shorter, and hide that tests have gone again."""
    assert set(WITHOUT) & set(SUBJECTS.values()) == set(), "take these out of WITHOUT"


def test_everything_that_is_listed_is_there() -> None:
    """A reader of the tables would look for modules that have long gone."""
    assert set(WITHOUT) - SOURCES == set()
    assert {*WHOLE, *WHOLE_FOLDERS} - modules_of_tests() == set()
    assert {name for name in ROOMS if not (TESTS / name).is_dir()} == set()


def test_support_is_in_its_own_room() -> None:
    """Helpers would stand among tests, where nobody finds them who writes the next one."""
    others = {
        str(path.relative_to(TESTS))
        for path in TESTS.glob("**/*.py")
        if path.relative_to(TESTS).parts[0] not in ROOMS
        and not path.name.startswith("test_")
        and path.name not in ("__init__.py", "conftest.py")
    }
    assert others == set(COMMANDS)
