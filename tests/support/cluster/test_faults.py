"""The table of faults tells the truth, in a short form."""

from __future__ import annotations

import pytest

from rtframework_redis import RedisStreams
from tests.support.cluster import faults
from tests.support.cluster.clients import Admission, Event, LightClient
from tests.support.cluster.faults import FAULTS, HEAD, Fault, measure
from tests.support.cluster.fleet import KINDS, RECOVERY, REMOTE, STREAM, add_kind_in_process
from tests.support.cluster.ledger import Ledger
from tests.support.cluster.needs import needs


@needs("redis-server")
@pytest.mark.parametrize("title", ["connections killed again and again", "Redis emptied under a slow reader"])
async def test_a_short_fault_is_measured(title: str) -> None:
    """The table would say nothing, or be of something else."""
    (fault,) = [each for each in FAULTS if each.title == title]
    add_kind_in_process("fast", RedisStreams, STREAM, RECOVERY, REMOTE)
    try:
        row = await measure(fault, "fast", seconds=0.4, before=0.3, after=0.5)
    finally:
        del KINDS["fast"]
    assert row.result.is_clean, row.result
    assert row.result.emitted == 120
    assert (row.gaps > 0) == ("emptied" in title) == (row.result.lost > 0)
    assert str(row).count("|") == HEAD.splitlines()[0].count("|")


def test_a_loss_that_was_not_told_is_seen() -> None:
    """A client that comes back anew an hour later would excuse all that was lost before."""
    client = LightClient("c", None, "")  # type: ignore[arg-type]
    client.admissions = [Admission("", "s", "p", False, 1.0), Admission("", "t", "q", False, 50.0)]
    client.events = [Event("n", ["a", number], at, None) for number, at in ((0, 10.0), (2, 30.0), (4, 60.0))]
    ledger = Ledger()
    ledger.flood("a", [10.0, 20.0, 30.0, 40.0, 60.0])
    ledger.client("c")
    client.enter(ledger, "n")
    assert faults._enter_gaps(ledger, client, []) == 1
    assert (ledger.result().lost, ledger.result().unsignalled) == (2, 1)
    assert faults._enter_gaps(ledger, client, [15.0]) == 1
    assert ledger.result().unsignalled == 0


def test_every_fault_has_its_row() -> None:
    """A fault would be thought to be tried that is not."""
    assert len({fault.title for fault in FAULTS}) == len(FAULTS) == 16
    assert all(isinstance(fault, Fault) and fault.act.__doc__ for fault in FAULTS)


def test_a_search_with_random_steps_says_what_it_did() -> None:
    """Thousands of steps would be claimed that nobody has made."""
    assert int(faults.run_steps(0).partition(" random steps")[0]) > 100
