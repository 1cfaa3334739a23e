"""The workers of pytest: they compile each module once, and none waits for the others at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.pytest_workers import ROOT, SLOW, dealt, modules_of, rank, rotated, run


def test_each_worker_begins_elsewhere() -> None:
    """In a new clone, every worker would compile all tests."""
    names = list("abcdefghij")
    orders = [rotated(names, f"gw{number}", 4) for number in range(4)]
    assert ["".join(order) for order in orders] == ["abcdefghij", "cdefghijab", "fghijabcde", "hijabcdefg"]
    assert rotated(names, "gw5", 4) == orders[1]  # a worker in the place of one that has crashed
    assert rotated([], "gw1", 4) == []


def test_the_modules_are_those_that_are_collected() -> None:
    """Somebody who runs one file would wait until all are imported."""
    here = "tests.support.test_pytest_workers"
    assert list(modules_of(["tests/support/test_pytest_workers.py::test_it", "README.md"], ROOT)) == [here]
    assert here in modules_of(["support"], ROOT / "tests")
    assert list(modules_of(["test_pytest_workers.py"], ROOT / "tests/support")) == [here]
    names = list(modules_of(["tests"], ROOT))
    assert len(names) > 300
    assert not [name for name in names if not name.rpartition(".")[2].startswith("test_")]


def test_slow_tests_come_first_everywhere() -> None:
    """One worker would still wait for a server while the others have nothing more to do."""
    slow = [f"tests/integration/test_{letter}.py" for letter in "abcdefgh"]
    modules = [each for module in [*slow, *(f"tests/test_{n}.py" for n in range(40))] for each in [module] * 3]
    order = [modules[index] for index in dealt(modules, 4)]
    assert sorted(order) == sorted(modules)
    for part in range(4):
        own = order[part * 36 : part * 36 + 36]
        assert [rank(module) for module in own] == sorted(rank(module) for module in own)
        assert sum(rank(module) < len(SLOW) for module in own) == 6


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_no_test_is_lost(count: int) -> None:
    """A test would not run, and nobody be told."""
    modules = [
        f"{SLOW[number % 20]}/test_x.py" if number % 20 < len(SLOW) else f"tests/{number % 9}" for number in range(99)
    ]
    order = dealt(modules, count)
    assert sorted(order) == list(range(99))
    assert order == dealt(modules, count)
    assert dealt([], count) == []


def test_slow_files_are_there() -> None:
    """A file that was moved would run at the end, alone."""
    assert [name for name in SLOW if not (ROOT / name).exists()] == []


BROKEN = {
    "test_raises.py": "1 / 0\n",
    "test_warns.py": "import warnings\nwarnings.warn('old', DeprecationWarning)\n",
    "test_skips.py": "import pytest\npytest.skip('not here', allow_module_level=True)\n",
    "test_fine.py": "def test_it(): assert [1] == [1]\n",
}
PHASES = """
import pytest

@pytest.fixture
def fails_before():
    raise LookupError("before")

@pytest.fixture
def fails_after():
    yield
    raise LookupError("after")

def test_before(fails_before): ...
def test_within(): assert "this" == "that"
def test_after(fails_after): ...
@pytest.mark.skip
def test_never(): ...
@pytest.mark.xfail
def test_expected(): assert False
"""


def test_what_fails_is_told(tmp_path: Path) -> None:
    """A module that cannot be imported, or a test that fails before or after its call, would be heard of by nobody."""
    tests = tmp_path / "tests"
    (tests / "support").mkdir(parents=True)
    for folder in (tests, tests / "support"):
        (folder / "__init__.py").touch()
    shutil.copy(ROOT / "tests/support/pytest_workers.py", tests / "support")
    (tests / "conftest.py").write_text(
        "from tests.support import pytest_workers\n"
        "def pytest_configure(config): pytest_workers.import_in_turn(config)\n"
        "def pytest_collection_modifyitems(items): pytest_workers.deal(items)\n"
        "def pytest_runtest_protocol(item, nextitem): return pytest_workers.run(item, nextitem)\n"
    )
    settings = "[pytest]\nfilterwarnings = error\nasyncio_default_fixture_loop_scope = function\n"
    (tmp_path / "pytest.ini").write_text(settings)
    for name, code in BROKEN.items():
        (tests / name).write_text(code)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHONPATH"))}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "2", "--dist", "worksteal", "tests"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=50)
    assert done.returncode == 1, done.stdout
    assert "ERROR tests/test_raises.py - ZeroDivisionError" in done.stdout
    assert "ERROR tests/test_warns.py - DeprecationWarning: old" in done.stdout
    command += ["--ignore", "tests/test_raises.py", "--ignore", "tests/test_warns.py"]
    (tests / "test_phases.py").write_text(PHASES)
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=50)
    assert done.returncode == 1, done.stdout
    for name, how in (("within", "FAILED"), ("before", "ERROR"), ("after", "ERROR")):
        assert f"{how} tests/test_phases.py::test_{name} - " in done.stdout
    assert "1 failed, 2 passed, 2 skipped, 1 xfailed, 2 errors in" in done.stdout, done.stdout


@pytest.mark.parametrize("option", ["durations", "xmlpath"])
def test_who_asks_for_the_phases_is_told_of_them(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time that fixtures take would not be found in what --durations prints."""
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "2")
    item: Any = SimpleNamespace(config=SimpleNamespace(option=SimpleNamespace(durations=None, xmlpath=None)))
    vars(item.config.option)[option] = "10"
    assert run(item, None) is None
