"""The tests of faults ask for what an adapter promises, and not for more."""

from __future__ import annotations

import pytest

from tests.support.backbone import FakeBackbone, Message
from tests.support.memory_broker import failure, memory_suite


class AtMostOnce(FakeBackbone):
    """What comes while a server is frozen is lost."""

    tells = True

    def wants(self, message: Message) -> bool:
        if self.frozen.is_set() or message["from"] == self.node:
            return super().wants(message)
        if self.tells:
            for adapter in self.adapters.values():
                adapter.emitter.gap(0.0)
        return False


class Silent(AtMostOnce):
    """It is lost without a word."""

    tells = False


TEST = "test_emits_while_a_server_is_isolated"


@pytest.mark.parametrize(
    ("make", "durable", "why"),
    [
        (AtMostOnce, False, ""),
        (AtMostOnce, True, "and is not told"),
        (Silent, False, "and is not told"),
    ],
)
def test_what_is_lost_has_to_be_told(make: type[FakeBackbone], durable: bool, why: str) -> None:
    """An adapter that loses events without a word would pass, or one that promises only to tell would fail."""
    found = failure(memory_suite(make, durable=durable), TEST)
    assert why in found
    assert bool(why) == bool(found)


def test_what_a_stream_promises_is_asked_of_streams() -> None:
    """A Pub/Sub adapter would fail for messages that it never keeps."""
    suite = memory_suite(durable=False)
    for test in ("test_an_emptied_broker_is_a_gap", "test_an_older_history_is_a_gap"):
        assert "durable is False" in failure(suite, test)
