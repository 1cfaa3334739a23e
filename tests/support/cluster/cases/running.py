"""Runs cases on a fleet."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Sequence

from tests.support.cluster.cases import emits, faults, recovery, requests
from tests.support.cluster.cases.table import CASES
from tests.support.cluster.fleet import Fleet, fresh_clients

MODULES = (emits, requests, recovery, faults)
"""Where the cases are; importing a module enters its cases into the table."""


async def run_cases(fleet: Fleet, only: Sequence[str] = (), *, timeout: float = 20.0) -> dict[str, str | None]:
    """Run the cases for which the fleet has the abilities. Return the text of each failure, ``None`` for success."""
    found: dict[str, str | None] = {}
    for each in sorted(CASES.values(), key=lambda each: each.place):
        if (only and each.number not in only) or not each.needs <= fleet.abilities:
            continue
        try:
            async with asyncio.timeout(timeout), fresh_clients(fleet):
                await each.run(fleet)
        except Exception:  # noqa: BLE001 - it is told
            found[each.number] = traceback.format_exc()
            await fleet.mend()
        else:
            found[each.number] = None
    return found
