"""Connections to listeners whose worker is not there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rtframework.workers.passing import Passing
from rtframework.workers.shared_table import SharedTable, SlotState, make_file
from rtframework.workers.substitute import Substitute
from tests.support.server import HOST
from tests.support.until import until


class House:
    """Two places, and workers that take what is passed to them."""

    def __init__(self, directory: Path) -> None:
        self.fd = make_file()
        self.directory = directory
        self.table = SharedTable(self.fd)
        self.places = [[socket.create_server((HOST, 0))] for _ in range(2)]
        self.substitute = Substitute(self.places, directory, self.table, 16)
        self.taken: dict[int, list[socket.socket]] = {}
        self.passing: list[Passing] = []

    def work(self, slot: int, *, clients: int = 0) -> Passing:
        """A worker that serves."""
        passing = Passing(self.directory, slot, self.table)
        self.taken[slot] = []

        def serve(sock: socket.socket, data: bytes, *, is_settled: bool = False, peer: Any = None) -> None:
            assert (data, is_settled, peer) == (b"", False, None)
            self.taken[slot].append(sock)

        passing.listen(serve)
        passing.start()
        self.table.set_clients(slot, clients)
        self.table.set_state(slot, SlotState.SERVING)
        self.passing.append(passing)
        return passing

    def connect(self, place: int) -> socket.socket:
        """A client that comes to a place."""
        return socket.create_connection(self.places[place][0].getsockname())

    def close(self) -> None:
        """Leave nothing."""
        self.substitute.close()
        for passing in self.passing:
            passing.stop()
        for sock in [*self.places[0], *self.places[1], *(sock for taken in self.taken.values() for sock in taken)]:
            sock.close()
        self.table.close()
        os.close(self.fd)


@pytest.fixture
async def house(tmp_path: Path) -> Any:
    """Two places."""
    house = House(tmp_path)
    with contextlib.closing(house):
        yield house


@pytest.fixture
def clients() -> Iterator[list[socket.socket]]:
    """Clients, closed at the end."""
    found: list[socket.socket] = []
    yield found
    for each in found:
        each.close()


async def test_what_comes_to_an_empty_place_goes_to_the_least_busy(house: House, clients: list[socket.socket]) -> None:
    """Who connects while a worker is started again would wait, or be refused."""
    house.work(3, clients=9)
    house.work(4, clients=1)
    house.substitute.serve({1})
    clients += [house.connect(1) for _ in range(3)]
    await until(lambda: len(house.taken[4]) == 3)
    assert house.taken[3] == []
    assert {sock.getpeername() for sock in house.taken[4]} == {sock.getsockname() for sock in clients}


async def test_a_place_that_is_served_again_is_left_alone(house: House, clients: list[socket.socket]) -> None:
    """Each connection would take a way round, for ever."""
    house.work(0)
    house.substitute.serve({0, 1})
    house.substitute.serve({1})
    clients += [house.connect(0), house.connect(1)]
    await until(lambda: house.taken[0])
    accepted, _ = house.places[0][0].accept()
    assert accepted.getpeername() == clients[0].getsockname()
    accepted.close()


async def test_a_worker_that_has_gone_meanwhile(house: House, clients: list[socket.socket]) -> None:
    """A client would be cut off though another worker is there."""
    gone = house.work(1)
    house.work(2, clients=5)
    gone.stop()
    house.substitute.serve({0})
    clients += [house.connect(0)]
    await until(lambda: house.taken[2])
    house.table.set_state(1, SlotState.EMPTY)
    house.table.set_state(2, SlotState.EMPTY)
    clients += [house.connect(0)]
    house.work(3)  # the next one
    await until(lambda: house.taken[3])
    assert house.taken[3][0].getpeername() == clients[1].getsockname()


async def test_the_end_comes_while_nobody_takes_a_connection(house: House, clients: list[socket.socket]) -> None:
    """A client would wait for ever."""
    house.substitute.serve({0})
    clients += [house.connect(0)]
    await until(lambda: house.substitute._homeless)
    house.substitute.close()
    clients[0].settimeout(10)
    assert await asyncio.get_running_loop().run_in_executor(None, clients[0].recv, 1) == b""


async def test_a_worker_dies_with_many_on_their_way(house: House, clients: list[socket.socket]) -> None:
    """The supervisor would pass them to the dead one for ever, and do nothing else any more."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:  # takes nothing, as one that hangs
        dead.bind(str(house.directory / "0"))
        house.table.set_state(0, SlotState.SERVING)
        house.work(1, clients=5)
        house.substitute.serve({0})
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger, contextlib.suppress(BlockingIOError):
            stranger.setblocking(False)
            stranger.connect(dead.getsockname())
            while True:
                stranger.send(b"")  # until its queue is full
        clients += [house.connect(0) for _ in range(5)]
        await until(lambda: house.substitute._passing._others)
        await until(lambda: len(house.substitute._passing._others[0]._waiting) == 5)
    await until(lambda: len(house.taken[1]) == 5)
