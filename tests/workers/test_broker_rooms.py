"""Rooms at the broker: what is published, to whom, and when somebody is away for too long."""

from __future__ import annotations

import asyncio
from typing import Any

from rtframework.workers import wire, wire_rooms
from rtframework.workers.group import Group, join
from rtframework.workers.shared_table import bucket_of
from tests.support.until import until
from tests.support.workers import running_broker


class Hears:
    """An adapter that remembers the events of other workers."""

    recovers = False

    def __init__(self, group: Group) -> None:
        self.events: list[Any] = []
        group.adapters["/"] = self  # type: ignore[assignment]
        group.rooms[bucket_of("/", "r")] += 1

    def take_event(self, number: int, event: Any) -> None:
        """Remember it."""
        self.events.append(event.text)


def enter(group: Group, sid: str, grace: float = 10.0) -> asyncio.Future[Any]:
    """Enter a tab; the user has the same name."""
    answered = asyncio.get_running_loop().create_future()
    join, leave = (wire.encode_event("/", ["r"], [], 0, f'["{what}{sid}"]') for what in "+-")
    request = group.link.ask(answered.set_result)
    message = wire_rooms.EnterPresence(request, "/", "r", sid, sid, "null", grace, 0, join, leave)
    group.link.send(wire_rooms.frame_of(message))
    return answered


async def test_the_answer_comes_behind_what_was_published() -> None:
    """What somebody says who has joined would be there before it is known that it has."""
    async with running_broker() as broker:
        one, two = await join(broker.directory), await join(broker.directory)
        here, there = Hears(one), Hears(two)
        await enter(one, "a")
        assert here.events == ['["+a"]']
        await until(lambda: there.events == ['["+a"]'])
        assert broker.published == 1
        await one.leave()
        await two.leave()


async def test_who_does_not_come_back_leaves_in_time() -> None:
    """The people of a killed worker would be in the list until somebody else comes or goes."""
    async with running_broker() as broker:
        one, two = await join(broker.directory), await join(broker.directory)
        there = Hears(two)
        await enter(one, "late", grace=0.2)
        await enter(one, "soon", grace=0.05)
        await enter(one, "now", grace=0.0)
        one.crash()
        await until(lambda: len(there.events) == 6)
        assert there.events[3:] == ['["-now"]', '["-soon"]', '["-late"]']
        assert len(broker.rooms.presence) == 0
        await two.leave()


async def test_whoever_makes_others_wait_is_waited_for() -> None:
    """A worker whose clients come and go would fill the broker's memory while another one does not read."""
    async with running_broker(max_behind=100_000, patience=60.0) as broker:
        one, two = await join(broker.directory), await join(broker.directory)
        Hears(two)
        two.link.freeze()
        message = wire_rooms.UpdatePresence(0, "/", "r", "a", "null", 0, b"\x09" + bytes(200_000), b"")
        enter(one, "a")
        for _ in range(20):
            one.link.send(wire_rooms.frame_of(message))
            await asyncio.sleep(0)
        await until(lambda: bool(broker._held))
        assert [worker.slot for worker in broker._held] == [one.slot]
        two.link.thaw()
        await until(lambda: not broker._held and broker.published == 21)
        await one.leave()
        await two.leave()
