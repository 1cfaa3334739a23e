"""The broker of the cluster suite: what it cannot do is said."""

from __future__ import annotations

import inspect
from unittest import SkipTest

import pytest

from rtframework.testing import ClusterBroker


class Partial(ClusterBroker):
    """A broker with one fault."""

    async def cut(self, name: str) -> None:
        """End the connections of a server."""


async def test_what_a_broker_cannot_do_is_named() -> None:
    """An author would take a test that was left out for one that has passed."""
    broker = Partial()
    broker.can("cut")
    with pytest.raises(SkipTest, match=r"Partial has no isolate\(\)"):
        broker.can("cut", "isolate")
    for name in ("kill", "revive", "freeze", "thaw", "empty", "trim", "save", "rewind", "rubbish"):
        with pytest.raises(SkipTest, match=rf"Partial has no {name}\(\)"):
            await getattr(broker, name)()
    for name in ("isolate", "rejoin", "crash", "lose_reply", "deafen"):
        with pytest.raises(SkipTest, match=rf"Partial has no {name}\(\)"):
            await getattr(broker, name)("n0")
    for name in ("connections", "subscriptions", "messages"):
        with pytest.raises(SkipTest, match=rf"Partial has no {name}\(\)"):
            await getattr(broker, name)()
    assert inspect.iscoroutinefunction(broker.start)


def test_a_broker_makes_backbones() -> None:
    """Forgetting to say what is tested would look like success."""
    with pytest.raises(NotImplementedError, match=r"give the broker a backbone\(\)"):
        ClusterBroker().backbone("n0")
