"""An inbox: what waits to be served, and what holds it up."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from rtframework import Limits
from rtframework.engine.inbound import Inbound
from rtframework.engine.inbox import Call, Inbox
from rtframework.engine.outbox import Cork
from rtframework.engine.runner import Runner
from rtframework.options import EngineOptions
from tests.engine import roomy, turns_until


class Visitor(Inbox):
    """Somebody whose packets are noted."""

    __slots__ = ("is_here", "served", "times_emptied")

    def __init__(self, most: int = 2, inbound: Inbound | None = None) -> None:
        limits = Limits(max_pending_events=most)
        super().__init__(Runner(set(), lambda: True, inbound or roomy(), Cork()), EngineOptions(limits=limits))
        self.served: list[Any] = []
        self.times_emptied = 0
        self.is_here = True

    @property
    def is_open(self) -> bool:
        return self.is_here

    def take(self, packet: str | bytes | Call) -> Coroutine[Any, Any, None] | None:
        if callable(packet):
            return packet()
        self.served.append(packet)
        return None

    def emptied(self) -> None:
        self.times_emptied += 1
        self._let_read()

    def abort(self, reason: str) -> None:
        self.is_here = False
        self._forget_inbox()


async def test_packets_and_calls_are_served_in_order() -> None:
    """An old client would be asked about its namespace after its first events."""
    visitor = Visitor()
    visitor.receive_all(["a", b"b"])
    visitor.receive(lambda: visitor.served.append("called"))
    visitor.receive("c")
    assert visitor.served == []
    await turns_until(lambda: visitor.inbox is None)
    assert visitor.served == ["a", b"b", "called", "c"]
    assert visitor.times_emptied == 1


async def test_who_has_too_many_handlers_at_work_waits() -> None:
    """One client could have every connection of the database."""
    visitor = Visitor(most=2)
    visitor.began()
    assert not visitor.blocked
    weight = visitor.began()
    assert visitor.blocked
    visitor.receive("a")
    reading = asyncio.create_task(visitor.ready_to_read())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (visitor.served, reading.done()) == ([], False)
    visitor.ended(weight)
    await asyncio.wait_for(reading, 1)
    await turns_until(lambda: visitor.served == ["a"])


async def test_nobody_waits_to_read_from_who_has_gone() -> None:
    """A POST would hang until the proxy gives it up."""
    visitor = Visitor(most=1)
    visitor.began()
    reading = asyncio.create_task(visitor.ready_to_read())
    await asyncio.sleep(0)
    visitor.is_here = False
    visitor._let_read()
    await asyncio.wait_for(reading, 1)


async def test_what_comes_after_the_end_does_not_wait() -> None:
    """A close that the client sends last would be read after the time it has for it."""
    visitor = Visitor()
    visitor.is_here = False
    visitor.receive_all(["1"])
    assert visitor.served == ["1"]
    assert visitor.inbox is None
