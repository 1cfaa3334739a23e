"""Coroutines that nobody has awaited, told with the line that made them."""

from __future__ import annotations

import logging
import re
import sys
import warnings
from typing import Final, TextIO

from ..logs import shorten

_log: Final = logging.getLogger("py.warnings")

_DEPTH: Final = 3
"""Frames that Python remembers of the place where a coroutine is made."""
_NEVER: Final = re.compile(r"coroutine '(?P<name>[^']*)' was never awaited")
_ORIGIN: Final = re.compile(r'File "(?P<file>[^"]*)", line (?P<line>\d+)')


def show_unawaited() -> None:
    """Write warnings to the log, and have each coroutine that was not awaited warned of with its place."""
    if sys.get_coroutine_origin_tracking_depth() < _DEPTH:
        sys.set_coroutine_origin_tracking_depth(_DEPTH)
    if not isinstance(getattr(warnings.showwarning, "__self__", None), _Writer):
        warnings.filterwarnings("always", r"coroutine '.*' was never awaited", RuntimeWarning)
        warnings.showwarning = _Writer().write


class _Writer:
    def write(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        """Log a warning, as ``logging.captureWarnings`` does, but in one line."""
        _log.warning("%s", describe(str(message), category, filename, lineno))


def describe(message: str, category: type[Warning], filename: str, lineno: int) -> str:
    """Make one line of a warning: where, and what to do about a coroutine."""
    found = _NEVER.search(message)
    if found is None:
        return f"{shorten(filename)}:{lineno}: {category.__name__}: {message}"
    origins = _ORIGIN.findall(message)
    file, line = origins[-1] if origins else (filename, lineno)
    name = found["name"]
    return f"{shorten(file)}:{line} calls {name}() and does not await it, so it has not run: write await"
