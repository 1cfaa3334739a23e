"""Running a suite without a test runner, and the check that all suites use."""

from __future__ import annotations

from typing import Any


def run_suite(suite: type[Any]) -> list[str]:
    """Run every test of a suite, each on a new instance. Return the names of the tests, sorted.

    Raises an ``ExceptionGroup`` with the errors of all tests that failed.

    Example::

        run_suite(TestMySerializer)
    """
    names = sorted(name for name in dir(suite) if name.startswith("test_"))
    failures: list[Exception] = []
    for name in names:
        try:
            getattr(suite(), name)()
        except Exception as error:  # noqa: BLE001 - a test may fail in any way; all are reported together
            error.add_note(f"in {suite.__name__}.{name}")
            failures.append(error)
    if failures:
        raise ExceptionGroup(f"{len(failures)} of {len(names)} tests of {suite.__name__} failed", failures)
    return names


def check(condition: bool, message: str) -> None:
    # Not an assert statement: python -O removes those.
    if not condition:
        raise AssertionError(message)
