"""The servers of the cluster suite: its books find what is missing, double or out of order."""

from __future__ import annotations

import time
from typing import Any

import pytest

from rtframework import ClusterUnavailable, Packet, PacketType, Recovery
from rtframework.testing.conformance.cluster_nodes import NSP, ClusterNode, Delivered, Emit, Flood, NodeDeliveries
from tests.support.backbone import Broker, FakeBackbone


def node(*numbers: int, gaps: tuple[float, ...] = ()) -> Any:
    """A server whose listener has got these numbers of "a"."""
    it = ClusterNode("a", FakeBackbone(Broker(), "a"), None)
    it.emitters[NSP] = emitter = NodeDeliveries(NSP, "a", None)
    emitter.delivered = [Delivered(it.listener, ["n", "a", number], None) for number in numbers]
    emitter.gaps.extend(gaps)
    return it


def flood(count: int, **errors: ClusterUnavailable) -> Flood:
    """A flood of "a"."""
    it = Flood([])
    it.emits["a"] = [Emit(time.time(), errors.get(f"n{number}")) for number in range(count)]
    return it


def test_books_are_kept() -> None:
    """Lost messages would pass for delivered ones."""
    flood(3).check([node(0, 1, 2)], ordered=True, durable=True)
    with pytest.raises(AssertionError, match="a lacks 1 of a, and is not told"):
        flood(3).check([node(0, 2)], ordered=True, durable=True)
    with pytest.raises(AssertionError, match="twice"):
        flood(3).check([node(0, 1, 1, 2)], ordered=True, durable=True)
    with pytest.raises(AssertionError, match="out of order"):
        flood(3).check([node(0, 2, 1)], ordered=True, durable=True)


def test_a_gap_covers_what_came_after_it_has_begun() -> None:
    """An adapter that promises less would fail, or one that tells the wrong time would pass."""
    now = time.time()
    flood(3).check([node(0, 2, gaps=(now,))], ordered=True, durable=False)
    with pytest.raises(AssertionError, match="is not told"):
        flood(3).check([node(0, 2, gaps=(now + 60,))], ordered=True, durable=False)
    with pytest.raises(AssertionError, match="told of 1 gaps"):
        flood(3).check([node(0, 1, 2, gaps=(now,))], ordered=True, durable=True)


def test_what_raised_is_nowhere() -> None:
    """A program would emit again what clients have."""
    nobody, here = ClusterUnavailable("gone"), ClusterUnavailable("gone", local=True)
    flood(2, n1=nobody).check([node(0)], ordered=True, durable=True)
    flood(2, n1=here).check([node(0, 1)], ordered=True, durable=True)
    uncertain = ClusterUnavailable("silent", uncertain=True)
    for numbers in ((0,), (0, 1)):  # nobody can know
        flood(2, n1=uncertain).check([node(*numbers)], ordered=True, durable=True)
    with pytest.raises(AssertionError, match="whose emit raised"):
        flood(2, n1=nobody).check([node(0, 1)], ordered=True, durable=True)


def test_one_order_is_asked_for_only_of_those_that_promise_it() -> None:
    """A Pub/Sub adapter would fail for what it does not promise."""
    one, other = node(), node()
    for it, order in ((one, "ab"), (other, "ba")):
        it.heard.delivered = [Delivered(it.listener, ["n", origin, 0], None) for origin in order]
    books = Flood([])
    books.emits = {"a": [Emit(0.0)], "b": [Emit(0.0)]}
    books.check([one, other], ordered=False, durable=True)
    with pytest.raises(AssertionError, match="different orders"):
        books.check([one, other], ordered=True, durable=True)


async def test_a_socket_s_events_have_their_offsets() -> None:
    """A client of the suite would come back without the offset that it had."""
    broker = Broker()
    it = ClusterNode("n0", FakeBackbone(broker, "n0"), Recovery())
    await it.start()
    await it.emit("n", "n0", 7)
    (got,) = it.heard.of(it.listener)
    assert (got.args, got.offset) == (["n", "n0", 7], "the_log_.1")
    frames = it.heard.splice('["n"]', "tail")
    assert frames is not None
    assert frames.packet == Packet(PacketType.EVENT, NSP, ["n", "tail"])  # type: ignore[attr-defined]
    session = it.lose(it.listener)
    assert (session.pid, it.adapter.rooms(it.listener)) == (f"pid of {it.listener}", frozenset())
    await it.stop()
