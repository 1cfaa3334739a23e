"""Cut clients off while events are sent, for as long as one says: ``python -m tests.soak --seconds 600``.

In turn by polling, by websocket and with an upgrade, eight clients of Node lose their connections, with a reset or in
silence, and come back by connection state recovery; every packet is counted, see ``tests.support.counting``. The exit
code is 0 when none was missing, doubled, out of order or somebody else's, when most clients were recovered, and when
memory has not grown from the third round on; it is 1 otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
import time
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Final, get_args

from tests.support.counting import Via, measure

CUTS: Final = 6
"""Resets in one round, and half as many silent cuts."""
GROWTH: Final = 32 * 2**20
"""Bytes by which the process may grow from the third round on."""


def memory() -> int:
    """Return the bytes of the process that are in RAM; 0 where nobody says."""
    gc.collect()
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def main(argv: Sequence[str]) -> int:
    """Soak as the command line says. The last round is always ended."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long, at least (default: %(default)g)")
    given = parser.parse_args(argv)
    end = time.monotonic() + given.seconds
    sizes: list[int] = []
    cuts = failed = 0
    for via in cycle(get_args(Via)):
        counts = asyncio.run(measure(via=via, resets=CUTS, silent=CUTS // 2, pause=(0.1, 0.6), ping=1.0))
        sizes.append(memory())
        cuts += counts.cuts
        good = counts.flawless and counts.recovered >= 0.8 * counts.returns
        failed += not good
        sys.stdout.write(f"{via}: {counts}{'' if good else ' FAILED'}\n")
        sys.stdout.flush()
        if time.monotonic() >= end:
            break
    grown = max(sizes[2:], default=0) - min(sizes[2:], default=0)
    sys.stdout.write(f"{cuts} cuts in {len(sizes)} rounds: {failed} failed; grown by {grown // 1024} KiB\n")
    return 1 if failed or sizes[-1] - sizes[min(2, len(sizes) - 1)] > GROWTH else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
