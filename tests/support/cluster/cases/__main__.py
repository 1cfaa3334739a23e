"""``python -m tests.support.cluster.cases node-streams,node-streams`` runs the cases on a fleet and prints a table.

With an adapter of ours beside Node's: ``… ours,node-streams --add ours=module:factory``; ``--add ours=module:factory=``
for one that can neither recover nor reach remote sockets, ``=remote`` for Pub/Sub; then options as JSON:
``--add 'ours=module:factory=remote={"sharded": true}'``.
"""

from __future__ import annotations

import argparse
import asyncio
import json

from tests.support.cluster.cases.running import run_cases
from tests.support.cluster.cases.table import CASES
from tests.support.cluster.fleet import RECOVERY, REMOTE, STREAM, add_kind, running_fleet


async def main() -> int:
    """Run cases and print a table. Return the exit code: 1 if a case has failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fleet", help="kinds of the servers: node-streams,node-streams")
    parser.add_argument(
        "--add",
        action="append",
        default=[],
        help="kind=module:factory=ability,…={option: value}; what follows may be left out",
    )
    parser.add_argument("--only", default="", help="numbers of cases: 13,14")
    parser.add_argument("--why", action="store_true", help="with the traceback of each failure")
    given = parser.parse_args()
    for each in given.add:
        name, adapter, *more = each.split("=", 3)
        abilities = [part for part in more[0].split(",") if part] if more else [STREAM, RECOVERY, REMOTE]
        config = {} if RECOVERY in abilities else {"recovery": None}
        add_kind(name, adapter, *abilities, options=json.loads(more[1]) if more[1:] else {}, **config)
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
