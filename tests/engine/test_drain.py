"""Clients that are sent away: all of them, not all at once, and nobody instead of them."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp.test_utils import make_mocked_request

from rtframework import Handshake, Limits
from rtframework.engine import drain as module
from rtframework.engine.connection_table import ConnectionTable
from rtframework.engine.drain import batch_of, drain, drain_all
from rtframework.engine.gate import Gate
from rtframework.engine.transports.polling import PollingTransport
from rtframework.engine.versions import Version4
from rtframework.options import EngineOptions
from rtframework.types import DisconnectReason


class Handler:
    """Hears why its connection has ended."""

    def __init__(self, reasons: list[str]) -> None:
        self.reasons = reasons

    def receive(self, data: str | bytes) -> None: ...

    def ended(self, reason: str) -> None:
        self.reasons.append(reason)


class House:
    """A table of clients that poll, and why each of them has left."""

    def __init__(self, clients: int) -> None:
        self.reasons: list[str] = []
        self.options = EngineOptions(limits=Limits())
        self.table = ConnectionTable(self.options, lambda *_: Handler(self.reasons), lambda connection: None)
        self.table.start()
        for number in range(clients):
            self.open(str(number))

    def open(self, sid: str) -> None:
        """One more client."""
        self.table.open(sid, Version4.connection, PollingTransport(), Handshake(address="10.0.0.1"))

    def leave(self) -> None:
        """Let clients that were told to leave come for that."""
        for connection in list(self.table.by_sid.values()):
            if not connection.is_open:
                connection.lost("transport close")


def test_batches_fill_the_time_evenly() -> None:
    """Half of the clients would come back in the last moment, all at once."""
    assert batch_of(1000, 0.1, 10.0) == 10
    assert batch_of(3, 0.1, 10.0) == 1
    assert batch_of(0, 0.1, 10.0) == 0
    assert batch_of(7, 0.1, 0.05) == batch_of(7, 0.0, 0.0) == batch_of(7, -0.2, -0.2) == 7


async def test_everybody_is_told_and_nobody_comes_instead() -> None:
    """A server would never be empty, or would end under clients that could have left in good order."""
    house = House(30)
    draining = asyncio.create_task(drain(house.table, 0.2))
    await asyncio.sleep(0)
    closed = Gate(house.options.limits, house.table).closed_for(make_mocked_request("GET", "/socket.io/"))
    assert closed is not None
    assert (closed.name, closed.status, closed.retry_after, closed.hang_up) == ("SERVER_DRAINING", 503, 1, True)
    assert 0 < len(house.reasons) < 30
    while not draining.done():
        house.leave()
        await asyncio.sleep(0.01)
    await draining
    assert house.reasons == [DisconnectReason.SERVER_SHUTTING_DOWN] * 30
    assert not house.table.by_sid
    await house.table.shutdown("over", 0.1)


async def test_one_who_was_on_the_way_in_leaves_as_well() -> None:
    """A client whose handshake was being decided would be cut off at the end."""
    house = House(2)
    draining = asyncio.create_task(drain(house.table, 60))
    await asyncio.sleep(0)
    house.open("late")
    while not draining.done():
        house.leave()
        await asyncio.sleep(0.01)
    assert len(house.reasons) == 3
    await house.table.shutdown("over", 0.1)


async def test_a_client_that_does_not_come_for_the_close_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser whose machine sleeps would keep a server from ending."""
    house = House(1)
    monkeypatch.setattr(module, "_FAREWELL", 0.01)
    async with asyncio.timeout(5):
        await drain(house.table, 0)
    assert len(house.table.by_sid) == 1
    await house.table.shutdown("over", 0.1)


async def test_a_server_that_serves_again_takes_clients_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server would refuse everybody in its second application."""
    house = House(0)
    monkeypatch.setattr(module, "tables", [house.table])
    await drain_all(0)
    assert house.table.is_draining
    await house.table.shutdown("over", 0.1)
    house.table.start()
    assert not house.table.is_draining
    await house.table.shutdown("over", 0.1)
