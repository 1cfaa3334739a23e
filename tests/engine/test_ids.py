"""Ids that cannot be guessed."""

from __future__ import annotations

import re

from rtframework.engine.ids import new_id


def test_an_id_needs_no_quoting_and_is_new() -> None:
    """It stands in URLs, cookies and JSON; with another client's, one could speak for it."""
    ids = [new_id() for _ in range(1_000)]
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{20}", each) for each in ids)
    assert len(set(ids)) == 1_000
    assert all(len({each[at] for each in ids}) > 32 for at in range(20)), "all of it is random"
