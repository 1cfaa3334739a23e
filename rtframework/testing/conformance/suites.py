"""Running a suite without a test runner, and what the tests of all suites are made of."""

from __future__ import annotations

from typing import Any


def run_suite(suite: type[Any]) -> list[str]:
    """Run every test of a suite, each on an instance of its own; the names of the tests, sorted.

    Raises an ``ExceptionGroup`` with what failed.

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
    # Not an assert: those are gone under python -O.
    if not condition:
        raise AssertionError(message)
