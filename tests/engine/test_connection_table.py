"""The table of connections: who is in it, who is let in, and how all of them end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from rtframework import Limits
from rtframework.engine.connection import Connection
from rtframework.engine.connection_table import ConnectionTable
from rtframework.engine.transports.polling import PollingTransport
from rtframework.engine.versions import Version4
from rtframework.options import EngineOptions
from rtframework.types import Handshake


class Handler:
    """Hears the messages of one connection."""

    def __init__(self, connection: Connection, handshake: Handshake) -> None:
        self.connection = connection
        self.handshake = handshake
        self.reasons: list[str] = []

    def receive(self, data: str | bytes) -> None:
        self.connection.keep()

    def ended(self, reason: str) -> None:
        self.reasons.append(reason)


class Meter:
    """Counts."""

    opened = closed = packets_in = bytes_in = packets_out = bytes_out = 0


class House:
    """A table, what its handlers hear, and which connections have ended."""

    def __init__(self, **limits: int) -> None:
        self.handlers: list[Handler] = []
        self.closed: list[str] = []
        options = EngineOptions(limits=Limits(**limits))  # type: ignore[arg-type]
        self.table = ConnectionTable(options, self._handler, lambda connection: self.closed.append(connection.sid))

    def _handler(self, connection: Connection, handshake: Handshake) -> Handler:
        self.handlers.append(Handler(connection, handshake))
        return self.handlers[-1]

    def open(self, sid: str, address: str = "10.0.0.1") -> Connection:
        """One more connection by polling."""
        return self.table.open(sid, Version4.connection, PollingTransport(), Handshake(address=address))


@pytest.fixture
async def house() -> House:
    """A table that serves."""
    house = House(max_unconnected=2)
    house.table.start()
    return house


async def test_a_connection_is_found_until_it_ends(house: House) -> None:
    """A session would be lost, or one that is over be served."""
    connection = house.open("a")
    assert house.table.find("a") is connection
    assert house.table.find("b") is None
    assert house.handlers[0].handshake.address == connection.address == "10.0.0.1"
    connection.lost("transport close")
    assert house.table.find("a") is None
    assert (house.closed, house.handlers[0].reasons) == (["a"], ["transport close"])
    await house.table.shutdown("over", 0.1)


async def test_a_session_that_is_over_is_not_found(house: House) -> None:
    """Between two sweeps of the heartbeat a dead session would be served."""
    connection = house.open("a")
    connection._pinging = True
    connection._heartbeat_due = connection.deadline = asyncio.get_running_loop().time() - 1
    house.table.find("a")
    assert connection.is_closed
    assert house.handlers[0].reasons == ["ping timeout"]
    await house.table.shutdown("over", 0.1)


@pytest.mark.parametrize("joins", [lambda each: each.take("4x"), lambda each: each.lost("gone")], ids=["in", "gone"])
async def test_who_joins_nothing_takes_a_place(house: House, joins: Callable[[Connection], object]) -> None:
    """Handshakes that nobody means would take all the memory; or places would never be free again."""
    first = house.open("a")
    house.open("b")
    assert len(house.table.unconnected) == 2
    joins(first)
    joins(first)
    assert len(house.table.unconnected) == 1
    house.open("c")
    assert "b" in house.table.by_sid
    await house.table.shutdown("over", 0.1)


async def test_the_oldest_of_the_address_with_the_most_gives_way(house: House) -> None:
    """One client that opens connections and joins nothing would keep everybody else out."""
    house = House(max_unconnected=4)
    house.table.start()
    house.open("honest", "10.0.0.2")
    for sid in ("a", "b", "c"):
        house.open(sid)
    house.open("new", "10.0.0.3")
    assert list(house.table.by_sid) == ["honest", "b", "c", "new"]
    house.open("d")
    assert list(house.table.by_sid) == ["honest", "c", "new", "d"]
    assert (house.handlers[1].reasons, house.table.counts.limited["max_unconnected"]) == (["forced server close"], 2)
    await house.table.shutdown("over", 0.1)
    assert len(house.table.unconnected) == 0


async def test_connections_are_closed_by_address() -> None:
    """Somebody who was banned would stay; or a neighbour would have to go, too."""
    house = House(max_connections_per_address=3)
    house.table.start()
    for sid, address in (("a", "2001:db8::1"), ("b", "2001:db8::2"), ("c", "2001:db8:0:1::1"), ("d", "10.0.0.1")):
        house.open(sid, address)
    assert house.table.by_address is not None
    assert house.table.by_address.count("2001:db8::/64") == 2
    house.table.close_all_of("2001:db8::/64")
    assert [sid for sid, each in house.table.by_sid.items() if each.is_open] == ["c", "d"]
    house.table.by_sid["a"].abort("gone")
    assert house.table.by_address.count("2001:db8::/64") == 1
    await house.table.shutdown("over", 0.1)


async def test_shutdown_ends_everything_in_time(house: House) -> None:
    """A deployment would hang on one client, or on one handler."""
    for sid in "ab":
        house.open(sid)
    task = asyncio.create_task(asyncio.sleep(60))
    house.table.tasks.add(task)
    before = asyncio.get_running_loop().time()
    await house.table.shutdown("server shutting down", 0.1)
    assert asyncio.get_running_loop().time() - before < 2
    assert [each.reasons for each in house.handlers] == [["server shutting down"]] * 2
    assert house.table.by_sid == {}
    assert task.cancelled()
    assert house.table.is_closing


async def test_it_serves_again_after_a_shutdown(house: House) -> None:
    """A test suite that starts one server twice would get no connection."""
    await house.table.shutdown("over", 0.1)
    before = house.table.cork
    house.table.start()
    assert not house.table.is_closing
    assert house.table.cork is not before
    house.open("a")
    await house.table.shutdown("over", 0.1)


async def test_meters_are_told_of_everything_from_now_on(house: House) -> None:
    """The charts would lack the connections that were there before."""
    meter = Meter()
    early = house.open("a")
    house.table.measure((meter,))
    late = house.open("b")
    early.take("4abc")
    late.take(b"\x00")
    assert (meter.opened, meter.packets_in, meter.bytes_in) == (1, 2, 4)
    house.table.measure(())
    early.take("4abc")
    late.lost("gone")
    assert (meter.packets_in, meter.closed) == (2, 0)
    await house.table.shutdown("over", 0.1)
