"""The conformance suite of presence finds stores that are wrong."""

from __future__ import annotations

import json
from typing import Any
from unittest import SkipTest

import pytest

from rtframework import MemoryAdapter, Packet, PacketType, Target
from rtframework.adapters.presence_memory import MemoryPresence
from rtframework.concurrency import TaskSet, start_now
from rtframework.protocols import PresenceTab
from rtframework.testing import ClusterBroker, run_suite
from rtframework.testing.conformance import PresenceConformance
from rtframework.types import Health


class Backbone:
    """A server alone, whose store the test makes."""

    node = "n"
    health = Health(True)

    def __init__(self, kind: type[MemoryPresence]) -> None:
        self._kind = kind
        self._adapters: dict[str, Any] = {}
        self._tasks = TaskSet()

    def __call__(self, nsp: str, emitter: Any) -> Any:
        self._adapters[nsp] = MemoryAdapter(nsp, emitter)
        return self._adapters[nsp]

    def presence_store(self) -> MemoryPresence:
        """Make the store."""

        def publish(nsp: str, room: str, event: str, user: str, meta: str, but: str | None) -> None:
            packet = Packet(PacketType.EVENT, nsp, [event, {"room": room, "user": user, "meta": json.loads(meta)}])
            target = Target(frozenset((room,)), frozenset() if but is None else frozenset((but,)))
            start_now(self._adapters[nsp].broadcast(packet, target), self._tasks)

        return self._kind(publish)

    async def start(self) -> None:
        """Do nothing."""

    async def stop(self) -> None:
        """Do nothing."""


class Forgetful(MemoryPresence):
    """Never lets anybody go."""

    def leave(self, tab: PresenceTab) -> None:
        """Forget to."""


class Hasty(MemoryPresence):
    """Gives nobody time to come back."""

    def away(self, tab: PresenceTab, seconds: float) -> None:
        """Remove it at once."""
        self.leave(tab)


class Fickle(MemoryPresence):
    """Takes the meta of each tab."""

    def enter(self, tab: PresenceTab, meta: str, grace: float) -> None:
        """Enter, and update."""
        super().enter(tab, meta, grace)
        self._rooms[tab.nsp, tab.room].people[tab.user].meta = meta


def suite(kind: type[MemoryPresence]) -> type[PresenceConformance]:
    class Broker(ClusterBroker):
        def backbone(self, name: str) -> Any:
            return Backbone(kind)

    attributes = {"servers": 1, "patience": 0.3, "grace": 0.1, "broker": lambda self: Broker()}
    return type("Suite", (PresenceConformance,), attributes)


def test_a_good_store_passes() -> None:
    """An author would look for a fault where none is."""
    assert run_suite(suite(MemoryPresence))


@pytest.mark.parametrize(
    ("kind", "test"),
    [
        (Forgetful, "test_everybody_is_told_who_comes_and_goes"),
        (Hasty, "test_a_lost_client_has_time_to_come_back"),
        (Fickle, "test_meta_is_the_users_and_is_changed_for_all"),
    ],
)
def test_a_wrong_store_is_found(kind: type[MemoryPresence], test: str) -> None:
    """An author would think that it is right."""
    with pytest.raises(AssertionError):
        getattr(suite(kind)(), test)()


def test_what_takes_several_servers_is_skipped() -> None:
    """A store of one server would fail for what it cannot do."""
    with pytest.raises(SkipTest, match="3 servers"):
        suite(MemoryPresence)().test_the_people_of_a_killed_server_leave_once()


def test_a_suite_without_a_broker_fails() -> None:
    """Forgetting to say what is tested would look like success."""
    with pytest.raises(NotImplementedError, match=r"give the suite a broker\(\)"):
        PresenceConformance().test_several_tabs_are_one_user()
