"""The workers of pytest: which of them compiles a test module, in which order they run the tests, what they report.

pytest changes the assertions of a test module before it compiles it, and keeps the bytecode. In a new clone there is
none, and workers that import the same modules in the same order would each compile all of them. Here each worker
begins at another module, and finds what the others have compiled meanwhile.

Tests that start programs come first, those of different folders at the same time: at the end are tests of milliseconds,
so that no worker waits for another one, and while some tests wait others compute.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest
from _pytest.runner import runtestprotocol

ROOT: Final = Path(__file__).parent.parent.parent

SLOW: Final = (
    "tests/test_wheel.py",
    "tests/test_site.py",
    "tests/cli/commands/test_new.py",
    "tests/support/cluster",
    "tests/integration",
    "tests/plugins/rtframework_redis",
    "tests/workers",
    "tests/cli",
    "tests/test_benchmarks.py",
    "tests/plugins/test_rtframework_pytest.py",
    "tests/test_docs.py",
    "tests/support",
    "tests/programs",
    "tests/plugins/rtframework_msgpack",
    "tests/testing/conformance",
)
"""Files and folders of tests that start programs or wait, the longest first."""


def number_of_workers() -> int:
    """Return how many workers this run has, or 1 in a process that is none of several."""
    return int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) if "PYTEST_XDIST_WORKER" in os.environ else 1


# --- compiling --------------------------------------------------------------------------------------------------------


def rotated(names: Sequence[str], worker: str, count: int) -> list[str]:
    """Return the names in the order in which a worker, such as ``gw1`` of 4, imports them."""
    start = int(worker.removeprefix("gw")) % count * len(names) // count
    return [*names[start:], *names[:start]]


def modules_of(arguments: Sequence[str], folder: Path) -> Iterator[str]:
    """Yield the names of the test modules that arguments of pytest select, relative to a folder."""
    for argument in arguments:
        path = (folder / argument.partition("::")[0]).resolve()
        for file in sorted(path.rglob("test_*.py")) if path.is_dir() else [path]:
            if file.is_relative_to(ROOT / "tests") and "node_modules" not in file.parts:
                yield ".".join(file.relative_to(ROOT).with_suffix("").parts)


def import_in_turn(config: pytest.Config) -> None:
    """Import the modules that this worker is going to collect; do nothing without several workers.

    A module that fails is imported again, and its error shown, when it is collected.
    """
    count = number_of_workers()
    if count == 1:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as in the collection: a module that warns is not imported
        names = list(modules_of(config.args, config.invocation_params.dir))
        for name in rotated(names, os.environ["PYTEST_XDIST_WORKER"], count):
            with contextlib.suppress(Exception, pytest.skip.Exception):
                importlib.import_module(name)


# --- the order --------------------------------------------------------------------------------------------------------


def rank(module: str) -> int:
    """Return the place of a test module, such as ``tests/cli/test_main.py``, in :data:`SLOW`, or its length."""
    found = (place for place, name in enumerate(SLOW) if module == name or module.startswith(f"{name}/"))
    return next(found, len(SLOW))


def dealt(modules: Sequence[str], count: int) -> list[int]:
    """Return the order in which workers run tests whose modules are given, as indexes.

    At the beginning, ``--dist worksteal`` gives each worker an equal part of the tests, without a gap between them.
    Here each part begins with its share of the slow modules, which stay in one piece.
    """
    tests = defaultdict(list)
    for index, module in enumerate(modules):
        tests[module].append(index)
    slow = sorted((module for module in tests if rank(module) < len(SLOW)), key=lambda module: (rank(module), module))
    fast = [index for module, indexes in tests.items() if rank(module) == len(SLOW) for index in indexes]
    order: list[int] = []
    for part in range(count):
        share = slow[part::count]
        start = len(share) * part // count  # the others run tests of other folders meanwhile
        order += [index for module in (*share[start:], *share[:start]) for index in tests[module]]
        wanted = len(modules) * (part + 1) // count - len(order)
        if wanted > 0:
            order += fast[:wanted]
            del fast[:wanted]
    return order + fast


def deal(items: list[pytest.Item]) -> None:
    """Put tests into the order in which several workers run them; leave it to pytest without."""
    count = number_of_workers()
    if count > 1:
        modules = [item.nodeid.partition("::")[0] for item in items]
        items[:] = [items[index] for index in dealt(modules, count)]


# --- reports ----------------------------------------------------------------------------------------------------------


def run(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test, and report what came of it; leave it to pytest without several workers.

    By itself, a worker sends when a test begins and ends, and that its fixtures were set up and cleaned up: to send and
    to read that costs more than most tests. Who asks how long each phase took gets all reports.
    """
    if number_of_workers() == 1 or item.config.option.durations is not None or item.config.option.xmlpath:
        return None
    for report in runtestprotocol(item, log=False, nextitem=nextitem):
        if report.when == "call" or not report.passed:
            item.ihook.pytest_runtest_logreport(report=report)
    return True
