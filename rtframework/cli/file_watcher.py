"""Finding changed files of a program by polling, which works on every file system."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final, TypeAlias

Snapshot: TypeAlias = dict[str, tuple[int, int]]
"""The Python files, by path: time of the last change, in nanoseconds, and size, in bytes."""

_NOT_OURS: Final = frozenset({"__pycache__", "node_modules", "site-packages"})


def take_snapshot(folders: Iterable[Path]) -> Snapshot:
    """Return the Python files below folders, except in hidden folders, virtual environments and ``node_modules``."""
    found: Snapshot = {}
    waiting = [str(folder) for folder in folders]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:  # removed meanwhile, or not readable
            continue
        if any(entry.name == "pyvenv.cfg" for entry in entries):
            continue
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    if not entry.name.startswith(".") and entry.name not in _NOT_OURS:
                        waiting.append(entry.path)
                elif entry.name.endswith(".py"):
                    status = entry.stat()
                    found[entry.path] = (status.st_mtime_ns, status.st_size)
            except OSError:
                continue
    return found


def difference(before: Snapshot, after: Snapshot) -> list[str]:
    """Return the files that were added, removed or changed, sorted."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
