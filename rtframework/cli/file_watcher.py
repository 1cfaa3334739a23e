"""Which files of a program have changed: looked at again and again, which works on every file system."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final, TypeAlias

Snapshot: TypeAlias = dict[str, tuple[int, int]]
"""The Python files that there are: their times of change, in nanoseconds, and their sizes."""

_NOT_OURS: Final = frozenset({"__pycache__", "node_modules", "site-packages"})


def take_snapshot(folders: Iterable[Path]) -> Snapshot:
    """The Python files below these folders.

    Left out: hidden folders, virtual environments, ``node_modules``.
    """
    found: Snapshot = {}
    waiting = [str(folder) for folder in folders]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:  # gone meanwhile, or not ours to read
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
    """The files that came, went or changed."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
