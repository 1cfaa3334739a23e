"""``python -m tests.support.cluster.cases node-streams,node-streams`` runs the cases on a fleet and prints a table."""

from __future__ import annotations

import argparse
import asyncio

from tests.support.cluster.cases.running import run_cases
from tests.support.cluster.cases.table import CASES
from tests.support.cluster.fleet import running_fleet


async def main() -> int:
    """Run cases and print a table. Return the exit code: 1 if a case has failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fleet", help="kinds of the servers: node-streams,node-streams")
    parser.add_argument("--only", default="", help="numbers of cases: 13,14")
    parser.add_argument("--why", action="store_true", help="with the traceback of each failure")
    given = parser.parse_args()
    only = [each for each in given.only.split(",") if each]
    async with running_fleet(*given.fleet.split(",")) as fleet:
        found = await run_cases(fleet, only)
    for number, failure in found.items():
        last = "" if failure is None else failure.strip().splitlines()[-1][:150]
        print(f"{number:>4}  {'passed' if failure is None else 'FAILED'}  {CASES[number].title}  {last}")
        if failure is not None and given.why:
            print(failure)
    return int(any(found.values()))


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
