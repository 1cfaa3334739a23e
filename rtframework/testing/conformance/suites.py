"""Running a suite without a test runner, and the check that all suites use."""

from __future__ import annotations

import sys
from typing import Any
from unittest import SkipTest


def run_suite(suite: type[Any]) -> list[str]:
    """Run every test of a suite, each on a new instance. Return the names of the tests, sorted.

    Raises an ``ExceptionGroup`` with the errors of all tests that failed. Tests that are skipped are not among the
    names; the reasons go to the standard error.

    Example::

        run_suite(TestMySerializer)
    """
    names = sorted(name for name in dir(suite) if name.startswith("test_"))
    failures: list[Exception] = []
    skipped: list[str] = []
    for name in names:
        try:
            getattr(suite(), name)()
        except SkipTest as reason:
            skipped.append(name)
            print(f"{suite.__name__}.{name} was skipped: {reason}", file=sys.stderr)
        except Exception as error:  # noqa: BLE001 - a test may fail in any way; all are reported together
            error.add_note(f"in {suite.__name__}.{name}")
            failures.append(error)
    if failures:
        raise ExceptionGroup(f"{len(failures)} of {len(names)} tests of {suite.__name__} failed", failures)
    return [name for name in names if name not in skipped]


def check(condition: bool, message: str) -> None:
    # Not an assert statement: python -O removes those.
    if not condition:
        raise AssertionError(message)
