"""The process that has started this one and its like: what they have in common is a private directory."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

from ..exceptions import ConfigurationError

_LONGEST: Final = 60
"""Bytes of the name of a folder, so that 107 are enough for that of a Unix socket further in (unix(7))."""


class Parent(NamedTuple):
    """A process, and when it has started, in the system's own unit: a number is used again for another process."""

    pid: int
    started: str

    @property
    def is_alive(self) -> bool:
        """True until it has ended."""
        return started_at(self.pid) == self.started


def this_parent() -> Parent:
    """Return the process that has started this one."""
    pid = os.getppid()
    return Parent(pid, started_at(pid) or "")


def started_at(pid: int) -> str | None:
    """Return when a process has started; ``None`` if there is none, or nothing but its end is left of it (proc(5))."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, 0)
            return ""
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else fields[19]


def temporary() -> str:
    """Return the folder for temporary files, or ``/tmp`` if its name is too long for the Unix sockets in it."""
    base = tempfile.gettempdir()
    return "/tmp" if len(os.fsencode(base)) > _LONGEST else base


def directory_of(parent: Parent) -> Path:
    """Return the directory of a process' workers: below ``XDG_RUNTIME_DIR``, or where temporary files are."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    if base is None or len(os.fsencode(base)) > _LONGEST or not os.access(base, os.W_OK):
        base = temporary()
    return Path(base) / f"rtf-{os.geteuid()}-{parent.pid}-{parent.started}"


def make_private(directory: Path) -> None:
    """Make a directory that only this user can enter.

    Raises :class:`~rtframework.ConfigurationError` if there is something else already: another user has put it there.
    """
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise ConfigurationError(
            f"{directory} is not this user's alone: remove it, or name a folder in XDG_RUNTIME_DIR that is"
        )
