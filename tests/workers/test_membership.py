"""A worker's membership in its group, as the other workers see it."""

from __future__ import annotations

from functools import partial

from rtframework.workers.group import join
from rtframework.workers.membership import Membership
from rtframework.workers.shared_table import SlotState
from tests.support.until import until
from tests.support.workers import running_broker


async def test_a_worker_serves_when_it_can_take_connections() -> None:
    """Clients would be passed on to a worker that has no server yet, and be cut off."""
    async with running_broker() as broker:
        it = Membership(await join(broker.directory), serves_at_once=True)
        path = broker.directory / "0"
        assert (broker.table.state(0), path.exists()) == (SlotState.STARTING, False)
        it.listen(lambda *args, **kwargs: None)
        assert (broker.table.state(0), path.is_socket()) == (SlotState.SERVING, True)
        it.listen(lambda *args, **kwargs: None)
        it.drain()
        assert (broker.table.state(0), path.is_socket()) == (SlotState.DRAINING, True)
        it.stop()
        assert (broker.table.state(0), path.exists()) == (SlotState.EMPTY, False)
        await it.leave()


async def test_a_supervised_worker_serves_when_it_is_told() -> None:
    """It would be given clients before its own listeners are open."""
    async with running_broker() as broker:
        it = Membership(await join(broker.directory))
        it.listen(lambda *args, **kwargs: None)
        assert broker.table.state(0) is SlotState.STARTING
        it.serve()
        assert broker.table.state(0) is SlotState.SERVING
        await it.leave()


async def test_after_the_end_it_writes_into_no_slot() -> None:
    """A worker that ends would change the numbers of the one that has its slot now."""
    async with running_broker() as broker:
        it = Membership(await join(broker.directory))
        it.serve()
        it.count(3)
        assert broker.table.clients(0) == 3
        await it.leave()
        async with await join(broker.directory) as other:
            assert other.slot == 0
            it.count(-1)
            it.drain()
            assert (broker.table.clients(0), broker.table.state(0)) == (0, SlotState.STARTING)


async def test_without_a_broker_it_changes_no_state() -> None:
    """The end of a worker would fail, and with it its last lines."""
    async with running_broker() as broker:
        it = Membership(await join(broker.directory))
        it.serve()
        await broker.stop()
        it.stop()
        await it.leave()


async def test_what_is_shared_is_known_to_all() -> None:
    """A ban would hold at one worker; or at none that comes later."""
    async with running_broker() as broker:
        members: list[Membership] = []
        known: list[set[bytes]] = []
        tell = []
        for number in range(3):
            members.append(Membership(await join(broker.directory)))
            known.append(set())
            tell.append(members[number].share("bans /", known[number].add, partial(bytes, str(number), "ascii")))
        await until(lambda: known[2] == {b"0", b"1", b"2"})
        tell[1](b"new")
        await until(lambda: all(b"new" in each for each in known))
        for each in members:
            await each.leave()
