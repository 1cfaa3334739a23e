"""What takes long to make and is only read by tests: made by one worker of pytest, and read by all."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

try:
    import fcntl
except ImportError:  # Windows, where each worker makes its own
    _SHARED = False
else:
    _SHARED = True


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder that ``make(folder)`` has filled, in this worker or another one.

    When ``make`` fails, the exception is raised here, and the next worker that asks tries again.
    """
    if not _SHARED or "PYTEST_XDIST_WORKER" not in os.environ:
        folder = factory.mktemp(name)
        make(folder)
        return folder
    base = factory.getbasetemp().parent  # of all workers of this run
    folder, is_made = base / name, base / f"{name}.made"
    with _locked(base / f"{name}.lock"):
        if not is_made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            is_made.touch()
    return folder


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
        yield
