"""Messages of a worker that are on their way through the broker."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest

from rtframework.exceptions import ClusterUnavailable
from rtframework.types import Packet, Target
from rtframework.workers.own_messages import OwnEvent, OwnKeptEvent, OwnOrder


class Adapter:
    """What an own event needs of its adapter."""

    def __init__(self, error: Exception | None = None) -> None:
        self.sent: list[int] = []
        self._error = error

    def read_back(self, packet: Packet, text: str | None, target: Target, number: int) -> Awaitable[None] | None:
        """Note the number."""
        if self._error is not None:
            raise self._error
        self.sent.append(number)
        return None


def own_event(adapter: Any) -> OwnEvent:
    """Make one."""
    return OwnEvent(adapter, Packet(2, "/", ["n"]), '["n"]', Target())


async def test_an_emit_returns_when_it_is_its_turn() -> None:
    """A program would go on before its own clients have the event."""
    adapter = Adapter()
    own = own_event(adapter)
    assert not own.done.done()
    own.read(7)
    await own.done
    assert adapter.sent == [7]


async def test_an_emit_that_is_kept_returns_when_it_is_its_turn() -> None:
    """What a program reads then of the history would lack the event; or a mistake in delivering it would hang it."""
    sent: list[int] = []
    own = OwnKeptEvent(sent.append)
    own.read(7)
    await own.done
    assert sent == [7]

    def fail(number: int) -> None:
        raise RuntimeError(number)

    own = OwnKeptEvent(fail)
    with pytest.raises(RuntimeError):
        own.read(8)
    await own.done


async def test_an_emit_whose_broker_has_gone_raises() -> None:
    """It would wait for ever, or be taken for sent."""
    own = own_event(Adapter())
    own.fail(ClusterUnavailable("gone", uncertain=True))
    with pytest.raises(ClusterUnavailable, match="gone"):
        await own.done


async def test_an_order_tells_what_it_has_raised_to_who_gave_it() -> None:
    """A join beyond a limit would look as if it had been done."""

    def fail() -> None:
        raise ValueError("too many rooms")

    own = OwnOrder(fail)
    own.read(1)
    with pytest.raises(ValueError, match="too many rooms"):
        await own.outcome()


async def test_an_emit_that_nobody_waits_for_any_longer_is_delivered_here() -> None:
    """The other workers' clients would get it, and those of this worker would not."""
    adapter = Adapter()
    own = own_event(adapter)
    own.done.cancel()
    own.read(7)
    assert adapter.sent == [7]
    own.fail(ClusterUnavailable("gone", uncertain=True))
