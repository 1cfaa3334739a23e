"""What it ran on, and whether anything else did."""

from __future__ import annotations

import os
import platform
import resource
import time
from pathlib import Path
from typing import Final

QUIET: Final = 0.05
"""Of one core, used by others: below it a machine counts as quiet."""


def describe() -> dict[str, str | int]:
    """The machine, as it is quoted below the figures."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    release = ".".join(platform.release().split(".")[:2])
    return {"cpu": model, "cores": len(os.sched_getaffinity(0)), "system": f"Linux {release}"}


class Others:
    """How much of one core everybody but us has used since this was made: who measures should know."""

    def __init__(self) -> None:
        self._wall = time.monotonic()
        self._busy = _busy_seconds()
        self._own = _own_seconds()

    def share(self) -> float:
        """0.0: nobody else did anything. Our children have to have ended."""
        wall = time.monotonic() - self._wall
        return max(0.0, (_busy_seconds() - self._busy) - (_own_seconds() - self._own)) / wall


def _busy_seconds() -> float:
    """CPU time of all processes, and what the host took away from a virtual machine."""
    user, nice, system, _idle, _iowait, irq, softirq, steal, *_ = (
        int(field) for field in Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:]
    )
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
