"""The emitter of the conformance suite: it is called as a namespace's own, and tells what an adapter did."""

from __future__ import annotations

import pytest

from rtframework import MemoryAdapter, Packet, PacketType
from rtframework.protocols import Emitter
from rtframework.testing.conformance.deliveries import Deliveries

EVENT = Packet(PacketType.EVENT, "/n", ["e", 1])


def test_it_takes_what_a_namespace_takes() -> None:
    """An adapter that is right would fail the suite, or one that is wrong pass it."""
    sent = Deliveries()
    emitter: Emitter = sent
    assert emitter.text(EVENT) == '["e",1]'
    assert emitter.text(Packet(PacketType.EVENT, "/n", ["e", b"bytes"])) is None
    frames = emitter.splice('["e",1]', "offset", compress=False)
    emitter.send(["a"], lambda: EVENT, frames=frames)
    assert (sent.taken(), sent.flags["compress"]) == ([("a", EVENT)], False)
    with pytest.raises(AssertionError, match="without frames"):
        emitter.send(["a"], lambda: EVENT)
    with pytest.raises(AssertionError):
        emitter.send(["a"], Packet(PacketType.EVENT, "/n", ["other"]), frames=frames)
    emitter.gap(3.0)
    emitter.state(False)
    assert (sent.gaps, sent.states) == ([3.0], [False])


def test_it_acts_on_the_adapter() -> None:
    """What an adapter does to sockets would not be seen in its rooms."""
    sent = Deliveries()
    sent.adapter = adapter = MemoryAdapter("/n", sent)
    adapter.add("a", ["a"])
    assert sent.join(["a"], ["x"]) is None
    session = sent.session("a")
    assert session is not None
    assert session.pid == "pid of a"
    assert session.rooms == {"a", "x"}
    assert sent.leave(["a"], ["x"]) is None
    sent.disconnect(["a"], True, reason="banned")
    assert sent.disconnected == [("a", True, "banned")]
    assert adapter.rooms("a") == frozenset()
