"""Warnings, in one line each."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator

import pytest

from rtframework.development.unawaited import describe, show_unawaited


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Leave the process as it was."""
    depth, show = sys.get_coroutine_origin_tracking_depth(), warnings.showwarning
    with warnings.catch_warnings():
        yield
    warnings.showwarning = show
    sys.set_coroutine_origin_tracking_depth(depth)


async def notify() -> None:
    """Should be awaited."""


@pytest.mark.filterwarnings("always")
def test_a_coroutine_that_is_not_awaited(caplog: pytest.LogCaptureFixture) -> None:
    """An emit without await sends nothing, and the warning would name the line where the garbage was collected."""
    show_unawaited()
    show_unawaited()  # a second server
    warnings.warn("look out", UserWarning, stacklevel=1)
    notify()  # type: ignore[unused-coroutine]
    line = sys._getframe().f_lineno - 1
    here = "tests/development/test_unawaited.py"
    own, never = caplog.messages
    assert own.endswith(f"test_unawaited.py:{line - 1}: UserWarning: look out")
    assert never == f"{here}:{line} calls notify() and does not await it, so it has not run: write await"


def test_a_coroutine_of_unknown_origin() -> None:
    """A warning that is not as expected would be lost."""
    said = describe("coroutine 'a.b' was never awaited", RuntimeWarning, "x.py", 7)
    assert said == "x.py:7 calls a.b() and does not await it, so it has not run: write await"
